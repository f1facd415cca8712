//! What a callback knows the sender by: what is configured now counts, and it is written down nowhere.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use egress::callback::{HOPS, PING};
use egress::{Client, Limits, Policy};
use events::{Message, configuration, signature};
use http::HeaderMap;
use platform::Platform as _;
use pollhook_dispatcher::{Dispatcher, RetryPolicy};
use records::deliveries::State;
use scenarios::{Behaviour, Logs, Made, Posted, Reply, Spec, World, batch};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const URL: &str = "https://app.example/hook";
const OTHER: &str = "https://other.example/hook";

fn answering(key: Option<&str>, first: Vec<Reply>) -> Behaviour {
    Behaviour { key: key.map(str::to_owned), first, then: Reply::Status(200) }
}

async fn world(seed: u64, key: Option<&str>) -> World {
    let world = World::new(seed, RetryPolicy::default()).await;
    for url in [URL, OTHER] {
        world.callbacks.behave(url, answering(key, Vec::new()));
    }
    world
}

fn with_password(url: &str) -> Spec {
    Spec::of("hubspot")
        .callback(url)
        .set(configuration::BASIC_USERNAME, "ann")
        .secret(configuration::BASIC_PASSWORD, "hunter2")
}

/// Tells a change of `object`.
async fn tell(world: &World, made: &Made, object: u64) -> Posted {
    world.handle(&Message::Batch(batch(made.id, object..object + 1, "[]")).encode()).await.unwrap();
    world.callbacks.posted().pop().unwrap()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_changed_url_counts_from_the_next_delivery() {
    let world = world(501, None).await;
    let mut made = world.make(Spec::of("hubspot").callback(URL)).await;
    assert_eq!(tell(&world, &made, 1).await.url, URL);
    made.change(world.platform(), |plain, _| {
        plain.insert(configuration::CALLBACK_URL.into(), OTHER.into());
    })
    .await;
    assert_eq!(tell(&world, &made, 2).await.url, OTHER);
}

#[tokio::test]
async fn a_changed_key_counts_from_the_next_delivery() {
    let world = world(502, Some("first")).await;
    let mut made = world.make(Spec::of("hubspot").callback(URL).signed("first")).await;
    assert!(text(&tell(&world, &made, 1).await.headers, signature::WEBHOOK_SIGNATURE).is_some());
    // Who listens there checks each signature, by now with the second key.
    world.callbacks.behave(URL, answering(Some("second"), Vec::new()));
    made.change(world.platform(), |_, secrets| {
        secrets.insert(configuration::SIGNATURE_KEY.into(), "second".into());
    })
    .await;
    assert!(text(&tell(&world, &made, 2).await.headers, signature::WEBHOOK_SIGNATURE).is_some());
    world.callbacks.behave(URL, answering(None, Vec::new()));
    made.change(world.platform(), |_, secrets| drop(secrets.remove(configuration::SIGNATURE_KEY))).await;
    assert_eq!(text(&tell(&world, &made, 3).await.headers, signature::WEBHOOK_SIGNATURE), None);
}

#[tokio::test]
async fn a_changed_user_name_or_password_counts_from_the_next_delivery() {
    let world = world(503, None).await;
    let mut made = world.make(with_password(URL)).await;
    // `printf ann:hunter2 | base64`, and so on.
    assert_eq!(text(&tell(&world, &made, 1).await.headers, "authorization"), Some("Basic YW5uOmh1bnRlcjI="));
    made.change(world.platform(), |_, secrets| {
        secrets.insert(configuration::BASIC_PASSWORD.into(), "hunter3".into());
    })
    .await;
    assert_eq!(text(&tell(&world, &made, 2).await.headers, "authorization"), Some("Basic YW5uOmh1bnRlcjM="));
    made.change(world.platform(), |plain, _| {
        plain.insert(configuration::BASIC_USERNAME.into(), "bob".into());
    })
    .await;
    assert_eq!(text(&tell(&world, &made, 3).await.headers, "authorization"), Some("Basic Ym9iOmh1bnRlcjM="));
    made.change(world.platform(), |plain, _| drop(plain.remove(configuration::BASIC_USERNAME))).await;
    assert_eq!(text(&tell(&world, &made, 4).await.headers, "authorization"), None);
}

#[tokio::test]
async fn a_changed_header_counts_from_the_next_delivery() {
    let world = world(504, None).await;
    let spec = Spec::of("hubspot").callback(URL).secret(configuration::CALLBACK_HEADERS, r#"{"X-Tenant": "seven"}"#);
    let mut made = world.make(spec).await;
    assert_eq!(text(&tell(&world, &made, 1).await.headers, "x-tenant"), Some("seven"));
    made.change(world.platform(), |_, secrets| {
        secrets.insert(configuration::CALLBACK_HEADERS.into(), "X-Tenant: eight\nX-Also: 1".into());
    })
    .await;
    let headers = tell(&world, &made, 2).await.headers;
    assert_eq!((text(&headers, "x-tenant"), text(&headers, "x-also")), (Some("eight"), Some("1")));
    assert!(!headers.contains_key(HOPS) && !headers.contains_key(PING));
    made.change(world.platform(), |_, secrets| drop(secrets.remove(configuration::CALLBACK_HEADERS))).await;
    assert_eq!(text(&tell(&world, &made, 3).await.headers, "x-tenant"), None);
}

#[tokio::test]
async fn a_retry_is_made_with_what_is_configured_by_then_and_with_the_same_body() {
    let world = world(505, None).await;
    world.callbacks.behave(URL, answering(None, vec![Reply::Status(401)]));
    let mut made = world.make(with_password(URL)).await;
    tell(&world, &made, 1).await;
    made.change(world.platform(), |_, secrets| {
        secrets.insert(configuration::BASIC_PASSWORD.into(), "hunter3".into());
    })
    .await;
    world.settle().await;
    let posted = world.callbacks.posted();
    let sent: Vec<_> = posted.iter().map(|posted| text(&posted.headers, "authorization").unwrap()).collect();
    assert_eq!(sent, ["Basic YW5uOmh1bnRlcjI=", "Basic YW5uOmh1bnRlcjM="]);
    assert_eq!(posted[0].body, posted[1].body);
}

#[tokio::test]
async fn a_callback_that_moves_with_its_password_shows_neither_place_the_other_s() {
    let world = world(507, None).await;
    world.callbacks.behave(URL, answering(None, vec![Reply::Status(500)]));
    let mut made = world.make(with_password(URL).secret(configuration::CALLBACK_HEADERS, "X-Key: old")).await;
    tell(&world, &made, 1).await;
    made.change(world.platform(), |plain, secrets| {
        plain.insert(configuration::CALLBACK_URL.into(), OTHER.into());
        secrets.insert(configuration::BASIC_PASSWORD.into(), "hunter3".into());
        secrets.insert(configuration::CALLBACK_HEADERS.into(), "X-Key: new".into());
    })
    .await;
    world.settle().await;
    let posted = world.callbacks.posted();
    let sent = |posted: &Posted| {
        let header = |name: &str| text(&posted.headers, name).unwrap().to_owned();
        (posted.url.clone(), header("authorization"), header("x-key"))
    };
    let expected = [(URL, "Basic YW5uOmh1bnRlcjI=", "old"), (OTHER, "Basic YW5uOmh1bnRlcjM=", "new")];
    let expected = expected.map(|(url, basic, key)| (url.to_owned(), basic.to_owned(), key.to_owned()));
    assert_eq!(posted.iter().map(sent).collect::<Vec<_>>(), expected);
}

/// Answers one request with 500 and the request's own headers.
async fn echoing() -> (String, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"}") {
            stream.read_buf(&mut bytes).await.unwrap();
        }
        let head = String::from_utf8(bytes).unwrap().split("\r\n\r\n").next().unwrap().to_owned();
        let confidential: Vec<_> =
            head.lines().filter(|line| line.starts_with("authorization") || line.starts_with("x-")).collect();
        let body = format!("{} hunter2", confidential.join(" "));
        let answer = format!("HTTP/1.1 500 X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        body
    });
    (url, task)
}

