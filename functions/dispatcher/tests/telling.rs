//! What a callback is told, and what one delivery costs.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use egress::callback;
use events::{Message, Source, configuration, signature};
use platform::{Key, Outgoing, Platform as _, Queue as _, Table as _, Write};
use pollhook_dispatcher::{Fault, RetryPolicy};
use records::deliveries::{self, State};
use records::instances;
use scenarios::{Behaviour, PUBLIC_URL, Reply, Spec, World, batch};

const URL: &str = "https://app.example/hook";

fn answers(key: Option<&str>, reply: Reply) -> Behaviour {
    Behaviour { key: key.map(str::to_owned), first: Vec::new(), then: reply }
}

async fn world(seed: u64) -> World {
    let mut world = World::new(seed, RetryPolicy::default()).await;
    world.callbacks.behave(URL, answers(Some("key"), Reply::Status(200)));
    world.restart();
    world
}

fn signed() -> Spec {
    Spec::of("hubspot").callback(URL).signed("key")
}

#[tokio::test]
async fn a_notification_told_at_once_costs_two_reads_one_write_and_no_message() {
    let mut world = world(1).await;
    let instance = world.make(signed()).await.id;
    world.restart();
    let (reads, eventual) = (world.platform().reads(), world.platform().eventual_reads());
    world.handle(&Message::Batch(batch(instance, 0..3, "[]")).encode()).await.unwrap();
    assert_eq!(world.platform().reads() - reads, 2, "the view, and whether it was told");
    assert_eq!(world.platform().eventual_reads() - eventual, 1, "whether it was told");
    let acts = world.platform().memory.acts();
    assert_eq!(acts.len(), 2, "{acts:?}");
    assert_eq!(acts[0], format!("POST {URL}"));
    assert!(acts[1].starts_with("put DELIVERY#"), "{acts:?}");
    let record = &world.records(instance).await[0];
    assert!(matches!(record.callback.state, State::Told { .. }));
    assert_eq!((record.callback.attempts.len(), record.callback.attempts[0].status), (1, Some(200)));
    assert_eq!((record.events, record.body), (3, false));
}

#[tokio::test]
async fn a_batch_that_comes_again_is_not_told_again_and_costs_no_write() {
    let mut world = world(2).await;
    let instance = world.make(signed()).await.id;
    let message = Message::Batch(batch(instance, 0..30, "[]")).encode();
    world.handle(&message).await.unwrap();
    world.restart();
    world.handle(&message).await.unwrap();
    assert_eq!(world.platform().memory.acts(), Vec::<String>::new());
    assert_eq!(world.callbacks.posted().len(), 2);
}

