use events::{AccountId, Event, EventId, EventType, InstanceId, NotificationId, Source};
use proptest::prelude::*;

use super::*;

const AT: Timestamp = Timestamp::from_seconds(1_790_000_000);
const URL: &str = "https://app.example/hook";
const OWN: &str = "https://house.example/elements/api-v2/events/hubspot/";

fn policy() -> Policy {
    Policy::new(Vec::new(), Some(&"https://house.example".parse().unwrap()))
}

fn batch() -> Batch {
    let instance = InstanceId::from_random(7);
    let event = Event {
        id: EventId::of(instance, "contacts", "1", &["x"]),
        object_type: "contacts".into(),
        object_id: "1".into(),
        event_type: EventType::Updated,
        date: Some(AT),
    };
    Batch {
        instance,
        connector: "hubspot".into(),
        hub: "crm".into(),
        source: Source::Webhook,
        accepted_at: AT,
        hops: 1,
        events: vec![event],
        raw: Bytes::from_static(b"{}"),
    }
}

fn build(url: &str, credentials: Credentials, ping: bool) -> Result<CallbackRequest, Broken> {
    build_of(&batch(), url, credentials, ping)
}

fn build_of(batch: &Batch, url: &str, credentials: Credentials, ping: bool) -> Result<CallbackRequest, Broken> {
    let notification = batch.notifications(AT).next().unwrap();
    let recipient = Recipient { name: "", tags: &[], account: AccountId(1), company: 1, user: 1, strict: false };
    let notice = Notice { recipient, batch, notification, at: AT, ping };
    request(&policy(), url.parse().unwrap(), &notice, credentials)
}

fn id() -> NotificationId {
    batch().notifications(AT).next().unwrap().id
}

fn further(headers: &[(&str, &str)]) -> Vec<(String, SecretString)> {
    headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect()
}

fn all() -> Credentials {
    Credentials {
        signature_key: Some("key".into()),
        basic: Some(("ann".into(), "s3cret".into())),
        headers: further(&[("X-Tenant", "s3cret-7"), ("X-Route", "a"), ("x-route", "b")]),
    }
}

fn names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

#[test]
fn a_notification_carries_both_signatures_basic_auth_and_the_further_headers() {
    let CallbackRequest { url, headers, body } = build(URL, all(), false).unwrap();
    assert_eq!(url.as_str(), URL);
    let key = SignatureKey::new("key".into()).unwrap();
    let header = |name: &str| headers[name].to_str().unwrap();
    key.verify_elements(header(signature::ELEMENTS_SIGNATURE), &body).unwrap();
    let (time, standard) = (header(signature::WEBHOOK_TIMESTAMP), header(signature::WEBHOOK_SIGNATURE));
    key.verify_standard(id().as_str(), time, standard, &body, AT).unwrap();
    assert_eq!((header(signature::ELEMENTS_ID), header(signature::WEBHOOK_ID)), (id().as_str(), id().as_str()));
    assert_eq!(header("content-type"), "application/json");
    // RFC 7617's form; `printf ann:s3cret | base64`.
    assert_eq!(header("authorization"), "Basic YW5uOnMzY3JldA==");
    assert_eq!(header("x-tenant"), "s3cret-7");
    assert_eq!(headers.get_all("x-route").iter().collect::<Vec<_>>(), ["a", "b"]);
    assert!(!headers.contains_key(HOPS) && !headers.contains_key(PING));
}

#[test]
fn without_credentials_there_is_the_id_and_the_type_alone() {
    let headers = build(URL, Credentials::default(), false).unwrap().headers;
    assert_eq!(names(&headers), ["content-type", signature::ELEMENTS_ID]);
    let headers = build(URL, Credentials::default(), true).unwrap().headers;
    assert_eq!(names(&headers), ["content-type", signature::ELEMENTS_ID, PING]);
}

#[test]
fn our_own_events_paths_get_the_signatures_and_nothing_that_a_customer_chose() {
    let headers = build(OWN, all(), false).unwrap().headers;
    let expected = [
        "content-type",
        signature::ELEMENTS_ID,
        signature::ELEMENTS_SIGNATURE,
        HOPS,
        signature::WEBHOOK_ID,
        signature::WEBHOOK_SIGNATURE,
        signature::WEBHOOK_TIMESTAMP,
    ];
    assert_eq!(names(&headers), expected);
    assert_eq!(headers[HOPS], "2");
}

