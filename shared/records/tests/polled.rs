//! An instance is in the timing wheel exactly as long as it is to be polled: every change of it moves its item with it.

#![allow(clippy::unwrap_used)]

mod common;

use common::{load, owner, platform, provision};
use events::{InstanceId, configuration};
use platform::testing::{MemoryPlatform, Moment};
use platform::{Key, Platform as _, Table as _, TableError, Version, Write};
use pollhook_records::RecordError;
use pollhook_records::accounts::Account;
use pollhook_records::instances::{self, Derived, Instance, Stored};
use pollhook_records::wheel::{self, Minutes, Place};
use proptest::prelude::*;

const CALLBACK: (&str, &str) = (configuration::CALLBACK_URL, "https://app.example/");

fn polled(minutes: u32) -> Derived<'static> {
    Derived { polled: Minutes::new(minutes), ..Derived::default() }
}

async fn make(platform: &MemoryPlatform, owner: &Account, minutes: u32) -> Stored {
    instances::create(platform, owner, provision("sfdc", &[CALLBACK], &[]), &polled(minutes)).await.unwrap()
}

async fn change(
    platform: &MemoryPlatform,
    before: &Stored,
    minutes: u32,
    change: impl FnOnce(&mut Instance),
) -> Result<Stored, RecordError> {
    let mut instance = before.instance.clone();
    change(&mut instance);
    instances::update(platform, before, instance, before.secrets.clone(), &polled(minutes)).await
}

/// Everything that is in the wheels: who, and where.
fn wheels(platform: &MemoryPlatform) -> Vec<(InstanceId, String)> {
    let items = platform.table().items("WHEEL#").into_iter();
    items.map(|item| (item.key.sort.parse().unwrap(), item.key.partition)).collect()
}

fn at(instance: &Instance, minutes: u32) -> Vec<(InstanceId, String)> {
    let Place { slot, shard, .. } = Place::of(instance.id, Minutes::new(minutes).unwrap(), 1);
    vec![(instance.id, format!("WHEEL#{minutes}#{slot}#{shard}"))]
}

#[tokio::test]
async fn an_instance_is_where_its_interval_says_until_it_is_not_to_be_polled() {
    let platform = platform(41);
    let owner = owner(&platform).await;
    let made = make(&platform, &owner, 15).await;
    assert_eq!(wheels(&platform), at(&made.instance, 15));
    let loaded = load(&platform, &owner, made.instance.id).await;
    assert_eq!(loaded.instance, made.instance, "its place is kept with it");
    let moved = change(&platform, &loaded, 5, |_| {}).await.unwrap();
    assert_eq!(wheels(&platform), at(&made.instance, 5));

    let events_off = |instance: &mut Instance| {
        instance.configuration.insert(configuration::ENABLED.into(), "false".into());
    };
    let off = change(&platform, &moved, 5, events_off).await.unwrap();
    assert_eq!((wheels(&platform), off.instance.place), (vec![], None), "what would be found is not taken");
    let on = change(&platform, &off, 5, |instance| drop(instance.configuration.remove(configuration::ENABLED)));
    let on = on.await.unwrap();
    let disabled = change(&platform, &on, 5, |instance| instance.disabled = true).await.unwrap();
    assert_eq!(wheels(&platform), []);
    let enabled = change(&platform, &disabled, 5, |instance| instance.disabled = false).await.unwrap();
    assert_eq!(wheels(&platform), at(&made.instance, 5));
    let slow = change(&platform, &enabled, 1441, |_| {}).await.unwrap();
    assert_eq!(wheels(&platform), []);

    let again = change(&platform, &slow, 1440, |_| {}).await.unwrap();
    assert_eq!(wheels(&platform), at(&made.instance, 1440));
    instances::delete(&platform, &again).await.unwrap();
    assert_eq!(wheels(&platform), []);
}

#[tokio::test]
async fn an_instance_that_is_not_polled_is_written_as_every_version_reads_it_and_one_that_is_is_not() {
    let platform = platform(42);
    let owner = owner(&platform).await;
    for (minutes, version) in [(1441, "{\"v\":1,"), (15, "{\"v\":3,")] {
        let id = make(&platform, &owner, minutes).await.instance.id;
        let item = platform.table().items(&format!("INSTANCE#{id}")).remove(0);
        let text = String::from_utf8(item.body.to_vec()).unwrap();
        assert!(text.starts_with(version), "{text}");
        assert_eq!(text.contains("place"), minutes == 15, "{text}");
    }
}

