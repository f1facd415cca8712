//! From one request's changes to the notifications a callback receives.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{Event, InstanceId, NotificationId, Timestamp};

/// How the changes were learnt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The provider told us.
    Webhook,
    /// We asked.
    Poll,
}

impl Source {
    /// Most events in one notification: the contract's numbers (its §1).
    #[must_use]
    pub const fn batch_limit(self) -> usize {
        match self {
            Self::Webhook => 20,
            Self::Poll => 10,
        }
    }
}

/// What one provider request (or one page of a poll) holds for one instance: never empty, in the provider's order.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Batch {
    /// Whose changes.
    pub instance: InstanceId,
    /// The connector's key, e.g. `hubspot`.
    pub connector: String,
    /// The connector's hub, e.g. `crm`.
    pub hub: String,
    /// Webhook or poll.
    pub source: Source,
    /// When Pollhook took it.
    pub accepted_at: Timestamp,
    /// How many times these events came back to us from a callback of our own (loop protection).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hops: u8,
    /// The changes.
    pub events: Vec<Event>,
    /// The provider's body: one JSON value, byte for byte.
    #[serde(with = "base64_bytes")]
    pub raw: Bytes,
}

fn is_zero(hops: &u8) -> bool {
    *hops == 0
}

/// One notification: what is posted to a callback in one request.
#[derive(Clone, Copy, Debug)]
pub struct Notification<'a> {
    /// The same on every attempt.
    pub id: NotificationId,
    /// Its events: at least one, at most [`Source::batch_limit`].
    pub events: &'a [Event],
}

impl Batch {
    /// The batch as notifications, in order. A pure function, so that a repeat makes the same ids: a notification whose
    /// first event has no date takes its time from `undated`, which the caller must remember across repeats.
    pub fn notifications(&self, undated: Timestamp) -> impl Iterator<Item = Notification<'_>> {
        self.events.chunks(self.source.batch_limit()).map(move |events| Notification {
            id: NotificationId::of(events[0].date.unwrap_or(undated), events.iter().map(|e| &e.id)),
            events,
        })
    }

    /// When an event of this batch happened, as far as anybody knows: by its own date, else when Pollhook took it.
    #[must_use]
    pub fn time_of(&self, event: &Event) -> Timestamp {
        event.date.unwrap_or(self.accepted_at)
    }

    /// Whether some notification needs a time from outside: its first event carries no date.
    #[must_use]
    pub fn needs_time(&self) -> bool {
        self.events.chunks(self.source.batch_limit()).any(|events| events[0].date.is_none())
    }
}

mod base64_bytes {
    use std::borrow::Cow;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        STANDARD.decode(text.as_bytes()).map(Bytes::from).map_err(D::Error::custom)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{EventId, EventType};

    pub(crate) fn batch(source: Source, count: u32, date: Option<Timestamp>) -> Batch {
        let instance = InstanceId::from_random(31);
        let event = |n: u32| Event {
            id: EventId::of(instance, "contacts", &n.to_string(), &["occurrence"]),
            object_type: "contacts".into(),
            object_id: n.to_string(),
            event_type: EventType::Updated,
            date,
        };
        Batch {
            instance,
            connector: "hubspot".into(),
            hub: "crm".into(),
            source,
            accepted_at: Timestamp::from_millis(1_790_000_000_000),
            hops: 0,
            events: (0..count).map(event).collect(),
            raw: Bytes::from_static(b"[]"),
        }
    }

    proptest! {
        #[test]
        fn a_split_loses_repeats_and_reorders_nothing(count in 1u32..300, webhook: bool) {
            let source = if webhook { Source::Webhook } else { Source::Poll };
            let batch = batch(source, count, None);
            let now = Timestamp::from_millis(1_790_000_000_000);
            let parts: Vec<_> = batch.notifications(now).collect();
            prop_assert_eq!(parts.len(), (count as usize).div_ceil(source.batch_limit()));
            let told: Vec<_> = parts.iter().flat_map(|n| n.events.iter().map(|e| e.id)).collect();
            let given: Vec<_> = batch.events.iter().map(|e| e.id).collect();
            prop_assert_eq!(told, given);
            prop_assert!(parts.iter().all(|n| !n.events.is_empty() && n.events.len() <= source.batch_limit()));
            let again: Vec<_> = batch.notifications(now).map(|n| n.id).collect();
            prop_assert_eq!(&parts.iter().map(|n| n.id).collect::<Vec<_>>(), &again);
            let mut distinct = again.clone();
            distinct.sort();
            distinct.dedup();
            prop_assert_eq!(distinct.len(), again.len());
        }
    }
}
