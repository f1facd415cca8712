//! Requests from anyone, and definitions with mistakes.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use events::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue};
use pollhook_connectors::{Connector, Malformed, Normalised, Request, SkipReason, catalogue};
use proptest::prelude::*;

const NAMES: [&str; 20] = [
    "content-type",
    "intuit-signature",
    "stripe-signature",
    "x-dropbox-signature",
    "x-github-delivery",
    "x-github-event",
    "x-hook-secret",
    "x-hook-signature",
    "x-hub-signature-256",
    "x-shopify-shop-domain",
    "x-shopify-topic",
    "x-zendesk-webhook-signature",
    "x-hubspot-signature",
    "x-hubspot-signature-version",
    "x-hubspot-signature-v3",
    "x-hubspot-request-timestamp",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "svix-signature",
];

fn read(body: &[u8]) -> Result<Normalised, Malformed> {
    let headers = HeaderMap::new();
    let request = Request { method: "POST", url: "https://example.com/", headers: &headers, body };
    let connector = catalogue().get("hubspot").unwrap();
    let parsed = connector.parse(&request)?;
    Ok(connector.normalise(&request, &parsed, &BTreeMap::new()))
}

fn normalise(body: &str) -> Normalised {
    read(body.as_bytes()).unwrap()
}

fn parse(body: &[u8]) -> Result<usize, Malformed> {
    read(body).map(|result| result.changes.len() + result.skipped.len())
}

/// Sends one request through everything, for every connector.
fn run(url: &str, headers: &HeaderMap, body: &[u8], now: i64) {
    let secrets = ["secret", "whsec_c2VjcmV0"];
    let now = Timestamp::from_millis(now);
    let requests = ["POST", "GET"].map(|method| Request { method, url, headers, body });
    for (key, request) in catalogue().keys().flat_map(|key| requests.map(|request| (key, request))) {
        let connector = catalogue().get(key).unwrap();
        let _ = connector.handshake(&request, None);
        let _ = connector.verify(&request, None, &secrets, now);
        if let Ok(parsed) = connector.parse(&request) {
            let _ = connector.handshake(&request, Some(&parsed));
            let _ = connector.verify(&request, Some(&parsed), &secrets, now);
            let _ = connector.accounts(&parsed);
            assert_eq!(parsed.at("data.id").len(), parsed.len());
            for places in [None, Some(&[][..]), Some(&[0][..])].into_iter().take(1 + 2 * parsed.len().min(1)) {
                let shown = connector.shown(&parsed, body, places);
                assert!(serde_json::from_slice::<&serde_json::value::RawValue>(&shown).is_ok(), "{key}");
            }
            let paths = ["objectType", "objectId", "eventType", "date"].map(|k| format!("event.mapping.{k}"));
            for path in ["", ".", "type", "data.0.id"] {
                let configuration = paths.iter().map(|key| (key.clone(), path.into())).collect();
                let _ = connector.normalise(&request, &parsed, &configuration);
            }
            let _ = connector.normalise(&request, &parsed, &BTreeMap::new());
        }
    }
}

#[test]
fn a_body_nested_without_end_is_malformed_and_costs_no_stack() {
    for opening in ["[", r#"{"a":"#, r#"[{"portalId":"#] {
        assert!(matches!(parse(opening.repeat(100_000).as_bytes()), Err(Malformed::TooDeep { .. })));
    }
    assert!(matches!(
        parse(format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)).as_bytes()),
        Err(Malformed::TooDeep { .. })
    ));
}

#[test]
fn a_body_is_one_object_or_array_in_json_and_nothing_else() {
    let bad: [&[u8]; 9] =
        [b"", b" ", b"NaN", b"[1,]", b"{} {}", b"[\xff]", b"\xef\xbb\xbf[]", b"a=b", b"[\"\\ud800\"]"];
    for body in bad {
        assert!(matches!(parse(body), Err(Malformed::NotJson { .. })), "{body:?}");
    }
    for body in ["null", "true", "17", "\"text\""] {
        assert_eq!(parse(body.as_bytes()), Err(Malformed::NotAContainer), "{body}");
    }
    assert_eq!(parse(b"[]"), Ok(0));
    assert_eq!(parse(b"[1,null,[],{}]"), Ok(4));
}

#[test]
fn there_is_an_end_to_the_entries_of_one_body() {
    let body = |count: usize| format!("[{}]", vec!["0"; count].join(","));
    assert_eq!(parse(body(Connector::MAX_ENTRIES).as_bytes()), Ok(Connector::MAX_ENTRIES));
    assert_eq!(parse(body(Connector::MAX_ENTRIES + 1).as_bytes()), Err(Malformed::TooManyEntries));
}

