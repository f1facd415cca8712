//! What webhooks told is noted for instances whose polls tell the rest: once it is recorded, and for nobody else.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use events::{InstanceId, Message, Source};
use platform::Platform as _;
use platform::testing::Moment;
use pollhook_dispatcher::RetryPolicy;
use scenarios::{Behaviour, Reply, START, Webhook, World, batch};
use serde_json::json;

const URL: &str = "https://app.example/hook";

/// A world with an instance of HubSpot whose callback answers so.
async fn world(seed: u64, reply: Reply, minutes: Option<&str>) -> (World, InstanceId) {
    let mut world = World::new(seed, RetryPolicy::default()).await;
    world.callbacks.behave(URL, Behaviour { key: Some("key".into()), first: Vec::new(), then: reply });
    let configuration = json!({
        "event.notification.callback.url": URL, "event.notification.signature.key": "key", "event.objects": "contacts",
        "event.vendor.account": "1", "webhook.secret": "s", "event.reconcile.interval": minutes});
    let id = world.provision("hubspot", &configuration).await;
    world.restart();
    (world, id)
}

fn noted(world: &World) -> Vec<String> {
    world.platform().memory.table().items("TOLD#").into_iter().map(|item| item.key.sort).collect()
}

#[tokio::test]
async fn it_costs_one_read_and_one_write_of_each_object_after_the_record_and_nothing_where_nobody_asks() {
    for (seed, minutes, reads, writes) in [(1, Some("60"), 3, 3), (2, None, 2, 1), (3, Some("1441"), 2, 1)] {
        let (world, id) = world(30_000 + seed, Reply::Status(200), minutes).await;
        let before = world.platform().reads();
        world.handle(&Message::Batch(batch(id, 0..2, "[]")).encode()).await.unwrap();
        assert_eq!(world.platform().reads() - before, reads, "{minutes:?}");
        let acts = world.platform().memory.acts();
        assert!(acts.len() == 1 + writes && acts[1].starts_with("put DELIVERY#"), "{acts:?}");
        assert!(acts[2..].iter().all(|act| act.starts_with("put TOLD#")), "{acts:?}");
    }
}

#[tokio::test]
async fn a_batch_that_comes_again_notes_nothing_more_and_one_of_a_poll_nothing_at_all() {
    let (mut world, id) = world(30_004, Reply::Status(200), Some("60")).await;
    let told = Message::Batch(batch(id, 0..30, "[]")).encode();
    world.handle(&told).await.unwrap();
    assert_eq!(noted(&world).len(), 30);
    world.restart();
    world.handle(&told).await.unwrap();
    let mut polled = batch(id, 50..60, "[]");
    polled.source = Source::Poll;
    world.handle(&Message::Batch(polled).encode()).await.unwrap();
    assert_eq!(noted(&world).len(), 30);
    assert_eq!(world.callbacks.posted().len(), 3);
}

#[tokio::test]
async fn what_is_recorded_and_not_told_yet_is_noted_since_it_will_be_told() {
    let (world, id) = world(30_005, Reply::Status(503), Some("60")).await;
    world.handle(&Message::Batch(batch(id, 1..2, "[]")).encode()).await.unwrap();
    assert_eq!((noted(&world), world.records(id).await.len()), (vec!["contacts#1".to_owned()], 1));
}

#[tokio::test]
async fn what_could_not_be_noted_is_told_once_all_the_same_and_noted_when_it_comes_again() {
    let (world, id) = world(30_006, Reply::Status(200), Some("60")).await;
    let told = Message::Batch(batch(id, 1..2, "[]")).encode();
    world.platform().fail_read(2);
    assert!(world.handle(&told).await.is_err(), "it is not acknowledged");
    assert!(noted(&world).is_empty());
    world.handle_again(&told).await.unwrap();
    assert_eq!((noted(&world).len(), world.callbacks.posted().len()), (1, 1));
}

#[tokio::test]
async fn whenever_a_process_dies_nothing_is_noted_that_is_not_recorded_and_in_the_end_all_is() {
    for step in 0.. {
        let mut deaths = 0;
        for (seed, moment) in [(0, Moment::Before), (1, Moment::After)] {
            let (mut world, id) = world(31_000 + 2 * step as u64 + seed, Reply::Status(200), Some("60")).await;
            let changes: Vec<(&str, u64)> = (0..25).map(|object| ("1", object)).collect();
            world.provider_sends(Webhook::hubspot("s", &changes, START).expect(id, 0..25));
            world.crash_at(step, moment);
            let memory = world.platform().memory.clone();
            if memory.run_until_crash(world.settle()).await.is_err() {
                deaths += 1;
                world.restart();
                let recorded: usize = world.records(id).await.iter().map(|record| record.events).sum();
                assert!(noted(&world).is_empty() || recorded == 25, "{moment:?} step {step}");
            }
            world.platform().memory.advance(Duration::from_secs(1));
            deaths += world.run().await;
            assert_eq!(noted(&world).len(), 25, "{moment:?} step {step}");
        }
        if deaths == 0 {
            assert!(step > 25, "only {step} steps");
            return;
        }
    }
}
