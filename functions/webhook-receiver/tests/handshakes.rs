//! What providers ask before they send anything, and what is never said to a stranger.

#![allow(clippy::unwrap_used)]

mod common;

use axum::body::Body;
use common::{SECRET, counts, everything, of, own, post, queued, refused, taken, told, world};
use events::{InstanceId, configuration};
use http::{Request, Response, StatusCode, header};
use platform::Platform as _;
use records::refused::Reason;
use scenarios::{Made, Spec, Trouble, Webhook, World};

/// A secret as Asana makes one.
const FIRST: &str = "b537207f20cbfa02357cf448134da559e8bd39d61597dcd5631b8012eae53e81";
const FORGED: &str = "0000000000000000000000000000000000000000000000000000000000000000";

async fn asana(world: &World) -> Made {
    world.make(Spec::of("asana").callback(common::APP)).await
}

fn hand_over(rest: &str, secret: &str) -> Request<Body> {
    post(&format!("asana{rest}"), &[("X-Hook-Secret", secret)], "{}")
}

fn task(secret: &str, id: &str, instance: InstanceId) -> Webhook {
    let body = format!(
        r#"{{"events":[{{"action":"changed","created_at":"2026-11-24T10:00:00.000Z","resource":{{"gid":"{id}","resource_type":"task"}}}}]}}"#
    );
    Webhook::new("asana", secret, body).path(&own(instance))
}

/// The secret goes back, and nothing with it.
fn echoed(answer: &Response<String>, secret: &str) {
    assert_eq!((answer.status(), answer.body().as_str()), (StatusCode::OK, ""));
    assert_eq!(answer.headers()["x-hook-secret"], secret);
    assert_eq!(answer.headers().get(header::CONTENT_TYPE), None);
}

fn kept(world: &World) -> usize {
    let items = world.platform().memory.table().items("WEBHOOK#");
    items.iter().filter(|item| item.key.sort == "HANDSHAKE").count()
}

