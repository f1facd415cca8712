//! A URL with placeholders.
//!
//! *What is encoded:* a placeholder's value entirely (all but letters, digits and `-._~`), so that a `+` of an offset, an
//! `&` or a `/` of a value stay what they are; of what the author wrote only what cannot stand in a URL (blanks, quotes,
//! `<`, `>`, and `=` within a value). Escapes that the author wrote are kept. So the value of `where=` is data, whatever is
//! in it: `&` within its quotes does not end it.

use super::{Piece, PlaceholderError, Template, Unfilled, Values};

/// A URL with placeholders: absolute, or from the path on.
#[derive(Clone, PartialEq, Debug)]
pub struct UrlTemplate {
    /// `https://host`, where it is absolute.
    origin: Option<Template>,
    path: Template,
    query: Vec<(Template, Option<Template>)>,
}

impl UrlTemplate {
    /// Reads a URL. What comes after `#` is left out: it is never sent. An empty `where=` is left out too.
    ///
    /// # Errors
    /// [`PlaceholderError`] for the first placeholder that means nothing.
    pub fn parse(text: &str) -> Result<Self, PlaceholderError> {
        let whole = Template::parse(text.trim())?;
        let (whole, _) = whole.split_once('#');
        let (place, query) = whole.split_once('?');
        let (origin, path) = place.origin();
        let query = query.map(|query| query.parameters()).unwrap_or_default();
        let is_empty_where = |(name, value): &(Template, Option<Template>)| {
            name.is("where") && value.as_ref().is_none_or(|value| value.pieces.is_empty())
        };
        let query = query.into_iter().filter(|parameter| !is_empty_where(parameter)).collect();
        Ok(Self { origin, path, query })
    }

    /// The URL.
    ///
    /// # Errors
    /// [`Unfilled`].
    pub fn fill(&self, values: &Values<'_>) -> Result<String, Unfilled> {
        let mut url = String::new();
        if let Some(origin) = &self.origin {
            for piece in &origin.pieces {
                match piece {
                    Piece::Text(literal) => url.push_str(literal),
                    piece => {
                        let value = piece.value(values)?;
                        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
                        if !value.bytes().all(plain) {
                            return Err(Unfilled::Misplaced(origin.names().next().unwrap_or_default().to_owned()));
                        }
                        url.push_str(&value);
                    }
                }
            }
        }
        let begins = url.len();
        self.path.encode(values, PATH, &mut url)?;
        if url[begins..].split('/').any(is_dotted) {
            return Err(Unfilled::Dotted);
        }
        for (place, (name, value)) in self.query.iter().enumerate() {
            url.push(if place == 0 { '?' } else { '&' });
            name.encode(values, QUERY, &mut url)?;
            if let Some(value) = value {
                url.push('=');
                value.encode(values, QUERY, &mut url)?;
            }
        }
        Ok(url)
    }

    /// Whether it asks for what changed since a time.
    #[must_use]
    pub fn asks_since(&self) -> bool {
        self.templates().any(Template::asks_since)
    }

    /// Whether it names its host.
    #[must_use]
    pub fn is_absolute(&self) -> bool {
        self.origin.is_some()
    }

    /// The names in it.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.templates().flat_map(Template::names)
    }

    /// Of a path `/hubs/{hub}/{object}`, as the contract's configurations have it: hub and object.
    #[must_use]
    pub fn hub_object(&self) -> Option<(String, String)> {
        let [Piece::Text(path)] = self.path.pieces.as_slice() else { return None };
        let (hub, object) = path.trim_start_matches('/').strip_prefix("hubs/")?.split_once('/')?;
        let object = object.trim_end_matches('/');
        (!hub.is_empty() && !object.is_empty()).then(|| (hub.to_owned(), object.to_owned()))
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        let query = self.query.iter().flat_map(|(name, value)| std::iter::once(name).chain(value));
        self.origin.iter().chain([&self.path]).chain(query)
    }
}

/// What an author's `/`, `:` and the like may stay as, in a path and in a query, beside letters, digits and `-._~`.
const PATH: &[u8] = b"/:@!$&'()*+,;=";
const QUERY: &[u8] = b"/:@!$()*+,;?";

/// Whether a part of a path is `.` or `..`, escaped or not.
fn is_dotted(segment: &str) -> bool {
    let is_dot = |dot: &str| dot == "." || dot.eq_ignore_ascii_case("%2e");
    let two = |at: usize| segment.split_at_checked(at).is_some_and(|(one, other)| is_dot(one) && is_dot(other));
    is_dot(segment) || two(1) || two(3)
}

