//! Signatures that are none, to each connector that signs; and what is never said, however a request is refused.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use axum::body::Body;
use common::{Provider, counts, everything, own, providers, refused, taken, told, with, world};
use http::{HeaderName, StatusCode};
use platform::Platform as _;
use records::refused::Reason;
use scenarios::PUBLIC_URL;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// Where a provider that signs puts its signature, and the time where it signs one.
struct Place {
    key: &'static str,
    signature: HeaderName,
    /// What stands right before the signature's own digits.
    prefix: &'static str,
    time: Option<HeaderName>,
}

fn place(key: &'static str, signature: &'static str, prefix: &'static str) -> Place {
    Place { key, signature: HeaderName::from_static(signature), prefix, time: None }
}

fn timed(key: &'static str, signature: &'static str, prefix: &'static str, time: &'static str) -> Place {
    Place { time: Some(HeaderName::from_static(time)), ..place(key, signature, prefix) }
}

fn places() -> [Place; 12] {
    [
        place("asana", "x-hook-signature", ""),
        place("dropbox", "x-dropbox-signature", ""),
        place("github", "x-hub-signature-256", "sha256="),
        timed("hubspot", "x-hubspot-signature-v3", "", "x-hubspot-request-timestamp"),
        place("quickbooks", "intuit-signature", ""),
        place("shopify", "x-shopify-hmac-sha256", ""),
        timed("slack", "x-slack-signature", "v0=", "x-slack-request-timestamp"),
        place("square", "x-square-hmacsha256-signature", ""),
        timed("standard", "webhook-signature", "v1,", "webhook-timestamp"),
        // Its time is an item of the same header.
        place("stripe", "stripe-signature", ",v1="),
        place("xero", "x-xero-signature", ""),
        timed("zendesk", "x-zendesk-webhook-signature", "", "x-zendesk-webhook-signature-timestamp"),
    ]
}

/// The providers that sign, with where they do so; the two others are told a secret to repeat.
async fn signing(seed: u64) -> Vec<(Provider, Place)> {
    let providers = providers(seed).await;
    let count = providers.len();
    let of = |provider: Provider| {
        let place = places().into_iter().find(|place| place.key == provider.key)?;
        Some((provider, place))
    };
    let signing: Vec<_> = providers.into_iter().filter_map(of).collect();
    assert_eq!((signing.len(), count), (12, 14), "a new connector belongs into the list");
    signing
}

#[tokio::test]
async fn a_signature_that_comes_twice_is_none() {
    for (provider, Place { signature, time, .. }) in signing(11_500).await {
        let whole = provider.webhook.bytes(provider.world.now());
        for header in [Some(&signature), time.as_ref()].into_iter().flatten() {
            let right = whole.headers()[header].clone();
            for values in
                [[right.clone(), right.clone()], [right.clone(), "x".parse().unwrap()], ["x".parse().unwrap(), right]]
            {
                let mut request = whole.clone().map(Body::from);
                request.headers_mut().remove(header);
                for value in values {
                    request.headers_mut().append(header, value);
                }
                provider.refuses(StatusCode::UNAUTHORIZED, request, &format!("{header} twice")).await;
            }
        }
        provider.still_takes("two signatures").await;
    }
}

#[tokio::test]
async fn a_signature_in_another_form_is_none() {
    for (provider, Place { signature, prefix, .. }) in signing(11_600).await {
        let whole = provider.webhook.bytes(provider.world.now());
        let right = whole.headers()[&signature].to_str().unwrap().to_owned();
        let (prefix, code) = right.split_at(right.find(prefix).unwrap() + prefix.len());
        let mut wrong = vec![
            String::new(),
            "=".into(),
            "not base64!!".into(),
            prefix.to_owned(),
            format!("{prefix}x{code}"),
            format!("{prefix}{}", &code[..code.len() - 1]),
            format!("{prefix}{}", &code[1..]),
            format!("{prefix}{code}A"),
            format!("{prefix}{code}{code}"),
            format!("{prefix}{}", code.replace(|c: char| c.is_ascii_alphanumeric(), "A")),
            format!("{prefix}*{}", &code[1..]),
            format!("{prefix}{} {}", &code[..4], &code[4..]),
            format!("{prefix}{}", "A".repeat(100_000)),
            "é".into(),
        ];
        if !prefix.is_empty() {
            wrong.push(code.to_owned());
            wrong.push(format!("{}{code}", prefix.to_uppercase()));
            wrong.push(format!("x{right}"));
        }
        let flipped: String = code
            .chars()
            .map(|c| if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() })
            .collect();
        if code.len() != 64 {
            // The case of hexadecimal digits is no matter; that of base64 is.
            wrong.push(format!("{prefix}{flipped}"));
        }
        for value in wrong {
            let request = with(&whole, &signature, value.as_bytes());
            provider.refuses(StatusCode::UNAUTHORIZED, request, &value.chars().take(100).collect::<String>()).await;
        }
        provider.refuses(StatusCode::UNAUTHORIZED, with(&whole, &signature, b"\xff\x80"), "8-bit").await;
        provider.still_takes("signatures of other forms").await;
    }
}

