//! The platform in memory dies where it is told to, and nowhere else.

use std::time::Duration;

use crate::testing::{Crashed, MemoryPlatform, MemoryQueue, Moment};
use crate::{
    Bus, BusError, Condition, Consistency, Entry, Key, Outgoing, Platform, PublishError, Purpose, Query, Queue,
    QueueError, SendError, Table, TableError, Vault, Version, Write,
};
use events::Timestamp;

const START: Timestamp = Timestamp::from_seconds(1_700_000_000);

fn message(body: &str) -> Outgoing {
    Outgoing { body: body.into(), delay: Duration::ZERO, group: "group".into() }
}

fn entry(name: &str) -> Entry {
    let detail = format!(r#"{{"name":"{name}"}}"#);
    Entry { source: "test".into(), detail_type: "Change".into(), detail, time: START }
}

fn key(sort: &str) -> Key {
    Key::new("A", sort)
}

fn put(sort: &str) -> Write {
    Write::put(key(sort), Version(1), "body")
}

/// Every kind of act: twelve steps.
async fn role(platform: &MemoryPlatform) {
    let table = platform.table();
    table.write(put("1")).await.unwrap();
    table.write_many(vec![put("2"), put("3")]).await.unwrap();
    table.transact(vec![put("4"), Write::delete(key("1"))]).await.unwrap();
    platform.batches().send(vec![message("one"), message("two")]).await.unwrap();
    let received = platform.batches().receive(1, Duration::ZERO).await.unwrap();
    platform.act("POST https://callback.example").await;
    let receipts = received.into_iter().map(|message| message.receipt).collect();
    platform.batches().acknowledge(receipts).await.unwrap();
    table.write(put("5")).await.unwrap();
    platform.polls().send(vec![message("job")]).await.unwrap();
    platform.bus().publish(vec![entry("a"), entry("b")]).await.unwrap();
}

const ACTS: [&str; 12] = [
    "put A/1",
    "put A/2",
    "put A/3",
    "transact put A/4, delete A/1",
    "send message 0 to batches",
    "send message 1 to batches",
    "POST https://callback.example",
    "acknowledge 1 messages of batches",
    "put A/5",
    "send message 0 to polls",
    "publish entry 0",
    "publish entry 1",
];

/// What stands after `acts` of the role's acts.
fn expected(acts: usize) -> [Vec<String>; 4] {
    let items = [&[][..], &["1"], &["1", "2"], &["1", "2", "3"], &["2", "3", "4"]];
    let items = if acts >= 9 { vec!["2", "3", "4", "5"] } else { items[acts.min(4)].to_vec() };
    let messages = match acts {
        0..=4 => vec![],
        5 => vec!["one"],
        6 | 7 => vec!["one", "two"],
        _ => vec!["two"],
    };
    let jobs = if acts >= 10 { vec!["job"] } else { vec![] };
    let entries = ["a", "b"][..acts.saturating_sub(10)].to_vec();
    [items, messages, jobs, entries].map(|names| names.into_iter().map(Into::into).collect())
}

/// The items, the batches queue's messages, the poll jobs, the published entries.
fn standing(platform: &MemoryPlatform) -> [Vec<String>; 4] {
    let items = platform.table().items("A").into_iter().map(|item| item.key.sort).collect();
    let bodies = |queue: &MemoryQueue| queue.messages().into_iter().map(|held| held.body).collect();
    let entries = platform.bus().entries();
    let names = ["a", "b"].into_iter().filter(|name| entries.contains(&entry(name))).map(Into::into).collect();
    [items, bodies(platform.batches()), bodies(platform.polls()), names]
}

#[tokio::test]
async fn each_act_is_a_step_and_reads_are_none() {
    let platform = MemoryPlatform::new(START);
    assert_eq!(platform.run_until_crash(role(&platform)).await, Ok(()));
    platform.table().get(&key("5"), Consistency::Strong).await.unwrap();
    assert_eq!(platform.steps(), 12);
    assert_eq!(platform.acts(), ACTS);
}

#[tokio::test]
async fn a_crash_leaves_exactly_what_happened_before_it() {
    for (step, act) in ACTS.into_iter().enumerate() {
        for (moment, happened) in [(Moment::Before, step), (Moment::After, step + 1)] {
            let platform = MemoryPlatform::new(START);
            platform.crash_at(step, moment);
            let crashed = Crashed { step, moment, act: act.into() };
            assert_eq!(platform.run_until_crash(role(&platform)).await, Err(crashed));
            assert_eq!(platform.acts(), ACTS[..happened]);
            assert_eq!(standing(&platform), expected(happened));
        }
    }
}

#[tokio::test]
async fn the_effect_of_an_outside_act_follows_the_moment() {
    for (moment, happens) in [(Moment::Before, false), (Moment::After, true)] {
        let platform = MemoryPlatform::new(START);
        platform.crash_at(0, moment);
        let mut received = false;
        assert!(platform.run_until_crash(platform.act_with("POST", || received = true)).await.is_err());
        assert_eq!(received, happens);
    }
}

#[tokio::test]
async fn a_dead_process_acts_no_more_from_any_task() {
    let platform = MemoryPlatform::new(START);
    platform.crash_at(0, Moment::Before);
    let task = {
        let platform = platform.clone();
        tokio::spawn(async move {
            platform.table().write(put("1")).await.unwrap();
            platform.table().write(put("2")).await.unwrap();
        })
    };
    assert!(platform.run_until_crash(std::future::pending::<()>()).await.is_err());
    let next = platform.restart();
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!task.is_finished());
    assert!(next.table().items("").is_empty());
    assert!(platform.run_until_crash(role(&platform)).await.is_err(), "the old process stays dead");
    assert_eq!(next.run_until_crash(role(&next)).await, Ok(()), "the next one lives");
    task.abort();
}

