//! `application/x-www-form-urlencoded`, as forms and query strings are, read into an object.
//!
//! Every value is text; the values of a name that is repeated are an array, in order. Names and values are decoded as
//! the URL Standard has it (`+` is a space, a `%` that begins no escape is itself), except that what is not UTF-8
//! then is refused: replaced by U+FFFD, different values would become equal, and a token or an id is compared later.

use std::borrow::Cow;

use percent_encoding::percent_decode;
use serde_json::map::Entry;
use serde_json::{Map, Value};

/// Most fields of a form. Webhook forms have tens; a body of megabytes could hold a million.
const MAX_FIELDS: usize = 1_000;

/// Why a form cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FormError {
    /// More fields than are accepted.
    #[error("there are more than {MAX_FIELDS}")]
    TooManyFields,
    /// A field's name or value, decoded, is not UTF-8.
    #[error("field {field} is not UTF-8")]
    NotUtf8 {
        /// Which, from 1.
        field: usize,
    },
}

/// Reads a form, or a query without its `?`.
pub(crate) fn read(text: &[u8]) -> Result<Map<String, Value>, FormError> {
    let mut form = Map::new();
    for (index, field) in text.split(|byte| *byte == b'&').filter(|field| !field.is_empty()).enumerate() {
        if index == MAX_FIELDS {
            return Err(FormError::TooManyFields);
        }
        let equals = field.iter().position(|byte| *byte == b'=');
        let (name, value) = equals.map_or((field, &[][..]), |at| (&field[..at], &field[at + 1..]));
        let decoded = |part| decode(part).ok_or(FormError::NotUtf8 { field: index + 1 });
        let value = Value::String(decoded(value)?);
        match form.entry(decoded(name)?) {
            Entry::Vacant(place) => {
                place.insert(value);
            }
            Entry::Occupied(mut place) => match place.get_mut() {
                Value::Array(values) => values.push(value),
                first => *first = Value::Array(vec![first.take(), value]),
            },
        }
    }
    Ok(form)
}

fn decode(part: &[u8]) -> Option<String> {
    let spaced: Cow<'_, [u8]> = if part.contains(&b'+') {
        part.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect::<Vec<u8>>().into()
    } else {
        part.into()
    };
    String::from_utf8(percent_decode(&spaced).collect()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn form(text: &[u8]) -> Result<Value, FormError> {
        read(text).map(Value::Object)
    }

    #[test]
    fn names_and_values_are_decoded() {
        for (text, value) in [
            ("", json!({})),
            ("&&", json!({})),
            ("a=1", json!({"a": "1"})),
            ("a=1&b=two+words%21&c=", json!({"a": "1", "b": "two words!", "c": ""})),
            ("a", json!({"a": ""})),
            ("=1", json!({"": "1"})),
            ("a=b=c", json!({"a": "b=c"})),
            ("data%5Bid%5D=7&caf%c3%a9=%F0%9F%a6%80", json!({"data[id]": "7", "café": "🦀"})),
            ("a%26b=%3D%2B%25", json!({"a&b": "=+%"})),
            ("a=100%&b=%zz&c=%4", json!({"a": "100%", "b": "%zz", "c": "%4"})),
            ("payload=%7B%22a%22%3A1%7D", json!({"payload": "{\"a\":1}"})),
        ] {
            assert_eq!(form(text.as_bytes()), Ok(value), "{text}");
        }
    }

    #[test]
    fn a_repeated_name_is_an_array_in_order() {
        assert_eq!(form(b"a=1&b=x&a=2&%61=3"), Ok(json!({"a": ["1", "2", "3"], "b": "x"})));
    }

    #[test]
    fn what_is_not_utf_8_is_refused_and_not_replaced() {
        for text in [&b"a=%ff"[..], b"%ff=1", b"a=\xff", b"a=%C3", b"a=%ED%A0%80"] {
            assert_eq!(form(&[b"x=1&", text].concat()), Err(FormError::NotUtf8 { field: 2 }), "{text:?}");
        }
        assert_eq!(form(b"a=%EF%BF%BD"), Ok(json!({"a": "\u{FFFD}"})), "what was sent as U+FFFD is U+FFFD");
    }

    #[test]
    fn the_number_of_fields_is_bounded() {
        let fields = |number| "a=1&".repeat(number);
        assert_eq!(form(fields(MAX_FIELDS).as_bytes()).unwrap()["a"].as_array().unwrap().len(), MAX_FIELDS);
        assert_eq!(form(fields(MAX_FIELDS + 1).as_bytes()), Err(FormError::TooManyFields));
    }

    proptest! {
        #[test]
        fn whatever_is_encoded_is_read_back(fields in prop::collection::btree_map(".{0,8}", ".{0,8}", 0..20)) {
            let encoded = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
            let text: Vec<String> = fields.iter().map(|(k, v)| format!("{}={}", encoded(k), encoded(v))).collect();
            let read = read(text.join("&").as_bytes()).unwrap();
            let expected: Map<String, Value> = fields.into_iter().map(|(k, v)| (k, Value::String(v))).collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn garbage_never_panics_and_never_grows(
            text in prop::collection::vec(prop::sample::select(b"a&=%+4F\xc3\xa9\xff".to_vec()), 0..200),
        ) {
            if let Ok(form) = read(&text) {
                let length = |value: &Value| value.as_str().map_or(0, str::len);
                let held: usize = form
                    .iter()
                    .map(|(name, value)| name.len() + value.as_array().map_or(length(value), |v| v.iter().map(length).sum()))
                    .sum();
                prop_assert!(held <= text.len());
            }
        }
    }
}