#[tokio::test]
async fn what_was_signed_too_long_ago_or_in_the_future_or_at_no_time_is_refused() {
    // Seconds into the past and the future that are taken, both inclusive.
    let tolerances = [
        ("hubspot", 300, 300),
        ("slack", 300, 300),
        ("standard", 300, 300),
        ("stripe", 300, 300),
        ("zendesk", 3600, 300),
    ];
    for (provider, Place { signature, time, .. }) in signing(11_700).await {
        let (now, day) = (provider.world.now(), Duration::from_secs(86_400));
        let Some((_, past, future)) = tolerances.iter().find(|(key, ..)| *key == provider.key) else {
            assert_eq!(provider.world.call(provider.webhook.request(now.minus(day))).await.0, StatusCode::OK);
            continue;
        };
        let (past, future) = (Duration::from_secs(*past), Duration::from_secs(*future));
        let second = Duration::from_secs(1);
        for at in [now.minus(past), now.plus(future)] {
            let (status, text) = provider.world.call(provider.webhook.request(at)).await;
            assert_eq!(status, StatusCode::OK, "{} at {}: {text}", provider.key, at.iso_millis());
        }
        for at in [now.minus(past + second), now.plus(future + second), now.minus(day), now.plus(day)] {
            provider.refuses(StatusCode::UNAUTHORIZED, provider.webhook.request(at), &at.iso_millis()).await;
        }
        assert_eq!(refused(&provider.world, provider.key).await, counts(&[(Reason::Stale, 4)]), "{}", provider.key);
        let whole = provider.webhook.bytes(now);
        let seconds = now.as_seconds();
        let texts = [
            "",
            "soon",
            "-1",
            "0",
            "1e9",
            "0x10",
            "NaN",
            "99999999999999999999",
            "-9223372036854775808",
            "9223372036854775807",
            "2026-13-45T99:99:99Z",
            "0000-00-00T00:00:00Z",
            "+275760-09-13T00:00:00Z",
            "٣",
            &format!("+{seconds}"),
            &format!(" {seconds}"),
            &format!("{seconds}.0"),
            &format!("{seconds}\t"),
        ];
        for text in texts {
            // Of Stripe the time is an item of the signature's header.
            let (header, value) = match &time {
                Some(header) => (header, text.to_owned()),
                None => {
                    let right = whole.headers()[&signature].to_str().unwrap();
                    (&signature, right.replacen(&seconds.to_string(), text, 1))
                }
            };
            let request = with(&whole, header, value.trim().as_bytes());
            // Blanks around a header's value are none of it: what is left is the time itself, in the provider's form.
            if text.trim() != seconds.to_string() {
                provider.refuses(StatusCode::UNAUTHORIZED, request, text).await;
            }
        }
        if let Some(header) = &time {
            let mut without = whole.clone().map(Body::from);
            without.headers_mut().remove(header);
            provider.refuses(StatusCode::UNAUTHORIZED, without, "no time").await;
        }
        provider.still_takes("times").await;
    }
}

/// Over a socket, where the names of headers come in any case and may come twice.
#[tokio::test]
async fn the_case_of_header_names_does_not_matter_on_the_wire() {
    for (provider, Place { signature, .. }) in signing(12_400).await {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(axum::serve(listener, provider.world.router()).into_future());
        let whole = provider.webhook.bytes(provider.world.now());
        let cases: [fn(&str) -> String; 3] = [str::to_uppercase, str::to_lowercase, |name| {
            name.char_indices().map(|(n, c)| if n % 2 == 0 { c.to_ascii_uppercase() } else { c }).collect()
        }];
        let send = async |case: fn(&str) -> String, again: Option<&str>| {
            let mut text =
                format!("POST {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n", whole.uri(), &PUBLIC_URL[8..]);
            for (name, value) in whole.headers() {
                text += &format!("{}: {}\r\n", case(name.as_str()), value.to_str().unwrap());
            }
            if let Some(name) = again {
                text += &format!("{}: {}\r\n", name.to_uppercase(), whole.headers()[name].to_str().unwrap());
            }
            text += &format!("Content-Length: {}\r\n\r\n", whole.body().len());
            let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
            socket.write_all(text.as_bytes()).await.unwrap();
            socket.write_all(whole.body()).await.unwrap();
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await.unwrap();
            answer.split(' ').nth(1).unwrap().to_owned()
        };
        for (place, case) in cases.into_iter().enumerate() {
            assert_eq!(send(case, None).await, "200", "{}", provider.key);
            assert_eq!(provider.sent(), place + 1, "{}", provider.key);
            assert_eq!(send(case, Some(signature.as_str())).await, "401", "{}: twice", provider.key);
            assert_eq!(provider.sent(), place + 1, "{}", provider.key);
            // A signal that comes before the poll of the one before makes no other.
            provider.world.platform().memory.advance(common::SETTLES);
        }
        server.abort();
    }
}

