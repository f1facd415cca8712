//! What providers are asked.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use secrecy::SecretString;

use crate::egress::fetch::{FetchFailure, FetchRequest, Fetched, Secret};
use crate::egress::{Client, Failure, Home, Limits, Policy, Refusal, Stage};
use crate::sink::{Names, Script, Sink};
use crate::{local, short};

fn fetching() -> Client {
    Client::new(local(), Limits::fetching()).unwrap()
}

fn token() -> Secret {
    Secret::Header(header::AUTHORIZATION, HeaderValue::from_static("Bearer hunter2"))
}

fn get(url: &str) -> FetchRequest {
    let url: url::Url = url.parse().unwrap();
    let home = Home::of(&url).unwrap();
    FetchRequest {
        method: Method::GET,
        url,
        home,
        headers: HeaderMap::new(),
        body: Bytes::new(),
        secret: Some(token()),
        chosen: false,
    }
}

async fn fetch(request: &FetchRequest) -> Result<Fetched, FetchFailure> {
    fetching().fetch(request).await
}

#[tokio::test]
async fn any_status_is_an_answer_with_its_headers_and_its_whole_body() {
    let long = "y".repeat(3 * 1024 * 1024);
    for (status, body) in [(200, long.as_str()), (204, ""), (304, ""), (401, "{}"), (429, "{}"), (503, "<html>")] {
        let sink = Sink::answering(&format!("{status} X\r\nretry-after: 7"), body).await;
        let answer = fetch(&get(&sink.url("/things?since=1"))).await.unwrap();
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (status, body.as_bytes()));
        assert_eq!(answer.headers["retry-after"], "7");
    }
}

