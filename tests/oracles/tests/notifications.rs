//! Our own notifications' signature, and what the reference library of Standard Webhooks makes of it.

#![allow(clippy::unwrap_used)]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use events::{SignatureKey, Timestamp, signature};
use http::{HeaderMap, HeaderName};
use pollhook_oracles::oracle::{self, Delivery};
use proptest::prelude::*;

/// A key, and the oracle that takes it as a receiver would: `whsec_` and base64 as it stands, any other text as the bytes
/// it is.
fn keys() -> impl Strategy<Value = (String, &'static str)> {
    let encoded = prop::collection::vec(any::<u8>(), 1..80);
    prop_oneof![
        encoded.prop_map(|key| (format!("whsec_{}", STANDARD.encode(key)), "standard")),
        "k\\PC{0,80}".prop_map(|key| (key, "standard-raw")),
    ]
}

fn headers(id: &str, at: Timestamp, signature: &str) -> HeaderMap {
    let seconds = at.as_seconds().to_string();
    let values = [id, &seconds, signature];
    let names = [signature::WEBHOOK_ID, signature::WEBHOOK_TIMESTAMP, signature::WEBHOOK_SIGNATURE];
    let names = names.map(HeaderName::from_static);
    names.into_iter().zip(values.map(|value| value.parse().unwrap())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_receiver_that_uses_the_reference_library_accepts_our_notifications_and_only_those(
        (secret, oracle) in keys(), id in "[A-Za-z0-9_-]{20}", body in any::<String>(),
        at in 1_500_000_000_i64..2_000_000_000, age in prop::sample::select(vec![-301, -300, 0, 300, 301]),
    ) {
        let at = Timestamp::from_seconds(at);
        let key = SignatureKey::new(secret.as_str().into()).unwrap();
        let delivery = Delivery { secret, method: "POST", url: String::new(), id: id.clone(), body: body.into_bytes() };
        let signature = key.standard(&id, at, &delivery.body);
        let sent = headers(&id, at, &signature);
        let accepts = |delivery: &Delivery, headers: &HeaderMap| oracle::accepts(oracle, delivery, headers, at);
        prop_assert!(accepts(&delivery, &sent));
        let now = Timestamp::from_seconds(at.as_seconds() + age);
        let seconds = at.as_seconds().to_string();
        let check = |body: &[u8]| key.verify_standard(&id, &seconds, &signature, body, now);
        prop_assert_eq!(oracle::accepts(oracle, &delivery, &sent, now), age.abs() <= 300);
        prop_assert_eq!(check(&delivery.body).is_ok(), age.abs() <= 300);

        let other = Delivery { body: [&*delivery.body, b" "].concat(), ..delivery.clone() };
        prop_assert!(!accepts(&other, &sent));
        prop_assert!(check(&other.body).is_err());
        prop_assert!(!accepts(&delivery, &headers("another", at, &signature)));
        let later = Timestamp::from_seconds(at.as_seconds() + 1);
        prop_assert!(!accepts(&delivery, &headers(&id, later, &signature)));
        let other_secret = Delivery { secret: "whsec_b3RoZXI=".into(), ..delivery.clone() };
        prop_assert!(!accepts(&other_secret, &sent));

        prop_assert_eq!(oracle::sign(oracle, &delivery, at), sent);
    }
}
