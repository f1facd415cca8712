//! The providers' published signatures, and what must never pass for one.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use events::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue};
use pollhook_connectors::{Connector, Outgoing, Request, Verified, VerifyError, catalogue};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Vector {
    id: String,
    connector: String,
    scheme: String,
    header: String,
    secret: String,
    #[serde(default = "post")]
    method: String,
    #[serde(default = "somewhere")]
    uri: String,
    timestamp: Option<String>,
    msg_id: Option<String>,
    body: String,
    expected: String,
}

fn post() -> String {
    "POST".into()
}

fn somewhere() -> String {
    "https://example.com/".into()
}

const V3: HeaderName = HeaderName::from_static("x-hubspot-signature-v3");
const TIME: HeaderName = HeaderName::from_static("x-hubspot-request-timestamp");
const V1: HeaderName = HeaderName::from_static("x-hubspot-signature");
const VERSION: HeaderName = HeaderName::from_static("x-hubspot-signature-version");

const SECRET: &str = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy";
const URL: &str = "https://www.example.com/webhook_uri";
const BODY: &[u8] = b"{'example_field':'example_value'}";
const SENT: i64 = 1_693_657_560_000;
const SIGNED: &str = "K36dawei4A+QBNolUOqo7s91KQDWQ5MXZ/QufNYuk/Y=";
/// v1 over the same body.
const SIGNED_V1: &str = "69fc6631a867edd4f9e9e627fc5c1148e3fbdd8b21837b6d2b8901c1fa57f750";

fn connector(key: &str) -> &'static Connector {
    catalogue().get(key).unwrap()
}

fn headers<'a>(fields: impl IntoIterator<Item = (&'a HeaderName, &'a str)>) -> HeaderMap {
    fields.into_iter().map(|(name, value)| (name.clone(), value.parse::<HeaderValue>().unwrap())).collect()
}

fn hubspot(headers: &HeaderMap, body: &[u8], now: i64) -> Result<Verified, VerifyError> {
    let request = Request { method: "POST", url: URL, headers, body };
    connector("hubspot").verify(&request, None, &[SECRET], Timestamp::from_millis(now))
}

#[test]
fn published_vectors_are_accepted_and_negative_ones_refused() {
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("vectors.json")).unwrap();
    assert_eq!(vectors.len(), 31);
    for vector in vectors {
        let connector = connector(&vector.connector);
        let mut headers = headers([(&vector.header.parse().unwrap(), vector.expected.as_str())]);
        let mut add = |name: &str, value: &str| {
            headers.insert(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        };
        let seconds = |text: &str| Timestamp::from_seconds(text.parse().unwrap());
        let timestamp = vector.timestamp.as_deref().unwrap_or_default();
        let now = match vector.scheme.as_str() {
            "standard-webhooks" => {
                let family = vector.header.split('-').next().unwrap();
                add(&format!("{family}-timestamp"), timestamp);
                add(&format!("{family}-id"), vector.msg_id.as_deref().unwrap());
                seconds(timestamp)
            }
            "hubspot-v1" | "hubspot-v2" => {
                add("x-hubspot-signature-version", vector.scheme.strip_prefix("hubspot-").unwrap());
                Timestamp::from_millis(0)
            }
            "hubspot-v3" => {
                add("x-hubspot-request-timestamp", timestamp);
                Timestamp::from_millis(timestamp.parse().unwrap())
            }
            "stripe" => {
                add("stripe-signature", &format!("t={timestamp},v1={}", vector.expected));
                seconds(timestamp)
            }
            "slack-v0" => {
                add("x-slack-request-timestamp", timestamp);
                seconds(timestamp)
            }
            "zendesk" => {
                add("x-zendesk-webhook-signature-timestamp", timestamp);
                Timestamp::parse_rfc3339(timestamp).unwrap()
            }
            _ => Timestamp::from_millis(0),
        };
        let request =
            Request { method: &vector.method, url: &vector.uri, headers: &headers, body: vector.body.as_bytes() };
        let answer = connector.verify(&request, None, &[&vector.secret], now);
        let expected =
            if vector.id.ends_with("-NEGATIVE") { Err(VerifyError::Mismatch) } else { Ok(Verified { secret: 0 }) };
        assert_eq!(answer, expected, "{}", vector.id);
        assert_eq!(connector.verify(&request, None, &["another"], now), Err(VerifyError::Mismatch), "{}", vector.id);
        let outgoing = Outgoing {
            method: &vector.method,
            url: &vector.uri,
            body: vector.body.as_bytes(),
            id: vector.msg_id.as_deref().unwrap_or_default(),
            at: now,
        };
        // What we sign is what they sign, but for HubSpot's older versions and Svix's names, whose rules come second.
        let first = !vector.scheme.starts_with("hubspot-v1") && vector.scheme != "hubspot-v2" && expected.is_ok();
        if first {
            let made: HeaderMap = connector.sign(&vector.secret, &outgoing).unwrap().into_iter().collect();
            let name = vector.header.replace("svix-", "webhook-").to_lowercase();
            let theirs = headers.get(&name).or(headers.get("svix-signature")).unwrap();
            assert_eq!(made[&name], theirs, "{}", vector.id);
        }
    }
}

