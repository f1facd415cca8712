//! What `simple-salesforce` sees of the simulator.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::at;
use serde_json::{Value, json};
use simulators::salesforce::Salesforce;
use simulators::sdk::Client;
use simulators::{Authorization, Fault, RetryAfter, Simulator, When};

const START: &str = "2026-01-02T03:04:05.678Z";

fn start() -> (Simulator<Salesforce>, Client) {
    let salesforce = Salesforce::start(at(START));
    let token = salesforce.world(Salesforce::connect).access;
    let mut client = Client::start(include_str!("../src/sdk/salesforce.py"), salesforce.url());
    client.value("direct", &json!({"token": token}));
    (salesforce, client)
}

fn ids(records: &Value) -> Vec<&str> {
    records.as_array().unwrap().iter().map(|record| record["Id"].as_str().unwrap()).collect()
}

#[test]
fn it_pages_through_everything_by_the_next_records_url() {
    let (salesforce, mut client) = start();
    let mut made = Vec::new();
    for number in 0..7 {
        made.push(salesforce.world(|org| org.create("Account", &json!({"Name": format!("Account {number}")}))));
        salesforce.clock().advance(Duration::from_secs(1));
    }
    salesforce.world(|org| org.page_size = 3);
    let soql = "SELECT Id, Name, SystemModstamp FROM Account ORDER BY SystemModstamp ASC";
    let records = client.value("query_all", &json!({"soql": soql}));
    assert_eq!(ids(&records), made);
    assert_eq!(records[0]["SystemModstamp"], "2026-01-02T03:04:05.000+0000");
    assert_eq!(records[0]["attributes"]["type"], "Account");
    let paths: Vec<String> = salesforce.served().into_iter().map(|served| served.path).collect();
    assert_eq!(paths[0], "/services/data/v65.0/query/");
    assert!(paths[1].ends_with("-3") && paths[2].ends_with("-6"), "{paths:?}");
    assert_eq!(client.value("usage", &json!({})), json!({"used": 3, "total": 100_000}));
}

#[test]
fn deleted_records_are_seen_by_query_all_until_the_recycle_bin_is_emptied() {
    let (salesforce, mut client) = start();
    let [kept, gone] =
        ["kept", "gone"].map(|name| salesforce.world(|org| org.create("Contact", &json!({"Name": name}))));
    salesforce.clock().advance(Duration::from_secs(60));
    salesforce.world(|org| org.delete(&gone));
    let soql =
        "SELECT Id, IsDeleted, SystemModstamp FROM Contact WHERE SystemModstamp >= 2026-01-02T03:04:00Z ORDER BY Id";
    assert_eq!(ids(&client.value("query_all", &json!({"soql": soql}))), [&kept]);
    let all = client.value("query_all", &json!({"soql": soql, "include_deleted": true}));
    assert_eq!(ids(&all), [&kept, &gone]);
    assert_eq!(
        (&all[1]["IsDeleted"], &all[1]["SystemModstamp"]),
        (&json!(true), &json!("2026-01-02T03:05:05.000+0000"))
    );
    salesforce.world(Salesforce::empty_recycle_bin);
    assert_eq!(ids(&client.value("query_all", &json!({"soql": soql, "include_deleted": true}))), [&kept]);
}

#[test]
fn updated_and_deleted_tell_what_changed_in_a_window_and_how_far_they_reach() {
    let (salesforce, mut client) = start();
    let [one, other] = ["one", "other"].map(|name| salesforce.world(|org| org.create("Lead", &json!({"Name": name}))));
    salesforce.clock().set(at("2026-01-02T04:00:30Z"));
    salesforce.world(|org| {
        org.update(&one, &json!({"Name": "another"}));
        org.delete(&other);
    });
    salesforce.clock().set(at("2026-01-02T05:00:30Z"));
    let window = |which: &str| json!({"which": which, "object": "Lead", "start": "2026-01-02T03:30:00+00:00", "end": "2026-01-02T06:00:00+00:00"});
    let updated = client.value("window", &window("updated"));
    assert_eq!(updated, json!({"ids": [one], "latestDateCovered": "2026-01-02T05:00:00.000+0000"}));
    let deleted = client.value("window", &window("deleted"));
    assert_eq!(deleted["deletedRecords"], json!([{"id": other, "deletedDate": "2026-01-02T04:00:30.000+0000"}]));
    assert_eq!(deleted["earliestDateAvailable"], "2025-12-18T05:00:30.000+0000");
    let old = json!({"which": "updated", "object": "Lead", "start": "2025-11-02T03:30:00+00:00", "end": "2026-01-02T06:00:00+00:00"});
    let raised = client.raised("window", &old);
    assert_eq!(raised.kind, "SalesforceMalformedRequest");
    assert_eq!(raised.details["content"][0]["errorCode"], "INVALID_REPLICATION_DATE");
}

