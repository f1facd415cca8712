//! What becomes of a deleted instance's notifications.

#![allow(clippy::unwrap_used)]

use events::Message;
use platform::Platform as _;
use pollhook_scenarios::{Behaviour, Reply, RetryPolicy, Spec, World, batch};
use records::deliveries::State;

const URL: &str = "https://app.example/down";

#[tokio::test]
async fn what_was_parked_for_a_deleted_instance_is_dropped_and_leaves_nothing_that_stays() {
    let mut world = World::new(9_001, RetryPolicy::new(&[1])).await;
    world.callbacks.behave(URL, Behaviour { key: None, first: Vec::new(), then: Reply::Status(500) });
    world.restart();
    let instance = world.make(Spec::of("hubspot").callback(URL)).await.id;
    for n in 0..12 {
        world.handle(&Message::Batch(batch(instance, n..n + 1, "[]")).encode()).await.unwrap();
    }
    world.settle().await;
    assert!(world.records(instance).await.iter().all(|d| matches!(d.callback.state, State::Parked { .. })));
    let posted = world.callbacks.posted().len();

    world.delete(instance).await;
    world.settle().await;

    let records = world.records(instance).await;
    assert_eq!(records.len(), 12);
    for record in records {
        assert_eq!(record.callback.state, State::Dropped { reason: "the instance was deleted".into() });
    }
    assert_eq!(world.callbacks.posted().len(), posted, "nobody was told any more");
    let table = world.platform().memory.table();
    assert!(table.items("PENDING#").is_empty());
    assert!(table.items("BODY#").iter().all(|item| item.expires_at_s.is_some()));
    assert!(table.items("DELIVERY#").iter().all(|item| item.expires_at_s.is_some()));
}
