//! Posts and fetches over real sockets on this machine.
#![allow(clippy::unwrap_used, missing_docs)]

mod exchanging;
mod fetching;
mod sink;
mod tls;

use std::time::{Duration, Instant};

use bytes::Bytes;
use egress::{Answer, CallbackRequest, Client, Failure, Limits, Policy, Post, Refusal, RetryAfter, Stage};
use http::{HeaderMap, HeaderName, HeaderValue};
use pollhook_egress as egress;
use sink::{Names, Script, Sink};
use url::Url;

/// Deadlines that a test can afford to wait for.
fn short() -> Limits {
    Limits { total: Duration::from_millis(400), connect: Duration::from_millis(400), ..Limits::default() }
}

fn local() -> Policy {
    Policy::new(vec!["127.0.0.0/8".parse().unwrap()], None)
}

fn client() -> Client {
    Client::new(local(), Limits::default()).unwrap()
}

fn to(url: &str) -> CallbackRequest {
    CallbackRequest { url: url.parse().unwrap(), headers: HeaderMap::new(), body: Bytes::from_static(b"{\"a\":1}") }
}

async fn post(client: &Client, url: &str) -> Result<Answer, Failure> {
    client.post(to(url)).await
}

fn refused_address(result: Result<Answer, Failure>) -> egress::Forbidden {
    match result {
        Err(Failure::Refused(Refusal::Address(forbidden))) => forbidden,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_status_is_an_answer_for_the_dispatcher_to_judge() {
    let client = client();
    for status in [200, 202, 204, 301, 304, 307, 400, 404, 410, 429, 500, 503, 599] {
        let body = if matches!(status, 204 | 304) { "" } else { "because\n" };
        let sink = Sink::answering(&format!("{status} X\r\nretry-after: 7"), body).await;
        let answer = post(&client, &sink.url("/hook")).await.unwrap();
        assert_eq!(answer.status, status);
        assert_eq!(answer.body_start, if body.is_empty() { "" } else { "because " });
        assert_eq!(answer.retry_after, Some(RetryAfter::Seconds(7)));
        assert!(answer.latency > Duration::ZERO);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_wherever_it_leads() {
    let inner = Sink::answering("200 OK", "secret").await;
    let sink = Sink::answering(&format!("307 X\r\nlocation: {}", inner.url("/")), "").await;
    assert_eq!(post(&client(), &sink.url("/")).await.unwrap().status, 307);
    assert_eq!(inner.connections(), 0);
}

#[tokio::test]
async fn the_request_is_the_callers_except_for_what_frames_it_and_our_name() {
    let sink = Sink::answering("200 OK", "").await;
    let mut request = to(&sink.url("/hook?a=b"));
    for (name, value) in [
        ("content-type", "application/json;charset=UTF-8"),
        ("accept", "text/plain"),
        ("x-custom", "1"),
        ("user-agent", "curl"),
        ("host", "169.254.169.254"),
        ("content-length", "2"),
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("expect", "100-continue"),
        ("referer", "https://example.com/"),
    ] {
        request.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    client().post(request).await.unwrap();

    let requests = sink.requests();
    let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "{\"a\":1}");
    let mut lines: Vec<_> = head.lines().collect();
    assert_eq!(lines.remove(0), "POST /hook?a=b HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: {}", sink.address);
    let agent = concat!("user-agent: Pollhook/", env!("CARGO_PKG_VERSION"));
    let type_ = "content-type: application/json;charset=UTF-8";
    assert_eq!(lines, ["accept: text/plain", "content-length: 7", type_, &host, agent, "x-custom: 1"]);
}

#[tokio::test]
async fn a_receiver_that_says_nothing_is_given_up_at_the_deadline() {
    for head in [&b""[..], b"HTTP/1.1 200 OK\r\nx-slow: "] {
        let sink = Sink::new(Script::Stall(head.to_vec())).await;
        let client = Client::new(local(), short()).unwrap();
        let failure = post(&client, &sink.url("/")).await.unwrap_err();
        assert_eq!(failure, Failure::Timeout { during: Stage::Answering, after: short().total });
    }
}

#[tokio::test]
async fn a_slow_body_costs_no_answer_that_has_a_status() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nslow".to_vec();
    let sink = Sink::new(Script::Stall(head)).await;
    let client = Client::new(local(), Limits { body: Duration::from_millis(100), ..Limits::default() }).unwrap();
    let start = Instant::now();
    let answer = post(&client, &sink.url("/")).await.unwrap();
    assert_eq!((answer.status, answer.body_start.as_str()), (200, "slow"));
    assert!(start.elapsed() < Limits::default().total);
}

#[tokio::test]
async fn an_endless_body_is_left_at_the_cap_and_so_is_a_long_one() {
    for head in [
        &b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
    ] {
        let sink = Sink::new(Script::Endless(head, vec![b'x'; 4096])).await;
        let client = client();
        for _ in 0..2 {
            let answer = post(&client, &sink.url("/")).await.unwrap();
            assert_eq!((answer.status, answer.body_start), (200, "x".repeat(1024)));
        }
        assert_eq!(sink.connections(), 2);
    }
}

#[tokio::test]
async fn connections_are_used_again_after_a_body_within_the_cap() {
    let long = "y".repeat(60 * 1024);
    for body in ["", "ok", &long] {
        let sink = Sink::answering("200 OK", body).await;
        let client = client();
        for _ in 0..20 {
            post(&client, &sink.url("/")).await.unwrap();
        }
        assert_eq!((sink.connections(), sink.requests().len()), (1, 20), "{} bytes", body.len());
    }
}

#[tokio::test]
async fn nobody_listening_is_a_failure_to_connect() {
    let gone = Sink::answering("200 OK", "").await.url("/");
    tokio::task::yield_now().await;
    assert!(matches!(post(&client(), &gone).await, Err(Failure::Connect(_))));
}

#[tokio::test]
async fn an_answer_cut_short_counts_only_if_its_status_came() {
    for part in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-len"] {
        let sink = Sink::new(Script::Close(part.to_vec())).await;
        assert!(matches!(post(&client(), &sink.url("/")).await, Err(Failure::Protocol(_))));
        assert_eq!(sink.requests().len(), 1, "a request that may have been received is not sent again");
    }
    let sink = Sink::new(Script::Close(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\npart".to_vec())).await;
    let answer = post(&client(), &sink.url("/")).await.unwrap();
    assert_eq!((answer.status, answer.body_start.as_str()), (200, "part"));
}

#[tokio::test]
async fn what_is_not_http_is_a_protocol_failure() {
    let huge = format!("HTTP/1.1 200 OK\r\nx-huge: {}\r\n\r\n", "h".repeat(2 * 1024 * 1024));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x-many: 1\r\n".repeat(1000));
    for bytes in [huge, many, String::from("220 mail.example ESMTP\r\n"), String::from("HTTP/1.1 2OO OK\r\n\r\n")] {
        let sink = Sink::new(Script::Answer(bytes.into())).await;
        assert!(matches!(post(&client(), &sink.url("/")).await, Err(Failure::Protocol(_))));
    }
}

#[tokio::test]
async fn tls_to_a_plain_port_is_told_as_such() {
    let sink = Sink::new(Script::Close(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec())).await;
    let url = format!("https://{}/", sink.address);
    assert!(matches!(post(&client(), &url).await, Err(Failure::Tls(_))));
}

#[tokio::test]
async fn a_literal_address_is_refused_before_anything_is_sent() {
    let sink = Sink::answering("200 OK", "").await;
    let port = sink.address.port();
    let client = Client::new(Policy::default(), Limits::default()).unwrap();
    for host in ["127.0.0.1", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "localhost"] {
        let forbidden = refused_address(post(&client, &format!("http://{host}:{port}/")).await);
        assert_eq!(forbidden.rule.what, "a loopback address", "{host}");
    }
    for (host, what) in [
        ("10.0.0.1", "a private address"),
        ("0xa.1", "a private address"),
        ("3232235777", "a private address"),
        ("172.31.255.255", "a private address"),
        ("[::ffff:192.168.1.1]", "a private address"),
        ("169.254.1.1", "a link-local address"),
        ("[fe80::1]", "a link-local address"),
        ("[fd00::1]", "a unique local address"),
        ("[::1]", "a loopback address"),
        ("[64:ff9b::7f00:1]", "a loopback address"),
        ("[64:ff9b::a9fe:a9fe]", "a cloud's metadata service"),
        ("0", "an address of this host"),
    ] {
        let forbidden = refused_address(post(&client, &format!("http://{host}:{port}/")).await);
        assert_eq!(forbidden.rule.what, what, "{host}");
    }
    for url in ["ftp://example.com/", "http://a:b@8.8.8.8/", "http://8.8.8.8/#x", "http://a{b}.test/"] {
        assert!(matches!(post(&client, url).await, Err(Failure::Refused(_))), "{url}");
    }
    assert_eq!(sink.connections(), 0);
}

#[tokio::test]
async fn one_forbidden_address_refuses_the_whole_name() {
    let sink = Sink::answering("200 OK", "").await;
    let port = sink.address.port();
    let names = Names::new(&[
        ("127.0.0.1.nip.test", &["93.184.216.34", "10.9.8.7"]),
        ("plain.test", &["127.0.0.1"]),
        ("mapped.test", &["::ffff:127.0.0.1"]),
        ("metadata.test", &["169.254.169.254"]),
        ("private.first.test", &["fe80::1", "93.184.216.34"]),
        ("translated.test", &["64:ff9b::808:808", "64:ff9b::a00:1"]),
    ]);
    let client = Client::with_lookup(Policy::default(), Limits::default(), names).unwrap();
    for (name, address) in [
        ("127.0.0.1.nip.test", "10.9.8.7"),
        ("plain.test", "127.0.0.1"),
        ("mapped.test", "::ffff:127.0.0.1"),
        ("metadata.test", "169.254.169.254"),
        ("private.first.test", "fe80::1"),
        ("translated.test", "64:ff9b::a00:1"),
    ] {
        for scheme in ["http", "https"] {
            let forbidden = refused_address(post(&client, &format!("{scheme}://{name}:{port}/")).await);
            assert_eq!((forbidden.name.as_deref(), forbidden.address.to_string().as_str()), (Some(name), address));
            assert!(forbidden.to_string().starts_with(&format!("{name} resolves to {address}, a")), "{forbidden}");
        }
    }
    assert_eq!(sink.connections(), 0);
}

#[tokio::test]
async fn a_name_is_posted_to_at_the_addresses_that_were_judged() {
    let sink = Sink::answering("200 OK", "").await;
    let names = Names::new(&[("hooks.test", &["127.0.0.1"])]);
    let client = Client::with_lookup(local(), Limits::default(), names).unwrap();
    let url = format!("http://hooks.test:{}/", sink.address.port());
    assert_eq!(post(&client, &url).await.unwrap().status, 200);
    assert!(sink.requests()[0].contains(&format!("host: hooks.test:{}", sink.address.port())));
}

#[tokio::test]
async fn the_systems_names_are_resolved_and_judged() {
    let sink = Sink::answering("200 OK", "").await;
    let url = format!("http://localhost:{}/", sink.address.port());
    let allow = ["127.0.0.0/8", "::1/128"].map(|range| range.parse().unwrap()).to_vec();
    let client = Client::new(Policy::new(allow, None), Limits::default()).unwrap();
    assert_eq!(post(&client, &url).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_name_that_is_unknown_or_never_told_is_no_refusal() {
    let names = Names::new(&[("empty.test", &[])]);
    let client = Client::with_lookup(local(), short(), names).unwrap();
    for name in ["unknown.test", "empty.test"] {
        match post(&client, &format!("http://{name}/")).await {
            Err(Failure::Resolve { name: told, .. }) => assert_eq!(told, name),
            other => panic!("{other:?}"),
        }
    }
    let limits = Limits { connect: Duration::from_millis(100), ..Limits::default() };
    let client = Client::with_lookup(local(), limits, Names::new(&[])).unwrap();
    assert!(matches!(
        post(&client, "http://slow.test/").await,
        Err(Failure::Timeout { during: Stage::Connecting, .. })
    ));
}

#[tokio::test]
async fn our_own_events_paths_are_reached_at_a_private_address_and_open_no_door_beside_them() {
    let sink = Sink::answering("200 OK", "").await;
    let port = sink.address.port();
    let base = format!("http://house.test:{port}");
    let own: Url = format!("{base}/prod").parse().unwrap();
    let names = Names::new(&[("house.test", &["127.0.0.1"])]);
    let client = Client::with_lookup(Policy::new(Vec::new(), Some(&own)), Limits::default(), names).unwrap();

    let events = format!("{base}/prod/elements/api-v2/events/hubspot/");
    assert_eq!(post(&client, &events).await.unwrap().status, 200);
    let api = post(&client, &format!("{base}/prod/elements/api-v2/instances")).await;
    assert_eq!(api, Err(Failure::Refused(Refusal::Ours)));
    // The same host and port, and a connection to it lies ready; but not for this URL.
    refused_address(post(&client, &format!("{base}/elsewhere")).await);
    assert_eq!(sink.requests().len(), 1);
}

#[tokio::test]
async fn no_failure_tells_the_path_or_the_query() {
    let gone = Sink::answering("200 OK", "").await.address;
    tokio::task::yield_now().await;
    let cut = Sink::new(Script::Close(Vec::new())).await;
    let noise = Sink::new(Script::Answer(b"hello hello\r\n\r\n".to_vec())).await;
    let silent = Sink::new(Script::Stall(Vec::new())).await;
    let client = Client::with_lookup(local(), short(), Names::new(&[("inner.test", &["10.0.0.1"])])).unwrap();
    for origin in [
        format!("http://{gone}"),
        format!("http://{}", cut.address),
        format!("http://{}", noise.address),
        format!("http://{}", silent.address),
        format!("https://{}", noise.address),
        String::from("http://inner.test"),
        String::from("http://unknown.test"),
        String::from("http://10.0.0.1"),
        String::from("http://bob:hunter2@127.0.0.1"),
    ] {
        let failure = post(&client, &format!("{origin}/hunter2?token=hunter2")).await.unwrap_err();
        assert!(!format!("{failure} {failure:?}").contains("hunter2"), "{failure:?}");
    }
    assert!(!format!("{:?}", to("http://127.0.0.1/hunter2")).contains("hunter2"));
}

#[tokio::test]
async fn a_date_to_retry_after_comes_as_a_time_and_garbage_as_none() {
    let client = client();
    let date = Some(RetryAfter::Date(events::Timestamp::from_seconds(784_111_777)));
    for (value, expected) in [("Sun, 06 Nov 1994 08:49:37 GMT", date), ("after lunch", None)] {
        let sink = Sink::answering(&format!("503 X\r\nretry-after: {value}"), "").await;
        assert_eq!(post(&client, &sink.url("/")).await.unwrap().retry_after, expected);
    }
}

#[tokio::test]
async fn a_receiver_that_answers_with_the_request_does_not_have_its_credentials_kept() {
    let echo = "you sent authorization: Basic YW5uOmh1bnRlcjI= (ann, hunter2) and x-token: tok-123";
    let sink = Sink::answering("500 X", &format!("{echo} to /hook?token=query-123")).await;
    let mut request = to(&sink.url("/hook?token=query-123"));
    for (name, value) in [("authorization", "Basic YW5uOmh1bnRlcjI="), ("x-token", "tok-123")] {
        let mut value = HeaderValue::from_static(value);
        value.set_sensitive(true);
        request.headers.insert(HeaderName::from_static(name), value);
    }
    let answer = client().post(request).await.unwrap();
    let kept = "you sent authorization: [hidden] (ann, [hidden]) and x-token: [hidden] to /hook?[hidden]";
    assert_eq!(answer.body_start, kept);
    assert!(sink.requests()[0].contains("x-token: tok-123"), "what is sent is whole");
}

#[test]
fn warming_needs_no_runtime_and_no_network() {
    client().warm().unwrap();
}
