//! Whatever a stranger sends is answered, and costs little.

#![allow(clippy::unwrap_used)]

mod common;

use axum::body::Body;
use common::{SECRET, hubspot, one, refused, told, world};
use http::{Request, StatusCode};
use platform::Platform as _;
use pollhook_webhook_receiver::MAX_BODY_BYTES;
use proptest::prelude::*;
use records::refused::{Reason, SAMPLES};
use scenarios::{Spec, Webhook};

const PATH: &str = "/elements/api-v2/events/hubspot";

fn post(path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::post(path).body(body.into()).unwrap()
}

#[tokio::test]
async fn what_cannot_be_read_is_answered_400() {
    let mut world = world(401).await;
    world.make(hubspot("1")).await;
    world.restart();
    let whole = format!("[{}]", scenarios::hubspot_change("1", 1, world.now()));
    let bodies: Vec<Vec<u8>> = vec![
        b"".to_vec(),
        b"null".to_vec(),
        b"\"text\"".to_vec(),
        b"7".to_vec(),
        b"{".to_vec(),
        whole.as_bytes()[..whole.len() - 2].to_vec(),
        format!("{whole} x").into_bytes(),
        "[".repeat(100_000).into_bytes(),
        format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)).into_bytes(),
        format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000)).into_bytes(),
        b"[{\"portalId\":1,\"x\":\"\xff\xfe\"}]".to_vec(),
        b"[{\"portalId\":1,\"\xc3\x28\":1}]".to_vec(),
        b"\xef\xbb\xbf[]".to_vec(),
        format!("[{}]", vec!["{}"; 10_001].join(",")).into_bytes(),
    ];
    let count = bodies.len() as u64;
    for (index, body) in bodies.into_iter().enumerate() {
        let (status, text) = world.call(post(PATH, body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{index}: {text}");
        assert!(text.len() < 300, "{index}: {text}");
    }
    assert_eq!(world.platform().memory.acts(), Vec::<String>::new());
    assert_eq!(refused(&world, "hubspot").await, common::counts(&[(Reason::Malformed, count)]));
}

#[tokio::test]
async fn what_is_too_large_is_answered_413_and_what_just_fits_is_read() {
    let world = world(402).await;
    world.make(hubspot("1")).await;
    let (status, _) = world.call(post(PATH, vec![b' '; MAX_BODY_BYTES + 1])).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    let (status, _) = world.call(post(PATH, vec![b' '; MAX_BODY_BYTES])).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "read, and not JSON");
    let change = scenarios::hubspot_change("1", 1, world.now());
    let padded = format!("[{change}{}]", " ".repeat(MAX_BODY_BYTES - change.len() - 2));
    let (status, text) = world.send(&Webhook::new("hubspot", SECRET, padded)).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let expected = common::counts(&[(Reason::TooLarge, 1), (Reason::Malformed, 1)]);
    assert_eq!(refused(&world, "hubspot").await, expected);
}

