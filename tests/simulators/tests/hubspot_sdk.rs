//! What `hubspot-api-client` sees of the simulator.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::at;
use serde_json::{Value, json};
use simulators::hubspot::{HubSpot, Lag};
use simulators::sdk::Client;
use simulators::{Fault, RetryAfter, Simulator, When};

const START: &str = "2026-03-04T05:06:07.089Z";

fn start() -> (Simulator<HubSpot>, Client, String) {
    let hubspot = HubSpot::start(at(START));
    let tokens = hubspot.world(HubSpot::connect);
    let mut client = Client::start(include_str!("../src/sdk/hubspot.py"), hubspot.url());
    client.value("connect", &json!({"token": tokens.access}));
    (hubspot, client, tokens.refresh)
}

fn ids(objects: &Value) -> Vec<&str> {
    objects.as_array().unwrap().iter().map(|object| object["id"].as_str().unwrap()).collect()
}

/// A search by the time of the last change.
fn since(property: &str, at: &str, limit: usize) -> Value {
    let filter = json!({"propertyName": property, "operator": "GTE", "value": common::at(at).as_millis().to_string()});
    json!({
        "filterGroups": [{"filters": [filter]}],
        "sorts": [{"propertyName": property, "direction": "ASCENDING"}],
        "properties": ["email"],
        "limit": limit,
    })
}

#[test]
fn it_pages_through_a_search_and_reads_its_objects() {
    let (hubspot, mut client, _) = start();
    let mut made = Vec::new();
    for number in 0..5 {
        let email = format!("{number}@example.com");
        made.push(hubspot.world(|account| account.create("contacts", &json!({"email": email}))));
        hubspot.clock().advance(Duration::from_millis(1));
    }
    let request = since("lastmodifieddate", START, 2);
    let found = client.value("search_all", &json!({"object_type": "contacts", "request": request}));
    assert_eq!(ids(&found), made);
    assert_eq!(
        found[1],
        json!({
            "id": made[1],
            "properties": {
                "createdate": "2026-03-04T05:06:07.090Z",
                "email": "1@example.com",
                "hs_object_id": made[1],
                "lastmodifieddate": "2026-03-04T05:06:07.090Z",
            },
            "created_at": "2026-03-04T05:06:07.090000+00:00",
            "updated_at": "2026-03-04T05:06:07.090000+00:00",
            "archived": false,
            "archived_at": null,
        })
    );
    let page =
        client.value("search", &json!({"object_type": "contacts", "request": since("lastmodifieddate", START, 2)}));
    assert_eq!((&page["total"], &page["after"]), (&json!(5), &json!("2")));
}

#[test]
fn a_change_is_listed_at_once_and_found_when_the_index_has_it() {
    let (hubspot, mut client, _) = start();
    let lag = Lag { created: Duration::from_secs(10), updated: Duration::from_secs(60) };
    hubspot.world(|account| account.lag = lag);
    let id = hubspot.world(|account| account.create("companies", &json!({"name": "Acme"})));
    let search = json!({"object_type": "companies", "request": since("hs_lastmodifieddate", START, 10)});
    let names = |found: &Value| -> Vec<Value> {
        found["objects"]
            .as_array()
            .unwrap()
            .iter()
            .map(|object| object["properties"]["hs_lastmodifieddate"].clone())
            .collect()
    };
    assert_eq!(names(&client.value("search", &search)), Vec::<Value>::new());
    assert_eq!(client.value("list_all", &json!({"object_type": "companies", "archived": false})), json!([id]));
    hubspot.clock().advance(Duration::from_secs(10));
    assert_eq!(names(&client.value("search", &search)), ["2026-03-04T05:06:07.089Z"]);
    hubspot.world(|account| account.update("companies", &id, &json!({"name": "Ace"})));
    hubspot.clock().advance(Duration::from_millis(59_999));
    assert_eq!(names(&client.value("search", &search)), ["2026-03-04T05:06:07.089Z"]);
    hubspot.clock().advance(Duration::from_millis(1));
    assert_eq!(names(&client.value("search", &search)), ["2026-03-04T05:06:17.089Z"]);
}

#[test]
fn archived_objects_are_in_the_archived_list_only() {
    let (hubspot, mut client, _) = start();
    let made: Vec<String> =
        (0..230).map(|_| hubspot.world(|account| account.create("deals", &json!({"dealname": "d"})))).collect();
    hubspot.clock().advance(Duration::from_secs(1));
    for id in &made[..205] {
        hubspot.world(|account| account.archive("deals", id));
    }
    let found =
        client.value("search", &json!({"object_type": "deals", "request": since("hs_lastmodifieddate", START, 200)}));
    assert_eq!(found["total"], 25);
    // The library asks for pages of 100.
    assert_eq!(client.value("list_all", &json!({"object_type": "deals", "archived": true})), json!(made[..205]));
    let page = client.value("list", &json!({"object_type": "deals", "archived": true, "limit": 1}));
    assert_eq!((&page["objects"][0]["archived"], &page["after"]), (&json!(true), &json!(made[1])));
    assert_eq!(page["objects"][0]["archived_at"], "2026-03-04T05:06:08.089000+00:00");
    hubspot.world(|account| account.restore("deals", &made[0]));
    assert_eq!(
        client.value("list", &json!({"object_type": "deals", "archived": false, "limit": 1}))["objects"][0]["id"],
        made[0]
    );
}

