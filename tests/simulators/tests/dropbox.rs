//! Dropbox's traps, where its library does not go.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Caller, at};
use serde_json::{Value, json};
use simulators::dropbox::Dropbox;
use simulators::{Fault, RetryAfter, Simulator, When};

const START: &str = "2026-05-12T15:50:38Z";
const LIST: &str = "/2/files/list_folder";
const CONTINUE: &str = "/2/files/list_folder/continue";

fn start() -> (Simulator<Dropbox>, Caller) {
    let dropbox = Dropbox::start(at(START));
    let token = dropbox.world(Dropbox::connect).access;
    let caller = Caller::new(dropbox.url(), &token);
    (dropbox, caller)
}

#[tokio::test]
async fn bodies_are_those_of_the_documentation() {
    let (dropbox, caller) = start();
    let id = dropbox.world(|files| files.write("/Prime_Numbers.txt"));
    let list = caller.post(LIST, &json!({"path": "", "recursive": true, "limit": 2000})).await;
    assert_eq!(list.header("content-type"), Some("application/json"));
    let list = list.ok();
    assert_eq!(
        list["entries"],
        json!([{
            ".tag": "file",
            "id": id,
            "name": "Prime_Numbers.txt",
            "path_lower": "/prime_numbers.txt",
            "path_display": "/Prime_Numbers.txt",
            "client_modified": "2026-05-12T15:50:38Z",
            "server_modified": "2026-05-12T15:50:38Z",
            "rev": "000015a00000001",
            "size": 1,
            "is_downloadable": true,
            "content_hash": format!("{:064x}", 1),
        }])
    );
    assert_eq!(list["has_more"], false);
    dropbox.world(Dropbox::reset_cursors);
    let reset = caller.post(CONTINUE, &json!({"cursor": list["cursor"]})).await;
    assert_eq!((reset.status, reset.json()), (409, json!({"error_summary": "reset/..", "error": {".tag": "reset"}})));
}

#[tokio::test]
async fn too_many_requests_are_told_in_body_and_header() {
    let (dropbox, caller) = start();
    dropbox.plan(When::next().times(2), Fault::too_many(RetryAfter::Seconds(30)));
    for _ in 0..2 {
        let reply = caller.post(LIST, &json!({"path": ""})).await;
        assert_eq!((reply.status, reply.header("retry-after")), (429, Some("30")));
        let error = json!({"reason": {".tag": "too_many_requests"}, "retry_after": 30});
        assert_eq!(reply.json(), json!({"error_summary": "too_many_requests/..", "error": error}));
    }
    assert_eq!(caller.post(LIST, &json!({"path": ""})).await.status, 200);
    dropbox.plan(When::path("continue").forever(), Fault::too_many(RetryAfter::Date(90)));
    let cursor = caller.post(LIST, &json!({"path": ""})).await.ok()["cursor"].clone();
    let reply = caller.post(CONTINUE, &json!({"cursor": cursor})).await;
    assert_eq!(reply.header("retry-after"), Some("Tue, 12 May 2026 15:52:08 GMT"));
    dropbox.heal();
    assert_eq!(caller.post(CONTINUE, &json!({"cursor": cursor})).await.status, 200);
}

#[tokio::test]
async fn what_is_not_understood_is_refused_in_text() {
    let (_dropbox, caller) = start();
    for (body, words) in [
        (json!({"path": "/"}), "Specify the root folder as an empty string"),
        (json!({"path": "a"}), "did not match pattern"),
        (json!({}), "missing required field 'path'"),
        (json!({"path": "", "recurse": true}), "unknown field 'recurse'"),
        (json!({"path": "", "limit": 2001}), "limit"),
        (json!({"path": "", "include_deleted": true}), "include_deleted"),
    ] {
        let reply = caller.post(LIST, &body).await;
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        assert_eq!(reply.status, 400, "{body}");
        assert!(
            text.starts_with("Error in call to API function \"files/list_folder\": ") && text.contains(words),
            "{text}"
        );
    }
    let reply = caller.form(LIST, &[("path", "")]).await.unwrap();
    assert!(String::from_utf8_lossy(&reply.body).contains("Must provide HTTP header \"Authorization\""));
    // The longpoll wants no token.
    let reply = caller.post("/2/files/list_folder/longpoll", &json!({"cursor": "x"})).await;
    assert_eq!(reply.status, 400);
}