/// A HubSpot merge of `ids`, beside `before` other merges, each of one record into another.
fn merges(before: usize, ids: &[String]) -> String {
    let merge = |ids: &str| {
        format!(
            r#"{{"eventId":1,"portalId":1,"occurredAt":1700000000000,"subscriptionType":"contact.merge","objectId":1,"primaryObjectId":1,"mergedObjectIds":[{ids}]}}"#
        )
    };
    let all: Vec<_> = (0..before).map(|_| merge("2")).chain([merge(&ids.join(","))]).collect();
    format!("[{}]", all.join(","))
}

fn ids(range: std::ops::RangeInclusive<usize>) -> Vec<String> {
    range.map(|id| id.to_string()).collect()
}

#[test]
fn there_is_an_end_to_the_changes_of_one_request() {
    let most = Connector::MAX_CHANGES;
    for (what, body, rows, too_many) in [
        ("as many as may be", merges(0, &ids(1..=most)), most, false),
        ("one more", merges(0, &ids(1..=most + 1)), most, true),
        ("the primary is the one more", merges(0, &ids(2..=most + 1)), most, true),
        ("ten thousand", merges(0, &ids(1..=10_000)), most, true),
        ("ten thousand that are none", merges(0, &vec!["null".into(); 10_000]), most, true),
        ("the same ten thousand times", merges(0, &vec!["7".into(); 10_000]), most, true),
        ("spread over entries", merges(100, &ids(1..=most - 200)), most, false),
        ("spread over entries, one more", merges(100, &ids(1..=most - 199)), most, true),
    ] {
        let result = normalise(&body);
        assert_eq!((result.changes.len() + result.skipped.len(), result.too_many), (rows, too_many), "{what}");
    }
}

