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

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use events::Timestamp;
use events::signature::base64_secret;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::definition::{Encoding, Rule, SecretEncoding, SignatureRule, Stamp, TokenPlace, Unit};
use crate::message::{Values, hex_pair};
use crate::{Parsed, Request};

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
    /// Nothing of what the provider proves itself with is there. What it might be.
    #[error("the request is not signed: it has no {0}")]
    Missing(String),
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
    /// The body is of another account than the instance's, and nothing but that would tell them apart.
    #[error("the body is of another account than the instance's")]
    OtherAccount,
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
    parsed: Option<&Parsed>,
    secrets: &[&str],
    now: Timestamp,
) -> Result<Verified, VerifyError> {
    let rule = applying(rules, request)?;
    if secrets.iter().all(|s| s.is_empty()) {
        return Err(VerifyError::NoSecret);
    }
    match rule {
        Rule::Signature(rule) => verify_signature(rule, request, secrets, now),
        Rule::Token(place) => verify_token(place, request, parsed, secrets),
    }
}

fn verify_signature(
    rule: &SignatureRule,
    request: &Request<'_>,
    secrets: &[&str],
    now: Timestamp,
) -> Result<Verified, VerifyError> {
    let given = signatures(rule, needed(request.headers, &rule.header)?)?;
    let timestamp = match &rule.timestamp {
        Some(stamp) => fresh(rule, stamp, needed(request.headers, &stamp.header)?, now)?,
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

/// Every place where the token is to stand holds it; a request with no such place proves nothing.
fn verify_token(
    place: &TokenPlace,
    request: &Request<'_>,
    parsed: Option<&Parsed>,
    secrets: &[&str],
) -> Result<Verified, VerifyError> {
    let given: Vec<Cow<'_, str>> = match place {
        TokenPlace::Header(name) => vec![needed(request.headers, name)?.into()],
        TokenPlace::Query(name) => {
            let values: Vec<_> = parameters(request.url, name).collect();
            // Twice, it would be a guess which of them counts.
            if values.len() == 1 { values } else { return Err(VerifyError::Mismatch) }
        }
        TokenPlace::Field(name) => {
            let entries = parsed.map(Parsed::entries).unwrap_or_default();
            let fields: Option<Vec<_>> = entries.iter().map(|entry| entry_field(entry, name)).collect();
            fields.filter(|fields| !fields.is_empty()).ok_or_else(|| absent_field(name))?
        }
    };
    // In the same time whatever the difference is; only a secret's length can be told from it.
    let is =
        |secret: &str| !secret.is_empty() && given.iter().all(|text| text.as_bytes().ct_eq(secret.as_bytes()).into());
    secrets.iter().position(|secret| is(secret)).map(|secret| Verified { secret }).ok_or(VerifyError::Mismatch)
}

fn entry_field<'p>(entry: &'p jaq_json::Val, name: &str) -> Option<Cow<'p, str>> {
    crate::connector::field(entry, name).and_then(crate::row::text).map(Cow::Borrowed)
}

fn absent_field(name: &str) -> VerifyError {
    VerifyError::Missing(format!("field {name} in every entry of the body"))
}

/// The values of a parameter of the URL's query, decoded.
pub(crate) fn parameters<'u>(url: &'u str, name: &str) -> impl Iterator<Item = Cow<'u, str>> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    form_urlencoded::parse(query.as_bytes()).filter(move |(key, _)| key == name).map(|(_, value)| value)
}

/// The delivery's id: from the header that the deciding rule's signature covers, for of another rule's id header anyone
/// may make anything without breaking the signature. Without a signature the first id there is: only an instance that
/// waives verification takes such a request.
pub(crate) fn delivery<'h>(rules: &[Rule], request: &Request<'h>) -> Option<&'h str> {
    let id = |rule: &Rule| match rule {
        Rule::Signature(rule) => rule.id.clone(),
        Rule::Token(_) => None,
    };
    let header = match applying(rules, request) {
        Ok(rule) => id(rule)?,
        Err(_) => rules.iter().filter_map(id).find(|header| request.headers.contains_key(header))?,
    };
    one(request.headers, &header).ok().flatten()
}

pub(crate) fn sign(
    rule: &SignatureRule,
    secret: &str,
    outgoing: &Outgoing<'_>,
) -> Result<Vec<(HeaderName, HeaderValue)>, SignError> {
    let key = keys(rule, secret).into_iter().next().ok_or(SignError::Secret)?;
    let timestamp = rule.timestamp.as_ref().map(|stamp| stamp.unit.text(outgoing.at)).unwrap_or_default();
    let values = Values {
        method: outgoing.method,
        url: outgoing.url,
        body: outgoing.body,
        timestamp: &timestamp,
        id: outgoing.id,
    };
    let text = |text: &str| HeaderValue::from_str(text).map_err(|_| SignError::Id);
    let mut headers = Vec::with_capacity(3);
    let mut signature = format!("{}{}", rule.prefix, rule.encode(&rule.tag(&values, &key)));
    if let Some(Stamp { prefix, .. }) = rule.timestamp.as_ref().filter(|stamp| !stamp.prefix.is_empty()) {
        signature = format!("{prefix}{timestamp}{}{signature}", rule.separator.as_deref().unwrap_or_default());
    }
    headers.push((rule.header.clone(), text(&signature)?));
    if let Some(when) = &rule.when {
        headers.push((when.header.clone(), text(&when.is)?));
    }
    if let Some(stamp) = rule.timestamp.as_ref().filter(|stamp| stamp.prefix.is_empty()) {
        headers.push((stamp.header.clone(), text(&timestamp)?));
    }
    if let Some(header) = &rule.id {
        headers.push((header.clone(), text(outgoing.id)?));
    }
    Ok(headers)
}

