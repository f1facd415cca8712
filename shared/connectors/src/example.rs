//! Recorded requests and what they mean: run by the tests and by `pollhook connectors check`, and sent by the demo.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use events::Timestamp;
use http::{HeaderMap, HeaderName};
use serde::Deserialize;

use crate::{Change, Connector, DefinitionError, Handshake, Outgoing, Parsed, Request};

/// A recorded request. Its headers are those that matter besides the signature, which is made when it is sent.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// The file's name; empty for an example that stands in the definition.
    #[serde(skip)]
    pub name: String,
    /// The definition's line that it stands at; 0 for one in a file of its own.
    #[serde(skip)]
    pub line: u64,
    /// What it shows, and where it comes from.
    pub about: String,
    /// The method.
    #[serde(default = "post")]
    pub method: String,
    /// The query, without its `?`.
    #[serde(default)]
    pub query: String,
    /// Headers that count beside the signature: the delivery's id, the content type.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body, byte for byte.
    #[serde(default)]
    pub body: String,
    /// The secret, where the body holds it.
    pub secret: Option<String>,
    /// The instance's configuration.
    #[serde(default)]
    pub configuration: BTreeMap<String, String>,
    /// What must come of it, in order.
    #[serde(default)]
    pub changes: Vec<ExpectedChange>,
    /// The entries that become no change, by their place.
    #[serde(default)]
    pub skipped: Vec<usize>,
    /// The accounts that a signal concerns.
    #[serde(default)]
    pub signals: Vec<String>,
    /// What a handshake is answered: the text, or the header's value.
    pub answer: Option<String>,
}

/// A change that an example must make.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedChange {
    /// The account, where the body names one.
    pub account: Option<String>,
    /// The object's type.
    #[serde(rename = "type")]
    pub object_type: String,
    /// The object's id.
    pub id: String,
    /// The contract's word for what happened.
    pub event: String,
    /// The date, e.g. `2018-08-20T15:29:06.123Z`.
    pub date: Option<String>,
    /// Whether a redelivery can be told from another change.
    #[serde(default = "yes")]
    pub identified: bool,
}

/// A connector's examples. Built-in ones are read when first asked for: what runs in a function has no use for them.
#[derive(Debug)]
pub(crate) struct Examples {
    recorded: &'static str,
    read: OnceLock<Vec<Example>>,
}

impl Examples {
    pub(crate) fn read(examples: Vec<Example>) -> Self {
        Self { recorded: "[]", read: OnceLock::from(examples) }
    }

    /// What the build has made of them: a list of a name, a line and the example each.
    pub(crate) const fn recorded(json: &'static str) -> Self {
        Self { recorded: json, read: OnceLock::new() }
    }

    /// # Panics
    /// When a built-in one cannot be read, which a test rules out.
    pub(crate) fn get(&self) -> &[Example] {
        self.read.get_or_init(|| match serde_json::from_str::<Vec<(String, u64, Example)>>(self.recorded) {
            Ok(examples) => {
                examples.into_iter().map(|(name, line, example)| Example { name, line, ..example }).collect()
            }
            Err(error) => panic!("a built-in example cannot be read: {error}"),
        })
    }

    fn push(&mut self, example: Example) {
        let mut examples = self.get().to_vec();
        examples.push(example);
        *self = Self::read(examples);
    }
}

fn yes() -> bool {
    true
}

fn post() -> String {
    "POST".into()
}

/// A secret that is one in every provider's form.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Where an example is sent.
const URL: &str = "https://hooks.example.com/events/example";

/// When an example is sent: any time will do, since nobody else looks at a clock.
const SENT: Timestamp = Timestamp::from_millis(1_790_000_000_000);

