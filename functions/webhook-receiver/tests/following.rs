//! What each webhook is counted as, and the one line of the log by which it is followed.

#![allow(clippy::unwrap_used)]

mod common;

use common::{SECRET, batches, hubspot, one, own, post, providers, queued, taken, world};
use http::StatusCode;
use metrics::set_default_local_recorder;
use pollhook_metrics::prometheus::Prometheus;
use pollhook_webhook_receiver::FOLLOW;
use scenarios::{Capture, Logs, Trouble, Webhook};
use serde_json::{Value, json};
use tracing::Level;
use tracing::subscriber::DefaultGuard;

/// Captures the log as functions on AWS write it.
fn capture() -> (Logs, (DefaultGuard, Capture)) {
    let (_, capture) = Logs::capture();
    let logs = Logs::default();
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_max_level(Level::INFO);
    let guard = tracing::subscriber::set_default(subscriber.with_writer(logs.clone()).finish());
    (logs, (guard, capture))
}

/// The lines of webhooks, each at most 250 bytes, without what differs from run to run.
fn lines(logs: &Logs) -> Vec<Value> {
    let text = logs.text();
    let followed = text.lines().filter(|line| line.contains(FOLLOW));
    let read = |line: &str| {
        assert!(line.len() <= 250, "{} bytes: {line}", line.len());
        let mut line: Value = serde_json::from_str(line).unwrap();
        let fields = line.as_object_mut().unwrap();
        fields.remove("timestamp");
        assert_eq!(fields.remove("target"), Some(FOLLOW.into()));
        assert_eq!(fields.remove("level"), Some("INFO".into()));
        assert_eq!(fields.remove("request_id").unwrap().as_str().unwrap().len(), 16);
        line
    };
    followed.map(read).collect()
}

#[tokio::test]
async fn each_webhook_is_one_line_that_leads_to_its_events_or_says_why_not() {
    let (logs, _guards) = capture();
    let mut world = world(14_001).await;
    let (first, second) = (world.make(hubspot("1")).await.id, world.make(hubspot("1")).await.id);
    let off = world.make(hubspot("3").set("event.notification.enabled", "false")).await.id;
    world.restart();
    taken(&world, &one(&world, "1", 7)).await;
    taken(&world, &one(&world, "2", 7)).await;
    taken(&world, &one(&world, "3", 7).path(&own(off))).await;
    taken(&world, &Webhook::hubspot(SECRET, &[("1", 8), ("1", 9)], world.now()).path(&own(second))).await;
    let (status, text) = world.send(&one(&world, "1", 7).unsigned()).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let answered = serde_json::from_str::<Value>(&text).unwrap()["requestId"].as_str().unwrap().to_owned();
    assert!(logs.text().lines().last().unwrap().contains(&answered), "the id that the provider was answered");
    world.call(post("no-such/secret?token=secret", &[], "secret")).await;
    world.platform().fail(0, Trouble::NotDone);
    assert_eq!(world.send(&one(&world, "1", 10)).await.0, StatusCode::SERVICE_UNAVAILABLE);

    let told = queued(&world);
    assert!([first, second].contains(&told[0].instance) && told[2].instance == second);
    let event = |batch: usize| told[batch].events[0].id.to_string();
    let expected = [
        json!({
            "message": "taken", "connector": "hubspot", "instance": told[0].instance.number(), "instances": 2, "events": 2,
            "event": event(0),
        }),
        json!({ "message": "taken", "connector": "hubspot", "instances": 0, "events": 0, "reason": "unknown_account" }),
        json!({ "message": "taken", "connector": "hubspot", "instances": 0, "events": 0, "reason": "events_off" }),
        json!({ "message": "taken", "connector": "hubspot", "instance": second.number(), "events": 2, "event": event(2) }),
        json!({ "message": "refused", "connector": "hubspot", "reason": "signature_missing" }),
        json!({ "message": "refused", "connector": "unknown", "reason": "unknown_connector" }),
        json!({ "message": "refused", "connector": "hubspot", "reason": "unavailable" }),
    ];
    assert_eq!(lines(&logs), expected);
}

#[tokio::test]
async fn every_connector_s_line_is_short_and_names_what_it_led_to() {
    let (logs, _guards) = capture();
    for provider in providers(14_100).await {
        let before = lines(&logs).len();
        taken(&provider.world, &provider.webhook).await;
        let line = lines(&logs).remove(before);
        assert_eq!((&line["message"], &line["connector"]), (&json!("taken"), &json!(provider.key)));
        assert_eq!(line["instance"], provider.instance.number(), "{line}");
        match batches(&provider.world).await.first() {
            Some(batch) => assert_eq!(line["event"], batch.events[0].id.to_string(), "{line}"),
            None => assert_eq!(line["events"], 0, "a signal: {line}"),
        }
    }
}

/// The series of a page that are not zero.
fn counted(prometheus: &Prometheus) -> Vec<String> {
    let page = prometheus.render();
    page.lines().filter(|line| !line.starts_with('#') && !line.ends_with(" 0")).map(str::to_owned).collect()
}

#[tokio::test]
async fn requests_events_and_refusals_are_counted_as_they_are_written_down() {
    let prometheus = Prometheus::default();
    let recorder = prometheus.recorder();
    let _guard = set_default_local_recorder(&recorder);
    let mut world = world(14_300).await;
    for _ in 0..2 {
        world.make(hubspot("1")).await;
    }
    world.restart();
    taken(&world, &Webhook::hubspot(SECRET, &[("1", 1), ("1", 2), ("9", 1)], world.now())).await;
    world.send(&one(&world, "1", 7).unsigned()).await;
    world.call(post("hubspot", &[], "no JSON")).await;
    world.call(post("nobody-s-name", &[], "{}")).await;
    let get = http::Request::get("/elements/api-v2/events/hubspot").body(axum::body::Body::empty()).unwrap();
    assert_eq!(world.call(get).await.0, StatusCode::METHOD_NOT_ALLOWED);
    let refused = |connector: &str, reason: &str, count: u64| {
        format!("pollhook_refused_total{{connector=\"{connector}\",reason=\"{reason}\"}} {count}")
    };
    let expected = [
        "pollhook_accepted_total{connector=\"hubspot\"} 4".to_owned(),
        "pollhook_received_total{connector=\"hubspot\"} 4".to_owned(),
        refused("hubspot", "malformed", 1),
        refused("hubspot", "method", 1),
        refused("hubspot", "signature_missing", 2),
        refused("hubspot", "unknown_account", 1),
        refused("unknown", "unknown_connector", 1),
    ];
    assert_eq!(counted(&prometheus), expected);
}

#[tokio::test]
async fn a_signal_counts_its_poll_jobs() {
    let prometheus = Prometheus::default();
    let recorder = prometheus.recorder();
    let _guard = set_default_local_recorder(&recorder);
    let dropbox = providers(14_400).await.into_iter().find(|provider| provider.key == "dropbox").unwrap();
    taken(&dropbox.world, &dropbox.webhook).await;
    let series = |figure: &str| format!("pollhook_{figure}_total{{connector=\"dropbox\"}} 1");
    assert_eq!(counted(&prometheus), [series("received"), series("signalled")]);
}
