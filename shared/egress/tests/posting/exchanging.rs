//! What tokens are asked for with.

use secrecy::SecretString;

use crate::egress::exchange::{Exchange as _, ExchangeRequest, NoAnswer};
use crate::egress::{Client, Limits, Policy};
use crate::local;
use crate::sink::Sink;

fn form(url: &str, basic: bool) -> ExchangeRequest {
    let secret = SecretString::from;
    ExchangeRequest {
        url: url.parse().unwrap(),
        form: vec![("grant_type", secret("refresh_token")), ("refresh_token", secret("hunter2/+ &=é"))],
        basic: basic.then(|| (secret("the-id"), secret("hunter2"))),
        chosen: false,
    }
}

#[tokio::test]
async fn a_form_is_posted_as_it_is_and_any_status_is_an_answer() {
    let client = Client::new(local(), Limits::fetching()).unwrap();
    for (status, basic) in [(200, true), (400, false)] {
        let sink = Sink::answering(&format!("{status} X"), "{}").await;
        let answer = client.exchange(form(&sink.url("/token"), basic)).await.unwrap();
        assert_eq!((answer.status.as_u16(), &answer.body[..]), (status, &b"{}"[..]));
        let request = &sink.requests()[0];
        assert!(request.starts_with("POST /token HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("content-type: application/x-www-form-urlencoded\r\n"));
        assert!(
            request.ends_with("\r\n\r\ngrant_type=refresh_token&refresh_token=hunter2%2F%2B+%26%3D%C3%A9"),
            "{request}"
        );
        assert_eq!(request.contains("authorization: Basic dGhlLWlkOmh1bnRlcjI=\r\n"), basic);
    }
}

#[tokio::test]
async fn whether_the_provider_may_have_seen_the_form_is_told_and_nothing_of_it() {
    let client = Client::new(local(), Limits::fetching()).unwrap();
    let guarded = Client::new(Policy::default(), Limits::fetching()).unwrap();
    let elsewhere = Sink::answering("307 X\r\nlocation: https://evil.test/hunter2", "").await;
    let garbled = Sink::answering("no status", "").await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let free = format!("http://{free}/hunter2");
    for (client, url, unsent) in [
        (&client, free.as_str(), true),
        (&guarded, free.as_str(), true),
        (&client, "ftp://127.0.0.1/hunter2", true),
        (&client, &elsewhere.url("/hunter2"), false),
        (&client, &garbled.url("/hunter2"), false),
    ] {
        let request = form(url, true);
        assert!(!format!("{request:?}").contains("hunter2"));
        let failure = client.exchange(request).await.unwrap_err();
        assert_eq!(matches!(failure, NoAnswer::Unsent(_)), unsent, "{url}: {failure:?}");
        assert!(unsent || matches!(failure, NoAnswer::Unclear(_)), "{failure:?}");
        assert!(!format!("{failure} {failure:?}").contains("hunter2"), "{failure:?}");
    }
}
