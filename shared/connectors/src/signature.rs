//! Verifying and making signatures by a definition's rules.
//!
//! *Fails closed:* no secret, no rule that applies, a header twice, a time that cannot be read: each is refused. A
//! comparison takes the same time whatever the difference is. An error names the header, never the value.
//!
//! The rules are tried in order and the first that applies alone decides: a request that carries HubSpot's v3 signature
//! is never accepted by its v1. Whoever replays a request *without* its v3 header can be accepted by v1, which holds no
//! time; such a repeat makes the same event ids and is dropped as one. v1 and v2 are plain hashes that a text appended
//! to the body can extend without the secret, but the extension holds a NUL, which no JSON does; the body is parsed
//! before it is verified.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use events::Timestamp;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::Request;
use crate::definition::{Encoding, Rule, Scheme, SecretEncoding, Stamp, Unit};
use crate::message::{Values, hex_pair};

/// A request that the provider has signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Which of the secrets it was, counted from 0.
    pub secret: usize,
}

/// Why a request is not taken for the provider's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The provider does not sign; only an instance that waives verification can take its requests.
    #[error("this connector's requests carry no signature")]
    Unsigned,
    /// There is no secret to verify with.
    #[error("no webhook secret is configured")]
    NoSecret,
    /// There are secrets, none in the form that the provider writes them.
    #[error("the configured webhook secret is not in the provider's form")]
    UnusableSecret,
    /// A header that the check needs is not there.
    #[error("the header {0} is missing")]
    MissingHeader(HeaderName),
    /// The header is there: twice, empty, not ASCII, or not in its form.
    #[error("the header {0} is malformed")]
    Malformed(HeaderName),
    /// The request's time is too far from ours.
    #[error("the time in {0} is too far from this clock")]
    Stale(HeaderName),
    /// Another secret, or another body, URL or time.
    #[error("the signature does not match")]
    Mismatch,
}

/// Why a request cannot be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// The definition has no rule to sign by.
    #[error("this connector's requests carry no signature")]
    Unsigned,
    /// The secret is empty or not in the provider's form.
    #[error("the secret is not in the provider's form")]
    Secret,
    /// The id cannot stand in a header.
    #[error("the id cannot stand in a header")]
    Id,
}

/// A request to sign as the provider would.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The method, in capitals.
    pub method: &'a str,
    /// The whole URL.
    pub url: &'a str,
    /// The body.
    pub body: &'a [u8],
    /// The delivery's id, where the provider sends one.
    pub id: &'a str,
    /// The time of signing.
    pub at: Timestamp,
}

pub(crate) fn verify(
    rules: &[Rule],
    request: &Request<'_>,
    secrets: &[&str],
    now: Timestamp,
) -> Result<Verified, VerifyError> {
    let rule = applying(rules, request.headers)?;
    if secrets.iter().all(|s| s.is_empty()) {
        return Err(VerifyError::NoSecret);
    }
    let given = signatures(rule, needed(request.headers, &rule.header)?)?;
    let timestamp = match &rule.timestamp {
        Some(stamp) => fresh(stamp, needed(request.headers, &stamp.header)?, now)?,
        None => "",
    };
    let id = match &rule.id {
        Some(header) => needed(request.headers, header)?,
        None => "",
    };
    let values = Values { method: request.method, url: request.url, body: request.body, timestamp, id };
    let mut usable = false;
    for (index, secret) in secrets.iter().enumerate() {
        for key in keys(rule, secret) {
            usable = true;
            if rule.matches(&values, &key, &given) {
                return Ok(Verified { secret: index });
            }
        }
    }
    Err(if usable { VerifyError::Mismatch } else { VerifyError::UnusableSecret })
}

/// The delivery's id: from the header that the deciding rule's signature covers, for of another rule's id header anyone
/// may make anything without breaking the signature. Without a signature the first id there is: only an instance that
/// waives verification takes such a request.
pub(crate) fn delivery<'h>(rules: &[Rule], headers: &'h HeaderMap) -> Option<&'h str> {
    let named = |rule: &&Rule| rule.id.as_ref().is_some_and(|id| headers.contains_key(id));
    let rule = applying(rules, headers).ok().or_else(|| rules.iter().find(named))?;
    one(headers, rule.id.as_ref()?).ok().flatten()
}

pub(crate) fn sign(
    rule: &Rule,
    secret: &str,
    outgoing: &Outgoing<'_>,
) -> Result<Vec<(HeaderName, HeaderValue)>, SignError> {
    let key = keys(rule, secret).into_iter().next().ok_or(SignError::Secret)?;
    let timestamp = rule.timestamp.as_ref().map(|stamp| stamp.unit.of(outgoing.at).to_string()).unwrap_or_default();
    let values = Values {
        method: outgoing.method,
        url: outgoing.url,
        body: outgoing.body,
        timestamp: &timestamp,
        id: outgoing.id,
    };
    let text = |text: &str| HeaderValue::from_str(text).map_err(|_| SignError::Id);
    let mut headers = Vec::with_capacity(3);
    headers.push((rule.header.clone(), text(&format!("{}{}", rule.prefix, rule.encode(&rule.tag(&values, &key))))?));
    if let Some(when) = &rule.when {
        headers.push((when.header.clone(), text(&when.is)?));
    }
    if let Some(stamp) = &rule.timestamp {
        headers.push((stamp.header.clone(), text(&timestamp)?));
    }
    if let Some(header) = &rule.id {
        headers.push((header.clone(), text(outgoing.id)?));
    }
    Ok(headers)
}