#[test]
fn a_further_header_may_authorize_unless_there_is_basic_auth() {
    let bearer = || further(&[("Authorization", "Bearer s3cret")]);
    let headers = build(URL, Credentials { headers: bearer(), ..Credentials::default() }, false).unwrap().headers;
    assert_eq!(headers["authorization"], "Bearer s3cret");
    let headers = build(URL, Credentials { headers: bearer(), ..all() }, false).unwrap().headers;
    assert_eq!(headers.get_all("authorization").iter().collect::<Vec<_>>(), ["Basic YW5uOnMzY3JldA=="]);
}

#[test]
fn a_header_that_would_not_arrive_as_configured_is_told_and_not_repeated() {
    for (name, value, fault) in [
        ("s3cret header", "v", HeaderFault::Name),
        ("", "v", HeaderFault::Name),
        ("x-a", "s3cret\r\nx-b: 1", HeaderFault::Value),
        ("User-Agent", "s3cret", HeaderFault::Ours),
        ("referer", "s3cret", HeaderFault::Ours),
        ("Content-Type", "s3cret", HeaderFault::Ours),
        ("webhook-id", "s3cret", HeaderFault::Ours),
    ] {
        let error = check_header(name, &value.into()).unwrap_err();
        assert_eq!(error, fault, "{name}");
        assert!(!error.to_string().contains("s3cret"));
    }
    assert_eq!(check_header("Authorization", &"Bearer x".into()), Ok(()));
}

#[test]
fn a_key_or_a_body_that_is_broken_is_ours_and_is_not_repeated() {
    let credentials = Credentials { signature_key: Some("whsec_%s3cret%".into()), ..Credentials::default() };
    let error = build(URL, credentials, false).unwrap_err();
    assert_eq!(error, Broken::Key(KeyError));
    assert!(!error.to_string().contains("s3cret"), "{error}");
    let batch = Batch { raw: Bytes::from_static(b"s3cret"), ..batch() };
    let error = build_of(&batch, URL, Credentials::default(), false).unwrap_err();
    assert!(matches!(error, Broken::Raw(..)) && !error.to_string().contains("s3cret"), "{error}");
}

#[test]
fn no_secret_is_in_what_is_printed() {
    let printed = format!("{:?}", all());
    assert!(!printed.contains("s3cret") && !printed.contains("ann") && !printed.contains("key\""), "{printed}");
    let request = build(URL, all(), false).unwrap();
    let printed = format!("{request:?} {:?}", request.headers);
    for secret in ["s3cret", "YW5uOnMzY3JldA=="] {
        assert!(!printed.contains(secret), "{printed}");
    }
}

/// Names of every kind: ours in any case, what frames a message, anything.
fn any_name() -> impl Strategy<Value = String> {
    let ours = [
        "content-type",
        "User-Agent",
        "Host",
        "Content-Length",
        "transfer-encoding",
        "Elements-Webhook-Id",
        "elements-webhook-signature",
        "Webhook-Id",
        "webhook-signature",
        "WEBHOOK-TIMESTAMP",
        "Pollhook-Hops",
        "pollhook-ping",
        "pollhook-x",
        "Connection",
        "authorization",
        "x-a",
    ];
    prop_oneof![proptest::sample::select(ours.to_vec()).prop_map(str::to_owned), "[ -~]{0,12}", ".{0,6}"]
}

proptest! {
    #[test]
    fn no_further_header_replaces_one_of_ours_or_adds_to_it(
        extra in proptest::collection::vec((any_name(), "[a-z\n]{0,5}"), 0..5),
        own: bool,
        ping: bool,
    ) {
        let url = if own { OWN } else { URL };
        let plain = Credentials { headers: Vec::new(), ..all() };
        let expected = build(url, plain, ping).unwrap();
        let pairs: Vec<_> = extra.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let credentials = Credentials { headers: further(&pairs), ..all() };
        let request = build(url, credentials, ping).unwrap();
        prop_assert_eq!(&request.body, &expected.body);
        for name in expected.headers.keys() {
            let values = request.headers.get_all(name).iter().collect::<Vec<_>>();
            prop_assert_eq!(values, [&expected.headers[name]]);
        }
        for (name, value) in &further(&pairs) {
            let arrives = request.headers.get_all(name.trim()).iter().any(|sent| sent == value.expose_secret());
            prop_assert!(!own && check_header(name, value).is_ok() || !arrives || expected.headers.contains_key(name));
        }
        if own {
            prop_assert_eq!(request.headers, expected.headers);
        }
    }
}
