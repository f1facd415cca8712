//! What the tests of the receiver share.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;

use events::{Batch, InstanceId, Message};
use platform::Platform as _;
use records::refused::{self, Reason};
use scenarios::{RetryPolicy, Spec, Webhook, World};

pub(crate) const SECRET: &str = "the app's secret";

pub(crate) async fn world(seed: u64) -> World {
    World::new(seed, RetryPolicy::default()).await
}

/// A HubSpot instance of `account` that wants its events.
pub(crate) fn hubspot(account: &str) -> Spec {
    Spec::of("hubspot").account(account).webhook_secret(SECRET).callback("https://app.example/")
}

pub(crate) fn one(world: &World, portal: &str, object: u64) -> Webhook {
    Webhook::hubspot(SECRET, &[(portal, object)], world.now())
}

/// The batches in the queue.
pub(crate) fn queued(world: &World) -> Vec<Batch> {
    let held = world.platform().memory.batches().messages();
    let batch = |text: &str| match Message::decode(text).unwrap() {
        Message::Batch(batch) => batch,
        other => panic!("not a batch: {other:?}"),
    };
    held.iter().map(|held| batch(&held.body)).collect()
}

/// What is queued: of which instance, which objects.
pub(crate) fn told(world: &World) -> Vec<(InstanceId, Vec<String>)> {
    let objects = |batch: &Batch| batch.events.iter().map(|event| event.object_id.clone()).collect();
    let mut told: Vec<_> = queued(world).iter().map(|batch| (batch.instance, objects(batch))).collect();
    told.sort();
    told
}

/// What was refused, after a flush.
pub(crate) async fn refused(world: &World, connector: &str) -> BTreeMap<Reason, u64> {
    world.receiver().flush().await.unwrap();
    let lines = refused::list(world.platform(), connector).await.unwrap();
    lines.into_iter().map(|line| (line.reason, line.refusals.count)).collect()
}

pub(crate) fn counts(of: &[(Reason, u64)]) -> BTreeMap<Reason, u64> {
    of.iter().copied().collect()
}
