//! Events that come back from a callback of our own.

#![allow(clippy::unwrap_used)]

mod common;

use axum::body::Body;
use common::{counts, hubspot, queued, refused, told, world};
use events::{InstanceId, SignatureKey, Timestamp, signature};
use http::{Request, StatusCode};
use pollhook_webhook_receiver::MAX_HOPS;
use records::accounts;
use records::refused::Reason;
use scenarios::{Made, Spec, World};

const KEY: &str = "the sender's key";

/// An instance whose events come back, and two that take them.
struct Circle {
    world: World,
    sender: Made,
    takers: [InstanceId; 2],
}

async fn circle(seed: u64) -> Circle {
    let world = world(seed).await;
    let sender = world.make(hubspot("1").signed(KEY)).await;
    let taker = || Spec::of("standard").callback("https://app.example/");
    let takers = [world.make(taker()).await.id, world.make(taker()).await.id];
    let (stranger, _) = accounts::create(world.platform(), false).await.unwrap();
    world.make_for(&stranger, taker()).await;
    Circle { world, sender, takers }
}

fn notification(instance: InstanceId) -> String {
    format!(
        r#"{{"severity":"medium","message":{{"instanceId":{instance},"eventId":"abc","raw":[],"events":[
            {{"objectType":"contacts","objectId":"1","eventType":"UPDATED","date":"2026-09-21T14:13:37Z"}},
            {{"objectType":"deals","objectId":"2","eventType":"CREATED"}}]}}}}"#
    )
}

/// A returned notification, signed with `key` at `at`.
fn returned(path: &str, body: &str, key: &str, at: Timestamp, hops: &str) -> Request<Body> {
    let signed = SignatureKey::new(key.into()).unwrap().standard("abc", at, body.as_bytes());
    Request::post(format!("/elements/api-v2/events/standard{path}"))
        .header("pollhook-hops", hops)
        .header(signature::WEBHOOK_ID, "abc")
        .header(signature::WEBHOOK_TIMESTAMP, at.as_seconds())
        .header(signature::WEBHOOK_SIGNATURE, signed)
        .body(Body::from(body.to_owned()))
        .unwrap()
}

#[tokio::test]
async fn returned_events_reach_the_connector_s_instances_of_the_sender_s_account_alone() {
    let Circle { world, sender, mut takers } = circle(501).await;
    let body = notification(sender.id);
    let (status, text) = world.call(returned("/", &body, KEY, world.now(), "1")).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    takers.sort();
    let events = vec!["1".to_owned(), "2".to_owned()];
    assert_eq!(told(&world), takers.map(|taker| (taker, events.clone())));
    assert!(queued(&world).iter().all(|batch| batch.hops == 1 && batch.raw == body));
    // The same notification posted again makes the same ids.
    assert_eq!(world.call(returned("/", &body, KEY, world.now(), "1")).await.0, StatusCode::OK);
    let batches = queued(&world);
    let of = |taker| batches.iter().filter(move |batch| batch.instance == taker).map(|batch| batch.events.clone());
    for taker in takers {
        let posted: Vec<_> = of(taker).collect();
        assert_eq!(posted[0], posted[1]);
    }
}

#[tokio::test]
async fn path_and_header_narrow_whom_returned_events_reach() {
    let Circle { world, sender, takers } = circle(502).await;
    let body = notification(sender.id);
    let path = format!("/{}", takers[0].to_path());
    assert_eq!(world.call(returned(&path, &body, KEY, world.now(), "1")).await.0, StatusCode::OK);
    assert_eq!(told(&world).iter().map(|(taker, _)| *taker).collect::<Vec<_>>(), [takers[0]]);
    let mut request = returned("", &body, KEY, world.now(), "1");
    request.headers_mut().insert("element-instances", takers[1].to_string().parse().unwrap());
    assert_eq!(world.call(request).await.0, StatusCode::OK);
    assert_eq!(told(&world).len(), 2);
}