#[test]
fn without_a_secret_nothing_is_accepted() {
    let headers = headers([(&V3, SIGNED), (&TIME, "1693657560000")]);
    let request = Request { method: "POST", url: URL, headers: &headers, body: BODY };
    let verify = |secrets: &[&str]| connector("hubspot").verify(&request, None, secrets, Timestamp::from_millis(SENT));
    assert_eq!(verify(&[]), Err(VerifyError::NoSecret));
    assert_eq!(verify(&["", ""]), Err(VerifyError::NoSecret));
    assert_eq!(verify(&["", "old", SECRET]), Ok(Verified { secret: 2 }));
    assert_eq!(verify(&["old"]), Err(VerifyError::Mismatch));
}

#[test]
fn a_v3_signature_is_five_minutes_old_at_most_and_no_further_ahead() {
    let headers = headers([(&V3, SIGNED), (&TIME, "1693657560000")]);
    for (age, accepted) in [(0, true), (300_000, true), (300_001, false), (-300_000, true), (-300_001, false)] {
        let expected = if accepted { Ok(Verified { secret: 0 }) } else { Err(VerifyError::Stale(TIME)) };
        assert_eq!(hubspot(&headers, BODY, SENT + age), expected, "{age}");
    }
}

#[test]
fn a_time_that_is_no_plain_number_is_malformed() {
    for text in ["NaN", "-1693657560000", "+1693657560000", "1693657560000.0", "99999999999999999999", " 1", "1e12", ""]
    {
        let headers = headers([(&V3, SIGNED), (&TIME, text)]);
        assert_eq!(hubspot(&headers, BODY, SENT), Err(VerifyError::Malformed(TIME)), "{text}");
    }
    let headers = headers([(&V3, SIGNED), (&TIME, "9223372036854775807")]);
    assert_eq!(hubspot(&headers, BODY, i64::MIN), Err(VerifyError::Stale(TIME)));
    assert_eq!(hubspot(&headers, BODY, i64::MAX), Err(VerifyError::Mismatch));
}

#[test]
fn where_v3_is_present_v1_counts_for_nothing() {
    let both = |v3: &str, v1: &str| headers([(&V3, v3), (&TIME, "1693657560000"), (&V1, v1), (&VERSION, "v1")]);
    let wrong = STANDARD.encode([0; 32]);
    assert_eq!(hubspot(&both(&wrong, SIGNED_V1), BODY, SENT), Err(VerifyError::Mismatch));
    assert_eq!(hubspot(&both("", SIGNED_V1), BODY, SENT), Err(VerifyError::Malformed(V3)));
    assert!(hubspot(&both(SIGNED, &"0".repeat(64)), BODY, SENT).is_ok());
}

