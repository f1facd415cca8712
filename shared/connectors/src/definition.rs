//! A definition's schema, exactly: an unknown field is an error that names its line.
//!
//! ```yaml
//! key: hubspot                    # in URLs and records; the file's name
//! name: HubSpot                   # for people
//! hub: crm                        # the contract's hub
//! description: …                  # one line, for people (optional)
//! webhook:                        # what the provider sends by itself; without it nothing is taken from it
//!   scope: app                    # one URL and one secret for all customers; `instance`: each has its own
//!   secret: [webhook.secret]      # configuration keys that may hold the secret; the first present counts
//!   required: [event.vendor.account]  # configuration keys that an instance cannot do without
//!   formats: [json]               # what a body may be: json (the default), form, query (a GET's), xml
//!   payload: payload              # the field of a form or query that holds the JSON (optional: else its fields do)
//!   xml: { namespaces, root, lists, drop }  # how XML becomes an object
//!   entries: eventNotifications   # where a body that is an object holds its entries (optional), as names with dots
//!   redact: [clientState]         # fields of an entry that are secrets: never stored, never handed on
//!   headers: [x-github-event]     # what the programs may read as $headers; no signature covers them
//!   account: .portalId            # jq, from an entry: the customer's account at the provider (optional)
//!   account_characters: 15        # so many of its characters count (optional: all)
//!   account_must_match: true      # a body of another account than the instance's is refused: nothing is signed
//!   verify_without_account: true  # a request that names no account is a test: any instance's secret may verify it
//!   handshakes: […]               # what is answered at once; the first that matches counts
//!   signatures: […]               # tried in order; the first that is there (and whose `when` holds) decides alone
//!   tables: { verbs: {…} }        # what the mapping looks words up in, as $verbs; a value may be any JSON
//!   mapping: […]                  # jq, from an entry: [objectType, objectId, eventType, date, occurrence], any number
//!   signal: true                  # instead of a mapping: the body says only that something changed
//!   reply: { type, body, bare }   # what is answered to what is taken; `bare`: refusals have no body either
//! polling: …                      # how the provider is asked; see `polling::definition`. One of the two there must be
//! examples: […]                   # recorded webhooks and what they mean; see `Example`
//! ```
//!
//! An *entry* is an element of the body, where that is an array or holds one at `entries`, else the body. A mapping may
//! use `$delivery` (the delivery's id, or null: from the `id` header of the rule that decides, since another header is
//! nobody's word), `$config` (the instance's configuration), `$index` (the entry's place in the body, from 0), `$headers`
//! and its tables. It yields arrays, because building an object costs jq about a microsecond a field. In them:
//! `objectType` and `objectId` are text or a whole number; `eventType` is a word of the contract; `date` is milliseconds
//! since 1970, an RFC 3339 text (the offset may lack its colon, or be absent: UTC) or null; `occurrence` is an array of
//! whatever a redelivery repeats and another change does not, or null where the provider sends nothing of the kind. A
//! mapping that yields many rows binds it once (`… as $occurrence`): it is hashed once then.
//!
//! A *signature* rule of scheme `hmac-sha256` or `sha256` names the header, encoding and message; one of scheme `token`
//! names where the secret itself stands: `query`, `header` or `field` (of every entry).
//!
//! A *handshake* is answered with what it echoes: the `query` parameter, the body's `field` (where `where` holds), or the
//! `header`, in a header of the same name; with `keep`, that is the instance's secret from then on, unless it has one.

use std::collections::BTreeMap;
use std::fmt;

use http::HeaderName;
use polling::definition::Polling;
use serde::{Deserialize, Deserializer, de::Error};
use serde_saphyr::Spanned;

use crate::Example;
use crate::body::xml::Xml;
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

