//! Each connector's signatures, and what a library of its provider makes of them.

#![allow(clippy::unwrap_used)]

use std::ops::RangeInclusive;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use connectors::{Connector, Outgoing, Request, VerifyError, catalogue};
use events::Timestamp;
use http::HeaderMap;
use pollhook_oracles::oracle::{self, Delivery};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

/// One way in which a provider signs.
#[derive(Debug)]
struct Row {
    connector: &'static str,
    /// Its name in `oracle.py`.
    oracle: &'static str,
    /// The header that holds the signature.
    header: &'static str,
    /// Whether it is the way in which [`Connector::sign`] signs: the definition's first.
    ours_signs: bool,
    /// Whether the library signs too.
    sdk_signs: bool,
    /// Whether the method is signed.
    method: bool,
    /// Whether the URL is signed.
    url: bool,
    /// The header of the id that is signed.
    id: Option<&'static str>,
    time: Option<Time>,
    secret: Secret,
    body: Body,
}

/// A time that is signed.
#[derive(Debug)]
struct Time {
    header: &'static str,
    /// The ages that we accept, in seconds; negative is the future.
    ours: RangeInclusive<i64>,
    /// The ages that the library accepts.
    sdk: RangeInclusive<i64>,
}

#[derive(Debug, Clone, Copy)]
enum Secret {
    /// Any text.
    Text,
    /// The base64 of a key, with or without `whsec_` before it.
    Whsec,
}

#[derive(Debug, Clone, Copy)]
enum Body {
    Bytes,
    /// The library takes no other.
    Text,
    /// The library refuses an empty one.
    SomeText,
}

/// Five minutes, either way.
const FIVE_MINUTES: RangeInclusive<i64> = -300..=300;

const PLAIN: Row = Row {
    connector: "",
    oracle: "",
    header: "",
    ours_signs: true,
    sdk_signs: true,
    method: false,
    url: false,
    id: None,
    time: None,
    secret: Secret::Text,
    body: Body::Text,
};

const ROWS: &[Row] = &[
    Row {
        connector: "hubspot",
        oracle: "hubspot-v3",
        header: "x-hubspot-signature-v3",
        method: true,
        url: true,
        // The library drops the milliseconds and takes less than five minutes, and any time in the future.
        time: Some(Time { header: "x-hubspot-request-timestamp", ours: FIVE_MINUTES, sdk: i64::MIN..=299 }),
        ..PLAIN
    },
    Row {
        connector: "hubspot",
        oracle: "hubspot-v2",
        header: "x-hubspot-signature",
        ours_signs: false,
        method: true,
        url: true,
        ..PLAIN
    },
    Row { connector: "hubspot", oracle: "hubspot-v1", header: "x-hubspot-signature", ours_signs: false, ..PLAIN },
    Row {
        connector: "standard",
        oracle: "standard",
        header: "webhook-signature",
        id: Some("webhook-id"),
        time: Some(Time { header: "webhook-timestamp", ours: FIVE_MINUTES, sdk: FIVE_MINUTES }),
        secret: Secret::Whsec,
        ..PLAIN
    },
    Row {
        connector: "standard",
        oracle: "svix",
        header: "svix-signature",
        ours_signs: false,
        id: Some("svix-id"),
        time: Some(Time { header: "svix-timestamp", ours: FIVE_MINUTES, sdk: FIVE_MINUTES }),
        secret: Secret::Whsec,
        ..PLAIN
    },
    Row { connector: "quickbooks", oracle: "quickbooks", header: "intuit-signature", sdk_signs: false, ..PLAIN },
    Row { connector: "dropbox", oracle: "dropbox", header: "x-dropbox-signature", body: Body::Bytes, ..PLAIN },
    Row {
        connector: "github",
        oracle: "github",
        header: "x-hub-signature-256",
        sdk_signs: false,
        body: Body::Bytes,
        ..PLAIN
    },
    Row {
        connector: "stripe",
        oracle: "stripe",
        header: "stripe-signature",
        // The library takes any time in the future.
        time: Some(Time { header: "stripe-signature", ours: FIVE_MINUTES, sdk: i64::MIN..=300 }),
        ..PLAIN
    },
    Row { connector: "shopify", oracle: "shopify", header: "x-shopify-hmac-sha256", body: Body::Bytes, ..PLAIN },
    Row {
        connector: "shopify",
        oracle: "shopify-unprefixed",
        header: "shopify-hmac-sha256",
        ours_signs: false,
        body: Body::Bytes,
        ..PLAIN
    },
    Row {
        connector: "slack",
        oracle: "slack",
        header: "x-slack-signature",
        time: Some(Time { header: "x-slack-request-timestamp", ours: FIVE_MINUTES, sdk: FIVE_MINUTES }),
        ..PLAIN
    },
    Row {
        connector: "zendesk",
        oracle: "zendesk",
        header: "x-zendesk-webhook-signature",
        // Zendesk documents no window.
        time: Some(Time {
            header: "x-zendesk-webhook-signature-timestamp",
            ours: -300..=3600,
            sdk: i64::MIN..=i64::MAX,
        }),
        body: Body::Bytes,
        ..PLAIN
    },
    Row { connector: "xero", oracle: "xero", header: "x-xero-signature", body: Body::Bytes, ..PLAIN },
    Row {
        connector: "square",
        oracle: "square",
        header: "x-square-hmacsha256-signature",
        sdk_signs: false,
        url: true,
        body: Body::SomeText,
        ..PLAIN
    },
    Row { connector: "asana", oracle: "asana", header: "x-hook-signature", body: Body::Bytes, ..PLAIN },
];

