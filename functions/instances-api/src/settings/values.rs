//! Which values the keys that we know take. Pure.

use events::configuration::finder::{Finder, FinderError};
use events::configuration::headers::{self, HeadersError};
use events::configuration::metadata::{self, MetadataError};
use events::{SignatureKey, Timestamp, configuration};
use platform::{Key, limits};
use records::instances::MAPPING_PREFIX;
use records::wheel::Minutes;
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::IgnoredAny;

use super::Rules;
use super::known::{self, Kind, MINUTES};
use crate::invalid::Invalid;
use crate::{polled, text};

/// Longest provider account in bytes: part of an item's key.
const ACCOUNT_BYTES: usize = 256;
/// A signature key that goes on in base64.
const WHSEC: &str = "whsec_";

const HEADERS: &str = "lines of Name: value, or a JSON object such as {\"X-Key\": \"value\"}";

pub(super) const SECRET: &str = "a text that is not blank; null unsets it";

impl Rules<'_> {
    /// Whether a secret is to be stored; `false`: a blank one that unsets the key.
    pub(super) fn secret(&self, key: &str, value: &SecretString) -> Result<bool, Invalid> {
        let text = value.expose_secret();
        let refused = |given: &str, accepted: &str| Err(Invalid::setting(key, given, accepted));
        match key {
            configuration::SIGNATURE_KEY => {
                if text.trim().is_empty() {
                    return refused("a blank text", SECRET);
                }
                // Nothing after the prefix would be a key of no bytes: anybody could sign with it.
                if text == WHSEC || SignatureKey::new(value.clone()).is_err() {
                    let given = "a text that begins with whsec_ and does not go on as base64";
                    return refused(given, "any text that is not blank, or whsec_ and base64");
                }
            }
            configuration::BASIC_PASSWORD if text.contains(char::is_control) => {
                return refused("a text with control characters", "a text without them");
            }
            configuration::CALLBACK_HEADERS => check_headers(text)?,
            _ if self.connector.secret_keys().iter().any(|secret| secret == key) => {
                if let Err(given) = self.connector.check_secret(text) {
                    return refused(
                        given,
                        &format!("the secret as {} shows it; null unsets it", self.connector.name()),
                    );
                }
                // Providers make no such secrets: this one came with more than was to be copied.
                if text.trim() != text {
                    return refused("a text with blanks around it", "the secret alone");
                }
            }
            _ => {}
        }
        let unset =
            matches!(key, configuration::BASIC_PASSWORD | configuration::CALLBACK_HEADERS) && text.trim().is_empty();
        Ok(!unset)
    }

    /// What is to be stored for a key that holds no secret; `None`: nothing.
    pub(super) fn plain(&self, key: &str, value: &str) -> Result<Option<String>, Invalid> {
        let kind = match known::find(key) {
            Some(known) => known.kind,
            None if key.starts_with(MAPPING_PREFIX) => Kind::Path,
            None => return Ok(Some(value.to_owned())),
        };
        let text = value.trim();
        if text.is_empty() {
            return match (key, kind) {
                (configuration::ENABLED, _) => Ok(Some(String::new())),
                (_, Kind::Account) => Err(refused_account(text)),
                _ => Ok(None),
            };
        }
        let refused = |given: String, accepted: String| Err(Invalid::setting(key, given, accepted));
        match kind {
            Kind::Boolean => {
                if let Err(given) = configuration::boolean(text) {
                    return refused(text::quoted(given), "true or false".into());
                }
            }
            Kind::Word(words) if key == configuration::VENDOR_TYPE => return self.way(text, words).map(Some),
            Kind::Word(words) => return word(key, text, words).map(Some),
            Kind::Callback => self.check_callback(text)?,
            Kind::Account => {
                let controls = text.contains(char::is_control);
                if text.len() > ACCOUNT_BYTES || controls || limits::check_key(&Key::new(text, text)).is_err() {
                    return Err(refused_account(text));
                }
            }
            Kind::Username => {
                if !configuration::is_username(text) {
                    let accepted = "a user name without colon and control characters";
                    return refused(text::quoted(&text.escape_debug().to_string()), accepted.into());
                }
            }
            Kind::Date => {
                if Timestamp::parse_rfc3339(text).is_none() {
                    return refused(text::quoted(text), "a date such as 2026-01-31T00:00:00Z".into());
                }
            }
            Kind::Minutes => {
                if key == configuration::RECONCILE_INTERVAL && !polled::can_reconcile(self.connector) {
                    let accepted = format!(
                        "nothing here: {} cannot be polled beside webhooks, so nothing tells what these missed",
                        self.connector.name()
                    );
                    return refused(text::quoted(text), accepted);
                }
                let digits = text.bytes().all(|byte| byte.is_ascii_digit());
                if !digits || !text.parse().is_ok_and(|minutes| MINUTES.contains(&minutes)) {
                    let accepted = format!(
                        "a whole number of minutes, {} to {} (more than {} is never)",
                        MINUTES.start(),
                        MINUTES.end(),
                        Minutes::LONGEST.number()
                    );
                    return refused(text::quoted(text), accepted);
                }
            }
            Kind::Json => check_json(key, text)?,
            Kind::Metadata => {
                check_json(key, text)?;
                if let Err(error) = metadata::webhook_types(text) {
                    let (given, accepted) = match error {
                        MetadataError::TooMany => (error.to_string(), "fewer".to_owned()),
                        _ => ("other JSON".to_owned(), error.to_string()),
                    };
                    return refused(given, accepted);
                }
            }
            Kind::Finder => {
                if let Err(error) = Finder::parse(text) {
                    return Err(refused_finder(text, error));
                }
            }
            Kind::Path => {
                let name = |name: &str| !name.trim().is_empty() && !name.contains(char::is_control);
                if !text.split('.').all(name) {
                    let accepted = "names of fields with dots between, such as data.object.id";
                    return refused(text::quoted(&text.escape_debug().to_string()), accepted.into());
                }
            }
            Kind::Text | Kind::Secret => {}
        }
        Ok(Some(text.to_owned()))
    }

    /// One of the ways in which the connector learns of changes: by another the instance would never be told of anything, and
    /// nothing would say why.
    fn way(&self, text: &str, words: &[&'static str]) -> Result<String, Invalid> {
        let ways = polled::ways(self.connector, words);
        word(configuration::VENDOR_TYPE, text, &ways).map_err(|_| {
            let accepted = format!("{}, as {} tells what changed", ways.join(" or "), self.connector.name());
            Invalid::setting(configuration::VENDOR_TYPE, text::quoted(text), accepted)
        })
    }

    fn check_callback(&self, url: &str) -> Result<(), Invalid> {
        self.policy.check(url).map(|_| ()).map_err(|refusal| {
            let given = format!("{}: {refusal}", text::quoted_url(url));
            Invalid::setting(configuration::CALLBACK_URL, given, "an http or https URL of a public address")
        })
    }
}

