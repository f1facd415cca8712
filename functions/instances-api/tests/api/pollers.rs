//! Why nothing comes of an instance that is polled can be seen, by its owner and nobody else.

use std::collections::BTreeMap;
use std::time::Duration;

use events::{InstanceId, Timestamp};
use http::StatusCode;
use platform::{Platform as _, TableError};
use polling::position::{Place, Position};
use records::health::{self, Failing, Health};
use records::plans;
use records::polls::{self, Claimed};
use serde_json::{Value, json};

use crate::world::{CALLBACK, NOW, World};

const MINUTE: Duration = Duration::from_secs(60);

/// An instance that polls contacts and deals, by this and what `more` says.
async fn polled(world: &World, more: Value) -> InstanceId {
    let mut configuration = json!({
        "event.vendor.type": "polling", "event.objects": "contacts,deals", "oauth.user.token": "t0ken-of-the-customer",
        "event.notification.callback.url": CALLBACK});
    configuration.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.instance(configuration).await
}

/// The poller's polls came to these places.
async fn stands(world: &World, id: InstanceId, places: &[(&str, Place)]) {
    let mut standing = polls::read(&world.platform, id).await.unwrap();
    let Claimed::Ours(claim) = polls::claim(&world.platform, &standing, "a test", NOW.plus(MINUTE)).await.unwrap()
    else {
        panic!("nobody else is there");
    };
    standing.state.places = places.iter().map(|(name, place)| ((*name).to_owned(), place.clone())).collect();
    polls::advance(&world.platform, &claim, standing.state).await.unwrap();
}

fn at(seconds: u64) -> Place {
    Place::Position(Position::starting(NOW.minus(Duration::from_secs(seconds))))
}

fn failing(error: &str) -> Failing {
    Failing {
        since: NOW.minus(10 * MINUTE),
        last: NOW,
        failures: 4,
        error: error.into(),
        next: NOW.plus(8 * MINUTE),
        slowed: true,
        told: true,
    }
}

/// The poller noted this.
async fn noted(world: &World, id: InstanceId, note: impl FnOnce(&mut Health)) {
    let read = plans::read(&world.platform, id).await.unwrap().unwrap();
    let mut health = Health::of(read.version);
    note(&mut health);
    assert!(health::put(&world.platform, id, &read.health, &health).await.unwrap());
}

async fn records(world: &World, path: &str) -> Vec<Value> {
    let reply = world.get(path).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    assert!(!reply.text.contains("t0ken"), "{}", reply.text);
    reply.json.as_array().unwrap().clone()
}

fn fields<'a>(records: &'a [Value], names: [&str; 3]) -> Vec<[&'a Value; 3]> {
    records.iter().map(|record| names.map(|name| &record[name])).collect()
}

#[tokio::test]
async fn each_object_has_a_record_of_where_it_stands_and_what_fails() {
    let world = World::new(32_001).await;
    let id = polled(&world, json!({})).await;
    let path = format!("/instances/{id}/event-poller-records");
    let names = ["objectName", "status", "position"];
    let (contacts, deals) = (json!("contacts"), json!("deals"));
    let found = records(&world, &path).await;
    let (waiting, ok, fails, nowhere) = (json!("waiting"), json!("ok"), json!("failing"), Value::Null);
    assert_eq!(fields(&found, names), [[&contacts, &waiting, &nowhere], [&deals, &waiting, &nowhere]]);
    stands(&world, id, &[("contacts", at(60)), ("deals", at(600)), ("gone", at(5))]).await;
    noted(&world, id, |health| drop(health.failing.insert("deals".into(), failing("status 500")))).await;
    let found = records(&world, &path).await;
    let [minute, ten] = [60, 600].map(|seconds| json!(NOW.minus(Duration::from_secs(seconds)).iso_seconds()));
    assert_eq!(fields(&found, names), [[&contacts, &ok, &minute], [&deals, &fails, &ten]]);
    let iso = |at: Timestamp| json!(at.iso_seconds());
    assert_eq!(found[1]["failingSince"], iso(NOW.minus(10 * MINUTE)));
    assert_eq!((&found[1]["failures"], &found[1]["lastError"]), (&json!(4), &json!("status 500")));
    assert_eq!((&found[1]["lastFailure"], &found[1]["nextTry"]), (&iso(NOW), &iso(NOW.plus(8 * MINUTE))));
    assert_eq!((&found[0]["failures"], &found[0]["lastError"]), (&json!(0), &Value::Null));
    let one = world.get(&format!("/instances/{id}")).await.json;
    assert_eq!(one["polling"]["status"], "failing");
    assert_eq!(one["polling"]["lastError"], "status 500");
}

