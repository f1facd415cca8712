//! The API of nobody in particular.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Caller, Reply, at};
use serde_json::{Value, json};
use simulators::http::{HttpApi, Needs};
use simulators::{Fault, Simulator, When};

const START: &str = "2026-06-07T08:09:10.111Z";

fn start() -> (Simulator<HttpApi>, Caller) {
    let api = HttpApi::start(at(START));
    let token = api.world(HttpApi::connect).access;
    let caller = Caller::new(api.url(), &token);
    (api, caller)
}

/// Makes records, a second apart.
fn create(api: &Simulator<HttpApi>, records: usize) -> Vec<String> {
    let mut made = Vec::new();
    for number in 0..records {
        made.push(api.world(|api| api.create("things", &json!({"number": number}))));
        api.clock().advance(Duration::from_secs(1));
    }
    made
}

fn ids(records: &Value) -> Vec<String> {
    records.as_array().unwrap().iter().map(|record| record["id"].to_string()).collect()
}

/// Where a `Link` header says that it goes on (RFC 8288).
fn next_link(reply: &Reply) -> Option<String> {
    reply.header("link")?.split(", ").find_map(|link| {
        let (url, rel) = link.split_once("; ")?;
        (rel == "rel=\"next\"").then(|| url.trim_matches(['<', '>']).to_owned())
    })
}

/// All pages by one way of paging: the ids of each.
async fn pages(caller: &Caller, way: &str) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let first = format!("/{way}/things?updated_since=2026-06-07T08:09:11Z&limit=2&per_page=2");
    let mut next = Some(first.clone());
    while let Some(url) = next {
        let reply = caller.get(&url).await;
        let body = reply.ok();
        let count = pages.len() + 1;
        let (records, url) = match way {
            "cursor" => {
                let cursor = body["meta"]["next_cursor"].as_str();
                (&body["data"], cursor.map(|cursor| format!("{first}&cursor={}", cursor.replace('=', "%3D"))))
            }
            "link" => (&body, next_link(&reply)),
            "page" => {
                let more = body["page"].as_u64() < body["pages"].as_u64();
                (&body["results"], more.then(|| format!("{first}&page={}", count + 1)))
            }
            "offset" => {
                let more = 2 * count < usize::try_from(body["total"].as_u64().unwrap()).unwrap();
                (&body["items"], more.then(|| format!("{first}&offset={}", 2 * count)))
            }
            _ => (&body["value"], body["next"].as_str().map(str::to_owned)),
        };
        pages.push(ids(records));
        next = url;
    }
    pages
}

#[tokio::test]
async fn every_way_of_paging_gives_all_records_by_the_time_of_their_change() {
    let (api, caller) = start();
    let made = create(&api, 6);
    for way in ["cursor", "link", "page", "offset", "next"] {
        let pages = pages(&caller, way).await;
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1], "{way}");
        assert_eq!(pages.concat(), made[1..], "{way}");
    }
}

#[tokio::test]
async fn what_changes_between_two_pages_is_skipped_by_all_that_count() {
    for way in ["cursor", "link", "page", "offset", "next"] {
        let (api, caller) = start();
        let made = create(&api, 5);
        let changed = made[1].clone();
        api.plan(
            When::path("things"),
            Fault::after(move |api: &mut HttpApi| api.update("things", &changed, &json!({}))),
        );
        let pages = pages(&caller, way).await.concat();
        if way == "cursor" {
            assert_eq!(pages, made[1..], "{way}");
        } else {
            assert_eq!(pages, [&made[1], &made[2], &made[4], &made[1]].map(String::clone), "{way}");
        }
    }
}

