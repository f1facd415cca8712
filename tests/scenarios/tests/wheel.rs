//! The timing wheel with all its parts: whoever is in it is polled in each of their turns, and nobody else is.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use events::{InstanceId, configuration};
use platform::testing::Moment;
use pollhook_scenarios::{RetryPolicy, World};
use records::instances::{self, Derived, Provision, Stored};
use records::wheel::Minutes;

/// How often everybody looks whether something is due.
const LOOK: Duration = Duration::from_secs(10);

async fn make(world: &World, minutes: u32) -> Stored {
    let provision = Provision {
        name: "polled".into(),
        connector: "hubspot".into(),
        hub: "crm".into(),
        tags: Vec::new(),
        configuration: [(configuration::CALLBACK_URL.to_owned(), "https://app.example/".to_owned())].into(),
        secrets: instances::Secrets::new(),
    };
    let derived = Derived { polled: Minutes::new(minutes), ..Derived::default() };
    instances::create(world.platform(), &world.owner, provision, &derived).await.unwrap()
}

/// Lets so many minutes pass, in which everybody does their work; whatever dies is restarted at the next look. How often
/// something died.
async fn pass(world: &mut World, minutes: u32) -> usize {
    let mut deaths = 0;
    for _ in 0..minutes * 6 {
        let memory = world.platform().memory.clone();
        let work = async {
            world.each_minute().await;
            while world.pump().await {}
        };
        if memory.run_until_crash(work).await.is_err() {
            deaths += 1;
            world.restart();
        }
        world.platform().memory.advance(LOOK);
    }
    deaths
}

/// How often each was polled since `before` polls.
fn polled(world: &World, before: usize) -> BTreeMap<InstanceId, usize> {
    let mut polled = BTreeMap::new();
    for instance in &world.polled()[before..] {
        *polled.entry(*instance).or_default() += 1;
    }
    polled
}

#[tokio::test]
async fn everybody_is_polled_once_in_each_turn_until_they_are_deleted() {
    let mut world = World::new(9_001, RetryPolicy::default()).await;
    let mut made = Vec::new();
    for minutes in [1, 1, 4, 4, 4, 15, 1440, 2000] {
        made.push((minutes, make(&world, minutes).await));
    }
    // A minute in which the wheel's first tick finds its place, and the seconds of a minute that has begun.
    pass(&mut world, 2).await;
    let before = world.polled().len();
    pass(&mut world, 60).await;
    let mut found = polled(&world, before);
    for (minutes, stored) in &made {
        let count = found.remove(&stored.instance.id).unwrap_or_default();
        match minutes {
            1440 => assert!(count <= 1, "once a day"),
            2000 => assert_eq!(count, 0, "off"),
            minutes => assert_eq!(count, 60 / *minutes as usize, "every {minutes} minutes"),
        }
    }
    for (_, stored) in &made {
        instances::delete(world.platform(), stored).await.unwrap();
    }
    pass(&mut world, 2).await;
    let before = world.polled().len();
    pass(&mut world, 30).await;
    assert_eq!(polled(&world, before), BTreeMap::new());
}

#[tokio::test]
async fn a_death_at_any_step_costs_nobody_a_turn() {
    for step in 0.. {
        let mut died = false;
        for moment in [Moment::Before, Moment::After] {
            let mut world = World::new(9_002, RetryPolicy::default()).await;
            let mut made = Vec::new();
            for minutes in [1, 2, 3] {
                made.push((minutes, make(&world, minutes).await.instance.id));
            }
            pass(&mut world, 2).await;
            let before = world.polled().len();
            world.crash_at(step, moment);
            died |= pass(&mut world, 6).await > 0;
            let found = polled(&world, before);
            for (minutes, id) in made {
                let count = found.get(&id).copied().unwrap_or_default();
                assert!(count >= 6 / minutes as usize, "{moment:?} {step}: {count} times every {minutes} minutes");
            }
        }
        if !died {
            assert!(step > 30, "{step}");
            return;
        }
    }
}