/// Connectors whose requests hold the secret itself and no signature.
const TOKENS: [&str; 2] = ["microsoftgraph", "sfdc"];

/// Deliveries tried of each row. Each is changed in every way there is.
const CASES: u32 = 64;

fn secrets(form: Secret) -> BoxedStrategy<String> {
    match form {
        // Longer than HMAC's block of 64 bytes too, and not blank, which libraries refuse.
        Secret::Text => prop_oneof!["[!-~]{1,100}", "whsec_[A-Za-z0-9]{32}", "k\\PC{1,40}"].boxed(),
        Secret::Whsec => (prop::collection::vec(any::<u8>(), 1..80), any::<bool>())
            .prop_map(|(key, prefixed)| format!("{}{}", if prefixed { "whsec_" } else { "" }, STANDARD.encode(key)))
            .boxed(),
    }
}

fn bodies(form: Body) -> BoxedStrategy<Vec<u8>> {
    let json = ("\\PC{0,20}", any::<u64>()).prop_map(|(text, number)| {
        serde_json::json!([{"type": text, "id": number, "note": "Zoë — café ☕"}]).to_string().into_bytes()
    });
    let text = any::<String>().prop_map(String::into_bytes);
    match form {
        Body::Bytes => prop_oneof![json, text, prop::collection::vec(any::<u8>(), 0..300), Just(Vec::new())].boxed(),
        Body::Text => prop_oneof![json, text, Just(Vec::new())].boxed(),
        Body::SomeText => prop_oneof![json, text.prop_filter("not empty", |body| !body.is_empty())].boxed(),
    }
}

/// URLs as a provider may have been given them: every escape that HubSpot decodes, in both cases, others, an escape of an
/// escape, and the same characters as they are.
fn urls() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[A-Za-z0-9._~-]{1,6}",
        "%(3A|2F|3F|40|21|24|27|28|29|2A|2C|3B|3a|2f|3f|2a|2c|3b)",
        "%(20|26|3D|25|253A|C3%A9|00)",
        "[:@!$'()*,;+]",
    ];
    let text = || prop::collection::vec(piece.clone(), 0..6).prop_map(|pieces| pieces.concat());
    let query = prop::collection::vec((text(), text()), 0..4).prop_map(|pairs| {
        let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
    });
    (text(), query).prop_map(|(path, query)| format!("https://hooks.example.com/events/{path}{query}"))
}

fn deliveries(row: &Row) -> impl Strategy<Value = (Delivery, Timestamp)> + use<> {
    let methods = prop::sample::select(vec!["POST", "PUT", "PATCH", "DELETE"]);
    let parts = (secrets(row.secret), methods, urls(), "[!-~]{1,40}", bodies(row.body));
    // Whole seconds, which most providers send: what the libraries make of an age's fraction differs.
    (parts, 1_500_000_000_i64..2_000_000_000).prop_map(|((secret, method, url, id, body), at)| {
        (Delivery { secret, method, url, id, body }, Timestamp::from_seconds(at))
    })
}

fn connector(row: &Row) -> &'static Connector {
    catalogue().get(row.connector).unwrap()
}

fn we_sign(row: &Row, delivery: &Delivery, at: Timestamp) -> HeaderMap {
    let Delivery { secret, method, url, id, body } = delivery;
    connector(row).sign(secret, &Outgoing { method, url, body, id, at }).unwrap().into_iter().collect()
}

fn we_verify(row: &Row, delivery: &Delivery, headers: &HeaderMap, now: Timestamp) -> Result<(), VerifyError> {
    let request = Request { method: delivery.method, url: &delivery.url, headers, body: &delivery.body };
    // A signature is over the bytes, so bodies that nobody can read are tried too.
    connector(row).verify(&request, None, &[&delivery.secret], now).map(|_| ())
}

#[derive(Debug, Clone, Copy)]
enum Signer {
    Ours,
    Sdk,
}