#[tokio::test]
async fn a_consent_that_is_about_to_end_is_shown_until_the_instance_is_changed() {
    let world = World::new(32_011).await;
    let id = polled(&world, json!({})).await;
    stands(&world, id, &[("contacts", at(60)), ("deals", at(60))]).await;
    let one = format!("/instances/{id}");
    let path = format!("{one}/event-poller-records");
    assert_eq!(world.get(&one).await.json["polling"].get("consentLapses"), None);
    let end = NOW.plus(100 * MINUTE);
    noted(&world, id, |health| health.lapses = Some(end)).await;
    let shown = world.get(&one).await.json["polling"].clone();
    assert_eq!((&shown["status"], &shown["consentLapses"]), (&json!("ok"), &json!(end.iso_seconds())));
    let lapse = |record: &Value| record["consentLapses"].clone();
    assert_eq!(
        records(&world, &path).await.iter().map(lapse).collect::<Vec<_>>(),
        [json!(end.iso_seconds()), json!(end.iso_seconds())]
    );
    world.patch(id, &json!({"configuration": {"oauth.user.token": "an0ther"}})).await;
    assert_eq!(
        world.get(&one).await.json["polling"].get("consentLapses"),
        None,
        "the next poll says so again, if it is so"
    );
    assert!(records(&world, &path).await.iter().all(|record| record["consentLapses"].is_null()));
}

#[tokio::test]
async fn an_object_that_is_taken_out_has_no_record_at_once_and_one_that_is_added_waits_for_its_poll() {
    let world = World::new(32_002).await;
    let id = polled(&world, json!({})).await;
    stands(&world, id, &[("contacts", at(60)), ("deals", at(60))]).await;
    noted(&world, id, |health| drop(health.failing.insert("deals".into(), failing("status 500")))).await;
    world.patch(id, &json!({"configuration": {"event.objects": "contacts,tickets"}})).await;
    let found = records(&world, &format!("/instances/{id}/event-poller-records")).await;
    let seen: Vec<(&str, &str)> = found
        .iter()
        .map(|record| (record["objectName"].as_str().unwrap(), record["status"].as_str().unwrap()))
        .collect();
    assert_eq!(seen, [("contacts", "ok"), ("tickets", "waiting")]);
}

#[tokio::test]
async fn what_fails_before_anything_is_asked_for_is_each_object_s_trouble() {
    let world = World::new(32_003).await;
    let id = polled(&world, json!({})).await;
    stands(&world, id, &[("contacts", at(60)), ("deals", at(60))]).await;
    noted(&world, id, |health| drop(health.failing.insert(String::new(), failing("oauth.user.token is missing"))))
        .await;
    let found = records(&world, &format!("/instances/{id}/event-poller-records")).await;
    assert!(found.iter().all(|record| record["status"] == "failing"), "{found:?}");
    assert!(found.iter().all(|record| record["lastError"] == "oauth.user.token is missing"), "{found:?}");
}

#[tokio::test]
async fn an_account_sees_the_records_of_its_own_instances_page_by_page_and_a_token_those_of_its_one() {
    let world = World::new(32_004).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(polled(&world, json!({})).await);
    }
    let webhooks = world.instance(json!({"event.notification.callback.url": CALLBACK})).await;
    assert!(records(&world, &format!("/instances/{webhooks}/event-poller-records")).await.is_empty());
    assert!(world.get(&format!("/instances/{webhooks}")).await.json.get("polling").is_none());
    let all = records(&world, "/instances/event-poller-records").await;
    assert_eq!(all.len(), 6);
    let (mut paged, mut next) = (Vec::new(), None);
    loop {
        let token = next.map(|next| format!("&nextPage={next}")).unwrap_or_default();
        let reply = world.get(&format!("/instances/event-poller-records?pageSize=2{token}")).await;
        paged.extend(reply.json.as_array().unwrap().clone());
        next = reply.header("elements-next-page-token").map(str::to_owned);
        if next.is_none() {
            break;
        }
    }
    assert_eq!(paged, all);
    let token = world.by_token(ids[1]).await;
    let reply = world.call(&token, "GET", "/instances/event-poller-records", "").await;
    let found = reply.json.as_array().unwrap();
    assert!(found.len() == 2 && found.iter().all(|record| record["instanceId"] == json!(ids[1])), "{}", reply.text);
    let stranger = world.stranger.clone();
    let path = format!("/instances/{}/event-poller-records", ids[0]);
    assert_eq!(world.call(&stranger, "GET", &path, "").await.status, StatusCode::NOT_FOUND);
    for path in ["/instances/event-poller-records", "/instances/polling-disabled"] {
        assert_eq!(world.call(&stranger, "GET", path, "").await.json, json!([]));
    }
}

