//! Bodies that nobody should send: to any connector, signed or not, they are refused with the right status, leave nothing but
//! a count, and what is in order is taken afterwards as before.

#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use axum::body::Body;
use common::{SECRET, counts, everything, of, own, providers, queued, refused, taken, with, world};
use http::{HeaderName, Request, StatusCode};
use pollhook_webhook_receiver::MAX_BODY_BYTES;
use records::refused::Reason;
use scenarios::Webhook;

#[tokio::test]
async fn a_truncated_body_is_refused_whether_or_not_it_is_signed() {
    for provider in providers(11_000).await {
        let length = provider.body.len();
        for end in (0..length).step_by(1 + length / 40).chain([1, length - 1]) {
            let Some(cut) = provider.body.get(..end) else { continue };
            // By the provider itself, which signs what it sends; and on the way, where the signature is as it was.
            let signed = provider.webhook.clone().body(cut);
            let mut broken = provider.webhook.request(provider.world.now());
            *broken.body_mut() = Body::from(cut.to_owned());
            for request in [signed.request(provider.world.now()), broken] {
                provider.refuses(StatusCode::BAD_REQUEST, request, &format!("cut at {end}")).await;
            }
        }
        let kinds: Vec<Reason> = refused(&provider.world, provider.key).await.into_keys().collect();
        assert_eq!(kinds, [Reason::Malformed], "{}", provider.key);
        provider.still_takes("truncated bodies").await;
    }
}

#[tokio::test]
async fn an_oversized_body_is_answered_413_by_every_connector() {
    for provider in providers(11_100).await {
        let (now, key) = (provider.world.now(), provider.key);
        let padding = " ".repeat(MAX_BODY_BYTES + 1 - provider.body.len());
        let large = format!("{}{padding}", provider.body);
        provider
            .refuses(StatusCode::PAYLOAD_TOO_LARGE, provider.webhook.clone().body(large).request(now), "signed")
            .await;
        let whole = provider.webhook.bytes(now);
        let mut nobody_s = Request::post(whole.uri().clone()).body(Body::from(vec![0xFF; MAX_BODY_BYTES + 1])).unwrap();
        provider.refuses(StatusCode::PAYLOAD_TOO_LARGE, nobody_s, "garbage").await;
        let pieces = (0..5).map(|_| Ok::<_, std::io::Error>(vec![b'['; 1024 * 1024]));
        nobody_s =
            Request::post(whole.uri().clone()).body(Body::from_stream(futures_util::stream::iter(pieces))).unwrap();
        provider.refuses(StatusCode::PAYLOAD_TOO_LARGE, nobody_s, "in pieces, of no known length").await;
        assert_eq!(refused(&provider.world, key).await, counts(&[(Reason::TooLarge, 3)]), "{key}");
        provider.still_takes("oversized bodies").await;
    }
}

#[tokio::test]
async fn a_body_that_is_no_text_is_refused() {
    for provider in providers(11_200).await {
        let every_byte: Vec<u8> = (0..=255).collect();
        let high: Vec<u8> = (128..=255).collect();
        let inside = |byte: u8| {
            let mut body = provider.body.as_bytes().to_vec();
            // Into a text: right behind the first quotation mark that opens one.
            let place = body.iter().position(|byte| *byte == b'"').unwrap() + 1;
            body.insert(place, byte);
            body
        };
        let utf_16: Vec<u8> = provider.body.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let bodies =
            [every_byte, high, vec![0; 64], inside(0xFF), inside(0xC3), inside(0x00), utf_16, b"\x1f\x8b\x08".to_vec()];
        for (index, body) in bodies.into_iter().enumerate() {
            let request = provider.webhook.clone().body(body).request(provider.world.now());
            provider.refuses(StatusCode::BAD_REQUEST, request, &format!("body {index}")).await;
        }
        assert_eq!(refused(&provider.world, provider.key).await, counts(&[(Reason::Malformed, 8)]), "{}", provider.key);
        provider.still_takes("8-bit garbage").await;
    }
}

#[tokio::test]
async fn a_body_nested_without_end_is_refused() {
    for provider in providers(11_300).await {
        let deep = |open: &str, middle: &str, close: &str| {
            format!("{}{middle}{}", open.repeat(100_000), close.repeat(100_000))
        };
        let bodies = [
            deep("[", "", "]"),
            deep("[", "", ""),
            deep("{\"a\":", "1", "}"),
            deep("{\"value\":[", "", "]}"),
            deep("<a>", "", "</a>"),
            deep("<a>", "", ""),
            format!(
                "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\">{}",
                deep("<s:Body>", "", "</s:Body>")
            ),
        ];
        for (index, body) in bodies.into_iter().enumerate() {
            let request = provider.webhook.clone().body(body).request(provider.world.now());
            provider.refuses(StatusCode::BAD_REQUEST, request, &format!("body {index}")).await;
        }
        provider.still_takes("nested bodies").await;
    }
}

