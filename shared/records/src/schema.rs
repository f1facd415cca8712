//! How an item's body is written: one line of JSON whose first field is the schema version, then, where a record has one,
//! a payload of bytes.

use bytes::Bytes;
use platform::{Item, QueueError, SendError, TableError, VaultError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The newest schema this code reads. With the feature `newer` it reads, and writes, one that does not exist yet: a version
/// to rehearse upgrades with.
const SCHEMA: u32 = if cfg!(feature = "newer") { 4 } else { 3 };

/// The schema of what the first version understands: nearly everything.
const FIRST: u32 = if cfg!(feature = "newer") { SCHEMA } else { 1 };

/// The schema of what the first version would get wrong, because it knows of no event bus.
pub(crate) const FLOWS: u32 = if cfg!(feature = "newer") { SCHEMA } else { 2 };

/// The schema of what versions before it would get wrong, because they know of no timing wheel: written anew by one of them,
/// an instance would forget its place, and its item there would stay for ever.
pub(crate) const WHEEL: u32 = if cfg!(feature = "newer") { SCHEMA } else { 3 };

/// Why a repository did not do as told.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RecordError {
    /// The table's reason.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The vault's reason.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// A queue's reason.
    #[error(transparent)]
    Send(#[from] SendError),
    /// A queue's reason.
    #[error(transparent)]
    Queue(#[from] QueueError),
    /// An item that this version cannot read because a newer one wrote it.
    #[error("the item {0} was written by a newer version of Pollhook (schema {1}, this one reads {SCHEMA})")]
    Newer(String, u32),
    /// An account's finders use too many paths, and this would be one more.
    #[error(
        "the account's instances of this connector look for instances at {0} different paths already \
         (event.notification.instance.finder); at most as many are served"
    )]
    TooManyFinders(usize),
    /// Where an instance's polls stand, which cannot be read or written.
    #[error("the item {0}: {1}")]
    State(String, polling::position::StateError),
    /// An item that is not what its key says.
    #[error("the item {0} is damaged: {1}")]
    Damaged(String, String),
}

#[derive(Serialize)]
struct Written<'a, T> {
    v: u32,
    #[serde(flatten)]
    record: &'a T,
}

#[derive(Deserialize)]
struct Version {
    v: u32,
}

/// A record as an item's body, as every version reads it.
pub(crate) fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    encode_as(FIRST, record)
}

/// A record as an item's body that versions before `schema` leave alone.
pub(crate) fn encode_as<T: Serialize>(schema: u32, record: &T) -> Vec<u8> {
    // Records are structs with text keys, written to memory: there is nothing that could fail.
    serde_json::to_vec(&Written { v: schema, record }).unwrap_or_default()
}

/// A record and its payload as an item's body.
pub(crate) fn encode_with<T: Serialize>(record: &T, payload: &[u8]) -> Vec<u8> {
    let mut body = encode(record);
    body.push(b'\n');
    body.extend_from_slice(payload);
    body
}

/// Reads a record.
pub(crate) fn decode<T: DeserializeOwned>(item: &Item) -> Result<T, RecordError> {
    decode_with(item).map(|(record, _)| record)
}

/// Reads a record and its payload (empty where there is none).
pub(crate) fn decode_with<T: DeserializeOwned>(item: &Item) -> Result<(T, Bytes), RecordError> {
    // JSON as we write it holds no line feed.
    let end = memchr::memchr(b'\n', &item.body);
    let (head, payload) = match end {
        Some(end) => (&item.body[..end], item.body.slice(end + 1..)),
        None => (&item.body[..], Bytes::new()),
    };
    let damaged = |reason: String| RecordError::Damaged(format!("{:?}", item.key), reason);
    let unreadable = |error: serde_json::Error| damaged(error.to_string());
    let version = match first_field(head) {
        Some(version) => version,
        None => serde_json::from_slice::<Version>(head).map_err(unreadable)?.v,
    };
    if version > SCHEMA {
        return Err(RecordError::Newer(format!("{:?}", item.key), version));
    }
    // As a whole: read from bytes, each of its texts would be checked by itself.
    let head = std::str::from_utf8(head).map_err(|error| damaged(error.to_string()))?;
    Ok((serde_json::from_str(head).map_err(unreadable)?, payload))
}

/// The version as every record of ours begins; to read it as JSON would be to read the whole record twice.
fn first_field(head: &[u8]) -> Option<u32> {
    let rest = head.strip_prefix(br#"{"v":"#)?;
    let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    let ended = matches!(rest[end], b',' | b'}');
    std::str::from_utf8(&rest[..end]).ok().filter(|_| ended)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_first_field_or_is_looked_for_and_what_is_neither_is_damaged() {
        let first = |text: &str| first_field(text.as_bytes());
        assert_eq!(first(r#"{"v":1,"x":2}"#), Some(1));
        assert_eq!(first(r#"{"v":12}"#), Some(12));
        for other in
            [r#"{"x":2,"v":1}"#, r#"{"v": 1}"#, r#"{"v":1.5}"#, r#"{"v":}"#, r#"{"v":99999999999}"#, r#"{"v":1"#]
        {
            assert_eq!(first(other), None, "{other}");
        }
        #[derive(Deserialize, PartialEq, Debug)]
        struct Record {
            x: u32,
        }
        let item = |body: &'static str| Item {
            key: platform::Key::new("P", "S"),
            version: platform::Version(0),
            body: Bytes::from_static(body.as_bytes()),
            expires_at_s: None,
        };
        for body in [r#"{"v":1,"x":2}"#, r#"{"x":2,"v":1}"#, r#" {"v" : 1, "x" : 2}"#] {
            assert_eq!(decode::<Record>(&item(body)), Ok(Record { x: 2 }));
        }
        assert!(matches!(decode::<Record>(&item(r#"{"v":9,"y":2}"#)), Err(RecordError::Newer(_, 9))));
        assert!(matches!(decode::<Record>(&item(r#"{"v":1.5,"x":2}"#)), Err(RecordError::Damaged(..))));
    }
}