#[test]
fn errors_are_the_exceptions_it_has_for_them() {
    let (salesforce, mut client) = start();
    let soql = json!({"soql": "SELECT Id FROM Account"});
    let code = |raised: &simulators::sdk::Raised| raised.details["content"][0]["errorCode"].as_str().map(str::to_owned);

    salesforce.plan(When::next(), Fault::too_many(RetryAfter::Unsaid));
    let raised = client.raised("query_all", &soql);
    assert_eq!(
        (raised.kind.as_str(), code(&raised).as_deref()),
        ("SalesforceRefusedRequest", Some("REQUEST_LIMIT_EXCEEDED"))
    );

    let raised = client.raised("query_all", &json!({"soql": "SELECT Id FROM Account WHERE"}));
    assert_eq!(
        (raised.kind.as_str(), code(&raised).as_deref()),
        ("SalesforceMalformedRequest", Some("MALFORMED_QUERY"))
    );

    salesforce.plan(When::next(), Fault::broken(500));
    assert_eq!(client.raised("query_all", &soql).kind, "SalesforceGeneralError");

    salesforce.plan(When::next(), Fault::HangUpBefore);
    assert_eq!(client.raised("query_all", &soql).kind, "ConnectionError");

    assert_eq!(
        client.raised("get", &json!({"object": "Account", "id": "001xX00000000zzAAA"})).kind,
        "SalesforceResourceNotFound"
    );

    salesforce.plan(When::next(), Fault::ExpireTokens);
    let raised = client.raised("query_all", &soql);
    assert_eq!(
        (raised.kind.as_str(), code(&raised).as_deref()),
        ("SalesforceExpiredSession", Some("INVALID_SESSION_ID"))
    );
}

#[test]
fn a_cursor_that_expired_between_two_pages_is_a_malformed_request() {
    let (salesforce, mut client) = start();
    for _ in 0..3 {
        salesforce.world(|org| org.create("Account", &json!({})));
    }
    salesforce.world(|org| org.page_size = 2);
    let first = client.value("query", &json!({"soql": "SELECT Id FROM Account"}));
    assert_eq!((first["done"].as_bool(), first["totalSize"].as_u64()), (Some(false), Some(3)));
    salesforce.world(Salesforce::expire_locators);
    let raised = client.raised("query_more", &json!({"url": first["nextRecordsUrl"]}));
    assert_eq!(raised.kind, "SalesforceMalformedRequest");
    assert_eq!(raised.details["content"][0]["errorCode"], "INVALID_QUERY_LOCATOR");
}

#[test]
fn it_renews_its_session_when_one_expires_between_two_pages() {
    let (salesforce, mut client) = start();
    for _ in 0..5 {
        salesforce.world(|org| org.create("Account", &json!({})));
    }
    salesforce.world(|org| org.page_size = 2);
    client.value("log_in", &json!({"key": "client-id", "secret": "client-secret"}));
    salesforce.plan(When::path("/query/01g"), Fault::ExpireTokens);
    salesforce.forget();
    let records = client.value("query_all", &json!({"soql": "SELECT Id FROM Account"}));
    assert_eq!(records.as_array().unwrap().len(), 5);
    let served = salesforce.served();
    let seen: Vec<_> = served.iter().map(|served| (served.status(), served.path.contains("oauth2"))).collect();
    let (data, token) = (false, true);
    assert_eq!(seen, [(Some(200), data), (Some(401), data), (Some(200), token), (Some(200), data), (Some(200), data)]);
    let Authorization::Bearer(old) = &served[1].authorization else { panic!("{served:?}") };
    let Authorization::Bearer(new) = &served[3].authorization else { panic!("{served:?}") };
    assert_ne!(old, new);
    let raised = client.raised("log_in", &json!({"key": "client-id", "secret": "wrong"}));
    assert_eq!(
        (raised.kind.as_str(), raised.details["code"].as_str()),
        ("SalesforceAuthenticationFailed", Some("invalid_client"))
    );
}

#[test]
fn it_finds_its_way_by_what_the_org_describes() {
    let (salesforce, mut client) = start();
    salesforce.world(|org| org.add_object("Ticket__c", "a01"));
    let id =
        salesforce.world(|org| org.create("Ticket__c", &json!({"Name": "T-1", "Weight__c": 2.5, "Open__c": true})));
    assert!(id.starts_with("a01"));
    assert!(client.value("describe", &json!({})).as_array().unwrap().contains(&json!("Ticket__c")));
    let fields = client.value("fields", &json!({"object": "Ticket__c"}));
    assert_eq!(
        (&fields["SystemModstamp"], &fields["Weight__c"], &fields["Open__c"]),
        (&json!("datetime"), &json!("double"), &json!("boolean"))
    );
    assert_eq!(client.value("get", &json!({"object": "Ticket__c", "id": id}))["Weight__c"], 2.5);
    assert_eq!(client.value("limits", &json!({})), json!({"Max": 100_000, "Remaining": 99_996}));
}