impl From<polling::definition::DefinitionError> for DefinitionError {
    fn from(polling::definition::DefinitionError { line, message }: polling::definition::DefinitionError) -> Self {
        Self { line, message }
    }
}

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
    pub(crate) key: Spanned<String>,
    pub(crate) name: String,
    pub(crate) hub: String,
    #[serde(default)]
    pub(crate) description: String,
    pub(crate) webhook: Option<Webhook>,
    pub(crate) polling: Option<Polling>,
    #[serde(default)]
    pub(crate) examples: Vec<Spanned<Example>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhook {
    pub(crate) scope: Scope,
    #[serde(default)]
    pub(crate) secret: Vec<String>,
    #[serde(default)]
    pub(crate) required: Vec<String>,
    #[serde(default = "json")]
    pub(crate) formats: Vec<Format>,
    pub(crate) payload: Option<String>,
    pub(crate) xml: Option<Xml>,
    pub(crate) entries: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) redact: Vec<String>,
    #[serde(default, deserialize_with = "headers")]
    pub(crate) headers: Vec<HeaderName>,
    pub(crate) account: Option<Spanned<String>>,
    pub(crate) account_characters: Option<usize>,
    #[serde(default)]
    pub(crate) account_must_match: bool,
    #[serde(default)]
    pub(crate) verify_without_account: bool,
    #[serde(default)]
    pub(crate) handshakes: Vec<Spanned<HandshakeRule>>,
    #[serde(default)]
    pub(crate) signatures: Vec<Spanned<RuleText>>,
    #[serde(default)]
    pub(crate) tables: BTreeMap<String, BTreeMap<String, serde_json::Value>>,
    pub(crate) mapping: Option<Spanned<String>>,
    #[serde(default)]
    pub(crate) signal: bool,
    pub(crate) reply: Option<Reply>,
}

impl Webhook {
    /// Of a connector without webhooks: nothing that it could read or verify.
    pub(crate) fn none() -> Self {
        Self {
            scope: Scope::Instance,
            secret: Vec::new(),
            required: Vec::new(),
            formats: Vec::new(),
            payload: None,
            xml: None,
            entries: None,
            redact: Vec::new(),
            headers: Vec::new(),
            account: None,
            account_characters: None,
            account_must_match: false,
            verify_without_account: false,
            handshakes: Vec::new(),
            signatures: Vec::new(),
            tables: BTreeMap::new(),
            mapping: None,
            signal: false,
            reply: None,
        }
    }
}

/// What a body may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
    /// The query of a GET.
    Query,
    Xml,
}

fn json() -> Vec<Format> {
    vec![Format::Json]
}

/// What is answered to a request that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// The content type; without it there is none.
    #[serde(rename = "type", default)]
    pub content_type: Option<String>,
    /// The body.
    #[serde(default)]
    pub body: String,
    /// Whether refusals have no body either.
    #[serde(default)]
    pub bare: bool,
}

/// A request that is answered at once. Exactly one of `query`, `field` and `header` says what is echoed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HandshakeRule {
    /// The method; without it any.
    pub(crate) method: Option<String>,
    /// A parameter of the query.
    pub(crate) query: Option<String>,
    /// A field of the body.
    pub(crate) field: Option<String>,
    /// What other fields of the body must be.
    #[serde(default, rename = "where")]
    pub(crate) fields: BTreeMap<String, String>,
    /// A header.
    #[serde(default, deserialize_with = "optional_header")]
    pub(crate) header: Option<HeaderName>,
    /// Whether the header's value is the instance's secret from then on.
    #[serde(default)]
    pub(crate) keep: bool,
}

/// One way the provider proves itself, as written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RuleText {
    /// The header that holds the signature, or the token.
    #[serde(default, deserialize_with = "optional_header")]
    header: Option<HeaderName>,
    /// The parameter of the query that holds the token.
    query: Option<String>,
    /// The field of every entry that holds the token.
    field: Option<String>,
    /// What else must hold for the rule to apply.
    when: Option<When>,
    scheme: Scheme,
    encoding: Option<Encoding>,
    /// What stands before the signature, e.g. `v1,`.
    #[serde(default)]
    prefix: String,
    /// What stands between several signatures, of which one must match.
    separator: Option<String>,
    /// What is signed.
    message: Option<Template>,
    /// The characters whose percent-escapes `{url.decoded}` decodes.
    #[serde(default)]
    unescape: String,
    #[serde(default)]
    secret: SecretForm,
    timestamp: Option<Stamp>,
    /// The header that holds the delivery's id.
    #[serde(default, deserialize_with = "optional_header")]
    id: Option<HeaderName>,
}

/// One way the provider proves itself.
#[derive(Debug, Clone)]
pub(crate) enum Rule {
    Signature(Box<SignatureRule>),
    Token(TokenPlace),
}

/// Where the secret itself stands.
#[derive(Debug, Clone)]
pub(crate) enum TokenPlace {
    Header(HeaderName),
    Query(String),
    /// A field of every entry.
    Field(String),
}

