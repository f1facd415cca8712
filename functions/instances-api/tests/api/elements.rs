//! The connectors there are.

use http::StatusCode;
use records::instances::{self, Derived, Provision};
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
            assert_eq!(metadata["events"]["supported"], json!(true));
            for field in ["id", "key", "name", "description"] {
                assert_eq!(metadata[field], element[field]);
                assert!(!metadata[field].is_null());
            }
        }
    }
    let events = async |key: &str| world.get(&format!("/elements/{key}/metadata")).await.json["events"].clone();
    assert_eq!(events("stripe").await, json!({"supported": true, "methods": ["webhook"]}));
    let anything = json!({"supported": true, "methods": ["polling"], "polling": {"resources": []}});
    assert_eq!(events("http").await, anything);
    let hubspot = world.get("/elements/hubspot").await.json;
    assert_eq!(
        (&hubspot["name"], &hubspot["hub"], &hubspot["active"]),
        (&json!("HubSpot"), &json!("crm"), &json!(true))
    );
}

#[tokio::test]
async fn an_unknown_connector_is_none() {
    let world = World::new(61).await;
    for path in [
        "/elements/hubspott",
        "/elements/7",
        "/elements/hubspott/metadata",
        "/elements/99999999999/metadata",
        "/elements/hubspott/instances",
        "/elements/7/instances",
    ] {
        let reply = world.get(path).await;
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{path}");
        assert!(reply.message().starts_with("there is no such element; GET /elements lists"), "{}", reply.message());
    }
    let bare = world.call("", "GET", "/elements", "").await;
    assert_eq!(bare.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_instances_of_one_connector_have_paths_of_their_own() {
    let world = World::new(63).await;
    let other = world.instance(json!({})).await;
    for path in ["/elements/standard/instances", "/elements/standard/instances?tags[]=x"] {
        assert_eq!(world.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let number = world.get("/elements/standard").await.json["id"].clone();
    let path = format!("/elements/{number}/instances");
    let who = world.owner.clone();
    let call = async |method: &str, path: &str, body: serde_json::Value| {
        let reply = world.call(&who, method, path, body.to_string()).await;
        (reply.status, reply.json)
    };
    for element in [json!({"key": "hubspot"}), json!({"id": 16_784_420})] {
        let (status, json) = call("POST", &path, json!({"name": "x", "element": element})).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(json["message"].as_str().unwrap().contains("as in the path"), "{json}");
    }
    let (status, made) = call("POST", "/elements/standard/instances/", json!({"name": "x", "tags": ["t"]})).await;
    assert_eq!((status, &made["element"]["key"]), (StatusCode::OK, &json!("standard")), "{made}");
    assert!(made["createdDate"].is_string());
    for path in [&path, "/elements/standard/instances?tags[]=t&searchText=X"] {
        let listed = world.get(path).await;
        assert_eq!((listed.status, &listed.json), (StatusCode::OK, &json!([made])), "{path}");
        assert_eq!(listed.header("elements-total-count"), Some("1"));
    }
    // Only through its own connector, and only the account's own.
    let (mine, foreign) = (format!("{path}/{}", made["id"]), format!("{path}/{other}"));
    assert_eq!(call("GET", &mine, json!({})).await, (StatusCode::OK, made.clone()));
    for (method, body) in [
        ("GET", json!({})),
        ("PATCH", json!({"name": "y"})),
        ("PUT", json!({"name": "y", "configuration": {}})),
        ("DELETE", json!({})),
    ] {
        let (status, json) = call(method, &foreign, body.clone()).await;
        assert_eq!(
            (status, &json["message"]),
            (StatusCode::NOT_FOUND, &json!("there is no such instance")),
            "{method}"
        );
        let theirs = world.call(&world.stranger, method, &mine, body.to_string()).await;
        assert_eq!((theirs.status, theirs.message()), (StatusCode::NOT_FOUND, "there is no such instance"), "{method}");
    }
    let (status, json) = call("PATCH", &mine, json!({"configuration": {"event.notification.enabled": "true"}})).await;
    assert_eq!((status, &json["eventsEnabled"]), (StatusCode::OK, &json!(true)));
    let (status, json) = call("PUT", &format!("{mine}?reAuthenticate=false"), made).await;
    assert_eq!((status, &json["eventsEnabled"]), (StatusCode::OK, &json!(false)));
    assert_eq!(call("DELETE", &mine, json!({})).await.0, StatusCode::OK);
    assert_eq!(world.get("/instances/count").await.json, json!({"count": 1}));
}

#[tokio::test]
async fn an_instance_of_a_connector_that_is_gone_can_be_read_and_deleted_and_not_changed() {
    let world = World::new(62).await;
    let owner = world.owner_account().await;
    let provision = Provision {
        name: "x".into(),
        connector: "vanished".into(),
        hub: "crm".into(),
        tags: Vec::new(),
        configuration: [("k".to_owned(), "v".to_owned())].into(),
        secrets: instances::Secrets::new(),
    };
    let stored = instances::create(&world.platform, &owner, provision, &Derived::default()).await.unwrap();
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
