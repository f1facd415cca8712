//! What callers send about an instance: the contract's words, read into ours.
//!
//! Values of the configuration may be text, booleans, numbers, objects or lists; all become text, numbers digit for digit
//! (a provider's account number may have more of them than a float can hold).

use std::borrow::Cow;
use std::collections::BTreeMap;

use events::configuration;
use secrecy::SecretString;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::invalid::Invalid;
use crate::text;

/// Most characters of a name, and of a tag: the old product's columns.
const NAME_CHARS: usize = 255;

/// Most characters before tags are taken out: taking them out costs time that grows with the square.
const UNCLEAN_CHARS: usize = 8 * NAME_CHARS;

/// Most tags: with [`NAME_CHARS`] they stay well below what an item of the table holds, also escaped.
const TAGS: usize = 64;

/// What is to become of configuration keys; `None`: the key is to be unset. All values are held as secrets until the key
/// tells which they are.
pub(crate) type Changes = BTreeMap<String, Option<SecretString>>;

/// What a request says of an instance. What it does not say is `None`.
pub(crate) struct Given {
    pub(crate) name: Option<String>,
    pub(crate) connector: Option<String>,
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) disabled: Option<bool>,
    pub(crate) configuration: Changes,
}

type Object<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

impl Given {
    /// Reads the body of a request. Fields that we do not know are left alone, as the old product did: clients send back
    /// whole instances as they read them.
    ///
    /// # Errors
    /// [`Invalid`].
    pub(crate) fn read(body: &[u8]) -> Result<Self, Invalid> {
        let fields: Object<'_> = serde_json::from_slice(body).map_err(|error| {
            let given = match error.classify() {
                serde_json::error::Category::Data => "another JSON value".to_owned(),
                _ if body.is_empty() => "nothing".to_owned(),
                _ => format!("no JSON (line {}, column {})", error.line(), error.column()),
            };
            Invalid::new("the body", given, "a JSON object")
        })?;
        let element = fields.get("element").map(|raw| object("element", raw)).transpose()?;
        let connector = element.as_ref().and_then(|element| element.get("key"));
        Ok(Self {
            name: fields.get("name").map(|raw| label("name", raw)).transpose()?,
            connector: connector.map(|raw| string("element.key", raw, "a connector's key")).transpose()?,
            tags: fields.get("tags").map(|raw| tags(raw)).transpose()?,
            disabled: fields.get("disabled").map(|raw| boolean("disabled", raw)).transpose()?,
            configuration: fields.get("configuration").map(|raw| changes(raw)).transpose()?.unwrap_or_default(),
        })
    }
}

fn is_null(raw: &RawValue) -> bool {
    raw.get() == "null"
}

fn boolean(field: &str, raw: &RawValue) -> Result<bool, Invalid> {
    match raw.get() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Invalid::new(field, kind(raw), "true or false")),
    }
}

/// The kind of a value, for messages: the value itself may be a secret.
fn kind(raw: &RawValue) -> &'static str {
    match raw.get().as_bytes().first() {
        Some(b'"') => "a text",
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

fn value<T: DeserializeOwned>(field: &str, raw: &RawValue, accepted: &str) -> Result<T, Invalid> {
    serde_json::from_str(raw.get()).map_err(|_| Invalid::new(field, kind(raw), accepted))
}

fn object<'a>(field: &str, raw: &'a RawValue) -> Result<Object<'a>, Invalid> {
    serde_json::from_str(raw.get()).map_err(|_| Invalid::new(field, kind(raw), "an object"))
}

fn string(field: &str, raw: &RawValue, accepted: &str) -> Result<String, Invalid> {
    value(field, raw, accepted)
}

/// A name or a tag, made harmless.
fn label(field: &str, raw: &RawValue) -> Result<String, Invalid> {
    let accepted = format!("a text of 1 to {NAME_CHARS} characters beside HTML tags, which are taken out");
    let unclean = string(field, raw, &accepted)?;
    if unclean.chars().count() > UNCLEAN_CHARS {
        return Err(Invalid::new(field, format!("a text of more than {UNCLEAN_CHARS} characters"), accepted));
    }
    let clean = text::without_tags(&unclean).trim().to_owned();
    match clean.chars().count() {
        0 => Err(Invalid::new(field, "a text that is empty or all tags", accepted)),
        count if count > NAME_CHARS => Err(Invalid::new(field, format!("a text of {count} characters"), accepted)),
        _ => Ok(clean),
    }
}

fn tags(raw: &RawValue) -> Result<Vec<String>, Invalid> {
    let accepted = format!("a list of at most {TAGS} texts");
    if is_null(raw) {
        return Ok(Vec::new());
    }
    let given: Vec<&RawValue> =
        Deserialize::deserialize(raw).map_err(|_: serde_json::Error| Invalid::new("tags", kind(raw), &accepted))?;
    if given.len() > TAGS {
        return Err(Invalid::new("tags", format!("{} of them", given.len()), accepted));
    }
    given.into_iter().enumerate().map(|(at, raw)| label(&format!("tags[{at}]"), raw)).collect()
}

