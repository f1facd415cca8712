//! Who may see what.

use axum::body::Body;
use http::header::{ALLOW, AUTHORIZATION};
use http::{Request, StatusCode};
use records::refused::{Reason, Refusals, Sample};
use serde_json::json;

use crate::world::{NOW, World};

#[tokio::test]
async fn without_both_keys_of_one_account_nothing_is_answered_and_nothing_sent_is_repeated() {
    let world = World::new(20).await;
    let (user, organization) = world.owner.split_once(", ").unwrap();
    let (_, foreign) = world.stranger.split_once(", ").unwrap();
    let (user_key, organization_key) = (&user["User ".len()..], &organization["Organization ".len()..]);
    for header in [
        "",
        "User s3cret, Organization s3cret",
        "Basic s3cret",
        user,
        organization,
        &format!("{organization}, Element {user_key}"),
        &format!("{user}, Element {organization_key}"),
        &format!("{user}, {foreign}"),
        &format!("User {organization_key}, Organization {user_key}"),
    ] {
        let reply = world.call(header, "GET", "/instances/1", "").await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{header}");
        assert!(reply.message().contains("User <user secret>, Organization <organization secret>"));
        assert!(!reply.text.contains("s3cret") && !reply.text.contains(user_key));
    }
    let bare = Request::get("/elements/api-v2/instances/1").body(Body::empty()).unwrap();
    assert_eq!(world.raw(bare).await.status, StatusCode::UNAUTHORIZED);
    let twice = Request::get("/elements/api-v2/instances/1").header(AUTHORIZATION, &world.owner);
    let twice = twice.header(AUTHORIZATION, &world.owner).body(Body::empty()).unwrap();
    assert_eq!(world.raw(twice).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_header_is_read_in_any_order_and_case() {
    let world = World::new(21).await;
    let id = world.instance(json!({})).await;
    let (user, organization) = world.owner.split_once(", ").unwrap();
    for header in
        [format!("{organization}, {user}"), world.owner.replace("User", "user").replace("Organization", "ORGANIZATION")]
    {
        let reply = world.call(&header, "GET", &format!("/instances/{id}"), "").await;
        assert_eq!(reply.status, StatusCode::OK, "{header}");
    }
}

#[tokio::test]
async fn another_accounts_instance_is_answered_exactly_like_none() {
    let world = World::new(22).await;
    let id = world.instance(json!({})).await;
    for (method, of) in [
        ("GET", ""),
        ("PUT", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("PUT", "/enabled"),
        ("DELETE", "/enabled"),
        ("GET", "/configuration"),
        ("GET", "/configuration/7"),
        ("PATCH", "/configuration/7"),
        ("GET", "/events"),
        ("GET", "/events/-------------------0"),
    ] {
        let body = r#"{"name": "x", "configuration": {}, "propertyValue": "x"}"#;
        let theirs = world.call(&world.stranger, method, &format!("/instances/{id}{of}"), body).await;
        let none = world.call(&world.stranger, method, &format!("/instances/1{of}"), body).await;
        let not_a_number = world.call(&world.stranger, method, &format!("/instances/x%FF{of}"), body).await;
        assert_eq!(theirs.status, StatusCode::NOT_FOUND, "{method}{of}");
        assert_eq!((theirs.status, theirs.message()), (none.status, none.message()), "{method}{of}");
        assert!(not_a_number.status.is_client_error());
    }
    assert_eq!(world.get(&format!("/instances/{id}")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn only_an_operator_reads_what_was_refused() {
    let world = World::new(23).await;
    let mut refusals = Refusals::none();
    refusals.add(Sample { at: NOW, detail: "no such portal".into() });
    records::refused::add(&world.platform, "hubspot", NOW.day(), Reason::UnknownAccount, &refusals).await.unwrap();
    assert_eq!(world.get("/refused").await.status, StatusCode::FORBIDDEN);
    let reply = world.call(&world.operator, "GET", "/refused", "").await;
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(
        reply.json,
        json!([{
            "connector": "hubspot", "day": "2026-09-21", "reason": "unknown_account", "count": 1,
            "samples": [{"at": "2026-09-21T14:13:20.000Z", "detail": "no such portal"}],
        }])
    );
}

#[tokio::test]
async fn an_unknown_path_or_method_is_answered_in_the_same_form() {
    let world = World::new(24).await;
    let reply = world.get("/nowhere").await;
    assert_eq!((reply.status, reply.message()), (StatusCode::NOT_FOUND, "there is no such path"));
    let reply = world.call(&world.owner, "DELETE", "/instances/count", "").await;
    assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(reply.header(ALLOW.as_str()), Some("GET,HEAD"));
    assert_eq!(reply.json["requestId"], reply.header("elements-request-id").unwrap());
}
