//! What happens when a callback fails, and when we do.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use events::{Message, configuration};
use platform::Platform as _;
use pollhook_dispatcher::{Fault, LONGEST, RetryPolicy};
use records::deliveries::{self, State};
use records::instances;
use scenarios::{Behaviour, Reply, Spec, Trouble, World, batch};

const URL: &str = "https://app.example/hook";
const OTHER: &str = "https://other.example/hook";

fn behaves(first: &[Reply], then: Reply) -> Behaviour {
    Behaviour { key: Some("key".into()), first: first.to_vec(), then }
}

fn signed() -> Spec {
    Spec::of("hubspot").callback(URL).signed("key")
}

async fn world(seed: u64, retry: RetryPolicy, behaviour: Behaviour) -> World {
    let world = World::new(seed, retry).await;
    world.callbacks.behave(URL, behaviour);
    world
}

#[tokio::test]
async fn what_fails_to_the_end_is_tried_by_the_schedule_and_then_parked() {
    let world = world(101, RetryPolicy::default(), behaves(&[], Reply::Status(500))).await;
    let instance = world.make(signed()).await.id;
    world.handle(&Message::Batch(batch(instance, 0..1, "[]")).encode()).await.unwrap();
    let held = world.platform().memory.batches().messages();
    assert_eq!(held.len(), 1, "the first retries are delayed messages");
    world.settle().await;
    let times: Vec<_> = world.callbacks.posted().iter().map(|posted| posted.at).collect();
    let hour = 3600.0;
    let bases = [5.0, 30.0, 120.0, 600.0, 1800.0, hour, 2.0 * hour, 4.0 * hour, 8.0 * hour];
    let bases: Vec<f64> = bases.into_iter().chain([12.0 * hour; 5]).collect();
    assert_eq!(times.len(), bases.len() + 1);
    for (pair, base) in times.windows(2).zip(bases) {
        let wait = pair[1].since(pair[0]).as_secs_f64();
        // A bucket is swept at the end of its minute, and written for one at least two minutes ahead.
        assert!(wait >= 0.79 * base && wait <= 1.21 * base + 180.0, "waited {wait} s instead of {base} s");
    }
    let record = &world.records(instance).await[0];
    assert!(matches!(record.callback.state, State::Parked { .. }));
    assert_eq!(record.callback.attempts.len(), 15);
    assert!(record.body, "its payload is kept");
    assert_eq!(deliveries::parked(world.platform(), instance, 10).await.unwrap(), [record.id]);
    // Time alone does not try it again, nor does the batch.
    world.platform().memory.advance(Duration::from_secs(90 * 24 * 3600));
    world.handle(&Message::Batch(batch(instance, 0..1, "[]")).encode()).await.unwrap();
    world.settle().await;
    assert_eq!(world.callbacks.posted().len(), 15);
    // An operator does.
    world.callbacks.then(URL, Reply::Status(200));
    assert!(world.release().await);
    world.settle().await;
    let record = &world.records(instance).await[0];
    assert!(matches!(record.callback.state, State::Told { .. }));
    assert_eq!(record.callback.round, 1);
    assert_eq!(deliveries::parked(world.platform(), instance, 10).await.unwrap(), []);
    assert_eq!(world.platform().memory.table().items("PENDING#"), []);
    assert_eq!(world.platform().memory.table().items("BODY#"), []);
    let posted = world.callbacks.posted();
    assert!(posted.iter().all(|p| p.body == posted[0].body && p.id == posted[0].id), "the same bytes each time");
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_gets_it_up_to_the_longest_wait() {
    for (seed, asked, least) in [(102, 600, 600), (103, 3_600, 3_600), (104, 31 * 24 * 3600, LONGEST.as_secs())] {
        let script = [Reply::RetryAfter(503, asked)];
        let world = world(seed, RetryPolicy::default(), behaves(&script, Reply::Status(200))).await;
        let instance = world.make(signed()).await.id;
        world.handle(&Message::Batch(batch(instance, 0..1, "[]")).encode()).await.unwrap();
        world.settle().await;
        let posted = world.callbacks.posted();
        let waited = posted[1].at.since(posted[0].at).as_secs();
        assert!((least..least + 180).contains(&waited), "waited {waited} s of {asked} s");
    }
}

#[tokio::test]
async fn anything_but_2xx_is_a_failure_and_the_record_says_which() {
    let long = "x".repeat(199) + "ééé";
    let cases = [
        (Reply::Status(302), Some(302), "answered 302 (redirects are not followed)".to_owned()),
        (Reply::Status(404), Some(404), "answered 404".to_owned()),
        (Reply::Status(199), Some(199), "answered 199".to_owned()),
        (Reply::Text(500, long), Some(500), format!("answered 500: {}", "x".repeat(199))),
        (Reply::Timeout, None, "timed out after 15s while waiting for the answer".to_owned()),
    ];
    for (seed, (reply, status, error)) in (110..).zip(cases) {
        let world = world(seed, RetryPolicy::default(), behaves(&[], reply)).await;
        let instance = world.make(signed()).await.id;
        world.handle(&Message::Batch(batch(instance, 0..1, "[]")).encode()).await.unwrap();
        let record = &world.records(instance).await[0];
        assert!(matches!(record.callback.state, State::Waiting { .. }), "{error}");
        let attempt = &record.callback.attempts[0];
        assert_eq!((attempt.status, attempt.error.as_deref()), (status, Some(error.as_str())));
    }
}

#[tokio::test]
async fn a_failure_of_our_own_is_nobody_s_attempt() {
    let mut world = world(120, RetryPolicy::default(), behaves(&[], Reply::Ours)).await;
    let instance = world.make(signed()).await.id;
    world.restart();
    let message = Message::Batch(batch(instance, 0..1, "[]")).encode();
    assert!(matches!(world.handle(&message).await, Err(Fault::Broken(_))));
    assert_eq!(world.platform().memory.acts(), [format!("POST {URL}")], "nothing is written, nothing sent");
    world.callbacks.then(URL, Reply::Status(200));
    world.handle(&message).await.unwrap();
    assert_eq!(world.records(instance).await[0].callback.attempts.len(), 1);
}

#[tokio::test]
async fn a_table_that_is_down_leaves_the_message_and_a_vault_that_is_down_too() {
    let world = world(121, RetryPolicy::default(), behaves(&[], Reply::Status(200))).await;
    let instance = world.make(signed()).await.id;
    let message = Message::Batch(batch(instance, 0..1, "[]")).encode();
    for reads in 0..2 {
        world.platform().fail_read(reads);
        assert!(matches!(world.handle(&message).await, Err(Fault::Records(_))));
        assert_eq!(world.callbacks.posted().len(), 0);
    }
    world.platform().vault().fail_next(platform::VaultError::Unavailable("down".into()));
    assert!(matches!(world.handle(&message).await, Err(Fault::Records(_))));
    assert_eq!(world.callbacks.posted().len(), 0);
    world.platform().fail(0, Trouble::Throttled);
    assert!(matches!(world.handle(&message).await, Err(Fault::Records(_))), "told, but not recorded");
    assert_eq!(world.platform().memory.table().items("DELIVERY#"), []);
    world.handle(&message).await.unwrap();
    let posted = world.callbacks.posted();
    assert_eq!(posted.len(), 2);
    assert_eq!((&posted[0].id, &posted[0].body), (&posted[1].id, &posted[1].body));
}

#[tokio::test]
async fn a_refused_address_is_recorded_with_what_would_allow_it() {
    let world = World::new(122, RetryPolicy::default()).await;
    let instance = world.make(Spec::of("hubspot").callback("http://127.0.0.1:9/secret-path?token=x")).await.id;
    world.handle(&Message::Batch(batch(instance, 0..1, "[]")).encode()).await.unwrap();
    let record = &world.records(instance).await[0];
    let error = record.callback.attempts[0].error.clone().unwrap();
    assert!(error.contains("--allow-callbacks-to 127.0.0.1"), "{error}");
    assert!(!error.contains("token"), "{error}");
    assert!(matches!(record.callback.state, State::Waiting { .. }), "the operator may allow it meanwhile");
}

#[tokio::test]
async fn a_changed_callback_and_key_count_from_the_next_attempt() {
    let world = world(123, RetryPolicy::default(), behaves(&[], Reply::Status(500))).await;
    let mut other = behaves(&[], Reply::Status(200));
    other.key = Some("another key".into());
    world.callbacks.behave(OTHER, other);
    let mut made = world.make(signed()).await;
    world.handle(&Message::Batch(batch(made.id, 0..1, "[]")).encode()).await.unwrap();
    let change = |configuration: &mut std::collections::BTreeMap<String, String>, secrets: &mut instances::Secrets| {
        configuration.insert(configuration::CALLBACK_URL.into(), OTHER.into());
        secrets.insert(configuration::SIGNATURE_KEY.into(), "another key".into());
    };
    made.change(world.platform(), change).await;
    world.settle().await;
    let urls: Vec<String> = world.callbacks.posted().into_iter().map(|posted| posted.url).collect();
    assert_eq!(urls, [URL, OTHER]);
    assert!(matches!(world.records(made.id).await[0].callback.state, State::Told { .. }));
}

#[tokio::test]
async fn what_waits_for_a_deleted_instance_is_dropped_and_its_payload_with_it() {
    let world = world(124, RetryPolicy::default(), behaves(&[], Reply::Status(500))).await;
    let made = world.make(signed()).await;
    world.handle(&Message::Batch(batch(made.id, 0..1, "[]")).encode()).await.unwrap();
    instances::delete(world.platform(), &made.stored).await.unwrap();
    world.settle().await;
    assert_eq!(world.callbacks.posted().len(), 1);
    assert!(matches!(world.records(made.id).await[0].callback.state, State::Dropped { .. }));
    assert_eq!(world.platform().memory.table().items("BODY#"), []);
}

#[tokio::test]
async fn a_payload_kept_for_a_retry_is_freed_although_the_answer_to_telling_so_was_lost() {
    let world = world(125, RetryPolicy::default(), behaves(&[Reply::Status(500)], Reply::Status(200))).await;
    let instance = world.make(signed()).await.id;
    world.handle(&Message::Batch(batch(instance, 0..1, "[]")).encode()).await.unwrap();
    assert_eq!(world.platform().memory.table().items("BODY#").len(), 1);
    world.platform().memory.advance(Duration::from_secs(10));
    world.platform().fail(0, Trouble::Lost);
    world.settle().await;
    assert_eq!(world.callbacks.posted().len(), 2);
    assert_eq!(world.platform().memory.table().items("BODY#"), []);
}

#[tokio::test]
async fn a_payload_kept_before_a_death_is_freed_when_the_notification_is_told_after_it() {
    let mut world = world(126, RetryPolicy::default(), behaves(&[Reply::Status(500)], Reply::Status(200))).await;
    let instance = world.make(signed()).await.id;
    let message = Message::Batch(batch(instance, 0..1, "[]")).encode();
    world.restart();
    // Step 0 is the POST, step 1 the payload: neither wake-up nor record follow.
    world.crash_at(1, platform::testing::Moment::After);
    let memory = world.platform().memory.clone();
    memory.run_until_crash(world.handle(&message)).await.unwrap_err();
    world.restart();
    assert_eq!(world.platform().memory.table().items("BODY#").len(), 1);
    world.handle_again(&message).await.unwrap();
    assert_eq!(world.platform().memory.table().items("BODY#"), []);
}

#[tokio::test]
async fn a_payload_kept_before_a_death_is_freed_also_when_another_message_told_its_notification_meanwhile() {
    let mut world = world(127, RetryPolicy::default(), behaves(&[Reply::Status(500)], Reply::Status(200))).await;
    let instance = world.make(signed()).await.id;
    let message = Message::Batch(batch(instance, 0..1, "[]")).encode();
    world.restart();
    world.crash_at(1, platform::testing::Moment::After);
    let memory = world.platform().memory.clone();
    memory.run_until_crash(world.handle(&message)).await.unwrap_err();
    world.restart();
    // The provider's redelivery: a message of its own, handed over for the first time, which looks for no payload.
    world.handle(&message).await.unwrap();
    assert_eq!(world.platform().memory.table().items("BODY#").len(), 1);
    // The dead process's message comes again.
    world.handle_again(&message).await.unwrap();
    assert_eq!(world.platform().memory.table().items("BODY#"), []);
    assert_eq!(world.callbacks.posted().len(), 2);
}
