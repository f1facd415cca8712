//! The parts of a request that a definition writes: where it goes, what its body is, where the records of its answer are.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Map, Number, Value};
use url::Url;

use super::PlanError;
use crate::path::Path;
use crate::placeholders::{Template, UrlTemplate, Values};

/// What every path is appended to.
#[derive(Clone, PartialEq, Debug)]
pub struct BaseUrl {
    /// The value that is the beginning, where it is one: `{instance_url}/services`.
    whole: Option<Template>,
    rest: UrlTemplate,
    https: bool,
    /// What follows the scheme and the host.
    path: String,
}

impl BaseUrl {
    /// Reads a base URL.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim().trim_end_matches('/');
        let (whole, rest) = match text.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((name, rest)) => (Some(Template::parse(&format!("{{{name}}}"))), rest),
            None => (None, text),
        };
        let whole = whole.transpose().map_err(|error| error.to_string())?;
        let template = UrlTemplate::parse(rest).map_err(|error| error.to_string())?;
        let begins = whole.is_none() || rest.is_empty() || rest.starts_with('/');
        if !begins || template.is_absolute() == whole.is_some() || rest.contains(['?', '#']) {
            return Err(
                "a base URL is written https://host/path, or {name}/path where the value is a whole one; no query"
                    .into(),
            );
        }
        let path = match &whole {
            Some(_) => rest,
            None => text.split_once("://").map_or("", |(_, rest)| rest.find('/').map_or("", |path| &rest[path..])),
        };
        let path = path.to_owned();
        Ok(Self { whole, rest: template, https: text.starts_with("https://"), path })
    }

    /// The same at another place: `to` for what comes before the path.
    ///
    /// # Errors
    /// `to` is not of the form `https://host` or `https://host/path`.
    pub(crate) fn at(&self, to: &Url) -> Result<Self, String> {
        Self::parse(&format!("{}{}", to.as_str().trim_end_matches('/'), self.path))
    }

    /// Whether it is one of https, whatever it is filled with.
    pub(crate) fn is_https(&self) -> bool {
        self.https
    }

    /// The URL, without a `/` at its end.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn fill(&self, values: &Values<'_>) -> Result<String, PlanError> {
        let rest = self.rest.fill(values)?;
        let url = match &self.whole {
            None => rest,
            Some(whole) => format!("{}{rest}", whole.fill(values)?.trim_end_matches('/')),
        };
        if is_plain(&url) || is_base(&url) { Ok(url.trim_end_matches('/').to_owned()) } else { Err(PlanError::NoBase) }
    }
}

/// Whether a URL can be a base.
fn is_base(url: &str) -> bool {
    Url::parse(url).is_ok_and(|url| {
        let user = !url.username().is_empty() || url.password().is_some();
        matches!(url.scheme(), "https" | "http")
            && url.has_host()
            && !user
            && url.query().is_none()
            && url.fragment().is_none()
    })
}

/// Whether it certainly can, since it is written as nearly all are: each request asks, and to take a URL apart is dear.
fn is_plain(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) else { return false };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = authority.split_once(':').unwrap_or((authority, "80"));
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(plain) && !label.starts_with("xn--")
    };
    // A host whose last part begins with a digit is an address, or none.
    let last = host.rsplit('.').next().unwrap_or_default();
    let named = last.starts_with(|first: char| first.is_ascii_lowercase()) && host.split('.').all(label);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/');
    (named || host.parse::<Ipv4Addr>().is_ok())
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok()
        && path.bytes().all(plain)
}

impl<'de> Deserialize<'de> for BaseUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Where records are, with placeholders for a resource's own values.
#[derive(Clone, PartialEq, Debug)]
pub struct RecordsAt(String);

impl RecordsAt {
    /// The path; `None` where a placeholder has no value, or makes no path.
    #[must_use]
    pub fn filled(&self, values: &BTreeMap<String, String>) -> Option<Path> {
        let fill = |text: String, (name, value): (&String, &String)| text.replace(&format!("{{{name}}}"), value);
        let filled = values.iter().fold(self.0.clone(), fill);
        Path::parse(&filled).ok().filter(|_| !filled.contains('{'))
    }
}

impl<'de> Deserialize<'de> for RecordsAt {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Path::parse(&text).map_err(D::Error::custom)?;
        Ok(Self(text))
    }
}

/// A JSON body with placeholders in its texts.
#[derive(Clone, PartialEq, Debug)]
pub struct Body(Node);