fn changes(raw: &RawValue) -> Result<Changes, Invalid> {
    if is_null(raw) {
        return Ok(Changes::new());
    }
    object("configuration", raw)?
        .into_iter()
        .map(|(key, raw)| {
            let value = if is_null(raw) { None } else { Some(setting(&key, raw)?.into()) };
            Ok((key.into_owned(), value))
        })
        .collect()
}

/// A value of the configuration as text.
fn setting(key: &str, raw: &RawValue) -> Result<String, Invalid> {
    match raw.get().as_bytes().first() {
        Some(b'"') => serde_json::from_str(raw.get())
            .map_err(|_| Invalid::setting(key, "a text with half of a surrogate pair", "Unicode text")),
        // A list of names is what this key means, however it is written; as JSON text it would name nothing.
        Some(b'[') if key == configuration::OBJECTS => {
            let accepted = "object types, as a comma-separated text or a list of texts";
            let names: Vec<String> =
                serde_json::from_str(raw.get()).map_err(|_| Invalid::setting(key, "another list", accepted))?;
            Ok(names.join(","))
        }
        _ => Ok(raw.get().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    use super::*;

    fn error(body: &str) -> String {
        Given::read(body.as_bytes()).err().unwrap().to_string()
    }

    fn settings(configuration: &str) -> BTreeMap<String, Option<String>> {
        let body = format!("{{\"configuration\":{configuration}}}");
        let given = Given::read(body.as_bytes()).ok().unwrap();
        let text = |value: Option<SecretString>| value.map(|value| value.expose_secret().to_owned());
        given.configuration.into_iter().map(|(key, value)| (key, text(value))).collect()
    }

    #[test]
    fn values_of_every_kind_become_text_and_null_unsets() {
        let read = settings(
            r#"{"a":true,"b":62515,"c":123456789012345678901234567890,"d":{"x": [1]},"e":["p","q"],"f":"t\u00e9","g":null,
                "event.objects":["Contact","Account"]}"#,
        );
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(read["a"], some("true"));
        assert_eq!(read["b"], some("62515"));
        assert_eq!(read["c"], some("123456789012345678901234567890"));
        assert_eq!(read["d"], some(r#"{"x": [1]}"#));
        assert_eq!(read["e"], some(r#"["p","q"]"#));
        assert_eq!(read["f"], some("té"));
        assert_eq!(read["g"], None);
        assert_eq!(read["event.objects"], some("Contact,Account"));
        assert!(settings("null").is_empty());
    }

    #[test]
    fn names_and_tags_lose_their_html_and_keep_their_text() {
        let given = Given::read(br#"{"name":" <b>Acme</b> ","tags":["<i>x</i>","y"],"unknown":[1]}"#).ok().unwrap();
        assert_eq!(given.name.unwrap(), "Acme");
        assert_eq!(given.tags.unwrap(), ["x", "y"]);
        assert!(Given::read(br#"{"tags":null}"#).ok().unwrap().tags.unwrap().is_empty());
    }

    #[test]
    fn what_is_refused_is_named_with_what_was_given_and_what_is_accepted() {
        assert_eq!(error(""), "the body: given nothing; accepted: a JSON object");
        assert_eq!(error("{"), "the body: given no JSON (line 1, column 1); accepted: a JSON object");
        assert_eq!(error("[]"), "the body: given another JSON value; accepted: a JSON object");
        assert_eq!(error(r#"{"element":"x"}"#), "element: given a text; accepted: an object");
        assert!(error(r#"{"element":{"key":7}}"#).starts_with("element.key: given a number"));
        assert!(error(r#"{"name":null}"#).starts_with("name: given null"));
        assert!(error(r#"{"name":"<p>"}"#).starts_with("name: given a text that is empty or all tags"));
        assert!(error(&format!(r#"{{"name":"{}"}}"#, "x".repeat(256))).starts_with("name: given a text of 256"));
        assert!(error(&format!(r#"{{"name":"{}"}}"#, "<".repeat(5000))).starts_with("name: given a text of more"));
        assert!(error(r#"{"tags":"x"}"#).starts_with("tags: given a text"));
        assert!(error(r#"{"tags":["x",1]}"#).starts_with("tags[1]: given a number"));
        assert!(error(r#"{"configuration":[1]}"#).starts_with("configuration: given a list"));
        assert!(error(r#"{"configuration":{"k":"\ud800"}}"#).starts_with("configuration \"k\": given"));
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..200), json in "[{}\\[\\]\":,a-z0-9]{0,60}") {
            let _ = Given::read(&body);
            let _ = Given::read(json.as_bytes());
        }

        #[test]
        fn any_text_value_arrives_as_it_was_sent(key in ".{1,20}", value in ".{0,60}") {
            let configuration = serde_json::to_string(&BTreeMap::from([(&key, &value)])).unwrap();
            prop_assert_eq!(settings(&configuration), BTreeMap::from([(key, Some(value))]));
        }
    }
}
