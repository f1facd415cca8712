//! What callers send about an instance: the contract's words, read into ours.
//!
//! Values of the configuration may be text, booleans, numbers, objects or lists; all become text, numbers digit for digit
//! (a provider's account number may have more of them than a float can hold).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;

use events::{InstanceId, configuration};
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
#[derive(Default)]
pub(crate) struct Given {
    pub(crate) id: Option<InstanceId>,
    pub(crate) name: Option<String>,
    pub(crate) element: ElementGiven,
    pub(crate) tags: Option<Vec<String>>,
    pub(crate) disabled: Option<bool>,
    pub(crate) configuration: Option<Changes>,
    pub(crate) provider: Option<ProviderData>,
    /// Whether it says that the configuration has tokens that were had elsewhere.
    pub(crate) brings_tokens: bool,
}

/// What a provider sent a customer back with.
pub(crate) struct ProviderData {
    /// What tokens are had for.
    pub(crate) code: SecretString,
    /// The other parameters.
    pub(crate) fields: BTreeMap<String, String>,
}

/// What a request says of the connector: its key, its number, both or neither.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct ElementGiven {
    pub(crate) key: Option<String>,
    pub(crate) id: Option<u32>,
}

/// What a request says of one configuration item.
pub(crate) struct ItemGiven<'a> {
    pub(crate) id: Option<u32>,
    pub(crate) key: Option<String>,
    value: &'a RawValue,
}

type Object<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

impl Given {
    /// Reads the body of a request. Fields that we do not know are left alone, as the old product did: clients send back
    /// whole instances as they read them.
    ///
    /// # Errors
    /// [`Invalid`].
    pub(crate) fn read(body: &[u8]) -> Result<Self, Invalid> {
        let fields = read(body)?;
        let configuration = match fields.get("configuration") {
            Some(raw) if !is_null(raw) => Some(changes(raw)?),
            _ => None,
        };
        Ok(Self {
            id: fields.get("id").map(|raw| number("id", raw, "the instance's id")).transpose()?,
            name: fields.get("name").map(|raw| label("name", raw)).transpose()?,
            element: fields.get("element").map(|raw| element(raw)).transpose()?.unwrap_or_default(),
            tags: fields.get("tags").map(|raw| tags(raw)).transpose()?,
            disabled: fields.get("disabled").map(|raw| boolean("disabled", raw)).transpose()?,
            configuration,
            provider: fields.get("providerData").map(|raw| provider_data(raw)).transpose()?.flatten(),
            brings_tokens: fields.get("externalAuthentication").is_some_and(|raw| raw.get() == "\"initial\""),
        })
    }
}

impl<'a> ItemGiven<'a> {
    /// Reads the body of a request: an item as it is listed, with another `propertyValue`.
    ///
    /// # Errors
    /// [`Invalid`].
    pub(crate) fn read(body: &'a [u8]) -> Result<Self, Invalid> {
        let fields = read(body)?;
        let Some(value) = fields.get("propertyValue") else {
            let accepted = "the new value: a text, a boolean, a number or JSON; null unsets it";
            return Err(Invalid::new("propertyValue", "nothing", accepted));
        };
        Ok(Self {
            id: fields.get("id").map(|raw| number("id", raw, "the item's id")).transpose()?,
            key: fields.get("key").map(|raw| string("key", raw, "the item's key")).transpose()?,
            value,
        })
    }

    /// What is to become of `key`, whose item this is.
    ///
    /// # Errors
    /// [`Invalid`].
    pub(crate) fn change(&self, key: &str) -> Result<Changes, Invalid> {
        Ok(Changes::from([(key.to_owned(), change(key, self.value)?)]))
    }
}

/// Whether an account that is to be made is an operator's. The body may be left out.
///
/// # Errors
/// [`Invalid`].
pub(crate) fn operator(body: &[u8]) -> Result<bool, Invalid> {
    if body.is_empty() {
        return Ok(false);
    }
    read(body)?.get("operator").map_or(Ok(false), |raw| boolean("operator", raw))
}