impl Example {
    pub(crate) fn from_yaml(name: &str, text: &str) -> Result<Self, DefinitionError> {
        let options = serde_saphyr::options! { with_snippet: false };
        let example: Self = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let line = error.location().map_or(0, |location| location.line());
            DefinitionError { line, message: error.to_string() }
        })?;
        Ok(Self { name: name.into(), ..example })
    }

    /// Its name, or its place in the definition.
    #[must_use]
    pub fn label(&self) -> String {
        if self.name.is_empty() { format!("line {}", self.line) } else { self.name.clone() }
    }

    fn recorded_headers(&self) -> Result<HeaderMap, String> {
        let header = |(name, value): (&String, &String)| {
            let bad = || format!("the header {name} cannot be sent");
            Ok((name.parse::<HeaderName>().map_err(|_| bad())?, value.parse().map_err(|_| bad())?))
        };
        self.headers.iter().map(header).collect()
    }

    /// Sends the request to `connector`, signed as the provider would, and compares what comes of it.
    ///
    /// # Errors
    /// The first difference.
    pub fn check(&self, connector: &Connector) -> Result<(), String> {
        let headers = self.recorded_headers()?;
        let secret = self.secret.as_deref().unwrap_or(SECRET);
        let url = if self.query.is_empty() { URL.to_owned() } else { format!("{URL}?{}", self.query) };
        let request = Request { method: &self.method, url: &url, headers: &headers, body: self.body.as_bytes() };
        if let Some(wanted) = &self.answer {
            return check_answer(connector, &request, wanted);
        }
        if !connector.takes(&self.method) {
            return Err(format!("requests of {} are not taken", self.method));
        }
        let parsed = connector.parse(&request).map_err(|error| error.to_string())?;
        if connector.verifies() {
            self.check_verified(connector, &request, &parsed, secret)?;
        }
        if connector.signals() {
            let named = connector.accounts(&parsed);
            return if named == self.signals {
                Ok(())
            } else {
                differ("signals", &format!("{named:?}"), &format!("{:?}", self.signals))
            };
        }
        let result = connector.normalise(&request, &parsed, &self.configuration);
        let changes: Vec<_> = result.changes.iter().map(ExpectedChange::from).collect();
        if let Some((n, (is, wanted))) =
            changes.iter().zip(&self.changes).enumerate().find(|(_, (is, wanted))| is != wanted)
        {
            return differ(&format!("change {}", n + 1), &is.to_string(), &wanted.to_string());
        }
        let skipped: Vec<usize> = result.skipped.iter().map(|skipped| skipped.entry).collect();
        if skipped != self.skipped {
            let why: Vec<String> = result.skipped.iter().map(ToString::to_string).collect();
            return differ("skipped", &format!("{why:?}"), &format!("{:?}", self.skipped));
        }
        if changes.len() != self.changes.len() {
            return differ("changes", &said(&changes), &said(&self.changes));
        }
        Ok(())
    }

    /// Signed as the provider would, the request must be the provider's, and with another secret nobody's.
    fn check_verified(
        &self,
        connector: &Connector,
        request: &Request<'_>,
        parsed: &Parsed,
        secret: &str,
    ) -> Result<(), String> {
        let url =
            if self.method == "GET" { request.url.into() } else { connector.url_with_secret(request.url, secret) };
        let id = connector.id_header().and_then(|name| request.headers.get(name)).and_then(|id| id.to_str().ok());
        let id = id.unwrap_or("example");
        let outgoing = Outgoing { method: request.method, url: &url, body: request.body, id, at: SENT };
        let mut headers = request.headers.clone();
        // A GET has no body to sign: what it proves itself with stands in its URL.
        if self.method != "GET" {
            for (name, value) in connector.sign(secret, &outgoing).map_err(|error| error.to_string())? {
                headers.insert(name, value);
            }
        }
        let request = Request { url: &url, headers: &headers, ..*request };
        connector
            .verify(&request, Some(parsed), &[secret], SENT)
            .map_err(|error| format!("sent as the provider would, it is not verified: {error}"))?;
        match connector.verify(&request, Some(parsed), &["b3RoZXI="], SENT) {
            Ok(_) => Err("it is verified with another secret, too: the rules protect nothing".into()),
            Err(_) => Ok(()),
        }
    }
}

fn check_answer(connector: &Connector, request: &Request<'_>, wanted: &str) -> Result<(), String> {
    let handshake = connector.handshake(request, None).or_else(|| {
        let parsed = connector.parse(request).ok()?;
        connector.handshake(request, Some(&parsed))
    });
    let answer = match &handshake {
        None => return Err("no handshake answers it".into()),
        Some(Handshake::Text(text)) => text.as_str(),
        Some(Handshake::Header { value, .. }) => value.to_str().unwrap_or_default(),
    };
    if answer == wanted { Ok(()) } else { differ("answer", &format!("{answer:?}"), &format!("{wanted:?}")) }
}

fn differ(what: &str, is: &str, wanted: &str) -> Result<(), String> {
    Err(format!("{what}: the example wants {wanted}, the definition makes {is}"))
}

fn said(changes: &[ExpectedChange]) -> String {
    let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
    if changes.is_empty() { "none".into() } else { changes.join(", ") }
}

/// As it may stand in an example.
impl fmt::Display for ExpectedChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{ ")?;
        if let Some(account) = &self.account {
            write!(f, "account: {account:?}, ")?;
        }
        write!(f, "type: {:?}, id: {:?}, event: {}", self.object_type, self.id, self.event)?;
        if let Some(date) = &self.date {
            write!(f, ", date: {date:?}")?;
        }
        if !self.identified {
            f.write_str(", identified: false")?;
        }
        f.write_str(" }")
    }
}

impl From<&Change> for ExpectedChange {
    fn from(change: &Change) -> Self {
        Self {
            account: change.account.clone(),
            object_type: change.object_type.clone(),
            id: change.object_id.clone(),
            event: change.event_type.as_str().into(),
            date: change.date.map(Timestamp::iso_millis),
            identified: change.occurrence.is_some(),
        }
    }
}

impl Connector {
    /// Runs the examples, and says which of them the definition does not bear out.
    #[must_use]
    pub fn check_examples(&self) -> Vec<DefinitionError> {
        let failed = |example: &Example| {
            let error = example.check(self).err()?;
            let of = if example.name.is_empty() { String::new() } else { format!("{}: ", example.name) };
            Some(DefinitionError { line: example.line, message: format!("example {of}{:?}: {error}", example.about) })
        };
        self.examples().iter().filter_map(failed).collect()
    }

    /// Adds an example that stands in a file of its own.
    ///
    /// # Errors
    /// What is wrong with it, and at which of its lines.
    pub fn add_example(&mut self, name: &str, yaml: &str) -> Result<(), DefinitionError> {
        self.examples.push(Example::from_yaml(name, yaml)?);
        Ok(())
    }
}