#[test]
fn an_older_signature_without_a_version_is_v1_and_with_an_unknown_one_none() {
    assert!(hubspot(&headers([(&V1, SIGNED_V1)]), BODY, SENT).is_ok());
    assert_eq!(
        hubspot(&headers([(&V1, SIGNED_V1), (&VERSION, "v9")]), BODY, SENT),
        Err(VerifyError::Malformed(VERSION))
    );
    let v2_by_v1 = headers([(&V1, SIGNED_V1), (&VERSION, "v2")]);
    assert_eq!(hubspot(&v2_by_v1, BODY, SENT), Err(VerifyError::Mismatch));
}

#[test]
fn headers_that_are_absent_doubled_or_not_ascii_are_told_apart() {
    assert_eq!(
        hubspot(&HeaderMap::new(), BODY, SENT),
        Err(VerifyError::Missing("header x-hubspot-signature-v3 or header x-hubspot-signature".into()))
    );
    assert_eq!(hubspot(&headers([(&V3, SIGNED)]), BODY, SENT), Err(VerifyError::MissingHeader(TIME)));
    for name in [V3, TIME] {
        let mut doubled = headers([(&V3, SIGNED), (&TIME, "1693657560000")]);
        let value = doubled[&name].clone();
        doubled.append(name.clone(), value);
        assert_eq!(hubspot(&doubled, BODY, SENT), Err(VerifyError::Malformed(name.clone())));
        let mut strange = headers([(&V3, SIGNED), (&TIME, "1693657560000")]);
        strange.insert(name.clone(), HeaderValue::from_bytes(b"\xc3\xa9").unwrap());
        assert_eq!(hubspot(&strange, BODY, SENT), Err(VerifyError::Malformed(name)));
    }
}

#[test]
fn a_signature_in_another_form_or_of_another_length_is_refused() {
    let tag = STANDARD.decode(SIGNED).unwrap();
    let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
    let malformed = [STANDARD_NO_PAD.encode(&tag), URL_SAFE.encode(&tag), format!("{SIGNED} "), "%".into()];
    for text in malformed {
        let headers = headers([(&V3, text.as_str()), (&TIME, "1693657560000")]);
        assert_eq!(hubspot(&headers, BODY, SENT), Err(VerifyError::Malformed(V3)), "{text}");
    }
    for text in [STANDARD.encode(&tag[..31]), STANDARD.encode([&tag[..], &[0]].concat()), hex] {
        let headers = headers([(&V3, text.as_str()), (&TIME, "1693657560000")]);
        assert_eq!(hubspot(&headers, BODY, SENT), Err(VerifyError::Mismatch), "{text}");
    }
    assert!(hubspot(&headers([(&V1, SIGNED_V1.to_uppercase().as_str())]), BODY, SENT).is_ok());
    for (text, expected) in [(&SIGNED_V1[..62], VerifyError::Mismatch), (&SIGNED_V1[..63], VerifyError::Malformed(V1))]
    {
        assert_eq!(hubspot(&headers([(&V1, text)]), BODY, SENT), Err(expected), "{text}");
    }
}

#[test]
fn the_bytes_are_signed_not_what_they_mean() {
    let original = r#"{"name":"Zoë","id":1}"#;
    let outgoing =
        Outgoing { method: "POST", url: URL, body: original.as_bytes(), id: "", at: Timestamp::from_millis(SENT) };
    let headers: HeaderMap = connector("hubspot").sign(SECRET, &outgoing).unwrap().into_iter().collect();
    assert!(hubspot(&headers, original.as_bytes(), SENT).is_ok());
    for same in [r#"{"name": "Zoë","id":1}"#, r#"{"name":"Zo\u00eb","id":1}"#, r#"{"id":1,"name":"Zoë"}"#, ""] {
        assert_eq!(hubspot(&headers, same.as_bytes(), SENT), Err(VerifyError::Mismatch), "{same}");
    }
}

