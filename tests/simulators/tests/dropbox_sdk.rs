//! What `dropbox`, Dropbox's own library, sees of the simulator: it decodes strictly.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::at;
use serde_json::{Value, json};
use simulators::dropbox::Dropbox;
use simulators::sdk::Client;
use simulators::{Authorization, Fault, RetryAfter, Simulator, When};

const START: &str = "2026-05-12T15:50:38.900Z";

fn start() -> (Simulator<Dropbox>, Client) {
    let dropbox = Dropbox::start(at(START));
    let token = dropbox.world(Dropbox::connect).access;
    let mut client = Client::start(include_str!("../src/sdk/dropbox.py"), dropbox.url());
    client.value("connect", &json!({"token": token}));
    (dropbox, client)
}

/// Entries in short: kind and path.
fn short(entries: &Value) -> Vec<String> {
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
    entries.as_array().unwrap().iter().map(|entry| text(entry, "kind") + " " + &text(entry, "display")).collect()
}

#[test]
fn it_lists_everything_in_pages_and_then_what_changes() {
    let (dropbox, mut client) = start();
    let client_modified = at("1999-01-01T00:00:00Z");
    let id = dropbox.world(|files| {
        files.write("/Homework/math/Prime_Numbers.txt");
        files.write("/b.txt");
        files.write_dated("/Zebra.txt", client_modified)
    });
    let all = client.value("all", &json!({"limit": 2}));
    assert_eq!(
        short(&all["entries"]),
        [
            "file /b.txt",
            "folder /Homework",
            "folder /Homework/math",
            "file /Homework/math/Prime_Numbers.txt",
            "file /Zebra.txt"
        ]
    );
    let sizes: Vec<u64> = all["sizes"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap()).collect();
    assert!(sizes.iter().all(|size| *size <= 2) && sizes.iter().sum::<u64>() == 5, "{sizes:?}");
    assert_eq!(
        all["entries"][4],
        json!({
            "kind": "file",
            "path": "/zebra.txt",
            "display": "/Zebra.txt",
            "name": "Zebra.txt",
            "id": id,
            "rev": "000015a00000005",
            "modified": "2026-05-12T15:50:38",
            "client_modified": "1999-01-01T00:00:00",
        })
    );
    let cursor = &all["cursor"];
    assert_eq!(client.value("longpoll", &json!({"cursor": cursor})), false);
    dropbox.clock().advance(Duration::from_secs(60));
    let again = dropbox.world(|files| files.write("/zebra.txt"));
    assert_eq!(client.value("longpoll", &json!({"cursor": cursor})), true);
    let changed = client.value("all", &json!({"cursor": cursor}));
    assert_eq!((&changed["entries"][0]["id"], again), (&json!(id), id));
    assert_eq!(changed["entries"][0]["modified"], "2026-05-12T15:51:38");
    assert_ne!(changed["entries"][0]["rev"], all["entries"][4]["rev"]);
    // The same cursor gives the same again: only a newer one goes on.
    assert_eq!(client.value("all", &json!({"cursor": cursor}))["entries"], changed["entries"]);
    assert_eq!(client.value("all", &json!({"cursor": changed["cursor"]}))["entries"], json!([]));
}

#[test]
fn a_deleted_folder_is_one_entry_without_an_id() {
    let (dropbox, mut client) = start();
    dropbox.world(|files| {
        files.write("/a/b/one.txt");
        files.write("/a/b/two.txt");
        files.write("/c.txt");
    });
    let cursor = client.value("latest", &json!({}));
    dropbox.world(|files| files.delete("/A"));
    let changed = client.value("all", &json!({"cursor": cursor}));
    assert_eq!(changed["entries"], json!([{"kind": "deleted", "path": "/a", "display": "/a", "name": "a"}]));
    assert_eq!(short(&client.value("all", &json!({}))["entries"]), ["file /c.txt"]);
    let raised = client.raised("get", &json!({"path": "/a/b/one.txt"}));
    assert_eq!((raised.kind.as_str(), raised.details), ("ApiError", json!({"error": "path", "inner": "not_found"})));
}

#[test]
fn a_move_is_a_deletion_and_a_new_entry_with_the_old_id_maybe_pages_apart() {
    let (dropbox, mut client) = start();
    let id = dropbox.world(|files| files.write("/old/x.txt"));
    let first = client.value("list", &json!({"limit": 1}));
    let cursor = client.value("all", &json!({"cursor": first["cursor"]}))["cursor"].clone();
    dropbox.world(|files| files.rename("/old/x.txt", "/new/x.txt"));
    let changed = client.value("all", &json!({"cursor": cursor}));
    assert_eq!(short(&changed["entries"]), ["deleted /old/x.txt", "folder /new", "file /new/x.txt"]);
    // A cursor keeps the limit of its listing.
    assert_eq!(changed["sizes"], json!([1, 1, 1]));
    assert_eq!(changed["entries"][2]["id"], id);
    dropbox.world(|files| files.rename("/new/x.txt", "/new/X.TXT"));
    assert_eq!(client.value("all", &json!({"cursor": changed["cursor"]}))["entries"], json!([]));
    assert_eq!(client.value("get", &json!({"path": "/new/x.txt"}))["name"], "X.TXT");
}

#[test]
fn pages_may_be_empty_and_not_the_last() {
    let (dropbox, mut client) = start();
    let cursor = client.value("latest", &json!({}));
    dropbox.world(|files| {
        files.write("/x.txt");
        files.empty_pages = 2;
    });
    let changed = client.value("all", &json!({"cursor": cursor}));
    assert_eq!((&changed["sizes"], short(&changed["entries"])), (&json!([0, 0, 1]), vec!["file /x.txt".to_owned()]));
}

