//! A redelivery that arrives while the first copy is being told.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use egress::{Answer, CallbackRequest, Failure, Policy, Post};
use events::Message;
use pollhook_dispatcher::{Dispatcher, RetryPolicy};
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
        Ok(Answer { status: 200, retry_after: None, body_start: String::new(), latency: Duration::ZERO })
    }
}

#[tokio::test]
async fn a_redelivery_during_the_post_waits_for_it_and_is_not_told_again() {
    let world = World::new(77, RetryPolicy::default()).await;
    let made = world.make(Spec::of("hubspot").callback("https://app.example/callback")).await;
    let platform = Arc::new(world.platform().clone());
    let (begun, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let callbacks = Slow { begun: Arc::clone(&begun), go: Arc::clone(&go) };
    let dispatcher =
        Arc::new(Dispatcher::new(platform, callbacks, Arc::new(Policy::default()), RetryPolicy::default()));
    let message = Message::Batch(batch(made.id, 1..2, "[]")).encode();

    let (first, again) = (Arc::clone(&dispatcher), Arc::clone(&dispatcher));
    let (copy_a, copy_b) = (message.clone(), message);
    let first = tokio::spawn(async move { first.handle(&copy_a).await });
    let again = tokio::spawn(async move { again.handle(&copy_b).await });
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