#[tokio::test]
async fn a_notification_holds_twenty_changes_of_a_webhook_and_ten_of_a_poll_in_order() {
    let world = world(3).await;
    let instance = world.make(signed()).await.id;
    for (source, offset, sizes) in [(Source::Webhook, 0, vec![20, 20, 5]), (Source::Poll, 100, vec![10, 10, 10, 10, 5])]
    {
        let before = world.callbacks.posted().len();
        let mut batch = batch(instance, offset..offset + 45, "[]");
        batch.source = source;
        world.handle(&Message::Batch(batch.clone()).encode()).await.unwrap();
        let mut parts: Vec<Vec<(String, String)>> =
            world.callbacks.posted()[before..].iter().map(|posted| posted.events()).collect();
        parts.sort_by_key(|events| events[0].1.parse::<u64>().unwrap());
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), sizes);
        let told: Vec<String> = parts.into_iter().flatten().map(|(id, _)| id).collect();
        assert_eq!(told, batch.events.iter().map(|event| event.id.to_string()).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn one_notification_in_trouble_does_not_keep_its_neighbours_from_being_told() {
    let world = world(4).await;
    let instance = world.make(signed()).await.id;
    let message = Message::Batch(batch(instance, 0..60, "[]")).encode();
    // The first read is the view's, the second the first notification's record.
    world.platform().fail_read(1);
    assert!(world.handle(&message).await.is_err(), "the message stays");
    assert_eq!(world.callbacks.posted().len(), 2);
    world.handle(&message).await.unwrap();
    assert_eq!(world.callbacks.posted().len(), 3);
}

#[tokio::test]
async fn an_instance_without_a_key_gets_the_id_and_no_signature() {
    let world = world(5).await;
    world.callbacks.behave(URL, answers(None, Reply::Status(200)));
    let instance = world.make(Spec::of("hubspot").callback(URL)).await.id;
    world.handle(&Message::Batch(batch(instance, 0..1, "[]")).encode()).await.unwrap();
    let posted = &world.callbacks.posted()[0];
    assert_eq!(posted.headers[signature::ELEMENTS_ID].to_str().unwrap(), posted.id);
    assert_eq!(posted.json()["message"]["eventId"], posted.id.as_str());
    for absent in [signature::ELEMENTS_SIGNATURE, signature::WEBHOOK_SIGNATURE, signature::WEBHOOK_TIMESTAMP] {
        assert!(!posted.headers.contains_key(absent), "{absent}");
    }
    assert!(!posted.headers.contains_key(callback::HOPS));
}

#[tokio::test]
async fn the_strict_contract_leaves_out_the_ids_of_events() {
    let world = world(6).await;
    let instance = world.make(signed().set(configuration::CONTRACT, "strict")).await.id;
    world.handle(&Message::Batch(batch(instance, 0..2, "[]")).encode()).await.unwrap();
    let json = world.callbacks.posted()[0].json();
    assert!(json["message"]["events"].as_array().unwrap().iter().all(|event| event.get("id").is_none()));
}

#[tokio::test]
async fn a_callback_of_our_own_is_told_how_often_its_events_came_back() {
    let world = world(7).await;
    let url = format!("{PUBLIC_URL}/elements/api-v2/events/standard/");
    world.callbacks.behave(&url, answers(Some("key"), Reply::Status(200)));
    let instance = world.make(Spec::of("hubspot").callback(&url).signed("key")).await.id;
    let mut batch = batch(instance, 0..1, "[]");
    batch.hops = 2;
    world.handle(&Message::Batch(batch).encode()).await.unwrap();
    assert_eq!(world.callbacks.posted()[0].headers[callback::HOPS], "3");
}

#[tokio::test]
async fn the_provider_s_body_is_told_byte_for_byte() {
    let world = world(8).await;
    let instance = world.make(signed()).await.id;
    let raw = "[ {\"z\":1.10,\n \"a\":\"Zo\\u00eb ☕\u{ffff}\", \"a\": 2e400} ]";
    world.handle(&Message::Batch(batch(instance, 0..1, raw)).encode()).await.unwrap();
    let body = world.callbacks.posted()[0].body.clone();
    assert!(std::str::from_utf8(&body).unwrap().contains(&format!("\"raw\":{raw},")));
}

#[tokio::test]
async fn without_a_callback_a_notification_is_kept_to_be_read() {
    let world = world(9).await;
    let instance = world.make(Spec::of("hubspot")).await.id;
    let batch = batch(instance, 0..2, "[1]");
    world.handle(&Message::Batch(batch.clone()).encode()).await.unwrap();
    let listed = deliveries::list(world.platform(), instance, None, 10).await.unwrap();
    assert_eq!(listed[0].delivery.callback.state, State::Kept);
    assert_eq!(deliveries::load_payload(world.platform(), &listed[0]).await.unwrap(), Some(batch));
}

#[tokio::test]
async fn what_comes_for_a_deleted_instance_is_dropped_and_a_record_says_why() {
    let world = world(10).await;
    let made = world.make(signed()).await;
    instances::delete(world.platform(), &made.stored).await.unwrap();
    world.handle(&Message::Batch(batch(made.id, 0..2, "[1]")).encode()).await.unwrap();
    assert_eq!(world.callbacks.posted().len(), 0);
    let State::Dropped { reason } = &world.records(made.id).await[0].callback.state else { panic!("not dropped") };
    assert!(reason.contains("deleted"), "{reason}");
}

#[tokio::test]
async fn a_large_batch_goes_through_the_table_and_leaves_nothing_there() {
    let world = world(11).await;
    let instance = world.make(signed()).await.id;
    let text = Message::Batch(batch(instance, 0..3, format!("[\"{}\"]", "x".repeat(500_000)))).encode();
    records::bodies::put(world.platform(), "B1", &text.into(), Some(i64::MAX)).await.unwrap();
    assert!(world.platform().memory.table().items("BODY#").len() > 1, "in more than one chunk");
    let message = Message::Stored { instance, body: "B1".into() }.encode();
    world.handle(&message).await.unwrap();
    assert_eq!(world.platform().memory.table().items("BODY#"), []);
    assert_eq!(world.callbacks.posted().len(), 1);
    // Handed over twice: there is nothing left to do.
    world.handle(&message).await.unwrap();
    assert_eq!(world.callbacks.posted().len(), 1);
}

/// Bytes that no compression makes smaller, as JSON.
fn incompressible(world: &World, bytes: usize) -> String {
    let mut bits = vec![0; bytes / 2];
    world.platform().random().fill(&mut bits);
    // Each byte as one of 128 two-byte characters and ASCII: too evenly spread for LZ4.
    let text: String = bits.iter().map(|b| char::from_u32(0x80 + u32::from(*b)).unwrap_or('x')).collect();
    format!("[\"{text}\"]")
}

#[tokio::test]
async fn a_payload_too_large_for_its_record_stays_a_body_that_expires_after_the_record() {
    for (seed, first) in [(12, vec![]), (13, vec![Reply::Status(500)])] {
        let world = world(seed).await;
        let behaviour = Behaviour { key: Some("key".into()), first, then: Reply::Status(200) };
        world.callbacks.behave(URL, behaviour);
        let instance = world.make(signed()).await.id;
        let batch = batch(instance, 0..2, incompressible(&world, 900_000));
        // Too large for a message, but the dispatcher does not mind where a batch comes from.
        world.handle(&Message::Batch(batch.clone()).encode()).await.unwrap();
        world.settle().await;
        let stored = deliveries::list(world.platform(), instance, None, 10).await.unwrap().remove(0);
        assert!(matches!(stored.delivery.callback.state, State::Told { .. }));
        assert!(stored.delivery.body);
        let record = &world.platform().memory.table().items("DELIVERY#")[0];
        for chunk in world.platform().memory.table().items("BODY#") {
            assert!(chunk.expires_at_s.unwrap() > record.expires_at_s.unwrap());
        }
        assert_eq!(deliveries::load_payload(world.platform(), &stored).await.unwrap(), Some(batch));
    }
}

#[tokio::test]
async fn a_message_of_a_newer_version_is_sent_on_unchanged_and_later() {
    let world = world(14).await;
    let newer = r#"{"v":4,"m":{"unheard":[1]}}"#;
    world.handle(newer).await.unwrap();
    let held = world.platform().memory.batches().messages();
    assert_eq!((held.len(), held[0].body.as_str()), (1, newer));
    assert!(held[0].visible_at >= world.now().plus(Duration::from_secs(30)));
    world.platform().fail(0, scenarios::Trouble::Throttled);
    assert!(world.handle(newer).await.is_err(), "what could not be sent on is not acknowledged");
}

#[tokio::test]
async fn a_message_about_what_a_newer_version_wrote_is_sent_on_unchanged_too() {
    let world = world(1401).await;
    let instance = world.make(signed()).await.id;
    let key = Key::new(format!("CALLBACK#{instance}"), "CALLBACK");
    let write = Write::put(key, world.platform().version(), r#"{"v":4,"unheard":true}"#);
    world.platform().table().write(write).await.unwrap();
    let message = Message::Batch(batch(instance, 0..1, "[]")).encode();
    world.handle(&message).await.unwrap();
    let held = world.platform().memory.batches().messages();
    assert_eq!((held.len(), &held[0].body), (1, &message));
    assert!(world.callbacks.posted().is_empty());
}

#[tokio::test]
async fn what_is_not_ours_is_poison() {
    let world = world(15).await;
    let job = r#"{"v":1,"m":{"poll":{"instance":7,"at":1}}}"#;
    for text in ["", "poison", "{}", r#"{"v":1,"m":{"unheard":[1]}}"#, r#"{"v":1,"m":null}"#, job] {
        assert!(matches!(world.handle(text).await, Err(Fault::Poison(_))), "{text}");
    }
    records::bodies::put(world.platform(), "B2", &vec![0xff, 0xfe].into(), None).await.unwrap();
    let instance = world.make(signed()).await.id;
    let nested = Message::Stored { instance, body: "B2".into() }.encode();
    assert!(matches!(world.handle(&nested).await, Err(Fault::Poison(_))));
    let outgoing = Outgoing { body: nested, delay: Duration::ZERO, group: "g".into() };
    world.platform().batches().send(vec![outgoing]).await.unwrap();
    world.pump().await;
    assert_eq!(world.platform().memory.batches().messages().len(), 1, "poison is not acknowledged");
}
