//! Dates as the contract's configurations describe them (its §5.2, §5.3): Java's `SimpleDateFormat` patterns, and the word
//! `milliseconds`.
//!
//! *Promise:* what a pattern writes it reads back. Reading is lenient where providers are known to differ from what their
//! users configured, and says when it was ([`Read::otherwise`]): a text that does not match its pattern is tried as ISO
//! 8601 (RFC 3339, an offset without colon, no offset at all: the configured zone), a number where none is expected as
//! milliseconds or seconds since 1970, whichever lies in our age.
//!
//! *Unlike Java*, which loses changes by it: the whole text must match (Java reads `yyyy-MM-dd` from
//! `2018-08-20T15:29:06Z` and drops the time), `S` is a fraction of the second whatever its length (Java takes `.795000`
//! for 795 seconds), `X` leaves out no minutes, a year of the week (`Y`) is a year, and a letter or zone that means
//! nothing is an error when it is configured, not a wrong date later.
//!
//! *Failure:* a pattern is refused with its position ([`PatternError`]); a record's date that cannot be read is
//! [`Unreadable`], which does not quote it.

mod pattern;
mod zone;

use std::time::Duration;

use events::Timestamp;
use serde_json::Value;

pub use pattern::PatternError;
pub use zone::{UnknownZone, Zone};

use pattern::Pattern;

/// How dates of a record, or of a query, are written.
#[derive(Clone, PartialEq, Debug)]
pub struct DateFormat(Kind);

#[derive(Clone, PartialEq, Debug)]
enum Kind {
    Milliseconds,
    Seconds,
    Pattern(Pattern),
}

/// How coarse a date is: a record that changes twice within it is dated the same twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Grain {
    /// It has milliseconds that are not 0.
    Millisecond,
    /// It has no milliseconds, or only zeros: several providers write `.000` always.
    Second,
    /// It has no seconds.
    Minute,
    /// It has no minutes.
    Day,
}

/// A date that was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Read {
    /// The date.
    pub at: Timestamp,
    /// How coarse it is.
    pub grain: Grain,
    /// Whether it is not written as the format says.
    pub otherwise: bool,
}

/// A record's date that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found} is no date of the form {expected}, nor one of ISO 8601")]
pub struct Unreadable {
    /// What is there, described.
    pub found: String,
    /// The format.
    pub expected: String,
}

/// From here on a number is milliseconds, below it seconds: the milliseconds of 1973, the seconds of the year 5138.
const MILLISECONDS_FROM: f64 = 1e11;

impl DateFormat {
    /// Milliseconds since 1970.
    pub const MILLISECONDS: Self = Self(Kind::Milliseconds);

