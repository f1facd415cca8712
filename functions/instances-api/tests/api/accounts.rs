//! Making accounts with the installation's admin key.

use std::time::Duration;

use axum::body::Body;
use http::header::{AUTHORIZATION, CACHE_CONTROL, WWW_AUTHENTICATE};
use http::{Request, StatusCode};
use scenarios::Logs;
use serde_json::json;

use crate::world::{Reply, World, ask};

/// `printf admin-key-of-the-test | sha256sum`
const SHA256: &str = "336c3447ff170e26f07bd3a2275485a7777dd8d5f898888ab5c2321a3e7bccb6";

async fn post(world: &World, keys: &[&str], body: &str) -> Reply {
    call(world, keys, "POST", "/accounts", body).await
}

async fn call(world: &World, keys: &[&str], method: &str, path: &str, body: &str) -> Reply {
    let mut request = Request::builder().method(method).uri(format!("/elements/api-v2{path}"));
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
async fn keys_are_replaced_without_a_moment_when_neither_pair_works() {
    let (logs, _capture) = Logs::capture();
    let world = World::new(94).await;
    let made = post(&world, &[ADMIN], "").await;
    let text = |reply: &Reply, key: &str| reply.json[key].as_str().unwrap().to_owned();
    let (account, old) = (&made.json["accountId"], text(&made, "authorization"));
    let path = format!("/accounts/{account}/keys");
    let works = async |authorization: &str| match world.call(authorization, "GET", "/instances/count", "").await.status
    {
        StatusCode::OK => true,
        StatusCode::UNAUTHORIZED => false,
        other => panic!("{other}"),
    };
    let body =
        r#"{"name": "Acme", "element": {"key": "hubspot"}, "configuration": {"event.notification.enabled": false}}"#;
    let instance = world.call(&old, "POST", "/instances", body).await;
    let token = text(&instance, "token");

    world.platform.advance(Duration::from_secs(60));
    let added = call(&world, &[ADMIN], "POST", &path, "").await;
    assert_eq!((added.status, added.header(CACHE_CONTROL.as_str())), (StatusCode::OK, Some("no-store")));
    assert_eq!(added.json["accountId"], *account);
    let (new, since) = (text(&added, "authorization"), text(&added, "keysSince"));
    assert!(works(&old).await && works(&new).await, "both work while apps change over");

    let void = format!("{path}?before={since}");
    for again in ["once", "twice"] {
        let voided = call(&world, &[ADMIN], "DELETE", &void, "").await;
        assert_eq!((voided.status, &voided.json["keysSince"]), (StatusCode::OK, &json!(since)), "{again}");
        assert!(!works(&old).await && works(&new).await, "{again}");
    }
    let earlier = format!("{path}?before={}", text(&made, "keysSince"));
    let voided = call(&world, &[ADMIN], "DELETE", &earlier, "").await;
    assert_eq!(voided.json["keysSince"], json!(since), "what is void stays void");
    assert!(!works(&old).await);

    // The token is the instance's, and goes with any pair that counts; one half of each pair is no pair.
    let user = |authorization: &str| authorization.split(',').next().unwrap().to_owned();
    let by_token = async |pair: &str| {
        world.call(&format!("{}, Element {token}", user(pair)), "GET", "/instances/configuration", "").await.status
    };
    assert_eq!((by_token(&new).await, by_token(&old).await), (StatusCode::OK, StatusCode::UNAUTHORIZED));
    let mixed = format!("{},{}", user(&old), new.split(',').nth(1).unwrap());
    assert!(!works(&mixed).await);
    let logged = logs.text();
    for secret in ["userSecret", "organizationSecret"].map(|key| text(&added, key)) {
        assert!(!logged.contains(&secret) && !world.holds(&secret));
    }
}

#[tokio::test]
async fn what_voids_keys_by_accident_is_refused() {
    let world = World::new(95).await;
    let made = post(&world, &[ADMIN], "").await;
    let path = format!("/accounts/{}/keys", made.json["accountId"]);
    let accepted = "accepted: a time that is past, as keysSince has it: 2026-11-24T10:00:00.000Z";
    let future = crate::world::NOW.plus(Duration::from_secs(3600)).iso_millis();
    for (query, given) in [
        (String::new(), "nothing".to_owned()),
        ("?before=yesterday".into(), "\"yesterday\"".into()),
        (format!("?before={future}"), format!("\"{future}\"")),
    ] {
        let reply = call(&world, &[ADMIN], "DELETE", &format!("{path}{query}"), "").await;
        let message = format!("before: given {given}; {accepted}");
        assert_eq!((reply.status, reply.message()), (StatusCode::BAD_REQUEST, message.as_str()));
    }
    for (method, path) in [
        ("POST", "/accounts/1/keys"),
        ("DELETE", "/accounts/1/keys?before=2020-01-01T00:00:00Z"),
        ("POST", "/accounts/x/keys"),
    ] {
        let reply = call(&world, &[ADMIN], method, path, "").await;
        assert_eq!((reply.status, reply.message()), (StatusCode::NOT_FOUND, "there is no such account"), "{path}");
    }
    let owner = made.json["authorization"].as_str().unwrap();
    for keys in [&[][..], &[owner], &["Bearer another"]] {
        for method in ["POST", "DELETE"] {
            assert_eq!(call(&world, keys, method, &path, "").await.status, StatusCode::UNAUTHORIZED);
        }
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
