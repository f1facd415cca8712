//! `event.notification.callback.headers`: further headers of what is posted to a callback.
//!
//! The old product did not say how they are written. Taken are a JSON object, `{"X-Key": "value"}`, and lines, one
//! `Name: value` or `Name=value` each.
//!
//! Refused is what would break delivery (`Host`, `Content-Length`, whatever is about the connection) or what we say
//! ourselves and others rely on (`Content-Type`, the signatures). `Authorization` is taken here; whether it contradicts
//! basic authentication is for the caller to ask ([`AUTHORIZATION`]).

use std::collections::HashSet;

use secrecy::SecretString;
use serde_json::Value;

/// Most headers.
pub const HEADERS: usize = 20;
/// Most bytes, of names and values together: servers take some 8 KB of headers in all.
pub const BYTES: usize = 4 * 1024;

/// The header that basic authentication sets too, as [`parse`] spells it.
pub const AUTHORIZATION: &str = "authorization";

/// Headers that nobody may set, lower-case: hop by hop (RFC 9110 §7.6.1), of the body's form, or of the HTTP client.
const FORBIDDEN: [&str; 12] = [
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "transfer-encoding",
    "connection",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "expect",
    "http2-settings",
];

/// Beginnings of the names of headers that nobody may set, lower-case.
const FORBIDDEN_PREFIXES: [&str; 4] = ["proxy-", "elements-", "webhook-", "pollhook-"];

/// Why a text is no list of headers. No variant holds anything of the text but words of ours: a value without a name, or
/// one with `=` in it, would be taken for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadersError {
    /// Begins as JSON and is not an object of texts.
    #[error("it is a JSON object such as {{\"X-Key\": \"value\"}}, whose values are texts")]
    Json,
    /// A line without a separator.
    #[error("header {0} is not written Name: value, one a line")]
    Form(usize),
    /// Not the name of a header.
    #[error("the name of header {0} is not one: letters, digits and !#$%&'*+-.^_`|~")]
    Name(usize),
    /// Not the value of a header.
    #[error("the value of header {0} is not one: printable ASCII characters, blanks and tabs")]
    Value(usize),
    /// One of those that nobody may set.
    #[error("header {0} is one that cannot be set: {1}")]
    Forbidden(usize, &'static str),
    /// A name that occurred before.
    #[error("header {0} has the name of one before it")]
    Repeated(usize),
    /// Too many.
    #[error("there are more than {HEADERS} headers")]
    TooMany,
    /// Too long.
    #[error("the headers have more than {BYTES} bytes")]
    TooLong,
}

/// Why a header of this name cannot be set: the name or the beginning that is taken; `None`: it can. In any case.
#[must_use]
pub fn forbidden(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    let whole = FORBIDDEN.into_iter().find(|forbidden| name == *forbidden);
    whole.or_else(|| FORBIDDEN_PREFIXES.into_iter().find(|prefix| name.starts_with(prefix)))
}

/// Reads headers; names are lower-case then. A blank text has none.
///
/// # Errors
/// [`HeadersError`]; headers are counted from 1.
pub fn parse(text: &str) -> Result<Vec<(String, SecretString)>, HeadersError> {
    let pairs = if text.trim_start().starts_with('{') { of_json(text)? } else { of_lines(text)? };
    if pairs.len() > HEADERS {
        return Err(HeadersError::TooMany);
    }
    if pairs.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > BYTES {
        return Err(HeadersError::TooLong);
    }
    let mut seen = HashSet::new();
    let checked = pairs.into_iter().enumerate().map(|(index, (name, value))| {
        let number = index + 1;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(HeadersError::Name(number));
        }
        if !value.bytes().all(|byte| byte == b'\t' || (0x20..0x7f).contains(&byte)) {
            return Err(HeadersError::Value(number));
        }
        if let Some(forbidden) = forbidden(&name) {
            return Err(HeadersError::Forbidden(number, forbidden));
        }
        if !seen.insert(name.clone()) {
            return Err(HeadersError::Repeated(number));
        }
        Ok((name, SecretString::from(value)))
    });
    checked.collect()
}

fn of_json(text: &str) -> Result<Vec<(String, String)>, HeadersError> {
    let Ok(Value::Object(headers)) = serde_json::from_str(text) else { return Err(HeadersError::Json) };
    let pair = |(name, value)| match value {
        Value::String(value) => Ok((name, value)),
        _ => Err(HeadersError::Json),
    };
    headers.into_iter().map(pair).collect()
}