    /// Reads a format: `milliseconds`, `seconds` (or their singular), or a pattern. A stray quote at the end, as shipped
    /// configurations have it, does not count.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let word = text.trim().trim_end_matches('\'');
        for (words, kind) in
            [(["milliseconds", "millisecond"], Kind::Milliseconds), (["seconds", "second"], Kind::Seconds)]
        {
            if words.iter().any(|known| known.eq_ignore_ascii_case(word)) {
                return Ok(Self(kind));
            }
        }
        Pattern::parse(text).map(|pattern| Self(Kind::Pattern(pattern)))
    }

    /// How coarse dates of the format are: as coarse as this at least.
    #[must_use]
    pub fn grain(&self) -> Grain {
        match &self.0 {
            Kind::Milliseconds => Grain::Millisecond,
            Kind::Seconds => Grain::Second,
            Kind::Pattern(pattern) => pattern.grain(),
        }
    }

    /// The date as the format writes it; `zone` is the calendar's.
    #[must_use]
    pub fn write(&self, at: Timestamp, zone: &Zone) -> String {
        match &self.0 {
            Kind::Milliseconds => at.as_millis().to_string(),
            Kind::Seconds => at.as_seconds().to_string(),
            Kind::Pattern(pattern) => pattern.write(at, zone),
        }
    }

    /// The date that a record's field holds; `None` where it holds none (null, blank, 0). `zone` counts where the text
    /// names none.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(&self, value: &Value, zone: &Zone) -> Result<Option<Read>, Unreadable> {
        let unreadable = |found: String| Unreadable { found, expected: self.to_string() };
        match value {
            Value::Null => Ok(None),
            Value::Number(number) => {
                let float = number.as_f64().unwrap_or_default();
                if float == 0.0 {
                    return Ok(None);
                }
                let written = match &self.0 {
                    Kind::Pattern(pattern) => pattern.read(&number.to_string(), zone),
                    _ => None,
                };
                let read = written.or_else(|| self.number(float));
                read.map(Some).ok_or_else(|| unreadable("a number out of range".into()))
            }
            Value::String(text) => {
                let text = text.trim();
                if text.is_empty() || text == "0" {
                    return Ok(None);
                }
                let read = match &self.0 {
                    Kind::Pattern(pattern) => {
                        pattern.read(text, zone).or_else(|| iso(text, zone)).or_else(|| self.digits(text))
                    }
                    _ => self.digits(text).or_else(|| iso(text, zone)),
                };
                read.map(Some).ok_or_else(|| unreadable(format!("a text of {} characters", text.chars().count())))
            }
            Value::Bool(_) => Err(unreadable("a boolean".into())),
            Value::Array(_) => Err(unreadable("an array".into())),
            Value::Object(_) => Err(unreadable("an object".into())),
        }
    }

    fn digits(&self, text: &str) -> Option<Read> {
        let number = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'e' | b'E' | b'+'));
        text.parse().ok().filter(|_| number).and_then(|float| self.number(float))
    }

    /// A number since 1970. The format's unit counts where the number may be that.
    fn number(&self, number: f64) -> Option<Read> {
        let milliseconds = number.abs() >= MILLISECONDS_FROM;
        let otherwise = self.0 != if milliseconds { Kind::Milliseconds } else { Kind::Seconds };
        let millis = (if milliseconds { number } else { number * 1000.0 }).floor();
        // Beyond it is no date of any calendar: the year 9999.
        let dated = millis.abs() < 253_402_300_800_000.0;
        dated.then(|| dated_at(Timestamp::from_millis(millis as i64), otherwise))
    }
}

impl<'de> serde::Deserialize<'de> for DateFormat {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl std::fmt::Display for DateFormat {
    /// As it was written.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            Kind::Milliseconds => f.write_str("milliseconds"),
            Kind::Seconds => f.write_str("seconds"),
            Kind::Pattern(pattern) => f.write_str(pattern.text()),
        }
    }
}

impl Grain {
    /// The first moment after all that is dated `at`: from then on a version of that date is final.
    #[must_use]
    pub fn end(self, at: Timestamp) -> Timestamp {
        at.plus(self.duration())
    }

    /// How long it is.
    #[must_use]
    pub fn duration(self) -> Duration {
        match self {
            Self::Millisecond => Duration::from_millis(1),
            Self::Second => Duration::from_secs(1),
            Self::Minute => Duration::from_secs(60),
            Self::Day => Duration::from_secs(24 * 60 * 60),
        }
    }
}

fn dated_at(at: Timestamp, otherwise: bool) -> Read {
    let grain = if at.as_millis().rem_euclid(1000) == 0 { Grain::Second } else { Grain::Millisecond };
    Read { at, grain, otherwise }
}

/// ISO 8601, whatever the format says.
fn iso(text: &str, zone: &Zone) -> Option<Read> {
    let at = match Timestamp::parse_rfc3339(text) {
        Some(at) => at,
        None => {
            let civil: jiff::civil::DateTime = text.parse().ok()?;
            zone.moment(civil)?
        }
    };
    let read = dated_at(at, true);
    // The time of day, without the zone that may follow it.
    let time = text.find(['T', 't', ' ']).map_or("", |place| &text[place + 1..]);
    let time = time.split(['Z', 'z', '+', '-', '[']).next().unwrap_or_default();
    let grain = match (time, time.matches(':').count()) {
        ("", _) => Grain::Day,
        (_, 1) => Grain::Minute,
        _ => read.grain,
    };
    Some(Read { grain, ..read })
}

#[cfg(test)]
mod tests;