#[tokio::test]
async fn records_of_one_moment_come_in_no_helpful_order_and_deleted_ones_when_asked_for() {
    let (api, caller) = start();
    let made: Vec<String> = (0..3).map(|_| api.world(|api| api.create("things", &json!({"name": "n"})))).collect();
    let all = caller.get("/next/things").await.ok();
    assert_eq!(ids(&all["value"]), made.iter().rev().cloned().collect::<Vec<_>>());
    api.clock().advance(Duration::from_millis(5));
    api.world(|api| api.delete("things", &made[0]));
    assert_eq!(ids(&caller.get("/next/things").await.ok()["value"]).len(), 2);
    let since = format!("/next/things?include_deleted=true&updated_since={}", "2026-06-07T08:09:10.116Z");
    let deleted = json!({
        "id": 1,
        "created_at": START,
        "updated_at": "2026-06-07T08:09:10.116Z",
        "deleted_at": "2026-06-07T08:09:10.116Z",
    });
    assert_eq!(caller.get(&since).await.ok()["value"], json!([deleted]));
    assert_eq!(caller.get("/next/things/1").await.status, 410);
    assert_eq!(caller.get("/next/things/2").await.ok()["name"], "n");
    assert_eq!(caller.get("/next/things/9").await.status, 404);
    assert_eq!(caller.get("/next/nothing").await.status, 404);
    assert_eq!(caller.get("/next/things?updated_since=yesterday").await.status, 400);
}

#[tokio::test]
async fn a_list_that_is_late_has_a_record_as_it_was_and_the_record_itself_is_not_late() {
    let (api, caller) = start();
    let made = create(&api, 1);
    api.world(|api| {
        api.lag = Duration::from_secs(60);
        api.update("things", &made[0], &json!({"number": 7}));
        api.create("things", &json!({"number": 8}));
    });
    let numbers = async || {
        let body = caller.get("/next/things").await.ok();
        body["value"].as_array().unwrap().iter().map(|record| record["number"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(caller.get(&format!("/next/things/{}", made[0])).await.ok()["number"], 7);
    assert_eq!(numbers().await, [json!(0)]);
    api.clock().advance(Duration::from_millis(59_999));
    assert_eq!(numbers().await, [json!(0)]);
    api.clock().advance(Duration::from_millis(1));
    assert_eq!(numbers().await, [json!(8), json!(7)]);
}

#[tokio::test]
async fn cursors_expire() {
    let (api, caller) = start();
    create(&api, 3);
    let cursor = caller.get("/cursor/things?limit=1").await.ok()["meta"]["next_cursor"].as_str().unwrap().to_owned();
    let path = format!("/cursor/things?cursor={}", cursor.replace('=', "%3D"));
    assert_eq!(caller.get(&path).await.status, 200);
    api.world(HttpApi::expire_cursors);
    let reply = caller.get(&path).await;
    assert_eq!((reply.status, reply.json()), (410, json!({"error": "cursor_expired"})));
    assert_eq!(caller.get("/cursor/things?cursor=x").await.status, 400);
}

#[tokio::test]
async fn who_asks_shows_what_the_api_wants() {
    let (api, caller) = start();
    create(&api, 1);
    let needs = |needs: Needs| api.world(|api| api.needs = needs);
    assert_eq!(caller.get("/next/things").await.status, 200);
    needs(Needs::Header("x-api-key".into(), "k1".into()));
    assert_eq!(caller.get("/next/things").await.status, 401);
    assert_eq!(caller.get_with("/next/things", "X-Api-Key", "k1").await.status, 200);
    needs(Needs::Parameter("key".into(), "k2".into()));
    assert_eq!(caller.get("/next/things?key=k1").await.status, 401);
    let page = caller.get("/next/things?key=k2").await;
    assert_eq!(page.status, 200);
    needs(Needs::Basic("u".into(), "p".into()));
    assert_eq!(caller.get("/next/things").await.status, 401);
    needs(Needs::Nothing);
    assert_eq!(Caller::new(api.url(), "none").get("/next/things").await.status, 200);
}

#[tokio::test]
async fn every_refresh_brings_another_refresh_token() {
    let (api, caller) = start();
    let first = api.world(HttpApi::connect).refresh;
    let refresh = async |token: &str| {
        caller.token("/oauth/token", &[("grant_type", "refresh_token"), ("refresh_token", token)]).await
    };
    let second = refresh(&first).await.ok()["refresh_token"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    assert_eq!(refresh(&first).await.json(), json!({"error": "invalid_grant"}));
    assert_eq!(refresh(&second).await.status, 200);
    let reply = caller.basic("/oauth/token", &[("grant_type", "password")]).await;
    assert_eq!(reply.json(), json!({"error": "unsupported_grant_type"}));
}
