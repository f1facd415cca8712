//! What is in the wheel is due in its minute, whatever becomes of the ticks.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{MINUTE, START, id, put, shards};
use events::message::{Attempt, To};
use events::{InstanceId, NotificationId, Timestamp};
use metrics::set_default_local_recorder;
use platform::testing::{MemoryPlatform, Moment, VISIBILITY_TIMEOUT};
use platform::{Key, Platform as _, Table as _, Version, Write};
use pollhook_metrics::prometheus::Prometheus;
use pollhook_poller::{each_minute, tick};
use proptest::prelude::*;
use records::RecordError;
use records::retries::{self, Wake};
use records::wheel::{self, Interval, Minutes, Place};
use scenarios::{RetryPolicy, Trouble, World};

/// As (minutes, slot) and the minute in which it was due, and how often that was sent.
fn sent(platform: &MemoryPlatform) -> BTreeMap<((u32, u16), i64), usize> {
    let mut sent = BTreeMap::new();
    for job in shards(platform) {
        assert!((job.shard, job.shards, job.from) == (0, 1, None));
        *sent.entry(((job.minutes, job.slot), job.minute)).or_default() += 1;
    }
    sent
}

async fn now_and_later(platform: &MemoryPlatform) -> Result<usize, RecordError> {
    tick(platform, platform.now().plus(MINUTE)).await
}

#[derive(Clone, Debug)]
enum Minute {
    Ticked,
    Twice,
    Missed,
    Dies(usize, Moment),
}

fn minute() -> impl Strategy<Value = Minute> {
    let moment = prop_oneof![Just(Moment::Before), Just(Moment::After)];
    prop_oneof![
        4 => Just(Minute::Ticked),
        1 => Just(Minute::Twice),
        3 => Just(Minute::Missed),
        2 => (0_usize..6, moment).prop_map(|(step, moment)| Minute::Dies(step, moment)),
    ]
}

/// Which minutes up to `until` a place is due in, from `from` on.
fn due(place: Place, from: i64, until: i64) -> impl Iterator<Item = i64> {
    (from..=until).filter(move |minute| place.minutes.slot(*minute) == place.slot)
}

