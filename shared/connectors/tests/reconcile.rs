//! What a connector's webhook told is known for the change that its poll shows: by recorded requests, and by records as the
//! providers document them, of the same objects.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use events::{EventType, Timestamp};
use http::{HeaderMap, HeaderName};
use pollhook_connectors::{Connector, Request, catalogue};
use polling::classify::{Classified, Moment};
use polling::configuration;
use polling::reconcile::{Heard, comparable};
use polling::request::Query;
use serde_json::{Value, json};

/// What the connector's recorded requests whose description begins so told of an object.
fn heard(connector: &Connector, about: &str, names: &[&str], id: &str) -> Heard {
    let examples = connector.examples().iter().filter(|example| example.about.starts_with(about));
    let mut heard = None;
    for example in examples {
        let header =
            |(name, value): (&String, &String)| -> (HeaderName, _) { (name.parse().unwrap(), value.parse().unwrap()) };
        let headers: HeaderMap = example.headers.iter().map(header).collect();
        let (url, body) = ("https://hooks.example.com/", example.body.as_bytes());
        let request = Request { method: "POST", url, headers: &headers, body };
        let parsed = connector.parse(&request).unwrap();
        for change in connector.normalise(&request, &parsed, &BTreeMap::new()).changes {
            if names.contains(&change.object_type.as_str()) && change.object_id == id {
                let told = Heard::of(change.event_type, change.date);
                heard = Some(heard.unwrap_or(Heard::default()).and(told));
            }
        }
    }
    heard.unwrap_or_else(|| panic!("no example tells of {names:?} {id}"))
}

/// Whether what a poll finds of an object is left out, as a recorded request told of it.
fn left_out(key: &str, about: &str, object: &str, record: &Value) -> bool {
    let connector = catalogue().get(key).unwrap();
    let polling = connector.polling().unwrap();
    let settings = BTreeMap::from([("event.objects".to_owned(), object.to_owned())]);
    let query = Query::resolve(polling, &configuration::read(&settings).resources[0]).unwrap().reconciling();
    let clock = Timestamp::from_seconds(1_800_000_000);
    let moment = Moment { since: Timestamp::from_seconds(0), start: clock.minus(query.grace), clock };
    let Classified::Told(told) = query.rules.classify(record, &moment, |_| false) else { panic!("{record}") };
    let reconcile = polling.reconcile.as_ref().unwrap();
    let names: Vec<&str> = reconcile.names(&told.object_type).collect();
    let heard = heard(connector, about, &names, &told.object_id);
    comparable(&query.rules, &told).is_some_and(|at| reconcile.was_told(told.event_type, at, heard))
}

#[test]
fn salesforce_messages_are_known_by_the_dates_that_they_were_given() {
    let trip = |id: &str, at: &str, gone: bool| {
        let about = "Several records of a custom object";
        let record = json!({"Id": id, "IsDeleted": gone, "CreatedDate": "2026-11-01T10:00:00.000+0000",
            "LastModifiedDate": at, "SystemModstamp": at});
        left_out("sfdc", about, "Trip__c", &record)
    };
    assert!(trip("a00000000000002AAA", "2026-11-24T10:00:01.000+0000", false));
    assert!(trip("a00000000000001AAA", "2026-11-24T10:00:00.000+0000", false), "by its LastModifiedDate");
    assert!(trip("a00000000000002AAA", "2026-11-24T10:00:00.000+0000", false), "an earlier version");
    assert!(!trip("a00000000000002AAA", "2026-11-24T10:00:02.000+0000", false), "a later one");
    assert!(!trip("a00000000000002AAA", "2026-11-24T10:00:01.000+0000", true), "it is gone since");
    assert!(!trip("a00000000000003AAA", "2026-11-24T10:00:01.000+0000", true), "the message had no date");
    let unnamed = json!({"Id": "0019000001KwyWtAAJ", "SystemModstamp": "2015-01-01T00:00:00.000+0000"});
    assert!(!left_out("sfdc", "The documented message", "Account", &unnamed), "it did not say what happened");
    let contact = |object: &str, at: &str| {
        let record = json!({"Id": "003i0000032SVcmAAG", "IsDeleted": false, "SystemModstamp": at});
        left_out("sfdc", "What the Events Framework's Apex trigger posts", object, &record)
    };
    assert!(contact("Contact", "2015-10-13T03:26:48.000+0000"));
    assert!(!contact("Contact", "2015-10-13T03:26:49.000+0000"));
}

#[test]
fn hubspot_subscriptions_are_known_up_to_a_second_after_the_property_changed() {
    let contact = |at: &str| {
        let record = json!({"id": "1246965", "createdAt": "2016-01-01T00:00:00Z", "updatedAt": at,
            "properties": {"lastmodifieddate": at}});
        left_out("hubspot", "The documentation's first example", "contacts", &record)
    };
    assert!(contact("2016-05-02T19:11:47.945Z") && contact("2016-05-02T19:11:48.945Z"));
    assert!(!contact("2016-05-02T19:11:48.946Z"));
    let about = "Each classic and generic subscription type";
    let of = |object: &str, id: &str, record: Value| {
        let mut record = record;
        record["id"] = json!(id);
        left_out("hubspot", about, object, &record)
    };
    let at = |at: &str| json!({"createdAt": at, "properties": {"hs_lastmodifieddate": at}});
    for name in ["accounts", "companies"] {
        assert!(of(name, "9007199254740993", at("2023-11-14T22:13:20.500Z")), "{name}");
    }
    assert!(of("deals", "2", at("2023-11-14T22:13:20.000Z")) && !of("products", "4", at("2023-11-14T22:13:20.000Z")));
    let archived = json!({"id": "9", "archived": true, "archivedAt": "2023-11-14T22:13:20.000Z"});
    assert!(!of("accounts/archived", "9", archived), "that it was restored says nothing of that it is gone");
}

#[test]
fn quickbooks_notifications_are_known_in_both_forms_as_far_as_they_say_the_same() {
    let meta = |id: &str, at: &str| {
        json!({"Id": id, "SyncToken": "1",
        "MetaData": {"CreateTime": "2015-01-01T00:00:00-07:00", "LastUpdatedTime": at}})
    };
    let documented = |at: &str| left_out("quickbooks", "The documented body", "customers", &meta("1", at));
    assert!(documented("2015-10-05T14:42:19-07:00") && !documented("2015-10-05T14:42:20-07:00"));
    let event = |at: &str| left_out("quickbooks", "The documented CloudEvent", "ledger-accounts", &meta("1234", at));
    assert!(event("2025-09-10T14:31:25-07:00") && !event("2025-09-10T14:31:26-07:00"));
    let merged = |id: &str, gone: bool| {
        let mut record = meta(id, "2025-09-08T13:52:31-07:00");
        if gone {
            record = json!({"Id": id, "status": "Deleted", "domain": "QBO", "MetaData": record["MetaData"]});
        }
        left_out("quickbooks", "Two realms in one request", "customers", &record)
    };
    assert!(merged("58", false) && merged("59", true));
    assert!(!merged("59", false), "that it is gone says nothing of how it was");
}

#[test]
fn who_only_signals_or_has_no_webhooks_has_nothing_to_compare() {
    let of = |key: &str| catalogue().get(key).unwrap().polling().unwrap().reconcile.is_some();
    assert_eq!(["sfdc", "hubspot", "quickbooks", "dropbox", "http"].map(of), [true, true, true, false, false]);
    assert_eq!(Heard::of(EventType::Unknown, Some(Timestamp::from_seconds(1))), Heard::default());
}
