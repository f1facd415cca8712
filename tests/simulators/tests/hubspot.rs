//! HubSpot's traps, where no client library goes.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Caller, at};
use serde_json::{Value, json};
use simulators::hubspot::{HubSpot, Lag};
use simulators::{Fault, Simulator, When};

const START: &str = "2026-03-04T05:06:07.089Z";
const SEARCH: &str = "/crm/v3/objects/contacts/search";

fn start() -> (Simulator<HubSpot>, Caller) {
    let hubspot = HubSpot::start(at(START));
    let token = hubspot.world(HubSpot::connect).access;
    let caller = Caller::new(hubspot.url(), &token);
    (hubspot, caller)
}

fn filter(property: &str, operator: &str, value: &str) -> Value {
    json!({"propertyName": property, "operator": operator, "value": value})
}

async fn found(caller: &Caller, body: &Value) -> Vec<String> {
    let answer = caller.post(SEARCH, body).await.ok();
    answer["results"].as_array().unwrap().iter().map(|object| object["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_index_may_show_the_later_change_first() {
    let (hubspot, caller) = start();
    let lag = |seconds| Lag { created: Duration::from_secs(seconds), updated: Duration::from_secs(seconds) };
    let slow = hubspot.world(|account| {
        account.lag = lag(60);
        account.create("contacts", &json!({}))
    });
    hubspot.clock().advance(Duration::from_secs(5));
    let quick = hubspot.world(|account| {
        account.lag = lag(1);
        account.create("contacts", &json!({}))
    });
    hubspot.clock().advance(Duration::from_secs(1));
    let body = json!({"sorts": [{"propertyName": "lastmodifieddate", "direction": "ASCENDING"}]});
    assert_eq!(found(&caller, &body).await, std::slice::from_ref(&quick));
    hubspot.clock().advance(Duration::from_secs(54));
    // Behind a cursor that has passed it.
    assert_eq!(found(&caller, &body).await, [slow, quick]);
}

#[tokio::test]
async fn groups_are_alternatives_and_filters_conditions() {
    let (hubspot, caller) = start();
    let mut made = Vec::new();
    for number in 0..4 {
        hubspot.clock().advance(Duration::from_secs(1));
        let properties = json!({"email": format!("{number}@Example.com"), "score": number});
        made.push(hubspot.world(|account| account.create("contacts", &properties)));
    }
    let second = at("2026-03-04T05:06:09.089Z").as_millis().to_string();
    // A keyset: later than the second, or of its moment with a greater id.
    let keyset = json!({
        "filterGroups": [
            {"filters": [filter("lastmodifieddate", "GT", &second)]},
            {"filters": [filter("lastmodifieddate", "EQ", &second), filter("hs_object_id", "GT", &made[0])]},
        ],
        "sorts": ["lastmodifieddate"],
    });
    assert_eq!(found(&caller, &keyset).await, made[1..]);
    let one = |filter: Value| json!({"filterGroups": [{"filters": [filter]}], "sorts": ["-lastmodifieddate"]});
    let between = json!({"propertyName": "score", "operator": "BETWEEN", "value": "1", "highValue": "2"});
    assert_eq!(found(&caller, &one(between)).await, [made[2].clone(), made[1].clone()]);
    let of = json!({"propertyName": "email", "operator": "IN", "values": ["3@example.com", "4@example.com"]});
    assert_eq!(found(&caller, &one(of)).await, made[3..]);
    assert_eq!(found(&caller, &one(filter("hs_lastmodifieddate", "GTE", "0"))).await, Vec::<String>::new());
    let without = json!({"propertyName": "email", "operator": "NOT_HAS_PROPERTY"});
    assert_eq!(found(&caller, &one(without)).await, Vec::<String>::new());
}

#[tokio::test]
async fn only_the_first_sort_counts_and_ties_come_in_no_helpful_order() {
    let (hubspot, caller) = start();
    let made: Vec<String> = (0..3).map(|_| hubspot.world(|account| account.create("contacts", &json!({})))).collect();
    let sorts = json!({"sorts": ["lastmodifieddate", "hs_object_id"]});
    assert_eq!(found(&caller, &sorts).await, made.iter().rev().cloned().collect::<Vec<_>>());
    hubspot.world(|account| account.sorts = 2);
    assert_eq!(found(&caller, &sorts).await, made);
}

#[tokio::test]
async fn what_is_changed_between_two_pages_shifts_them() {
    let (hubspot, caller) = start();
    let mut made = Vec::new();
    for _ in 0..4 {
        made.push(hubspot.world(|account| account.create("contacts", &json!({}))));
        hubspot.clock().advance(Duration::from_secs(1));
    }
    let first = made[0].clone();
    hubspot.plan(
        When::path(SEARCH),
        Fault::after(move |account: &mut HubSpot| account.update("contacts", &first, &json!({"a": 1}))),
    );
    let page = |after: &str| json!({"sorts": ["lastmodifieddate"], "limit": 2, "after": after});
    assert_eq!(found(&caller, &page("0")).await, made[..2]);
    // The first object went to the end: the third is skipped by whoever counts.
    assert_eq!(found(&caller, &page("2")).await, [made[3].clone(), made[0].clone()]);
}

#[tokio::test]
async fn requests_beyond_the_documented_sizes_are_refused() {
    let (_hubspot, caller) = start();
    let group = |filters: usize| json!({"filters": vec![filter("email", "EQ", "a"); filters]});
    for (body, refused) in [
        (json!({"limit": 201}), true),
        (json!({"limit": 200}), false),
        (json!({"after": "9801", "limit": 200}), true),
        (json!({"after": "x"}), true),
        (json!({"filterGroups": vec![group(1); 6]}), true),
        (json!({"filterGroups": [group(7)]}), true),
        (json!({"filterGroups": vec![group(6); 4]}), true),
        (json!({"filterGroups": vec![group(6); 3]}), false),
        (json!({"properties": vec!["email"; 400]}), true),
        (json!({"filterGroups": [{"filters": [filter("email", "LIKE", "a")]}]}), true),
    ] {
        let reply = caller.post(SEARCH, &body).await;
        assert_eq!(reply.status == 400, refused, "{body}: {reply:?}");
        if refused {
            assert_eq!(reply.json()["category"], "VALIDATION_ERROR");
        }
    }
}

#[tokio::test]
async fn budgets_are_told_by_lists_and_kept_when_a_test_wants_them_to_be() {
    let (hubspot, caller) = start();
    hubspot.world(|account| account.limited = true);
    for _ in 0..5 {
        let reply = caller.post(SEARCH, &json!({})).await;
        assert_eq!((reply.status, reply.header("x-hubspot-ratelimit-max")), (200, None));
    }
    assert_eq!(caller.post(SEARCH, &json!({})).await.status, 429);
    let list = caller.get("/crm/objects/2026-03/0-1").await;
    assert_eq!((list.status, list.header("x-hubspot-ratelimit-remaining")), (200, Some("104")));
    hubspot.clock().advance(Duration::from_secs(1));
    assert_eq!(caller.post(SEARCH, &json!({})).await.status, 200);
    for _ in 0..103 {
        assert_eq!(caller.get("/crm/v3/objects/contacts").await.status, 200);
    }
    let refused = caller.get("/crm/v3/objects/contacts").await;
    assert_eq!((refused.status, &refused.json()["policyName"]), (429, &json!("TEN_SECONDLY_ROLLING")));
    assert_eq!(refused.header("retry-after"), None);
}

#[tokio::test]
async fn newer_token_paths_say_invalid_grant_and_name_the_account() {
    let (hubspot, caller) = start();
    let refresh_token = hubspot.world(HubSpot::connect).refresh;
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.as_str())];
    for path in ["/oauth/v3/token", "/oauth/2026-03/token"] {
        let tokens = caller.token(path, &form).await.ok();
        assert_eq!((&tokens["hub_id"], &tokens["expires_in"]), (&json!(62_515), &json!(1800)));
    }
    let introspected = caller.token("/oauth/v3/introspect", &[("token", &refresh_token)]).await.ok();
    assert_eq!(introspected["hub_id"], 62_515);
    assert_eq!(caller.token("/oauth/v3/revoke", &[("token", &refresh_token)]).await.status, 200);
    let reply = caller.token("/oauth/v3/token", &form).await;
    assert_eq!((reply.status, &reply.json()["error"]), (400, &json!("invalid_grant")));
    assert_eq!(caller.token("/oauth/v3/introspect", &[("token", &refresh_token)]).await.ok()["active"], false);
}
