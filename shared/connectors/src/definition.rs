//! A definition's schema, exactly: an unknown field is an error that names its line.
//!
//! ```yaml
//! key: hubspot                    # in URLs and records; the file's name
//! name: HubSpot                   # for people
//! hub: crm                        # the contract's hub
//! webhook:
//!   scope: app                    # one URL and one secret for all customers; `instance`: each has its own
//!   secret: [webhook.secret]      # configuration keys that may hold the secret; the first present counts
//!   account: .portalId            # jq, from an entry: the customer's account at the provider (optional)
//!   signatures: […]               # tried in order; the first whose header is there (and `when` holds) decides alone
//!   tables: { verbs: {…} }        # what the mapping looks words up in, as $verbs
//!   mapping: […]                  # jq, from an entry: [objectType, objectId, eventType, date, occurrence], any number
//! ```
//!
//! An *entry* is an element of the body, where that is an array, else the body. A mapping may use `$delivery` (the
//! delivery's id, or null: from the `id` header of the rule that decides, since another header is nobody's word),
//! `$config` (the instance's configuration), `$index` (the entry's place in the body, from 0) and its tables. It yields arrays, because building an object costs jq about a microsecond a field. In them:
//! `objectType` and `objectId` are text or a whole number; `eventType` is a word of the contract; `date` is milliseconds
//! since 1970, an RFC 3339 text or null; `occurrence` is an array of whatever a redelivery repeats and another change
//! does not, or null where the provider sends nothing of the kind. A mapping that yields many rows binds it once
//! (`… as $occurrence`): it is hashed once then.

use std::collections::BTreeMap;
use std::fmt;

use http::HeaderName;
use serde::{Deserialize, Deserializer, de::Error};
use serde_saphyr::Spanned;

use crate::message::Template;

/// Why a definition does not load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefinitionError {
    /// The line, from 1; 0 where no line is to blame.
    pub line: u64,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for DefinitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for DefinitionError {}

/// Whose webhook URL and secret they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// The provider app's: one for all customers.
    App,
    /// The customer's own.
    Instance,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Definition {
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) hub: String,
    pub(crate) webhook: Webhook,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhook {
    pub(crate) scope: Scope,
    #[serde(default)]
    pub(crate) secret: Vec<String>,
    pub(crate) account: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) signatures: Vec<Spanned<Rule>>,
    #[serde(default)]
    pub(crate) tables: BTreeMap<String, BTreeMap<String, String>>,
    pub(crate) mapping: Spanned<String>,
}

/// One way the provider signs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    /// The header that holds the signature.
    #[serde(deserialize_with = "header")]
    pub(crate) header: HeaderName,
    /// What else must hold for the rule to apply.
    pub(crate) when: Option<When>,
    pub(crate) scheme: Scheme,
    pub(crate) encoding: Encoding,
    /// What stands before the signature, e.g. `v1,`.
    #[serde(default)]
    pub(crate) prefix: String,
    /// What stands between several signatures, of which one must match.
    pub(crate) separator: Option<String>,
    /// What is signed.
    pub(crate) message: Template,
    /// The characters whose percent-escapes `{url.decoded}` decodes.
    #[serde(default)]
    pub(crate) unescape: String,
    #[serde(default)]
    pub(crate) secret: SecretForm,
    pub(crate) timestamp: Option<Stamp>,
    /// The header that holds the delivery's id.
    #[serde(default, deserialize_with = "optional_header")]
    pub(crate) id: Option<HeaderName>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct When {
    #[serde(deserialize_with = "header")]
    pub(crate) header: HeaderName,
    /// The value it must have, in any case.
    pub(crate) is: String,
    /// Whether the rule also applies without the header.
    #[serde(default)]
    pub(crate) or_absent: bool,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scheme {
    HmacSha256,
    /// A plain hash, of a message that contains the secret.
    Sha256,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Encoding {
    Hex,
    Base64,
}

/// How the configured text becomes the key.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecretForm {
    pub(crate) encoding: SecretEncoding,
    /// What stands before the encoded key.
    #[serde(default)]
    pub(crate) prefix: String,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SecretEncoding {
    #[default]
    Utf8,
    Base64,
}

/// The signed time, and how far it may lie from our clock: in `unit`, both inclusive.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stamp {
    #[serde(deserialize_with = "header")]
    pub(crate) header: HeaderName,
    pub(crate) unit: Unit,
    pub(crate) past: i64,
    pub(crate) future: i64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Unit {
    S,
    Ms,
}

fn header<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HeaderName, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(|_| D::Error::custom("not a header name"))
}

fn optional_header<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<HeaderName>, D::Error> {
    header(deserializer).map(Some)
}

impl Definition {
    pub(crate) fn read(text: &str) -> Result<Self, DefinitionError> {
        let options = serde_saphyr::options! { with_snippet: false };
        let definition: Self = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let line = error.location().map_or(0, |location| location.line());
            DefinitionError { line, message: error.to_string() }
        })?;
        for rule in &definition.webhook.signatures {
            let line = rule.referenced.line();
            rule.value.check().map_err(|message| DefinitionError { line, message: message.into() })?;
        }
        let signed = !definition.webhook.signatures.is_empty();
        if signed == definition.webhook.secret.is_empty() {
            let message = "signatures need configuration keys for their secret, and a secret needs signatures";
            return Err(DefinitionError { line: 0, message: message.into() });
        }
        Ok(definition)
    }
}

impl Rule {
    /// What a careless rule would let through.
    fn check(&self) -> Result<(), &'static str> {
        if matches!(self.scheme, Scheme::Sha256) != self.message.has_secret() {
            return Err("a plain sha256 must hash {secret}, and an hmac must not");
        }
        if self.message.has_timestamp() != self.timestamp.is_some() {
            return Err("{timestamp} in the message and `timestamp` go together");
        }
        if self.message.has_id() != self.id.is_some() {
            return Err("{id} in the message and `id` go together");
        }
        if self.message.has_decoded_url() == self.unescape.is_empty() {
            return Err("{url.decoded} in the message and `unescape` go together");
        }
        if self.unescape.contains('%') || !self.unescape.is_ascii() {
            return Err("`unescape` holds ASCII characters other than %");
        }
        if self.timestamp.as_ref().is_some_and(|stamp| stamp.past < 0 || stamp.future < 0) {
            return Err("a tolerance is not negative");
        }
        Ok(())
    }
}
