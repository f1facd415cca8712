//! Changing and deleting an instance.

use events::InstanceId;
use http::StatusCode;
use platform::{Platform as _, TableError};
use records::instances;
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::world::{CALLBACK, World, id, set};

const KEY: &str = "event.notification.signature.key";
const URL: &str = "event.notification.callback.url";

async fn signature_key(world: &World, id: InstanceId) -> Option<String> {
    let view = instances::callback_view(&world.platform, id).await.unwrap().unwrap();
    view.credentials(&world.platform).await.unwrap().signature_key.map(|key| key.expose_secret().to_owned())
}

#[tokio::test]
async fn what_a_change_does_not_name_stays() {
    let world = World::new(10).await;
    let id = world.instance(json!({URL: CALLBACK, KEY: "first", "other": "x"})).await;
    let reply = world.patch(id, &json!({"tags": ["new"], "configuration": {"other": null, "more": 1}})).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    assert_eq!(reply.json["name"], "Acme");
    assert_eq!(reply.json["tags"], json!(["new"]));
    assert_eq!(set(&reply.json), json!({URL: CALLBACK, KEY: "********", "more": "1"}));
    assert_eq!(signature_key(&world, id).await.as_deref(), Some("first"));
    let read = world.get(&format!("/instances/{id}")).await;
    assert_eq!(read.json, reply.json);
}

#[tokio::test]
async fn a_whole_instance_sent_back_as_it_was_read_changes_nothing_and_keeps_every_secret() {
    let world = World::new(11).await;
    let id = world.instance(json!({URL: CALLBACK, KEY: "first", "webhook.secret": "second"})).await;
    let read = world.get(&format!("/instances/{id}")).await;
    let reply = world.patch(id, &read.json).await;
    assert_eq!((reply.status, &reply.json), (StatusCode::OK, &read.json));
    assert_eq!(signature_key(&world, id).await.as_deref(), Some("first"));
}

#[tokio::test]
async fn an_instance_that_lacks_what_its_connector_has_come_to_require_is_changed_all_the_same() {
    let world = World::new(19_002).await;
    let account = world.owner_account().await;
    let provision = instances::Provision {
        name: "old".into(),
        connector: "sfdc".into(),
        hub: "crm".into(),
        tags: Vec::new(),
        configuration: std::collections::BTreeMap::new(),
        secrets: instances::Secrets::new(),
    };
    let derived = instances::Derived::default();
    let id = instances::create(&world.platform, &account, provision, &derived).await.unwrap().instance.id;
    let mut read = world.get(&format!("/instances/{id}")).await.json;
    assert!(read["configuration"]["event.vendor.account"].is_null());
    read["name"] = json!("new");
    let reply = world.patch(id, &read).await;
    assert_eq!((reply.status, &reply.json["name"]), (StatusCode::OK, &json!("new")), "{}", reply.text);
}

