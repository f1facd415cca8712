//! The wheels: an instance that is polled has one item, in a wheel that is listed, whatever happens in between.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use common::platform;
use events::InstanceId;
use platform::testing::{MemoryPlatform, Moment};
use platform::{Condition, Consistency, Key, Platform as _, Table as _, Version, Write};
use pollhook_records::RecordError;
use pollhook_records::wheel::{self, FULL_SHARD, Interval, MAX_SHARDS, Minutes, Place};
use proptest::prelude::*;

fn id(bits: u32) -> InstanceId {
    InstanceId::from_random(bits)
}

fn every(minutes: u32) -> Option<Minutes> {
    Minutes::new(minutes)
}

/// As the API changes an instance: its place in its own item, written with the wheel's.
async fn set(platform: &MemoryPlatform, instance: InstanceId, minutes: Option<Minutes>) -> Option<Place> {
    let key = Key::new(format!("INSTANCE#{instance}"), "INSTANCE");
    let found = platform.table().get(&key, Consistency::Strong).await.unwrap();
    let before: Option<Place> = found.as_ref().and_then(|item| serde_json::from_slice(&item.body).unwrap());
    let after = wheel::place(platform, instance, minutes, before).await.unwrap();
    let condition = found.map_or(Condition::Absent, |item| Condition::Version(item.version));
    let own = Write::put(key, platform.version(), serde_json::to_vec(&after).unwrap()).when(condition);
    let mut writes = wheel::moved(platform, instance, before, after);
    writes.push(own);
    platform.table().transact(writes).await.unwrap();
    after
}

/// Who is in a place.
async fn found(platform: &MemoryPlatform, place: &Place) -> Vec<InstanceId> {
    let (mut instances, mut after) = (Vec::new(), None);
    loop {
        let page = wheel::page(platform, place, after).await.unwrap();
        assert_eq!(page.unreadable, None);
        instances.extend(page.instances);
        after = page.next;
        if after.is_none() {
            return instances;
        }
    }
}

async fn shards(platform: &MemoryPlatform) -> BTreeMap<u16, u32> {
    let intervals = wheel::intervals(platform).await.unwrap();
    assert_eq!(intervals.unreadable, None);
    intervals.found.iter().map(|interval| (interval.minutes.number(), interval.shards)).collect()
}

/// Every item of the wheels is that of an instance which says so, in a listed wheel's shard.
async fn check(platform: &MemoryPlatform) {
    let shards = shards(platform).await;
    let mut places: Vec<(Place, InstanceId)> = Vec::new();
    for item in platform.table().items("INSTANCE#") {
        let instance = item.key.partition["INSTANCE#".len()..].parse().unwrap();
        let place: Option<Place> = serde_json::from_slice(&item.body).unwrap();
        places.extend(place.map(|place| (place, instance)));
    }
    for (place, instance) in &places {
        assert!(place.shard < shards[&place.minutes.number()], "{place:?} is in a shard that nobody reads");
        assert!(found(platform, place).await.contains(instance), "{place:?}");
    }
    assert_eq!(platform.table().items("WHEEL#").len(), places.len(), "and there are no others");
}

#[tokio::test]
async fn a_changed_interval_takes_the_instance_from_the_one_wheel_to_the_other() {
    let platform = platform(1);
    let first = set(&platform, id(7), every(15)).await.unwrap();
    assert_eq!(found(&platform, &first).await, [id(7)]);
    let second = set(&platform, id(7), every(5)).await.unwrap();
    assert_eq!((found(&platform, &first).await, found(&platform, &second).await), (vec![], vec![id(7)]));
    assert_eq!(set(&platform, id(7), every(1441)).await, None, "off");
    assert_eq!(platform.table().items("WHEEL#"), []);
    assert_eq!(shards(&platform).await, BTreeMap::from([(5, 1), (15, 1)]), "wheels stay");
}

#[tokio::test]
async fn an_instance_whose_interval_stays_costs_no_write_and_no_read_of_the_wheel() {
    let platform = platform(2);
    let before = set(&platform, id(7), every(15)).await;
    let reads_fail = platform::TableError::Throttled;
    platform.table().fail_next_read(reads_fail.clone());
    assert_eq!(wheel::place(&platform, id(7), every(15), before).await, Ok(before));
    assert_eq!(wheel::moved(&platform, id(7), before, before), []);
    assert_eq!(wheel::place(&platform, id(7), every(5), before).await, Err(reads_fail.into()), "another's is read");
}

