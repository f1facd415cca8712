//! A provider's account is asked no more than it takes, and left alone as long as it wants; no other one is.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use events::configuration::{OBJECTS, VENDOR_ACCOUNT};
use events::{InstanceId, Timestamp};
use futures_util::future::join_all;
use platform::{Platform as _, TableError};
use pollhook_poller::poll::{End, Outcome};
use pollhook_poller::{Accounts, FRESH, Slots};
use records::RecordError;
use serde_json::json;

use crate::world::{MINUTE, Reply, SECTION, World};

fn too_much() -> Reply {
    (429, vec![("retry-after", "90")], Some(json!({})))
}

fn put_off(outcome: &Outcome) -> Option<Timestamp> {
    if let End::PutOff { until } = outcome.end { Some(until) } else { None }
}

fn settings(account: &'static str) -> [(&'static str, &'static str); 2] {
    [(OBJECTS, "things"), (VENDOR_ACCOUNT, account)]
}

/// An instance of the account 42, and others that name these accounts; blank: none.
async fn neighbours(seed: u64, names: &[&'static str]) -> (World, Vec<InstanceId>) {
    let world = World::with(seed, SECTION, &settings("42")).await;
    let mut others = Vec::new();
    for name in names {
        others.push(world.beside(&settings(name), false).await);
    }
    (world, others)
}

#[tokio::test]
async fn what_one_poll_is_told_all_of_the_account_heed_in_every_worker_and_no_neighbour() {
    for same_worker in [true, false] {
        let (mut world, others) = neighbours(500, &["42", " 42 ", "43", ""]).await;
        let stranger = world.beside(&settings("42"), true).await;
        world.provider.instead("things", 0, too_much());
        let until = put_off(&world.poll().await).unwrap();
        assert_eq!(until, world.now().plus(Duration::from_secs(90)));
        world.provider.heal();
        world.provider.asked();
        if !same_worker {
            world.restart();
        }
        for outcome in [world.poll().await, world.poll_of(others[0]).await, world.poll_of(others[1]).await] {
            assert_eq!(put_off(&outcome), Some(until), "{outcome:?}");
        }
        assert_eq!(world.provider.asked().len(), 0, "nobody asks");
        for other in [others[2], others[3], stranger] {
            assert_eq!(world.poll_of(other).await.end, End::Asked);
        }
        world.advance(90_000);
        assert_eq!(world.poll().await.end, End::Asked);
        assert_eq!(world.poll_of(others[0]).await.end, End::Asked);
    }
}

#[tokio::test]
async fn an_instance_that_names_no_account_is_left_alone_by_itself() {
    let world = World::of(501, "things").await;
    let other = world.beside(&[(OBJECTS, "things")], false).await;
    world.provider.instead("things", 0, too_much());
    assert!(put_off(&world.poll().await).is_some());
    world.provider.heal();
    assert!(put_off(&world.poll().await).is_some());
    assert_eq!(world.poll_of(other).await.end, End::Asked);
}

#[tokio::test]
async fn another_worker_learns_of_a_limit_within_seconds() {
    let (world, others) = neighbours(502, &["42"]).await;
    let mut another = World::with(503, SECTION, &settings("42")).await;
    another.platform = world.platform.clone();
    assert_eq!(another.poll_of(others[0]).await.end, End::Asked, "it looked when nobody was limited");
    world.provider.instead("things", 0, too_much());
    world.poll().await;
    world.advance(u64::try_from(FRESH.as_millis()).unwrap());
    assert!(put_off(&another.poll_of(others[0]).await).is_some());
}

#[tokio::test]
async fn where_nothing_is_limited_a_poll_reads_and_writes_nothing_for_it() {
    let (world, others) = neighbours(504, &["42", "43", ""]).await;
    for instance in others.iter().chain([&world.instance]) {
        world.poll_of(*instance).await;
    }
    let (reads, steps) = (world.platform.table().reads(), world.platform.steps());
    for other in &others {
        assert_eq!(world.poll_of(*other).await.end, End::Asked);
    }
    assert_eq!(world.platform.table().reads() - reads, others.len(), "each has its one query");
    assert_eq!(world.platform.steps(), steps);
}

#[tokio::test]
async fn polls_that_begin_together_look_for_limits_once() {
    let (world, others) = neighbours(509, &["42", "43", "", "44"]).await;
    let reads = world.platform.table().reads();
    for outcome in join_all(others.iter().map(|other| world.poll_of(*other))).await {
        assert_eq!(outcome.end, End::Asked);
    }
    assert_eq!(world.platform.table().reads() - reads, others.len() + 1);
}

#[tokio::test]
async fn many_that_are_told_the_same_write_it_once() {
    let (world, others) = neighbours(505, &["42", "42", "42"]).await;
    world.provider.instead("things", 0, too_much());
    world.poll().await;
    let limit = world.platform.table().items("BUDGET#");
    for other in others {
        assert!(put_off(&world.poll_of(other).await).is_some());
    }
    assert_eq!(world.platform.table().items("BUDGET#"), limit);
    let written = world.platform.acts().into_iter().filter(|act| act.contains("BUDGET#"));
    assert_eq!(written.count(), limit.len());
}

#[tokio::test]
async fn a_limit_that_cannot_be_looked_up_is_our_failure_and_one_that_cannot_be_shared_nobody_s() {
    let (mut world, others) = neighbours(506, &["42"]).await;
    assert_eq!(world.poll().await.end, End::Asked);
    world.provider.instead("things", 0, too_much());
    world.platform.table().fail_next_write(TableError::Throttled);
    assert!(put_off(&world.poll().await).is_some());
    assert!(put_off(&world.poll_of(others[0]).await).is_some(), "this worker knows");
    world.restart();
    world.provider.heal();
    // The first read is the poll's query.
    world.platform.table().fail_read_after(1, TableError::Throttled);
    let outcome = world.poll().await;
    assert_eq!(outcome.end, End::Ours(RecordError::Table(TableError::Throttled)));
}

#[tokio::test]
async fn an_account_s_budget_is_not_exceeded_however_many_of_its_instances_are_polled() {
    let section = format!("budget: {{ requests: 2, seconds: 10 }}\n{}", SECTION.trim_start());
    let mut world = World::with(507, &section, &settings("42")).await;
    let (same, other) = (world.beside(&settings("42"), false).await, world.beside(&settings("43"), false).await);
    world.several(0..8, 10, |_| "things");
    let began = world.now();
    // Three pages each.
    assert_eq!(world.poll().await.told, 8);
    assert_eq!(world.now().since(began), Duration::from_secs(10));
    assert_eq!(world.poll_of(same).await.told, 8);
    assert_eq!(world.now().since(began), Duration::from_secs(20), "six requests");
    assert_eq!(world.poll_of(other).await.told, 8);
    assert_eq!(world.now().since(began), Duration::from_secs(30), "a neighbour has a budget of its own");
}

#[tokio::test]
async fn a_poll_that_would_wait_beyond_its_time_goes_on_in_another() {
    let section = format!("budget: {{ requests: 2, seconds: 10 }}\n{}", SECTION.trim_start());
    let mut world = World::with(508, &section, &settings("42")).await;
    world.several(0..8, 10, |_| "things");
    let outcome = world.poll_until(world.now().plus(Duration::from_secs(9)), world.now().plus(MINUTE)).await;
    assert_eq!((outcome.told, outcome.end), (6, End::More));
    assert_eq!(world.poll().await.told, 2);
}

#[tokio::test]
async fn a_poll_whose_place_does_not_come_back_in_time_tells_what_it_has_read_and_goes_on_in_another() {
    let section = format!("budget: {{ requests: 2, seconds: 10 }}\n{}", SECTION.trim_start());
    let mut world = World::with(510, &section, &settings("42")).await;
    world.several(0..8, 10, |_| "things");
    let slots = Slots::new(1);
    let slot = slots.take().await;
    // While the poll waits for its account a neighbour takes its place, and keeps it.
    let (clock, coming, keeps) = (world.platform.clone(), Mutex::new(Some(slots.clone())), Arc::new(Mutex::new(None)));
    let kept = keeps.clone();
    world.accounts = Accounts::waiting(move |time| {
        clock.advance(time);
        let (coming, kept) = (coming.lock().unwrap().take(), kept.clone());
        Box::pin(async move {
            if let Some(slots) = coming {
                let place = slots.take().await;
                *kept.lock().unwrap() = Some(place);
            }
        })
    });
    let until = world.now().plus(3 * MINUTE);
    let outcome = world.poll_at(&slot, (world.instance, true), until, until.plus(MINUTE)).await;
    assert_eq!((outcome.told, outcome.end), (6, End::More));
    assert_eq!(world.now(), until, "and not beyond it");
    assert!(keeps.lock().unwrap().take().is_some());
    assert_eq!(world.versions().await.len(), 6);
    assert_eq!(world.poll().await.told, 2);
    assert_eq!(world.versions().await, world.history);
}