#[test]
fn what_changes_during_a_listing_is_told_by_its_end() {
    let (dropbox, mut client) = start();
    dropbox.world(|files| {
        for name in ["/a", "/b", "/c", "/d"] {
            files.write(name);
        }
    });
    dropbox.plan(
        When::path("/list_folder"),
        Fault::after(|files: &mut Dropbox| {
            files.delete("/a");
            files.write("/aa");
            files.delete("/c");
        }),
    );
    let all = client.value("all", &json!({"limit": 2}));
    assert_eq!(short(&all["entries"]), ["file /a", "file /b", "file /d", "deleted /a", "file /aa", "deleted /c"]);
}

#[test]
fn a_cursor_that_is_dead_says_reset_and_one_that_never_was_is_a_bad_input() {
    let (dropbox, mut client) = start();
    dropbox.world(|files| files.write("/x.txt"));
    let cursor = client.value("latest", &json!({}));
    dropbox.world(Dropbox::reset_cursors);
    let raised = client.raised("more", &json!({"cursor": cursor}));
    assert_eq!((raised.kind.as_str(), raised.details), ("ApiError", json!({"error": "reset", "inner": null})));
    assert_eq!(client.raised("longpoll", &json!({"cursor": cursor})).details["error"], "reset");
    let raised = client.raised("more", &json!({"cursor": "made-up"}));
    assert_eq!(raised.kind, "BadInputError");
    assert!(raised.details["message"].as_str().unwrap().contains("Invalid \"cursor\" parameter"));
    assert_eq!(short(&client.value("all", &json!({}))["entries"]), ["file /x.txt"]);
}

#[test]
fn errors_are_the_exceptions_it_has_for_them() {
    let (dropbox, mut client) = start();
    dropbox.plan(When::next(), Fault::too_many(RetryAfter::Seconds(17)));
    let raised = client.raised("list", &json!({}));
    let details = json!({"reason": "too_many_requests", "retry_after": 17, "backoff": 17});
    assert_eq!((raised.kind.as_str(), raised.details), ("RateLimitError", details));
    assert_eq!(dropbox.served()[0].status(), Some(429));

    dropbox.plan(When::next(), Fault::too_many(RetryAfter::Unsaid));
    // The default of the specification.
    assert_eq!(client.raised("list", &json!({})).details["retry_after"], 1);

    dropbox.plan(When::next(), Fault::broken(503));
    assert_eq!(client.raised("list", &json!({})).kind, "InternalServerError");

    dropbox.plan(When::next(), Fault::HangUpBefore);
    assert_eq!(client.raised("list", &json!({})).kind, "ConnectionError");

    let raised = client.raised("list", &json!({"path": "/none"}));
    assert_eq!(raised.details, json!({"error": "path", "inner": "not_found"}));
    dropbox.world(|files| files.write("/x.txt"));
    assert_eq!(client.raised("list", &json!({"path": "/x.txt"})).details["inner"], "not_folder");
}

#[test]
fn it_renews_its_token_by_a_refresh_token_that_stays() {
    let (dropbox, mut client) = start();
    let tokens = dropbox.world(Dropbox::connect);
    client.value("connect", &json!({"token": tokens.access, "refresh_token": tokens.refresh}));
    assert_eq!(client.value("account", &json!({})), "dbid:AAH4f99T0taONIb-OurWxbNQ6ywGRopQngc");
    dropbox.clock().advance(Duration::from_secs(14_400));
    dropbox.forget();
    client.value("list", &json!({}));
    let served = dropbox.served();
    let seen: Vec<_> = served.iter().map(|served| (served.path.as_str(), served.status())).collect();
    assert_eq!(
        seen,
        [("/2/files/list_folder", Some(401)), ("/oauth2/token", Some(200)), ("/2/files/list_folder", Some(200))]
    );
    let Authorization::Bearer(token) = &served[2].authorization else { panic!("{served:?}") };
    assert_ne!(*token, tokens.access);
    assert_eq!(client.value("refresh", &json!({})), tokens.refresh);

    client.value("revoke", &json!({}));
    let raised = client.raised("list", &json!({}));
    assert_eq!((raised.kind.as_str(), raised.details), ("AuthError", json!({"error": "invalid_access_token"})));
    // The library makes this of `invalid_grant`.
    let raised = client.raised("refresh", &json!({}));
    assert_eq!((raised.kind.as_str(), raised.details), ("AuthError", json!({"error": "invalid_access_token"})));
}

#[test]
fn a_folder_may_be_listed_alone() {
    let (dropbox, mut client) = start();
    dropbox.world(|files| {
        files.write("/a/x.txt");
        files.write("/a/b/y.txt");
        files.write("/ab.txt");
    });
    let list = |client: &mut Client, path: &str, recursive: bool| {
        short(&client.value("list", &json!({"path": path, "recursive": recursive}))["entries"])
    };
    assert_eq!(list(&mut client, "", false), ["folder /a", "file /ab.txt"]);
    assert_eq!(list(&mut client, "/A", false), ["folder /a/b", "file /a/x.txt"]);
    assert_eq!(list(&mut client, "/a", true), ["folder /a", "folder /a/b", "file /a/b/y.txt", "file /a/x.txt"]);
    let cursor = client.value("list", &json!({"path": "/a", "recursive": false}))["cursor"].clone();
    dropbox.world(|files| {
        files.write("/a/b/z.txt");
        files.write("/a/w.txt");
        files.write("/v.txt");
    });
    assert_eq!(short(&client.value("more", &json!({"cursor": cursor}))["entries"]), ["file /a/w.txt"]);
}