#[tokio::test]
async fn the_content_type_decides_nothing_that_the_body_says_itself() {
    for provider in providers(11_400).await {
        let now = provider.world.now();
        let content_type = HeaderName::from_static("content-type");
        let whole = provider.webhook.bytes(now);
        let values: [&[u8]; 6] = [
            b"text/plain",
            b"image/png",
            b"multipart/form-data; boundary=x",
            b"",
            b"application/json; charset=latin1",
            b"\xff\xfe",
        ];
        let mut none = whole.clone().map(Body::from);
        none.headers_mut().remove(&content_type);
        for request in values.iter().map(|value| with(&whole, &content_type, value)).chain([none]) {
            let value = request.headers().get(&content_type).cloned();
            assert_eq!(provider.world.call(request).await.0, StatusCode::OK, "{}: {value:?}", provider.key);
            // A signal that comes before the poll of the one before makes no other.
            provider.world.platform().memory.advance(common::SETTLES);
        }
        assert_eq!(provider.sent(), 7, "{}", provider.key);
        // What it is not, it is not read as.
        let mut others =
            vec![("application/x-www-form-urlencoded", "a=1"), ("text/plain", "a: 1"), ("text/html", "<p>")];
        if provider.key != "sfdc" {
            others.push(("text/xml", "<a/>"));
        }
        for (value, body) in others {
            let request = provider.webhook.clone().body(body).bytes(now);
            let request = with(&request, &HeaderName::from_static("content-type"), value.as_bytes());
            provider.refuses(StatusCode::BAD_REQUEST, request, value).await;
        }
    }
}

const SOAP: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const ORG: &str = "00D000000000001EAA";

/// An Outbound Message with `prolog` before it and `name` as a field of its record.
fn message(prolog: &str, name: &str) -> String {
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>{prolog}<s:Envelope xmlns:s="{SOAP}"><s:Body><notifications xmlns="http://soap.sforce.com/2005/09/outbound"><OrganizationId>{ORG}</OrganizationId><Notification><Id>04l1</Id><sObject xmlns:i="http://www.w3.org/2001/XMLSchema-instance" xmlns:e="urn:sobject.enterprise.soap.sforce.com" i:type="e:Account"><e:Id>0011</e:Id><e:Name>{name}</e:Name></sObject></Notification></notifications></s:Body></s:Envelope>"#
    )
}

#[tokio::test]
async fn xml_bombs_and_external_entities_are_refused_unread() {
    let (logs, _guard) = scenarios::Logs::capture();
    let mut world = world(11_800).await;
    let id = world.make(of("sfdc").account(ORG)).await.id;
    world.restart();
    let sent = |body: String| Webhook::new("sfdc", SECRET, body).path(&own(id)).header("content-type", "text/xml");
    let laughs: String =
        (1..10).map(|n| format!("<!ENTITY lol{n} \"{}\">", format!("&lol{};", n - 1).repeat(10))).collect();
    let bombs = [
        message(&format!("<!DOCTYPE x [<!ENTITY lol0 \"lol\">{laughs}]>"), "&lol9;"),
        message(&format!("<!DOCTYPE x [<!ENTITY a \"{}\">]>", "a".repeat(50_000)), &"&a;".repeat(50_000)),
        message("<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>", "&e;"),
        message("<!DOCTYPE x [<!ENTITY e SYSTEM \"http://169.254.169.254/latest/meta-data/\">]>", "&e;"),
        message("<!DOCTYPE x [<!ENTITY % p SYSTEM \"http://127.0.0.1:1/x.dtd\"> %p;]>", "x"),
        message("<!DOCTYPE x PUBLIC \"-//x\" \"http://127.0.0.1:1/x.dtd\">", "x"),
        message("<!DOCTYPE x>", "x"),
        message("", "&lol;"),
        message("", "&#0;"),
        message("", "&#x110000;"),
        message("", "&#xD800;"),
        message("", "<!DOCTYPE y><x/>"),
        message("", "<?php system('id'); ?>"),
        message(
            "",
            "<xi:include xmlns:xi=\"http://www.w3.org/2001/XInclude\" href=\"file:///etc/passwd\"><undeclared:x/></xi:include>",
        ),
        message("", &"<a>".repeat(10_000)),
        message("", &"<a/>".repeat(500_000)),
        message("", &format!("<a {}/>", (0..50_000).map(|n| format!("a{n}='' ")).collect::<String>())),
        message(
            "",
            &format!("<a {}/>", (0..2_000).map(|n| format!("xmlns:a{n}='{}' ", "u".repeat(100))).collect::<String>()),
        ),
        message("", "<a b='1' b='2'/>"),
        message("", "]]>").replace("</e:Name>", ""),
        format!("{}{}", message("", "x"), message("", "y")),
        message("", "x").replace("UTF-8", "UTF-7"),
        message("", "x").replace("UTF-8", "ISO-8859-1"),
        "<".into(),
        "<!--".into(),
        "<![CDATA[".into(),
        "<?xml".into(),
    ];
    for (index, bomb) in bombs.into_iter().enumerate() {
        let begun = std::time::Instant::now();
        let (status, text) = world.send(&sent(bomb)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{index}: {text}");
        assert!(text.len() < 400 && !text.contains("root:"), "{index}: {text}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{index} took {:?}", begun.elapsed());
    }
    assert_eq!(world.platform().memory.acts(), Vec::<String>::new());
    // Those that refer to nothing are texts like any other.
    taken(
        &world,
        &sent(message("", "&lt;&#33;DOCTYPE&gt; &amp;lol9; <![CDATA[<!ENTITY e SYSTEM \"file:///etc/passwd\">]]>")),
    )
    .await;
    let raw: serde_json::Value = serde_json::from_slice(&queued(&world)[0].raw).unwrap();
    let name = "<!DOCTYPE> &lol9; <!ENTITY e SYSTEM \"file:///etc/passwd\">";
    assert_eq!(raw["Notification"][0]["sObject"]["Name"], name);
    assert!(!logs.text().contains("root:") && !everything(&world).await.contains("root:"));
    assert_eq!(refused(&world, "sfdc").await, counts(&[(Reason::Malformed, 27)]));
}