/// The fields of a body.
fn read(body: &[u8]) -> Result<Object<'_>, Invalid> {
    serde_json::from_slice(body).map_err(|error| {
        let given = match error.classify() {
            serde_json::error::Category::Data => "another JSON value".to_owned(),
            _ if body.is_empty() => "nothing".to_owned(),
            _ => format!("no JSON (line {}, column {})", error.line(), error.column()),
        };
        Invalid::new("the body", given, "a JSON object")
    })
}

fn element(raw: &RawValue) -> Result<ElementGiven, Invalid> {
    let accepted = "an object with the connector's key or id, such as {\"key\": \"hubspot\"}";
    let fields = object("element", raw, accepted)?;
    let stated = |name: &str| fields.get(name).filter(|raw| !is_null(raw));
    Ok(ElementGiven {
        key: stated("key").map(|raw| string("element.key", raw, "a connector's key")).transpose()?,
        id: stated("id").map(|raw| number("element.id", raw, "a connector's number")).transpose()?,
    })
}

/// What a provider sent a customer back with; `None` where all of it is blank. What comes without a code (OAuth 1) is refused
/// by name: to take it and do nothing with it would leave its sender waiting.
fn provider_data(raw: &RawValue) -> Result<Option<ProviderData>, Invalid> {
    if is_null(raw) {
        return Ok(None);
    }
    let field = |name: &str| format!("providerData.{}", text::start(name));
    let given = object("providerData", raw, "an object")?;
    let mut fields = BTreeMap::new();
    for (name, raw) in given.into_iter().filter(|(_, raw)| !is_null(raw)) {
        // Numbers come as they are written.
        let value = match raw.get().as_bytes().first() {
            Some(b'"') => string(&field(&name), raw, "a text")?,
            _ => raw.get().to_owned(),
        };
        if !value.trim().is_empty() {
            fields.insert(name.into_owned(), value);
        }
    }
    match (fields.remove("code"), fields.keys().next()) {
        (Some(code), _) => Ok(Some(ProviderData { code: code.trim().into(), fields })),
        (None, Some(name)) => {
            Err(Invalid::new(field(name), "a value", "providerData.code beside it: OAuth 2 alone is known"))
        }
        (None, None) => Ok(None),
    }
}

/// A whole number, also as text: the old product's clients write both.
fn number<T: FromStr>(field: &str, raw: &RawValue, accepted: &str) -> Result<T, Invalid> {
    let text: Cow<'_, str> = serde_json::from_str(raw.get()).unwrap_or(Cow::Borrowed(raw.get()));
    text.trim().parse().map_err(|_| Invalid::new(field, kind(raw), accepted))
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

fn object<'a>(field: &str, raw: &'a RawValue, accepted: &str) -> Result<Object<'a>, Invalid> {
    serde_json::from_str(raw.get()).map_err(|_| Invalid::new(field, kind(raw), accepted))
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
    object("configuration", raw, "an object of keys and their values")?
        .into_iter()
        .map(|(key, raw)| {
            let change = change(&key, raw)?;
            Ok((key.into_owned(), change))
        })
        .collect()
}