#[test]
fn a_text_too_long_for_a_name_is_not_taken_apart_nor_repeated_in_every_change() {
    let skipped = |key: &str, body: &str| {
        let headers = HeaderMap::new();
        let request = Request { method: "POST", url: "https://example.com/", headers: &headers, body: body.as_bytes() };
        let connector = catalogue().get(key).unwrap();
        let parsed = connector.parse(&request).unwrap();
        let result = connector.normalise(&request, &parsed, &BTreeMap::new());
        (result.changes.len(), result.skipped.iter().map(|skipped| skipped.reason).collect::<Vec<_>>())
    };
    let long = format!("{}a", "a.".repeat(128));
    for (key, body, expected) in [
        ("hubspot", format!(r#"{{"subscriptionType":"{long}","objectId":1}}"#), (0, vec![SkipReason::ObjectType])),
        ("hubspot", format!(r#"{{"subscriptionType":"{}","objectId":1}}"#, &long[..255]), (1, vec![])),
        ("standard", format!(r#"{{"type":"{long}","id":1}}"#), (0, vec![SkipReason::ObjectType])),
        ("standard", format!(r#"{{"type":"{}","id":1}}"#, &long[..255]), (1, vec![])),
        ("standard", format!(r#"{{"type":["{}"],"id":1}}"#, &long[..255]), (0, vec![SkipReason::ObjectType])),
        (
            "hubspot",
            format!(
                r#"{{"subscriptionType":"object.merge","objectTypeId":"{}","objectId":1,"mergedObjectIds":[2]}}"#,
                long.repeat(4)
            ),
            (0, vec![SkipReason::ObjectType; 2]),
        ),
    ] {
        assert_eq!(skipped(key, &body), expected, "{key}: {body}");
    }
    let account = format!(r#"{{"subscriptionType":"contact.creation","objectId":1,"portalId":"{}"}}"#, long.repeat(4));
    assert_eq!(normalise(&account).changes[0].account, None);
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let names = prop::sample::select(vec![
        "portalId",
        "portal-id",
        "subscriptionType",
        "eventType",
        "objectId",
        "objectTypeId",
        "mergedObjectIds",
        "newObjectId",
        "primaryObjectId",
        "occurredAt",
        "vid",
        "type",
        "data",
        "id",
        "timestamp",
        "object",
    ]);
    let words =
        prop::sample::select(vec!["contact.merge", "object.associationChange", "contact.creation", ".", "", "é"]);
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        words.prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 40, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::vec((names.clone(), inner), 0..8).prop_map(|fields| {
                fields
                    .into_iter()
                    .map(|(name, value)| (name.to_string(), value))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            }),
        ]
    })
}

fn any_headers() -> impl Strategy<Value = HeaderMap> {
    let value = prop_oneof![
        "[ -~]{0,40}".prop_map(|text| HeaderValue::from_str(&text).unwrap()),
        prop::collection::vec(0x80_u8.., 0..10).prop_map(|bytes| HeaderValue::from_bytes(&bytes).unwrap()),
        "[0-9]{0,22}".prop_map(|text| HeaderValue::from_str(&text).unwrap()),
        "(v1,)?[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=".prop_map(|text| HeaderValue::from_str(&text).unwrap()),
    ];
    prop::collection::vec((prop::sample::select(NAMES.to_vec()), value), 0..8).prop_map(|fields| {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), value);
        }
        headers
    })
}

proptest! {
    #[test]
    fn no_bytes_and_headers_panic(
        body in prop::collection::vec(any::<u8>(), 0..200), headers in any_headers(), url in ".{0,60}", now in any::<i64>(),
    ) {
        run(&url, &headers, &body, now);
    }

    #[test]
    fn no_json_panics_and_every_entry_is_told_or_named(body in json(), headers in any_headers()) {
        run("https://example.com/", &headers, &serde_json::to_vec(&body).unwrap(), 0);
        if let Some(entries) = body.as_array() {
            prop_assert!(parse(&serde_json::to_vec(&body).unwrap()).unwrap() >= entries.len());
        }
    }
}

#[test]
fn a_definition_with_a_mistake_is_refused_by_the_line_it_is_in() {
    let good = include_str!("../definitions/hubspot.yaml");
    let line = |needle: &str| 1 + good[..good.find(needle).unwrap()].matches('\n').count() as u64;
    for (needle, instead, place, word) in [
        ("hub: crm", "hubb: crm", "hub: crm", "hubb"),
        ("scope: app", "scope: tenant", "scope: app", "tenant"),
        ("\"{secret}{body}\"", "\"{secret}{bodi}\"", "\"{secret}{body}\"", "{bodi}"),
        ("\"{secret}{body}\"", "\"{body}\"", "- header: x-hubspot-signature\n", "{secret}"),
        ("      unescape: \":/?@!$'()*,;\"\n", "", "- header: x-hubspot-signature-v3", "unescape"),
        ("account: .portalId //", "account: .portalId |||", "account: .portalId", "jq"),
        (
            "$types[$kind] // $kind) as $type\n",
            "$typos[$kind] // $kind) as $type\n",
            "$types[$kind] // $kind) as $type",
            "$typos",
        ),
        ("elif $verb", "elif fromjson", "elif $verb", "fromjson"),
        ("secret: [webhook.secret, oauth.api.secret]", "secret: []", "", "secret"),
        ("key: hubspot", "key: Hub/Spot", "key: hubspot", "a to z"),
        ("      encoding: hex\n", "", "- header: x-hubspot-signature\n", "encoding"),
        ("scheme: sha256", "scheme: token", "- header: x-hubspot-signature\n", "token"),
        ("- header: x-hubspot-signature\n", "- query: sig\n", "- header: x-hubspot-signature\n", "header"),
        ("  scope: app", "  formats: [xml]\n  scope: app", "", "xml"),
        ("  scope: app", "  signal: true\n  scope: app", "", "signal"),
        ("  scope: app", "  entries: a..b\n  scope: app", "scope: app", "entries"),
        ("  scope: app", "  handshakes: [{ method: GET }]\n  scope: app", "scope: app", "echoes"),
    ] {
        assert!(good.contains(needle), "{needle}");
        let error = Connector::from_yaml(&good.replacen(needle, instead, 1)).unwrap_err();
        let expected = if place.is_empty() { 0 } else { line(place) };
        assert!(error.message.contains(word) && error.line == expected, "{needle}: {error}, expected line {expected}");
    }
}

#[test]
fn programs_reach_neither_clock_nor_environment_nor_files_and_cannot_end_the_process() {
    let definition = |word: &str| {
        format!("key: a\nname: a\nhub: a\nwebhook:\n  scope: app\n  mapping: '[$delivery, $config, $index, {word}]'\n")
    };
    assert!(Connector::from_yaml(&definition("(.a | keys | join(\"-\"))")).is_ok());
    for word in [
        "now",
        "env",
        "$ENV",
        "$header",
        "input",
        "inputs",
        "debug",
        "halt",
        "halt(1)",
        "fromjson",
        "tonumber",
        "input_filename",
    ] {
        assert!(Connector::from_yaml(&definition(word)).is_err(), "{word}");
    }
}