#[tokio::test]
async fn a_request_says_what_is_asked_and_whose_it_is() {
    let sink = Sink::answering("200 OK", "[]").await;
    let mut post = get(&sink.url("/search?a=%20b"));
    post.method = Method::POST;
    post.body = Bytes::from_static(b"{\"limit\":1}");
    post.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    post.headers.insert(header::HOST, HeaderValue::from_static("169.254.169.254"));
    fetch(&post).await.unwrap();
    let request = &sink.requests()[0];
    assert!(request.starts_with("POST /search?a=%20b HTTP/1.1\r\n") && request.ends_with("\r\n\r\n{\"limit\":1}"));
    for line in ["authorization: Bearer hunter2", "accept: application/json", "user-agent: Pollhook/"] {
        assert!(request.contains(line), "{line}");
    }
    assert!(request.contains(&format!("host: {}\r\n", sink.address)));

    let mut by_key = get(&sink.url("/things?key=old&a=1"));
    by_key.secret = Some(Secret::Query("key".into(), SecretString::from("s/1")));
    by_key.headers.insert(header::ACCEPT, HeaderValue::from_static("text/json"));
    fetch(&by_key).await.unwrap();
    let request = &sink.requests()[1];
    assert!(request.starts_with("GET /things?a=1&key=s%2F1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("accept: text/json\r\n") && !request.contains("authorization"));
}

#[tokio::test]
async fn a_page_elsewhere_is_not_asked_for_at_all() {
    let (ours, theirs) = (Sink::answering("200 OK", "[]").await, Sink::answering("200 OK", "[]").await);
    let home = get(&ours.url("/")).home;
    for url in [
        theirs.url("/next?page=2"),
        format!("https://{}/next", ours.address),
        format!("http://localhost:{}/next", ours.address.port()),
        format!("http://{}@{}/next", ours.address, theirs.address),
    ] {
        let request = FetchRequest { home: home.clone(), ..get(&url) };
        let failure = fetch(&request).await.unwrap_err();
        let FetchFailure::Elsewhere { to, home } = &failure else { panic!("{failure:?}") };
        assert_eq!((home, to.contains("next")), (&ours.url(""), false));
    }
    assert_eq!((ours.connections(), theirs.connections()), (0, 0));
}

#[tokio::test]
async fn a_redirect_is_followed_at_home_and_nowhere_else() {
    let theirs = Sink::answering("200 OK", "[]").await;
    for status in [301, 302, 303, 307, 308] {
        let elsewhere = format!("{status} X\r\nlocation: {}", theirs.url("/steal?hunter2"));
        let failure = fetch(&get(&Sink::answering(&elsewhere, "").await.url("/"))).await.unwrap_err();
        assert!(matches!(&failure, FetchFailure::Elsewhere { to, .. } if *to == theirs.url("")), "{failure:?}");
        let round = Sink::answering(&format!("{status} X\r\nlocation: /again#x"), "").await;
        assert_eq!(fetch(&get(&round.url("/first"))).await.unwrap_err(), FetchFailure::Redirects);
        let asked: Vec<String> = round.requests().iter().map(|r| r.lines().next().unwrap().to_owned()).collect();
        let again = "GET /again HTTP/1.1";
        assert_eq!(asked, ["GET /first HTTP/1.1", again, again, again]);
        assert!(round.requests().iter().all(|request| request.contains("authorization: Bearer hunter2")));

        let mut post = get(&round.url("/first"));
        (post.method, post.body) = (Method::POST, Bytes::from_static(b"{}"));
        let answer = fetch(&post).await;
        match status {
            307 | 308 => assert_eq!(answer.unwrap_err(), FetchFailure::Redirects),
            _ => assert_eq!(answer.unwrap().status.as_u16(), status, "it would become another request"),
        }
    }
    for unreadable in ["302 X", "302 X\r\nlocation: http://[", "304 X\r\nlocation: /x", "300 X\r\nlocation: /x"] {
        let sink = Sink::answering(unreadable, "").await;
        assert!(fetch(&get(&sink.url("/"))).await.unwrap().status.is_redirection(), "{unreadable}");
        assert_eq!(sink.requests().len(), 1);
    }
    assert_eq!(theirs.connections(), 0);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_no_page_and_is_left_at_the_cap() {
    let cap = 100_000;
    let client = Client::new(local(), Limits { body_cap: cap, ..Limits::fetching() }).unwrap();
    let exact = Sink::answering("200 OK", &"x".repeat(cap)).await;
    assert_eq!(client.fetch(&get(&exact.url("/"))).await.unwrap().body.len(), cap);
    let more = Sink::answering("200 OK", &"x".repeat(cap + 1)).await;
    let endless = Script::Endless(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", vec![b'x'; 4096]);
    let announced = Script::Stall(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_vec());
    for sink in [more, Sink::new(endless).await, Sink::new(announced).await] {
        assert_eq!(client.fetch(&get(&sink.url("/"))).await.unwrap_err(), FetchFailure::TooLarge(cap));
    }
}

#[tokio::test]
async fn a_part_of_a_page_is_none() {
    let cut = Sink::new(Script::Close(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[1,".to_vec())).await;
    let failure = fetch(&get(&cut.url("/"))).await.unwrap_err();
    assert!(matches!(failure, FetchFailure::Failed(Failure::Protocol(_))), "{failure:?}");
    let limits = Limits { body: Duration::from_secs(9), ..short() };
    for head in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[1,"] {
        let slow = Sink::new(Script::Stall(head.to_vec())).await;
        let client = Client::new(local(), limits.clone()).unwrap();
        let start = Instant::now();
        let failure = client.fetch(&get(&slow.url("/"))).await.unwrap_err();
        let late = Failure::Timeout { during: Stage::Answering, after: short().total };
        assert_eq!(failure, FetchFailure::Failed(late));
        assert!(start.elapsed() < Duration::from_secs(5), "the body's own deadline does not count");
    }
}

#[tokio::test]
async fn addresses_are_judged_as_those_of_callbacks_and_our_own_url_is_none_to_ask() {
    let sink = Sink::answering("200 OK", "[]").await;
    let port = sink.address.port();
    let own = format!("http://house.test:{port}").parse().unwrap();
    let names = || Names::new(&[("inner.test", &["93.184.216.34", "10.0.0.1"]), ("house.test", &["127.0.0.1"])]);
    let client = Client::with_lookup(Policy::new(Vec::new(), Some(&own)), Limits::fetching(), names()).unwrap();
    for host in ["127.0.0.1", "localhost", "[::1]", "inner.test", "10.0.0.1"] {
        let failure = client.fetch(&get(&format!("http://{host}:{port}/"))).await.unwrap_err();
        assert!(matches!(failure, FetchFailure::Failed(Failure::Refused(Refusal::Address(_)))), "{host}: {failure:?}");
    }
    let refused = |refusal| Err(FetchFailure::Failed(Failure::Refused(refusal)));
    for (path, refusal) in [("/elements/api-v2/events/hubspot", Refusal::Own), ("/x", Refusal::Ours)] {
        let answer = client.fetch(&get(&format!("http://house.test:{port}{path}"))).await;
        assert_eq!(answer.map(|answer| answer.status), refused(refusal), "{path}");
    }
    assert_eq!(sink.connections(), 0);
    let long = get(&sink.url(&format!("/?{}", "x".repeat(16 * 1024))));
    let failure = fetch(&long).await.unwrap_err();
    assert!(matches!(failure, FetchFailure::Failed(Failure::Refused(Refusal::TooLong(..)))), "{failure:?}");
    let cursor = get(&sink.url(&format!("/?{}", "x".repeat(12 * 1024))));
    assert_eq!(fetch(&cursor).await.unwrap().status, StatusCode::OK, "longer than any callback");
}

#[tokio::test]
async fn no_failure_tells_a_path_a_query_or_a_credential() {
    let gone = Sink::answering("200 OK", "").await.address;
    tokio::task::yield_now().await;
    let cut = Sink::new(Script::Close(Vec::new())).await;
    let part = Sink::new(Script::Close(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nhunter2".to_vec())).await;
    let away = Sink::answering("302 X\r\nlocation: http://hunter2@a.test/hunter2?hunter2", "").await;
    let round = Sink::answering("302 X\r\nlocation: /hunter2?hunter2", "").await;
    let client = Client::with_lookup(local(), short(), Names::new(&[("inner.test", &["10.0.0.1"])])).unwrap();
    for origin in [
        format!("http://{gone}"),
        cut.url(""),
        part.url(""),
        away.url(""),
        round.url(""),
        String::from("http://inner.test"),
        String::from("http://unknown.test"),
    ] {
        let mut request = get(&format!("{origin}/hunter2?token=hunter2"));
        for secret in [token(), Secret::Query("key".into(), SecretString::from("hunter2"))] {
            request.secret = Some(secret);
            let failure = client.fetch(&request).await.unwrap_err();
            assert!(!format!("{failure} {failure:?}").contains("hunter2"), "{failure:?}");
        }
    }
}

#[tokio::test]
async fn where_the_operator_chose_the_address_does_not_count_and_nowhere_else() {
    let sink = Sink::answering("200 OK", "[]").await;
    let guarded = Client::new(Policy::default(), Limits::fetching()).unwrap();
    let chosen = FetchRequest { chosen: true, ..get(&sink.url("/things")) };
    assert_eq!(guarded.fetch(&chosen).await.unwrap().status, StatusCode::OK);
    let another = guarded.fetch(&get(&sink.url("/things"))).await.unwrap_err();
    assert!(matches!(another, FetchFailure::Failed(Failure::Refused(Refusal::Address(_)))), "{another:?}");
    let elsewhere = Sink::answering("307 X\r\nlocation: http://127.0.0.2:1/", "").await;
    let lured = FetchRequest { chosen: true, ..get(&elsewhere.url("/things")) };
    assert!(matches!(guarded.fetch(&lured).await, Err(FetchFailure::Elsewhere { .. })));
    let mut named = FetchRequest { chosen: true, ..get(&sink.url("/things")) };
    named.url.set_username("user").unwrap();
    assert!(guarded.fetch(&named).await.is_err());
}
