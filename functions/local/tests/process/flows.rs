//! Each event of an instance with flows on goes to the operator's URL, by itself.

use std::collections::BTreeMap;
use std::path::Path;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::common::{Server, Sink, contact, customer, until};

const CALLBACK: &str = "event.notification.callback.url";
const ACCOUNT: &str = "event.vendor.account";
const FLOWS: &str = "event.flow.enabled";

/// A server that may post to this machine only what goes to `flows`, and to callbacks.
async fn server(folder: &Path, flows: &str) -> Server {
    Server::spawn(&mut Server::command(folder, &["--allow-callbacks-to", "127.0.0.0/8", "--flows-to", flows])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_is_posted_as_an_entry_of_the_bus_and_all_of_them_as_a_notification_to_the_callback() {
    let (folder, sink, rules) = (tempfile::tempdir().unwrap(), Sink::new().await, Sink::new().await);
    let server = server(folder.path(), &rules.url).await;
    let client = customer(&server.url, folder.path());
    let settings = [(ACCOUNT, "1"), (CALLBACK, sink.url.as_str()), (FLOWS, "true")];
    let instance = client.provision("Acme", "hubspot", &settings).await;
    assert_eq!(client.hubspot_sends(&contact(1, 1..=23)).await, Some(200));
    let entries = rules.receives(23).await;
    let notifications = sink.receives(2).await;

    let told: BTreeMap<String, (String, String)> = notifications
        .iter()
        .flat_map(|received| {
            received.events().into_iter().map(|(object, event)| (event, (object, received.id().into())))
        })
        .collect();
    let mut published = BTreeMap::new();
    for entry in &entries {
        assert_eq!(entry.header("content-type"), "application/json");
        let (event, detail) = (&entry.json, &entry.json["detail"]);
        assert_eq!((&event["source"], &event["detail-type"]), (&json!("pollhook"), &json!("Change")));
        assert_eq!((&event["version"], &event["time"]), (&json!("0"), &json!("2024-11-14T19:22:39Z")));
        assert_eq!((&detail["type"], &detail["instanceId"]), (&json!("event"), &json!(instance.number())));
        let told = &detail["event"];
        assert_eq!((&told["elementKey"], &told["hubKey"]), (&json!("hubspot"), &json!("crm")));
        assert_eq!((&told["eventType"], &told["objectType"]), (&json!("CREATED"), &json!("contacts")));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        published.insert(text(&detail["eventId"]), (text(&told["objectId"]), text(&detail["notificationId"])));
    }
    assert_eq!((entries.len(), published), (23, told), "the callback's events, each once");

    let entry = client.stands(instance, "NOTIFIED").await;
    assert_eq!((&entry["flows"]["state"], entry["flows"]["attempts"].as_array().unwrap().len()), (&json!("told"), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_engine_that_fails_gets_again_what_it_did_not_take_and_the_callback_hears_nothing_of_it() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::new().await);
    let rules =
        Sink::answering(|received, count| match (received.json["detail"]["event"]["objectId"].as_str(), count) {
            (Some("2"), 1) => StatusCode::BAD_GATEWAY,
            _ => StatusCode::ACCEPTED,
        })
        .await;
    let server = server(folder.path(), &rules.url).await;
    let client = customer(&server.url, folder.path());
    let settings = [(ACCOUNT, "1"), (CALLBACK, sink.url.as_str()), (FLOWS, "true")];
    let instance = client.provision("Acme", "hubspot", &settings).await;
    assert_eq!(client.hubspot_sends(&contact(1, [1, 2, 3])).await, Some(200));
    let mut objects: Vec<String> = rules
        .receives(4)
        .await
        .iter()
        .map(|received| received.json["detail"]["event"]["objectId"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(objects.pop().unwrap(), "2");
    let flows = until("flows that are told", async || {
        let entry = client.history(instance).await.into_iter().next()?;
        Some(entry["flows"].clone()).filter(|flows| flows["state"] == "told")
    })
    .await;
    assert_eq!(flows["attempts"][0]["error"], "1 of 3 events: the event bus is not available: answered 502");
    assert_eq!(sink.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_url_for_flows_the_history_says_so_and_nothing_is_tried_again() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::new().await);
    let server = Server::start(folder.path()).await;
    let client = customer(&server.url, folder.path());
    let settings = [(ACCOUNT, "1"), (CALLBACK, sink.url.as_str()), (FLOWS, "true")];
    let instance = client.provision("Acme", "hubspot", &settings).await;
    assert_eq!(client.hubspot_sends(&contact(1, [1])).await, Some(200));
    let flows = client.stands(instance, "NOTIFIED").await["flows"].clone();
    assert_eq!(flows["state"], "dropped");
    assert!(flows["reason"].as_str().unwrap().contains("--flows-to"), "{flows}");
    assert_eq!(sink.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_url_for_flows_is_no_way_for_a_customer_to_this_machine() {
    let (folder, rules) = (tempfile::tempdir().unwrap(), Sink::new().await);
    let server = Server::spawn(&mut Server::command(folder.path(), &["--flows-to", &rules.url])).await;
    let client = customer(&server.url, folder.path());
    let instance = json!({
        "name": "Acme", "element": { "key": "hubspot" }, "configuration": { CALLBACK: rules.url },
    });
    let (status, body) = client.ask(&instance).await;
    assert!(status == 400 && body.contains("callback.url"), "{status} {body}");
    // Whoever has flows on and no callback is told there all the same.
    client.provision("Acme", "hubspot", &[(ACCOUNT, "1"), (FLOWS, "true")]).await;
    assert_eq!(client.hubspot_sends(&contact(1, [7])).await, Some(200));
    assert_eq!(rules.receives(1).await[0].json["detail"]["event"]["objectId"], "7");
}
