//! `listen` and `demo`.

use axum::http::HeaderMap;
use events::{SignatureKey, Timestamp};
use serde_json::json;

use super::common::{KEY, Server, binary, contact, customer, http, run};

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_seconds(since.as_secs().try_into().unwrap())
}

async fn post(url: &str, headers: HeaderMap, body: &str) -> (u16, String) {
    let request = http().post(url).headers(headers).body(body.to_owned());
    let response = request.send().await.unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

fn signed(key: &str, id: &str, body: &str) -> HeaderMap {
    let (key, at) = (SignatureKey::new(key.into()).unwrap(), now());
    let mut headers = HeaderMap::new();
    headers.insert("elements-webhook-signature", key.elements(body.as_bytes()).parse().unwrap());
    headers.insert("webhook-id", id.parse().unwrap());
    headers.insert("webhook-timestamp", at.as_seconds().to_string().parse().unwrap());
    headers.insert("webhook-signature", key.standard(id, at, body.as_bytes()).parse().unwrap());
    headers
}

#[tokio::test(flavor = "multi_thread")]
async fn listen_takes_what_is_signed_refuses_what_is_not_and_shows_both() {
    let server = Server::spawn(&mut binary(&["listen", "--port", "0", "--secret", KEY])).await;
    let event = json!({ "eventType": "CREATED", "objectType": "contacts", "objectId": "1\u{1b}[31m" });
    let message = json!({ "eventId": "n1", "instanceId": 7, "instanceName": "Acme", "events": [event] });
    let body = json!({ "topic": "instance-7-hubspot-events", "message": message }).to_string();
    let good = signed(KEY, "n1", &body);
    assert_eq!(post(&server.url, good.clone(), &body).await, (200, "{}".into()));
    server.printed("CREATED contacts 1").await;
    assert!(server.stdout().contains("Acme (7)  ✓ Elements ✓ Standard  200"), "{}", server.stdout());
    assert!(!server.stdout().contains("↻"));
    assert_eq!(post(&server.url, good.clone(), &body).await.0, 200);
    server.printed("↻ 2nd time").await;

    let (status, told) = post(&server.url, signed("another", "n2", &body), &body).await;
    assert!(status == 401 && told.contains("Elements-Webhook-Signature") && told.contains("Standard"), "{told}");
    let mut half = good.clone();
    half.remove("webhook-timestamp");
    let (status, told) = post(&server.url, half, &body).await;
    assert!(status == 401 && told.contains("webhook-timestamp is missing") && !told.contains("Elements"), "{told}");
    server.printed("✓ Elements ✗ Standard  401").await;
    let large = "x".repeat(8 * 1024 * 1024 + 1);
    assert_eq!(post(&server.url, HeaderMap::new(), &large).await.0, 413);
    assert_eq!(http().get(&server.url).send().await.unwrap().status().as_u16(), 405);
    assert!(!server.stdout().contains('\u{1b}'), "no colours into a pipe, and none of a stranger's");
    assert!(!server.stdout().contains(KEY));
    server.signal("INT");
    assert!(server.ended().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn listen_prints_bodies_as_they_came_if_it_is_asked_to() {
    let body = r#"{"topic":"t","message":{"instanceId":7,"events":[],"raw":{"b":1.50,"a":"\u001b"}}}"#;
    let server = Server::spawn(&mut binary(&["listen", "--port", "0", "--bodies"])).await;
    assert_eq!(post(&server.url, HeaderMap::new(), body).await.0, 200);
    server.printed(body).await;
    let server = Server::spawn(&mut binary(&["listen", "--port", "0"])).await;
    assert_eq!(post(&server.url, HeaderMap::new(), body).await.0, 200);
    server.printed("(no name) (7)").await;
    assert!(!server.stdout().contains("1.50"), "{}", server.stdout());
}

#[tokio::test(flavor = "multi_thread")]
async fn listen_fails_as_told_and_the_retry_is_shown_as_a_repeat() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = binary(&["listen"]);
    command.env("POLLHOOK_PORT", "0").env("POLLHOOK_SECRET", KEY).env("POLLHOOK_FAIL_FIRST", "1");
    let (listener, server) = (Server::spawn(&mut command).await, Server::start(folder.path()).await);
    let client = customer(&server.url, folder.path());
    let instance = client.hubspot(1, &listener.url).await;
    assert_eq!(client.hubspot_sends(&contact(1, [1])).await, Some(200));
    listener.printed("✓ Elements ✓ Standard  503").await;
    listener.printed("↻ 2nd time").await;
    assert!(listener.stdout().contains("✓ Elements ✓ Standard  200"), "{}", listener.stdout());
    let entry = client.stands(instance, "NOTIFIED").await;
    assert_eq!(entry["delivery"]["attempts"].as_array().unwrap().len(), 2);
}

#[test]
fn the_demo_ends_as_expected_and_leaves_nothing_behind() {
    let temporary = tempfile::tempdir().unwrap();
    let demo = run(binary(&["demo"]).env("TMPDIR", temporary.path()));
    assert!(demo.status.success(), "{}{}", demo.stdout, demo.stderr);
    assert!(demo.stdout.contains("All as expected") && demo.stdout.contains("verdict"), "{}", demo.stdout);
    assert!(demo.stdout.contains("503") && demo.stdout.contains("↻ 2nd time"), "{}", demo.stdout);
    for shown in ["Salesforce", "Dropbox", "Lantern, defined in lantern.yaml", "x-lantern-signature", "1 handshake"] {
        assert!(demo.stdout.contains(shown), "{shown}: {}", demo.stdout);
    }
    assert!(demo.stdout.contains("2 signals") && demo.stdout.contains("12 changes made"), "{}", demo.stdout);
    assert!(demo.stdout.lines().count() < 90, "short enough to be read: {}", demo.stdout);
    assert!(!demo.stdout.contains('✗') && !demo.stdout.contains('\u{1b}'), "{}", demo.stdout);
    assert_eq!(demo.stderr, "", "no log among the output");
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}