/// A signature over the request. The fields are [`RuleText`]'s.
#[derive(Debug, Clone)]
pub(crate) struct SignatureRule {
    pub(crate) header: HeaderName,
    pub(crate) when: Option<When>,
    /// Whether it may prove a GET: where a GET's content is its query, only if it covers that.
    pub(crate) proves_get: bool,
    pub(crate) plain_hash: bool,
    pub(crate) encoding: Encoding,
    pub(crate) prefix: String,
    pub(crate) separator: Option<String>,
    pub(crate) message: Template,
    pub(crate) unescape: String,
    pub(crate) secret: SecretForm,
    pub(crate) timestamp: Option<Stamp>,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Scheme {
    HmacSha256,
    /// A plain hash, of a message that contains the secret.
    Sha256,
    /// The secret itself, at a place of the request.
    Token,
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

/// The signed time, and how far it may lie from our clock: in `unit` (of `rfc3339`: in seconds), both inclusive.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stamp {
    #[serde(deserialize_with = "header")]
    pub(crate) header: HeaderName,
    /// What stands before it, where it is one item of the signature's header, e.g. `t=`.
    #[serde(default)]
    pub(crate) prefix: String,
    pub(crate) unit: Unit,
    pub(crate) past: i64,
    pub(crate) future: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Unit {
    S,
    Ms,
    /// A text such as `2021-03-25T05:09:27Z`.
    Rfc3339,
}

fn header<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HeaderName, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(|_| D::Error::custom("not a header name"))
}

fn optional_header<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<HeaderName>, D::Error> {
    header(deserializer).map(Some)
}

fn headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<HeaderName>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    names.iter().map(|name| name.parse().map_err(|_| D::Error::custom("not a header name"))).collect()
}

impl Definition {
    pub(crate) fn read(text: &str) -> Result<Self, DefinitionError> {
        let options = serde_saphyr::options! { with_snippet: false };
        let definition: Self = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
            let line = error.location().map_or(0, |location| location.line());
            DefinitionError { line, message: error.to_string() }
        })?;
        definition.check()?;
        Ok(definition)
    }

    /// Reads what the build has made of a file: a part of it as JSON, which knows no lines. The whole was checked before, by a
    /// test.
    pub(crate) fn built_in(json: &str) -> Result<Self, DefinitionError> {
        serde_json::from_str(json).map_err(|error| DefinitionError { line: 0, message: error.to_string() })
    }

    /// What the types cannot say.
    fn check(&self) -> Result<(), DefinitionError> {
        let key = &self.key.value;
        let at = |line: u64, message: &str| Err(DefinitionError { line, message: message.into() });
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if key.is_empty() || key.len() > MAX_KEY_BYTES || !key.chars().all(plain) {
            return at(self.key.referenced.line(), "a key is 1 to 64 of a to z, 0 to 9, - and _: it stands in URLs");
        }
        if let Some(polling) = &self.polling {
            polling.check()?;
        }
        let Some(webhook) = &self.webhook else {
            return match (&self.polling, self.examples.first()) {
                (None, _) => at(0, "a connector has `webhook`, `polling` or both: else it tells of nothing"),
                (Some(_), Some(example)) => {
                    at(example.referenced.line(), "an example is a webhook, so it needs `webhook`")
                }
                (Some(_), None) => Ok(()),
            };
        };
        if webhook.signatures.is_empty() != webhook.secret.is_empty() {
            return at(0, "signatures need configuration keys for their secret, and a secret needs signatures");
        }
        if webhook.signal == webhook.mapping.is_some() {
            return at(0, "a webhook has either a mapping or `signal: true`");
        }
        if webhook.signal && webhook.account.is_none() && webhook.scope == Scope::App {
            return at(0, "a signal for all customers needs `account`: else nobody knows whom it concerns");
        }
        if webhook.formats.is_empty() {
            return at(0, "`formats` names at least one format");
        }
        if webhook.formats.contains(&Format::Xml) != webhook.xml.is_some() {
            return at(0, "the format xml and `xml`, which says how it is read, go together");
        }
        let fielded = webhook.formats.iter().any(|format| matches!(format, Format::Form | Format::Query));
        if webhook.payload.is_some() && !fielded {
            return at(0, "`payload` is a field of the format form or query");
        }
        if webhook.formats.contains(&Format::Query) && !webhook.signatures.iter().any(|rule| rule.value.proves_query())
        {
            return at(0, "the format query needs a token, or a signature over {url}: nothing else proves a query");
        }
        if webhook.account.is_none() && (webhook.account_must_match || webhook.account_characters.is_some()) {
            return at(0, "`account_must_match` and `account_characters` need `account`");
        }
        if webhook.verify_without_account && (webhook.account.is_none() || webhook.signatures.is_empty()) {
            return at(0, "`verify_without_account` needs `account` and `signatures`");
        }
        if let Some(entries) = &webhook.entries
            && entries.value.split('.').any(str::is_empty)
        {
            return at(entries.referenced.line(), "`entries` is one or more names with dots between");
        }
        for rule in &webhook.handshakes {
            rule.value.check().or_else(|message| at(rule.referenced.line(), message))?;
        }
        for rule in &webhook.signatures {
            rule.value.check().or_else(|message| at(rule.referenced.line(), message))?;
        }
        if let Some(reply) = &webhook.reply
            && let Some(content_type) = &reply.content_type
            && content_type.parse::<http::HeaderValue>().is_err()
        {
            return at(0, "the reply's type cannot stand in a header");
        }
        Ok(())
    }
}