impl Signer {
    fn of(row: &Row) -> impl Iterator<Item = Self> {
        let ours = row.ours_signs.then_some(Self::Ours);
        ours.into_iter().chain(row.sdk_signs.then_some(Self::Sdk))
    }

    fn sign(self, row: &Row, delivery: &Delivery, at: Timestamp) -> HeaderMap {
        match self {
            Self::Ours => we_sign(row, delivery, at),
            Self::Sdk => oracle::sign(row.oracle, delivery, at),
        }
    }
}

/// What we and the library made of a delivery.
#[derive(Debug, PartialEq, Eq)]
struct Verdicts {
    ours: Result<(), VerifyError>,
    sdk: bool,
}

fn judge(row: &Row, delivery: &Delivery, headers: &HeaderMap, now: Timestamp) -> Verdicts {
    Verdicts { ours: we_verify(row, delivery, headers, now), sdk: oracle::accepts(row.oracle, delivery, headers, now) }
}

fn accepted() -> Verdicts {
    Verdicts { ours: Ok(()), sdk: true }
}

fn refused() -> Verdicts {
    Verdicts { ours: Err(VerifyError::Mismatch), sdk: false }
}

fn with(headers: &HeaderMap, name: &'static str, value: &str) -> HeaderMap {
    let mut headers = headers.clone();
    headers.insert(name, value.parse().unwrap());
    headers
}

fn value<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers[name].to_str().unwrap()
}

/// Runs `check` on generated deliveries of every row.
fn every_row(check: impl Fn(&'static Row, Delivery, Timestamp) -> Result<(), TestCaseError>) {
    for row in ROWS {
        let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
        let result = runner.run(&deliveries(row), |(delivery, at)| check(row, delivery, at));
        if let Err(error) = result {
            panic!("{}: {error}", row.oracle);
        }
    }
}

/// Bodies that differ from `body` by one character, or one byte where it is no text.
fn other_bodies(row: &Row, body: &[u8]) -> Vec<Vec<u8>> {
    let mut bodies = vec![[body, b" "].concat(), [b" ", body].concat()];
    if let Ok(text) = std::str::from_utf8(body) {
        let chars: Vec<char> = text.chars().collect();
        for place in [0, chars.len() / 2, chars.len().saturating_sub(1)] {
            if let Some(old) = chars.get(place) {
                let mut other = chars.clone();
                other[place] = if *old == 'x' { 'y' } else { 'x' };
                bodies.push(other.iter().collect::<String>().into_bytes());
            }
        }
        if chars.len() > 1 {
            bodies.push(chars[1..].iter().collect::<String>().into_bytes());
            bodies.push(chars[..chars.len() - 1].iter().collect::<String>().into_bytes());
        }
    }
    if matches!(row.body, Body::Bytes) {
        for place in 0..body.len().min(3) {
            let mut other = body.to_vec();
            other[place] ^= 0x80;
            bodies.push(other);
        }
    }
    bodies
}

fn other_secret(row: &Row, secret: &str) -> String {
    match row.secret {
        Secret::Text => format!("{secret}x"),
        Secret::Whsec => {
            let mut key = STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or(secret)).unwrap();
            key[0] ^= 1;
            format!("whsec_{}", STANDARD.encode(key))
        }
    }
}

#[test]
fn every_connector_that_signs_is_held_against_an_oracle() {
    let all = catalogue().keys().filter_map(|key| Some((key, catalogue().get(key)?)));
    for (key, connector) in all.filter(|(_, connector)| connector.has_webhooks()) {
        let covered = ROWS.iter().any(|row| row.connector == key);
        assert_ne!(covered, TOKENS.contains(&key), "{key} needs a row in ROWS, or a place in TOKENS");
        let at = Timestamp::from_seconds(1_700_000_000);
        let outgoing = Outgoing { method: "POST", url: "https://example.com/", body: b"{}", id: "m", at };
        let headers = connector.sign("whsec_c2VjcmV0", &outgoing).unwrap_or_default();
        let signs = headers.iter().any(|(_, value)| value != "whsec_c2VjcmV0");
        assert_eq!(signs, covered, "{key}");
    }
    for row in ROWS {
        assert!(catalogue().get(row.connector).is_some(), "there is no connector {}", row.connector);
        assert!(Signer::of(row).next().is_some(), "{} is signed by nobody", row.oracle);
    }
    for key in TOKENS {
        assert!(catalogue().get(key).is_some(), "there is no connector {key}");
    }
}

#[test]
fn what_we_sign_the_library_accepts_and_what_it_signs_we_accept() {
    every_row(|row, delivery, at| {
        for signer in Signer::of(row) {
            let headers = signer.sign(row, &delivery, at);
            prop_assert_eq!(judge(row, &delivery, &headers, at), accepted(), "signed by {:?}: {:?}", signer, headers);
        }
        Ok(())
    });
}