#[derive(Clone, PartialEq, Debug)]
enum Node {
    Constant(Value),
    Text(Template),
    /// A text that is nothing but a number's name.
    Number(Template),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
}

/// The names whose values are numbers.
const NUMBERS: [&str; 3] = ["{page_size}", "{offset}", "{page}"];

impl Body {
    /// The body.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn fill(&self, values: &Values<'_>) -> Result<Value, PlanError> {
        self.0.fill(values)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let mut names = Vec::new();
        self.0.templates(&mut |template| names.extend(template.names()));
        names.into_iter()
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Node::of(Value::deserialize(deserializer)?).map(Self).map_err(D::Error::custom)
    }
}

impl Node {
    fn of(value: Value) -> Result<Self, String> {
        Ok(match value {
            Value::String(text) => {
                let template = Template::parse(&text).map_err(|error| error.to_string())?;
                if NUMBERS.contains(&text.as_str()) { Self::Number(template) } else { Self::Text(template) }
            }
            Value::Array(items) => Self::List(items.into_iter().map(Self::of).collect::<Result<_, _>>()?),
            Value::Object(fields) => {
                let fields = fields.into_iter().map(|(name, value)| Ok((name, Self::of(value)?)));
                Self::Object(fields.collect::<Result<_, String>>()?)
            }
            constant => Self::Constant(constant),
        })
    }

    fn fill(&self, values: &Values<'_>) -> Result<Value, PlanError> {
        Ok(match self {
            Self::Constant(value) => value.clone(),
            Self::Text(template) => Value::String(template.fill(values)?),
            Self::Number(template) => {
                let text = template.fill(values)?;
                text.parse::<u64>().map_or(Value::String(text), |number| Value::Number(Number::from(number)))
            }
            Self::List(items) => Value::Array(items.iter().map(|item| item.fill(values)).collect::<Result<_, _>>()?),
            Self::Object(fields) => {
                let fields = fields.iter().map(|(name, node)| Ok((name.clone(), node.fill(values)?)));
                Value::Object(fields.collect::<Result<Map<_, _>, PlanError>>()?)
            }
        })
    }

    fn templates<'n>(&'n self, each: &mut impl FnMut(&'n Template)) {
        match self {
            Self::Constant(_) => {}
            Self::Text(template) | Self::Number(template) => each(template),
            Self::List(items) => items.iter().for_each(|item| item.templates(each)),
            Self::Object(fields) => fields.iter().for_each(|(_, node)| node.templates(each)),
        }
    }
}

/// Sets a field of a body, at names with dots between; objects that are not there are made.
pub(super) fn set_field(body: &mut Value, path: &str, value: Value) {
    let mut place = body;
    let mut names = path.split('.').peekable();
    while let Some(name) = names.next() {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(fields) = place else { return };
        if names.peek().is_none() {
            fields.insert(name.to_owned(), value);
            return;
        }
        place = fields.entry(name).or_insert(Value::Null);
    }
}

/// Sets a parameter of a URL's query; what else is in it stays as it is.
pub(super) fn set_parameter(url: &str, name: &str, value: &str) -> String {
    let (place, query) = url.split_once('?').unwrap_or((url, ""));
    let name = crate::placeholders::encoded(name);
    let others = query.split('&').filter(|pair| !pair.is_empty() && pair.split('=').next() != Some(name.as_str()));
    let pair = format!("{name}={}", crate::placeholders::encoded(value));
    let pairs: Vec<&str> = others.chain([pair.as_str()]).collect();
    format!("{place}?{}", pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_plain_needs_no_closer_look() {
        for plain in
            ["https://api.example", "http://127.0.0.1:9001", "https://eu-1.api.example:8443/v3/x_y", "http://a"]
        {
            assert!(is_plain(plain), "{plain}");
        }
        for other in [
            "https://",
            "https://a..b",
            "https://1.2.3",
            "https://A.b",
            "https://a:",
            "https://a:99999",
            "https://xn--a.b",
        ] {
            assert!(!is_plain(other), "{other}");
        }
    }

    proptest! {
        #[test]
        fn what_is_plain_can_be_a_base(
            url in "https?://[a-z0-9x.-]{0,9}(\\.(a|0x1|1|127\\.0\\.0\\.1))?(:[0-9]{0,6})?(/[A-Za-z0-9._~/-]{0,9})?|(https?://)?[ -~é]{0,12}"
        ) {
            prop_assert!(!is_plain(&url) || is_base(&url), "{}", url);
        }
    }
}
