//! What providers send again is told once, whichever of them it is; and a signal reaches its polls.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::Duration;

use connectors::{Connector, Example, catalogue};
use events::{InstanceId, configuration};
use http::StatusCode;
use platform::testing::Moment;
use pollhook_scenarios::{Behaviour, Made, Reply, RetryPolicy, Spec, Webhook, World};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const URL: &str = "https://app.example/";

/// A world with an instance that is to be told of a recorded request.
async fn world(seed: u64, connector: &'static str, example: &Example) -> (World, Made) {
    let world = World::new(seed, RetryPolicy::new(&[5])).await;
    world.callbacks.behave(URL, Behaviour { key: None, first: Vec::new(), then: Reply::Status(200) });
    let mut spec = Spec::of(connector).callback(URL).webhook_secret(example.secret.as_deref().unwrap_or(SECRET));
    for (key, value) in &example.configuration {
        spec = spec.set(key, value);
    }
    let account = example.changes.iter().find_map(|change| change.account.as_deref());
    if let Some(account) = account.filter(|_| catalogue().get(connector).unwrap().account_must_match()) {
        spec = spec.set(configuration::VENDOR_ACCOUNT, account);
    }
    let made = world.make(spec).await;
    (world, made)
}

/// The provider sends it, and again, and once more two hours later.
async fn send_thrice(world: &World, mut webhook: Webhook) {
    for sent in 0..3 {
        webhook.sent = sent;
        let (status, text) = world.send(&webhook).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        world.settle().await;
        if sent > 0 {
            world.platform().memory.advance(Duration::from_secs(7_200));
        }
    }
}

fn telling(connector: &'static Connector) -> impl Iterator<Item = &'static Example> {
    connector.examples().iter().filter(|example| example.answer.is_none() && !example.changes.is_empty())
}

#[tokio::test]
async fn every_recorded_request_is_told_once_however_often_its_provider_sends_it() {
    let (mut seed, mut once, mut again) = (3_000_000, 0, 0);
    for key in catalogue().keys() {
        for example in telling(catalogue().get(key).unwrap()) {
            seed += 1;
            let (world, made) = world(seed, key, example).await;
            let webhook = Webhook::recorded(key, example, SECRET).path(&format!("/{}", made.id.to_path()));
            send_thrice(&world, webhook).await;
            let about = format!("{key}, {}: {}", example.label(), example.about);
            let posted = world.callbacks.posted();
            let told: Vec<String> = posted.iter().flat_map(|post| post.events()).map(|(_, object)| object).collect();
            let objects: Vec<&str> = example.changes.iter().map(|change| change.id.as_str()).collect();
            // What no provider names is told again rather than lost; where a delivery has an id, that is its name.
            if key == "standard" || example.changes.iter().all(|change| change.identified) {
                assert_eq!(told, objects, "{about}");
                once += 1;
            } else {
                assert_eq!(told, objects.repeat(3), "{about}");
                again += 1;
            }
            let distinct: BTreeSet<&str> = posted.iter().map(|post| post.id.as_str()).collect();
            assert_eq!(distinct.len(), posted.len(), "{about}: no notification is posted twice");
        }
    }
    assert!(once > 25 && again > 2, "{once} told once, {again} told again");
}

/// An instance of Dropbox with a neighbour, one callback for both.
async fn signalled(seed: u64) -> (World, Vec<InstanceId>) {
    let mut world = World::new(seed, RetryPolicy::default()).await;
    let dropbox = |account| Spec::of("dropbox").account(account).webhook_secret(SECRET).callback(URL);
    let polled = vec![world.make(dropbox("dbid:A")).await.id, world.make(dropbox("dbid:B")).await.id];
    world.make(dropbox("dbid:C")).await;
    let body = r#"{"list_folder":{"accounts":["dbid:A","dbid:B","dbid:A"]}}"#;
    let webhook = Webhook::new("dropbox", SECRET, body);
    world.provider_sends(polled.iter().fold(webhook, |webhook, instance| webhook.signal(*instance)));
    world.restart();
    (world, polled)
}

#[tokio::test]
async fn a_signal_is_polled_once_for_each_instance_and_told_to_nobody() {
    let (mut world, polled) = signalled(3_100_000).await;
    assert_eq!(world.run().await, 0);
    world.audit("no mishaps").await;
    assert_eq!(world.polled().into_iter().collect::<BTreeSet<_>>(), polled.iter().copied().collect());
    assert_eq!((world.polled().len(), world.callbacks.posted().len()), (2, 0));
}

#[tokio::test]
async fn a_signal_survives_a_death_at_any_step() {
    for step in 0.. {
        let mut deaths = 0;
        for (place, moment) in (0..).zip([Moment::Before, Moment::After]) {
            let (mut world, _) = signalled(3_200_000 + 2 * step as u64 + place).await;
            world.crash_at(step, moment);
            deaths += world.run().await;
            world.audit(&format!("died {moment:?} step {step}")).await;
        }
        if deaths == 0 {
            assert!(step > 2, "only {step} steps");
            return;
        }
    }
}
