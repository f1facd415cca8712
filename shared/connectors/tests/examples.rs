//! Every built-in definition loads, and makes of its recorded requests what they are said to mean.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use events::Timestamp;
use http::{HeaderMap, HeaderName};
use pollhook_connectors::{Connector, Normalised, Outgoing, Request, catalogue};
use proptest::prelude::*;

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const URL: &str = "https://hooks.example.com/events/x?a=%3A%20";
const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn connector(key: &str) -> &'static Connector {
    catalogue().get(key).unwrap()
}

fn normalise(key: &str, body: &str) -> Normalised {
    let headers = HeaderMap::new();
    let request = Request { method: "POST", url: URL, headers: &headers, body: body.as_bytes() };
    let parsed = connector(key).parse(&request).unwrap();
    connector(key).normalise(&request, &parsed, &BTreeMap::new())
}

#[test]
fn every_definition_loads_under_its_files_name_and_has_examples_of_its_webhooks() {
    let keys: Vec<_> = catalogue().keys().collect();
    assert!(keys.contains(&"hubspot") && keys.contains(&"standard"), "{keys:?}");
    for key in keys {
        assert_eq!(connector(key).key(), key);
        assert!(!connector(key).name().is_empty() && !connector(key).hub().is_empty());
        assert_eq!(connector(key).examples().is_empty(), !connector(key).has_webhooks(), "{key}");
    }
    assert!(catalogue().get("HubSpot").is_none());
}

#[test]
fn every_example_means_what_it_says_as_its_provider_signs_it() {
    for key in catalogue().keys() {
        assert_eq!(connector(key).check_examples(), [], "{key}");
    }
}

#[test]
fn every_example_is_refused_with_any_other_secret() {
    for key in catalogue().keys().filter(|key| connector(key).verifies()) {
        for example in connector(key).examples().iter().filter(|e| e.answer.is_none() && e.method == "POST") {
            let secret = example.secret.as_deref().unwrap_or(SECRET);
            let url = connector(key).url_with_secret(URL, secret);
            let body = example.body.as_bytes();
            let outgoing = Outgoing { method: "POST", url: &url, body, id: "msg_1", at: NOW };
            let headers: HeaderMap = connector(key).sign(secret, &outgoing).unwrap().into_iter().collect();
            let request = Request { method: "POST", url: &url, headers: &headers, body };
            let parsed = connector(key).parse(&request).ok();
            let verify = |secrets: &[&str]| connector(key).verify(&request, parsed.as_ref(), secrets, NOW);
            if parsed.is_some() {
                assert_eq!(verify(&["b2xk", secret]).map(|v| v.secret), Ok(1), "{key}");
            }
            assert!(verify(&["b2xk"]).is_err() && verify(&[]).is_err() && verify(&[""]).is_err(), "{key}");
        }
    }
}

#[test]
fn what_the_receiver_asks_of_a_connector() {
    let hubspot = connector("hubspot");
    assert!(hubspot.verifies() && hubspot.routes_by_account() && !hubspot.reads_configuration());
    assert_eq!(hubspot.secret_keys(), ["webhook.secret", "oauth.api.secret"]);
    let standard = connector("standard");
    assert!(standard.verifies() && !standard.routes_by_account() && standard.reads_configuration());
}

#[test]
fn accounts_are_distinct_and_in_the_order_of_the_body() {
    let body = br#"[{"portalId":7},{"portalId":3},{},{"portalId":7},{"portal-id":"9"},{"portalId":1.5}]"#;
    let headers = HeaderMap::new();
    let request = Request { method: "POST", url: URL, headers: &headers, body };
    let parsed = connector("hubspot").parse(&request).unwrap();
    assert_eq!(connector("hubspot").accounts(&parsed), ["7", "3", "9"]);
}

