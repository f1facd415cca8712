//! Making accounts with the installation's admin key.

use axum::body::Body;
use http::header::{AUTHORIZATION, CACHE_CONTROL, WWW_AUTHENTICATE};
use http::{Request, StatusCode};
use scenarios::Logs;
use serde_json::json;

use crate::world::{Reply, World, ask};

/// `printf admin-key-of-the-test | sha256sum`
const SHA256: &str = "336c3447ff170e26f07bd3a2275485a7777dd8d5f898888ab5c2321a3e7bccb6";

async fn post(world: &World, keys: &[&str], body: &str) -> Reply {
    let mut request = Request::post("/elements/api-v2/accounts");
    for key in keys {
        request = request.header(AUTHORIZATION, *key);
    }
    let router = world.router_with(Some(SHA256.parse().unwrap()));
    ask(router, request.body(Body::from(body.to_owned())).unwrap()).await
}

const ADMIN: &str = "Bearer admin-key-of-the-test";

#[tokio::test]
async fn the_admin_key_makes_an_account_whose_secrets_are_shown_once() {
    let (logs, _capture) = Logs::capture();
    let world = World::new(90).await;
    let reply = post(&world, &[ADMIN], "").await;
    assert_eq!((reply.status, reply.header(CACHE_CONTROL.as_str())), (StatusCode::OK, Some("no-store")));
    for id in ["accountId", "companyId", "userId"] {
        assert!(reply.json[id].as_u64().unwrap() > 0, "{id}");
    }
    assert_eq!(reply.json["operator"], false);
    let [user, organization, authorization] =
        ["userSecret", "organizationSecret", "authorization"].map(|key| reply.json[key].as_str().unwrap());
    assert_eq!(authorization, format!("User {user}, Organization {organization}"));
    assert_eq!(world.call(authorization, "GET", "/instances/count", "").await.status, StatusCode::OK);
    assert_eq!(world.call(authorization, "GET", "/refused", "").await.status, StatusCode::FORBIDDEN);
    let logged = logs.text();
    assert!(logged.contains("an account was made"), "{logged}");
    for secret in [user, organization, "admin-key-of-the-test"] {
        assert!(!logged.contains(secret) && !world.holds(secret));
    }
}

#[tokio::test]
async fn an_operators_account_is_made_only_when_asked_for() {
    let world = World::new(91).await;
    for (body, operator) in [(r#"{"operator": true}"#, true), (r#"{"operator": false}"#, false), ("{}", false)] {
        let reply = post(&world, &[ADMIN], body).await;
        assert_eq!((reply.status, &reply.json["operator"]), (StatusCode::OK, &json!(operator)), "{body}");
        let expected = if operator { StatusCode::OK } else { StatusCode::FORBIDDEN };
        let authorization = reply.json["authorization"].as_str().unwrap();
        assert_eq!(world.call(authorization, "GET", "/refused", "").await.status, expected);
    }
    for (body, message) in [
        (r#"{"operator": "true"}"#, "operator: given a text; accepted: true or false"),
        ("[]", "the body: given another JSON value; accepted: a JSON object"),
    ] {
        let reply = post(&world, &[ADMIN], body).await;
        assert_eq!((reply.status, reply.message()), (StatusCode::BAD_REQUEST, message));
    }
}

#[tokio::test]
async fn without_the_admin_key_no_account_is_made_and_nothing_sent_is_repeated() {
    let world = World::new(92).await;
    let owner = world.owner.clone();
    for keys in [
        &[][..],
        &["Bearer s3cret"],
        &["Bearer "],
        &[SHA256],
        &[&format!("Bearer {SHA256}")],
        &["Basic admin-key-of-the-test"],
        &[&owner],
        &[ADMIN, ADMIN],
    ] {
        let reply = post(&world, keys, "").await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{keys:?}");
        assert_eq!(reply.header(WWW_AUTHENTICATE.as_str()), Some("Bearer"));
        assert!(reply.message().contains("Bearer <the installation's admin key>"));
        assert!(!reply.text.contains("s3cret"));
    }
}

#[tokio::test]
async fn where_no_admin_key_is_configured_there_is_no_such_path() {
    let world = World::new(93).await;
    let unknown = world.call(ADMIN, "POST", "/nowhere", "").await;
    for method in ["POST", "GET"] {
        let reply = world.call(ADMIN, method, "/accounts", "").await;
        assert_eq!((reply.status, reply.message()), (unknown.status, unknown.message()));
    }
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
}
