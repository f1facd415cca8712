//! What a provider signs: a template such as `{method}{url.decoded}{body}{timestamp}`, fed to a hash piece by piece.

use serde::{Deserialize, Deserializer, de::Error};

/// One piece of a signed message.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Method,
    Url,
    UrlDecoded,
    Body,
    Timestamp,
    Id,
    Secret,
}

/// A signed message's template.
#[derive(Debug, Clone)]
pub(crate) struct Template(Vec<Part>);

/// The values of one message.
#[derive(Clone, Copy)]
pub(crate) struct Values<'a> {
    pub(crate) method: &'a str,
    pub(crate) url: &'a str,
    pub(crate) body: &'a [u8],
    pub(crate) timestamp: &'a str,
    pub(crate) id: &'a str,
}

impl Template {
    fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            let (name, after) = after.split_once('}').ok_or("a { without its }")?;
            parts.push(match name {
                "method" => Part::Method,
                "url" => Part::Url,
                "url.decoded" => Part::UrlDecoded,
                "body" => Part::Body,
                "timestamp" => Part::Timestamp,
                "id" => Part::Id,
                "secret" => Part::Secret,
                _ => return Err(format!("{{{name}}} is not a part of a message")),
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        if !parts.contains(&Part::Body) {
            return Err("a message without {body} protects nothing".into());
        }
        Ok(Self(parts))
    }

    pub(crate) fn has_secret(&self) -> bool {
        self.0.contains(&Part::Secret)
    }

    pub(crate) fn has_timestamp(&self) -> bool {
        self.0.contains(&Part::Timestamp)
    }

    pub(crate) fn has_id(&self) -> bool {
        self.0.contains(&Part::Id)
    }

    /// Whether a request's query is signed.
    pub(crate) fn covers_url(&self) -> bool {
        self.0.contains(&Part::Url) || self.has_decoded_url()
    }

    pub(crate) fn has_decoded_url(&self) -> bool {
        self.0.contains(&Part::UrlDecoded)
    }

    /// Feeds the message to `sink`. `unescape` holds the characters whose percent-escapes `{url.decoded}` decodes.
    pub(crate) fn feed(&self, values: &Values<'_>, secret: &[u8], unescape: &str, mut sink: impl FnMut(&[u8])) {
        for part in &self.0 {
            match part {
                Part::Text(text) => sink(text.as_bytes()),
                Part::Method => sink(values.method.as_bytes()),
                Part::Url => sink(values.url.as_bytes()),
                Part::UrlDecoded => decode(values.url.as_bytes(), unescape.as_bytes(), &mut sink),
                Part::Body => sink(values.body),
                Part::Timestamp => sink(values.timestamp.as_bytes()),
                Part::Id => sink(values.id.as_bytes()),
                Part::Secret => sink(secret),
            }
        }
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Decodes the percent-escapes of the characters in `unescape` and no others, once: what a decoded character makes with
/// its neighbours is not looked at again.
fn decode(url: &[u8], unescape: &[u8], sink: &mut impl FnMut(&[u8])) {
    let (mut copied, mut at) = (0, 0);
    while let Some(byte) = url.get(at) {
        let escaped = if *byte == b'%' { url.get(at + 1..at + 3).and_then(hex_pair) } else { None };
        match escaped {
            Some(character) if unescape.contains(&character) => {
                sink(&url[copied..at]);
                sink(&[character]);
                at += 3;
                copied = at;
            }
            _ => at += 1,
        }
    }
    sink(&url[copied..]);
}

/// The byte that two hexadecimal digits, of either case, write.
pub(crate) fn hex_pair(digits: &[u8]) -> Option<u8> {
    let digit = |place: usize| digits.get(place).and_then(|d| (*d as char).to_digit(16));
    u8::try_from(digit(0)? << 4 | digit(1)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HUBSPOT: &str = ":/?@!$'()*,;";

    fn decoded(url: &str) -> String {
        let mut bytes = Vec::new();
        decode(url.as_bytes(), HUBSPOT.as_bytes(), &mut |piece| bytes.extend_from_slice(piece));
        String::from_utf8(bytes).unwrap()
    }

    /// By splitting at `%` and looking at what follows each: the plain way, with an allocation a piece.
    fn reference(url: &str) -> String {
        let mut pieces = url.split('%');
        let mut text = pieces.next().unwrap().to_string();
        for piece in pieces {
            let known = HUBSPOT.chars().find(|c| piece.to_ascii_uppercase().starts_with(&format!("{:02X}", *c as u32)));
            match known {
                Some(character) => text.extend([character].into_iter().chain(piece.chars().skip(2))),
                None => text.extend(['%'].into_iter().chain(piece.chars())),
            }
        }
        text
    }

    #[test]
    fn exactly_twelve_escapes_are_decoded_in_either_case_and_only_once() {
        assert_eq!(decoded("%3A%2F%3F%40%21%24%27%28%29%2A%2C%3B"), HUBSPOT);
        assert_eq!(decoded("%3a%2f%3f%2a%2c%3b"), ":/?*,;");
        assert_eq!(decoded("?a=%253A&b=%20%26%3D%25&c=%3"), "?a=%253A&b=%20%26%3D%25&c=%3");
        assert_eq!(decoded("%%3A%"), "%:%");
    }

    #[test]
    fn a_template_with_an_unknown_or_unfinished_part_or_without_a_body_is_refused() {
        for bad in ["{body", "{bodies}{body}", "{method}", ""] {
            assert!(Template::parse(bad).is_err(), "{bad}");
        }
        assert!(Template::parse("v0:{timestamp}:{body}").is_ok());
    }

    proptest! {
        #[test]
        fn decoding_equals_the_plain_way(url in "([a-z/?&=%]|%[0-9a-fA-F]{2}|%2[0-9a-cA-C]|%3[abfABF]|é){0,40}") {
            prop_assert_eq!(decoded(&url), reference(&url));
        }
    }
}
