//! Deaths between any two acts.

use platform::testing::Moment;
use proptest::prelude::*;

use crate::world::{MINUTE, World};

/// Changes in two resources, one of them with a record that is too large for a message.
async fn changed(seed: u64) -> World {
    let mut world = World::of(seed, "things, others").await;
    world.several(0..23, 1, |id| if id % 3 == 0 { "others" } else { "things" });
    world.note("others", 50, false, &"x".repeat(500 * 1024));
    world.advance(2_000);
    world
}

#[tokio::test]
async fn a_death_between_any_two_acts_loses_nothing_and_repeats_by_the_same_ids() {
    let whole = changed(200).await;
    whole.poll().await;
    let steps = whole.platform.steps();
    assert!(steps > 5, "{:?}", whole.platform.acts());
    let mut repeats = 0;
    for step in 0..steps {
        for moment in [Moment::Before, Moment::After] {
            let mut world = changed(200).await;
            world.platform.crash_at(step, moment);
            world.platform.run_until_crash(world.poll()).await.unwrap_err();
            world.restart();
            world.poll().await;
            world.platform.advance(6 * MINUTE);
            world.change("things", 60, false);
            world.advance(2_000);
            world.poll().await;
            assert_eq!(world.versions().await, world.history, "{step} {moment:?}");
            repeats += world.told().await.len() - world.history.len();
            assert_eq!(world.poll().await.told, 0, "{step} {moment:?}");
        }
    }
    assert!(repeats > 0, "some died between telling and moving");
}

#[derive(Clone, Debug)]
enum Act {
    /// A thing (or another), by its number, is changed or deleted.
    Change(bool, u32, bool),
    /// So many milliseconds pass.
    Pass(u64),
    /// A poll that dies at this step, or not at all.
    Poll(Option<(usize, bool)>),
    /// Two polls at once.
    Both,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (any::<bool>(), 0..8_u32, proptest::bool::weighted(0.2)).prop_map(|(kind, id, gone)| Act::Change(kind, id, gone)),
        2 => (0..3_000_u64).prop_map(Act::Pass),
        1 => (0..4_u64).prop_map(|hours| Act::Pass(hours * 3_600_000)),
        3 => proptest::option::weighted(0.6, (0..8_usize, any::<bool>())).prop_map(Act::Poll),
        1 => Just(Act::Both),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn over_any_history_with_deaths_every_last_version_is_told_and_no_other_than_there_was(
        seed: u64,
        acts in proptest::collection::vec(act(), 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (versions, history, last, idle, repeats, died) = runtime.block_on(async {
            let mut world = World::of(seed, "things, others").await;
            let mut died = false;
            for act in acts {
                match act {
                    Act::Change(things, id, gone) => {
                        world.advance(1);
                        world.change(if things { "things" } else { "others" }, id, gone);
                    }
                    Act::Pass(millis) => world.advance(millis),
                    Act::Poll(death) => {
                        if let Some((after, before)) = death {
                            let moment = if before { Moment::Before } else { Moment::After };
                            world.platform.crash_at(world.platform.steps() + after, moment);
                        }
                        if world.platform.run_until_crash(world.poll()).await.is_err() {
                            died = true;
                        }
                        world.restart();
                    }
                    Act::Both => {
                        futures_util::future::join(world.poll(), world.poll()).await;
                    }
                }
            }
            world.platform.advance(7 * MINUTE);
            world.poll().await;
            let idle = world.poll().await.told;
            let last = world.last();
            let versions = world.versions().await;
            let repeats = world.told().await.len() - versions.len();
            (versions, world.history, last, idle, repeats, died)
        });
        prop_assert!(last.is_subset(&versions), "not told: {:?}", last.difference(&versions).collect::<Vec<_>>());
        prop_assert!(versions.is_subset(&history), "never was: {:?}", versions.difference(&history).collect::<Vec<_>>());
        prop_assert_eq!(idle, 0);
        prop_assert!(died || repeats == 0, "told twice, and nobody died");
    }
}