fn of_lines(text: &str) -> Result<Vec<(String, String)>, HeadersError> {
    let lines = text.lines().filter(|line| !line.trim().is_empty()).enumerate();
    let pair = |(index, line): (usize, &str)| {
        let (name, value) = line.split_once([':', '=']).ok_or(HeadersError::Form(index + 1))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    lines.map(pair).collect()
}

/// Whether a header's name may have the character (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    use super::*;

    fn read(text: &str) -> Result<Vec<(String, String)>, HeadersError> {
        let clear = |headers: Vec<(String, SecretString)>| {
            headers.into_iter().map(|(name, value)| (name, value.expose_secret().to_owned())).collect()
        };
        parse(text).map(clear)
    }

    #[test]
    fn headers_are_read_from_json_and_from_lines() {
        let headers = |pairs: &[(&str, &str)]| {
            Ok(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        };
        assert_eq!(read(r#" {"X-Key":"v"} "#), headers(&[("x-key", "v")]));
        assert_eq!(read("X-Key: a b \r\n\nX-Other=c=d:e"), headers(&[("x-key", "a b"), ("x-other", "c=d:e")]));
        assert_eq!(read("Authorization: Bearer a,b;c"), headers(&[(AUTHORIZATION, "Bearer a,b;c")]));
        assert_eq!(read(" \n"), headers(&[]));
        assert_eq!(read("X-Empty:"), headers(&[("x-empty", "")]));
    }

    #[test]
    fn what_cannot_be_sent_or_is_ours_is_refused() {
        for (text, error) in [
            ("{", HeadersError::Json),
            (r#"{"a":1}"#, HeadersError::Json),
            ("a: b\nBearer secret", HeadersError::Form(2)),
            (": b", HeadersError::Name(1)),
            ("a b: c", HeadersError::Name(1)),
            ("é: c", HeadersError::Name(1)),
            (r#"{"a":"b\r\nc: d"}"#, HeadersError::Value(1)),
            ("a: é", HeadersError::Value(1)),
            ("a: b\nA= c", HeadersError::Repeated(2)),
            ("HOST: h", HeadersError::Forbidden(1, "host")),
            ("Content-Length: 1", HeadersError::Forbidden(1, "content-length")),
            ("Transfer-Encoding: chunked", HeadersError::Forbidden(1, "transfer-encoding")),
            ("Proxy-Authorization: x", HeadersError::Forbidden(1, "proxy-")),
            ("Elements-Webhook-Signature: x", HeadersError::Forbidden(1, "elements-")),
            ("webhook-id: x", HeadersError::Forbidden(1, "webhook-")),
            ("Pollhook-Hops: 0", HeadersError::Forbidden(1, "pollhook-")),
        ] {
            assert_eq!(read(text), Err(error), "{text:?}");
        }
        let many = |n: usize| (0..n).map(|n| format!("h{n}: v\n")).collect::<String>();
        assert_eq!(read(&many(HEADERS)).map(|headers| headers.len()), Ok(HEADERS));
        assert_eq!(read(&many(HEADERS + 1)), Err(HeadersError::TooMany));
        assert!(read(&format!("h:{}", "v".repeat(BYTES - 1))).is_ok());
        assert_eq!(read(&format!("h:{}", "v".repeat(BYTES))), Err(HeadersError::TooLong));
    }

    proptest! {
        #[test]
        fn what_is_read_can_be_sent_and_is_bounded(text in prop_oneof!["(?s).{0,60}", "([a-cH-]{1,3}[:= ][ -~é]{0,9}\n){0,25}"]) {
            if let Ok(headers) = read(&text) {
                prop_assert!(headers.len() <= HEADERS);
                for (name, value) in &headers {
                    prop_assert!(!name.is_empty() && name.bytes().all(is_token) && forbidden(name).is_none());
                    prop_assert!(value.bytes().all(|b| b == b'\t' || (0x20..0x7f).contains(&b)) && value.trim() == value);
                }
            }
        }

        #[test]
        fn both_ways_of_writing_say_the_same(pairs in proptest::collection::btree_map("x-[a-z]{1,9}", "[!-~]([ -~]{0,9}[!-~])?", 0..9)) {
            let lines: String = pairs.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
            let json = serde_json::to_string(&pairs).unwrap();
            prop_assert_eq!(read(&lines).unwrap(), pairs.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(read(&json), read(&lines));
        }

        #[test]
        fn an_error_repeats_nothing_of_the_text(secret in "[a-z]{12}", form in prop_oneof![
            Just("X:a\nB {}"), Just("{} x: y"), Just("host: {}"), Just("{}=é"), Just("{{\"a\":{}"), Just("a={}\u{1}"),
        ]) {
            let error = read(&form.replace("{}", &secret)).unwrap_err();
            let shown = format!("{error} {error:?}");
            prop_assert!(!shown.contains(&secret));
        }
    }
}
