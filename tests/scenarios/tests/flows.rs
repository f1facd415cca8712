//! Two legs, and a death or a failing call at every step: nothing is lost on either, and what one has is not the other's.

#![allow(clippy::unwrap_used)]

use platform::Platform as _;
use platform::testing::Moment;
use pollhook_scenarios::{Behaviour, Reply, RetryPolicy, START, Spec, Trouble, Webhook, World};
use records::deliveries::State;

const URL: &str = "https://both.example/";
const SECRET: &str = "the app's secret";

/// A world in which one webhook concerns three instances:
///
/// | instance | its callback | the bus |
/// |---|---|---|
/// | `both` | fails once, then after a bucket | takes every other event at once, the rest after a bucket |
/// | `only` | none | refuses once |
/// | `down` | answers | refuses until it is parked |
async fn flows(seed: u64) -> World {
    let mut world = World::new(seed, RetryPolicy::new(&[5, 1_200])).await;
    let first = vec![Reply::Status(500), Reply::Timeout];
    world.callbacks.behave(URL, Behaviour { key: None, first, then: Reply::Status(200) });
    world.callbacks.behave("https://down.example/", Behaviour { key: None, first: vec![], then: Reply::Status(200) });
    let spec = || Spec::of("hubspot").account("1").webhook_secret(SECRET).flows();
    let both = world.make(spec().callback(URL)).await.id;
    let only = world.make(spec()).await.id;
    let down = world.make(spec().callback("https://down.example/")).await.id;
    world.platform().refuse(both, 2, 2);
    world.platform().refuse(only, 1, 1);
    world.platform().refuse(down, 1, 3);
    let webhook = Webhook::hubspot(SECRET, &[("1", 101), ("1", 102)], START);
    world.provider_sends([both, only, down].into_iter().fold(webhook, |w, instance| w.expect(instance, [101, 102])));
    world.restart();
    world
}

async fn run(world: &mut World) -> usize {
    let deaths = world.run().await;
    deaths + world.release_all().await
}

async fn told(world: &World, context: &str) {
    world.audit(context).await;
    let expected = world.platform().memory.table().items("CALLBACK#").len();
    let records = world.platform().memory.table().items("DELIVERY#");
    assert_eq!((records.len(), expected), (3, 3), "{context}: one record for each");
    assert!(records.iter().all(|item| item.expires_at_s.is_some()), "{context}: all have ended");
}

#[tokio::test]
async fn without_mishaps_each_event_is_published_once_and_each_notification_posted_until_it_is_taken() {
    let mut world = flows(4_000_000).await;
    assert_eq!(run(&mut world).await, 0);
    told(&world, "no mishaps").await;
    assert_eq!(world.platform().bus().published().len(), 6);
    assert_eq!(world.callbacks.posted().iter().filter(|post| post.taken).count(), 2);
}

#[tokio::test]
async fn a_death_at_any_step_loses_nothing_on_either_leg() {
    for (seeds, twice) in [(4_100_000, false), (4_200_000, true)] {
        for step in 0.. {
            let mut deaths = 0;
            for (which, moment) in (0..).zip([Moment::Before, Moment::After]) {
                let mut world = flows(seeds + 2 * step as u64 + which).await;
                world.platform().memory.batches().duplicate_all(twice);
                world.crash_at(step, moment);
                deaths += run(&mut world).await;
                told(&world, &format!("died {moment:?} step {step}, twice {twice}")).await;
            }
            if deaths == 0 {
                assert!(step > 30, "only {step} steps");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_call_that_fails_in_any_way_loses_nothing_on_either_leg() {
    for (seeds, trouble) in (4_300_000..).step_by(10_000).zip(Trouble::ALL) {
        for at in 0.. {
            let mut world = flows(seeds + at as u64).await;
            let platform = world.platform().clone();
            let last = platform.acts() + at;
            platform.fail(at, trouble);
            run(&mut world).await;
            told(&world, &format!("{trouble:?} at {at}")).await;
            if platform.acts() <= last {
                assert!(at > 20, "only {at} acts");
                break;
            }
        }
    }
}

#[tokio::test]
async fn reads_that_lag_for_ever_lose_nothing_and_change_no_id() {
    for (seed, twice) in [(4_400_000, false), (4_400_001, true)] {
        let mut world = flows(seed).await;
        world.platform().lag();
        world.platform().memory.batches().duplicate_all(twice);
        run(&mut world).await;
        told(&world, "lagging").await;
    }
}

#[tokio::test]
async fn what_is_parked_on_its_way_to_the_bus_of_a_deleted_instance_is_dropped() {
    let mut world = World::new(4_500_000, RetryPolicy::new(&[1])).await;
    let instance = world.make(Spec::of("hubspot").account("1").webhook_secret(SECRET).flows()).await.id;
    world.platform().refuse(instance, 1, 1_000);
    world.provider_sends(Webhook::hubspot(SECRET, &[("1", 101)], START).expect(instance, [101]));
    world.run().await;
    assert!(world.records(instance).await[0].flows.as_ref().unwrap().parked_at().is_some());
    world.delete(instance).await;
    world.settle().await;
    let record = &world.records(instance).await[0];
    assert_eq!(record.flows.as_ref().unwrap().state, State::Dropped { reason: "the instance was deleted".into() });
    assert!(world.platform().memory.table().items("PENDING#").is_empty());
    assert!(world.platform().memory.table().items("BODY#").is_empty());
}