async fn play(intervals: Vec<u32>, minutes: Vec<Minute>) {
    let mut platform = MemoryPlatform::with(START, 1, VISIBILITY_TIMEOUT);
    let first = START.minute();
    now_and_later(&platform).await.unwrap();
    let mut places = BTreeSet::new();
    for (bits, minutes) in (1_u32..).zip(&intervals) {
        let Place { minutes, slot, .. } = put(&platform, id(bits), *minutes).await;
        places.insert((minutes, slot));
    }
    let places: Vec<Place> = places.into_iter().map(|(minutes, slot)| Place { minutes, slot, shard: 0 }).collect();
    let in_time = minutes.iter().all(|minute| matches!(minute, Minute::Ticked | Minute::Twice));
    for minute in minutes.into_iter().chain([Minute::Ticked]) {
        platform.advance(MINUTE);
        match minute {
            Minute::Missed => continue,
            Minute::Ticked => {
                now_and_later(&platform).await.unwrap();
            }
            Minute::Twice => {
                now_and_later(&platform).await.unwrap();
                assert_eq!(now_and_later(&platform).await, Ok(0));
            }
            Minute::Dies(step, moment) => {
                platform.crash_at(platform.steps() + step, moment);
                let died = platform.run_until_crash(now_and_later(&platform)).await.is_err();
                platform = platform.restart();
                if died {
                    continue;
                }
            }
        }
        let (now, sent) = (platform.now().minute(), sent(&platform));
        for place in &places {
            let key = (u32::from(place.minutes), place.slot);
            if let Some(last) = due(*place, first + 1, now).last() {
                assert!(sent.contains_key(&(key, last)), "{place:?} was due in {last}, and a tick has passed it");
            }
        }
    }
    let (now, sent) = (platform.now().minute(), sent(&platform));
    for ((minutes, slot), minute) in sent.keys() {
        assert_eq!(Minutes::new(*minutes).unwrap().slot(*minute), *slot, "only in its own minutes");
        assert!((first + 1..=now).contains(minute));
    }
    if in_time {
        assert!(sent.values().all(|count| *count == 1));
        for place in &places {
            let key = (u32::from(place.minutes), place.slot);
            let minutes: Vec<i64> = sent.keys().filter(|(of, _)| *of == key).map(|(_, minute)| *minute).collect();
            assert_eq!(minutes, due(*place, first + 1, now).collect::<Vec<_>>(), "once in each turn");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn whatever_becomes_of_ticks_the_next_one_sends_what_was_due_and_those_in_time_send_it_once(
        intervals in proptest::collection::vec(1_u32..8, 1..8),
        minutes in prop_oneof![
            proptest::collection::vec(minute(), 1..40),
            proptest::collection::vec(prop_oneof![Just(Minute::Ticked), Just(Minute::Twice)], 1..40),
        ],
    ) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(play(intervals, minutes));
    }
}

#[tokio::test]
async fn a_tick_that_dies_at_any_step_is_made_good_by_the_next() {
    for step in 0.. {
        let mut died = false;
        for moment in [Moment::Before, Moment::After] {
            let platform = MemoryPlatform::with(START, 2, VISIBILITY_TIMEOUT);
            now_and_later(&platform).await.unwrap();
            for bits in 1..=60 {
                put(&platform, id(bits), bits).await;
            }
            let platform = platform.restart();
            platform.advance(3 * MINUTE);
            platform.crash_at(step, moment);
            died |= platform.run_until_crash(now_and_later(&platform)).await.is_err();
            let platform = platform.restart();
            now_and_later(&platform).await.unwrap();
            let now = platform.now().minute();
            let minutes = (1..=60_u32).map(|minutes| Minutes::new(minutes).unwrap());
            let wanted: BTreeSet<_> = minutes
                .flat_map(|minutes| minutes.due(now - 3, now, now).map(move |(slot, at)| ((minutes.into(), slot), at)))
                .collect();
            assert_eq!(sent(&platform).into_keys().collect::<BTreeSet<_>>(), wanted, "{moment:?} {step}");
        }
        if !died {
            assert!(step > 100);
            return;
        }
    }
}

#[tokio::test]
async fn a_minute_in_which_nothing_is_due_costs_two_reads_and_a_write_and_a_second_tick_one_read() {
    let world = World::new(701, RetryPolicy::default()).await;
    let until = world.now().plus(MINUTE);
    let cost = || (world.platform().acts(), world.platform().reads());
    let (acts, reads) = cost();
    assert_eq!(tick(world.platform(), until).await, Ok(0));
    assert_eq!(cost(), (acts + 1, reads + 2));
    assert_eq!(tick(world.platform(), until).await, Ok(0));
    assert_eq!(cost(), (acts + 1, reads + 3));
}

#[tokio::test]
async fn what_the_queue_does_not_take_is_sent_by_the_next_tick() {
    for trouble in Trouble::ALL {
        let world = World::new(702, RetryPolicy::default()).await;
        let platform = world.platform();
        tick(platform, world.now()).await.unwrap();
        for bits in 1..=4 {
            put(platform, id(bits), 1).await;
            put(platform, id(bits + 4), 2).await;
        }
        platform.memory.advance(2 * MINUTE);
        platform.fail(0, trouble);
        assert!(tick(platform, world.now()).await.is_err(), "{trouble:?}");
        tick(platform, world.now()).await.unwrap();
        let slots: BTreeSet<_> = sent(&platform.memory).into_keys().map(|(slot, _)| slot).collect();
        assert_eq!(slots, BTreeSet::from([(1, 0), (2, 0), (2, 1)]), "{trouble:?}");
    }
}

#[tokio::test]
async fn a_wheel_that_cannot_be_read_is_told_each_minute_and_the_others_turn() {
    let platform = MemoryPlatform::with(START, 3, VISIBILITY_TIMEOUT);
    put(&platform, id(1), 1).await;
    let newer = Write::put(Key::new("INTERVALS", "2"), Version(1), r#"{"v":9}"#);
    platform.table().write(newer).await.unwrap();
    for minute in 1..=3 {
        assert!(matches!(now_and_later(&platform).await, Err(RecordError::Newer(_, 9))));
        assert_eq!(shards(&platform).len(), minute, "once a minute");
        assert_eq!(now_and_later(&platform).await, Ok(0));
        platform.advance(MINUTE);
    }
}

#[tokio::test]
async fn a_tick_without_time_goes_on_in_the_next_where_it_ended() {
    let platform = MemoryPlatform::with(START, 4, VISIBILITY_TIMEOUT);
    now_and_later(&platform).await.unwrap();
    let place = put(&platform, id(1), 1440).await;
    for shards in [1, 2, 4, 8, 16] {
        wheel::grow(&platform, Interval { minutes: place.minutes, shards }).await.unwrap();
    }
    platform.advance(100 * MINUTE);
    let mut ticks = 0;
    while tick(&platform, platform.now()).await.unwrap() > 0 {
        ticks += 1;
    }
    assert_eq!(ticks, 4, "1024 at a time of 3200");
    let sent: BTreeSet<_> = shards(&platform).into_iter().map(|job| (job.slot, job.shard)).collect();
    assert_eq!((sent.len(), shards(&platform).len()), (3200, 3200));
}

fn wake() -> Wake {
    let instance = InstanceId::from_random(7);
    let notification = NotificationId::of(Timestamp::from_seconds(0), []);
    Wake { attempt: Attempt { instance, notification, to: To::Callback, round: 0, attempt: 2 }, group: "g".into() }
}

#[tokio::test]
async fn neither_of_tick_and_sweep_waits_for_the_other_s_trouble() {
    for broken in ["MARK", "WHEEL"] {
        let platform = MemoryPlatform::with(START, 5, VISIBILITY_TIMEOUT);
        retries::begin(&platform).await.unwrap();
        let wake = retries::wake(&platform, platform.now().plus(20 * MINUTE), &wake());
        platform.table().transact(vec![wake]).await.unwrap();
        put(&platform, id(1), 1).await;
        each_minute(&platform, MINUTE).await.unwrap();
        platform.advance(25 * MINUTE);
        let before = shards(&platform).len();
        let newer = Write::put(Key::new("TICK", broken), Version(1), r#"{"v":9}"#);
        platform.table().write(newer).await.unwrap();
        assert!(matches!(each_minute(&platform, MINUTE).await, Err(RecordError::Newer(_, 9))), "{broken} is told");
        let (polled, woken) = (shards(&platform).len() - before, platform.batches().messages().len());
        assert_eq!((polled, woken), if broken == "MARK" { (1, 0) } else { (0, 1) });
    }
}

#[tokio::test]
async fn ticks_that_did_not_come_are_told_where_somebody_missed_three_turns() {
    let prometheus = Prometheus::default();
    let recorder = prometheus.recorder();
    let _guard = set_default_local_recorder(&recorder);
    let platform = MemoryPlatform::with(START, 5, VISIBILITY_TIMEOUT);
    for (minutes, missed) in [(0, None), (3, None), (4, Some(3)), (100, Some(102))] {
        platform.advance(minutes * MINUTE);
        now_and_later(&platform).await.unwrap();
        let page = prometheus.render();
        let told = page.lines().find_map(|line| line.strip_prefix("pollhook_ticks_missed_total ")?.parse::<u64>().ok());
        assert_eq!(told.filter(|told| *told > 0), missed, "{minutes}");
    }
}
