//! From a mapping's output to a [`Change`]; what it cannot read it names, and leaves its neighbours alone.

use std::fmt;

use std::sync::Arc;

use events::{EventType, Timestamp};
use jaq_json::{Num, Val};
use sha2::{Digest as _, Sha256};

use crate::Change;

/// An entry (or a row made of it) that became no change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skipped {
    /// The entry's place in the body, from 0.
    pub entry: usize,
    /// Why.
    pub reason: SkipReason,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {}: {}", self.entry, self.reason)
    }
}

/// Why an entry became no change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SkipReason {
    /// The mapping failed on it: the provider sent a shape that the definition does not know.
    #[error("its shape is not one that the mapping knows")]
    Mapping,
    /// The mapping yielded something other than an array of five.
    #[error("the mapping yielded no [objectType, objectId, eventType, date, occurrence]")]
    Row,
    /// It names no kind of object, or one too long to be one.
    #[error("it names no object type of at most {MAX_NAME_BYTES} bytes")]
    ObjectType,
    /// It names no object, or one too long to be one.
    #[error("it names no object id of at most {MAX_NAME_BYTES} bytes")]
    ObjectId,
}

/// The last moment of the year 9999: later dates cannot be written as the contract writes them.
const LAST_MS: i64 = 253_402_300_799_999;

/// Dates below this are seconds: as such they lie before the year 5138, and as milliseconds they would before March 1973.
const SECONDS: i64 = 100_000_000_000;

/// Longest name or id. A name stands in each row made of an entry, so a long one would cost its length times their
/// number. Ids are tens of bytes; 2,048 is the most of a DynamoDB key.
const MAX_NAME_BYTES: usize = 1_024;

/// Longest text that may be a date: twice the longest form, with nanoseconds and offset. Each row's is looked at, and rows
/// may share one that is as long as the body.
const MAX_DATE_BYTES: usize = 64;

/// The digests of occurrences. Rows made of one entry share its occurrence, which may be long (a merge's lists every id):
/// it is hashed once, not once for each of them.
#[derive(Default)]
pub(crate) struct Occurrences {
    /// Held, not just its address: another occurrence cannot come to lie at it.
    last: Option<(Arc<Vec<Val>>, [u8; 32])>,
}

impl Occurrences {
    fn digest(&mut self, fields: &Arc<Vec<Val>>, hash: impl FnOnce(&[Val]) -> [u8; 32]) -> [u8; 32] {
        match &self.last {
            Some((last, digest)) if Arc::ptr_eq(last, fields) => *digest,
            _ => {
                let digest = hash(fields);
                self.last = Some((Arc::clone(fields), digest));
                digest
            }
        }
    }
}

/// Reads `[objectType, objectId, eventType, date, occurrence]`, made of the entry at `entry`.
pub(crate) fn read(
    row: &Val,
    entry: usize,
    account: Option<&str>,
    occurrences: &mut Occurrences,
) -> Result<Change, SkipReason> {
    let Val::Arr(row) = row else { return Err(SkipReason::Row) };
    let [object_type, object_id, event_type, date, occurrence] = row.as_slice() else { return Err(SkipReason::Row) };
    let occurrence = match occurrence {
        Val::Null => None,
        // Fields of which none is there name no occurrence: what they would be to all, one of two changes would be lost.
        Val::Arr(fields) if !fields.is_empty() && fields.iter().all(|field| matches!(field, Val::Null)) => None,
        Val::Arr(fields) => Some(occurrences.digest(fields, digest)),
        _ => return Err(SkipReason::Row),
    };
    Ok(Change {
        entry,
        account: account.map(String::from),
        object_type: name(object_type).ok_or(SkipReason::ObjectType)?,
        object_id: name(object_id).ok_or(SkipReason::ObjectId)?,
        event_type: text(event_type).map_or(EventType::Unknown, EventType::from_word),
        date: self::date(date),
        occurrence,
    })
}

