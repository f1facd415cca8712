//! What one webhook costs between its arrival and its changes, beside the floor that no engine gets under: reading the
//! same bytes as JSON and one HMAC over them.

use std::collections::BTreeMap;
use std::hint::black_box;

use connectors::{Connector, Outgoing, Request, catalogue};
use divan::Bencher;
use events::Timestamp;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http::HeaderMap;
use pollhook_connectors as connectors;
use sha2::Sha256;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const URL: &str = "https://hooks.example.com/events/hubspot";
const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn main() {
    divan::main();
}

struct Webhook {
    connector: &'static Connector,
    headers: HeaderMap,
    body: Vec<u8>,
}

fn webhook(key: &str, body: String) -> Webhook {
    let connector = catalogue().get(key).expect("a built-in connector");
    let body = body.into_bytes();
    let outgoing = Outgoing { method: "POST", url: URL, body: &body, id: "msg_1", at: NOW };
    let headers = connector.sign(SECRET, &outgoing).expect("a usable secret").into_iter().collect();
    Webhook { connector, headers, body }
}

fn hubspot(changes: usize) -> Webhook {
    let change = |n| {
        format!(
            r#"{{"eventId":{n},"subscriptionId":3849708,"portalId":145883449,"appId":14947547,"occurredAt":1751276050977,"subscriptionType":"contact.propertyChange","attemptNumber":0,"objectId":180584432881,"propertyName":"lifecyclestage","propertyValue":"3","changeSource":"CRM_UI","sourceId":"userId:75514748","isSensitive":false}}"#
        )
    };
    webhook("hubspot", format!("[{}]", (0..changes).map(change).collect::<Vec<_>>().join(",")))
}

fn standard() -> Webhook {
    let body = r#"{"type":"contact.created","timestamp":"2022-11-03T20:26:10.344522Z","data":{"id":"1f81eb52-5198"}}"#;
    webhook("standard", body.into())
}

fn whole(bencher: Bencher<'_, '_>, webhook: &Webhook) {
    let configuration = BTreeMap::new();
    bencher.bench_local(|| {
        let request = Request { method: "POST", url: URL, headers: &webhook.headers, body: black_box(&webhook.body) };
        let parsed = webhook.connector.parse(&request).expect("JSON");
        black_box(webhook.connector.accounts(&parsed));
        webhook.connector.verify(&request, None, &[SECRET], NOW).expect("a right signature");
        webhook.connector.normalise(&request, &parsed, &configuration)
    });
}

fn verify(bencher: Bencher<'_, '_>, webhook: &Webhook) {
    bencher.bench_local(|| {
        let request = Request { method: "POST", url: URL, headers: &webhook.headers, body: black_box(&webhook.body) };
        webhook.connector.verify(&request, None, &[SECRET], NOW)
    });
}

fn normalise(bencher: Bencher<'_, '_>, webhook: &Webhook) {
    let configuration = BTreeMap::new();
    bencher.bench_local(|| {
        let request = Request { method: "POST", url: URL, headers: &webhook.headers, body: black_box(&webhook.body) };
        let parsed = webhook.connector.parse(&request).expect("JSON");
        webhook.connector.normalise(&request, &parsed, &configuration)
    });
}

fn floor(bencher: Bencher<'_, '_>, webhook: &Webhook) {
    bencher.bench_local(|| {
        let json: serde_json::Value = serde_json::from_slice(black_box(&webhook.body)).expect("JSON");
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key of any length");
        mac.update(&webhook.body);
        (json, mac.finalize())
    });
}

#[divan::bench(args = [1, 100])]
fn hubspot_whole(bencher: Bencher<'_, '_>, changes: usize) {
    whole(bencher, &hubspot(changes));
}

#[divan::bench(args = [1, 100])]
fn hubspot_verify(bencher: Bencher<'_, '_>, changes: usize) {
    verify(bencher, &hubspot(changes));
}

#[divan::bench(args = [1, 100])]
fn hubspot_normalise(bencher: Bencher<'_, '_>, changes: usize) {
    normalise(bencher, &hubspot(changes));
}

#[divan::bench(args = [1, 100])]
fn hubspot_floor(bencher: Bencher<'_, '_>, changes: usize) {
    floor(bencher, &hubspot(changes));
}

#[divan::bench]
fn standard_whole(bencher: Bencher<'_, '_>) {
    whole(bencher, &standard());
}

#[divan::bench]
fn standard_verify(bencher: Bencher<'_, '_>) {
    verify(bencher, &standard());
}

#[divan::bench]
fn standard_normalise(bencher: Bencher<'_, '_>) {
    normalise(bencher, &standard());
}

#[divan::bench]
fn standard_floor(bencher: Bencher<'_, '_>) {
    floor(bencher, &standard());
}

/// Paid once a process and connector, by its first event.
#[divan::bench]
fn compile_hubspot() -> Connector {
    Connector::from_yaml(include_str!("../definitions/hubspot.yaml")).expect("a good definition")
}