#[tokio::test]
async fn a_body_that_ends_early_is_not_read_and_is_counted() {
    let world = world(410).await;
    let chunks = [Ok("[{\"portalId\":1}"), Err(std::io::Error::other("the connection broke"))];
    let body = Body::from_stream(futures_util::stream::iter(chunks));
    assert_eq!(world.call(post(PATH, body)).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(refused(&world, "hubspot").await, common::counts(&[(Reason::Malformed, 1)]));
}

#[tokio::test]
async fn there_is_nothing_else_at_these_urls() {
    let mut world = world(403).await;
    world.restart();
    let (status, text) = world.call(post("/elements/api-v2/events/nobody", "[]")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(text.contains("hubspot") && text.contains("standard"), "{text}");
    for method in ["GET", "PUT", "DELETE", "HEAD", "OPTIONS"] {
        let request = Request::builder().method(method).uri(PATH).body(Body::empty()).unwrap();
        assert_eq!(world.call(request).await.0, StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
    for path in ["/elements/api-v2/events/%2e%2e/x", "/elements/api-v2/events/%ff", "/elements/api-v2/events/%00"] {
        let (status, _) = world.call(post(path, "[]")).await;
        assert!(status.is_client_error(), "{path}: {status}");
    }
    assert_eq!(world.platform().memory.acts(), Vec::<String>::new(), "nothing is counted for a stranger's word");
    world.receiver().flush().await.unwrap();
    assert_eq!(world.platform().memory.acts(), Vec::<String>::new());
}

#[tokio::test]
async fn ten_thousand_refusals_cost_one_write_and_few_samples() {
    let mut world = world(404).await;
    world.make(hubspot("1")).await;
    world.restart();
    let long = "9".repeat(5_000);
    for n in 0..10_000 {
        let body = format!("[{{\"portalId\":\"{n}-{long}\"}}]");
        assert_eq!(world.call(post(PATH, body)).await.0, StatusCode::OK);
    }
    world.receiver().flush().await.unwrap();
    assert_eq!(world.platform().memory.acts().len(), 1);
    let lines = records::refused::list(world.platform(), "hubspot").await.unwrap();
    assert_eq!((lines.len(), lines[0].refusals.count), (1, 10_000));
    assert_eq!(lines[0].refusals.samples.len(), SAMPLES);
    assert!(world.platform().memory.table().items("REFUSED#")[0].body.len() < 10_000);
}

#[tokio::test]
async fn refusals_that_could_not_be_written_stay_counted() {
    let world = world(405).await;
    assert_eq!(world.call(post(PATH, "{")).await.0, StatusCode::BAD_REQUEST);
    world.platform().fail(0, scenarios::Trouble::Throttled);
    assert!(world.receiver().flush().await.is_err());
    assert_eq!(world.call(post(PATH, "{")).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(refused(&world, "hubspot").await, common::counts(&[(Reason::Malformed, 2)]));
}

#[tokio::test]
async fn a_body_that_names_too_many_accounts_is_not_looked_up() {
    let world = world(406).await;
    let entries: Vec<String> = (0..101).map(|n| format!("{{\"portalId\":{n}}}")).collect();
    let reads = world.platform().reads();
    let (status, _) = world.call(post(PATH, format!("[{}]", entries.join(",")))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(world.platform().reads(), reads);
    assert_eq!(refused(&world, "hubspot").await, common::counts(&[(Reason::TooMany, 1)]));
}

#[tokio::test]
async fn an_account_that_cannot_be_a_key_is_nobody_s() {
    let world = world(407).await;
    for account in ["x\\u0000y".to_owned(), "x".repeat(3_000), String::new()] {
        let (status, _) = world.call(post(PATH, format!("[{{\"portalId\":\"{account}\"}}]"))).await;
        assert_eq!(status, StatusCode::OK);
    }
    assert_eq!(told(&world), []);
}

#[tokio::test]
async fn no_answer_holds_a_secret() {
    let world = world(408).await;
    world.make(hubspot("1").signed("the signature key")).await;
    world.make(Spec::of("standard").webhook_secret(SECRET).callback("https://app.example/")).await;
    let requests = [
        post(PATH, "{"),
        one(&world, "1", 1).request(world.now()),
        Webhook::hubspot("wrong", &[("1", 1)], world.now()).request(world.now()),
        post(PATH, format!("[{{\"portalId\":1,\"secret\":\"{SECRET}\"}}]")),
    ];
    for request in requests {
        let (_, text) = world.call(request).await;
        assert!(!text.contains(SECRET) && !text.contains("signature key"), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_to_any_path_are_answered_without_a_trace(
        body in proptest::collection::vec(any::<u8>(), 0..300),
        path in "(/[A-Za-z0-9=%._~-]{0,12}){0,3}",
        header in "[ -~]{0,40}",
        hops: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let mut world = world(409).await;
            world.restart();
            let Ok(request) = Request::post(format!("{PATH}{path}")).header("element-instances", header)
                .header(if hops { "pollhook-hops" } else { "x" }, "1").body(Body::from(body)) else { return };
            let (status, _) = world.call(request).await;
            assert!(status.is_client_error() || status.is_success(), "{status}");
            assert_eq!(world.platform().memory.acts(), Vec::<String>::new());
        });
    }
}
