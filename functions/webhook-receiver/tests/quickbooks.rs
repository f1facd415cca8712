//! QuickBooks: every company's changes come to one URL, several in one request, in either of two formats.

#![allow(clippy::unwrap_used)]

mod common;

use common::{SECRET, counts, objects, of, own, queued, refused, sorted, taken, told, world};
use http::StatusCode;
use records::refused::Reason;
use scenarios::Webhook;

fn old(changes: &[(&str, &str)]) -> String {
    let realm = |(realm, id): &(&str, &str)| {
        format!(
            r#"{{"realmId":"{realm}","dataChangeEvent":{{"entities":[{{"name":"Customer","id":"{id}","operation":"Create","lastUpdated":"2026-11-24T10:00:00Z"}}]}}}}"#
        )
    };
    format!(r#"{{"eventNotifications":[{}]}}"#, changes.iter().map(realm).collect::<Vec<_>>().join(","))
}

fn cloud(changes: &[(&str, &str)]) -> String {
    let event = |(realm, id): &(&str, &str)| {
        format!(
            r#"{{"specversion":"1.0","id":"event-{realm}-{id}","source":"intuit.x","type":"qbo.customer.created.v1","time":"2026-11-24T10:00:00Z","intuitentityid":"{id}","intuitaccountid":"{realm}","data":{{}}}}"#
        )
    };
    format!("[{}]", changes.iter().map(event).collect::<Vec<_>>().join(","))
}

fn sent(body: String) -> Webhook {
    Webhook::new("quickbooks", SECRET, body)
}

#[tokio::test]
async fn a_request_of_two_realms_tells_each_of_its_own_and_shows_nobody_another_s() {
    for (seed, format) in [(5_001, old as fn(&[(&str, &str)]) -> String), (5_002, cloud)] {
        let world = world(seed).await;
        let a = world.make(of("quickbooks").account("310687")).await.id;
        let also_a = world.make(of("quickbooks").account("310687")).await.id;
        let b = world.make(of("quickbooks").account("310688")).await.id;
        let body = format(&[("310687", "11"), ("310688", "21"), ("310687", "12"), ("999", "31")]);
        taken(&world, &sent(body)).await;
        let expected =
            sorted(vec![(a, objects(&["11", "12"])), (also_a, objects(&["11", "12"])), (b, objects(&["21"]))]);
        assert_eq!(told(&world), expected);
        for batch in queued(&world) {
            let raw = std::str::from_utf8(&batch.raw).unwrap();
            serde_json::from_str::<serde_json::Value>(raw).unwrap();
            let shows = |realm: &str| raw.contains(realm);
            let own = if batch.instance == b { "310688" } else { "310687" };
            let other = if batch.instance == b { "310687" } else { "310688" };
            assert!(shows(own) && !shows(other) && !shows("999"), "{raw}");
        }
        assert_eq!(refused(&world, "quickbooks").await, counts(&[(Reason::UnknownAccount, 1)]));
    }
}

#[tokio::test]
async fn both_formats_come_to_one_url_in_either_order() {
    for (seed, formats) in [(5_003, [old as fn(&[(&str, &str)]) -> String, cloud]), (5_004, [cloud, old])] {
        let world = world(seed).await;
        let instance = world.make(of("quickbooks").account("1")).await.id;
        for (format, id) in formats.into_iter().zip(["7", "8"]) {
            taken(&world, &sent(format(&[("1", id)]))).await;
        }
        assert_eq!(told(&world), [(instance, objects(&["7"])), (instance, objects(&["8"]))]);
        assert!(queued(&world).iter().all(|batch| batch.events[0].object_type == "customers"));
    }
}

#[tokio::test]
async fn each_instance_whose_secret_verifies_is_told_and_if_none_does_it_is_401() {
    let world = world(5_005).await;
    let ours = world.make(of("quickbooks").account("1")).await.id;
    world.make(of("quickbooks").account("1").webhook_secret("another app's token")).await;
    world.make(of("quickbooks").account("2").webhook_secret("another app's token")).await;
    taken(&world, &sent(cloud(&[("1", "11"), ("2", "21")]))).await;
    assert_eq!(told(&world), [(ours, objects(&["11"]))]);
    let (status, _) = world.send(&sent(cloud(&[("2", "21")]))).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let nobody_s = Webhook::new("quickbooks", "nobody's", cloud(&[("1", "11"), ("2", "21")]));
    assert_eq!(world.send(&nobody_s).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(told(&world).len(), 1);
    assert_eq!(refused(&world, "quickbooks").await, counts(&[(Reason::SignatureMismatch, 2 + 1 + 3)]));
}

#[tokio::test]
async fn an_instance_named_by_path_is_shown_its_realm_s_part_alone() {
    let world = world(5_006).await;
    let a = world.make(of("quickbooks").account("310687")).await.id;
    let body = old(&[("310687", "11"), ("310688", "21")]);
    taken(&world, &sent(body).path(&own(a))).await;
    assert_eq!(told(&world), [(a, objects(&["11"]))]);
    assert!(!String::from_utf8_lossy(&queued(&world)[0].raw).contains("310688"));
}

#[tokio::test]
async fn the_same_object_of_two_realms_at_the_same_time_is_two_events() {
    for (seed, format) in [(5_010, old as fn(&[(&str, &str)]) -> String), (5_011, cloud)] {
        let world = world(seed).await;
        // Whoever has no account configured is told of all that comes to its own URL.
        let any = world.make(of("quickbooks")).await.id;
        let body = format(&[("310687", "11"), ("310688", "11")]).replace("event-310687-11", "event-310688-11");
        taken(&world, &sent(body).path(&own(any))).await;
        assert_eq!(told(&world), [(any, objects(&["11", "11"]))]);
        let batches = queued(&world);
        assert_ne!(batches[0].events[0].id, batches[0].events[1].id);
    }
}
