//! From a provider's webhook to a signed notification.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::StatusCode;
use events::{SignatureKey, Timestamp};
use serde_json::{Value, json};

use super::common::{KEY, SECRET, Server, Sink, contact, customer, http};

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_becomes_a_signed_notification_as_the_contract_writes_it() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::new().await);
    let server = Server::start(folder.path()).await;
    let client = customer(&server.url, folder.path());
    let instance = client.hubspot(62515, &sink.url).await;
    let webhook = contact(62515, [9_007_199_254_740_993]);
    assert_eq!(client.hubspot_sends(&webhook).await, Some(200));
    let received = sink.receives(1).await.remove(0);

    let key = SignatureKey::new(KEY.into()).unwrap();
    key.verify_elements(received.header("elements-webhook-signature"), &received.body).unwrap();
    let (id, at) = (received.header("webhook-id"), received.header("webhook-timestamp"));
    let now = Timestamp::from_seconds(at.parse().unwrap());
    key.verify_standard(id, at, received.header("webhook-signature"), &received.body, now).unwrap();
    assert_eq!((received.header("elements-webhook-id"), received.id()), (id, id));
    assert_eq!(received.header("content-type"), "application/json");
    assert!(!received.headers.contains_key("pollhook-hops"));

    let envelope = &received.json;
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(keys(envelope), words("severity createdDate topic action id message user"));
    let (message, number) = (&envelope["message"], instance.number());
    let owner = "accountId companyId userId";
    let rest = "elementKey eventId instanceId instance_id instanceName instanceTags raw events";
    assert_eq!(keys(message), words(&format!("{owner} {rest}")));
    assert!(words(owner).iter().all(|key| message[key].is_u64()));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let numeric = text(&envelope["id"]);
    assert!(!numeric.is_empty() && numeric.bytes().all(|b| b.is_ascii_digit()));
    // Java's Date.toString(), e.g. `Mon Aug 20 15:30:07 UTC 2018`.
    let created = text(&envelope["createdDate"]);
    assert!(created.len() == 28 && created[20..24] == *"UTC ", "{created}");
    assert_eq!(envelope["topic"], format!("instance-{number}-hubspot-events"));
    assert_eq!((&envelope["severity"], &envelope["action"]), (&json!("medium"), &json!("create")));
    assert_eq!(envelope["user"], "notifications@cloud-elements.com");
    assert_eq!(message["elementKey"], "hubspot");
    assert_eq!((&message["instanceId"], &message["instance_id"]), (&json!(number), &json!(number)));
    assert_eq!((&message["instanceName"], &message["instanceTags"]), (&json!("Acme"), &json!(["tested"])));
    let raw = format!("\"raw\":{webhook}");
    assert!(std::str::from_utf8(&received.body).unwrap().contains(&raw), "the provider's body, byte for byte");
    let event = json!({
        "id": message["events"][0]["id"], "date": "2024-11-14T19:22:39Z", "elementKey": "hubspot", "hubKey": "crm",
        "eventType": "CREATED", "objectId": "9007199254740993", "objectType": "contacts",
    });
    assert_eq!(message["events"], json!([event]));
    assert_eq!(text(&event["id"]).len(), 20);

    let entry = client.stands(instance, "NOTIFIED").await;
    assert_eq!((&entry["id"], &entry["providerData"]), (&json!(id), &json!(webhook)));
    for secret in [KEY, SECRET] {
        assert!(!server.stderr().contains(secret) && !server.stdout().contains(secret));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_to_this_machine_is_refused_unless_allowed_and_the_refusal_names_the_flag() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::new().await);
    let server = Server::spawn(&mut Server::command(folder.path(), &[])).await;
    let client = customer(&server.url, folder.path());
    for callback in [sink.url.as_str(), "http://localhost:1/", "http://[::1]:1/", "http://0x7f.1/"] {
        let instance = json!({
            "name": "Acme", "element": { "key": "hubspot" },
            "configuration": { "event.notification.callback.url": callback, "webhook.secret": SECRET },
        });
        let (status, body) = client.ask(&instance).await;
        assert_eq!(status, 400, "{body}");
        assert!(body.contains("--allow-callbacks-to") && body.contains("callback.url"), "{body}");
        assert!(!body.contains(SECRET));
    }
    server.stop().await;
    let server = Server::start(folder.path()).await;
    client.at(&server.url).hubspot(1, &sink.url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_that_is_due_survives_a_kill_and_comes_with_the_same_id() {
    let up = Arc::new(AtomicBool::new(false));
    let works = Arc::clone(&up);
    let sink = Sink::answering(move |_, _| match works.load(Ordering::SeqCst) {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let client = customer(&server.url, folder.path());
    let instance = client.hubspot(1, &sink.url).await;
    assert_eq!(client.hubspot_sends(&contact(1, [1, 2])).await, Some(200));
    let refused = sink.receives(1).await.remove(0);
    let entry = client.stands(instance, "DISPATCHED").await;
    assert_eq!(entry["delivery"]["attempts"][0]["status"], 503);
    server.kill();
    up.store(true, Ordering::SeqCst);

    let server = Server::start(folder.path()).await;
    let taken = sink.takes(1).await.remove(0);
    assert_eq!((taken.id(), taken.events(), &taken.body), (refused.id(), refused.events(), &refused.body));
    let entry = client.at(&server.url).stands(instance, "NOTIFIED").await;
    let statuses: Vec<_> = entry["delivery"]["attempts"].as_array().unwrap().iter().map(|a| &a["status"]).collect();
    assert_eq!(statuses, [&json!(503), &json!(200)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_signed_or_signed_with_another_secret_is_refused_and_tells_nobody() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::new().await);
    let server = Server::start(folder.path()).await;
    let client = customer(&server.url, folder.path());
    let instance = client.hubspot(1, &sink.url).await;
    let url = format!("{}/elements/api-v2/events/hubspot", server.url);
    let post = async |headers: &[(&str, &str)]| {
        let mut request = http().post(&url).body(contact(1, [1]));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(post(&[]).await, 401);
    let forged = "0000000000000000000000000000000000000000000000000000000000000000";
    assert_eq!(post(&[("x-hubspot-signature", forged), ("x-hubspot-signature-version", "v1")]).await, 401);
    assert_eq!(client.hubspot_sends(&contact(1, [2])).await, Some(200));
    client.stands(instance, "NOTIFIED").await;
    assert_eq!(client.history(instance).await.len(), 1);
    assert_eq!(sink.received().iter().map(|r| r.events()[0].0.clone()).collect::<Vec<_>>(), ["2"]);
}