#[test]
fn we_and_the_library_send_the_same_headers() {
    every_row(|row, delivery, at| {
        if row.ours_signs && row.sdk_signs {
            prop_assert_eq!(we_sign(row, &delivery, at), oracle::sign(row.oracle, &delivery, at));
        }
        Ok(())
    });
}

#[test]
fn both_refuse_another_body_and_another_secret() {
    every_row(|row, delivery, at| {
        for signer in Signer::of(row) {
            let headers = signer.sign(row, &delivery, at);
            for body in other_bodies(row, &delivery.body) {
                let other = Delivery { body, ..delivery.clone() };
                prop_assert_eq!(judge(row, &other, &headers, at), refused(), "{:?}, not {:?}", delivery, other);
            }
            let secret = other_secret(row, &delivery.secret);
            let other = Delivery { secret, ..delivery.clone() };
            prop_assert_eq!(judge(row, &other, &headers, at), refused(), "{:?}, not {:?}", delivery, other);
        }
        Ok(())
    });
}

#[test]
fn both_refuse_another_method_or_url_where_it_is_signed_and_only_there() {
    every_row(|row, delivery, at| {
        let expected = |signed| if signed { refused() } else { accepted() };
        for signer in Signer::of(row) {
            let headers = signer.sign(row, &delivery, at);
            let method = if delivery.method == "POST" { "PUT" } else { "POST" };
            let other = Delivery { method, ..delivery.clone() };
            prop_assert_eq!(judge(row, &other, &headers, at), expected(row.method), "{:?}, not {:?}", delivery, other);
            let host = delivery.url.replacen("hooks.", "Hooks.", 1);
            let added = if delivery.url.contains('?') { "&a=1" } else { "?a=1" };
            for url in [format!("{}{added}", delivery.url), delivery.url.replacen("https", "http", 1), host] {
                let other = Delivery { url, ..delivery.clone() };
                prop_assert_eq!(judge(row, &other, &headers, at), expected(row.url), "{:?}, not {:?}", delivery, other);
            }
        }
        Ok(())
    });
}

#[test]
fn both_refuse_another_signature_id_or_time_than_was_signed() {
    every_row(|row, delivery, at| {
        let later = Timestamp::from_seconds(at.as_seconds() + 1);
        for signer in Signer::of(row) {
            let headers = signer.sign(row, &delivery, at);
            let signature = value(&headers, row.header);
            let mut others = Vec::new();
            // Near its end every header holds nothing but digits of the signature; the last few may hold padding.
            for place in [signature.len() - 30, signature.len() - 10, signature.len() - 4] {
                let digit = if &signature[place..=place] == "0" { "1" } else { "0" };
                let mut other = signature.to_owned();
                other.replace_range(place..=place, digit);
                others.push(with(&headers, row.header, &other));
            }
            if let Some(header) = row.id {
                others.push(with(&headers, header, &format!("{}x", delivery.id)));
            }
            if let Some(time) = &row.time {
                let resigned = signer.sign(row, &delivery, later);
                let moved = if time.header == row.header {
                    signature.replacen(&at.as_seconds().to_string(), &later.as_seconds().to_string(), 1)
                } else {
                    value(&resigned, time.header).to_owned()
                };
                prop_assert_ne!(&moved, value(&headers, time.header));
                others.push(with(&headers, time.header, &moved));
            }
            for other in others {
                prop_assert_eq!(judge(row, &delivery, &other, at), refused(), "{:?}, not {:?}", headers, other);
            }
        }
        Ok(())
    });
}

/// The libraries' windows are wider than ours in what [`Time`] says, and in nothing else.
#[test]
fn a_time_out_of_the_window_is_refused_by_both() {
    const AGES: [i64; 13] = [-100_000, -3601, -301, -300, -299, -1, 0, 1, 299, 300, 301, 3600, 3601];
    every_row(|row, delivery, at| {
        for signer in Signer::of(row) {
            let headers = signer.sign(row, &delivery, at);
            for age in AGES {
                let now = Timestamp::from_seconds(at.as_seconds() + age);
                let expected = match &row.time {
                    None => accepted(),
                    Some(time) => Verdicts {
                        ours: if time.ours.contains(&age) {
                            Ok(())
                        } else {
                            Err(VerifyError::Stale(time.header.parse().unwrap()))
                        },
                        sdk: time.sdk.contains(&age),
                    },
                };
                prop_assert_eq!(
                    judge(row, &delivery, &headers, now),
                    expected,
                    "{} s old, signed by {:?}",
                    age,
                    signer
                );
            }
        }
        Ok(())
    });
}
