//! A wake-up that was written is sent: at its minute or later, whatever happens in between.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::Duration;

use events::message::{Attempt, To};
use events::{Message, NotificationId, Timestamp};
use platform::testing::Moment;
use platform::{Key, Platform as _, Table as _, Version, Write};
use pollhook_poller::sweep;
use records::retries::{self, Wake};
use scenarios::{Behaviour, Reply, RetryPolicy, Spec, Trouble, World, batch};

const MINUTE: Duration = Duration::from_secs(60);

async fn world(seed: u64) -> World {
    let mut world = World::new(seed, RetryPolicy::default()).await;
    world.restart();
    world
}

fn wake(n: u64) -> Wake {
    let batch = batch(events::InstanceId::from_random(7), n..n + 1, "[]");
    let notification = batch.notifications(Timestamp::from_seconds(0)).next().unwrap().id;
    let attempt = Attempt { instance: batch.instance, notification, to: To::Callback, round: 0, attempt: 2 };
    Wake { attempt, group: "g".into() }
}

/// Writes a wake-up as the dispatcher does.
async fn written(world: &World, n: u64, due: Timestamp) -> NotificationId {
    let wake = wake(n);
    retries::begin(world.platform()).await.unwrap();
    world.platform().table().transact(vec![retries::wake(world.platform(), due, &wake)]).await.unwrap();
    wake.attempt.notification
}

/// The notifications that the queue holds wake-ups for.
fn sent(world: &World) -> Vec<NotificationId> {
    let held = world.platform().memory.batches().messages();
    held.iter()
        .map(|held| match Message::decode(&held.body).unwrap() {
            Message::Attempt(attempt) => attempt.notification,
            other => panic!("not a wake-up: {other:?}"),
        })
        .collect()
}

#[tokio::test]
async fn a_wake_up_is_sent_at_its_minute_and_not_before() {
    let world = world(601).await;
    let id = written(&world, 1, world.now().plus(30 * MINUTE)).await;
    // A bucket is a minute's, and sent once the wait is over: at the beginning of the next one.
    let due = world.now().plus(31 * MINUTE);
    while world.now() < due {
        assert_eq!(sweep(world.platform()).await, Ok(0));
        assert_eq!(sent(&world), []);
        world.platform().memory.advance(MINUTE);
    }
    assert_eq!(sweep(world.platform()).await, Ok(1));
    assert_eq!(sent(&world), [id]);
    assert_eq!(sweep(world.platform()).await, Ok(0));
    assert_eq!(world.platform().memory.table().items("RETRY#"), []);
}

#[tokio::test]
async fn a_wake_up_is_found_however_many_minutes_were_missed() {
    let world = world(602).await;
    sweep(world.platform()).await.unwrap();
    let ids = [written(&world, 1, world.now()).await, written(&world, 2, world.now().plus(700 * MINUTE)).await];
    world.platform().memory.advance(3 * 24 * 60 * MINUTE);
    assert_eq!(sweep(world.platform()).await, Ok(2));
    assert_eq!(sent(&world).into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(ids));
}

#[tokio::test]
async fn a_wake_up_is_found_also_when_the_first_sweep_ever_comes_days_after_it() {
    let world = world(603).await;
    let id = written(&world, 1, world.now().plus(20 * MINUTE)).await;
    world.platform().memory.advance(2 * 24 * 60 * MINUTE);
    assert_eq!(sweep(world.platform()).await, Ok(1));
    assert_eq!(sent(&world), [id]);
}

#[tokio::test]
async fn a_wake_up_written_late_for_a_minute_that_is_swept_is_found_by_the_overlap() {
    let world = world(604).await;
    let wake = wake(1);
    let late = retries::wake(world.platform(), world.now(), &wake);
    for _ in 0..8 {
        sweep(world.platform()).await.unwrap();
        world.platform().memory.advance(MINUTE);
    }
    world.platform().table().write(late).await.unwrap();
    assert_eq!(sweep(world.platform()).await, Ok(1));
}

#[tokio::test]
async fn when_nothing_is_due_a_minute_costs_one_write_and_no_message() {
    let world = world(605).await;
    sweep(world.platform()).await.unwrap();
    world.platform().memory.advance(MINUTE);
    let (acts, reads) = (world.platform().acts(), world.platform().reads());
    sweep(world.platform()).await.unwrap();
    assert_eq!(world.platform().acts() - acts, 1, "the mark");
    assert!(world.platform().reads() - reads <= 1 + 4 * 12);
    sweep(world.platform()).await.unwrap();
    assert_eq!(world.platform().acts() - acts, 1, "a second sweep of the same minute writes nothing");
}