#[tokio::test]
async fn a_change_that_fails_moves_nothing() {
    let platform = platform(43);
    let owner = owner(&platform).await;
    let made = make(&platform, &owner, 15).await;
    change(&platform, &made, 5, |_| {}).await.unwrap();
    // Made on what was there before.
    for minutes in [1, 1441] {
        let failed = change(&platform, &made, minutes, |_| {}).await;
        assert!(matches!(failed, Err(RecordError::Table(TableError::ConditionFailed(_)))));
    }
    assert!(instances::delete(&platform, &made).await.is_err());
    assert_eq!(wheels(&platform), at(&made.instance, 5));
}

#[tokio::test]
async fn a_grown_wheel_s_instances_are_removed_from_where_they_were_put() {
    let platform = platform(44);
    let owner = owner(&platform).await;
    let mut made = Vec::new();
    for grown in 0..3 {
        for _ in 0..8 {
            made.push(make(&platform, &owner, 1).await);
        }
        let interval = wheel::intervals(&platform).await.unwrap().found[0];
        assert_eq!(interval.shards, 1 << grown);
        wheel::grow(&platform, interval).await.unwrap();
    }
    for stored in made {
        instances::delete(&platform, &stored).await.unwrap();
    }
    assert_eq!(wheels(&platform), []);
}

#[tokio::test]
async fn an_instance_is_not_made_where_its_wheel_cannot_be_listed() {
    let platform = platform(45);
    let owner = owner(&platform).await;
    platform.table().write(Write::put(Key::new("INTERVALS", "15"), Version(1), r#"{"v":9}"#)).await.unwrap();
    let made = instances::create(&platform, &owner, provision("sfdc", &[CALLBACK], &[]), &polled(15)).await;
    assert!(matches!(made, Err(RecordError::Newer(_, 9))));
    assert_eq!((wheels(&platform), platform.table().items("INSTANCE#")), (vec![], vec![]));
}

#[tokio::test]
async fn a_change_that_dies_at_any_step_leaves_the_item_where_the_instance_says() {
    for moment in [Moment::Before, Moment::After] {
        for step in 0..2 {
            let platform = platform(46);
            let owner = owner(&platform).await;
            let made = make(&platform, &owner, 15).await;
            let platform = platform.restart();
            platform.crash_at(step, moment);
            platform.run_until_crash(change(&platform, &made, 5, |_| {})).await.unwrap_err();
            let platform = platform.restart();
            let found = load(&platform, &owner, made.instance.id).await;
            let minutes = u32::from(found.instance.place.unwrap().minutes);
            assert_eq!(wheels(&platform), at(&made.instance, minutes));
            assert_eq!(minutes == 5, (step, moment) == (1, Moment::After), "the wheel is made first, then all at once");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_changed_the_wheels_hold_who_is_to_be_polled_and_nobody_else(
        changes in proptest::collection::vec((0_usize..4, prop_oneof![1_u32..4, Just(2000)], any::<bool>(), any::<bool>()), 1..25),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let platform = platform(47);
            let owner = owner(&platform).await;
            let mut all: [Option<(Stored, bool)>; 4] = Default::default();
            for (index, minutes, disabled, deletes) in changes {
                all[index] = match all[index].take() {
                    None => Some((make(&platform, &owner, minutes).await, minutes < 4)),
                    Some((stored, _)) if deletes => {
                        instances::delete(&platform, &stored).await.unwrap();
                        None
                    }
                    Some((stored, _)) => {
                        let changed = change(&platform, &stored, minutes, |instance| instance.disabled = disabled);
                        Some((changed.await.unwrap(), minutes < 4 && !disabled))
                    }
                };
                let mut wanted: Vec<InstanceId> = Vec::new();
                for (stored, polled) in all.iter().flatten() {
                    assert_eq!(stored.instance.place.is_some(), *polled);
                    wanted.extend(polled.then_some(stored.instance.id));
                }
                let mut found: Vec<InstanceId> = wheels(&platform).into_iter().map(|(id, _)| id).collect();
                found.sort_unstable();
                wanted.sort_unstable();
                assert_eq!(found, wanted);
            }
        });
    }
}
