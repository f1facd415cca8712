//! The limits that every platform keeps, so that what works on one file works on AWS.
//!
//! Sources: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html>,
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html> (item sizes),
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::value::RawValue;

use crate::{Act, BusError, Entry, Key, Outgoing, Query, QueueError, TableError, Write};

/// Largest item in bytes, keys and attribute names included (DynamoDB: 400 KB).
pub const ITEM_BYTES: usize = 400 * 1024;
/// Largest partition key in bytes.
pub const PARTITION_BYTES: usize = 2048;
/// Largest sort key in bytes.
pub const SORT_BYTES: usize = 1024;
/// Most writes in a transaction.
pub const TRANSACTION_WRITES: usize = 100;
/// Most bytes in a transaction (DynamoDB: 4 MB).
pub const TRANSACTION_BYTES: usize = 4 * 1024 * 1024;
/// Most messages in a send.
pub const SEND_MESSAGES: usize = 10;
/// Most bytes in a send, and so in a message.
pub const SEND_BYTES: usize = 1024 * 1024;
/// Longest delay of a message.
pub const MAX_DELAY: Duration = Duration::from_secs(900);
/// Most entries in a publish (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html>).
pub const PUBLISH_ENTRIES: usize = 10;
/// Most bytes in a publish, as [`entry_bytes`] counts them.
pub const PUBLISH_BYTES: usize = 1024 * 1024;
/// Longest detail type, in characters
/// (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsRequestEntry.html>).
pub const DETAIL_TYPE_CHARACTERS: usize = 128;
/// How the sources begin that AWS keeps for itself (same source).
const RESERVED_SOURCES: &str = "aws.";
/// Longest group name.
pub const GROUP_BYTES: usize = 128;

/// What an item costs beside its keys and body: the names `pk`, `sk`, `b`, `v`, `x`, and two numbers of at most 21 bytes
/// each (a number takes about a byte for two digits, and one more).
pub const ITEM_OVERHEAD_BYTES: usize = 2 + 2 + 1 + 1 + 1 + 2 * 21;

/// The size of an entry as EventBridge counts it: 14 bytes for its time, and the texts in UTF-8
/// (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html>).
#[must_use]
pub fn entry_bytes(entry: &Entry) -> usize {
    14 + entry.source.len() + entry.detail_type.len() + entry.detail.len()
}

/// EventBridge would tell of each of these for the entry alone, after it took the others.
fn check_entry(entry: &Entry) -> Result<(), BusError> {
    let Entry { source, detail_type, detail, time: _ } = entry;
    if source.is_empty() || detail_type.is_empty() {
        return Err(BusError::Invalid("an entry without source or detail type".into()));
    }
    if source.starts_with(RESERVED_SOURCES) {
        return Err(BusError::Invalid(format!("the source {source:?}; AWS keeps those that begin so for itself")));
    }
    let characters = detail_type.chars().count();
    if characters > DETAIL_TYPE_CHARACTERS {
        return Err(BusError::Invalid(format!(
            "a detail type of {characters} characters; at most {DETAIL_TYPE_CHARACTERS}"
        )));
    }
    // Only reads over it: no tree is made, so depth costs nothing.
    let object = serde_json::from_str::<&RawValue>(detail).is_ok_and(|json| json.get().starts_with('{'));
    if object { Ok(()) } else { Err(BusError::Invalid("a detail that is no JSON object".into())) }
}

/// Whether a bus takes these entries in one publish.
///
/// # Errors
/// [`BusError::Invalid`].
pub fn check_publish(entries: &[Entry]) -> Result<(), BusError> {
    if !(1..=PUBLISH_ENTRIES).contains(&entries.len()) {
        return Err(BusError::Invalid(format!("{} entries in a publish; 1 to {PUBLISH_ENTRIES}", entries.len())));
    }
    entries.iter().try_for_each(check_entry)?;
    let bytes: usize = entries.iter().map(entry_bytes).sum();
    if bytes > PUBLISH_BYTES {
        return Err(BusError::Invalid(format!("a publish of {bytes} bytes; at most {PUBLISH_BYTES}")));
    }
    Ok(())
}

fn invalid<T>(reason: String) -> Result<T, TableError> {
    Err(TableError::Invalid(reason))
}

/// Whether the table can hold an item at `key`.
///
/// # Errors
/// [`TableError::Invalid`].
pub fn check_key(key: &Key) -> Result<(), TableError> {
    let Key { partition, sort } = key;
    if partition.is_empty() || sort.is_empty() {
        return invalid(format!("an empty part in the key {key:?}"));
    }
    if partition.contains('\0') {
        return invalid(format!("a NUL character in the partition of {key:?}"));
    }
    if partition.len() > PARTITION_BYTES || sort.len() > SORT_BYTES {
        return invalid(format!(
            "a key of {} and {} bytes; a partition may have {PARTITION_BYTES}, a sort key {SORT_BYTES}",
            partition.len(),
            sort.len()
        ));
    }
    Ok(())
}

