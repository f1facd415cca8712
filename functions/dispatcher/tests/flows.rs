//! The event bus beside the callback: one entry for each event, and neither leg waits for the other.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use egress::{Answer, CallbackRequest, Failure, Policy, Post};
use events::message::{Attempt, To};
use events::{InstanceId, Message, configuration};
use platform::testing::Moment;
use platform::{Bus, BusError, Entry, Platform as _, PublishError, Table as _};
use pollhook_dispatcher::{Dispatcher, Fault, RetryPolicy};
use records::deliveries::{self, Delivery, State};
use scenarios::{Behaviour, Reply, Spec, Trouble, World, batch};

const URL: &str = "https://app.example/hook";

async fn world(seed: u64, first: &[Reply], then: Reply) -> World {
    let world = World::new(seed, RetryPolicy::new(&[5, 1_200])).await;
    world.callbacks.behave(URL, Behaviour { key: None, first: first.to_vec(), then });
    world
}

fn both() -> Spec {
    Spec::of("hubspot").callback(URL).flows()
}

fn text(instance: InstanceId, objects: std::ops::Range<u64>) -> String {
    Message::Batch(batch(instance, objects, "[]")).encode()
}

fn objects(world: &World) -> Vec<u64> {
    world.platform().bus().published().iter().map(|entry| entry.object.parse().unwrap()).collect()
}

async fn record(world: &World, instance: InstanceId) -> Delivery {
    world.records(instance).await.remove(0)
}

#[tokio::test]
async fn each_event_is_one_entry_and_both_legs_together_cost_two_reads_and_one_write() {
    let mut world = world(301, &[], Reply::Status(200)).await;
    let instance = world.make(both()).await.id;
    world.restart();
    let reads = world.platform().reads();
    world.handle(&text(instance, 0..13)).await.unwrap();
    assert_eq!(world.platform().reads() - reads, 2);
    let acts = world.platform().memory.acts();
    let writes: Vec<_> = acts.iter().filter(|act| !act.starts_with("publish") && !act.starts_with("POST")).collect();
    assert_eq!(writes.len(), 1, "{acts:?}");
    let published = world.platform().bus().published();
    let mut told = objects(&world);
    told.sort_unstable();
    assert_eq!(told, (0..13).collect::<Vec<_>>(), "more than one publish takes");
    let posted = &world.callbacks.posted()[0];
    assert!(published.iter().all(|entry| entry.notification == posted.id && entry.instance == instance));
    let told: Vec<_> = posted.events();
    assert!(published.iter().all(|entry| told.contains(&(entry.event.clone(), entry.object.clone()))));
    let record = record(&world, instance).await;
    for (to, leg) in record.legs() {
        assert!(matches!(leg.state, State::Told { .. }) && leg.attempts.len() == 1, "{to:?} {leg:?}");
    }
    // A copy of the message tells neither again.
    world.handle(&text(instance, 0..13)).await.unwrap();
    assert_eq!((objects(&world).len(), world.callbacks.posted().len()), (13, 1));
}

#[tokio::test]
async fn flows_are_off_unless_switched_on_and_what_was_told_before_is_not_published() {
    let world = world(302, &[], Reply::Status(200)).await;
    let mut made = world.make(Spec::of("hubspot").callback(URL)).await;
    world.handle(&text(made.id, 0..1)).await.unwrap();
    assert_eq!(record(&world, made.id).await.flows, None);
    made.change(world.platform(), |plain, _| drop(plain.insert(configuration::FLOW_ENABLED.into(), "true".into())))
        .await;
    world.handle(&text(made.id, 0..1)).await.unwrap();
    assert_eq!(objects(&world), Vec::<u64>::new());
    world.handle(&text(made.id, 1..2)).await.unwrap();
    assert_eq!(objects(&world), [1], "they count from the next delivery");
}