#[tokio::test]
async fn the_first_secret_is_kept_and_no_other_takes_its_place() {
    let (logs, _guard) = scenarios::Logs::capture();
    let mut world = world(7_001).await;
    let id = asana(&world).await.id;
    world.restart();
    assert_eq!(world.send(&task(FIRST, "0", id)).await.0, StatusCode::UNAUTHORIZED, "nobody has a secret yet");
    echoed(&world.answer(hand_over(&own(id), FIRST)).await, FIRST);
    assert_eq!((kept(&world), world.platform().memory.acts().len()), (1, 1));
    taken(&world, &task(FIRST, "1", id)).await;

    let before = world.platform().memory.table().items("");
    let refusal = world.answer(hand_over(&own(id), FORGED)).await;
    assert_eq!(refusal.status(), StatusCode::UNAUTHORIZED, "{}", refusal.body());
    assert_eq!(refusal.headers().get("x-hook-secret"), None);
    assert!(!refusal.body().contains(FORGED) && !refusal.body().contains(FIRST), "{}", refusal.body());
    echoed(&world.answer(hand_over(&own(id), FIRST)).await, FIRST);
    assert_eq!(world.platform().memory.table().items(""), before, "neither changes anything");

    // A process that knows nothing of all this.
    refused(&world, "asana").await;
    world.restart();
    assert_eq!(world.send(&task(FORGED, "2", id)).await.0, StatusCode::UNAUTHORIZED);
    taken(&world, &task(FIRST, "3", id)).await;
    taken(&world, &Webhook::new("asana", FIRST, r#"{"events":[]}"#).path(&own(id))).await;
    assert_eq!(told(&world), [(id, vec!["1".to_owned()]), (id, vec!["3".to_owned()])]);
    let expected = [(Reason::SignatureMismatch, 2), (Reason::NoSecret, 1)];
    assert_eq!(refused(&world, "asana").await, counts(&expected));
    let (all, logs) = (everything(&world).await, logs.text());
    assert!(logs.contains("is kept") && all.contains("another secret"), "what is searched holds what happened");
    for secret in [FIRST, FORGED] {
        assert!(!all.contains(secret) && !logs.contains(secret), "sealed, and never said");
    }
}

#[tokio::test]
async fn of_two_secrets_at_the_same_time_the_one_that_is_echoed_counts() {
    let world = world(7_002).await;
    let id = asana(&world).await.id;
    let path = own(id);
    let (a, b) = tokio::join!(world.answer(hand_over(&path, FIRST)), world.answer(hand_over(&path, FORGED)));
    let (kept_one, other) = if a.status() == StatusCode::OK { (FIRST, FORGED) } else { (FORGED, FIRST) };
    let mut statuses = [a.status(), b.status()];
    statuses.sort();
    assert_eq!(statuses, [StatusCode::OK, StatusCode::UNAUTHORIZED]);
    taken(&world, &task(kept_one, "1", id)).await;
    assert_eq!(world.send(&task(other, "2", id)).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(kept(&world), 1);
}

#[tokio::test]
async fn a_secret_needs_an_instance_to_be_kept_for_and_no_answer_tells_which_there_are() {
    let mut world = world(7_003).await;
    let id = asana(&world).await.id;
    let other_connector = world.make(of("github")).await.id;
    let deleted = asana(&world).await;
    echoed(&world.answer(hand_over(&own(deleted.id), FIRST)).await, FIRST);
    records::instances::delete(world.platform(), &deleted.stored).await.unwrap();
    assert_eq!(kept(&world), 0, "no secret outlives its instance");
    let taken_one = asana(&world).await.id;
    echoed(&world.answer(hand_over(&own(taken_one), FIRST)).await, FIRST);
    world.restart();

    let mut texts = Vec::new();
    for rest in [own(InstanceId::from_random(7)), own(other_connector), own(deleted.id), own(taken_one)] {
        let answer = world.answer(hand_over(&rest, FORGED)).await;
        assert_eq!((answer.status(), answer.headers().get("x-hook-secret")), (StatusCode::UNAUTHORIZED, None));
        let body: serde_json::Value = serde_json::from_str(answer.body()).unwrap();
        texts.push(body["message"].as_str().unwrap().to_owned());
    }
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");

    let long = "x".repeat(513);
    let mut twice = hand_over(&own(id), FIRST);
    twice.headers_mut().append("x-hook-secret", FORGED.parse().unwrap());
    let mut not_ascii = hand_over(&own(id), FIRST);
    not_ascii.headers_mut().insert("x-hook-secret", http::HeaderValue::from_bytes(b"\xff\xfe").unwrap());
    let mut by_header = hand_over("", FIRST);
    by_header.headers_mut().insert("element-instances", id.to_string().parse().unwrap());
    let requests = [
        hand_over("", FIRST),
        hand_over("/", FIRST),
        hand_over("/%00", FIRST),
        hand_over("/MA", FIRST),
        hand_over(&own(id), ""),
        hand_over(&own(id), &long),
        twice,
        not_ascii,
        by_header,
    ];
    let count = requests.len() as u64;
    for (index, request) in requests.into_iter().enumerate() {
        let answer = world.answer(request).await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{index}: {}", answer.body());
        assert_eq!(answer.headers().get("x-hook-secret"), None, "{index}");
    }
    assert_eq!(world.platform().memory.acts(), Vec::<String>::new());
    let expected = [(Reason::UnknownInstance, 3), (Reason::SignatureMismatch, 1), (Reason::Malformed, count)];
    assert_eq!(refused(&world, "asana").await, counts(&expected));
    echoed(&world.answer(hand_over(&own(id), &"x".repeat(512))).await, &"x".repeat(512));
}

#[tokio::test]
async fn a_configured_secret_counts_before_one_that_was_handed_over() {
    let world = world(7_004).await;
    let configured = world.make(of("asana")).await.id;
    assert_eq!(world.call(hand_over(&own(configured), FIRST)).await.0, StatusCode::UNAUTHORIZED);
    echoed(&world.answer(hand_over(&own(configured), SECRET)).await, SECRET);
    assert_eq!(kept(&world), 0);
    taken(&world, &task(SECRET, "1", configured)).await;

    let mut later = asana(&world).await;
    echoed(&world.answer(hand_over(&own(later.id), FIRST)).await, FIRST);
    let set = |_: &mut _, secrets: &mut records::instances::Secrets| {
        secrets.insert(configuration::WEBHOOK_SECRET.into(), SECRET.into());
    };
    later.change(world.platform(), set).await;
    assert_eq!(world.send(&task(FIRST, "2", later.id)).await.0, StatusCode::UNAUTHORIZED);
    taken(&world, &task(SECRET, "3", later.id)).await;
}

#[tokio::test]
async fn a_secret_that_may_not_be_kept_is_not_echoed_and_the_same_again_is() {
    for trouble in Trouble::ALL {
        let world = world(7_010 + trouble as u64).await;
        let id = asana(&world).await.id;
        // A conflict is tried again by itself.
        let tries = if trouble == Trouble::Conflict { 10 } else { 1 };
        (0..tries).for_each(|ahead| world.platform().fail(ahead, trouble));
        let answer = world.answer(hand_over(&own(id), FIRST)).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{trouble:?}: {}", answer.body());
        assert_eq!(answer.headers().get("x-hook-secret"), None, "{trouble:?}");
        echoed(&world.answer(hand_over(&own(id), FIRST)).await, FIRST);
        taken(&world, &task(FIRST, "1", id)).await;
        assert_eq!(kept(&world), 1);
    }
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_is_no_refusal() {
    let world = world(7_020).await;
    let id = asana(&world).await.id;
    echoed(&world.answer(hand_over(&own(id), FIRST)).await, FIRST);
    for ahead in [0, 1] {
        world.platform().fail_read(ahead);
        assert_eq!(world.send(&task(FIRST, "1", id)).await.0, StatusCode::SERVICE_UNAVAILABLE, "{ahead}");
    }
    taken(&world, &task(FIRST, "1", id)).await;
}

#[tokio::test]
async fn slack_is_told_its_challenge_as_text() {
    let mut world = world(7_030).await;
    world.make(of("slack").account("T1")).await;
    world.restart();
    let challenge =
        |text: &str| serde_json::json!({"token": "x", "challenge": text, "type": "url_verification"}).to_string();
    let html = "<img src=x onerror=alert(1)>";
    for text in ["3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P", html, "ü\n\"", "{}"] {
        for webhook in [Webhook::new("slack", SECRET, challenge(text)), Webhook::new("slack", "x", challenge(text))] {
            for webhook in [webhook.clone(), webhook.unsigned()] {
                let answer = world.answer(webhook.request(world.now())).await;
                assert_eq!((answer.status(), answer.body().as_str()), (StatusCode::OK, text));
                assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/plain");
                assert_eq!(answer.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
            }
        }
    }
    let not_one = [
        challenge(&"x".repeat(4_097)),
        challenge(""),
        r#"{"challenge":["echo me"],"type":"url_verification"}"#.to_owned(),
        r#"{"challenge":7,"type":"url_verification"}"#.to_owned(),
        r#"{"challenge":"echo me","type":"event_callback"}"#.to_owned(),
        r#"{"challenge":"echo me"}"#.to_owned(),
        r#"[{"challenge":"echo me","type":"url_verification"}]"#.to_owned(),
        r#"{"challenge":"echo me","type":"url_verification""#.to_owned(),
    ];
    for body in not_one {
        let (_, text) = world.send(&Webhook::new("slack", SECRET, body.clone())).await;
        assert!(!text.contains("echo me") && !text.contains("xxx"), "{body}: {text}");
    }
    assert_eq!(world.platform().memory.acts(), Vec::<String>::new());
    assert_eq!(queued(&world), []);
}

fn graph(entries: &[(&str, &str)], instance: InstanceId) -> Webhook {
    let entry = |(id, state): &(&str, &str)| {
        serde_json::json!({"subscriptionId": "s", "clientState": state, "changeType": "created",
            "resource": format!("users/{id}"), "resourceData": {"@odata.type": "#Microsoft.Graph.User", "id": id}})
    };
    let value: Vec<_> = entries.iter().map(entry).collect();
    Webhook::new("microsoftgraph", "unused", serde_json::json!({"value": value}).to_string()).path(&own(instance))
}

#[tokio::test]
async fn microsoft_graph_is_told_its_token_decoded_and_proves_itself_by_client_state_in_every_entry() {
    let mut world = world(7_040).await;
    let id = world.make(of("microsoftgraph")).await.id;
    world.restart();
    for (query, token) in [
        ("validationToken=Validation%3a+Testing+client+application", "Validation: Testing client application"),
        ("x=1&validationToken=%3Cb%3E%C3%BC%2B", "<b>ü+"),
    ] {
        for rest in [String::new(), own(id)] {
            let request = post(&format!("microsoftgraph{rest}?{query}"), &[("content-type", "text/plain")], "");
            let answer = world.answer(request).await;
            assert_eq!((answer.status(), answer.body().as_str()), (StatusCode::OK, token));
            assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/plain");
            assert_eq!(answer.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        }
    }
    let get = Request::get("/elements/api-v2/events/microsoftgraph?validationToken=x").body(Body::empty()).unwrap();
    assert_eq!(world.call(get).await.0, StatusCode::METHOD_NOT_ALLOWED);
    let empty = post(&format!("microsoftgraph{}?validationToken=", own(id)), &[], "");
    assert_eq!(world.call(empty).await.0, StatusCode::BAD_REQUEST, "an empty token is no handshake, and no body");
    assert_eq!(world.platform().memory.acts(), Vec::<String>::new());

    for entries in [
        &[("1", "another")][..],
        &[("1", "")],
        &[("1", SECRET), ("2", "another")],
        &[("1", "another"), ("2", SECRET)],
        &[],
    ] {
        let (status, text) = world.send(&graph(entries, id)).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{entries:?}: {text}");
        assert!(!text.contains(SECRET), "{text}");
    }
    for body in [r#"{"value":[{"changeType":"created","resource":"users/1"}]}"#, r#"{"value":[7]}"#, "{}", "[]"] {
        let webhook = Webhook::new("microsoftgraph", SECRET, body).path(&own(id));
        assert_eq!(world.send(&webhook).await.0, StatusCode::UNAUTHORIZED, "{body}");
    }
    taken(&world, &graph(&[("1", SECRET), ("2", SECRET)], id)).await;
    assert_eq!(told(&world), [(id, vec!["1".to_owned(), "2".to_owned()])]);
    assert!(!everything(&world).await.contains(SECRET), "what proves the sender is shown to nobody");
    assert_eq!(refused(&world, "microsoftgraph").await.values().sum::<u64>(), 1 + 5 + 4);
}

fn xero_test(secret: &str) -> Webhook {
    Webhook::new("xero", secret, r#"{"events":[],"firstEventSequence":0,"lastEventSequence":0,"entropy":"S0m3"}"#)
}

#[tokio::test]
async fn xero_s_test_is_answered_200_if_it_is_signed_and_401_if_not_both_without_a_body() {
    let mut world = world(7_050).await;
    let bare = async |world: &World, webhook: &Webhook, status: StatusCode| {
        let answer = world.answer(webhook.request(world.now())).await;
        assert_eq!((answer.status(), answer.body().as_str()), (status, ""));
        assert_eq!(answer.headers().get(header::CONTENT_TYPE), None);
    };
    bare(&world, &xero_test(SECRET), StatusCode::UNAUTHORIZED).await;
    world.make(of("xero").account("t1")).await;
    // Whoever enters a URL there may have no callback yet, and know no account.
    let not_ready = world.make(Spec::of("xero").webhook_secret("another app's")).await.id;
    let off = world.make(of("xero").set(configuration::ENABLED, "false")).await.id;
    world.make(Spec::of("xero").callback(common::APP)).await;
    world.restart();
    let mut refusals = 0;
    for (rest, signed, by_others) in [
        (String::new(), vec![SECRET, "another app's"], vec!["nobody's"]),
        (own(not_ready), vec!["another app's"], vec!["nobody's", SECRET]),
        (own(off), vec![SECRET], vec!["nobody's", "another app's"]),
    ] {
        for secret in signed {
            bare(&world, &xero_test(secret).path(&rest), StatusCode::OK).await;
        }
        refusals += by_others.len() + 1;
        for secret in by_others {
            bare(&world, &xero_test(secret).path(&rest), StatusCode::UNAUTHORIZED).await;
        }
        bare(&world, &xero_test(SECRET).unsigned().path(&rest), StatusCode::UNAUTHORIZED).await;
    }
    bare(&world, &Webhook::new("xero", SECRET, "{"), StatusCode::BAD_REQUEST).await;
    let large = " ".repeat(pollhook_webhook_receiver::MAX_BODY_BYTES + 1);
    bare(&world, &Webhook::new("xero", SECRET, large), StatusCode::PAYLOAD_TOO_LARGE).await;
    assert_eq!(world.platform().memory.acts(), Vec::<String>::new(), "a test tells nobody anything");
    let counted = refused(&world, "xero").await;
    assert_eq!(counted.values().sum::<u64>(), refusals as u64 + 2, "{counted:?}");
    assert!(!counted.contains_key(&Reason::NoSecret), "what is wrong is the signature: {counted:?}");
}
