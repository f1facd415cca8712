//! Listing and releasing parked notifications.

use events::message::{Attempt, To};
use events::{InstanceId, Message, NotificationId};
use http::StatusCode;
use platform::testing::Moment;
use platform::{Platform as _, QueueError, TableError};
use records::deliveries::{self, Attempted, Leg, State};
use records::instances;
use serde_json::json;

use crate::world::{CALLBACK, NOW, Reply, World};

const DELIVERIES: &str = "/notifications/subscriptions/deliveries";
const ALL: &str = "?where=channel='webhook'%20and%20status='queued'";

fn of_url(url: &str) -> String {
    format!("{ALL}%20and%20config.url='{url}'")
}

async fn release(world: &World, query: &str) -> Reply {
    world.call(&world.owner, "PUT", &format!("{DELIVERIES}{query}"), "").await
}

async fn queued(world: &World, query: &str) -> Reply {
    world.get(&format!("{DELIVERIES}{query}")).await
}

async fn callback(world: &World, url: &str) -> InstanceId {
    world.instance(json!({"event.notification.callback.url": url})).await
}

async fn leg(world: &World, instance: InstanceId, id: NotificationId) -> Leg {
    deliveries::get(&world.platform, instance, id).await.unwrap().unwrap().delivery.callback
}

fn attempts(world: &World) -> Vec<Attempt> {
    let messages = world.platform.batches().messages();
    let attempt = |body: &str| match Message::decode(body) {
        Ok(Message::Attempt(attempt)) => attempt,
        other => panic!("{other:?}"),
    };
    messages.iter().map(|message| attempt(&message.body)).collect()
}