#[tokio::test]
async fn many_wake_ups_of_one_minute_are_all_sent() {
    let world = world(606).await;
    let mut ids = BTreeSet::new();
    let due = world.now().plus(20 * MINUTE);
    for n in 0..2_345 {
        ids.insert(written(&world, n, due).await);
    }
    world.platform().memory.advance(25 * MINUTE);
    assert_eq!(sweep(world.platform()).await, Ok(ids.len()));
    assert_eq!(sent(&world).into_iter().collect::<BTreeSet<_>>(), ids);
}

#[tokio::test]
async fn a_sweep_that_dies_at_any_step_loses_nothing() {
    for step in 0.. {
        let mut died = false;
        for moment in [Moment::Before, Moment::After] {
            let mut world = world(607).await;
            let due = world.now().plus(20 * MINUTE);
            let mut ids = BTreeSet::new();
            for n in 0..12 {
                ids.insert(written(&world, n, due).await);
            }
            world.platform().memory.advance(22 * MINUTE);
            world.crash_at(step, moment);
            let memory = world.platform().memory.clone();
            died |= memory.run_until_crash(sweep(world.platform())).await.is_err();
            world.restart();
            world.platform().memory.advance(5 * MINUTE);
            sweep(world.platform()).await.unwrap();
            assert_eq!(sent(&world).into_iter().collect::<BTreeSet<_>>(), ids, "{moment:?} {step}");
            assert_eq!(world.platform().memory.table().items("RETRY#"), []);
        }
        if !died {
            assert!(step > 20);
            return;
        }
    }
}

#[tokio::test]
async fn what_could_not_be_sent_or_read_stays_due_and_holds_up_nothing_else() {
    for trouble in Trouble::ALL {
        let world = world(608).await;
        let first = written(&world, 1, world.now().plus(20 * MINUTE)).await;
        let second = written(&world, 2, world.now().plus(21 * MINUTE)).await;
        world.platform().memory.advance(25 * MINUTE);
        world.platform().fail(0, trouble);
        assert!(sweep(world.platform()).await.is_err(), "{trouble:?}");
        assert!(sent(&world).contains(&second) || sent(&world).contains(&first));
        world.platform().memory.advance(60 * MINUTE);
        sweep(world.platform()).await.unwrap();
        assert_eq!(sent(&world).into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([first, second]));
    }
}

#[tokio::test]
async fn a_wake_up_of_a_newer_version_waits_for_that_version_and_nobody_waits_for_it() {
    let world = world(609).await;
    let due = world.now().plus(20 * MINUTE);
    let ids: BTreeSet<_> =
        [written(&world, 1, due).await, written(&world, 2, due.plus(MINUTE)).await].into_iter().collect();
    let place = world.platform().memory.table().items("RETRY#")[0].key.clone();
    let newer = Write::put(Key::new(place.partition, "newer"), Version(1), r#"{"v":4}"#);
    world.platform().table().write(newer).await.unwrap();
    world.platform().memory.advance(25 * MINUTE);
    assert!(sweep(world.platform()).await.is_err(), "it is told");
    assert_eq!(sent(&world).into_iter().collect::<BTreeSet<_>>(), ids);
    // The mark does not pass it: hours later it is still looked at.
    world.platform().memory.advance(300 * MINUTE);
    assert!(sweep(world.platform()).await.is_err());
    assert_eq!(world.platform().memory.table().items("RETRY#").len(), 1);
}

#[tokio::test]
async fn two_sweeps_at_the_same_time_make_one_attempt() {
    let world = world(610).await;
    let url = "https://app.example/";
    let then = Reply::Status(200);
    world.callbacks.behave(url, Behaviour { key: None, first: vec![Reply::RetryAfter(503, 1800)], then });
    let instance = world.make(Spec::of("hubspot").callback(url)).await.id;
    world.handle(&Message::Batch(batch(instance, 0..1, "[]")).encode()).await.unwrap();
    world.platform().memory.advance(40 * MINUTE);
    let (one, two) = tokio::join!(sweep(world.platform()), sweep(world.platform()));
    assert_eq!((one, two), (Ok(1), Ok(1)));
    assert_eq!(sent(&world).len(), 2);
    for held in world.platform().memory.batches().messages() {
        world.handle(&held.body).await.unwrap();
    }
    assert_eq!(world.callbacks.posted().len(), 2, "the first, and one more");
}
