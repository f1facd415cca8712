//! Replacing an instance.

use http::StatusCode;
use platform::{Platform as _, TableError};
use records::instances;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::world::{CALLBACK, Reply, World, set};

const KEY: &str = "event.notification.signature.key";
const URL: &str = "event.notification.callback.url";

async fn put(world: &World, id: events::InstanceId, body: &Value) -> Reply {
    world.call(&world.owner, "PUT", &format!("/instances/{id}"), body.to_string()).await
}

#[tokio::test]
async fn what_is_not_named_is_unset_and_a_masked_secret_is_kept() {
    let world = World::new(80).await;
    let id = world.instance(json!({URL: CALLBACK, KEY: "first", "webhook.secret": "second", "other": "x"})).await;
    world.patch(id, &json!({"tags": ["old"], "disabled": true})).await;
    let body = json!({"id": id, "name": "New", "configuration": {KEY: "********", URL: CALLBACK, "more": true}});
    let reply = put(&world, id, &body).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    assert_eq!((&reply.json["name"], &reply.json["tags"]), (&json!("New"), &json!([])));
    assert_eq!(set(&reply.json), json!({KEY: "********", URL: CALLBACK, "more": "true"}));
    assert_eq!(reply.json["disabled"], json!(true));
    assert_eq!(world.get(&format!("/instances/{id}")).await.json, reply.json);
    let view = instances::callback_view(&world.platform, id).await.unwrap().unwrap();
    let credentials = view.credentials(&world.platform).await.unwrap();
    assert_eq!(credentials.signature_key.unwrap().expose_secret(), "first");
    let view = instances::webhook_views(&world.platform, &[id]).await.unwrap()[0].clone().unwrap();
    assert!(view.secret(&["webhook.secret"]).is_none());
}

#[tokio::test]
async fn an_instance_sent_back_as_it_was_read_stays_as_it_is() {
    let world = World::new(81).await;
    let id = world.instance(json!({URL: CALLBACK, KEY: "first"})).await;
    let read = world.get(&format!("/instances/{id}")).await.json;
    assert_eq!(put(&world, id, &read).await.json, read);
}

#[tokio::test]
async fn half_an_instance_replaces_none() {
    let world = World::new(82).await;
    let id = world.instance(json!({URL: CALLBACK, KEY: "first"})).await;
    let before = world.get(&format!("/instances/{id}")).await.json;
    for (body, named) in [
        (json!({"configuration": {}}), "name"),
        (json!({"name": "x"}), "configuration"),
        (json!({"name": "x", "configuration": null}), "configuration"),
        (json!({"name": "x", "configuration": {}, "id": 7}), "id: given 7"),
        (json!({"name": "x", "configuration": {}, "element": {"key": "standard"}}), "element.key"),
        (json!({"name": "x", "configuration": {}, "providerData": {"code": "gr4nt"}}), "providerData.code"),
        (json!({"name": "x", "configuration": {"webhook.secret": "********"}}), "no secret to keep"),
        (json!({"name": "x", "configuration": {URL: "http://10.0.0.1/"}}), "--allow-callbacks-to"),
    ] {
        let reply = put(&world, id, &body).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(reply.message().contains(named) && !reply.text.contains("gr4nt"), "{body}: {}", reply.message());
    }
    world.platform.table().fail_next_write(TableError::Unavailable("inner detail".into()));
    let reply = put(&world, id, &json!({"name": "x", "configuration": {}})).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(world.get(&format!("/instances/{id}")).await.json, before);
}

#[tokio::test]
async fn what_the_connector_requires_cannot_be_left_out() {
    let world = World::new(83).await;
    let configuration = json!({"event.vendor.account": "00D000000000001", "webhook.secret": "token"});
    let made = world.post(&json!({"name": "x", "element": {"key": "sfdc"}, "configuration": configuration})).await;
    let id = crate::world::id(&made.json);
    let reply = put(&world, id, &json!({"name": "x", "configuration": {}})).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert!(reply.message().contains("\"event.vendor.account\""), "{}", reply.message());
    let reply = world.patch(id, &json!({"configuration": {"event.vendor.account": null}})).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
}