/// The size of the item that a write makes, in bytes; a delete or check counts its key.
#[must_use]
pub fn size(write: &Write) -> usize {
    let body = match &write.act {
        Act::Put { body, .. } => body.len(),
        Act::Delete | Act::Check => 0,
    };
    write.key.partition.len() + write.key.sort.len() + body + ITEM_OVERHEAD_BYTES
}

fn check_item(write: &Write) -> Result<(), TableError> {
    check_key(&write.key)?;
    let bytes = size(write);
    if bytes > ITEM_BYTES {
        return invalid(format!("an item of {bytes} bytes at {:?}; at most {ITEM_BYTES}", write.key));
    }
    Ok(())
}

/// Whether the table takes this single write.
///
/// # Errors
/// [`TableError::Invalid`].
pub fn check_write(write: &Write) -> Result<(), TableError> {
    if write.act == Act::Check {
        return invalid("a bare check outside a transaction".into());
    }
    check_item(write)
}

/// Whether the table takes these unconditional writes.
///
/// # Errors
/// [`TableError::Invalid`].
pub fn check_write_many(writes: &[Write]) -> Result<(), TableError> {
    let mut keys = HashSet::with_capacity(writes.len());
    for write in writes {
        check_write(write)?;
        if write.condition.is_some() {
            return invalid(format!("a condition in a batch of writes, at {:?}", write.key));
        }
        if !keys.insert(&write.key) {
            return invalid(format!("two writes of {:?}", write.key));
        }
    }
    Ok(())
}

/// Whether the table takes this transaction.
///
/// # Errors
/// [`TableError::Invalid`].
pub fn check_transaction(writes: &[Write]) -> Result<(), TableError> {
    if writes.is_empty() || writes.len() > TRANSACTION_WRITES {
        return invalid(format!("a transaction of {} writes; 1 to {TRANSACTION_WRITES}", writes.len()));
    }
    let mut keys = HashSet::with_capacity(writes.len());
    let mut bytes = 0;
    for write in writes {
        check_item(write)?;
        if write.act == Act::Check && write.condition.is_none() {
            return invalid(format!("a check without a condition, at {:?}", write.key));
        }
        if !keys.insert(&write.key) {
            return invalid(format!("two writes of {:?}", write.key));
        }
        bytes += size(write);
    }
    if bytes > TRANSACTION_BYTES {
        return invalid(format!("a transaction of {bytes} bytes; at most {TRANSACTION_BYTES}"));
    }
    Ok(())
}

/// Whether the table takes this query.
///
/// # Errors
/// [`TableError::Invalid`].
pub fn check_query(query: &Query) -> Result<(), TableError> {
    if query.partition.is_empty() || query.limit == 0 {
        return invalid("a query without a partition or with a limit of 0".into());
    }
    Ok(())
}

/// Whether SQS takes the character in a body.
fn allowed(byte: u8) -> bool {
    matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7e)
}

/// Whether a queue takes these messages.
///
/// # Errors
/// [`QueueError::Invalid`]; nothing is to be sent then.
pub fn check_send(messages: &[Outgoing]) -> Result<(), QueueError> {
    let invalid = |reason: String| Err(QueueError::Invalid(reason));
    if messages.is_empty() || messages.len() > SEND_MESSAGES {
        return invalid(format!("a send of {} messages; 1 to {SEND_MESSAGES}", messages.len()));
    }
    let mut bytes = 0;
    for message in messages {
        if message.body.is_empty() {
            return invalid("an empty body".into());
        }
        if let Some(byte) = message.body.bytes().find(|b| !allowed(*b)) {
            return invalid(format!("the byte {byte:#04x} in a body; printable ASCII, tab, LF and CR are taken"));
        }
        if message.delay > MAX_DELAY || message.delay.subsec_nanos() != 0 {
            return invalid(format!("a delay of {:?}; whole seconds, at most {MAX_DELAY:?}", message.delay));
        }
        let group = &message.group;
        if group.is_empty() || group.len() > GROUP_BYTES || !group.bytes().all(|b| b.is_ascii_graphic()) {
            return invalid(format!("the group {group:?}; 1 to {GROUP_BYTES} printable ASCII characters, no spaces"));
        }
        bytes += message.body.len();
    }
    if bytes > SEND_BYTES {
        return invalid(format!("a send of {bytes} bytes; at most {SEND_BYTES}"));
    }
    Ok(())
}