#[tokio::test]
async fn a_secret_is_replaced_by_a_value_and_unset_by_null() {
    let world = World::new(12).await;
    let id = world.instance(json!({KEY: "first"})).await;
    world.patch(id, &json!({"configuration": {KEY: "second"}})).await;
    assert_eq!(signature_key(&world, id).await.as_deref(), Some("second"));
    let reply = world.patch(id, &json!({"configuration": {KEY: null}})).await;
    assert_eq!(set(&reply.json), json!({}));
    assert_eq!(signature_key(&world, id).await, None);
    let reply = world.patch(id, &json!({"configuration": {KEY: "********"}})).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_instance_keeps_its_connector() {
    let world = World::new(13).await;
    let id = world.instance(json!({})).await;
    for element in [json!({"key": "standard"}), json!({"id": 7})] {
        let reply = world.patch(id, &json!({"element": element})).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        assert!(reply.message().contains("hubspot"), "{}", reply.message());
    }
    assert_eq!(world.patch(id, &json!({"element": {"id": 16_784_420}})).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_body_that_names_another_instance_than_the_path_changes_neither() {
    let world = World::new(18).await;
    let (id, other) = (world.instance(json!({})).await, world.instance(json!({})).await);
    let reply = world.patch(id, &json!({"id": other, "tags": ["x"]})).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert!(reply.message().starts_with(&format!("id: given {other}; accepted: {id}")), "{}", reply.message());
    for instance in [id, other] {
        assert_eq!(world.get(&format!("/instances/{instance}")).await.json["tags"], json!([]));
    }
    let tagged = world.patch(id, &json!({"id": id, "tags": ["a", "b"]})).await;
    assert_eq!(tagged.json["tags"], json!(["a", "b"]));
    assert_eq!(world.patch(id, &json!({"tags": ["c"]})).await.json["tags"], json!(["c"]));
}

#[tokio::test]
async fn a_handshakes_secret_stays_until_the_secret_is_set_or_unset() {
    let world = World::new(19).await;
    let made = world.post(&json!({"name": "x", "element": {"key": "asana"}})).await;
    let instance = id(&made.json);
    let kept = async || instances::handshake(&world.platform, instance).await.unwrap().is_some();
    let secret = secrecy::SecretString::from("handed-over");
    instances::keep_handshake(&world.platform, instance, &secret).await.unwrap();
    // Sent back as it was read, with the null of what is unset, it is no change.
    assert!(made.json["configuration"]["event.objects"].is_null());
    world.patch(instance, &made.json).await;
    world.call(&world.owner, "PUT", &format!("/instances/{instance}"), made.json.to_string()).await;
    assert!(kept().await);
    world.patch(instance, &json!({"configuration": {"webhook.secret": null}})).await;
    assert!(!kept().await);
}

#[tokio::test]
async fn a_change_that_somebody_elses_overtakes_is_made_on_top_of_it() {
    let world = World::new(14).await;
    let id = world.instance(json!({})).await;
    let conflict = || TableError::ConditionFailed(Vec::new());
    world.platform.table().fail_next_write(conflict());
    world.platform.table().fail_next_write(TableError::Conflict);
    assert_eq!(world.patch(id, &json!({"name": "Second"})).await.json["name"], "Second");
    for _ in 0..5 {
        world.platform.table().fail_next_write(conflict());
    }
    assert_eq!(world.patch(id, &json!({"name": "Third"})).await.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn two_changes_at_a_time_are_both_made() {
    let world = World::new(15).await;
    let id = world.instance(json!({KEY: "k"})).await;
    let (first, second) = (json!({"configuration": {"a": "1"}}), json!({"configuration": {"b": "2"}, "name": "Both"}));
    let (first, second) = tokio::join!(world.patch(id, &first), world.patch(id, &second));
    assert_eq!((first.status, second.status), (StatusCode::OK, StatusCode::OK));
    let read = world.get(&format!("/instances/{id}")).await;
    assert_eq!(set(&read.json), json!({"a": "1", "b": "2", KEY: "********"}));
    assert_eq!(read.json["name"], "Both");
}

#[tokio::test]
async fn an_instance_is_disabled_and_enabled_by_its_own_route_or_by_a_change() {
    let world = World::new(19_001).await;
    let id = world.instance(json!({URL: CALLBACK})).await;
    let enabled = format!("/instances/{id}/enabled");
    let disabled =
        async || instances::webhook_views(&world.platform, &[id]).await.unwrap()[0].clone().unwrap().disabled;
    let who = world.owner.clone();
    for (method, expected) in [("DELETE", true), ("DELETE", true), ("PUT", false)] {
        let reply = world.call(&who, method, &enabled, "").await;
        assert_eq!((reply.status, &reply.json["disabled"]), (StatusCode::OK, &json!(expected)));
        assert_eq!(disabled().await, expected);
    }
    let reply = world.patch(id, &json!({"disabled": true})).await;
    assert_eq!((reply.status, disabled().await), (StatusCode::OK, true));
    let reply = world.patch(id, &json!({"disabled": "yes"})).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}", reply.text);
}

#[tokio::test]
async fn a_deleted_instance_is_gone_for_everyone() {
    let world = World::new(16).await;
    let id = world.instance(json!({KEY: "first"})).await;
    let path = format!("/instances/{id}");
    assert_eq!(world.call(&world.owner, "DELETE", &path, "").await.status, StatusCode::OK);
    for (method, path) in [
        ("GET", path.clone()),
        ("PATCH", path.clone()),
        ("DELETE", path.clone()),
        ("GET", format!("{path}/events")),
        ("GET", format!("{path}/events/--------------------")),
    ] {
        let reply = world.call(&world.owner, method, &path, "{}").await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{method} {path}");
    }
    assert!(instances::callback_view(&world.platform, id).await.unwrap().is_none());
}

#[tokio::test]
async fn our_own_failures_say_whether_to_try_again_and_not_why() {
    let world = World::new(17).await;
    let id = world.instance(json!({})).await;
    let table = world.platform.table();
    table.fail_next_write(TableError::Unavailable("inner detail".into()));
    let reply = world.patch(id, &json!({"name": "x"})).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(reply.message().contains("try again") && !reply.text.contains("inner detail"), "{}", reply.text);
    table.lose_next_answer();
    let reply = world.patch(id, &json!({"name": "x"})).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(reply.message().contains("cannot tell"), "{}", reply.text);
    table.fail_next_write(TableError::Invalid("inner detail".into()));
    let reply = world.patch(id, &json!({"name": "x"})).await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!reply.text.contains("inner detail"), "{}", reply.text);
    assert!(!reply.json["requestId"].as_str().unwrap().is_empty());
}
