//! An instance's configuration, item by item.

use std::collections::BTreeSet;

use events::InstanceId;
use http::StatusCode;
use platform::{Platform as _, TableError};
use serde_json::{Value, json};

use crate::world::{CALLBACK, Reply, World, set};

const KEY: &str = "event.notification.signature.key";
const URL: &str = "event.notification.callback.url";

async fn items(world: &World, id: InstanceId) -> Vec<Value> {
    let reply = world.get(&format!("/instances/{id}/configuration")).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    reply.json.as_array().unwrap().clone()
}

async fn item(world: &World, id: InstanceId, key: &str) -> Value {
    items(world, id).await.into_iter().find(|item| item["key"] == key).unwrap()
}

async fn patch(world: &World, id: InstanceId, item: &Value, body: &Value) -> Reply {
    let path = format!("/instances/{id}/configuration/{}", item["id"]);
    world.call(&world.owner, "PATCH", &path, body.to_string()).await
}

#[tokio::test]
async fn every_key_has_an_item_whether_it_is_set_or_not_and_secrets_are_masked() {
    let world = World::new(70).await;
    let id = world.instance(json!({URL: CALLBACK, KEY: "s3cret", "never.heard.of": 7, "my.password": "s3cret"})).await;
    let all = items(&world, id).await;
    assert!(all.iter().all(|item| !item.to_string().contains("s3cret")));
    let ids: BTreeSet<u64> = all.iter().map(|item| item["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), all.len());
    assert!(ids.iter().all(|id| *id < 1 << 31));
    for (key, value, kind) in [
        (URL, json!(CALLBACK), "TEXTFIELD_1000"),
        (KEY, json!("********"), "PASSWORD"),
        ("my.password", json!("********"), "PASSWORD"),
        ("never.heard.of", json!("7"), "TEXTFIELD_1000"),
        ("event.objects", json!(null), "TEXTFIELD_1000"),
        ("event.notification.enabled", json!(null), "BOOLEAN"),
    ] {
        let item = item(&world, id, key).await;
        assert_eq!((&item["propertyValue"], &item["type"]), (&value, &json!(kind)), "{key}");
        let alone = world.get(&format!("/instances/{id}/configuration/{}", item["id"])).await;
        assert_eq!((alone.status, alone.json), (StatusCode::OK, item));
    }
    assert!(all.iter().all(|item| ["name", "description"].iter().all(|field| item[field] != "")));
    let secret = item(&world, id, "oauth.api.secret").await;
    assert_eq!(secret["description"], "The app's secret at the provider");
    // Whatever an item says it takes, it does take; to be polled, an instance says what of.
    let objects = item(&world, id, "event.objects").await;
    assert_eq!(patch(&world, id, &objects, &json!({"propertyValue": "contacts"})).await.status, StatusCode::OK);
    for item in all.iter().filter(|item| item.get("options").is_some()) {
        for option in item["options"].as_array().unwrap() {
            let reply = patch(&world, id, item, &json!({"propertyValue": option})).await;
            assert_eq!((reply.status, &reply.json["propertyValue"]), (StatusCode::OK, option), "{}", reply.text);
        }
    }
    let interval = item(&world, id, "event.poller.refresh_interval").await;
    assert_eq!((&interval["defaultValue"], &interval["propertyValue"]), (&json!("15"), &json!(null)));
}

#[tokio::test]
async fn an_item_keeps_its_number_and_is_changed_by_it() {
    let world = World::new(71).await;
    let id = world.instance(json!({URL: CALLBACK, KEY: "s3cret", "other": "x"})).await;
    let before = item(&world, id, "event.notification.enabled").await;
    let mut body = before.clone();
    body["propertyValue"] = json!(false);
    let reply = patch(&world, id, &before, &body).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    body["propertyValue"] = json!("false");
    assert_eq!(reply.json, body);
    assert_eq!(item(&world, id, "event.notification.enabled").await, body);
    let instance = world.get(&format!("/instances/{id}")).await.json;
    assert_eq!(instance["eventsEnabled"], json!(false));
    assert_eq!(
        set(&instance),
        json!({URL: CALLBACK, KEY: "********", "other": "x", "event.notification.enabled": "false"})
    );

    // A secret sent back as its mask stays, and an item that has nothing but its key to stand for is told one last time.
    let secret = item(&world, id, KEY).await;
    assert_eq!(patch(&world, id, &secret, &secret).await.json, secret);
    let other = item(&world, id, "other").await;
    let reply = patch(&world, id, &other, &json!({"propertyValue": null})).await;
    assert_eq!((reply.status, &reply.json["propertyValue"]), (StatusCode::OK, &json!(null)));
    assert_eq!(patch(&world, id, &other, &json!({"propertyValue": "y"})).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_an_item_does_not_take_is_refused_by_name_and_changes_nothing() {
    let world = World::new(72).await;
    let id = world.instance(json!({URL: CALLBACK})).await;
    let url = item(&world, id, URL).await;
    for (body, named) in [
        (json!({}), "propertyValue"),
        (json!([]), "the body"),
        (json!({"propertyValue": "http://10.0.0.1/"}), URL),
        (json!({"propertyValue": CALLBACK, "key": KEY}), "key: given"),
        (json!({"propertyValue": CALLBACK, "id": 7}), "id: given 7"),
        (json!({"propertyValue": CALLBACK, "id": "x"}), "id: given"),
    ] {
        let reply = patch(&world, id, &url, &body).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(reply.message().contains(named), "{body}: {}", reply.message());
        assert_eq!(reply.json["requestId"], reply.header("elements-request-id").unwrap());
    }
    let lists = item(&world, id, "event.objects").await;
    let reply = patch(&world, id, &lists, &json!({"propertyValue": ["Contact", "Account"]})).await;
    assert_eq!(reply.json["propertyValue"], "Contact,Account");
    for number in ["7", "x", "-1", "999999999999999999999"] {
        let path = format!("/instances/{id}/configuration/{number}");
        for (method, body) in [("GET", ""), ("PATCH", r#"{"propertyValue": 1}"#)] {
            let reply = world.call(&world.owner, method, &path, body).await;
            assert_eq!(reply.status, StatusCode::NOT_FOUND, "{method} {number}");
            assert!(reply.message().starts_with("there is no such configuration item; GET"), "{}", reply.message());
        }
    }
    world.platform.table().fail_next_write(TableError::Unavailable("inner detail".into()));
    let reply = patch(&world, id, &url, &json!({"propertyValue": "https://b.example.com/"})).await;
    assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(item(&world, id, URL).await, url);
}