fn event_ids(reply: &Reply) -> Vec<String> {
    let mut ids: Vec<String> =
        reply.json.as_array().unwrap().iter().map(|d| d["eventId"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

fn sorted(ids: &[NotificationId]) -> Vec<String> {
    let mut ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn what_is_parked_is_listed_and_its_release_makes_an_attempt_that_the_record_awaits() {
    let world = World::new(40).await;
    let instance = callback(&world, CALLBACK).await;
    let parked = [world.parked(instance, 1).await, world.parked(instance, 2).await];
    world.delivery(instance, 3, State::Told { at: NOW }, "{}".into()).await;
    let listed = queued(&world, ALL).await;
    assert_eq!((listed.status, event_ids(&listed)), (StatusCode::OK, sorted(&parked)));
    let first = &listed.json[0];
    assert_eq!(first["status"], "queued");
    assert_eq!(first["subscriptionId"], instance.number());
    assert_eq!(first["subscription"]["config"]["url"], CALLBACK);
    assert!(first["notificationId"].is_u64() && first["createdDate"].is_string());

    let released = release(&world, ALL).await;
    assert_eq!((released.status, event_ids(&released)), (StatusCode::OK, sorted(&parked)));
    assert_eq!(released.json[0]["status"], "retry");
    assert_eq!(released.header("elements-returned-count"), Some("2"));
    assert_eq!(released.header("pollhook-more-remain"), Some("false"));
    let group = instances::callback_view(&world.platform, instance).await.unwrap().unwrap().group;
    assert!(world.platform.batches().messages().iter().all(|message| message.group == group));
    for attempt in attempts(&world) {
        let leg = leg(&world, instance, attempt.notification).await;
        assert_eq!((attempt.round, attempt.attempt, leg.round, leg.attempt), (1, 1, 1, 0));
        assert!(leg.awaits(&attempt) && matches!(leg.state, State::Waiting { .. }));
    }
    assert_eq!(attempts(&world).len(), 2);

    assert_eq!(queued(&world, ALL).await.json, json!([]));
    assert_eq!(release(&world, ALL).await.json, json!([]));
    assert_eq!(attempts(&world).len(), 2);
}

#[tokio::test]
async fn a_release_for_one_callback_leaves_the_others_and_never_touches_another_account() {
    let world = World::new(41).await;
    let (first, second) =
        (callback(&world, "https://a.example.com/x").await, callback(&world, "https://b.example.com/").await);
    let (of_first, of_second) = (world.parked(first, 1).await, world.parked(second, 2).await);
    let theirs = world.call(&world.stranger, "PUT", &format!("{DELIVERIES}{ALL}"), "").await;
    assert_eq!((theirs.status, theirs.json), (StatusCode::OK, json!([])));
    assert!(attempts(&world).is_empty());
    // The URL may be written differently, as long as it is the same one.
    let released = release(&world, &of_url("HTTPS://b.example.com")).await;
    assert_eq!(event_ids(&released), sorted(&[of_second]));
    assert_eq!(event_ids(&queued(&world, ALL).await), sorted(&[of_first]));
    assert_eq!(release(&world, &of_url("https://c.example.com/")).await.json, json!([]));
}

#[tokio::test]
async fn what_is_parked_on_its_way_to_the_bus_is_released_too_and_only_what_is_parked() {
    let world = World::new(47).await;
    let instance = callback(&world, CALLBACK).await;
    let both = world.parked(instance, 1).await;
    let told = world.delivery(instance, 2, State::Waiting { next_at: NOW }, "{}".into()).await;
    for (id, callback) in [(both, None), (told, Some(State::Told { at: NOW }))] {
        let before = deliveries::get(&world.platform, instance, id).await.unwrap().unwrap();
        let mut after = before.delivery.clone();
        after.callback.state = callback.unwrap_or(after.callback.state);
        let leg = after.leg_mut(To::Flows);
        (leg.attempt, leg.state, leg.owed) = (3, State::Parked { at: NOW }, vec![0]);
        deliveries::proceed(&world.platform, Some(&before), after, Vec::new()).await.unwrap();
    }
    let legs = |reply: &Reply| {
        let of = |id: NotificationId| {
            let found = reply.json.as_array().unwrap().iter().find(|d| d["eventId"] == id.as_str());
            found.unwrap()["legs"].clone()
        };
        (of(both), of(told))
    };
    let expected = (json!(["callback", "flows"]), json!(["flows"]));
    assert_eq!(legs(&queued(&world, ALL).await), expected);
    // One message of the three is not taken: its leg stays parked, the others are released.
    world.platform.batches().fail_next_send([0], QueueError::Throttled);
    assert_eq!(release(&world, ALL).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((attempts(&world).len(), queued(&world, ALL).await.json.as_array().unwrap().len()), (2, 1));
    assert_eq!(release(&world, ALL).await.status, StatusCode::OK);
    assert_eq!(queued(&world, ALL).await.json, json!([]));
    let sent = attempts(&world);
    assert_eq!(sent.len(), 3);
    for attempt in sent {
        assert_eq!((attempt.round, attempt.attempt), (1, 1));
        let stored = deliveries::get(&world.platform, instance, attempt.notification).await.unwrap().unwrap();
        assert!(stored.delivery.awaits(&attempt));
        let flows = stored.delivery.flows.unwrap();
        assert_eq!((flows.round, flows.owed), (1, vec![0]), "what the bus took is not owed again");
    }
    let told = leg(&world, instance, told).await;
    assert_eq!((told.round, told.state), (0, State::Told { at: NOW }));
}

#[tokio::test]
async fn any_other_clause_is_refused() {
    let world = World::new(42).await;
    for query in ["", "?where=", "?where=status='queued'", "?where=1=1", &format!("{ALL}&where=x")] {
        for reply in [queued(&world, query).await, release(&world, query).await] {
            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{query}");
            assert!(reply.message().starts_with("where: "), "{}", reply.message());
        }
    }
}

#[tokio::test]
async fn a_request_releases_a_bounded_number_and_says_that_more_remain() {
    let world = World::new(43).await;
    let instance = callback(&world, CALLBACK).await;
    for n in 0..1003 {
        world.parked(instance, n).await;
    }
    let first = release(&world, ALL).await;
    assert_eq!(first.json.as_array().unwrap().len(), 1000);
    assert_eq!(first.header("pollhook-more-remain"), Some("true"));
    let second = release(&world, ALL).await;
    assert_eq!(second.json.as_array().unwrap().len(), 3);
    assert_eq!(second.header("pollhook-more-remain"), Some("false"));
    assert_eq!(attempts(&world).len(), 1003);
}

#[tokio::test]
async fn what_the_queue_did_not_take_stays_parked() {
    let world = World::new(44).await;
    let instance = callback(&world, CALLBACK).await;
    for n in 0..3 {
        world.parked(instance, n).await;
    }
    world.platform.batches().fail_next_send([1], QueueError::Throttled);
    assert_eq!(release(&world, ALL).await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(attempts(&world).len(), 2);
    let left = queued(&world, ALL).await;
    assert_eq!(left.json.as_array().unwrap().len(), 1);
    for attempt in attempts(&world) {
        assert!(leg(&world, instance, attempt.notification).await.awaits(&attempt));
    }
    assert_eq!(event_ids(&release(&world, ALL).await), event_ids(&left));
    assert_eq!(attempts(&world).len(), 3);
}

#[tokio::test]
async fn a_record_that_somebody_else_wrote_in_between_is_left_to_them() {
    let world = World::new(45).await;
    let instance = callback(&world, CALLBACK).await;
    world.parked(instance, 1).await;
    world.platform.table().fail_next_write(TableError::ConditionFailed(Vec::new()));
    let reply = release(&world, ALL).await;
    assert_eq!((reply.status, reply.json.as_array().unwrap().len()), (StatusCode::OK, 1));
    assert_eq!(attempts(&world).len(), 1);
}

#[tokio::test]
async fn a_second_release_after_a_failed_attempt_raises_the_round_again() {
    let world = World::new(46).await;
    let instance = callback(&world, CALLBACK).await;
    let id = world.parked(instance, 1).await;
    release(&world, ALL).await;
    let before = deliveries::get(&world.platform, instance, id).await.unwrap().unwrap();
    let mut again = before.delivery.clone();
    again.callback.note(Attempted { at: NOW, round: 1, attempt: 1, status: None, latency_ms: 1, error: None });
    again.callback.state = State::Parked { at: NOW };
    deliveries::proceed(&world.platform, Some(&before), again, Vec::new()).await.unwrap();
    release(&world, ALL).await;
    let sent = attempts(&world);
    let leg = leg(&world, instance, id).await;
    assert_eq!(sent.iter().map(|a| (a.round, a.attempt)).collect::<Vec<_>>(), [(1, 1), (2, 1)]);
    // The first one's message is spent, also if the queue hands it over again.
    assert!(!leg.awaits(&sent[0]) && leg.awaits(&sent[1]));
}

/// An instance with twelve parked notifications: more than one send takes.
async fn before_release(seed: u64) -> (World, InstanceId, Vec<NotificationId>) {
    let world = World::new(seed).await;
    let instance = callback(&world, CALLBACK).await;
    let mut parked = Vec::new();
    for n in 0..12 {
        parked.push(world.parked(instance, n).await);
    }
    (world, instance, parked)
}

#[tokio::test]
async fn whenever_a_release_dies_nothing_waits_for_a_message_that_nobody_sent() {
    let (world, ..) = before_release(1000).await;
    let from = world.platform.steps();
    release(&world, ALL).await;
    let steps = world.platform.steps() - from;
    assert_eq!(steps, 24, "each of the twelve is one message and one record");
    for step in 0..steps {
        for (which, moment) in [Moment::Before, Moment::After].into_iter().enumerate() {
            let seed = 1001 + 2 * step as u64 + which as u64;
            let (world, instance, parked) = before_release(seed).await;
            world.platform.crash_at(world.platform.steps() + step, moment);
            assert!(world.platform.run_until_crash(release(&world, ALL)).await.is_err(), "{step} {moment:?}");

            let world = world.restarted();
            let listed = event_ids(&queued(&world, ALL).await);
            let sent = attempts(&world);
            for id in &parked {
                let leg = leg(&world, instance, *id).await;
                // Its message alone would do, whether or not the record knows of it.
                let due = sent.iter().any(|attempt| attempt.notification == *id && leg.awaits(attempt));
                let still_parked = listed.contains(&id.to_string());
                assert!(due || still_parked, "{id} is lost after {step} {moment:?}");
                assert_eq!(still_parked, matches!(leg.state, State::Parked { .. }));
                assert!(due || leg.round == 0);
            }

            // Asking again finishes it, and of two copies of a message one alone is acted on.
            assert_eq!(release(&world, ALL).await.status, StatusCode::OK);
            assert_eq!(queued(&world, ALL).await.json, json!([]));
            let sent = attempts(&world);
            for id in &parked {
                let mut leg = leg(&world, instance, *id).await;
                let mut made = 0;
                for attempt in sent.iter().filter(|attempt| attempt.notification == *id) {
                    if leg.awaits(attempt) {
                        let (round, attempt) = (attempt.round, attempt.attempt);
                        leg.note(Attempted { at: NOW, round, attempt, status: None, latency_ms: 1, error: None });
                        made += 1;
                    }
                }
                assert_eq!(made, 1, "{id} after {step} {moment:?}");
            }
        }
    }
}
