//! Requests that an instance's token stands in.

use events::InstanceId;
use http::StatusCode;
use records::deliveries::State;
use serde_json::json;

use crate::world::{NOW, Reply, World};

async fn call(world: &World, who: &str, method: &str, path: &str) -> Reply {
    let body = json!({"name": "Renamed", "configuration": {"other": "x"}, "propertyValue": "true"}).to_string();
    world.call(who, method, path, body).await
}

/// The path of one of the instance's own items.
async fn item(world: &World, id: InstanceId) -> String {
    let items = world.get(&format!("/instances/{id}/configuration")).await.json;
    let items = items.as_array().unwrap();
    let enabled = items.iter().find(|item| item["key"] == "event.notification.enabled").unwrap();
    format!("/configuration/{}", enabled["id"])
}

#[tokio::test]
async fn a_path_without_an_id_means_the_tokens_instance() {
    let world = World::new(50).await;
    let id = world.instance(json!({})).await;
    world.instance(json!({})).await;
    let event = world.delivery(id, 1, State::Told { at: NOW }, "{}".into()).await;
    let two = world.by_token(id).await;
    let three = format!("{two}, {}", world.owner.split_once(", ").unwrap().1);
    let item = item(&world, id).await;
    for who in [&two, &three] {
        for (method, below) in [
            ("GET", ""),
            ("PATCH", ""),
            ("PUT", ""),
            ("DELETE", "/enabled"),
            ("PUT", "/enabled"),
            ("GET", "/configuration"),
            ("PATCH", item.as_str()),
            ("GET", item.as_str()),
            ("GET", "/events"),
            ("GET", &format!("/events/{event}")),
        ] {
            let by_token = call(&world, who, method, &format!("/instances{below}")).await;
            let by_path = call(&world, &world.owner, method, &format!("/instances/{id}{below}")).await;
            assert_eq!(by_token.status, StatusCode::OK, "{method} {below}: {}", by_token.text);
            assert_eq!(by_token.json, by_path.json, "{method} {below}");
        }
    }
}

#[tokio::test]
async fn without_a_token_such_a_path_says_what_is_missing() {
    let world = World::new(51).await;
    world.instance(json!({})).await;
    for (method, below) in [
        ("PATCH", ""),
        ("PUT", ""),
        ("DELETE", ""),
        ("PUT", "/enabled"),
        ("DELETE", "/enabled"),
        ("GET", "/configuration"),
        ("GET", "/configuration/7"),
        ("PATCH", "/configuration/7"),
        ("GET", "/events"),
        ("GET", "/events/x"),
    ] {
        let reply = call(&world, &world.owner, method, &format!("/instances{below}")).await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{method} {below}");
        assert!(reply.message().contains("Element <the instance's token>"), "{}", reply.message());
    }
}

#[tokio::test]
async fn user_and_token_reach_their_instance_alone() {
    let world = World::new(52).await;
    let (id, other) = (world.instance(json!({})).await, world.instance(json!({})).await);
    let who = world.by_token(id).await;
    assert_eq!(call(&world, &who, "GET", &format!("/instances/{id}")).await.status, StatusCode::OK);
    for (method, below) in [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/events"), ("GET", "/configuration")] {
        let theirs = call(&world, &who, method, &format!("/instances/{other}{below}")).await;
        let none = call(&world, &who, method, &format!("/instances/1{below}")).await;
        assert_eq!(theirs.status, StatusCode::NOT_FOUND, "{method} {below}");
        assert_eq!(theirs.message(), none.message());
    }
    for (method, path) in [
        ("POST", "/instances"),
        ("GET", "/instances/count"),
        ("GET", "/refused"),
        ("GET", "/notifications/subscriptions/deliveries?where=channel%3D'webhook'%20and%20status%3D'queued'"),
    ] {
        assert_eq!(call(&world, &who, method, path).await.status, StatusCode::UNAUTHORIZED, "{method} {path}");
    }
    assert_eq!(world.get(&format!("/instances/{other}")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_token_beside_another_accounts_keys_opens_nothing() {
    let world = World::new(53).await;
    let id = world.instance(json!({})).await;
    let token = world.by_token(id).await.split_once(", ").unwrap().0.to_owned();
    let (user, organization) = world.stranger.split_once(", ").unwrap();
    for who in [format!("{user}, {token}"), format!("{user}, {organization}, {token}")] {
        for path in ["/instances".to_owned(), format!("/instances/{id}"), "/elements".to_owned()] {
            let reply = call(&world, &who, "GET", &path).await;
            assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{who} {path}");
            assert!(!reply.text.contains(&token["Element ".len()..]));
        }
    }
}

#[tokio::test]
async fn a_deleted_instances_token_is_void() {
    let world = World::new(54).await;
    let id = world.instance(json!({})).await;
    let two = world.by_token(id).await;
    let three = format!("{two}, {}", world.owner.split_once(", ").unwrap().1);
    let reply = call(&world, &two, "DELETE", "/instances").await;
    assert_eq!((reply.status, reply.json), (StatusCode::OK, json!({})));
    for who in [&two, &three] {
        for (method, path) in [
            ("GET", "/instances".to_owned()),
            ("DELETE", "/instances".to_owned()),
            ("GET", "/instances/configuration".to_owned()),
            ("GET", format!("/instances/{id}")),
            ("GET", "/elements".to_owned()),
        ] {
            assert_eq!(call(&world, who, method, &path).await.status, StatusCode::UNAUTHORIZED, "{method} {path}");
        }
    }
    assert_eq!(world.get(&format!("/instances/{id}")).await.status, StatusCode::NOT_FOUND);
}
