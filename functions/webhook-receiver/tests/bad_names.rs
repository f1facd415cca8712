//! Connectors and instances that are not there, or not the sender's: nobody is told, and nothing is learned.

#![allow(clippy::unwrap_used)]

mod common;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use common::{RECORDED_SECRET, counts, of, own, post, providers, refused, telling, told, world};
use events::InstanceId;
use http::StatusCode;
use records::accounts;
use records::refused::Reason;
use scenarios::Webhook;

#[tokio::test]
async fn a_connector_that_there_is_not_leaves_no_trace() {
    let mut world = world(11_900).await;
    world.restart();
    let long = "x".repeat(8_000);
    for path in [
        "nobody",
        "HubSpot",
        "HUBSPOT",
        "hubspot%20",
        "%20hubspot",
        "hubspot%00",
        "hubspot%2f",
        "hubspot.",
        "hub%73pot%3f",
        "..%2fhubspot",
        "hubspotPolling/MjA5MzE=",
        "%F0%9F%A6%80",
        "%22%3E%3Cscript%3E",
        "{connector}",
        &long,
        "ROUTE%23hubspot",
    ] {
        for (method, hops) in [("POST", false), ("POST", true), ("GET", false), ("PUT", false)] {
            let mut request = post(path, &[("x-hook-secret", "s")], r#"{"challenge":"c","type":"url_verification"}"#);
            *request.method_mut() = method.parse().unwrap();
            if hops {
                request.headers_mut().insert("pollhook-hops", "1".parse().unwrap());
            }
            let answer = world.answer(request).await;
            assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{method} {path}: {}", answer.body());
            assert!(answer.body().contains("hubspot, "), "what there is: {}", answer.body());
            assert!(!answer.body().contains("<script>") && answer.body().len() < 500, "{}", answer.body());
        }
    }
    world.receiver().flush().await.unwrap();
    assert_eq!(world.platform().memory.acts(), Vec::<String>::new(), "a stranger's word is nowhere kept");
}

#[tokio::test]
async fn ids_that_are_not_ours_reach_nobody() {
    for provider in providers(12_000).await {
        let now = provider.world.now();
        let whole = provider.webhook.bytes(now);
        let base = format!("/elements/api-v2/events/{}", provider.key);
        let to = |path: &str| {
            let query = whole.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
            let mut request = whole.clone().map(Body::from);
            *request.uri_mut() = format!("{base}{path}{query}").parse().unwrap();
            request
        };
        for text in
            ["0", "-1", "2147483648", "99999999999999999999", "1.5", "0x1", "abc", "1,2", "WEBHOOK#1", "1\n", "٣"]
        {
            provider.refuses(StatusCode::BAD_REQUEST, to(&format!("/{}", STANDARD_NO_PAD.encode(text))), text).await;
        }
        for path in [
            "/*",
            "/%00",
            "/%20",
            "/MjA5MzE%3D%3D%3D",
            "/20931",
            "/..%2f..",
            "/%E2%80%AE",
            "/AAAA",
            &format!("/{}", "A".repeat(8_000)),
        ] {
            provider.refuses(StatusCode::BAD_REQUEST, to(path), path).await;
        }
        for header in
            ["", ",", "x", "0", "-1", "1 2", "2147483648", "1;2", "*", "\"1\"", &"1,".repeat(3_000).replace('1', "x")]
        {
            let mut request = to("");
            request.headers_mut().insert("element-instances", header.parse().unwrap());
            provider.refuses(StatusCode::BAD_REQUEST, request, header).await;
        }
        let many: Vec<String> = (1..=101).map(|n| n.to_string()).collect();
        let mut request = to("");
        request.headers_mut().insert("element-instances", many.join(",").parse().unwrap());
        provider.refuses(StatusCode::BAD_REQUEST, request, "a hundred and one").await;
        assert!(
            refused(&provider.world, provider.key).await.into_keys().eq([Reason::UnknownInstance]),
            "{}",
            provider.key
        );

        // One that might be, and is not: there is nobody to tell.
        let unknown = InstanceId::from_random(77);
        let unknown = to(&own(unknown));
        let sent = provider.sent();
        assert_eq!(provider.world.call(unknown).await.0, StatusCode::OK, "{}", provider.key);
        assert_eq!(provider.sent(), sent);
        provider.still_takes("ids that are not ours").await;
    }
}

#[tokio::test]
async fn an_instance_of_another_connector_is_nobody_here() {
    for provider in providers(12_100).await {
        let other = if provider.key == "github" { "hubspot" } else { "github" };
        let spec = of(other).webhook_secret(provider.secret).set("event.vendor.verification", "none");
        let other = provider.world.make(spec).await.id;
        let before = provider.sent();
        let webhook = Webhook::recorded(provider.key, telling(provider.key), RECORDED_SECRET);
        for webhook in [webhook.clone().path(&own(other)), webhook.header("element-instances", &other.to_string())] {
            assert_eq!(provider.world.send(&webhook).await.0, StatusCode::OK, "{}", provider.key);
        }
        assert_eq!(provider.sent(), before, "{}", provider.key);
        assert_eq!(refused(&provider.world, provider.key).await, counts(&[(Reason::UnknownInstance, 2)]));
    }
}

#[tokio::test]
async fn another_account_s_instance_takes_nothing_that_its_own_secret_does_not_prove() {
    for provider in providers(12_200).await {
        let (stranger, _) = accounts::create(provider.world.platform(), false).await.unwrap();
        let example = telling(provider.key);
        let spec = common::spec_of(provider.key, example).webhook_secret("whsec_bm90IHRoZSBzYW1lIHNlY3JldA==");
        let theirs = provider.world.make_for(&stranger, spec).await.id;
        let acts = provider.world.platform().memory.acts().len();
        let webhook = || Webhook::recorded(provider.key, example, RECORDED_SECRET);
        let theirs_alone = [webhook().path(&own(theirs)), webhook().header("element-instances", &theirs.to_string())];
        for webhook in theirs_alone {
            let (status, text) = provider.world.send(&webhook).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{}: {text}", provider.key);
            assert!(!text.contains(provider.secret) && !text.contains(&theirs.to_string()), "{text}");
        }
        assert_eq!(provider.world.platform().memory.acts().len(), acts);
        let both = format!("{theirs},{}", provider.instance);
        common::taken(&provider.world, &webhook().header("element-instances", &both)).await;
        let sent: Vec<InstanceId> = if provider.key == "dropbox" {
            common::polls(&provider.world)
        } else {
            told(&provider.world).into_iter().map(|(instance, _)| instance).collect()
        };
        assert_eq!(sent, [provider.instance], "{}", provider.key);
    }
}