#[tokio::test]
async fn restarting_kills_a_process_that_had_not_crashed() {
    let old = MemoryPlatform::new(START);
    let new = old.restart();
    assert!(old.run_until_crash(role(&old)).await.is_err());
    assert_eq!(new.steps(), 0);
}

#[tokio::test]
async fn a_restart_keeps_what_is_stored_and_hands_over_again_what_was_in_flight() {
    let platform = MemoryPlatform::new(START);
    let vault = platform.vault();
    let sealed = vault.seal(Purpose::Api, "A/1", b"secret").await.unwrap();
    platform.table().write(put("1")).await.unwrap();
    let later = Outgoing { delay: Duration::from_secs(5), ..message("later") };
    platform.batches().send(vec![message("one"), later]).await.unwrap();
    platform.polls().send(vec![message("job")]).await.unwrap();
    platform.bus().publish(vec![entry("told")]).await.unwrap();
    assert_eq!(platform.polls().receive(10, Duration::ZERO).await.unwrap().len(), 1);
    let old = platform.batches().receive(10, Duration::ZERO).await.unwrap();
    let held = platform.batches().messages();
    assert_eq!(held.iter().map(|held| held.in_flight).collect::<Vec<_>>(), [true, false]);
    assert_eq!(held[0].visible_at, START.plus(crate::testing::VISIBILITY_TIMEOUT));
    let drawn = platform.random().bits();

    let platform = platform.restart();
    assert_eq!(platform.table().items("A").len(), 1);
    assert_eq!(platform.bus().entries(), [entry("told")]);
    assert_eq!(platform.vault().open(Purpose::Api, "A/1", &sealed).await, Ok(b"secret".to_vec()));
    assert_ne!(platform.random().bits(), drawn, "the next process draws no version twice");
    let again = platform.batches().receive(10, Duration::ZERO).await.unwrap();
    assert_eq!((again.len(), again[0].body.as_str(), again[0].receive_count), (1, "one", 2));
    let jobs = platform.polls().receive(10, Duration::ZERO).await.unwrap();
    assert_eq!((jobs.len(), jobs[0].body.as_str(), jobs[0].receive_count), (1, "job", 2));
    platform.batches().acknowledge(vec![old[0].receipt.clone()]).await.unwrap();
    assert_eq!(platform.batches().messages().len(), 2, "an old receipt acknowledges nothing");
    platform.batches().acknowledge(vec![again[0].receipt.clone()]).await.unwrap();
    platform.advance(Duration::from_secs(5));
    assert_eq!(platform.clock().now(), START.plus(Duration::from_secs(5)));
    assert_eq!(platform.batches().receive(10, Duration::ZERO).await.unwrap()[0].body, "later");
}

#[tokio::test]
async fn injected_errors_come_once_and_in_order() {
    let platform = MemoryPlatform::new(START);
    let table = platform.table();
    table.fail_next_write(TableError::Throttled);
    table.fail_next_write(TableError::Conflict);
    assert_eq!(table.write(put("1")).await, Err(TableError::Throttled));
    assert_eq!(table.transact(vec![put("1")]).await, Err(TableError::Conflict));
    assert!(table.items("").is_empty());
    table.lose_next_answer();
    let absent = put("1").when(Condition::Absent);
    assert!(matches!(table.write(absent.clone()).await, Err(TableError::OutcomeUnknown(_))));
    assert_eq!(table.write(absent).await, Ok(()), "it had happened");
    table.fail_next_read(TableError::Throttled);
    assert_eq!(table.query(&Query::partition("A", 1)).await, Err(TableError::Throttled));
    assert_eq!(table.query(&Query::partition("A", 1)).await.unwrap().items.len(), 1);
    assert_eq!(platform.steps(), 2, "what never reached the table is no step");
}

