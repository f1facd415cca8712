//! An instance that is told by webhooks may have polls beside them, which tell what these missed.

use std::time::Duration;

use events::InstanceId;
use http::StatusCode;
use platform::Platform as _;
use records::health::{self, Health};
use records::{instances, plans};
use serde_json::{Value, json};

use crate::world::{CALLBACK, NOW, World};

const INTERVAL: &str = "event.reconcile.interval";

fn webhooks(more: &Value) -> Value {
    let mut configuration = json!({
        "event.objects": "contacts,deals", "webhook.secret": "s3cret", "oauth.user.token": "t0ken",
        "event.notification.callback.url": CALLBACK});
    configuration.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    configuration
}

fn wheels(world: &World) -> Vec<String> {
    world.platform.table().items("WHEEL#").into_iter().map(|item| item.key.partition).collect()
}

/// Whether what its webhooks tell is noted, and whether its polls leave it out; `None`: it is not polled.
async fn reconciles(world: &World, id: InstanceId) -> (bool, Option<bool>) {
    let view = instances::callback_view(&world.platform, id).await.unwrap().unwrap();
    let read = plans::read(&world.platform, id).await.unwrap();
    (view.reconciles, read.map(|read| read.plan.reconciles.is_some()))
}

#[tokio::test]
async fn polls_beside_webhooks_begin_and_end_with_the_setting_and_are_shown_while_they_last() {
    let world = World::new(33_001).await;
    let id = world.instance(webhooks(&json!({}))).await;
    let path = format!("/instances/{id}");
    assert!(world.get(&path).await.json.get("polling").is_none());
    assert_eq!((wheels(&world).len(), reconciles(&world, id).await), (0, (false, None)));

    let reply = world.patch(id, &json!({"configuration": {INTERVAL: "60"}})).await;
    assert_eq!((reply.status, &reply.json["polling"]["status"]), (StatusCode::OK, &json!("waiting")), "{}", reply.text);
    assert!(wheels(&world)[0].starts_with("WHEEL#60#") && wheels(&world).len() == 1);
    assert_eq!(reconciles(&world, id).await, (true, Some(true)));
    assert_eq!(world.platform.polls().messages().len(), 1, "from now on, so it is polled at once");
    let records = world.get(&format!("{path}/event-poller-records")).await.json;
    let objects: Vec<&str> =
        records.as_array().unwrap().iter().map(|record| record["objectName"].as_str().unwrap()).collect();
    assert_eq!(objects, ["contacts", "deals"]);

    world.patch(id, &json!({"configuration": {INTERVAL: 240}})).await;
    assert!(wheels(&world)[0].starts_with("WHEEL#240#") && wheels(&world).len() == 1);
    world.call(&world.owner, "DELETE", &format!("{path}/enabled"), "").await;
    assert_eq!(wheels(&world).len(), 0);
    let stopped = world.get("/instances/polling-disabled").await.json;
    assert_eq!(stopped[0]["polling"]["reason"], "instance_disabled");
    world.call(&world.owner, "PUT", &format!("{path}/enabled"), "").await;
    assert_eq!(wheels(&world).len(), 1);

    for off in [json!(null), json!("999999999")] {
        world.patch(id, &json!({"configuration": {INTERVAL: "60"}})).await;
        let reply = world.patch(id, &json!({"configuration": {INTERVAL: off}})).await;
        assert_eq!((reply.status, reply.json.get("polling")), (StatusCode::OK, None), "{}", reply.text);
        assert_eq!((wheels(&world).len(), reconciles(&world, id).await), (0, (false, None)));
    }
    assert_eq!(world.get("/instances/polling-disabled").await.json, json!([]), "nobody asks for it");
}

#[tokio::test]
async fn an_instance_that_polls_in_turns_does_so_and_one_whose_webhooks_only_signal_is_told_all_by_its_polls() {
    let world = World::new(33_002).await;
    let both = json!({"event.vendor.type": "polling", INTERVAL: "60", "event.poller.refresh_interval": "5"});
    let in_turns = world.instance(webhooks(&both)).await;
    assert!(wheels(&world)[0].starts_with("WHEEL#5#"));
    assert_eq!(reconciles(&world, in_turns).await, (false, Some(false)));
    let dropbox = json!({"name": "d", "element": {"key": "dropbox"}, "configuration": {
        "event.objects": "files", "oauth.user.token": "t0ken", "event.notification.callback.url": CALLBACK,
        "event.vendor.account": "dbid:1", "webhook.secret": "s", INTERVAL: "60"}});
    let signalled = crate::world::id(&world.post(&dropbox).await.json);
    assert_eq!(wheels(&world).iter().filter(|wheel| wheel.starts_with("WHEEL#60#")).count(), 1);
    assert_eq!(reconciles(&world, signalled).await, (false, Some(false)));
}

#[tokio::test]
async fn what_cannot_be_compared_or_polled_is_refused_with_what_would_do() {
    let world = World::new(33_003).await;
    for (key, more, says) in [
        ("github", json!({INTERVAL: "60"}), "cannot be polled beside webhooks"),
        ("http", json!({INTERVAL: "60"}), "cannot be polled beside webhooks"),
        ("hubspot", json!({INTERVAL: "0"}), "1 to 999999999"),
        ("hubspot", json!({INTERVAL: "60", "event.objects": ""}), "nothing to poll"),
        ("quickbooks", json!({INTERVAL: "60", "event.objects": "customers,gadgets"}), "the connector knows"),
    ] {
        let body = json!({"name": "x", "element": {"key": key}, "configuration": webhooks(&more)});
        let reply = world.post(&body).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{key}: {}", reply.text);
        assert!(reply.message().contains(says), "{key}: {}", reply.message());
    }
    let id = world.instance(webhooks(&json!({INTERVAL: "60"}))).await;
    let emptied = world.patch(id, &json!({"configuration": {"event.objects": null}})).await;
    assert!(emptied.status == StatusCode::BAD_REQUEST && emptied.message().contains("nothing to poll"));
    let keys = world.get(&format!("/instances/{id}/configuration")).await.text;
    assert!(keys.contains(INTERVAL), "{keys}");
}

#[tokio::test]
async fn webhooks_that_are_quiet_are_seen_where_its_polls_are_while_it_has_them() {
    let world = World::new(33_004).await;
    let id = world.instance(webhooks(&json!({INTERVAL: "60"}))).await;
    let read = plans::read(&world.platform, id).await.unwrap().unwrap();
    let since = NOW.plus(Duration::from_secs(60));
    let health = Health { webhooks_quiet: Some(since), ..Health::of(read.version) };
    assert!(health::put(&world.platform, id, &read.health, &health).await.unwrap());
    let shown = async || world.get(&format!("/instances/{id}")).await.json["polling"].clone();
    assert_eq!(shown().await, json!({"status": "waiting", "webhooksQuietSince": since.iso_seconds()}));
    world.platform.advance(Duration::from_secs(3600));
    for minutes in [json!(null), json!("60")] {
        world.patch(id, &json!({"configuration": {INTERVAL: minutes}})).await;
    }
    assert_eq!(shown().await, json!({"status": "waiting"}), "what was before it was taken away does not count");
}
