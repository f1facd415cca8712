//! JSON in ASCII: queue bodies may hold only some characters (SQS refuses or replaces U+FFFE, U+FFFF and most control
//! characters), so everything else is written as `\u…`.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::Formatter;

struct Ascii;

impl Formatter for Ascii {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if fragment.is_ascii() && !fragment.contains('\u{7f}') {
            return writer.write_all(fragment.as_bytes());
        }
        let mut units = [0; 2];
        for character in fragment.chars() {
            if character.is_ascii() && character != '\u{7f}' {
                writer.write_all(&[character as u8])?;
            } else {
                for unit in character.encode_utf16(&mut units) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

/// `value` as JSON of printable ASCII characters alone.
pub(crate) fn to_string<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
    let mut bytes = Vec::with_capacity(256);
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, Ascii))?;
    String::from_utf8(bytes).map_err(|_| serde::ser::Error::custom("not UTF-8"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_text_survives_and_is_written_in_printable_ascii(text in any::<String>()) {
            let json = super::to_string(&text).unwrap();
            prop_assert!(json.bytes().all(|b| (0x20..0x7f).contains(&b)));
            prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }

    #[test]
    fn characters_that_sqs_refuses_are_escaped() {
        assert_eq!(super::to_string(&"\u{ffff}\u{1}\u{7f}é😀").unwrap(), r#""\uffff\u0001\u007f\u00e9\ud83d\ude00""#);
    }
}