#[tokio::test]
async fn a_send_can_fail_in_part() {
    let platform = MemoryPlatform::new(START);
    let queue = platform.batches();
    queue.fail_next_send([1], QueueError::Throttled);
    let answer = queue.send(vec![message("0"), message("1"), message("2")]).await;
    assert_eq!(answer, Err(SendError { failed: vec![1], error: QueueError::Throttled }));
    assert_eq!(queue.messages().iter().map(|held| held.body.as_str()).collect::<Vec<_>>(), ["0", "2"]);
    assert_eq!(queue.send(vec![message("1")]).await, Ok(()));
    queue.lose_next_answer();
    assert!(queue.send(vec![message("3")]).await.is_err());
    assert_eq!(queue.messages().len(), 4);
}

#[tokio::test]
async fn a_publish_can_fail_in_part_or_as_a_whole() {
    let platform = MemoryPlatform::new(START);
    let bus = platform.bus();
    let entries = ["0", "1", "2"].map(entry);
    bus.fail_next_publish([1], BusError::Throttled);
    bus.refuse_next_publish(BusError::Unavailable("refused".into()));
    let answer = bus.publish(entries.to_vec()).await;
    assert_eq!(answer, Err(PublishError { failed: vec![1], error: BusError::Throttled }));
    assert_eq!(bus.entries(), [entry("0"), entry("2")]);
    assert_eq!(bus.publish(entries.to_vec()).await.unwrap_err().failed, [0, 1, 2]);
    assert_eq!(bus.entries().len(), 2);
    bus.lose_next_answer();
    assert_eq!(bus.publish(vec![entry("1")]).await.unwrap_err().failed, [0]);
    assert_eq!(bus.entries(), [entry("0"), entry("2"), entry("1")]);
    assert_eq!(bus.publish(vec![entry("1")]).await, Ok(()));
    assert_eq!(platform.acts().len(), 4, "what was not taken is no step");
}

#[tokio::test]
async fn what_goes_wrong_with_one_queue_goes_well_with_the_other() {
    let platform = MemoryPlatform::new(START);
    platform.polls().fail_next_send([0], QueueError::Throttled);
    platform.polls().fail_next_receive(QueueError::Throttled);
    platform.batches().send(vec![message("one")]).await.unwrap();
    assert_eq!(platform.batches().receive(1, Duration::ZERO).await.unwrap().len(), 1);
    assert!(platform.polls().send(vec![message("job")]).await.is_err());
    assert_eq!(platform.polls().receive(1, Duration::ZERO).await, Err(QueueError::Throttled));
    assert_eq!((platform.batches().messages().len(), platform.polls().messages().len()), (1, 0));
}

#[tokio::test]
async fn duplicates_are_handed_over_twice_and_acknowledged_apart() {
    let platform = MemoryPlatform::new(START);
    let queue = platform.batches();
    queue.send(vec![message("one"), message("two")]).await.unwrap();
    queue.duplicate_next(1);
    let received = queue.receive(10, Duration::ZERO).await.unwrap();
    let mut bodies: Vec<_> = received.iter().map(|message| message.body.as_str()).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, ["one", "one", "two"]);
    for message in received {
        queue.acknowledge(vec![message.receipt]).await.unwrap();
    }
    assert!(queue.messages().is_empty());

    queue.duplicate_all(true);
    queue.send(vec![message("three")]).await.unwrap();
    for count in 1..=2 {
        let received = queue.receive(1, Duration::ZERO).await.unwrap();
        assert_eq!(received[0].receive_count, count);
        queue.acknowledge(vec![received[0].receipt.clone()]).await.unwrap();
    }
    assert!(queue.receive(1, Duration::ZERO).await.unwrap().is_empty());
}

#[tokio::test]
async fn disorder_is_decided_by_its_seed() {
    let mut orders = Vec::new();
    for seed in [None, Some(1), Some(1), Some(2)] {
        let platform = MemoryPlatform::new(START);
        if let Some(seed) = seed {
            platform.batches().reorder(seed);
        }
        platform.batches().send((0..10).map(|n| message(&n.to_string())).collect()).await.unwrap();
        let received = platform.batches().receive(10, Duration::ZERO).await.unwrap();
        orders.push(received.into_iter().map(|message| message.body).collect::<String>());
    }
    assert_eq!(orders[0], "0123456789");
    assert_eq!(orders[1], orders[2]);
    assert_ne!(orders[1], orders[0]);
    assert_ne!(orders[1], orders[3]);
}