#[test]
fn a_standard_signature_may_be_one_of_several_and_of_either_reading_of_a_bare_secret() {
    let key = connector("standard");
    let at = Timestamp::from_seconds(1_700_000_000);
    let body = b"{}";
    let signed = |secret: &str| {
        let outgoing = Outgoing { method: "POST", url: URL, body, id: "m", at };
        key.sign(secret, &outgoing).unwrap().into_iter().collect::<HeaderMap>()
    };
    let check = |headers: &HeaderMap, secret: &str, now| {
        key.verify(&Request { method: "POST", url: URL, headers, body }, None, &[secret], now)
    };
    let signature = HeaderName::from_static("webhook-signature");
    let mut headers = signed("whsec_c2VjcmV0");
    let good = headers[&signature].to_str().unwrap().to_string();
    for (list, expected) in [
        (format!("v1,AAAA v1a,{} {good}", &good[3..]), Ok(Verified { secret: 0 })),
        (format!("v1,%% {good}"), Ok(Verified { secret: 0 })),
        ("v1,AAAA".into(), Err(VerifyError::Mismatch)),
        (good.replace("v1,", "v2,"), Err(VerifyError::Malformed(signature.clone()))),
        (good[3..].into(), Err(VerifyError::Malformed(signature.clone()))),
    ] {
        headers.insert(&signature, list.parse().unwrap());
        assert_eq!(check(&headers, "whsec_c2VjcmV0", at), expected, "{list}");
    }
    headers.insert(&signature, good.parse().unwrap());
    assert!(check(&headers, "c2VjcmV0", at).is_ok(), "without its prefix");
    assert!(check(&headers, "secret", at).is_ok(), "the key itself");
    assert!(check(&signed("whsec_c2VjcmV0cw=="), "whsec_c2VjcmV0cw", at).is_ok(), "without its padding");
    assert_eq!(check(&headers, "whsec_%%", at), Err(VerifyError::UnusableSecret));
    assert_eq!(check(&headers, "whsec_", at), Err(VerifyError::UnusableSecret));
    for (age, accepted) in [(300, true), (301, false), (-300, true), (-301, false)] {
        let now = Timestamp::from_seconds(1_700_000_000 + age);
        assert_eq!(check(&headers, "whsec_c2VjcmV0", now).is_ok(), accepted, "{age}");
    }
    headers.remove("webhook-id");
    let missing = VerifyError::MissingHeader(HeaderName::from_static("webhook-id"));
    assert_eq!(check(&headers, "whsec_c2VjcmV0", at), Err(missing));
}

#[test]
fn a_delivery_is_known_by_the_id_that_is_signed_and_by_no_other() {
    let at = Timestamp::from_seconds(1_700_000_000);
    let body = br#"{"type":"contact.created","data":{"id":1}}"#;
    let standard = connector("standard");
    let outgoing = Outgoing { method: "POST", url: URL, body, id: "signed", at };
    let signed: HeaderMap = standard.sign("whsec_c2VjcmV0", &outgoing).unwrap().into_iter().collect();
    let renamed = signed.iter().map(|(name, value)| {
        (name.as_str().replace("webhook-", "svix-").parse::<HeaderName>().unwrap(), value.clone())
    });
    let svix: HeaderMap = renamed.collect();
    let occurrence = |headers: &HeaderMap| {
        let request = Request { method: "POST", url: URL, headers, body };
        let parsed = standard.parse(&request).unwrap();
        let occurrence = standard.normalise(&request, &parsed, &BTreeMap::new()).changes[0].occurrence;
        (standard.verify(&request, None, &["whsec_c2VjcmV0"], at).is_ok(), occurrence)
    };
    let with = |headers: &HeaderMap, name: &'static str, value: &str| {
        let mut headers = headers.clone();
        headers.append(HeaderName::from_static(name), value.parse().unwrap());
        occurrence(&headers)
    };
    let once = occurrence(&signed);
    assert!(once.0 && once.1.is_some());
    assert_eq!(occurrence(&svix), once);
    for other in ["1", "2"] {
        assert_eq!(with(&svix, "webhook-id", other), once, "svix, replayed with an id of the other name");
        assert_eq!(with(&signed, "svix-id", other), once, "standard, replayed with an id of the other name");
        assert_eq!(with(&signed, "svix-signature", "v1,AAAA"), once);
    }
    assert!(!with(&svix, "webhook-signature", "v1,AAAA").0, "a rule that is made to apply must also hold");
    assert_eq!(with(&svix, "svix-id", "signed"), (false, None), "an id that stands there twice is none");
    let unsigned = |name: &'static str| with(&HeaderMap::new(), name, "signed");
    assert_eq!(unsigned("webhook-id"), (false, once.1), "taken only where verification is waived");
    assert_eq!(unsigned("svix-id"), (false, once.1));
}