pub(crate) fn text(value: &Val) -> Option<&str> {
    match value {
        Val::TStr(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

/// A name or id: text that is neither empty nor overlong, as it is, or a whole number, digit by digit. A number with a fraction or beyond
/// 64 bits is none: it was rounded when it was read, and a rounded id is another object's.
pub(crate) fn name(value: &Val) -> Option<String> {
    match value {
        Val::Num(Num::Int(number)) => Some(number.to_string()),
        Val::Num(Num::BigInt(number)) => Some(number.to_string()),
        _ => text(value).filter(|text| (1..=MAX_NAME_BYTES).contains(&text.len())).map(String::from),
    }
}

/// Milliseconds since 1970, or seconds where the number is below [`SECONDS`], or an RFC 3339 text, whose offset may lack its
/// colon or be absent: then it is UTC. A date that cannot be read, or lies outside 1970 to 9999, is left out: the change
/// itself is worth telling.
fn date(value: &Val) -> Option<Timestamp> {
    let date = match value {
        Val::Num(Num::Int(number)) => match i64::try_from(*number).ok()? {
            seconds if seconds < SECONDS => Timestamp::from_millis(seconds.checked_mul(1_000)?),
            millis => Timestamp::from_millis(millis),
        },
        _ => {
            let text = text(value).filter(|text| text.len() <= MAX_DATE_BYTES)?;
            Timestamp::parse_rfc3339(text).or_else(|| Timestamp::parse_rfc3339(&format!("{text}Z")))?
        }
    };
    (0..=LAST_MS).contains(&date.as_millis()).then_some(date)
}

fn digest(fields: &[Val]) -> [u8; 32] {
    let mut hash = Sha256::new();
    fields.iter().for_each(|field| canonical(field, &mut |bytes| hash.update(bytes)));
    hash.finalize().into()
}

/// Feeds `value` to `out` so that no two different values (or lists of values) make the same bytes: a letter for the type, a
/// length where there is one, the value. An object's fields are sorted, for a provider is free to reorder them.
fn canonical(value: &Val, out: &mut impl FnMut(&[u8])) {
    match value {
        Val::Null => out(b"n"),
        Val::Bool(truth) => out(if *truth { b"t" } else { b"f" }),
        Val::Num(Num::Int(number)) => sized(b'i', number.to_string().as_bytes(), out),
        Val::Num(Num::BigInt(number)) => sized(b'i', number.to_string().as_bytes(), out),
        Val::Num(Num::Float(number)) => sized(b'd', &number.to_bits().to_be_bytes(), out),
        Val::Num(Num::Dec(number)) => sized(b'd', number.as_bytes(), out),
        Val::BStr(text) | Val::TStr(text) => sized(b's', text, out),
        Val::Arr(items) => {
            length(b'a', items.len(), out);
            items.iter().for_each(|item| canonical(item, out));
        }
        Val::Obj(fields) => {
            length(b'o', fields.len(), out);
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(key, _)| *key);
            for (key, value) in sorted {
                canonical(key, out);
                canonical(value, out);
            }
        }
    }
}

fn length(tag: u8, length: usize, out: &mut impl FnMut(&[u8])) {
    out(&[tag]);
    out(&(length as u64).to_be_bytes());
}

fn sized(tag: u8, value: &[u8], out: &mut impl FnMut(&[u8])) {
    length(tag, value.len(), out);
    out(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(json: &str) -> Val {
        serde_json::from_str(json).unwrap()
    }

    fn bytes(json: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        canonical(&value(json), &mut |piece| bytes.extend_from_slice(piece));
        bytes
    }

    fn change(row: &Val, account: Option<&str>) -> Result<Change, SkipReason> {
        read(row, 0, account, &mut Occurrences::default())
    }

    #[test]
    fn ids_keep_every_digit_and_a_rounded_one_is_refused() {
        for (json, id) in [
            ("9007199254740993", Some("9007199254740993")),
            ("18446744073709551615", Some("18446744073709551615")),
            ("-1", Some("-1")),
            (r#""007""#, Some("007")),
            ("18446744073709551616", None),
            ("1.0", None),
            ("1e3", None),
            (r#""""#, None),
            ("null", None),
            ("true", None),
            ("[1]", None),
        ] {
            assert_eq!(name(&value(json)).as_deref(), id, "{json}");
        }
    }

    #[test]
    fn a_date_that_cannot_be_read_costs_the_date_not_the_change() {
        for bad in ["-1", "1e300", "9223372036854775807", r#""yesterday""#, "{}", "253402300800000"] {
            let row = format!(r#"["contacts", 1, "CREATED", {bad}, null]"#);
            assert_eq!(change(&value(&row), None).unwrap().date, None, "{bad}");
        }
        for (number, millis) in [(0_i64, 0), (1_790_000_000, 1_790_000_000_000), (99_999_999_999, 99_999_999_999_000)]
            .into_iter()
            .chain([(100_000_000_000, 100_000_000_000), (1_790_000_000_123, 1_790_000_000_123)])
        {
            assert_eq!(date(&value(&number.to_string())), Some(Timestamp::from_millis(millis)), "{number}");
        }
        let row = value(r#"["contacts", 1, "created", "2025-09-10T21:31:25.179851517Z", []]"#);
        let change = change(&row, Some("33")).unwrap();
        assert_eq!(change.date, Some(Timestamp::from_millis(1_757_539_885_179)));
        assert_eq!(change.event_type, EventType::Created);
        assert_eq!(change.occurrence, Some(digest(&[])));
    }

    #[test]
    fn a_date_is_read_with_any_offset_or_none() {
        let at = |text: &str| date(&Val::from(text.to_owned())).map(Timestamp::as_millis);
        let utc = Some(1_444_056_139_000);
        for (text, millis) in [
            ("2015-10-05T14:42:19Z", utc),
            ("2015-10-05T14:42:19", utc),
            ("2015-10-05 14:42:19", utc),
            ("2015-10-05T07:42:19-07:00", utc),
            ("2015-10-05T07:42:19-0700", utc),
            ("2015-10-05T14:42:19+0000", utc),
            ("2015-10-05T14:42:19.000+0000", utc),
            ("2015-10-05T14:42:19.000999999", utc),
            ("2015-10-05T14:42:19.179851517-0000", Some(1_444_056_139_179)),
            // A leap second is told as the one before it.
            ("2016-12-31T23:59:60Z", Some(1_483_228_799_000)),
            ("2015-10-05T14:42:61", None),
            ("2015-10-05T25:00:00", None),
            ("2015-02-30T00:00:00", None),
            ("2015-10-05", None),
            ("1969-12-31T23:59:59", None),
            ("9999-12-31T23:59:59-2359", None),
            ("10000-01-01T00:00:00", None),
            ("2015-10-05T14:42:19ZZ", None),
            ("", None),
        ] {
            assert_eq!(at(text), millis, "{text}");
        }
        assert_eq!(at(&format!("2015-10-05T14:42:19{}", " ".repeat(MAX_DATE_BYTES))), None);
    }

    #[test]
    fn a_name_is_of_bounded_length() {
        for (length, fits) in [(MAX_NAME_BYTES, true), (MAX_NAME_BYTES + 1, false)] {
            assert_eq!(name(&value(&format!("\"{}\"", "x".repeat(length)))).is_some(), fits, "{length}");
        }
        let long = "x".repeat(MAX_NAME_BYTES + 1);
        let row = |kind: &str, id: &str| change(&value(&format!(r#"["{kind}", "{id}", "CREATED", null, null]"#)), None);
        assert_eq!(row(&long, "1"), Err(SkipReason::ObjectType));
        assert_eq!(row("contacts", &long), Err(SkipReason::ObjectId));
    }

    #[test]
    fn fields_that_are_all_missing_name_no_occurrence() {
        let occurrence = |json: &str| {
            change(&value(&format!(r#"["a", 1, "UPDATED", null, {json}]"#)), None)
                .map(|change| change.occurrence.is_some())
        };
        assert_eq!(occurrence("[null]"), Ok(false));
        assert_eq!(occurrence("[null, null]"), Ok(false));
        assert_eq!(occurrence("[null, 0]"), Ok(true));
        assert_eq!(occurrence("[]"), Ok(true));
    }

    #[test]
    fn an_occurrence_that_rows_share_is_hashed_once() {
        let fields = |json: &str| match value(json) {
            Val::Arr(fields) => fields,
            _ => panic!("no array"),
        };
        let (one, same, other) = (fields("[1]"), fields("[1]"), fields("[2]"));
        let mut occurrences = Occurrences::default();
        let mut hashed = 0;
        let mut made = Vec::new();
        for shared in std::iter::repeat_n(&one, 100).chain([&other, &one, &same]) {
            made.push(occurrences.digest(shared, |fields| {
                hashed += 1;
                digest(fields)
            }));
        }
        assert_eq!(hashed, 4);
        assert!(made[..100].iter().chain(&made[101..]).all(|digest| *digest == made[0]));
        assert_ne!(made[100], made[0]);
    }

    #[test]
    fn canonical_bytes_differ_as_the_values_do_and_only_then() {
        let distinct = [
            "1",
            "\"1\"",
            "null",
            "[]",
            "[null]",
            "[[],1]",
            "[[1]]",
            "{}",
            "true",
            "false",
            "1.5",
            "\"\"",
            r#"["ab","c"]"#,
            r#"["a","bc"]"#,
        ];
        for (i, a) in distinct.iter().enumerate() {
            assert!(distinct.iter().skip(i + 1).all(|b| bytes(a) != bytes(b)), "{a}");
        }
        assert_eq!(bytes(r#"{"a":1,"b":[2]}"#), bytes(r#"{"b":[2],"a":1}"#));
    }
}
