//! Placeholders in what is asked of a provider: `${…}` for the time of the last poll or of now, `{name}` for a value of the
//! instance's configuration (the contract's §5.2).
//!
//! | placeholder | stands for |
//! |---|---|
//! | `${gmtDate:FORMAT}`, `${date:FORMAT}` | since when is asked, in UTC |
//! | `${gmtDate}`, `${date}` | the same, as the record's updated date is written (milliseconds where that is not known) |
//! | `${dateTimeZone:ZONE:FORMAT}` | the same, in a zone (`PST`, `-8:00`, `America/Denver`) |
//! | `${epoch}`, `${epoch:ms}`, `${milliseconds}` | the same, in milliseconds since 1970 |
//! | `${epoch:s}`, `${epoch:us}`, `${epoch:0}` | the same in seconds, in microseconds; always 0 |
//! | `${nowTimeZone:ZONE:FORMAT}` | when the poll began |
//! | `{name}` | a value: of the instance's configuration, or what a resource's key was filled with |
//!
//! A pattern holds quotes and colons, and stands inside a value that is quoted itself: a placeholder is taken out by its
//! braces before anything else is looked at.
//!
//! *Survived*, because shipped configurations have it: a blank before the URL, a stray quote after a format, a `$yyyy-…`
//! without braces, a placeholder without its closing brace (both end with the parameter).
//!
//! *Failure:* a placeholder that means nothing is a [`PlaceholderError`] when it is configured. A `{name}` without a value
//! is [`Unfilled`] when it is used, because the value may come later; one that names a secret is refused, since URLs are
//! logged.

mod url;

use std::borrow::Cow;
use std::collections::BTreeMap;

use events::Timestamp;

use crate::dates::{DateFormat, Zone};

pub use url::UrlTemplate;
pub(crate) use url::encoded;

/// A placeholder that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the placeholder {placeholder:?} (at position {position}): {problem}")]
pub struct PlaceholderError {
    /// As given.
    pub placeholder: String,
    /// Where it begins, in characters from 1.
    pub position: usize,
    /// What is wrong with it.
    pub problem: String,
}

/// Why a text could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfilled {
    /// There is no such value, or a blank one.
    #[error("{{{0}}} has no value in the instance's configuration")]
    Missing(String),
    /// A value that would be more than a part of the URL's host, or of its path.
    #[error("the value of {{{0}}} cannot stand where the URL has it")]
    Misplaced(String),
    /// A path with `.` or `..`, which would lead elsewhere.
    #[error("the URL's path has a part . or ..")]
    Dotted,
}

/// What placeholders stand for.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// Since when is asked: the last poll's time, less what is looked at again.
    pub since: Timestamp,
    /// When the poll began.
    pub now: Timestamp,
    /// How the records' updated date is written, for a placeholder without a format of its own.
    pub format: Option<&'a DateFormat>,
    /// The zone of that format.
    pub zone: Option<&'a Zone>,
    /// The values of `{name}`.
    pub settings: Named<'a>,
}

/// Values by their names, in layers: of a name the first one counts that is not blank. They are looked up where they are,
/// because a configuration may be large, and a request needs little of it.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a>([Option<&'a BTreeMap<String, String>>; 4]);

impl<'a> Named<'a> {
    /// These layers, the first one first.
    #[must_use]
    pub fn layered(layers: [&'a BTreeMap<String, String>; 4]) -> Self {
        Self(layers.map(Some))
    }

    fn get(&self, name: &str) -> Option<&'a str> {
        let values = self.0.iter().flatten().filter_map(|layer| layer.get(name));
        values.map(|value| value.trim()).find(|value| !value.is_empty())
    }
}

impl<'a> From<&'a BTreeMap<String, String>> for Named<'a> {
    fn from(values: &'a BTreeMap<String, String>) -> Self {
        Self([Some(values), None, None, None])
    }
}

