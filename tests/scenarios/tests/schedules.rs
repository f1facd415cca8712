//! Deaths, failing calls, duplicates and disorder, at random and together.

#![allow(clippy::unwrap_used)]

use platform::Platform as _;
use platform::testing::Moment;
use pollhook_scenarios::{Story, Trouble};
use proptest::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Clone, Debug)]
struct Schedule {
    deaths: Vec<(usize, bool)>,
    troubles: Vec<(usize, usize)>,
    unreadable: Vec<usize>,
    twice: bool,
    order: Option<u64>,
}

fn schedule() -> impl Strategy<Value = Schedule> {
    let deaths = proptest::collection::vec((0_usize..120, any::<bool>()), 0..4);
    let troubles = proptest::collection::vec((0_usize..150, 0..Trouble::ALL.len()), 0..6);
    let unreadable = proptest::collection::vec(0_usize..500, 0..4);
    (deaths, troubles, unreadable, any::<bool>(), any::<Option<u64>>()).prop_map(
        |(deaths, troubles, unreadable, twice, order)| Schedule { deaths, troubles, unreadable, twice, order },
    )
}

/// Worlds of one process need different seeds: what is noted once per process is noted by instance.
static SEED: AtomicU64 = AtomicU64::new(1_000_000);

async fn play(schedule: &Schedule) {
    let mut story = Story::new(SEED.fetch_add(1, Ordering::Relaxed)).await;
    let platform = story.world.platform().clone();
    platform.memory.batches().duplicate_all(schedule.twice);
    if let Some(order) = schedule.order {
        platform.memory.batches().reorder(order);
    }
    for (at, trouble) in &schedule.troubles {
        platform.fail(*at, Trouble::ALL[*trouble]);
    }
    schedule.unreadable.iter().for_each(|at| platform.fail_read(*at));
    for (step, before) in &schedule.deaths {
        let moment = if *before { Moment::Before } else { Moment::After };
        story.world.crash_at(*step, moment);
        let memory = story.world.platform().memory.clone();
        if memory.run_until_crash(story.world.settle()).await.is_err() {
            story.world.restart();
        }
    }
    story.run().await;
    story.world.audit(&format!("{schedule:?}")).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_schedule_of_mishaps_loses_what_was_taken_or_changes_an_id(schedule in schedule()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(play(&schedule));
    }
}
