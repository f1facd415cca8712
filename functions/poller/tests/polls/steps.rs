//! Large changes, in steps; and workers that meet.

use futures_util::future::join;
use platform::testing::Moment;
use pollhook_poller::poll::End;
use proptest::prelude::*;

use crate::world::{MINUTE, SECTION, World};

/// Many changes, a few in each millisecond.
async fn many(seed: u64, count: u32) -> World {
    let section = SECTION.replace("page_size: 3", "page_size: 100");
    let mut world = World::with(seed, &section, &[("event.objects", "things, others")]).await;
    for id in 0..count {
        if id % 7 == 0 {
            world.advance(1);
        }
        world.change(if id % 2 == 0 { "things" } else { "others" }, id, false);
    }
    world.advance(2_000);
    world
}

#[tokio::test]
async fn a_large_change_goes_in_steps_each_with_its_claim_and_its_move() {
    let world = many(50, 4_700).await;
    let outcome = world.poll().await;
    assert_eq!((outcome.told, outcome.end), (4_700, End::Asked));
    assert_eq!((world.versions().await, world.told().await.len()), (world.history.clone(), 4_700));
    let acts = world.platform.acts();
    let moves = acts.iter().filter(|act| act.starts_with("transact")).count();
    let claims = acts.iter().filter(|act| act.starts_with("put") && act.ends_with("CLAIM")).count();
    assert_eq!((moves, claims), (3, 3), "two whole steps, and the rest");
    for step in acts.split(|act| act.starts_with("transact")) {
        let sends = step.iter().filter(|act| act.starts_with("send")).count();
        // Ten events a message, up to a page more than 2,000, and a batch that is not full at each resource's end.
        assert!(sends <= 2_100 / 10 + 2, "{sends} messages");
    }
    assert_eq!(world.poll().await.told, 0);
}

#[tokio::test]
async fn a_death_in_a_later_step_repeats_that_step_alone() {
    let whole = many(51, 2_600).await;
    whole.poll().await;
    let first = whole.platform.acts().iter().position(|act| act.starts_with("transact")).unwrap();
    let mut world = many(51, 2_600).await;
    // The claim of the second step, and five of its messages.
    world.platform.crash_at(first + 6, Moment::After);
    world.platform.run_until_crash(world.poll()).await.unwrap_err();
    let before = world.told().await.len();
    assert!((2_000..2_200).contains(&before), "{before}");
    world.restart();
    world.platform.advance(6 * MINUTE);
    world.poll().await;
    let repeats = world.told().await.len() - world.history.len();
    assert!((1..=50).contains(&repeats), "{repeats}");
    assert_eq!(world.versions().await, world.history);
}

#[tokio::test]
async fn large_records_make_smaller_steps_and_those_that_were_told_are_read_past() {
    let mut world = World::of(55, "things").await;
    let text = "x".repeat(1024 * 1024);
    for id in 0..24 {
        world.advance(10);
        world.note("things", id, false, &text);
    }
    world.advance(2_000);
    assert_eq!(world.poll().await.told, 24);
    let moves = world.platform.acts().iter().filter(|act| act.starts_with("transact")).count();
    assert_eq!(moves, 2, "three pages a reading, two readings a step");
    world.change("things", 50, false);
    world.advance(2_000);
    assert_eq!(world.poll().await.told, 1, "beyond many bytes that are looked at again");
    assert_eq!((world.versions().await, world.told().await.len()), (world.history.clone(), 25));
}

#[tokio::test]
async fn two_workers_at_once_tell_nothing_twice_and_nothing_is_missing() {
    for seed in 60..100 {
        let mut world = World::of(seed, "things, others").await;
        world.several(0..12, 1, |id| if id % 2 == 0 { "things" } else { "others" });
        let pauses = (0..40).map(|n| (seed as usize * 31 + n * 17) % 9).collect();
        world.provider.look(|state| state.pauses = pauses);
        let (one, other) = join(world.poll(), world.poll()).await;
        assert_eq!(one.told + other.told, 12);
        for outcome in [one, other] {
            let until = world.now().plus(6 * MINUTE);
            let possible = [End::Asked, End::Elsewhere { until }, End::Elsewhere { until: world.now() }];
            assert!(possible.contains(&outcome.end), "{outcome:?}");
        }
        assert_eq!((world.versions().await, world.told().await.len()), (world.history.clone(), 12), "{seed}");
    }
}

#[tokio::test]
async fn whoever_comes_while_another_tells_is_told_until_when_and_tells_nothing() {
    let mut world = World::of(101, "things").await;
    world.change("things", 1, false);
    world.advance(2_000);
    // Dies after its claim.
    world.platform.crash_at(0, Moment::After);
    world.platform.run_until_crash(world.poll()).await.unwrap_err();
    let until = world.now().plus(6 * MINUTE);
    world.restart();
    assert_eq!(world.poll().await.end, End::Elsewhere { until });
    assert_eq!((world.told().await.len(), world.platform.acts().len()), (0, 0));
    world.platform.advance(6 * MINUTE);
    assert_eq!(world.poll().await.told, 1);
}

#[tokio::test]
async fn a_claim_that_has_run_out_is_asked_before_anything_is_sent() {
    let mut world = World::of(102, "things").await;
    world.change("things", 1, false);
    world.advance(2_000);
    let outcome = world.poll_until(world.now().plus(MINUTE), world.now()).await;
    assert_eq!((outcome.told, outcome.end), (0, End::Elsewhere { until: world.now() }));
    assert_eq!(world.told().await.len(), 0);
    assert_eq!(world.poll().await.told, 1, "and nothing is in the way of the next");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Any number of workers at any pace, each repeated until all is told.
    #[test]
    fn however_workers_meet_each_version_is_told_once(
        seed: u64,
        changes in proptest::collection::vec((any::<bool>(), 0..6_u32, any::<bool>(), 0..3_u64), 1..30),
        pauses in proptest::collection::vec(0..12_usize, 80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (told, versions, last) = runtime.block_on(async {
            let mut world = World::of(seed, "things, others").await;
            for (things, id, gone, after) in changes {
                world.change(if things { "things" } else { "others" }, id, gone);
                world.advance(after);
            }
            world.advance(2_000);
            world.provider.look(|state| state.pauses = pauses);
            join(join(world.poll(), world.poll()), world.poll()).await;
            world.poll().await;
            assert_eq!(world.poll().await.told, 0);
            let last = world.last();
            (world.told().await.len(), world.versions().await, last)
        });
        prop_assert_eq!(&versions, &last);
        prop_assert_eq!(told, last.len());
    }
}