/// A text with placeholders.
#[derive(Clone, PartialEq, Debug)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, PartialEq, Debug)]
enum Piece {
    Text(String),
    Date { now: bool, format: Option<DateFormat>, zone: Option<Zone> },
    Epoch(Unit),
    Name(String),
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Unit {
    Seconds,
    Milliseconds,
    Microseconds,
    /// Not a time: the beginning.
    Zero,
}

const KNOWN: &str = "known are ${gmtDate:FORMAT}, ${date:FORMAT}, ${date}, ${dateTimeZone:ZONE:FORMAT}, ${epoch}, \
                     ${epoch:s}, ${epoch:ms}, ${epoch:us}, ${epoch:0}, ${milliseconds}, ${nowTimeZone:ZONE:FORMAT}";

impl Template {
    /// Reads a text.
    ///
    /// # Errors
    /// [`PlaceholderError`] for the first placeholder that means nothing.
    pub fn parse(text: &str) -> Result<Self, PlaceholderError> {
        let (mut pieces, mut rest) = (Vec::new(), text);
        let mut literal = String::new();
        while let Some(place) = rest.find(['$', '{']) {
            let (before, here) = rest.split_at(place);
            literal.push_str(before);
            let (piece, length) = match found(here) {
                Some((inner, length)) => {
                    let error = |problem| PlaceholderError {
                        placeholder: here[..length].to_owned(),
                        position: text[..text.len() - here.len()].chars().count() + 1,
                        problem,
                    };
                    (piece(inner).map_err(error)?, length)
                }
                None => (Piece::Text(here[..1].to_owned()), 1),
            };
            match piece {
                Piece::Text(text) => literal.push_str(&text),
                piece => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut literal)));
                    }
                    pieces.push(piece);
                }
            }
            rest = &here[length..];
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self { pieces })
    }

    /// The text as it is, nothing encoded.
    ///
    /// # Errors
    /// [`Unfilled`].
    pub fn fill(&self, values: &Values<'_>) -> Result<String, Unfilled> {
        let mut text = String::new();
        for piece in &self.pieces {
            text.push_str(&piece.value(values)?);
        }
        Ok(text)
    }

    /// Whether it asks for what changed since a time: then the provider selects the records.
    #[must_use]
    pub fn asks_since(&self) -> bool {
        let asks = |piece: &Piece| match piece {
            Piece::Date { now, .. } => !now,
            Piece::Epoch(unit) => *unit != Unit::Zero,
            Piece::Text(_) | Piece::Name(_) => false,
        };
        self.pieces.iter().any(asks)
    }

    /// The text, where it has no placeholders.
    #[must_use]
    pub fn constant(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The names in it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Name(name) => Some(name.as_str()),
            _ => None,
        })
    }
}

impl Piece {
    fn value<'a>(&'a self, values: &Values<'a>) -> Result<Cow<'a, str>, Unfilled> {
        let owned = match self {
            Self::Text(text) => return Ok(Cow::Borrowed(text)),
            Self::Name(name) => {
                return values.settings.get(name).map(Cow::Borrowed).ok_or_else(|| Unfilled::Missing(name.clone()));
            }
            Self::Date { now, format, zone } => {
                let at = if *now { values.now } else { values.since };
                match (format, values.format) {
                    (Some(format), _) => format.write(at, zone.as_ref().unwrap_or(&Zone::gmt())),
                    (None, Some(format)) => format.write(at, zone.as_ref().or(values.zone).unwrap_or(&Zone::gmt())),
                    (None, None) => at.as_millis().to_string(),
                }
            }
            Self::Epoch(unit) => match unit {
                Unit::Seconds => values.since.as_seconds().to_string(),
                Unit::Milliseconds => values.since.as_millis().to_string(),
                Unit::Microseconds => values.since.as_millis().saturating_mul(1000).to_string(),
                Unit::Zero => "0".to_owned(),
            },
        };
        Ok(Cow::Owned(owned))
    }
}