#[test]
fn what_a_receiver_of_ours_checks_is_what_we_send() {
    let at = Timestamp::from_seconds(1_700_000_000);
    for secret in ["whsec_c2VjcmV0", "plain-secret", "abcd"] {
        let ours = events::SignatureKey::new(secret.into()).unwrap().standard("m", at, b"{}");
        let names = ["webhook-id", "webhook-timestamp", "webhook-signature"].map(HeaderName::from_static);
        let headers = headers([(&names[0], "m"), (&names[1], "1700000000"), (&names[2], ours.as_str())]);
        let request = Request { method: "POST", url: URL, headers: &headers, body: b"{}" };
        assert!(connector("standard").verify(&request, None, &[secret], at).is_ok(), "{secret}");
    }
}

#[test]
fn errors_hold_neither_the_secret_nor_the_expected_value() {
    let headers = headers([(&V3, STANDARD.encode([0; 32]).as_str()), (&TIME, "1693657560000")]);
    let error = hubspot(&headers, BODY, SENT).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(!text.contains(SECRET) && !text.contains(SIGNED) && !text.contains("AAAA"), "{text}");
}

proptest! {
    #[test]
    fn a_changed_byte_anywhere_fails(
        body in prop::collection::vec(any::<u8>(), 1..300), place in any::<prop::sample::Index>(), flip in 1_u8..,
        key in prop::sample::select(vec!["hubspot", "standard"]),
    ) {
        let now = Timestamp::from_millis(SENT);
        let outgoing = Outgoing { method: "POST", url: URL, body: &body, id: "m", at: now };
        let headers: HeaderMap = connector(key).sign(SECRET, &outgoing).unwrap().into_iter().collect();
        let verify = |method: &str, url: &str, body: &[u8]| {
            connector(key).verify(&Request { method, url, headers: &headers, body }, None, &[SECRET], now)
        };
        prop_assert!(verify("POST", URL, &body).is_ok());
        let mut changed = body.clone();
        changed[place.index(body.len())] ^= flip;
        prop_assert_eq!(verify("POST", URL, &changed), Err(VerifyError::Mismatch));
        if key == "hubspot" {
            prop_assert_eq!(verify("PUT", URL, &body), Err(VerifyError::Mismatch));
            prop_assert_eq!(verify("POST", &format!("{URL}?"), &body), Err(VerifyError::Mismatch));
        }
    }
}

#[test]
fn a_signature_over_the_body_proves_nothing_of_a_query() {
    let zendesk = connector("zendesk");
    let at = Timestamp::from_seconds(1_700_000_000);
    let outgoing = Outgoing { method: "POST", url: URL, body: b"{}", id: "", at };
    let headers: HeaderMap = zendesk.sign("s", &outgoing).unwrap().into_iter().collect();
    let verify =
        |method, url: &str| zendesk.verify(&Request { method, url, headers: &headers, body: b"{}" }, None, &["s"], at);
    assert!(verify("POST", URL).is_ok());
    let forged = format!("{URL}?ticket=%7B%22id%22%3A1%7D");
    assert!(matches!(verify("GET", &forged), Err(VerifyError::Missing(_))));
    assert!(verify("GET", &format!("{forged}&token=s")).is_ok());
    assert_eq!(verify("GET", &format!("{forged}&token=t")), Err(VerifyError::Mismatch));
}