#[tokio::test]
async fn a_grown_wheel_keeps_its_instances_where_they_are_and_spreads_the_new_ones() {
    let platform = platform(3);
    for bits in 1..=100 {
        set(&platform, id(bits), every(1)).await;
    }
    for shards in [1, 2, 4] {
        wheel::grow(&platform, Interval { minutes: every(1).unwrap(), shards }).await.unwrap();
    }
    // A job that read an older count, once more.
    wheel::grow(&platform, Interval { minutes: every(1).unwrap(), shards: 4 }).await.unwrap();
    assert_eq!(shards(&platform).await, BTreeMap::from([(1, 8)]));
    for bits in 101..=900 {
        set(&platform, id(bits), every(1)).await;
    }
    check(&platform).await;
    for shard in 0..8 {
        let held = found(&platform, &Place { minutes: every(1).unwrap(), slot: 0, shard }).await.len();
        let old = if shard == 0 { 100 } else { 0 };
        assert!((old + 60..old + 140).contains(&held), "{shard}: {held}");
    }
    set(&platform, id(50), every(2)).await;
    check(&platform).await;
}

#[test]
fn a_wheel_grows_only_when_its_last_shard_is_full_and_not_for_ever() {
    assert!(wheel::is_full(1, 0, FULL_SHARD) && !wheel::is_full(1, 0, FULL_SHARD - 1));
    assert!(!wheel::is_full(2, 0, 10 * FULL_SHARD), "it was full before there was the second");
    assert!(wheel::is_full(2, 1, FULL_SHARD) && !wheel::is_full(MAX_SHARDS, MAX_SHARDS - 1, 10 * FULL_SHARD));
}

#[tokio::test]
async fn a_wheel_does_not_grow_beyond_the_most() {
    let platform = platform(4);
    set(&platform, id(7), every(1)).await;
    for _ in 0..20 {
        let now = wheel::intervals(&platform).await.unwrap().found[0];
        wheel::grow(&platform, now).await.unwrap();
    }
    assert_eq!(shards(&platform).await, BTreeMap::from([(1, MAX_SHARDS)]));
}

#[tokio::test]
async fn two_first_instances_of_a_wheel_at_the_same_time_make_it_once() {
    let platform = platform(5);
    tokio::join!(set(&platform, id(7), every(15)), set(&platform, id(8), every(15)));
    check(&platform).await;
    assert_eq!(shards(&platform).await, BTreeMap::from([(15, 1)]));
}

#[tokio::test]
async fn many_instances_of_a_place_are_all_found() {
    let platform = platform(6);
    let place = Place { minutes: every(1).unwrap(), slot: 0, shard: 0 };
    let writes = (1..=2_345).flat_map(|bits| wheel::moved(&platform, id(bits), None, Some(place))).collect();
    platform.table().write_many(writes).await.unwrap();
    let mut all = found(&platform, &place).await;
    all.sort_unstable();
    assert_eq!(all, (1..=2_345).map(id).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_a_newer_version_wrote_is_told_and_its_neighbours_are_found() {
    let platform = platform(7);
    let place = set(&platform, id(7), every(15)).await.unwrap();
    let partition = platform.table().items("WHEEL#")[0].key.partition.clone();
    for key in [Key::new(partition, "8"), Key::new("INTERVALS", "16")] {
        let newer = Write::put(key, Version(1), r#"{"v":9,"shards":"many"}"#);
        platform.table().write(newer).await.unwrap();
    }
    let page = wheel::page(&platform, &place, None).await.unwrap();
    assert!(page.instances == [id(7)] && matches!(page.unreadable, Some(RecordError::Newer(_, 9))), "{page:?}");
    let intervals = wheel::intervals(&platform).await.unwrap();
    assert_eq!(intervals.found, [Interval { minutes: every(15).unwrap(), shards: 1 }]);
    assert!(matches!(intervals.unreadable, Some(RecordError::Newer(_, 9))));
    assert!(matches!(wheel::place(&platform, id(9), every(16), None).await, Err(RecordError::Newer(_, 9))));
}

#[tokio::test]
async fn a_change_that_dies_at_any_step_leaves_the_instance_in_one_wheel() {
    for moment in [Moment::Before, Moment::After] {
        for step in 0..2 {
            let platform = platform(8);
            set(&platform, id(7), every(15)).await;
            let platform = platform.restart();
            platform.crash_at(step, moment);
            platform.run_until_crash(set(&platform, id(7), every(5))).await.unwrap_err();
            let platform = platform.restart();
            check(&platform).await;
            assert_eq!(platform.table().items("WHEEL#").len(), 1);
            set(&platform, id(7), every(5)).await;
            check(&platform).await;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_changed_each_polled_instance_has_one_item_where_it_is_looked_for(
        changes in proptest::collection::vec((1_u32..12, prop_oneof![1_u32..4, Just(1440), Just(999_999_999)], any::<bool>()), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let platform = platform(9);
            for (bits, minutes, grows) in changes {
                set(&platform, id(bits), every(minutes)).await;
                if grows {
                    for interval in wheel::intervals(&platform).await.unwrap().found {
                        wheel::grow(&platform, interval).await.unwrap();
                    }
                }
                check(&platform).await;
            }
        });
    }
}
