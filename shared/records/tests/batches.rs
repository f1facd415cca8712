//! A batch is in its message, or beside it, and whole either way.

#![allow(clippy::unwrap_used)]

mod common;

use common::platform;
use events::{Batch, Event, EventId, EventType, InstanceId, Message, Source};
use platform::testing::MemoryPlatform;
use platform::{Outgoing, Platform as _, Queue as _};
use pollhook_records::{batches, bodies};
use proptest::prelude::*;

fn batch(bytes: usize) -> Batch {
    let instance = InstanceId::from_random(7);
    let event = Event {
        id: EventId::of(instance, "things", "1", &["x"]),
        object_type: "things".into(),
        object_id: "1".into(),
        event_type: EventType::Created,
        date: None,
    };
    Batch {
        instance,
        connector: "http".into(),
        hub: "crm".into(),
        source: Source::Poll,
        accepted_at: common::NOW,
        hops: 0,
        events: vec![event],
        raw: serde_json::to_vec(&"x".repeat(bytes)).unwrap().into(),
    }
}

/// The batch that a message tells, and whether it is in the message itself.
async fn read(platform: &MemoryPlatform, message: &Outgoing) -> (Batch, bool) {
    match Message::decode(&message.body).unwrap() {
        Message::Batch(batch) => (batch, true),
        Message::Stored { instance, body } => {
            let bytes = bodies::get(platform, &body).await.unwrap().unwrap();
            let Ok(Message::Batch(batch)) = Message::decode(std::str::from_utf8(&bytes).unwrap()) else { panic!() };
            assert_eq!(batch.instance, instance);
            (batch, false)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn messages_are_small_enough_for_ten_to_be_sent_at_once() {
    let platform = platform(1);
    let mut messages = Vec::new();
    for bytes in [0, 100, 40 * 1024, 48 * 1024, 100 * 1024, 3 * 1024 * 1024, 1, 2, 3, 4] {
        let message = batches::message(&platform, batch(bytes), "g").await.unwrap();
        assert_eq!((message.group.as_str(), message.delay.is_zero()), ("g", true));
        assert_eq!(read(&platform, &message).await, (batch(bytes), bytes <= 40 * 1024), "{bytes}");
        messages.push(message);
    }
    platform.batches().send(messages).await.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_batch_is_read_as_it_was_and_no_message_is_large(bytes in 47_000..51_000_usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let platform = platform(2);
            let message = batches::message(&platform, batch(bytes), "g").await.unwrap();
            prop_assert!(message.body.len() <= batches::INLINE_BYTES);
            let (read, inline) = read(&platform, &message).await;
            prop_assert_eq!(inline, Message::Batch(read.clone()).encode().len() <= batches::INLINE_BYTES);
            prop_assert_eq!(read, batch(bytes));
            Ok(())
        })?;
    }
}