/// Why `secret` can never verify anything: it is not in the provider's form.
pub(crate) fn check_secret(rules: &[Rule], secret: &str) -> Result<(), &'static str> {
    if secret.trim().is_empty() {
        return Err("a blank text");
    }
    let usable = |rule: &Rule| match rule {
        Rule::Signature(rule) => !keys(rule, secret).is_empty(),
        Rule::Token(_) => true,
    };
    if rules.is_empty() || rules.iter().any(usable) {
        Ok(())
    } else {
        Err("a text that does not go on as base64 behind its prefix")
    }
}

/// The first rule whose signature or token is there and whose condition holds. A token in the body is looked for last,
/// since nothing in the request says beforehand whether it is there.
fn applying<'r>(rules: &'r [Rule], request: &Request<'_>) -> Result<&'r Rule, VerifyError> {
    let headers = request.headers;
    let mut nearly = None;
    for rule in rules {
        match rule {
            Rule::Signature(signature) if request.method == "GET" && !signature.proves_get => {}
            Rule::Token(TokenPlace::Field(_)) => return Ok(rule),
            Rule::Token(TokenPlace::Header(name)) if headers.contains_key(name) => return Ok(rule),
            Rule::Token(TokenPlace::Query(name)) if parameters(request.url, name).next().is_some() => return Ok(rule),
            Rule::Token(_) => {}
            Rule::Signature(signature) if headers.contains_key(&signature.header) => {
                let Some(when) = &signature.when else { return Ok(rule) };
                match one(headers, &when.header)? {
                    Some(value) if value.eq_ignore_ascii_case(&when.is) => return Ok(rule),
                    None if when.or_absent => return Ok(rule),
                    _ => nearly = Some(&when.header),
                }
            }
            Rule::Signature(_) => {}
        }
    }
    Err(match nearly {
        Some(header) => VerifyError::Malformed(header.clone()),
        None if rules.is_empty() => VerifyError::Unsigned,
        None => VerifyError::Missing(places(rules)),
    })
}

/// Where a signature may stand, for people.
fn places(rules: &[Rule]) -> String {
    let mut places: Vec<String> = Vec::new();
    for rule in rules {
        let place = match rule {
            Rule::Signature(rule) => format!("header {}", rule.header),
            Rule::Token(TokenPlace::Header(name)) => format!("header {name}"),
            Rule::Token(TokenPlace::Query(name)) => format!("?{name}=… in its URL"),
            Rule::Token(TokenPlace::Field(name)) => format!("field {name}"),
        };
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places.join(" or ")
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
fn signatures(rule: &SignatureRule, value: &str) -> Result<Vec<Vec<u8>>, VerifyError> {
    let read = |item: &str| item.strip_prefix(rule.prefix.as_str()).and_then(|text| rule.decode(text));
    let read: Vec<_> = match &rule.separator {
        Some(separator) => value.split(separator.as_str()).map(str::trim).filter_map(read).take(SIGNATURES).collect(),
        None => read(value).into_iter().collect(),
    };
    if read.is_empty() { Err(VerifyError::Malformed(rule.header.clone())) } else { Ok(read) }
}

/// Most signatures read of one header: providers send two while a secret is being changed.
const SIGNATURES: usize = 16;

/// The time's text, once it is known to be a time within tolerance of `now`, either way.
fn fresh<'t>(rule: &SignatureRule, stamp: &Stamp, value: &'t str, now: Timestamp) -> Result<&'t str, VerifyError> {
    let malformed = || VerifyError::Malformed(stamp.header.clone());
    let text = if stamp.prefix.is_empty() {
        value
    } else {
        let separator = rule.separator.as_deref().unwrap_or_default();
        let mut times = value.split(separator).filter_map(|item| item.trim().strip_prefix(stamp.prefix.as_str()));
        match (times.next(), times.next()) {
            (Some(text), None) => text,
            _ => return Err(malformed()),
        }
    };
    let (sent, now) = match stamp.unit {
        Unit::Rfc3339 => (Timestamp::parse_rfc3339(text).ok_or_else(malformed)?.as_seconds(), now.as_seconds()),
        // Digits alone: what a number's parser takes beside them (a sign) nobody sends.
        _ if !text.bytes().all(|b| b.is_ascii_digit()) => return Err(malformed()),
        Unit::S => (text.parse().map_err(|_| malformed())?, now.as_seconds()),
        Unit::Ms => (text.parse::<i64>().map_err(|_| malformed())?, now.as_millis()),
    };
    let age = now.saturating_sub(sent);
    if age > stamp.past || age < -stamp.future { Err(VerifyError::Stale(stamp.header.clone())) } else { Ok(text) }
}

/// The keys that a configured secret may stand for: none when it is empty or not in the rule's form.
///
/// A base64 secret whose prefix was left off cannot be told from a plain one, so both readings are tried. Either holds
/// nothing but the secret, so neither lets anyone else in.
fn keys(rule: &SignatureRule, secret: &str) -> Vec<Vec<u8>> {
    let decoded = base64_secret;
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

impl SignatureRule {
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
        if self.plain_hash { self.hash(values, key) } else { self.mac(values, key).finalize().into_bytes().into() }
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
    /// `time` as the provider writes it, rounded down.
    fn text(self, time: Timestamp) -> String {
        match self {
            Self::S => time.as_seconds().to_string(),
            Self::Ms => time.as_millis().to_string(),
            Self::Rfc3339 => time.iso_seconds(),
        }
    }
}
