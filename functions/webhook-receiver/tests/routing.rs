//! Each change reaches the instances that it concerns, and no other.

#![allow(clippy::unwrap_used)]

mod common;

use common::{SECRET, counts, hubspot, one, queued, refused, skipped, told, world};
use events::{InstanceId, configuration};
use http::StatusCode;
use platform::Platform as _;
use records::instances::Derived;
use records::refused::Reason;
use scenarios::{Spec, Trouble, Webhook, hubspot_change};

fn objects(told: &[u64]) -> Vec<String> {
    told.iter().map(ToString::to_string).collect()
}

fn sorted(mut told: Vec<(InstanceId, Vec<String>)>) -> Vec<(InstanceId, Vec<String>)> {
    told.sort();
    told
}

#[tokio::test]
async fn an_instance_is_named_by_path_with_and_without_padding_and_slash_or_by_header() {
    let world = world(301).await;
    let standard =
        || Spec::of("standard").secret(configuration::WEBHOOK_SECRET, SECRET).callback("https://app.example/");
    let (a, b) = (world.make(standard()).await.id, world.make(standard()).await.id);
    let webhook = || Webhook::new("standard", SECRET, r#"{"type":"invoice.paid","data":{"id":"7"}}"#);
    let unpadded = a.to_path();
    let padded = format!("{unpadded}{}", "=".repeat((4 - unpadded.len() % 4) % 4));
    for path in [format!("/{unpadded}"), format!("/{unpadded}/"), format!("/{padded}"), format!("/{padded}/")] {
        assert_eq!(world.send(&webhook().path(&path)).await.0, StatusCode::OK, "{path}");
    }
    assert_eq!(told(&world), vec![(a, objects(&[7])); 4]);
    let named = format!("{a}, {b},{a}");
    assert_eq!(world.send(&webhook().path("/").header("Element-Instances", &named)).await.0, StatusCode::OK);
    assert_eq!(told(&world).len(), 6, "each once");
    assert_eq!(queued(&world)[0].events[0].date, None);
    for bad in ["/*", "/MA", "/MjA5MzE==="] {
        assert_eq!(world.send(&webhook().path(bad)).await.0, StatusCode::BAD_REQUEST, "{bad}");
    }
    let (status, text) = world.send(&webhook()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("Element-Instances"), "{text}");
    let expected = counts(&[(Reason::UnknownInstance, 3), (Reason::NoInstanceNamed, 1)]);
    assert_eq!(refused(&world, "standard").await, expected);
}

#[tokio::test]
async fn what_nobody_wants_is_answered_200_and_counted() {
    let mut world = world(302).await;
    let mut disabled = world.make(hubspot("2")).await;
    let mut instance = disabled.stored.instance.clone();
    instance.disabled = true;
    let secrets = disabled.stored.secrets.clone();
    let keys = [configuration::WEBHOOK_SECRET.to_owned()];
    let derived = Derived { secret_keys: &keys, account: Some("2"), ..Derived::default() };
    disabled.stored =
        records::instances::update(world.platform(), &disabled.stored, instance, secrets, &derived).await.unwrap();
    let off = world.make(hubspot("3").set(configuration::ENABLED, "false")).await.id;
    let deleted = world.make(hubspot("4")).await;
    records::instances::delete(world.platform(), &deleted.stored).await.unwrap();
    world.restart();
    let webhooks = [
        one(&world, "unknown", 1),
        one(&world, "2", 1),
        one(&world, "3", 1),
        one(&world, "4", 1),
        one(&world, "3", 1).header("Element-Instances", &format!("{off},{},{}", deleted.id, 1)),
        Webhook::new("hubspot", SECRET, r#"[{"subscriptionType":"contact.creation","objectId":1}]"#),
        Webhook::new("hubspot", SECRET, "[]"),
    ];
    for (index, webhook) in webhooks.iter().enumerate() {
        // A portal id is a number; the first one is not, so its body is not even JSON.
        let expected = if index == 0 { StatusCode::BAD_REQUEST } else { StatusCode::OK };
        assert_eq!(world.send(webhook).await.0, expected, "{index}");
    }
    assert_eq!(told(&world), []);
    assert_eq!(world.platform().memory.acts(), Vec::<String>::new());
    let expected = counts(&[
        (Reason::Malformed, 1),
        (Reason::InstanceDisabled, 1),
        (Reason::EventsOff, 2),
        (Reason::UnknownAccount, 1),
        (Reason::UnknownInstance, 2),
        (Reason::NoInstanceNamed, 2),
    ]);
    assert_eq!(refused(&world, "hubspot").await, expected);
}

#[tokio::test]
async fn a_request_that_mixes_portals_tells_each_instance_of_its_own() {
    let world = world(303).await;
    let a = world.make(hubspot("1")).await.id;
    let b = world.make(hubspot("2")).await.id;
    let changes = [("1", 11), ("2", 21), ("9", 91), ("1", 12)];
    let mixed = Webhook::hubspot(SECRET, &changes, world.now());
    assert_eq!(world.send(&mixed).await.0, StatusCode::OK);
    let expected = sorted(vec![(a, objects(&[11, 12])), (b, objects(&[21]))]);
    assert_eq!(told(&world), expected);
    for batch in queued(&world) {
        let (own, entries) = if batch.instance == a { (1, 2) } else { (2, 1) };
        let raw: Vec<serde_json::Value> = serde_json::from_slice(&batch.raw).unwrap();
        assert_eq!(raw.len(), entries, "no customer is shown another's changes");
        assert!(raw.iter().all(|entry| entry["portalId"] == own), "{raw:?}");
    }
    assert_eq!(refused(&world, "hubspot").await, counts(&[(Reason::UnknownAccount, 1)]));
    // Also when the path names one of them: the other portal's changes are not its business.
    let named = mixed.path(&format!("/{}", a.to_path()));
    assert_eq!(world.send(&named).await.0, StatusCode::OK);
    assert_eq!(told(&world).iter().filter(|(instance, _)| *instance == a).count(), 2);
    assert_eq!(told(&world).iter().filter(|(instance, _)| *instance == b).count(), 1);
    let expected = counts(&[(Reason::UnknownAccount, 1), (Reason::Skipped, 1)]);
    assert_eq!(refused(&world, "hubspot").await, expected, "but they are not passed over in silence");
    assert!(skipped(&world, "hubspot").await[0].starts_with("2 of 4 entries"));
}

#[tokio::test]
async fn entries_without_an_account_among_others_that_have_one_are_counted_once_for_the_request() {
    let world = world(3032).await;
    let a = world.make(hubspot("1")).await.id;
    let also_a = world.make(hubspot("1")).await.id;
    let unnamed = |object| hubspot_change("1", object, world.now()).replace(r#""portalId":1,"#, "");
    assert!(!unnamed(5).contains("portalId"));
    let entries =
        [hubspot_change("1", 11, world.now()), unnamed(12), hubspot_change("9", 91, world.now()), unnamed(13)];
    let webhook = Webhook::new("hubspot", SECRET, format!("[{}]", entries.join(",")));
    assert_eq!(world.send(&webhook).await.0, StatusCode::OK);
    assert_eq!(told(&world), sorted(vec![(a, objects(&[11])), (also_a, objects(&[11]))]));
    let expected = counts(&[(Reason::UnknownAccount, 1), (Reason::Skipped, 1)]);
    assert_eq!(refused(&world, "hubspot").await, expected);
    let detail = "2 of 4 entries concern no instance: they name no provider account, and others do";
    assert_eq!(skipped(&world, "hubspot").await, [detail]);
    // Whoever the URL names hears of them.
    assert_eq!(world.send(&webhook.path(&format!("/{}", a.to_path()))).await.0, StatusCode::OK);
    assert!(told(&world).contains(&(a, objects(&[11, 12, 13]))));
}

#[tokio::test]
async fn what_concerns_an_instance_that_does_not_want_it_or_has_another_secret_is_not_counted_twice() {
    let world = world(3033).await;
    let mut ids = Vec::new();
    for spec in [
        hubspot("1"),
        hubspot("2").set(configuration::OBJECTS, "tickets"),
        hubspot("3").set(configuration::ENABLED, "false"),
        hubspot("4").webhook_secret("another app's"),
    ] {
        ids.push(world.make(spec).await.id.to_string());
    }
    let changes = [("1", 11), ("2", 21), ("3", 31), ("4", 41)];
    let webhook = Webhook::hubspot(SECRET, &changes, world.now());
    assert_eq!(world.send(&webhook).await.0, StatusCode::OK);
    assert_eq!(told(&world).len(), 1);
    let expected = counts(&[(Reason::Filtered, 1), (Reason::EventsOff, 1), (Reason::SignatureMismatch, 1)]);
    assert_eq!(refused(&world, "hubspot").await, expected);
    // Nor when they are named.
    assert_eq!(world.send(&webhook.header("Element-Instances", &ids.join(","))).await.0, StatusCode::OK);
    assert_eq!(told(&world).len(), 2);
    let expected = counts(&[(Reason::Filtered, 2), (Reason::EventsOff, 2), (Reason::SignatureMismatch, 2)]);
    assert_eq!(refused(&world, "hubspot").await, expected);
}

#[tokio::test]
async fn a_request_that_would_be_posted_many_times_its_size_is_answered_413_and_counted() {
    let world = world(3031).await;
    world.make(hubspot("1")).await;
    let changes: Vec<(&str, u64)> = (0..1000).map(|n| ("1", n)).collect();
    assert_eq!(world.send(&Webhook::hubspot(SECRET, &changes, world.now())).await.0, StatusCode::OK);
    let queued = world.platform().memory.batches().messages().len();
    let more: Vec<(&str, u64)> = (0..1001).map(|n| ("1", n)).collect();
    let entries = Webhook::hubspot(SECRET, &more, world.now());
    assert_eq!(world.send(&entries).await.0, StatusCode::BAD_REQUEST, "more entries than are read");
    let merged = (0..1001).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    let merge = format!(
        r#"[{{"eventId":1,"portalId":1,"occurredAt":{},"subscriptionType":"contact.merge","objectId":1,"primaryObjectId":5000,"mergedObjectIds":[{merged}]}}]"#,
        world.now().as_millis()
    );
    assert_eq!(world.send(&Webhook::new("hubspot", SECRET, merge)).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let wide = format!(r#","padding":"{}"}}]"#, "x".repeat(3 * 1024 * 1024));
    let body = format!(
        "[{}",
        changes
            .iter()
            .take(500)
            .map(|(portal, n)| hubspot_change(portal, *n, world.now()))
            .collect::<Vec<_>>()
            .join(",")
    );
    let wide = format!("{}{wide}", body.strip_suffix('}').unwrap());
    assert_eq!(world.send(&Webhook::new("hubspot", SECRET, wide)).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(world.platform().memory.batches().messages().len(), queued);
    let expected = counts(&[(Reason::Malformed, 1), (Reason::TooMany, 2)]);
    assert_eq!(refused(&world, "hubspot").await, expected);
}

#[tokio::test]
async fn an_instance_is_told_of_the_objects_that_it_wants() {
    let world = world(304).await;
    let all = world.make(hubspot("1")).await.id;
    let some = world.make(hubspot("1").set(configuration::OBJECTS, "Deals, CONTACTS")).await.id;
    world.make(hubspot("1").set(configuration::OBJECTS, "tickets")).await;
    assert_eq!(world.send(&one(&world, "1", 11)).await.0, StatusCode::OK);
    assert_eq!(told(&world), sorted(vec![(all, objects(&[11])), (some, objects(&[11]))]));
    assert_eq!(refused(&world, "hubspot").await, counts(&[(Reason::Filtered, 1)]));
}

#[tokio::test]
async fn an_account_s_webhook_reaches_as_many_instances_as_are_served_and_the_rest_is_counted() {
    let world = world(305).await;
    for _ in 0..250 {
        world.make(hubspot("1")).await;
    }
    assert_eq!(world.send(&one(&world, "1", 11)).await.0, StatusCode::OK);
    assert_eq!(told(&world).len(), records::instances::INSTANCES_PER_ACCOUNT);
    assert_eq!(refused(&world, "hubspot").await, counts(&[(Reason::TooMany, 1)]));
}

#[tokio::test]
async fn an_instance_that_moved_to_another_account_is_told_of_that_one_alone() {
    let world = world(306).await;
    let mut made = world.make(hubspot("1")).await;
    made.change(world.platform(), |configuration, _| {
        configuration.insert(configuration::VENDOR_ACCOUNT.into(), "2".into());
    })
    .await;
    assert_eq!(world.send(&one(&world, "1", 11)).await.0, StatusCode::OK);
    assert_eq!(world.send(&one(&world, "2", 21)).await.0, StatusCode::OK);
    assert_eq!(told(&world), [(made.id, objects(&[21]))]);
}

#[tokio::test]
async fn a_redelivery_makes_the_same_ids_although_it_counts_its_attempts() {
    let world = world(307).await;
    world.make(hubspot("1")).await;
    let changes: Vec<(&str, u64)> = (0..45).map(|object| ("1", object)).collect();
    let mut webhook = Webhook::hubspot(SECRET, &changes, world.now());
    assert_eq!(world.send(&webhook).await.0, StatusCode::OK);
    webhook.sent = 3;
    world.platform().memory.advance(std::time::Duration::from_secs(3600));
    assert_eq!(world.send(&webhook).await.0, StatusCode::OK);
    let batches = queued(&world);
    assert_ne!(batches[0].raw, batches[1].raw);
    let ids = |index: usize| -> Vec<_> {
        let batch = &batches[index];
        batch.notifications(batch.accepted_at).map(|notification| notification.id).collect()
    };
    assert_eq!(ids(0), ids(1));
    assert_eq!(ids(0).len(), 3);
}

#[tokio::test]
async fn a_queue_that_takes_only_some_is_answered_503_and_the_redelivery_is_harmless() {
    let world = world(308).await;
    let (a, b) = (world.make(hubspot("1")).await.id, world.make(hubspot("1")).await.id);
    for trouble in [Trouble::Conflict, Trouble::Lost, Trouble::NotDone, Trouble::Throttled] {
        world.platform().fail(0, trouble);
        let (status, text) = world.send(&one(&world, "1", 11)).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{trouble:?}");
        assert!(text.contains("send them again"), "{text}");
    }
    assert_eq!(world.send(&one(&world, "1", 11)).await.0, StatusCode::OK);
    let ids: std::collections::BTreeSet<_> = queued(&world).iter().map(|b| (b.instance, b.events[0].id)).collect();
    assert_eq!(ids.into_iter().map(|(instance, _)| instance).collect::<Vec<_>>(), {
        let mut both = vec![a, b];
        both.sort();
        both
    });
}

#[tokio::test]
async fn a_large_batch_is_durable_before_the_message_that_points_to_it() {
    let mut world = world(309).await;
    world.make(hubspot("1")).await;
    world.restart();
    let changes: Vec<(&str, u64)> = (0..400).map(|object| ("1", object)).collect();
    let webhook = Webhook::hubspot(SECRET, &changes, world.now());
    assert_eq!(world.send(&webhook).await.0, StatusCode::OK);
    let acts = world.platform().memory.acts();
    assert_eq!(acts.len(), 2, "{acts:?}");
    assert!(acts[0].starts_with("put BODY#B") && acts[1].starts_with("send"), "{acts:?}");
    let held = world.platform().memory.batches().messages();
    assert!(held[0].body.len() < 200);
    assert!(world.platform().memory.table().items("BODY#")[0].expires_at_s.is_some());
    world.platform().fail(0, Trouble::Lost);
    assert_eq!(world.send(&webhook).await.0, StatusCode::SERVICE_UNAVAILABLE, "a body that may not be there");
    assert_eq!(world.platform().memory.batches().messages().len(), 1);
}

#[tokio::test]
async fn a_connector_without_webhooks_has_no_url() {
    let world = world(317).await;
    let polled = world.make(Spec::of("http").callback("https://app.example/")).await.id;
    let acts = world.platform().memory.acts().len();
    for path in [String::new(), format!("/{}", polled.to_path())] {
        let (status, body) = world.send(&Webhook::new("http", SECRET, "[]").unsigned().path(&path)).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{body}");
        assert!(body.contains("hubspot") && !body.contains("http,"), "{body}");
    }
    assert_eq!(world.platform().memory.acts().len(), acts);
}
