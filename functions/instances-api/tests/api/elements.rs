//! The connectors there are.

use http::StatusCode;
use records::accounts;
use records::instances::{self, Provision, Webhooks};
use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn connectors_are_listed_and_found_by_key_and_by_number() {
    let world = World::new(60).await;
    let all = world.get("/elements").await;
    assert_eq!(all.status, StatusCode::OK, "{}", all.text);
    let elements = all.json.as_array().unwrap();
    let keys: Vec<_> = elements.iter().map(|element| element["key"].clone()).collect();
    assert_eq!(world.get("/elements/keys").await.json, json!(keys));
    assert!(keys.contains(&json!("hubspot")) && keys.contains(&json!("standard")));
    for element in elements {
        for named in [element["key"].as_str().unwrap().to_owned(), element["id"].to_string()] {
            assert_eq!(&world.get(&format!("/elements/{named}")).await.json, element);
            let metadata = world.get(&format!("/elements/{named}/metadata")).await.json;
            assert_eq!(metadata["events"], json!({"supported": true, "methods": ["webhook"]}));
            for field in ["id", "key", "name", "description"] {
                assert_eq!(metadata[field], element[field]);
                assert!(!metadata[field].is_null());
            }
        }
    }
    let hubspot = world.get("/elements/hubspot").await.json;
    assert_eq!(
        (&hubspot["name"], &hubspot["hub"], &hubspot["active"]),
        (&json!("HubSpot"), &json!("crm"), &json!(true))
    );
}

#[tokio::test]
async fn an_unknown_connector_is_none() {
    let world = World::new(61).await;
    for path in ["/elements/hubspott", "/elements/7", "/elements/hubspott/metadata", "/elements/99999999999/metadata"] {
        let reply = world.get(path).await;
        assert_eq!((reply.status, reply.message()), (StatusCode::NOT_FOUND, "there is no such element"), "{path}");
    }
    let bare = world.call("", "GET", "/elements", "").await;
    assert_eq!(bare.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_instance_of_a_connector_that_is_gone_can_be_read_and_deleted_and_not_changed() {
    let world = World::new(62).await;
    let id = world.instance(json!({"k": "v"})).await;
    let account = instances::webhook_views(&world.platform, &[id]).await.unwrap()[0].clone().unwrap().account;
    let owner = accounts::get(&world.platform, account).await.unwrap().unwrap();
    let provision = Provision {
        name: "x".into(),
        connector: "vanished".into(),
        hub: "crm".into(),
        tags: Vec::new(),
        configuration: [("k".to_owned(), "v".to_owned())].into(),
        secrets: instances::Secrets::new(),
    };
    let stored = instances::create(&world.platform, &owner, provision, &Webhooks::default()).await.unwrap();
    let path = format!("/instances/{}", stored.instance.id);
    let read = world.get(&path).await;
    assert_eq!((&read.json["element"]["active"], &read.json["element"]["key"]), (&json!(false), &json!("vanished")));
    let items = world.get(&format!("{path}/configuration")).await.json;
    assert_eq!((items.as_array().unwrap().len(), &items[0]["key"]), (1, &json!("k")));
    for (method, below, body) in [
        ("PATCH", String::new(), json!({"name": "y"})),
        ("PUT", String::new(), json!({"name": "y", "configuration": {}})),
        ("DELETE", "/enabled".to_owned(), json!({})),
        ("PATCH", format!("/configuration/{}", items[0]["id"]), json!({"propertyValue": "w"})),
    ] {
        let reply = world.call(&world.owner, method, &format!("{path}{below}"), body.to_string()).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{method} {below}");
        assert!(reply.message().contains("\"vanished\", which this server does not have"), "{}", reply.message());
    }
    assert_eq!(world.get(&path).await.json, read.json);
    assert_eq!(world.call(&world.owner, "DELETE", &path, "").await.status, StatusCode::OK);
}
