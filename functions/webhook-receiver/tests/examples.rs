//! Every recorded request of every connector, through the whole receiver.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{RECORDED_SECRET, batches, connectors, own, polls, receiver_of, world};
use connectors::{ExpectedChange, catalogue};
use events::{Event, EventId, Timestamp};
use http::StatusCode;
use scenarios::{Spec, Webhook};

fn told(event: &Event) -> (String, String, String, Option<String>) {
    let date = event.date.map(Timestamp::iso_millis);
    (event.object_type.clone(), event.object_id.clone(), event.event_type.as_str().to_owned(), date)
}

fn expected(change: &ExpectedChange) -> (String, String, String, Option<String>) {
    (change.object_type.clone(), change.id.clone(), change.event.clone(), change.date.clone())
}

#[tokio::test]
async fn every_recorded_request_makes_the_events_that_it_names_and_its_redelivery_the_same_ids() {
    let (mut seed, mut requests, mut events) = (1_000, 0, 0);
    for connector in connectors() {
        for example in catalogue().get(connector).unwrap().examples().iter().filter(|e| e.answer.is_none()) {
            seed += 1;
            let world = world(seed).await;
            let made = receiver_of(&world, connector, example).await;
            let mut webhook = Webhook::recorded(connector, example, RECORDED_SECRET).path(&own(made.id));
            let about = format!("{connector}, {}: {}", example.label(), example.about);
            for sent in 0..2 {
                webhook.sent = sent;
                let (status, text) = world.send(&webhook).await;
                assert_eq!(status, StatusCode::OK, "{about}: {text}");
                if !example.signals.is_empty() {
                    assert_eq!(polls(&world), [made.id], "{about}");
                    break;
                }
                world.platform().memory.advance(Duration::from_secs(7_200));
            }
            let batches = batches(&world).await;
            if example.changes.is_empty() {
                assert_eq!(batches, [], "{about}");
                continue;
            }
            assert_eq!(batches.len(), 2, "{about}");
            let wanted: Vec<_> = example.changes.iter().map(expected).collect();
            for batch in &batches {
                assert_eq!(batch.events.iter().map(told).collect::<Vec<_>>(), wanted, "{about}");
                assert_eq!((batch.instance, &*batch.connector, batch.hops), (made.id, connector, 0));
            }
            // What Standard Webhooks signs includes a delivery's id, so that every signed delivery has one.
            let signed_id = connector == "standard";
            let pairs = batches[0].events.iter().zip(&batches[1].events).zip(&example.changes);
            for ((first, again), change) in pairs {
                assert_eq!(first.id == again.id, change.identified || signed_id, "{about}: {}", change.id);
                events += 1;
            }
            let distinct: std::collections::BTreeSet<&EventId> = batches[0].events.iter().map(|e| &e.id).collect();
            assert_eq!(distinct.len(), batches[0].events.len(), "{about}: no two changes share an id");
            requests += 1;
        }
    }
    assert!(requests > 30 && events > 60, "{requests} requests, {events} events");
}

#[tokio::test]
async fn no_recorded_request_is_taken_with_another_secret_or_none() {
    let mut seed = 2_000;
    for connector in connectors() {
        for example in catalogue().get(connector).unwrap().examples().iter().filter(|e| e.answer.is_none()) {
            seed += 1;
            let mut world = world(seed).await;
            let made = receiver_of(&world, connector, example).await;
            let other = {
                let stranger = Spec::of(connector).callback(common::APP).webhook_secret("bm90IHRoYXQgc2VjcmV0");
                let account = example.changes.iter().find_map(|change| change.account.as_deref());
                world.make(stranger.account(account.unwrap_or("none"))).await
            };
            world.restart();
            let about = format!("{connector}, {}", example.label());
            let webhook = || Webhook::recorded(connector, example, RECORDED_SECRET);
            let mut wrong = vec![webhook().path(&own(other.id))];
            if example.secret.is_none() && !example.query.contains("token=") {
                wrong.push(webhook().unsigned().path(&own(made.id)));
            }
            for webhook in wrong {
                let (status, _) = world.send(&webhook).await;
                // An empty body of a connector whose secret stands in its entries proves nothing, and tells nothing.
                assert_eq!(status, StatusCode::UNAUTHORIZED, "{about}");
            }
            assert_eq!(world.platform().memory.acts(), Vec::<String>::new(), "{about}");
        }
    }
}

#[tokio::test]
async fn another_delivery_of_the_same_change_is_another_event_where_the_delivery_names_it() {
    let world = world(3_001).await;
    let made = world.make(common::of("github")).await;
    let send = |delivery: &str| {
        Webhook::new("github", common::SECRET, r#"{"action":"opened","issue":{"id":7}}"#)
            .path(&own(made.id))
            .header("x-github-event", "issues")
            .header("x-github-delivery", delivery)
    };
    for delivery in ["d1", "d1", "d2"] {
        common::taken(&world, &send(delivery)).await;
    }
    let ids: Vec<EventId> = common::queued(&world).iter().map(|batch| batch.events[0].id).collect();
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0], ids[2]);
}

#[tokio::test]
async fn a_hubspot_redelivery_that_counts_its_attempts_is_the_same_and_another_time_is_another() {
    let world = world(3_002).await;
    world.make(common::hubspot("1")).await;
    let mut webhook = common::one(&world, "1", 7);
    for sent in [0, 1, 9] {
        webhook.sent = sent;
        common::taken(&world, &webhook).await;
    }
    world.platform().memory.advance(Duration::from_secs(1));
    common::taken(&world, &common::one(&world, "1", 7)).await;
    let ids: Vec<EventId> = common::queued(&world).iter().map(|batch| batch.events[0].id).collect();
    assert!(ids[0] == ids[1] && ids[1] == ids[2] && ids[2] != ids[3], "{ids:?}");
}