fn change(key: &str, raw: &RawValue) -> Result<Option<SecretString>, Invalid> {
    if is_null(raw) { Ok(None) } else { Ok(Some(setting(key, raw)?.into())) }
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
        given.configuration.unwrap_or_default().into_iter().map(|(key, value)| (key, text(value))).collect()
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
    fn ids_are_numbers_also_as_text_and_a_connector_is_named_by_key_or_number() {
        let given = Given::read(br#"{"id":"31","element":{"key":"sfdc","id":" 7 "}}"#).ok().unwrap();
        assert_eq!(given.id.unwrap().number(), 31);
        assert_eq!(given.element, ElementGiven { key: Some("sfdc".into()), id: Some(7) });
        let given = Given::read(br#"{"id":31,"element":{"key":null,"id":7}}"#).ok().unwrap();
        assert_eq!(given.element, ElementGiven { key: None, id: Some(7) });
        assert!(Given::read(b"{}").ok().unwrap().configuration.is_none());
        for bad in ["0", "-1", "31.5", "null", "{}", "\"x\"", "99999999999999999999"] {
            assert!(error(&format!("{{\"id\":{bad}}}")).starts_with("id: given"), "{bad}");
            assert!(
                bad == "0"
                    || bad == "null"
                    || error(&format!(r#"{{"element":{{"id":{bad}}}}}"#)).starts_with("element.id")
            );
        }
    }

    #[test]
    fn a_code_is_read_with_what_came_beside_it_and_what_comes_without_one_refused_and_not_repeated() {
        let provider =
            |data: &str| Given::read(format!("{{\"providerData\":{data}}}").as_bytes()).ok().unwrap().provider;
        for nothing in ["null", "{}", r#"{"code":"","state":null,"realmId":" "}"#] {
            assert!(provider(nothing).is_none(), "{nothing}");
        }
        let ProviderData { code, fields } = provider(r#"{"realmId":4620816365,"code":" gr4nt ","state":""}"#).unwrap();
        assert_eq!(code.expose_secret(), "gr4nt");
        assert_eq!(fields, BTreeMap::from([("realmId".to_owned(), "4620816365".to_owned())]));
        let message = error(r#"{"providerData":{"oauth_verifier":"gr4nt"}}"#);
        assert!(message.starts_with("providerData.oauth_verifier: given") && !message.contains("gr4nt"), "{message}");
        assert!(error(r#"{"providerData":"gr4nt"}"#).starts_with("providerData: given a text"));
    }

    #[test]
    fn an_item_needs_a_new_value_and_takes_any_json() {
        let value = |body: &str| {
            let item = ItemGiven::read(body.as_bytes()).map_err(|invalid| invalid.to_string())?;
            let changes = item.change("event.objects").map_err(|invalid| invalid.to_string())?;
            Ok::<_, String>(changes["event.objects"].as_ref().map(|value| value.expose_secret().to_owned()))
        };
        assert_eq!(value(r#"{"id":5,"key":"event.objects","propertyValue":true}"#), Ok(Some("true".into())));
        assert_eq!(value(r#"{"propertyValue":["a","b"]}"#), Ok(Some("a,b".into())));
        assert_eq!(value(r#"{"propertyValue":null}"#), Ok(None));
        assert!(value(r#"{"id":5}"#).unwrap_err().starts_with("propertyValue: given nothing"));
        assert!(value(r#"{"id":"x","propertyValue":1}"#).unwrap_err().starts_with("id: given a text"));
        assert!(value("[]").unwrap_err().starts_with("the body: "));
    }

    #[test]
    fn what_is_refused_is_named_with_what_was_given_and_what_is_accepted() {
        assert_eq!(error(""), "the body: given nothing; accepted: a JSON object");
        assert_eq!(error("{"), "the body: given no JSON (line 1, column 1); accepted: a JSON object");
        assert_eq!(error("[]"), "the body: given another JSON value; accepted: a JSON object");
        assert_eq!(
            error(r#"{"element":"x"}"#),
            "element: given a text; accepted: an object with the connector's key or id, such as {\"key\": \"hubspot\"}"
        );
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
            if let Ok(item) = ItemGiven::read(&body) {
                let _ = item.change("event.objects");
            }
        }

        #[test]
        fn any_text_value_arrives_as_it_was_sent(key in ".{1,20}", value in ".{0,60}") {
            let configuration = serde_json::to_string(&BTreeMap::from([(&key, &value)])).unwrap();
            prop_assert_eq!(settings(&configuration), BTreeMap::from([(key, Some(value))]));
        }
    }
}
