//! Nothing is taken whose sender is not proven.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use axum::body::Body;
use common::{SECRET, counts, hubspot, one, queued, refused, told, world};
use events::configuration;
use http::{Request, StatusCode};
use platform::Platform as _;
use records::refused::Reason;
use scenarios::{PUBLIC_URL, Spec, Webhook, hubspot_change};
use sha2::{Digest as _, Sha256};

const PATH: &str = "/elements/api-v2/events/hubspot";

fn hex(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    parts.iter().for_each(|part| hash.update(part.as_bytes()));
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn post(path: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let request = headers.iter().fold(Request::post(path), |request, (name, value)| request.header(*name, *value));
    request.body(Body::from(body.to_owned())).unwrap()
}

#[tokio::test]
async fn each_of_hubspot_s_three_signatures_is_taken() {
    let world = world(201).await;
    let instance = world.make(hubspot("1")).await.id;
    let body = format!("[{}]", hubspot_change("1", 11, world.now()));
    let v1 = hex(&[SECRET, &body]);
    let v2 = hex(&[SECRET, "POST", PUBLIC_URL, PATH, &body]);
    let requests = [
        post(PATH, &[("x-hubspot-signature", &v1), ("x-hubspot-signature-version", "v1")], &body),
        post(PATH, &[("x-hubspot-signature", &v2), ("x-hubspot-signature-version", "v2")], &body),
        one(&world, "1", 11).request(world.now()),
    ];
    for request in requests {
        let (status, text) = world.call(request).await;
        assert_eq!((status, text.as_str()), (StatusCode::OK, "{}"));
    }
    let batches = queued(&world);
    assert_eq!(told(&world), vec![(instance, vec!["11".to_owned()]); 3]);
    assert!(batches.iter().all(|batch| batch.events == batches[0].events), "one change, one id, however signed");
    assert_eq!(batches[0].raw, body);
}

#[tokio::test]
async fn what_is_not_proven_is_refused_and_leaves_nothing_but_a_count() {
    let mut world = world(202).await;
    world.make(hubspot("1")).await;
    world.make(Spec::of("hubspot").account("2").callback("https://app.example/")).await;
    world.restart();
    let body = format!("[{}]", hubspot_change("1", 11, world.now()));
    let stale = world.now().minus(Duration::from_secs(301));
    let early = world.now().plus(Duration::from_secs(301));
    let wrong = Webhook::hubspot("another secret", &[("1", 11)], world.now());
    let unconfigured = Webhook::hubspot(SECRET, &[("2", 11)], world.now());
    let v2_of_another_url = hex(&[SECRET, "POST", "https://elsewhere.example", PATH, &body]);
    let mut tampered = one(&world, "1", 11).request(world.now());
    *tampered.body_mut() = Body::from(body.replace("11", "12"));
    let requests = [
        post(PATH, &[], &body),
        wrong.request(world.now()),
        one(&world, "1", 11).request(stale),
        one(&world, "1", 11).request(early),
        unconfigured.request(world.now()),
        tampered,
        post(PATH, &[("x-hubspot-signature", &v2_of_another_url), ("x-hubspot-signature-version", "v2")], &body),
        post(PATH, &[("x-hubspot-signature", "")], &body),
        post(PATH, &[("x-hubspot-signature-v3", "AAAA"), ("x-hubspot-request-timestamp", "soon")], &body),
    ];
    for (index, request) in requests.into_iter().enumerate() {
        let (status, text) = world.call(request).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{index}: {text}");
        assert!(!text.contains(SECRET) && !text.contains("another secret"), "{text}");
        assert!(text.contains("requestId"), "{text}");
    }
    assert_eq!(world.platform().memory.acts(), Vec::<String>::new(), "nothing is written or sent");
    let expected =
        [(Reason::SignatureMissing, 3), (Reason::SignatureMismatch, 3), (Reason::Stale, 2), (Reason::NoSecret, 1)];
    assert_eq!(refused(&world, "hubspot").await, counts(&expected));
    assert!(world.platform().memory.acts().iter().all(|act| act.starts_with("put REFUSED#hubspot#")));
    for item in world.platform().memory.table().items("REFUSED#") {
        assert!(!String::from_utf8_lossy(&item.body).contains(SECRET));
    }
}

#[tokio::test]
async fn verification_is_waived_only_for_who_names_the_instance() {
    let world = world(203).await;
    let waiving = hubspot("1").set(configuration::VENDOR_VERIFICATION, "none");
    let instance = world.make(waiving).await.id;
    let body = format!("[{}]", hubspot_change("1", 11, world.now()));
    let (status, _) = world.call(post(PATH, &[], &body)).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "an account can be claimed by anyone");
    assert_eq!(told(&world), []);
    let by_path = format!("{PATH}/{}", instance.to_path());
    let number = instance.to_string();
    for request in [post(&by_path, &[], &body), post(PATH, &[("Element-Instances", &number)], &body)] {
        assert_eq!(world.call(request).await.0, StatusCode::OK);
    }
    assert_eq!(told(&world), vec![(instance, vec!["11".to_owned()]); 2]);
}

#[tokio::test]
async fn of_two_instances_of_an_account_only_the_one_whose_secret_signed_is_told() {
    let world = world(204).await;
    let ours = world.make(hubspot("1")).await.id;
    world.make(hubspot("1").webhook_secret("another app's secret")).await;
    assert_eq!(world.send(&one(&world, "1", 11)).await.0, StatusCode::OK);
    assert_eq!(told(&world), [(ours, vec!["11".to_owned()])]);
    assert_eq!(refused(&world, "hubspot").await, counts(&[(Reason::SignatureMismatch, 1)]));
}

#[tokio::test]
async fn a_changed_secret_counts_at_once() {
    let world = world(205).await;
    let mut made = world.make(hubspot("1")).await;
    assert_eq!(world.send(&one(&world, "1", 11)).await.0, StatusCode::OK);
    let change = |_: &mut _, secrets: &mut records::instances::Secrets| {
        secrets.insert(configuration::WEBHOOK_SECRET.into(), "rotated".into());
    };
    made.change(world.platform(), change).await;
    assert_eq!(world.send(&one(&world, "1", 12)).await.0, StatusCode::UNAUTHORIZED);
    let rotated = Webhook::hubspot("rotated", &[("1", 13)], world.now());
    assert_eq!(world.send(&rotated).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_vault_that_is_down_is_no_refusal() {
    let world = world(206).await;
    world.make(hubspot("1")).await;
    world.platform().vault().fail_next(platform::VaultError::Unavailable("down".into()));
    assert_eq!(world.send(&one(&world, "1", 11)).await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(world.send(&one(&world, "1", 11)).await.0, StatusCode::OK);
}