/// What is said and written while all kinds of requests are refused: never the secret, never the body.
#[tokio::test]
async fn neither_a_secret_nor_a_refused_body_is_in_any_answer_log_or_item() {
    const CANARY: &str = "c4n4ry-0f-4-cust0mer";
    let (logs, _guard) = scenarios::Logs::capture();
    for provider in providers(12_300).await {
        let now = provider.world.now();
        let in_body = provider.body.replacen('"', &format!("\"{CANARY}"), 1);
        let mut tampered = provider.webhook.bytes(now).map(Body::from);
        *tampered.body_mut() = Body::from(in_body.clone());
        let mut other_url = provider.webhook.clone().body(CANARY).request(now);
        *other_url.uri_mut() =
            format!("/elements/api-v2/events/{}/{CANARY}?token={CANARY}", provider.key).parse().unwrap();
        let mut requests = vec![
            provider.webhook.clone().body(CANARY).request(now),
            provider.webhook.clone().body(format!("{{\"{CANARY}\":")).request(now),
            provider.webhook.clone().body(format!("[\"{CANARY}\", {CANARY}")).request(now),
            provider.webhook.clone().body(format!("<{CANARY}>{CANARY}")).request(now),
            provider.webhook.clone().body(format!("<a b='{CANARY}' b='{CANARY}'>&{CANARY};")).request(now),
            provider
                .webhook
                .clone()
                .body(format!("{CANARY}=%ff"))
                .header("content-type", "application/x-www-form-urlencoded")
                .request(now),
            provider.webhook.clone().unsigned().body(in_body).request(now),
            other_url,
        ];
        if provider.key != "sfdc" {
            // Salesforce signs nothing: with the token any body is its own.
            requests.push(tampered);
        }
        for hops in ["1", CANARY] {
            let mut returned = provider.webhook.clone().body(format!("{{\"message\":\"{CANARY}\"}}")).request(now);
            returned.headers_mut().insert("pollhook-hops", hops.parse().unwrap());
            requests.push(returned);
        }
        for header in ["x-hubspot-signature", "stripe-signature", "webhook-signature", "authorization", "cookie"] {
            let mut request = provider.webhook.clone().unsigned().body(CANARY).request(now);
            request.headers_mut().insert(header, CANARY.parse().unwrap());
            requests.push(request);
        }
        for (index, request) in requests.into_iter().enumerate() {
            let (status, text) = provider.world.call(request).await;
            assert!(status.is_client_error(), "{} {index}: {status}", provider.key);
            assert!(!text.contains(CANARY) && !text.contains(provider.secret), "{} {index}: {text}", provider.key);
        }
        provider.world.receiver().flush().await.unwrap();
        let kept = everything(&provider.world).await;
        assert!(kept.contains("REFUSED#"), "what is searched holds what was refused");
        assert!(!kept.contains(CANARY) && !kept.contains(provider.secret), "{}", provider.key);
        provider.still_takes("canaries").await;
        assert!(!everything(&provider.world).await.contains(provider.secret), "{}", provider.key);
        let logged = logs.text();
        assert!(logged.contains("a webhook was not taken"), "what is searched holds what was logged");
        assert!(!logged.contains(CANARY), "{}", provider.key);
        assert!(!logged.contains(provider.secret), "{}", provider.key);
    }
}

#[tokio::test]
async fn a_secret_that_cannot_be_opened_is_its_own_instance_s_trouble() {
    let world = world(12_500).await;
    let broken = world.make(common::hubspot("1")).await.id;
    let well = world.make(common::hubspot("1")).await.id;
    let webhook = common::one(&world, "1", 7);
    // It is looked at again, in case it was just changed.
    world.platform().vault().fail_next(platform::VaultError::Refused("webhook"));
    world.platform().vault().fail_next(platform::VaultError::Refused("webhook"));
    taken(&world, &webhook).await;
    let refusal = counts(&[(Reason::NoSecret, 1)]);
    assert_eq!(refused(&world, "hubspot").await, refusal, "and is told");
    let first = told(&world);
    assert_eq!(first.len(), 1);
    let (reached, other) = if first[0].0 == well { (well, broken) } else { (broken, well) };
    assert_eq!(first[0].0, reached);
    // Alone, it is asked for again: the fault is ours.
    let mut restarted = world;
    restarted.restart();
    restarted.platform().vault().fail_next(platform::VaultError::Refused("webhook"));
    restarted.platform().vault().fail_next(platform::VaultError::Refused("webhook"));
    let alone = webhook.path(&own(other));
    assert_eq!(restarted.send(&alone).await.0, StatusCode::SERVICE_UNAVAILABLE);
    taken(&restarted, &alone).await;
}
