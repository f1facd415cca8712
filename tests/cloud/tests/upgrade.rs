//! A newer version is deployed while messages of the older one are in flight, and taken back while its own are.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use deployment::{Client, Received, Sink, contact};
use pollhook_cloud_tests::stack::{self, Stack, Versions};
use reqwest::StatusCode;

/// Beyond what a message waits for a newer version, the retries beside it, and a deployment.
const LONG: Duration = Duration::from_secs(240);

async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < LONG, "not within {LONG:?}: {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// How often a message of a newer version was sent on.
async fn sent_on(stack: &Stack) -> usize {
    stack.logs().await.iter().filter(|line| line.contains("a message of a newer version is sent on")).count()
}

fn objects(received: &[Received]) -> BTreeSet<String> {
    received.iter().flat_map(Received::events).map(|(object, _)| object).collect()
}

fn numbers(numbers: &[u32]) -> BTreeSet<String> {
    numbers.iter().map(u32::to_string).collect()
}

async fn changes(client: &Client, portal: u32, object: u64) {
    assert_eq!(client.hubspot_sends(&contact(portal, [object])).await, Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_when_a_newer_version_is_deployed_over_messages_in_flight_and_taken_back() {
    let stack = stack::stack().await;
    let client = stack.account(false).await;
    let works = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&works);
    let broken = Sink::answering(move |_, _| match asked.load(Ordering::SeqCst) {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    });
    let (healthy, broken) = (Sink::new().await, broken.await);
    let (failing, told) = (deployment::scenarios::fresh(), deployment::scenarios::fresh());
    client.hubspot(failing, &broken.url).await;
    client.hubspot(told, &healthy.url).await;
    let Versions { older, half, newer } = tokio::task::spawn_blocking(Versions::build).await.unwrap();

    changes(&client, failing, 1).await;
    broken.receives(1).await;

    stack.deploy(half).await;
    changes(&client, told, 2).await;
    until("the older dispatcher sends on what it cannot read", async || sent_on(stack).await > 0).await;
    assert!(healthy.received().is_empty());

    stack.deploy(newer.clone()).await;
    changes(&client, failing, 3).await;
    until("an attempt by the newer one", async || objects(&broken.received()).contains("3")).await;

    stack.deploy(older).await;
    let before = sent_on(stack).await;
    changes(&client, told, 4).await;
    until("the older one goes on telling", async || objects(&healthy.taken()).contains("4")).await;
    until("what the newer one left is sent on", async || sent_on(stack).await > before).await;
    works.store(true, Ordering::SeqCst);

    stack.deploy(newer).await;
    until("all is told", async || {
        objects(&healthy.taken()) == numbers(&[2, 4]) && objects(&broken.taken()) == numbers(&[1, 3])
    })
    .await;
    for received in [healthy.taken(), broken.taken()] {
        assert_eq!(received.len(), 2, "each is told once");
    }
}