fn encode(text: &str, also: &[u8], keep_escapes: bool, into: &mut String) {
    let bytes = text.as_bytes();
    let escape = |at: usize| bytes.get(at + 1..at + 3).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit));
    // Where what is written as it is begins: a character of several bytes is escaped whole, so that is where one begins.
    let mut begins = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') || also.contains(&byte);
        if plain || keep_escapes && byte == b'%' && escape(at) {
            continue;
        }
        into.push_str(text.get(begins..at).unwrap_or_default());
        into.extend(['%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        begins = at + 1;
    }
    into.push_str(text.get(begins..).unwrap_or_default());
}

const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];

/// A text that stands for itself wherever it is in a URL.
pub(crate) fn encoded(text: &str) -> String {
    let mut url = String::new();
    encode(text, b"", false, &mut url);
    url
}

impl<'de> serde::Deserialize<'de> for UrlTemplate {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl Template {
    fn encode(&self, values: &Values<'_>, also: &[u8], into: &mut String) -> Result<(), Unfilled> {
        for piece in &self.pieces {
            match piece {
                Piece::Text(literal) => encode(literal, also, true, into),
                piece => encode(&piece.value(values)?, b"", false, into),
            }
        }
        Ok(())
    }

    fn is(&self, text: &str) -> bool {
        matches!(self.pieces.as_slice(), [Piece::Text(only)] if only == text)
    }

    /// Splits at a byte of a piece's text, which is left out.
    fn split_at(mut self, piece: usize, byte: usize) -> (Self, Self) {
        let mut after = self.pieces.split_off(piece);
        if let Some(Piece::Text(text)) = after.first_mut() {
            let rest = text.split_off(byte);
            if !text.is_empty() {
                self.pieces.push(Piece::Text(text.clone()));
            }
            *text = rest[1..].to_owned();
            if text.is_empty() {
                after.remove(0);
            }
        }
        (self, Self { pieces: after })
    }

    fn split_once(self, separator: char) -> (Self, Option<Self>) {
        let found = self.pieces.iter().enumerate().find_map(|(place, piece)| match piece {
            Piece::Text(text) => text.find(separator).map(|byte| (place, byte)),
            _ => None,
        });
        match found {
            Some((place, byte)) => {
                let (before, after) = self.split_at(place, byte);
                (before, Some(after))
            }
            None => (self, None),
        }
    }

    /// `https://host`, where it begins with that, and the path.
    fn origin(mut self) -> (Option<Self>, Self) {
        let scheme = match self.pieces.first() {
            Some(Piece::Text(text)) => {
                let lower = text.to_ascii_lowercase();
                ["https://", "http://"].into_iter().find(|scheme| lower.starts_with(scheme))
            }
            _ => None,
        };
        let Some(scheme) = scheme else { return (None, self) };
        if let Some(Piece::Text(text)) = self.pieces.first_mut() {
            *text = text.split_off(scheme.len());
        }
        let (host, path) = self.split_once('/');
        let mut pieces = vec![Piece::Text(scheme.to_owned())];
        pieces.extend(host.pieces);
        let mut path = path.unwrap_or(Self { pieces: Vec::new() });
        path.pieces.insert(0, Piece::Text("/".into()));
        (Some(Self { pieces }), path)
    }

    /// A query's parameters: between `&`, but not one within quotes, where quotes come in pairs.
    fn parameters(self) -> Vec<(Self, Option<Self>)> {
        let mut rest = Some(self);
        let mut parameters = Vec::new();
        while let Some(query) = rest {
            let (parameter, after) = match query.end_of_parameter() {
                Some((piece, byte)) => {
                    let (parameter, after) = query.split_at(piece, byte);
                    (parameter, Some(after))
                }
                None => (query, None),
            };
            if !parameter.pieces.is_empty() {
                parameters.push(parameter.split_once('='));
            }
            rest = after;
        }
        parameters
    }

    fn end_of_parameter(&self) -> Option<(usize, usize)> {
        let texts = || {
            self.pieces.iter().enumerate().flat_map(|(piece, part)| {
                let text = if let Piece::Text(text) = part { text.as_str() } else { "" };
                text.bytes().enumerate().map(move |(byte, character)| (piece, byte, character))
            })
        };
        let paired = texts().filter(|(_, _, character)| *character == b'\'').count() % 2 == 0;
        let mut quoted = false;
        for (piece, byte, character) in texts() {
            match character {
                b'\'' => quoted = !quoted && paired,
                b'&' if !quoted => return Some((piece, byte)),
                _ => {}
            }
        }
        None
    }
}