/// Longest key of a connector, in bytes: it is part of URLs and of items' keys.
const MAX_KEY_BYTES: usize = 64;

impl HandshakeRule {
    fn check(&self) -> Result<(), &'static str> {
        let echoed = [self.query.is_some(), self.field.is_some(), self.header.is_some()];
        if echoed.iter().filter(|there| **there).count() != 1 {
            return Err("a handshake echoes exactly one of `query`, `field` and `header`");
        }
        if !self.fields.is_empty() && self.field.is_none() {
            return Err("`where` looks at the body, so the handshake echoes a `field` of it");
        }
        if self.keep && self.header.is_none() {
            return Err("only a `header` is kept");
        }
        Ok(())
    }
}

impl RuleText {
    /// What a careless rule would let through.
    fn check(&self) -> Result<(), &'static str> {
        let places = [self.header.is_some(), self.query.is_some(), self.field.is_some()];
        if places.iter().filter(|there| **there).count() != 1 {
            return Err("a rule names exactly one place: `header`, and for a token also `query` or `field`");
        }
        if matches!(self.scheme, Scheme::Token) {
            let signature = self.message.is_some() || self.encoding.is_some() || self.timestamp.is_some();
            return if signature || self.when.is_some() || self.id.is_some() {
                Err("a token has a place and nothing else: no message, encoding, timestamp, when or id")
            } else {
                Ok(())
            };
        }
        let Some(message) = &self.message else { return Err("a signature needs `message`: what is signed") };
        if self.header.is_none() {
            return Err("a signature stands in a `header`");
        }
        if self.encoding.is_none() {
            return Err("a signature needs `encoding`: hex or base64");
        }
        if matches!(self.scheme, Scheme::Sha256) != message.has_secret() {
            return Err("a plain sha256 must hash {secret}, and an hmac must not");
        }
        if message.has_timestamp() != self.timestamp.is_some() {
            return Err("{timestamp} in the message and `timestamp` go together");
        }
        if message.has_id() != self.id.is_some() {
            return Err("{id} in the message and `id` go together");
        }
        if message.has_decoded_url() == self.unescape.is_empty() {
            return Err("{url.decoded} in the message and `unescape` go together");
        }
        if self.unescape.contains('%') || !self.unescape.is_ascii() {
            return Err("`unescape` holds ASCII characters other than %");
        }
        if let Some(stamp) = &self.timestamp {
            if stamp.past < 0 || stamp.future < 0 {
                return Err("a tolerance is not negative");
            }
            if !stamp.prefix.is_empty() && (self.separator.is_none() || Some(&stamp.header) != self.header.as_ref()) {
                return Err("a time with a `prefix` is an item of the signature's header, which needs a `separator`");
            }
        }
        Ok(())
    }

    /// The parameter of the query that holds the token.
    pub(crate) fn token_parameter(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// Whether it says of a request's query that the provider sent it.
    pub(crate) fn proves_query(&self) -> bool {
        matches!(self.scheme, Scheme::Token) || self.message.as_ref().is_some_and(Template::covers_url)
    }

    /// The rule, once checked; `reads_query`: the content of a GET is its query.
    pub(crate) fn compile(self, reads_query: bool) -> Option<Rule> {
        let proves_get = !reads_query || self.proves_query();
        let Self { header, query, field, message, encoding, .. } = self;
        if matches!(self.scheme, Scheme::Token) {
            let place = header.map(TokenPlace::Header).or(query.map(TokenPlace::Query));
            return place.or(field.map(TokenPlace::Field)).map(Rule::Token);
        }
        Some(Rule::Signature(Box::new(SignatureRule {
            header: header?,
            when: self.when,
            proves_get,
            plain_hash: matches!(self.scheme, Scheme::Sha256),
            encoding: encoding?,
            prefix: self.prefix,
            separator: self.separator,
            message: message?,
            unescape: self.unescape,
            secret: self.secret,
            timestamp: self.timestamp,
            id: self.id,
        })))
    }
}
