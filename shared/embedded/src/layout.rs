//! How things are written in the file. A change here is a new [`FORMAT`].
//!
//! | redb table | key | value |
//! |---|---|---|
//! | `meta` | `format` | [`FORMAT`] |
//! | `items` | partition, a zero byte, sort | version (8 bytes, LE), expiry in seconds (8 bytes, LE), body |
//! | `queue:<name>` | (visible at in ms, number) | length of the group (1 byte), group, body |
//! | `dead` | a running number | time in ms (8 bytes, LE), receives (4 bytes, LE), queue and group (each after 1 byte of length), body |
//! | `dead-reasons` | the number in `dead` | why; absent beside a letter of a version that kept no reasons |
//!
//! A partition holds no zero byte, so the first one ends it and partitions never interleave. Queue keys begin with the
//! time, so sends append at the right edge of the tree and acknowledgements eat it from the left: random keys would
//! double the writer's work.

use bytes::Bytes;
use platform::{Item, Key, Version};
use redb::TableDefinition;

/// The format that this version writes and reads.
pub(crate) const FORMAT: u64 = 1;
/// The key, in [`META`], of the fingerprint of the vault's key.
pub(crate) const FINGERPRINT_KEY: &str = "vault-key";

/// The key of the format number in [`META`].
pub(crate) const FORMAT_KEY: &str = "format";

pub(crate) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
pub(crate) const ITEMS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("items");
pub(crate) const DEAD: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("dead");

pub(crate) const REASONS: TableDefinition<'_, u64, &str> = TableDefinition::new("dead-reasons");

/// The redb table of a queue, by the name that [`queue_table_name`] gives.
pub(crate) fn queue_table(name: &str) -> TableDefinition<'_, (u64, u64), &'static [u8]> {
    TableDefinition::new(name)
}

pub(crate) fn queue_table_name(queue: &str) -> String {
    format!("queue:{queue}")
}

/// Bytes of an item's value before its body.
const ITEM_HEAD: usize = 16;
/// No expiry. An item that expires at this second is stored one second later: it is absent all the same.
const NEVER: i64 = i64::MIN;

/// Writes an item's key into `out`, after clearing it.
pub(crate) fn put_key(out: &mut Vec<u8>, partition: &str, sort: &str) {
    out.clear();
    out.reserve(partition.len() + 1 + sort.len());
    out.extend_from_slice(partition.as_bytes());
    out.push(0);
    out.extend_from_slice(sort.as_bytes());
}

/// An item's key as bytes.
pub(crate) fn item_key(partition: &str, sort: &str) -> Vec<u8> {
    let mut out = Vec::new();
    put_key(&mut out, partition, sort);
    out
}

/// Writes an item's value into `out`, after clearing it.
pub(crate) fn put_item(out: &mut Vec<u8>, version: Version, expires_at_s: Option<i64>, body: &[u8]) {
    out.clear();
    out.reserve(ITEM_HEAD + body.len());
    out.extend_from_slice(&version.0.to_le_bytes());
    let expiry = expires_at_s.map_or(NEVER, |at| at.max(NEVER + 1));
    out.extend_from_slice(&expiry.to_le_bytes());
    out.extend_from_slice(body);
}

/// The head of an item's value.
#[derive(Clone, Copy)]
pub(crate) struct Head {
    pub(crate) version: Version,
    pub(crate) expires_at_s: Option<i64>,
}

impl Head {
    /// Whether the item is absent at `now_s`, seconds since the epoch: [`Item::expired`] without the item.
    pub(crate) fn expired(self, now_s: i64) -> bool {
        self.expires_at_s.is_some_and(|at| at <= now_s)
    }
}

/// Splits an item's value; `None` when it is damaged.
pub(crate) fn split_item(value: &[u8]) -> Option<(Head, &[u8])> {
    let (version, rest) = value.split_first_chunk::<8>()?;
    let (expiry, body) = rest.split_first_chunk::<8>()?;
    let expiry = i64::from_le_bytes(*expiry);
    let head =
        Head { version: Version(u64::from_le_bytes(*version)), expires_at_s: (expiry != NEVER).then_some(expiry) };
    Some((head, body))
}