#[tokio::test]
async fn a_receiver_that_answers_with_the_request_puts_no_secret_into_the_record_or_the_log() {
    let (logs, _capture) = Logs::capture();
    let world = world(506, None).await;
    let (url, receiver) = echoing().await;
    let spec = with_password(&url).secret(configuration::CALLBACK_HEADERS, "X-Api: tok-abcdef");
    let made = world.make(spec.signed("sign-key")).await;
    let policy = || Policy::new(vec!["127.0.0.0/8".parse().unwrap()], None);
    let client = Client::new(policy(), Limits::default()).unwrap();
    let platform = Arc::new(world.platform().clone());
    let bus = platform.bus().clone();
    let dispatcher = Dispatcher::new(platform, client, bus, Arc::new(policy()), RetryPolicy::default());
    dispatcher.handle(&Message::Batch(batch(made.id, 1..2, "[]")).encode(), 1).await.unwrap();

    let secrets = ["YW5uOmh1bnRlcjI=", "hunter2", "tok-abcdef"];
    let answered = receiver.await.unwrap();
    assert!(secrets.iter().all(|secret| answered.contains(secret)), "the receiver was told: {answered}");
    let record = &world.records(made.id).await[0];
    assert!(matches!(record.callback.state, State::Waiting { .. }));
    let error = record.callback.attempts[0].error.clone().unwrap();
    assert!(error.contains("authorization: [hidden]") && error.contains("x-api: [hidden]"), "{error}");
    let log = logs.text();
    assert!(log.contains("not told") && log.contains("[hidden]"), "{log}");
    let items = world.platform().memory.table().items("").into_iter();
    let items: Vec<String> = items.map(|item| String::from_utf8_lossy(&item.body).into_owned()).collect();
    for secret in secrets.into_iter().chain(["sign-key"]) {
        assert!(!log.contains(secret), "{secret} in the log");
        assert!(!error.contains(secret) && !items.iter().any(|item| item.contains(secret)), "{secret} in the table");
    }
}
