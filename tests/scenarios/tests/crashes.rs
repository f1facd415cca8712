//! The process dies at every step, before it and after it: nothing taken is lost, and no id changes.

#![allow(clippy::unwrap_used)]

use platform::Platform as _;
use platform::testing::Moment;
use pollhook_scenarios::{Behaviour, Reply, RetryPolicy, START, Spec, Story, Webhook, World, hubspot_change};

/// The story, with a process that dies at `step`; whether it did.
async fn dies_at(seed: u64, step: usize, moment: Moment, prepare: fn(&World)) -> bool {
    let mut story = Story::new(seed).await;
    prepare(&story.world);
    story.world.crash_at(step, moment);
    let deaths = story.run().await;
    story.world.audit(&format!("died {moment:?} step {step}, seed {seed}")).await;
    deaths > 0
}

async fn dies_everywhere(seeds: u64, prepare: fn(&World)) {
    for step in 0.. {
        let seed = seeds + 2 * step as u64;
        let before = dies_at(seed, step, Moment::Before, prepare).await;
        let after = dies_at(seed + 1, step, Moment::After, prepare).await;
        if !before && !after {
            assert!(step > 100, "the story has only {step} steps");
            return;
        }
    }
}

/// A world with one instance whose callback fails once, and a provider that tells it of this body.
async fn large(seed: u64, body: &str, objects: std::ops::Range<u64>) -> World {
    let mut world = World::new(seed, RetryPolicy::new(&[5, 1_200])).await;
    let url = "https://large.example/";
    let key = Some("a key of our own".to_owned());
    world.callbacks.behave(url, Behaviour { key, first: vec![Reply::Status(500)], then: Reply::Status(200) });
    let spec = Spec::of("hubspot").account("1").webhook_secret("s").callback(url).signed("a key of our own");
    let instance = world.make(spec).await.id;
    world.provider_sends(Webhook::new("hubspot", "s", body).expect(instance, objects));
    world.restart();
    world
}

/// The provider's body dies with the process at every step of its way.
async fn large_dies_everywhere(seeds: u64, body: &str, objects: std::ops::Range<u64>) {
    for step in 0.. {
        let mut deaths = 0;
        for (seed, moment, twice) in
            [(0, Moment::Before, false), (1, Moment::After, false), (2, Moment::Before, true), (3, Moment::After, true)]
        {
            let mut world = large(seeds + 4 * step as u64 + seed, body, objects.clone()).await;
            world.platform().memory.batches().duplicate_all(twice);
            world.crash_at(step, moment);
            deaths += world.run().await;
            world.audit(&format!("died {moment:?} step {step}")).await;
        }
        if deaths == 0 {
            assert!(step > 8, "only {step} steps");
            return;
        }
    }
}

#[tokio::test]
async fn a_batch_too_large_for_a_message_survives_a_death_at_any_step() {
    let changes: Vec<String> = (0..100).map(|object| hubspot_change("1", object, START)).collect();
    let body = format!("[{},\"{}\"]", changes.join(","), "x".repeat(40_000));
    large_dies_everywhere(100_000, &body, 0..100).await;
}

#[tokio::test]
async fn a_payload_too_large_for_a_record_and_for_one_item_survives_a_death_at_any_step() {
    let mut state = 1_u64;
    let letter = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from_u32(0x80 + (state >> 56) as u32).unwrap()
    };
    let noise: String = (0..230_000).map(letter).collect();
    let body = format!("[{},\"{noise}\"]", hubspot_change("1", 1, START));
    large_dies_everywhere(200_000, &body, 1..2).await;
}

#[tokio::test]
async fn a_story_without_mishaps_tells_everything_once() {
    let mut story = Story::new(1).await;
    assert_eq!(story.run().await, 0);
    story.world.audit("no mishaps").await;
    let taken: Vec<String> = story.world.callbacks.posted().into_iter().filter(|p| p.taken).map(|p| p.id).collect();
    let mut distinct = taken.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), taken.len(), "nothing is told twice");
    assert_eq!(taken.len(), 9);
}

#[tokio::test]
async fn a_death_at_any_step_loses_nothing_and_changes_no_id() {
    dies_everywhere(1_000, |_| ()).await;
}

#[tokio::test]
async fn a_death_at_any_step_is_harmless_also_when_every_message_is_handed_over_twice_in_any_order() {
    dies_everywhere(10_000, |world| {
        world.platform().memory.batches().duplicate_all(true);
        world.platform().memory.batches().reorder(world.platform().memory.random().bits());
    })
    .await;
}