#[tokio::test]
async fn returned_events_need_the_sender_s_signature() {
    let Circle { mut world, sender, .. } = circle(503).await;
    let unsigned = world.make(hubspot("2")).await.id;
    world.restart();
    let body = notification(sender.id);
    let mut bare = returned("/", &body, KEY, world.now(), "1");
    bare.headers_mut().remove(signature::WEBHOOK_SIGNATURE);
    let mut other_body = returned("/", &body, KEY, world.now(), "1");
    *other_body.body_mut() = Body::from(body.replace("\"1\"", "\"9\""));
    let late = world.now().minus(std::time::Duration::from_secs(301));
    let requests = [
        returned("/", &body, "another key", world.now(), "1"),
        bare,
        other_body,
        returned("/", &body, KEY, late, "1"),
        returned("/", &notification(unsigned), KEY, world.now(), "1"),
        returned("/", &notification(unsigned), "", world.now(), "1"),
        returned("/", &notification(InstanceId::from_random(12_345)), KEY, world.now(), "1"),
    ];
    for (index, request) in requests.into_iter().enumerate() {
        let (status, text) = world.call(request).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{index}: {text}");
        assert!(!text.contains(KEY));
    }
    assert_eq!(world.platform().memory.acts(), Vec::<String>::new());
    let expected = counts(&[(Reason::SignatureMismatch, 4), (Reason::NoSecret, 2), (Reason::UnknownInstance, 1)]);
    assert_eq!(refused(&world, "standard").await, expected);
}

#[tokio::test]
async fn every_circle_ends_and_is_counted() {
    let Circle { world, sender, .. } = circle(504).await;
    let body = notification(sender.id);
    let last = MAX_HOPS.to_string();
    assert_eq!(world.call(returned("/", &body, KEY, world.now(), &last)).await.0, StatusCode::OK);
    let taken = told(&world).len();
    assert_eq!(taken, 1, "the last time they are handed to one instance only, and the rest is counted");
    assert_eq!(refused(&world, "standard").await.get(&Reason::TooMany), Some(&1));
    for hops in [MAX_HOPS + 1, u8::MAX] {
        let request = returned("/", &body, KEY, world.now(), &hops.to_string());
        assert_eq!(world.call(request).await.0, StatusCode::OK, "answered 2xx, or it would be sent again");
    }
    for hops in ["256", "-1", "x", ""] {
        let request = returned("/", &body, KEY, world.now(), hops);
        assert_eq!(world.call(request).await.0, StatusCode::BAD_REQUEST, "{hops}");
    }
    assert_eq!(told(&world).len(), taken);
    assert_eq!(refused(&world, "standard").await.get(&Reason::Loop), Some(&2));
}

#[tokio::test]
async fn what_is_no_notification_of_ours_is_not_returned() {
    let Circle { world, .. } = circle(505).await;
    for body in ["{", "[]", "{}", r#"{"message":{"instanceId":0,"eventId":"a","events":[]}}"#] {
        assert_eq!(world.call(returned("/", body, KEY, world.now(), "1")).await.0, StatusCode::BAD_REQUEST, "{body}");
    }
}

#[tokio::test]
async fn a_circle_of_two_instances_comes_to_rest_and_none_is_told_its_own_events() {
    use scenarios::{Behaviour, PUBLIC_URL, Reply};
    let world = world(506).await;
    let own = format!("{PUBLIC_URL}/elements/api-v2/events/standard/");
    let behaviour = Behaviour { key: Some(KEY.into()), first: vec![], then: Reply::Status(200) };
    world.callbacks.behave(&own, behaviour);
    let sender = world.make(hubspot("1").callback(&own).signed(KEY)).await;
    let one = world.make(Spec::of("standard").callback(&own).signed(KEY)).await.id;
    let other = world.make(Spec::of("standard").callback(&own).signed(KEY)).await.id;
    assert_eq!(world.send(&common::one(&world, "1", 11)).await.0, StatusCode::OK);
    let mut posted = 0;
    for _ in 0..20 {
        world.settle().await;
        // What was posted to ourselves arrives at ourselves.
        let arrived = world.callbacks.posted().split_off(posted);
        posted += arrived.len();
        if arrived.is_empty() {
            break;
        }
        for post in arrived {
            let mut request = Request::post("/elements/api-v2/events/standard/").body(Body::from(post.body)).unwrap();
            *request.headers_mut() = post.headers;
            assert_eq!(world.call(request).await.0, StatusCode::OK);
        }
    }
    assert_eq!(posted, 1 + 2 * usize::from(MAX_HOPS), "the first, and then each hop to both");
    assert_eq!(world.records(sender.id).await.len(), 1);
    assert_eq!(world.records(one).await.len(), usize::from(MAX_HOPS));
    assert_eq!(world.records(other).await.len(), usize::from(MAX_HOPS));
    assert_eq!(refused(&world, "standard").await, counts(&[(Reason::Loop, 2)]));
}
