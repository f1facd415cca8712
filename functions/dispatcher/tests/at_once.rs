//! Two that act on one notification at the same time.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use egress::{Answer, CallbackRequest, Failure, Policy, Post, RetryAfter};
use events::message::{Attempt, To};
use events::{InstanceId, Message, NotificationId};
use platform::Platform as _;
use pollhook_dispatcher::{Dispatcher, RetryPolicy};
use records::deliveries::{self, Delivery, State};
use scenarios::{Spec, World, batch};
use tokio::sync::Semaphore;

/// Counts requests, and answers each when it is let.
struct Slow {
    begun: Arc<AtomicUsize>,
    go: Arc<Semaphore>,
}

impl Post for Slow {
    async fn post(&self, _: CallbackRequest) -> Result<Answer, Failure> {
        self.begun.fetch_add(1, Relaxed);
        self.go.acquire().await.unwrap().forget();
        Ok(Answer {
            status: 200,
            retry_after: None,
            body_start: String::new(),
            latency: Duration::ZERO,
            certificate: None,
        })
    }
}

#[tokio::test]
async fn a_redelivery_during_the_post_waits_for_it_and_is_not_told_again() {
    let world = World::new(77, RetryPolicy::default()).await;
    // Whoever comes second must not trust a read that may not see yet what the first wrote.
    world.platform().lag();
    let made = world.make(Spec::of("hubspot").callback("https://app.example/callback")).await;
    let platform = Arc::new(world.platform().clone());
    let (begun, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let bus = world.platform().bus().clone();
    let callbacks = Slow { begun: Arc::clone(&begun), go: Arc::clone(&go) };
    let dispatcher =
        Arc::new(Dispatcher::new(platform, callbacks, bus, Arc::new(Policy::default()), RetryPolicy::default()));
    let message = Message::Batch(batch(made.id, 1..2, "[]")).encode();

    let (first, again) = (Arc::clone(&dispatcher), Arc::clone(&dispatcher));
    let (copy_a, copy_b) = (message.clone(), message);
    let first = tokio::spawn(async move { first.handle(&copy_a, 1).await });
    let again = tokio::spawn(async move { again.handle(&copy_b, 1).await });
    while begun.load(Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    // Both are as far as they can come by themselves.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    go.add_permits(2);
    first.await.unwrap().unwrap();
    again.await.unwrap().unwrap();
    assert_eq!(begun.load(Relaxed), 1);
}

/// Writes a release's record while the attempt that the release asked for is under way, then fails it.
struct Overtaken {
    platform: scenarios::Faulty,
    instance: InstanceId,
    id: NotificationId,
}

impl Post for Overtaken {
    async fn post(&self, _: CallbackRequest) -> Result<Answer, Failure> {
        let before = deliveries::get(&self.platform, self.instance, self.id).await.unwrap().unwrap();
        if matches!(before.delivery.callback.state, State::Parked { .. }) {
            let mut after = before.delivery.clone();
            (after.callback.round, after.callback.attempt) = (1, 0);
            after.callback.state = State::Waiting { next_at: self.platform.now() };
            deliveries::proceed(&self.platform, Some(&before), after, Vec::new()).await.unwrap();
        }
        Ok(Answer {
            status: 503,
            retry_after: Some(RetryAfter::Seconds(3600)),
            body_start: String::new(),
            latency: Duration::ZERO,
            certificate: None,
        })
    }
}

#[tokio::test]
async fn a_release_that_is_recorded_only_after_its_attempt_failed_still_leads_to_another_attempt() {
    let world = World::new(78, RetryPolicy::default()).await;
    let made = world.make(Spec::of("hubspot").callback("https://app.example/callback")).await;
    let platform = world.platform().clone();
    let batch = batch(made.id, 0..1, "[]");
    let notification = batch.notifications(batch.accepted_at).next().unwrap();
    deliveries::keep_payload(&platform, notification.id, &batch, &batch.events).await.unwrap();
    let mut parked = Delivery::new(notification.id, &batch, &batch.events);
    parked.callback.attempt = 15;
    parked.callback.state = State::Parked { at: platform.now() };
    deliveries::proceed(&platform, None, parked, Vec::new()).await.unwrap();

    let callbacks = Overtaken { platform: platform.clone(), instance: made.id, id: notification.id };
    let retry = RetryPolicy::default();
    let (bus, policy) = (platform.bus().clone(), Arc::new(Policy::default()));
    let dispatcher = Dispatcher::new(Arc::new(platform.clone()), callbacks, bus, policy, retry);
    let attempt = Attempt { instance: made.id, notification: notification.id, to: To::Callback, round: 1, attempt: 1 };
    dispatcher.handle(&Message::Attempt(attempt).encode(), 1).await.unwrap();

    let leg = deliveries::get(&platform, made.id, notification.id).await.unwrap().unwrap().delivery.callback;
    assert!(matches!(leg.state, State::Waiting { .. }), "{leg:?}");
    assert_eq!((leg.round, leg.attempt), (1, 1));
    assert_eq!(platform.memory.table().items("RETRY#").len(), 1, "and something will wake it up");
}