/// Says what is wrong with a finder, or how one is written.
pub(super) fn refused_finder(text: &str, error: FinderError) -> Invalid {
    let given = text::quoted(&text.escape_debug().to_string());
    let (given, accepted) = match error {
        FinderError::Form | FinderError::Path => (given, error.to_string()),
        FinderError::Key | FinderError::Secret => {
            (format!("{given}: {error}"), "another configuration key before the |".to_owned())
        }
    };
    Invalid::setting(configuration::INSTANCE_FINDER, given, accepted)
}

fn refused_account(text: &str) -> Invalid {
    let accepted = format!(
        "the provider's id of the account, 1 to {ACCOUNT_BYTES} bytes without control characters; null unsets it"
    );
    Invalid::setting(configuration::VENDOR_ACCOUNT, text::quoted(&text.escape_debug().to_string()), accepted)
}

/// The one of `words` that `text` is.
fn word(key: &str, text: &str, words: &[&str]) -> Result<String, Invalid> {
    if let Some(word) = words.iter().find(|word| text.eq_ignore_ascii_case(word)) {
        return Ok((*word).to_owned());
    }
    Err(Invalid::setting(key, text::quoted(text), words.join(" or ")))
}

fn check_json(key: &str, text: &str) -> Result<(), Invalid> {
    serde_json::from_str::<std::collections::BTreeMap<String, IgnoredAny>>(text).map(|_| ()).map_err(|error| {
        let given = match error.classify() {
            serde_json::error::Category::Data => "another JSON value".to_owned(),
            _ => format!("a text that is no JSON (line {}, column {})", error.line(), error.column()),
        };
        Invalid::setting(key, given, "a JSON object, or a text that holds one")
    })
}

/// No message repeats a value: it may be a bearer token.
fn check_headers(text: &str) -> Result<(), Invalid> {
    let key = configuration::CALLBACK_HEADERS;
    let further = headers::parse(text).map_err(|error| match error {
        HeadersError::Json => Invalid::setting(key, "other JSON", error.to_string()),
        _ => Invalid::setting(key, format!("a text that does not do: {error}"), HEADERS),
    })?;
    for (index, (name, value)) in further.iter().enumerate() {
        if let Err(fault) = egress::callback::check_header(name, value) {
            return Err(Invalid::setting(key, format!("header {}: {fault}", index + 1), "other headers"));
        }
    }
    Ok(())
}
