//! What a notification is made of, as kept until and after it is told: its events and the provider's body, compressed.

use bytes::Bytes;
use events::{Batch, Event, InstanceId, Source, Timestamp};
use serde::{Deserialize, Serialize};

use crate::RecordError;

/// Everything of a batch but the raw body.
#[derive(Serialize)]
struct Written<'a> {
    instance: InstanceId,
    connector: &'a str,
    hub: &'a str,
    source: Source,
    accepted_at: Timestamp,
    hops: u8,
    events: &'a [Event],
}

#[derive(Deserialize)]
struct Read {
    instance: InstanceId,
    connector: String,
    hub: String,
    source: Source,
    accepted_at: Timestamp,
    hops: u8,
    events: Vec<Event>,
}

/// The part of `batch` that tells `events`, packed.
#[must_use]
pub fn pack(batch: &Batch, events: &[Event]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(batch.raw.len() + 160 + events.len() * 128);
    let head = Written {
        instance: batch.instance,
        connector: &batch.connector,
        hub: &batch.hub,
        source: batch.source,
        accepted_at: batch.accepted_at,
        hops: batch.hops,
        events,
    };
    // A struct of text and numbers, written to memory: there is nothing that could fail.
    let _ = serde_json::to_writer(&mut plain, &head);
    plain.push(b'\n');
    plain.extend_from_slice(&batch.raw);
    lz4_flex::block::compress_prepend_size(&plain)
}

/// Reads what [`pack`] wrote: a batch of just those events.
///
/// # Errors
/// [`RecordError::Damaged`], naming `place`.
pub fn unpack(packed: &[u8], place: &str) -> Result<Batch, RecordError> {
    let damaged = |reason: String| RecordError::Damaged(place.to_owned(), reason);
    let plain = lz4_flex::block::decompress_size_prepended(packed).map_err(|e| damaged(e.to_string()))?;
    let end = plain.iter().position(|b| *b == b'\n').ok_or_else(|| damaged("no line feed".into()))?;
    let head: Read = serde_json::from_slice(&plain[..end]).map_err(|e| damaged(e.to_string()))?;
    if head.events.is_empty() {
        return Err(damaged("no events".into()));
    }
    Ok(Batch {
        instance: head.instance,
        connector: head.connector,
        hub: head.hub,
        source: head.source,
        accepted_at: head.accepted_at,
        hops: head.hops,
        events: head.events,
        raw: Bytes::from(plain).slice(end + 1..),
    })
}

#[cfg(test)]
mod tests {
    use events::{EventId, EventType};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(raw in proptest::collection::vec(any::<u8>(), 0..2000), ids in proptest::collection::vec(".*", 1..5)) {
            let instance = InstanceId::from_random(9);
            let events: Vec<Event> = ids.iter().map(|id| Event {
                id: EventId::of(instance, "contacts", id, &["x"]),
                object_type: "contacts".into(),
                object_id: id.clone(),
                event_type: EventType::Deleted,
                date: None,
            }).collect();
            let batch = Batch {
                instance, connector: "hubspot".into(), hub: "crm".into(), source: Source::Webhook,
                accepted_at: Timestamp::from_millis(5), hops: 2, events: events.clone(), raw: raw.into(),
            };
            prop_assert_eq!(unpack(&pack(&batch, &events), "here").unwrap(), batch);
        }

        #[test]
        fn damage_is_told_not_trusted(bytes in proptest::collection::vec(any::<u8>(), 4..200)) {
            // The first four bytes claim a size; keep the claim small so that the test allocates little.
            let mut bytes = bytes;
            bytes[2] = 0;
            bytes[3] = 0;
            prop_assert!(unpack(&bytes, "here").is_err());
        }
    }
}
