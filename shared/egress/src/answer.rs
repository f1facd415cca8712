//! What a receiver answered, cut down to what is worth keeping.

use std::time::{Duration, UNIX_EPOCH};

use events::Timestamp;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderValue};

use crate::certificate::Certificate;

/// How much of a body is kept, in bytes: enough to recognise an error page by, too little to read a stranger's
/// internal document with.
pub const BODY_START_BYTES: usize = 1024;

/// A receiver's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code, of whatever class.
    pub status: u16,
    /// When the receiver wants to be asked again, if it says so legibly. Not bounded: a month is possible.
    pub retry_after: Option<RetryAfter>,
    /// At most [`BODY_START_BYTES`] of the body, with what is not UTF-8, what could garble a log, the request's own
    /// sensitive headers and its URL's query replaced.
    pub body_start: String,
    /// From the call to the status.
    pub latency: Duration,
    /// The server's certificate, where the answer came over TLS.
    pub certificate: Option<Certificate>,
}

/// The two forms of `Retry-After` (RFC 9110, section 10.2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// So many seconds after the answer.
    Seconds(u64),
    /// At this time, by the receiver's clock; possibly in the past.
    Date(Timestamp),
}

impl RetryAfter {
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        headers.get(RETRY_AFTER).and_then(Self::read)
    }

    fn read(value: &HeaderValue) -> Option<Self> {
        let text = value.to_str().ok()?.trim();
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // Only an overflow can fail here.
            return Some(Self::Seconds(text.parse().unwrap_or(u64::MAX)));
        }
        let date = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(Self::Date(Timestamp::from_millis(0).plus(date)))
    }
}

/// The text of a body's first bytes. `cut` tells that the body went on, so that a character cut in half at the end is
/// left out rather than replaced.
pub(crate) fn excerpt(bytes: &[u8], cut: bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    let mut rest = bytes.len();
    for chunk in bytes.utf8_chunks() {
        rest -= chunk.valid().len() + chunk.invalid().len();
        let broken = match chunk.invalid() {
            [] => None,
            // At most three bytes can be the beginning of a character.
            invalid if cut && rest == 0 && std::str::from_utf8(invalid).is_err_and(|e| e.error_len().is_none()) => None,
            _ => Some('\u{fffd}'),
        };
        for character in chunk.valid().chars().chain(broken) {
            let character = legible(character);
            if text.len() + character.len_utf8() > BODY_START_BYTES {
                return text;
            }
            text.push(character);
        }
    }
    text
}

/// Line breaks and tabs become spaces; other controls, and the marks that reorder or break lines of text around them,
/// become the replacement character.
fn legible(character: char) -> char {
    match character {
        '\n' | '\r' | '\t' => ' ',
        '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        other if other.is_control() => '\u{fffd}',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &'static str) -> Option<RetryAfter> {
        RetryAfter::read(&HeaderValue::from_static(text))
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_each_of_the_three_dates() {
        assert_eq!(read("120"), Some(RetryAfter::Seconds(120)));
        assert_eq!(read(" 0 "), Some(RetryAfter::Seconds(0)));
        assert_eq!(read("99999999999999999999999"), Some(RetryAfter::Seconds(u64::MAX)));
        let at = Some(RetryAfter::Date(Timestamp::from_seconds(784_111_777)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), at);
        assert_eq!(read("Sunday, 06-Nov-94 08:49:37 GMT"), at);
        assert_eq!(read("Sun Nov  6 08:49:37 1994"), at);
    }

    #[test]
    fn a_retry_after_that_makes_no_sense_is_as_good_as_none() {
        for text in ["", "-1", "1.5", "soon", "2025-11-24T00:00:00Z", "Sun, 06 Nov 1994 28:49:37 GMT", "1 2"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn a_body_cannot_write_lines_or_colours_into_a_log() {
        assert_eq!(excerpt(b"a\r\nb\tc\x1b[31m\0\x7f", false), "a  b c\u{fffd}[31m\u{fffd}\u{fffd}");
        assert_eq!(excerpt("a\u{202e}b\u{85}".as_bytes(), false), "a\u{fffd}b\u{fffd}");
    }

    #[test]
    fn a_character_cut_in_half_is_left_out_and_a_broken_one_replaced() {
        assert_eq!(excerpt(&"grün€".as_bytes()[..6], true), "grün");
        assert_eq!(excerpt(&"grün€".as_bytes()[..6], false), "grün\u{fffd}");
        assert_eq!(excerpt(b"a\xffb\xff", true), "a\u{fffd}b\u{fffd}");
    }

    proptest! {
        #[test]
        fn an_excerpt_is_short_and_legible_whatever_came(
            bytes in proptest::collection::vec(any::<u8>(), 0..2000),
            cut: bool,
        ) {
            let text = excerpt(&bytes, cut);
            prop_assert!(text.len() <= BODY_START_BYTES);
            prop_assert!(!text.chars().any(char::is_control));
        }
    }
}