#[tokio::test]
async fn without_a_callback_flows_run_and_the_notification_is_kept_to_be_read() {
    let world = world(303, &[], Reply::Status(200)).await;
    let made = world.make(Spec::of("hubspot").flows()).await;
    assert!(made.stored.instance.events_on(), "there is somebody to tell");
    world.handle(&text(made.id, 0..2)).await.unwrap();
    let record = record(&world, made.id).await;
    assert_eq!((record.callback.state.clone(), objects(&world).len()), (State::Kept, 2));
    assert!(matches!(record.flows.unwrap().state, State::Told { .. }) && !record.body);
}

#[tokio::test]
async fn a_bus_that_fails_is_tried_again_by_itself_and_only_with_what_it_did_not_take() {
    let world = world(304, &[], Reply::Status(200)).await;
    let instance = world.make(both()).await.id;
    world.platform().refuse(instance, 2, 2);
    world.handle(&text(instance, 0..20)).await.unwrap();
    let first = record(&world, instance).await;
    assert!(matches!(first.callback.state, State::Told { .. }), "the callback was told at once");
    let leg = first.flows.unwrap();
    assert!(matches!(leg.state, State::Waiting { .. }) && first.body);
    assert_eq!(leg.owed, (0..20).step_by(2).collect::<Vec<_>>());
    assert_eq!(leg.attempts[0].error.as_deref(), Some("10 of 20 events: the event bus is throttled"));
    world.settle().await;
    let mut told = objects(&world);
    told.sort_unstable();
    assert_eq!(told, (0..20).collect::<Vec<_>>(), "each once");
    assert_eq!(world.callbacks.posted().len(), 1);
    let record = record(&world, instance).await;
    let leg = record.flows.unwrap();
    assert!(matches!(leg.state, State::Told { .. }) && leg.owed.is_empty() && !record.body);
    assert_eq!(leg.attempts.iter().map(|made| made.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(world.platform().memory.table().items("BODY#"), []);
}

#[tokio::test]
async fn a_callback_that_fails_is_tried_again_without_another_entry() {
    let world = world(305, &[Reply::Status(500), Reply::Timeout], Reply::Status(200)).await;
    let instance = world.make(both()).await.id;
    world.handle(&text(instance, 0..3)).await.unwrap();
    let first = record(&world, instance).await;
    assert!(matches!(first.flows.unwrap().state, State::Told { .. }) && first.body);
    world.settle().await;
    assert_eq!((objects(&world), world.callbacks.posted().len()), (vec![0, 1, 2], 3));
    assert_eq!(world.platform().memory.table().items("BODY#"), []);
}

#[tokio::test]
async fn each_leg_is_parked_and_released_by_itself() {
    for (seed, bus_fails, callback_fails) in [(306, true, false), (307, false, true), (308, true, true)] {
        let reply = if callback_fails { Reply::Status(500) } else { Reply::Status(200) };
        let world = world(seed, &[], reply).await;
        let instance = world.make(both()).await.id;
        if bus_fails {
            world.platform().refuse(instance, 1, 3);
        }
        world.handle(&text(instance, 0..2)).await.unwrap();
        world.settle().await;
        let parked = record(&world, instance).await;
        assert_eq!(parked.callback.parked_at().is_some(), callback_fails);
        assert_eq!(parked.flows.as_ref().unwrap().parked_at().is_some(), bus_fails);
        assert_eq!(deliveries::parked(world.platform(), instance, 10).await.unwrap(), [parked.id]);
        world.platform().memory.advance(Duration::from_secs(30 * 24 * 3600));
        world.callbacks.then(URL, Reply::Status(200));
        assert!(world.release().await);
        world.settle().await;
        let told = record(&world, instance).await;
        assert!(told.legs().all(|(_, leg)| matches!(leg.state, State::Told { .. })), "{told:?}");
        assert_eq!(told.callback.round, u32::from(callback_fails), "what was told is not told again");
        assert_eq!(told.flows.unwrap().round, u32::from(bus_fails));
        assert_eq!(objects(&world).len(), 2);
        assert_eq!(world.callbacks.posted().len(), if callback_fails { 4 } else { 1 });
        assert_eq!(world.platform().memory.table().items("PENDING#"), []);
        assert_eq!(world.platform().memory.table().items("BODY#"), []);
    }
}

/// Never answers.
struct Hangs;

impl Post for Hangs {
    async fn post(&self, _: CallbackRequest) -> Result<Answer, Failure> {
        std::future::pending().await
    }
}

impl Bus for Hangs {
    async fn publish(&self, _: Vec<Entry>) -> Result<(), PublishError> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn while_a_callback_hangs_the_entries_are_there() {
    let world = world(309, &[], Reply::Status(200)).await;
    let instance = world.make(both()).await.id;
    let platform = Arc::new(world.platform().clone());
    let bus = platform.bus().clone();
    let dispatcher = Dispatcher::new(platform, Hangs, bus, Arc::new(Policy::default()), RetryPolicy::default());
    let message = text(instance, 0..2);
    tokio::select! {
        biased;
        _ = dispatcher.handle(&message, 1) => panic!("the callback answered"),
        () = async { while objects(&world).len() < 2 { tokio::task::yield_now().await } } => {}
    }
}

#[tokio::test]
async fn a_bus_that_hangs_keeps_no_callback_from_being_told_and_is_tried_again() {
    let world = world(310, &[], Reply::Status(200)).await;
    let instance = world.make(both()).await.id;
    let platform = Arc::new(world.platform().clone());
    let callbacks = scenarios::Caller { platform: world.platform().clone(), callbacks: world.callbacks.clone() };
    let dispatcher = Dispatcher::new(platform, callbacks, Hangs, Arc::new(Policy::default()), RetryPolicy::default());
    let dispatcher = dispatcher.patient(Duration::from_millis(50));
    let message = text(instance, 0..2);
    let handled = dispatcher.handle(&message, 1);
    let told = async {
        while world.callbacks.posted().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    let (handled, ()) = tokio::join!(handled, told);
    handled.unwrap();
    let record = record(&world, instance).await;
    assert!(matches!(record.callback.state, State::Told { .. }));
    let leg = record.flows.unwrap();
    assert!(matches!(leg.state, State::Waiting { .. }));
    assert_eq!(
        leg.attempts[0].error.as_deref(),
        Some("2 of 2 events: the event bus is not available: no answer within 50ms")
    );
}

/// Takes nothing whose object has an odd number, and never will.
#[derive(Default)]
struct Picky(std::sync::Mutex<Vec<Entry>>);

impl Bus for Picky {
    async fn publish(&self, entries: Vec<Entry>) -> Result<(), PublishError> {
        let odd = |entry: &Entry| {
            let detail: serde_json::Value = serde_json::from_str(&entry.detail).unwrap();
            detail["event"]["objectId"].as_str().unwrap().parse::<u64>().unwrap() % 2 == 1
        };
        let failed: Vec<usize> = (0..entries.len()).filter(|index| odd(&entries[*index])).collect();
        self.0.lock().unwrap().extend(entries.into_iter().filter(|entry| !odd(entry)));
        let error = BusError::Invalid("it is odd".into());
        if failed.is_empty() { Ok(()) } else { Err(PublishError { failed, error }) }
    }
}

#[tokio::test]
async fn an_entry_that_can_never_be_taken_keeps_no_other_from_the_bus_and_the_record_names_it() {
    let world = world(311, &[], Reply::Status(200)).await;
    let instance = world.make(both()).await.id;
    let platform = Arc::new(world.platform().clone());
    let callbacks = scenarios::Caller { platform: world.platform().clone(), callbacks: world.callbacks.clone() };
    let (policy, retry) = (Arc::new(Policy::default()), RetryPolicy::default());
    let picky = Picky::default();
    let dispatcher = Dispatcher::new(platform, callbacks, picky, policy, retry);
    let message = batch(instance, 0..5, "[]");
    dispatcher.handle(&Message::Batch(message.clone()).encode(), 1).await.unwrap();
    let leg = record(&world, instance).await.flows.unwrap();
    let first = &message.events[1].id;
    let reason = format!("2 of 5 events, {first} first: the event bus cannot take this: it is odd");
    assert_eq!(leg.state, State::Dropped { reason });
    assert!(leg.attempts[0].error.is_some());
    assert_eq!(world.callbacks.posted().len(), 1);
}

#[tokio::test]
async fn an_event_too_large_for_the_bus_is_told_to_the_callback_and_dropped_from_the_bus_alone() {
    let world = world(312, &[], Reply::Status(200)).await;
    let instance = world.make(both()).await.id;
    let mut huge = batch(instance, 0..3, "[]");
    huge.events[1].object_id = "x".repeat(1_100_000);
    world.handle(&Message::Batch(huge.clone()).encode()).await.unwrap();
    assert_eq!((objects(&world), world.callbacks.posted().len()), (vec![0, 2], 1));
    let State::Dropped { reason } = record(&world, instance).await.flows.unwrap().state else { panic!("not dropped") };
    assert!(reason.starts_with("1 of 3 events") && reason.contains(huge.events[1].id.as_str()), "{reason}");
}

#[tokio::test]
async fn what_waits_for_the_bus_ends_when_flows_are_switched_off_or_the_instance_is_deleted() {
    for (seed, deleted) in [(313, false), (314, true)] {
        let world = world(seed, &[], Reply::Status(200)).await;
        let mut made = world.make(both()).await;
        world.platform().refuse(made.id, 1, 100);
        world.handle(&text(made.id, 0..1)).await.unwrap();
        if deleted {
            records::instances::delete(world.platform(), &made.stored).await.unwrap();
        } else {
            made.change(world.platform(), |plain, _| drop(plain.remove(configuration::FLOW_ENABLED))).await;
        }
        world.settle().await;
        let State::Dropped { reason } = record(&world, made.id).await.flows.unwrap().state else { panic!("goes on") };
        assert!(reason.contains(if deleted { "deleted" } else { "switched off" }), "{reason}");
        assert_eq!(world.platform().memory.table().items("BODY#"), []);
    }
}

#[tokio::test]
async fn a_failure_of_our_own_on_the_callback_s_leg_repeats_no_entry() {
    let world = world(315, &[], Reply::Ours).await;
    let instance = world.make(both()).await.id;
    assert!(matches!(world.handle(&text(instance, 0..2)).await, Err(Fault::Broken(_))));
    let first = record(&world, instance).await;
    assert!(matches!(first.flows.unwrap().state, State::Told { .. }));
    assert_eq!(first.callback.attempts, [], "and is nobody's attempt");
    world.callbacks.then(URL, Reply::Status(200));
    world.handle_again(&text(instance, 0..2)).await.unwrap();
    assert_eq!(objects(&world), [0, 1]);
    assert!(matches!(record(&world, instance).await.callback.state, State::Told { .. }));
    assert_eq!(world.platform().memory.table().items("BODY#"), []);
}

#[tokio::test]
async fn a_wake_up_that_could_not_be_sent_repeats_no_post() {
    let world = world(316, &[], Reply::Status(200)).await;
    let instance = world.make(both()).await.id;
    world.platform().refuse(instance, 1, 1);
    // Acts: the POST is none of them; the publish, the payload, the send.
    world.platform().fail(2, Trouble::Throttled);
    assert!(world.handle(&text(instance, 0..2)).await.is_err(), "the message stays");
    assert!(matches!(record(&world, instance).await.callback.state, State::Told { .. }));
    world.handle_again(&text(instance, 0..2)).await.unwrap();
    assert_eq!((objects(&world), world.callbacks.posted().len()), (vec![0, 1], 1));
    assert!(record(&world, instance).await.ended());
}

#[tokio::test]
async fn a_death_before_the_record_leaves_neither_leg_to_the_other_s_wake_up() {
    // Both fail; the payload is kept, and only one of the two wake-ups was sent.
    for (seed, moment) in [(317, Moment::After), (318, Moment::Before)] {
        let mut world = world(seed, &[Reply::Status(500)], Reply::Status(200)).await;
        let instance = world.make(both()).await.id;
        world.platform().refuse(instance, 1, 1);
        world.restart();
        // Steps: the POST, the payload, the first wake-up, the second.
        world.crash_at(if moment == Moment::After { 2 } else { 3 }, moment);
        let memory = world.platform().memory.clone();
        let message = text(instance, 0..2);
        memory.run_until_crash(world.handle(&message)).await.unwrap_err();
        world.restart();
        assert_eq!(world.platform().memory.batches().messages().len(), 1);
        world.settle().await;
        let record = record(&world, instance).await;
        assert!(matches!(record.callback.state, State::Told { .. }));
        assert!(record.flows.as_ref().unwrap().is_open(), "it is owed still: {record:?}");
        world.handle_again(&message).await.unwrap();
        world.settle().await;
        assert_eq!(objects(&world), [0, 1]);
        assert_eq!(world.platform().memory.table().items("BODY#"), []);
    }
}

#[tokio::test]
async fn a_wake_up_for_the_bus_acts_although_the_version_before_wrote_the_record_without_it() {
    let world = world(319, &[Reply::Status(500)], Reply::Status(200)).await;
    let instance = world.make(both()).await.id;
    world.platform().refuse(instance, 1, 1);
    world.handle(&text(instance, 0..2)).await.unwrap();
    let stored = deliveries::list(world.platform(), instance, None, 1).await.unwrap().remove(0);
    let batch = deliveries::load_payload(world.platform(), &stored).await.unwrap().unwrap();
    let mut told = Delivery { flows: None, ..stored.delivery.clone() };
    told.callback.state = State::Told { at: world.now() };
    deliveries::end(world.platform(), Some(&stored), told, &batch, &batch.events).await.unwrap();
    world.settle().await;
    assert_eq!(objects(&world), [0, 1]);
    assert!(record(&world, instance).await.ended());
    assert_eq!(world.callbacks.posted().len(), 1);
    // And one that comes once more does nothing.
    let attempt = Attempt { instance, notification: stored.delivery.id, to: To::Flows, round: 0, attempt: 2 };
    world.handle(&Message::Attempt(attempt).encode()).await.unwrap();
    assert_eq!(objects(&world).len(), 2);
}

#[tokio::test]
async fn the_items_of_a_failing_bus_are_such_that_the_version_before_leaves_them_alone() {
    let world = world(320, &[], Reply::Status(200)).await;
    let instance = world.make(both()).await.id;
    world.platform().refuse(instance, 1, 100);
    world.handle(&text(instance, 0..1)).await.unwrap();
    let held = world.platform().memory.batches().messages();
    assert!(held[0].body.starts_with(r#"{"v":2,"#) && held[0].group == format!("flows-{instance}"), "{held:?}");
    world.platform().memory.advance(Duration::from_secs(10));
    while world.pump().await {}
    let wakes = world.platform().memory.table().items("RETRY#");
    assert_eq!(wakes.len(), 1);
    assert!(wakes[0].body.starts_with(br#"{"v":2,"#) && wakes[0].key.sort.ends_with("#flows"), "{wakes:?}");
    let key = world.platform().memory.table().items("DELIVERY#")[0].key.clone();
    let body = world.platform().table().get(&key, platform::Consistency::Strong).await.unwrap().unwrap().body;
    assert!(body.starts_with(br#"{"v":1,"#), "the record it reads");
}