#[test]
fn a_hundred_changes_and_more_stay_in_order_and_none_is_merged_into_another() {
    for count in [100, 101] {
        let change = |n: usize| {
            format!(
                r#"{{"eventId":100,"portalId":1,"occurredAt":1700000000000,"subscriptionType":"contact.propertyChange","objectId":1,"propertyName":"p{n}"}}"#
            )
        };
        let body = format!("[{}]", (0..count).map(change).collect::<Vec<_>>().join(","));
        let changes = normalise("hubspot", &body).changes;
        let distinct: std::collections::BTreeSet<_> = changes.iter().map(|change| &change.occurrence).collect();
        assert_eq!((changes.len(), distinct.len()), (count, count));
    }
}

#[test]
fn entries_of_one_standard_delivery_are_told_apart() {
    let headers: HeaderMap = [(HeaderName::from_static("webhook-id"), "m".parse().unwrap())].into_iter().collect();
    let body = br#"[{"type":"a.updated","id":1},{"type":"a.updated","id":1}]"#;
    let request = Request { method: "POST", url: URL, headers: &headers, body };
    let parsed = connector("standard").parse(&request).unwrap();
    let changes = connector("standard").normalise(&request, &parsed, &BTreeMap::new()).changes;
    assert_ne!(changes[0].occurrence, changes[1].occurrence);
}

#[test]
fn each_change_names_its_entry_so_that_an_instance_is_handed_its_own_alone() {
    let entries = [
        r#"{"eventId":1, "portalId":7,"subscriptionType":"contact.creation","objectId":1}"#,
        r#"{"eventId":2,"portalId":3,"subscriptionType":"contact.merge","objectId":2,"mergedObjectIds":[4,5]}"#,
        "null",
        r#"{"eventId":3,"portalId":7.0,"subscriptionType":"contact.creation","objectId":3}"#,
        r#"{"eventId":4,"portalId":7,"subscriptionType":"contact.deletion","objectId":1}"#,
    ];
    let body = format!("[{}]", entries.join(" ,\n"));
    let changes = normalise("hubspot", &body).changes;
    let told: Vec<_> = changes.iter().map(|change| (change.entry, change.account.as_deref())).collect();
    let three = Some("3");
    assert_eq!(told, [(0, Some("7")), (1, three), (1, three), (1, three), (3, None), (4, Some("7"))]);
    let of = |account: Option<&str>| {
        let theirs: Vec<_> = changes.iter().filter(|c| c.account.as_deref() == account).map(|c| c.entry).collect();
        let headers = HeaderMap::new();
        let request = Request { method: "POST", url: URL, headers: &headers, body: body.as_bytes() };
        let parsed = connector("hubspot").parse(&request).unwrap();
        let shown = connector("hubspot").shown(&parsed, body.as_bytes(), Some(&theirs)).into_owned();
        String::from_utf8(shown).unwrap()
    };
    assert_eq!(of(Some("7")), format!("[{} ,\n{}]", entries[0], entries[4]));
    assert_eq!(of(Some("3")), format!("[{}]", entries[1]));
    assert_eq!(of(None), format!("[{}]", entries[3]));
}

proptest! {
    #[test]
    fn a_redelivery_with_another_attempt_number_repeats_the_occurrence(
        place in any::<prop::sample::Index>(),
        event in 0_u64..1000, object in 0_u64..1000, attempt in 1_u32..10,
    ) {
        let all = ["creation", "deletion", "merge", "restore", "propertyChange", "associationChange", "novelty"];
        let verb = all[place.index(all.len())];
        let body = |attempt: u32, event: u64| format!(
            r#"[{{"eventId":{event},"portalId":1,"occurredAt":1700000000000,"subscriptionType":"contact.{verb}","attemptNumber":{attempt},"objectId":{object},"fromObjectId":{object},"mergedObjectIds":[5000,6000]}}]"#
        );
        let first = normalise("hubspot", &body(0, event));
        prop_assert!(!first.changes.is_empty());
        prop_assert!(first.changes.iter().all(|change| change.occurrence.is_some()));
        prop_assert_eq!(&first, &normalise("hubspot", &body(attempt, event)));
        let other = normalise("hubspot", &body(0, event + 1));
        prop_assert!(first.changes[0].occurrence != other.changes[0].occurrence);
    }
}
