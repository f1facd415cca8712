//! Every call to the table and the queue fails once, in each way: nothing taken is lost, and no id changes.

#![allow(clippy::unwrap_used)]

use platform::Platform as _;
use pollhook_scenarios::{Story, Trouble};

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    Act(Trouble),
    Read,
}

/// The story, in which the act or read `at` fails; whether it came to that one.
async fn fails_at(seed: u64, at: usize, wrong: Wrong, twice: bool) -> bool {
    let mut story = Story::new(seed).await;
    let platform = story.world.platform().clone();
    platform.memory.batches().duplicate_all(twice);
    if twice {
        platform.memory.batches().reorder(seed);
    }
    let count = || match wrong {
        Wrong::Act(_) => platform.acts(),
        Wrong::Read => platform.reads(),
    };
    let last = count() + at;
    match wrong {
        Wrong::Act(trouble) => platform.fail(at, trouble),
        Wrong::Read => platform.fail_read(at),
    }
    story.run().await;
    let reached = count() > last;
    story.world.audit(&format!("{wrong:?} at {at}, seed {seed}")).await;
    reached
}

/// `every`: how many acts or reads are passed over each time.
async fn fails_everywhere(seeds: u64, wrong: Wrong, every: usize, twice: bool) {
    let mut at = 0;
    while fails_at(seeds + at as u64, at, wrong, twice).await {
        at += every;
    }
    assert!(at > 80, "the story ended at {at}");
}

#[tokio::test]
async fn a_lost_answer_to_any_act_loses_nothing() {
    fails_everywhere(20_000, Wrong::Act(Trouble::Lost), 1, false).await;
}

#[tokio::test]
async fn an_act_that_nobody_knows_failed_loses_nothing() {
    fails_everywhere(30_000, Wrong::Act(Trouble::NotDone), 1, false).await;
}

#[tokio::test]
async fn a_conflict_at_any_write_and_a_half_taken_send_lose_nothing() {
    fails_everywhere(40_000, Wrong::Act(Trouble::Conflict), 1, false).await;
}

#[tokio::test]
async fn a_throttled_act_loses_nothing_also_when_every_message_comes_twice() {
    fails_everywhere(50_000, Wrong::Act(Trouble::Throttled), 1, true).await;
}

#[tokio::test]
async fn a_lost_answer_to_any_act_loses_nothing_also_when_every_message_comes_twice() {
    fails_everywhere(60_000, Wrong::Act(Trouble::Lost), 1, true).await;
}

#[tokio::test]
async fn a_read_that_fails_loses_nothing() {
    // Most reads are the sweep's, of minutes in which nothing is due; a prime, so that no pattern is passed over.
    fails_everywhere(70_000, Wrong::Read, 5, true).await;
}