#[test]
fn results_beyond_ten_thousand_are_refused() {
    let (hubspot, mut client, _) = start();
    hubspot.world(|account| {
        for _ in 0..10_001 {
            account.create("contacts", &json!({}));
        }
    });
    let mut request = since("lastmodifieddate", START, 200);
    request["after"] = json!("9800");
    let last = client.value("search", &json!({"object_type": "contacts", "request": request}));
    assert_eq!((&last["total"], last["objects"].as_array().unwrap().len()), (&json!(10_001), 200));
    assert_eq!(last["after"], "10000");
    request["after"] = json!("10000");
    let raised = client.raised("search", &json!({"object_type": "contacts", "request": request}));
    assert_eq!((raised.kind.as_str(), &raised.details["status"]), ("ApiException", &json!(400)));
    assert_eq!(raised.details["body"]["category"], "VALIDATION_ERROR");
}

#[test]
fn errors_are_the_exceptions_it_has_for_them() {
    let (hubspot, mut client, _) = start();
    let search = json!({"object_type": "contacts", "request": {"limit": 1}});

    hubspot.plan(When::next(), Fault::too_many(RetryAfter::Unsaid));
    let raised = client.raised("search", &search);
    assert_eq!((raised.kind.as_str(), &raised.details["status"]), ("ApiException", &json!(429)));
    assert_eq!(raised.details["body"]["policyName"], "SECONDLY");
    assert_eq!(raised.details["body"]["message"], "You have reached your secondly limit.");
    assert_eq!(raised.details["retry_after"], Value::Null);

    hubspot.plan(When::next(), Fault::too_many(RetryAfter::Seconds(7)));
    let raised = client.raised("list", &json!({"object_type": "contacts", "archived": false, "limit": 1}));
    assert_eq!(raised.details["body"]["policyName"], "TEN_SECONDLY_ROLLING");
    assert_eq!(raised.details["retry_after"], "7");

    hubspot.plan(When::next(), Fault::broken(502));
    assert_eq!(client.raised("search", &search).kind, "ServiceException");

    hubspot.plan(When::next(), Fault::HangUpAfter);
    assert_eq!(client.raised("search", &search).kind, "ProtocolError");

    assert_eq!(client.raised("get", &json!({"object_type": "contacts", "id": "7"})).kind, "NotFoundException");
    assert_eq!(client.raised("search", &json!({"object_type": "cats", "request": {}})).details["status"], 400);
}

#[test]
fn it_renews_its_token_after_half_an_hour() {
    let (hubspot, mut client, refresh_token) = start();
    assert_eq!(client.value("account", &json!({})), 62_515);
    hubspot.clock().advance(Duration::from_secs(1803));
    let raised = client.raised("search", &json!({"object_type": "contacts", "request": {}}));
    assert_eq!(raised.kind, "UnauthorizedException");
    assert_eq!(raised.details["body"]["category"], "EXPIRED_AUTHENTICATION");
    assert_eq!(raised.details["body"]["message"], "The OAuth token used to make this call expired 3 second(s) ago.");
    let tokens = client.value("refresh", &json!({"refresh_token": refresh_token}));
    assert_eq!(tokens, json!({"refresh_token": refresh_token, "expires_in": 1800}));
    client.value("search", &json!({"object_type": "contacts", "request": {}}));

    hubspot.plan(When::path("/oauth/"), Fault::Revoke);
    let raised = client.raised("refresh", &json!({"refresh_token": refresh_token}));
    assert_eq!(
        (&raised.details["status"], &raised.details["body"]["status"]),
        (&json!(400), &json!("BAD_REFRESH_TOKEN"))
    );
    let raised = client.raised("search", &json!({"object_type": "contacts", "request": {}}));
    assert_eq!(raised.details["body"]["category"], "INVALID_AUTHENTICATION");
    let wrong = json!({"refresh_token": refresh_token, "client_secret": "wrong"});
    assert_eq!(client.raised("refresh", &wrong).details["body"]["status"], "BAD_CLIENT_SECRET");
}

#[test]
fn it_exchanges_a_code_once() {
    let (hubspot, mut client, _) = start();
    let code = hubspot.world(|account| account.grants.agree("62515", "https://pollhook.example/oauth"));
    let exchange = json!({"code": code, "redirect_uri": "https://pollhook.example/oauth"});
    assert_eq!(client.value("exchange", &exchange)["expires_in"], 1800);
    client.value("search", &json!({"object_type": "contacts", "request": {}}));
    assert_eq!(client.raised("exchange", &exchange).details["body"]["status"], "BAD_AUTH_CODE");
}

#[test]
fn a_merged_objects_id_leads_to_the_survivor() {
    let (hubspot, mut client, _) = start();
    let [kept, merged] = [0, 1].map(|_| hubspot.world(|account| account.create("contacts", &json!({}))));
    hubspot.world(|account| account.merge("contacts", &kept, &merged));
    assert_eq!(client.value("get", &json!({"object_type": "contacts", "id": merged})), kept);
    let found = client.value("search", &json!({"object_type": "contacts", "request": {}}));
    assert_eq!(ids(&found["objects"]), [&kept]);
}