impl<'de> serde::Deserialize<'de> for Template {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// What is between the braces of the placeholder that `text` begins with, and how long it is with them. `None`: it begins
/// with none.
fn found(text: &str) -> Option<(Inner<'_>, usize)> {
    // Without its brace a placeholder ends with the parameter.
    let end_of_parameter = text.find('&').unwrap_or(text.len());
    if let Some(inner) = text.strip_prefix("${") {
        return Some(match inner.find('}') {
            Some(end) => (Inner::Descriptor(&inner[..end]), end + 3),
            None => {
                (Inner::Descriptor(unquoted(&text[2..end_of_parameter])), unquoted(&text[..end_of_parameter]).len())
            }
        });
    }
    if let Some(inner) = text.strip_prefix('$') {
        if !["yyyy", "MM", "dd"].iter().any(|begin| inner.starts_with(begin)) {
            return None;
        }
        let parameter = &text[1..end_of_parameter];
        return Some(match parameter.find('}') {
            Some(end) => (Inner::Descriptor(&parameter[..end]), end + 2),
            None => (Inner::Descriptor(unquoted(parameter)), unquoted(parameter).len() + 1),
        });
    }
    let inner = text.strip_prefix('{')?;
    let name = &inner[..inner.find('}')?];
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (!name.is_empty() && name.chars().all(plain)).then_some((Inner::Name(name), name.len() + 2))
}

/// What stands in braces.
#[derive(Clone, Copy)]
enum Inner<'t> {
    Descriptor(&'t str),
    Name(&'t str),
}

/// Without the quote that closes the value around it: an odd one at the end.
fn unquoted(text: &str) -> &str {
    if text.matches('\'').count() % 2 == 1 { text.strip_suffix('\'').unwrap_or(text) } else { text }
}

fn piece(inner: Inner<'_>) -> Result<Piece, String> {
    let inner = match inner {
        Inner::Name(name) if events::configuration::is_secret(name) => {
            return Err("it names a secret, which does not belong in what is logged".into());
        }
        Inner::Name(name) => return Ok(Piece::Name(name.to_owned())),
        Inner::Descriptor(inner) => inner.trim(),
    };
    let (descriptor, argument) = match inner.split_once(':') {
        Some((descriptor, argument)) => (descriptor.trim(), argument.trim()),
        None => (inner, ""),
    };
    let format = |text: &str| match text {
        "" => Ok(None),
        text => DateFormat::parse(text).map(Some).map_err(|error| error.to_string()),
    };
    let is = |word: &str| descriptor.eq_ignore_ascii_case(word);
    if is("gmtDate") {
        return Ok(Piece::Date { now: false, format: format(argument)?, zone: Some(Zone::gmt()) });
    }
    if is("date") {
        return Ok(Piece::Date { now: false, format: format(argument)?, zone: None });
    }
    if is("dateTimeZone") || is("nowTimeZone") {
        let (zone, pattern) = zoned(argument)?;
        return Ok(Piece::Date { now: is("nowTimeZone"), format: format(pattern)?, zone: Some(zone) });
    }
    if is("milliseconds") {
        return Ok(Piece::Epoch(Unit::Milliseconds));
    }
    if is("epoch") {
        return Ok(Piece::Epoch(match argument {
            "" | "ms" => Unit::Milliseconds,
            "s" => Unit::Seconds,
            "us" => Unit::Microseconds,
            "0" => Unit::Zero,
            other => return Err(format!("{other:?} is no unit; units are s, ms, us and 0")),
        }));
    }
    // `$yyyy-MM-dd…`: the descriptor was forgotten.
    if inner.contains("yyyy") && DateFormat::parse(inner).is_ok() {
        return Ok(Piece::Date { now: false, format: format(inner)?, zone: Some(Zone::gmt()) });
    }
    Err(format!("it means nothing; {KNOWN}"))
}

/// `ZONE:FORMAT`, where the zone may have a colon too: the longest text that is one counts.
fn zoned(argument: &str) -> Result<(Zone, &str), String> {
    let splits = argument.rmatch_indices(':').map(|(place, _)| (&argument[..place], &argument[place + 1..]));
    for (zone, format) in std::iter::once((argument, "")).chain(splits) {
        if let Ok(zone) = Zone::parse(zone) {
            return Ok((zone, format.trim()));
        }
    }
    let zone = argument.split(':').next().unwrap_or_default();
    Err(Zone::parse(zone).err().map_or_else(|| "it is written ZONE:FORMAT".into(), |error| error.to_string()))
}

#[cfg(test)]
mod tests;