/// The first rule whose header is there and whose condition holds.
fn applying<'r>(rules: &'r [Rule], headers: &HeaderMap) -> Result<&'r Rule, VerifyError> {
    let mut nearly = None;
    for rule in rules.iter().filter(|rule| headers.contains_key(&rule.header)) {
        let Some(when) = &rule.when else { return Ok(rule) };
        match one(headers, &when.header)? {
            Some(value) if value.eq_ignore_ascii_case(&when.is) => return Ok(rule),
            None if when.or_absent => return Ok(rule),
            _ => nearly = Some(&when.header),
        }
    }
    Err(match (nearly, rules.first()) {
        (Some(header), _) => VerifyError::Malformed(header.clone()),
        (None, Some(rule)) => VerifyError::MissingHeader(rule.header.clone()),
        (None, None) => VerifyError::Unsigned,
    })
}

/// A header's only value. Twice is refused: which of the two was signed would be a guess.
fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, VerifyError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match value.to_str() {
        Ok(text) if !text.is_empty() && values.next().is_none() => Ok(Some(text)),
        _ => Err(VerifyError::Malformed(name.clone())),
    }
}

fn needed<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h str, VerifyError> {
    one(headers, name)?.ok_or_else(|| VerifyError::MissingHeader(name.clone()))
}

/// The signatures in a header's value, decoded. Of a list, items of another version are passed over.
fn signatures(rule: &Rule, value: &str) -> Result<Vec<Vec<u8>>, VerifyError> {
    let read = |item: &str| item.strip_prefix(rule.prefix.as_str()).and_then(|text| rule.decode(text));
    let read: Vec<_> = match &rule.separator {
        Some(separator) => value.split(separator.as_str()).filter_map(read).collect(),
        None => read(value).into_iter().collect(),
    };
    if read.is_empty() { Err(VerifyError::Malformed(rule.header.clone())) } else { Ok(read) }
}

/// The time's text, once it is known to be a plain number within tolerance of `now`, either way.
fn fresh<'t>(stamp: &Stamp, text: &'t str, now: Timestamp) -> Result<&'t str, VerifyError> {
    let malformed = || VerifyError::Malformed(stamp.header.clone());
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(malformed());
    }
    let sent: i64 = text.parse().map_err(|_| malformed())?;
    let age = stamp.unit.of(now).saturating_sub(sent);
    if age > stamp.past || age < -stamp.future { Err(VerifyError::Stale(stamp.header.clone())) } else { Ok(text) }
}

/// The keys that a configured secret may stand for: none when it is empty or not in the rule's form.
///
/// A base64 secret whose prefix was left off cannot be told from a plain one, so both readings are tried. Either holds
/// nothing but the secret, so neither lets anyone else in.
fn keys(rule: &Rule, secret: &str) -> Vec<Vec<u8>> {
    let decoded = |text: &str| STANDARD.decode(text).ok();
    let mut keys: Vec<Vec<u8>> = match rule.secret.encoding {
        SecretEncoding::Utf8 => vec![secret.into()],
        SecretEncoding::Base64 => match secret.strip_prefix(rule.secret.prefix.as_str()) {
            Some(text) if !rule.secret.prefix.is_empty() => decoded(text).into_iter().collect(),
            _ => decoded(secret).into_iter().chain([secret.into()]).collect(),
        },
    };
    keys.retain(|key| !key.is_empty());
    keys
}

impl Rule {
    fn mac(&self, values: &Values<'_>, key: &[u8]) -> Hmac<Sha256> {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { unreachable!("HMAC takes a key of any length") };
        self.message.feed(values, key, &self.unescape, |piece| mac.update(piece));
        mac
    }

    fn hash(&self, values: &Values<'_>, key: &[u8]) -> [u8; 32] {
        let mut hash = Sha256::new();
        self.message.feed(values, key, &self.unescape, |piece| hash.update(piece));
        hash.finalize().into()
    }

    fn tag(&self, values: &Values<'_>, key: &[u8]) -> [u8; 32] {
        match self.scheme {
            Scheme::HmacSha256 => self.mac(values, key).finalize().into_bytes().into(),
            Scheme::Sha256 => self.hash(values, key),
        }
    }

    /// Whether one of `given` is the signature; each comparison takes constant time.
    fn matches(&self, values: &Values<'_>, key: &[u8], given: &[Vec<u8>]) -> bool {
        let expected = self.tag(values, key);
        given.iter().any(|tag| bool::from(expected.as_slice().ct_eq(tag)))
    }

    fn decode(&self, text: &str) -> Option<Vec<u8>> {
        match self.encoding {
            Encoding::Base64 => STANDARD.decode(text).ok(),
            Encoding::Hex if text.len().is_multiple_of(2) => text.as_bytes().chunks(2).map(hex_pair).collect(),
            Encoding::Hex => None,
        }
    }

    fn encode(&self, tag: &[u8]) -> String {
        match self.encoding {
            Encoding::Base64 => STANDARD.encode(tag),
            Encoding::Hex => tag.iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }
}

impl Unit {
    /// `time` counted in this unit, rounded down.
    fn of(self, time: Timestamp) -> i64 {
        match self {
            Self::S => time.as_seconds(),
            Self::Ms => time.as_millis(),
        }
    }
}