/// The item of a stored value; `None` when it is damaged.
pub(crate) fn item(key: &Key, value: &[u8]) -> Option<Item> {
    let (Head { version, expires_at_s }, body) = split_item(value)?;
    Some(Item { key: key.clone(), version, body: Bytes::copy_from_slice(body), expires_at_s })
}

/// Appends a text of at most 255 bytes after its length. Groups and queue names are shorter: the limits and
/// [`Store::queue`](crate::Store::queue) see to it.
fn put_short(out: &mut Vec<u8>, text: &str) {
    let bytes = &text.as_bytes()[..text.len().min(usize::from(u8::MAX))];
    out.push(bytes.len() as u8);
    out.extend_from_slice(bytes);
}

fn split_short(value: &[u8]) -> Option<(&str, &[u8])> {
    let (&len, rest) = value.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(len))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

/// Writes a message's value into `out`, after clearing it.
pub(crate) fn put_message(out: &mut Vec<u8>, group: &str, body: &str) {
    out.clear();
    out.reserve(1 + group.len() + body.len());
    put_short(out, group);
    out.extend_from_slice(body.as_bytes());
}

/// A message's group and body; `None` when it is damaged.
pub(crate) fn split_message(value: &[u8]) -> Option<(&str, &str)> {
    let (group, body) = split_short(value)?;
    Some((group, std::str::from_utf8(body).ok()?))
}

/// Writes a dead message's value into `out`, after clearing it; `message` is its value in the queue.
pub(crate) fn put_dead(out: &mut Vec<u8>, at_ms: u64, receives: u32, queue: &str, message: &[u8]) {
    out.clear();
    out.extend_from_slice(&at_ms.to_le_bytes());
    out.extend_from_slice(&receives.to_le_bytes());
    put_short(out, queue);
    out.extend_from_slice(message);
}

/// A dead message, as stored.
pub(crate) struct Dead<'a> {
    pub(crate) at_ms: u64,
    pub(crate) receives: u32,
    pub(crate) queue: &'a str,
    pub(crate) group: &'a str,
    pub(crate) body: &'a str,
}

/// Splits a dead message's value; `None` when it is damaged.
pub(crate) fn split_dead(value: &[u8]) -> Option<Dead<'_>> {
    let (at_ms, rest) = value.split_first_chunk::<8>()?;
    let (receives, rest) = rest.split_first_chunk::<4>()?;
    let (queue, message) = split_short(rest)?;
    let (group, body) = split_message(message)?;
    Some(Dead { at_ms: u64::from_le_bytes(*at_ms), receives: u32::from_le_bytes(*receives), queue, group, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_expiry_is_told_from_every_expiry_that_a_caller_may_give() {
        let mut value = Vec::new();
        for at in [None, Some(0), Some(-1), Some(i64::MAX), Some(i64::MIN + 1)] {
            put_item(&mut value, Version(7), at, b"x");
            let (head, body) = split_item(&value).unwrap();
            assert_eq!((head.version, head.expires_at_s, body), (Version(7), at, &b"x"[..]));
        }
        put_item(&mut value, Version(7), Some(i64::MIN), b"x");
        assert!(split_item(&value).unwrap().0.expired(i64::MIN + 1), "expired since ever, not for ever");
    }

    #[test]
    fn a_cut_value_is_damaged_not_a_panic() {
        let mut value = Vec::new();
        put_message(&mut value, "group", "body");
        assert_eq!(split_message(&value), Some(("group", "body")));
        assert_eq!(split_message(&value[..4]), None);
        let message = value.clone();
        put_dead(&mut value, 5, 6, "batches", &message);
        assert!(split_dead(&value).is_some_and(|d| (d.queue, d.group, d.body) == ("batches", "group", "body")));
        for cut in 0..value.len() - "body".len() {
            assert!(split_dead(&value[..cut]).is_none(), "cut at {cut}");
        }
        assert!(split_item(&[0; 15]).is_none());
    }
}