#[tokio::test]
async fn whose_polls_are_stopped_is_listed_with_the_reason_and_nobody_else() {
    let world = World::new(32_005).await;
    let fine = polled(&world, json!({})).await;
    let disabled = polled(&world, json!({})).await;
    world.call(&world.owner, "DELETE", &format!("/instances/{disabled}/enabled"), "").await;
    let never = polled(&world, json!({"event.poller.refresh_interval": "999999999"})).await;
    let off = polled(&world, json!({"event.notification.enabled": "false"})).await;
    let revoked = polled(&world, json!({})).await;
    noted(&world, revoked, |health| health.revoked = Some(NOW)).await;
    noted(&world, fine, |health| drop(health.failing.insert("deals".into(), failing("status 500")))).await;
    let found = records(&world, "/instances/polling-disabled").await;
    let mut seen: Vec<(u64, &str)> = found
        .iter()
        .map(|instance| (instance["id"].as_u64().unwrap(), instance["polling"]["reason"].as_str().unwrap()))
        .collect();
    seen.sort_unstable();
    let mut expected = vec![
        (u64::from(disabled.number()), "instance_disabled"),
        (u64::from(never.number()), "interval_off"),
        (u64::from(off.number()), "events_off"),
        (u64::from(revoked.number()), "consent_revoked"),
    ];
    expected.sort_unstable();
    assert_eq!(seen, expected);
    noted(&world, fine, |health| (health.failing, health.recovered) = (BTreeMap::new(), Some(NOW))).await;
    let one = world.get(&format!("/instances/{fine}")).await.json;
    assert_eq!(one["polling"], json!({"status": "waiting", "recovered": NOW.iso_seconds()}));
    let one = world.get(&format!("/instances/{revoked}")).await.json;
    assert_eq!((&one["polling"]["status"], &one["polling"]["since"]), (&json!("stopped"), &json!(NOW.iso_seconds())));
    world.patch(revoked, &json!({"configuration": {"oauth.user.token": "another"}})).await;
    let one = world.get(&format!("/instances/{revoked}")).await.json;
    assert_eq!(one["polling"]["status"], "waiting", "it was changed, so it is tried");
}

#[tokio::test]
async fn an_instance_is_shown_though_its_polls_cannot_be() {
    let world = World::new(32_006).await;
    let id = polled(&world, json!({})).await;
    let reads = world.platform.table().reads();
    assert_eq!(world.get(&format!("/instances/{id}")).await.json["polling"]["status"], "waiting");
    let reads = world.platform.table().reads() - reads;
    world.platform.table().fail_read_after(reads - 1, TableError::Throttled);
    let reply = world.get(&format!("/instances/{id}")).await;
    assert_eq!((reply.status, reply.json.get("polling")), (StatusCode::OK, None));
}

#[tokio::test]
async fn a_position_that_does_not_move_is_seen_though_nothing_is_known_to_fail() {
    let world = World::new(32_007).await;
    let id = polled(&world, json!({"event.poller.refresh_interval": "20"})).await;
    let status = async |path: &str| world.get(path).await.json;
    for (seconds, expected) in [(3 * 3600, "ok"), (3 * 3600 + 1, "late")] {
        stands(&world, id, &[("contacts", at(60)), ("deals", at(seconds))]).await;
        let found = status(&format!("/instances/{id}/event-poller-records")).await;
        assert_eq!((&found[0]["status"], &found[1]["status"]), (&json!("ok"), &json!(expected)));
        assert_eq!(status(&format!("/instances/{id}")).await["polling"]["status"], expected);
    }
    let signalled = json!({"name": "d", "element": {"key": "dropbox"}, "configuration": {
        "event.objects": "files", "oauth.user.token": "t0ken", "event.notification.callback.url": CALLBACK,
        "event.vendor.account": "dbid:1", "webhook.secret": "s"}});
    let signalled = crate::world::id(&world.post(&signalled).await.json);
    stands(&world, signalled, &[("files", at(90_000))]).await;
    let found = status(&format!("/instances/{signalled}/event-poller-records")).await;
    assert_eq!(found[0]["status"], "ok", "it is polled when something changes");
}