#[tokio::test]
async fn a_code_brings_the_account_and_a_refresh_brings_an_access_token_only() {
    let (dropbox, caller) = start();
    let code = dropbox.world(|files| files.grants.agree("dbid:x", "https://pollhook.example/oauth"));
    let exchange = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", "https://pollhook.example/oauth"),
    ];
    let tokens = caller.token("/oauth2/token", &exchange).await.ok();
    assert_eq!((&tokens["account_id"], &tokens["expires_in"]), (&json!("dbid:x"), &json!(14_400)));
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", tokens["refresh_token"].as_str().unwrap())];
    let refreshed = caller.token("/oauth2/token", &refresh).await.ok();
    let fields: Vec<&String> = refreshed.as_object().unwrap().keys().collect();
    assert_eq!(fields, ["access_token", "expires_in", "token_type"]);
    dropbox.plan(When::next(), Fault::Revoke);
    let reply = caller.token("/oauth2/token", &refresh).await;
    assert_eq!((reply.status, &reply.json()["error"]), (400, &json!("invalid_grant")));
}

#[tokio::test]
async fn a_mirror_that_follows_the_rules_is_the_tree_whatever_the_pages() {
    let (dropbox, caller) = start();
    // The rules of `files.stone`, which providers.md §4.3 repeats.
    let mut mirror = std::collections::BTreeMap::<String, Value>::new();
    let follow = |mirror: &mut std::collections::BTreeMap<String, Value>, entry: &Value| {
        let path = entry["path_lower"].as_str().unwrap().to_owned();
        let inside = format!("{path}/");
        let folder = entry[".tag"] == "folder";
        if !(folder && mirror.get(&path).is_none_or(|old| old[".tag"] == "folder")) {
            mirror.retain(|old, _| *old != path && !old.starts_with(&inside));
        }
        if entry[".tag"] != "deleted" {
            mirror.insert(path, entry.clone());
        }
    };
    let mut cursor =
        caller.post(LIST, &json!({"path": "", "recursive": true, "limit": 3})).await.ok()["cursor"].clone();
    // A walk that is the same every time, over few names, so that files and folders take each other's places.
    let mut number = 7_u64;
    let mut draw = |below: u64| {
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (number >> 33) % below
    };
    for _ in 0..200 {
        for _ in 0..=draw(6) {
            let mut path = |depth: u64| {
                (0..=draw(depth))
                    .map(|_| format!("/{}", ["a", "B", "c"][usize::try_from(draw(3)).unwrap()]))
                    .collect::<String>()
            };
            let (one, other) = (path(3), path(3));
            match draw(5) {
                0 => dropbox.world(|files| files.delete(&one)),
                1 => dropbox.world(|files| files.rename(&one, &other)),
                2 => drop(dropbox.world(|files| files.make_folder(&one))),
                _ => drop(dropbox.world(|files| files.write(&one))),
            }
        }
        loop {
            let page = caller.post(CONTINUE, &json!({"cursor": cursor})).await.ok();
            for entry in page["entries"].as_array().unwrap() {
                follow(&mut mirror, entry);
            }
            cursor = page["cursor"].clone();
            if page["has_more"] == false {
                break;
            }
        }
        let mut tree = std::collections::BTreeMap::new();
        let list = caller.post(LIST, &json!({"path": "", "recursive": true})).await.ok();
        for entry in list["entries"].as_array().unwrap() {
            tree.insert(entry["path_lower"].as_str().unwrap().to_owned(), entry.clone());
        }
        assert_eq!(mirror, tree);
    }
}
