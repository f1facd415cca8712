//! Messages that are taken from the queue together, and what the first hand-over of one may leave out.

#![allow(clippy::unwrap_used)]

use std::io;
use std::sync::{Arc, Mutex};

use events::{Message, configuration};
use futures_util::StreamExt as _;
use platform::Platform as _;
use pollhook_dispatcher::{Fault, RetryPolicy, Taken};
use scenarios::{Behaviour, Reply, Spec, World, batch};

const URL: &str = "https://app.example/hook";
const OTHER: &str = "https://other.example/hook";

async fn world(seed: u64) -> World {
    let world = World::new(seed, RetryPolicy::default()).await;
    for url in [URL, OTHER] {
        world.callbacks.behave(url, Behaviour { key: None, first: Vec::new(), then: Reply::Status(200) });
    }
    world
}

async fn all(world: &World, texts: &[String]) -> Vec<(usize, Result<(), Fault>)> {
    let taken: Vec<Taken<'_>> = texts.iter().map(|text| Taken { text, receive_count: 1 }).collect();
    let mut outcomes: Vec<_> = world.dispatcher().handle_all(&taken).collect().await;
    outcomes.sort_by_key(|(index, _)| *index);
    outcomes
}

#[tokio::test]
async fn a_view_is_read_once_for_all_messages_of_its_instance_and_each_has_its_own_outcome() {
    let world = world(401).await;
    let (one, other) = (
        world.make(Spec::of("hubspot").callback(URL)).await.id,
        world.make(Spec::of("hubspot").callback(OTHER)).await.id,
    );
    let of = |instance, n| Message::Batch(batch(instance, n..n + 1, "[]")).encode();
    let mut texts: Vec<String> = (0..6).map(|n| of(one, n)).chain((6..10).map(|n| of(other, n))).collect();
    texts.push("poison".into());
    let (reads, eventual) = (world.platform().reads(), world.platform().eventual_reads());
    let outcomes = all(&world, &texts).await;
    assert_eq!(world.platform().reads() - reads, 2 + 10, "two views, ten records");
    assert_eq!(world.platform().eventual_reads() - eventual, 10);
    assert_eq!(outcomes.iter().map(|(index, _)| *index).collect::<Vec<_>>(), (0..11).collect::<Vec<_>>());
    assert!(outcomes[..10].iter().all(|(_, outcome)| outcome.is_ok()));
    assert!(matches!(outcomes[10].1, Err(Fault::Poison(_))));
    assert_eq!(world.callbacks.posted().len(), 10);
}

#[tokio::test]
async fn a_view_that_cannot_be_read_fails_no_neighbour() {
    let world = world(402).await;
    let instance = world.make(Spec::of("hubspot").callback(URL)).await.id;
    let texts: Vec<String> = (0..3).map(|n| Message::Batch(batch(instance, n..n + 1, "[]")).encode()).collect();
    world.platform().fail_read(0);
    let failed = all(&world, &texts).await.into_iter().filter(|(_, outcome)| outcome.is_err()).count();
    assert_eq!((failed, world.callbacks.posted().len()), (1, 2));
}

#[tokio::test]
async fn a_change_counts_for_what_is_taken_after_it() {
    let world = world(403).await;
    let mut made = world.make(Spec::of("hubspot").callback(URL)).await;
    let texts = |from: u64| -> Vec<String> {
        (from..from + 3).map(|n| Message::Batch(batch(made.id, n..n + 1, "[]")).encode()).collect()
    };
    let (before, after) = (texts(0), texts(10));
    all(&world, &before).await;
    made.change(world.platform(), |plain, _| drop(plain.insert(configuration::CALLBACK_URL.into(), OTHER.into())))
        .await;
    all(&world, &after).await;
    let urls: Vec<String> = world.callbacks.posted().into_iter().map(|posted| posted.url).collect();
    assert_eq!(urls, [URL, URL, URL, OTHER, OTHER, OTHER]);
}

#[tokio::test]
async fn a_message_handed_over_again_reads_strongly_and_looks_for_what_a_death_left() {
    let world = world(404).await;
    let instance = world.make(Spec::of("hubspot").callback(URL)).await.id;
    world.platform().lag();
    let message = Message::Batch(batch(instance, 0..1, "[]")).encode();
    world.handle(&message).await.unwrap();
    let eventual = world.platform().eventual_reads();
    world.handle_again(&message).await.unwrap();
    assert_eq!(world.platform().eventual_reads(), eventual);
    assert_eq!(world.callbacks.posted().len(), 1, "it saw the record");
}

#[tokio::test]
async fn what_another_process_told_a_moment_ago_is_at_worst_told_again_with_the_same_id_and_recorded_once() {
    let mut world = world(405).await;
    let instance = world.make(Spec::of("hubspot").callback(URL).flows()).await.id;
    world.platform().lag();
    let message = Message::Batch(batch(instance, 0..1, "[]")).encode();
    for _ in 0..2 {
        world.handle(&message).await.unwrap();
        world.restart();
    }
    let posted = world.callbacks.posted();
    assert_eq!((posted.len(), &posted[0].id, &posted[0].body), (2, &posted[1].id, &posted[1].body));
    let records = world.records(instance).await;
    assert!(records.len() == 1 && records[0].ended());
    assert_eq!(world.platform().memory.table().items("BODY#"), []);
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn an_attempt_logs_one_line_that_is_short_and_names_whom_it_concerns() {
    let (lines, _capture) = (Lines::default(), scenarios::Logs::capture());
    let writer = lines.clone();
    let subscriber =
        tracing_subscriber::fmt().json().flatten_event(true).with_target(false).with_writer(move || writer.clone());
    let _guard = tracing_subscriber::util::SubscriberInitExt::set_default(subscriber.finish());
    let world = world(406).await;
    let down = "https://down.example/a-long-path-that-is-not-shown";
    let text = Reply::Text(500, "x".repeat(5_000));
    world.callbacks.behave(down, Behaviour { key: None, first: vec![text], then: Reply::Status(202) });
    let well = world.make(Spec::of("hubspot").callback(URL).flows()).await.id;
    let ill = world.make(Spec::of("hubspot").callback(down).flows()).await.id;
    world.platform().refuse(ill, 1, 1);
    for instance in [well, ill] {
        let mut batch = batch(instance, 0..2, "[]");
        batch.connector = "quickbooksonline".into();
        world.handle(&Message::Batch(batch).encode()).await.unwrap();
    }
    world.settle().await;
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let said: Vec<&str> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert_eq!(said, ["told", "not told", "not told", "told", "told"], "{text}");
    // Lambda's line of what is told has no level and no time, the others have the invocation's id (51 bytes) too.
    assert!(text.lines().all(|line| line.len() <= 250), "{text}");
    assert_eq!((&lines[0]["flows"], &lines[0]["instance"]), (&2.into(), &well.number().into()));
    for line in &lines {
        assert_eq!(line["notification"].as_str().unwrap().len(), 20);
        // The usual line leaves out what is the instance's.
        assert_eq!(line["connector"].is_null(), line["message"] == "told", "{line}");
    }
}
