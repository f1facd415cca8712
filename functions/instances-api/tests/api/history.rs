//! Reading what became of notifications.

use std::time::Duration;

use bytes::Bytes;
use events::message::To;
use events::{NotificationId, Timestamp};
use http::StatusCode;
use records::deliveries::{self, Attempted, State};
use serde_json::json;

use crate::world::{CALLBACK, NOW, Reply, World};

fn ids(reply: &Reply) -> Vec<NotificationId> {
    let events = reply.json.as_array().unwrap();
    events.iter().map(|event| event["id"].as_str().unwrap().parse().unwrap()).collect()
}

#[tokio::test]
async fn each_way_a_delivery_can_stand_is_told_in_the_contracts_words_and_in_ours() {
    let world = World::new(30).await;
    let id = world.instance(json!({})).await;
    let later = NOW.plus(Duration::from_secs(60));
    for (n, state, status, ours) in [
        (1, State::Told { at: NOW }, "NOTIFIED", "told"),
        (2, State::Waiting { next_at: later }, "DISPATCHED", "waiting"),
        (3, State::Parked { at: NOW }, "DISPATCHED", "parked"),
        (4, State::Kept, "RECEIVED", "kept"),
        (5, State::Dropped { reason: "the instance is disabled".into() }, "CONSUMED", "dropped"),
    ] {
        let event = world.delivery(id, n, state, r#"{"a": 1.10}"#.into()).await;
        let reply = world.get(&format!("/instances/{id}/events/{event}")).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
        assert_eq!(reply.json["id"], event.as_str());
        assert_eq!((&reply.json["status"], &reply.json["delivery"]["state"]), (&json!(status), &json!(ours)));
        assert_eq!(reply.json["providerData"], r#"{"a": 1.10}"#);
        assert_eq!(reply.json["encodedid"], id.to_path());
        let notification = &reply.json["notifiedData"][0];
        assert_eq!(notification["message"]["eventId"], event.as_str());
        assert_eq!(notification["message"]["events"][0]["objectId"], n.to_string());
        assert!(notification["message"].get("raw").is_none());
        match ours {
            "waiting" => assert_eq!(reply.json["delivery"]["nextAttemptAt"], later.iso_millis()),
            "dropped" => assert_eq!(reply.json["delivery"]["reason"], "the instance is disabled"),
            _ => {}
        }
    }
    // A listing says the same as each entry read by itself.
    for event in world.get(&format!("/instances/{id}/events")).await.json.as_array().unwrap() {
        let alone = world.get(&format!("/instances/{id}/events/{}", event["id"].as_str().unwrap())).await;
        assert_eq!(alone.json, *event);
    }
}

#[tokio::test]
async fn the_attempts_say_why_nothing_arrived() {
    let world = World::new(31).await;
    let id = world.instance(json!({"event.notification.callback.url": CALLBACK})).await;
    let event = world.delivery(id, 1, State::Waiting { next_at: NOW }, "{}".into()).await;
    let before = deliveries::get(&world.platform, id, event).await.unwrap().unwrap();
    let mut after = before.delivery.clone();
    let failed = |attempt, status, error: &str| Attempted {
        at: NOW,
        round: 0,
        attempt,
        status,
        latency_ms: 12,
        error: Some(error.into()),
    };
    after.callback.note(failed(1, None, "connection refused"));
    after.callback.note(failed(2, Some(500), "status 500"));
    deliveries::proceed(&world.platform, Some(&before), after, Vec::new()).await.unwrap();
    let reply = world.get(&format!("/instances/{id}/events/{event}")).await;
    assert_eq!(
        reply.json["delivery"]["attempts"],
        json!([
            {"at": NOW.iso_millis(), "round": 0, "attempt": 1, "error": "connection refused", "latencyMs": 12},
            {"at": NOW.iso_millis(), "round": 0, "attempt": 2, "status": 500, "error": "status 500", "latencyMs": 12},
        ])
    );
}

#[tokio::test]
async fn how_the_event_bus_fares_stands_beside_the_callback_where_flows_are_on() {
    let world = World::new(35).await;
    let id = world.instance(json!({"event.notification.callback.url": CALLBACK, "event.flow.enabled": true})).await;
    let event = world.delivery(id, 1, State::Waiting { next_at: NOW }, "{}".into()).await;
    let path = format!("/instances/{id}/events/{event}");
    assert!(world.get(&path).await.json.get("flows").is_none());
    let before = deliveries::get(&world.platform, id, event).await.unwrap().unwrap();
    let mut after = before.delivery.clone();
    let leg = after.leg_mut(To::Flows);
    let error = Some("1 of 1 events: the event bus is throttled".to_owned());
    leg.note(Attempted { at: NOW, round: 0, attempt: 1, status: None, latency_ms: 3, error });
    leg.state = State::Parked { at: NOW };
    deliveries::proceed(&world.platform, Some(&before), after, Vec::new()).await.unwrap();
    let reply = world.get(&path).await;
    assert_eq!((&reply.json["status"], &reply.json["delivery"]["state"]), (&json!("DISPATCHED"), &json!("waiting")));
    let at = NOW.iso_millis();
    let attempt = json!({
        "at": at, "round": 0, "attempt": 1, "error": "1 of 1 events: the event bus is throttled", "latencyMs": 3,
    });
    assert_eq!(reply.json["flows"], json!({"state": "parked", "since": at, "round": 0, "attempts": [attempt]}));
}

#[tokio::test]
async fn pages_hold_every_event_once_newest_first() {
    let world = World::new(32).await;
    let id = world.instance(json!({})).await;
    let mut expected = Vec::new();
    for n in 0..23 {
        // 300 minutes apart: several days, so that pages cross partitions.
        expected.push(world.delivery(id, n * 300, State::Told { at: NOW }, "{}".into()).await);
    }
    let (mut found, mut next, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let reply = world.get(&format!("/instances/{id}/events?pageSize=5{next}")).await;
        let page = ids(&reply);
        assert_eq!(reply.header("elements-returned-count"), Some(page.len().to_string().as_str()));
        assert!(reply.header("elements-request-id").is_some() && page.len() <= 5);
        found.extend(page);
        pages += 1;
        match reply.header("elements-next-page-token") {
            Some(token) => next = format!("&nextPage={token}"),
            None => break,
        }
    }
    assert_eq!((found, pages), (expected.clone(), 5));
    let whole = world.get(&format!("/instances/{id}/events?pageSize=23")).await;
    assert_eq!((ids(&whole), whole.header("elements-next-page-token")), (expected, None));
}

#[tokio::test]
async fn large_bodies_end_a_page_early_and_nothing_is_left_out() {
    let world = World::new(33).await;
    let id = world.instance(json!({})).await;
    // Bytes that do not compress, so that the payload is kept beside the record.
    let mut state = 7_u64;
    let noise: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'a' + ((state >> 33) % 26) as u8)
    })
    .take(900 * 1024)
    .collect();
    let raw = Bytes::from(format!("\"{noise}\""));
    let mut expected = Vec::new();
    for n in 0..5 {
        expected.push(world.delivery(id, n, State::Told { at: NOW }, raw.clone()).await);
    }
    let first = world.get(&format!("/instances/{id}/events")).await;
    assert_eq!(ids(&first), expected[..2]);
    let token = first.header("elements-next-page-token").unwrap();
    let second = world.get(&format!("/instances/{id}/events?nextPage={token}")).await;
    assert_eq!(ids(&second), expected[2..4]);
    let huge = Bytes::from(format!("\"{}\"", "x".repeat(3 * 1024 * 1024)));
    let event = world.delivery(id, 9, State::Told { at: NOW }, huge).await;
    let reply = world.get(&format!("/instances/{id}/events/{event}")).await;
    assert_eq!(reply.json["providerDataTruncated"], true);
    assert_eq!(reply.json["providerData"].as_str().unwrap().len(), 2 * 1024 * 1024);
}

#[tokio::test]
async fn an_unknown_event_and_a_bad_page_are_refused() {
    let world = World::new(34).await;
    let id = world.instance(json!({})).await;
    let unknown = NotificationId::of(Timestamp::from_seconds(1_700_000_000), []);
    for event in ["x", unknown.as_str()] {
        let reply = world.get(&format!("/instances/{id}/events/{event}")).await;
        assert_eq!((reply.status, reply.message()), (StatusCode::NOT_FOUND, "there is no such event"));
    }
    for query in ["pageSize=0", "pageSize=x", "nextPage=x"] {
        let reply = world.get(&format!("/instances/{id}/events?{query}")).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{query}");
    }
    let empty = world.get(&format!("/instances/{id}/events/")).await;
    assert_eq!((empty.status, empty.json), (StatusCode::OK, json!([])));
}
