//! Pollhook as deployed, on a day when AWS throttles, fails, cuts connections, loses answers and does half of a batch.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use deployment::{Client, Sink, contact};
use pollhook_cloud_tests::cloud;
use pollhook_cloud_tests::stack;
use pollhook_cloud_tests::trouble::{Act, Trouble};
use reqwest::StatusCode;
use serde_json::Value;

/// Of a hundred calls, so many have trouble: an attempt that is repeated twice fails once in nine times.
const PERCENT: u64 = 48;
const WEBHOOKS: u64 = 120;
const SENDERS: u64 = 8;
/// Changes of each webhook.
const CHANGES: u64 = 3;
/// How often a provider tries; far more than it takes.
const TRIES: u32 = 60;
/// For what was accepted to be told once the day is better: several waits for a message to come again, and retries.
const RECOVERY: Duration = Duration::from_secs(240);

/// Every provider sends again until it is answered 2xx; returns the objects that were told of.
async fn send(client: Client, portal: u32, sender: u64, refused: Arc<AtomicU64>) -> Vec<String> {
    let mut accepted = Vec::new();
    for webhook in 0..WEBHOOKS / SENDERS {
        let first = (webhook * SENDERS + sender) * CHANGES + 1;
        let body = contact(portal, first..first + CHANGES);
        let mut tries = 0;
        while client.hubspot_sends(&body).await != Some(200) {
            refused.fetch_add(1, Ordering::SeqCst);
            tries += 1;
            assert!(tries < TRIES, "the receiver takes nothing");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        accepted.extend((first..first + CHANGES).map(|object| object.to_string()));
    }
    accepted
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_accepted_is_lost_while_aws_throttles_fails_and_loses_answers() {
    let stack = stack::stack().await;
    let client = stack.account(false).await;
    // A callback with troubles of its own: it takes each notification at its second coming.
    let sink = Sink::answering(|_, count| match count {
        1 => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    });
    let (sink, portal) = (sink.await, deployment::scenarios::fresh());
    let settings = [
        ("event.vendor.account", portal.to_string()),
        ("event.notification.callback.url", sink.url.clone()),
        ("event.flow.enabled", "true".into()),
    ];
    let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let instance = client.provision("Acme", "hubspot", &settings).await;
    let queue = stack.flow_queue(instance.number()).await;

    let trouble = Arc::new(Trouble::new(portal.into(), PERCENT));
    stack.wire.set_trouble(Some(Arc::clone(&trouble)));
    let refused = Arc::new(AtomicU64::new(0));
    let senders: Vec<_> =
        (0..SENDERS).map(|sender| tokio::spawn(send(client.clone(), portal, sender, Arc::clone(&refused)))).collect();
    let mut accepted = BTreeSet::new();
    for sender in senders {
        accepted.extend(sender.await.unwrap());
    }
    assert_eq!(accepted.len() as u64, WEBHOOKS * CHANGES);
    stack.wire.set_trouble(None);

    let began = Instant::now();
    let (mut told, mut entries) = (BTreeMap::<String, BTreeSet<String>>::new(), BTreeMap::<String, String>::new());
    while (told.len(), entries.len()) != (accepted.len(), accepted.len()) {
        let missing = (accepted.len() - told.len(), accepted.len() - entries.len());
        assert!(began.elapsed() < RECOVERY, "not told after all this time, of callback and flow: {missing:?}");
        told = BTreeMap::new();
        for (object, event) in sink.taken().iter().flat_map(deployment::Received::events) {
            told.entry(object).or_default().insert(event);
        }
        let sqs = cloud::sqs_at(stack.aws());
        let received = sqs.receive_message().queue_url(&queue).max_number_of_messages(10).wait_time_seconds(1);
        for message in received.send().await.unwrap().messages.unwrap_or_default() {
            let entry: Value = serde_json::from_str(message.body.as_deref().unwrap()).unwrap();
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let (object, event) = (&entry["detail"]["event"]["objectId"], &entry["detail"]["eventId"]);
            entries.insert(text(object), text(event));
            let delete = sqs.delete_message().queue_url(&queue).receipt_handle(message.receipt_handle.unwrap());
            delete.send().await.unwrap();
        }
    }
    let done = trouble.done();
    eprintln!("{done:?}; refused {} times; told after {:?}", refused.load(Ordering::SeqCst), began.elapsed());
    assert_eq!(told.keys().collect::<BTreeSet<_>>(), accepted.iter().collect());
    for (object, events) in &told {
        // However often it was told: it has one name, and the flow knows it by the same.
        assert_eq!(events.iter().collect::<Vec<_>>(), [&entries[object]], "{object}");
    }
    for act in [Act::Throttled, Act::Failed, Act::Cut, Act::Lost, Act::Late, Act::Part] {
        assert!(done.get(&act).is_some_and(|count| *count > 3), "{act:?} hardly happened: {done:?}");
    }
    assert!(refused.load(Ordering::SeqCst) > 0, "a receiver that cannot enqueue says so");
    let sqs = cloud::sqs_at(stack.aws());
    let dead = sqs.receive_message().queue_url(&stack.outputs["BatchesDeadUrl"]).send().await.unwrap();
    assert!(dead.messages.unwrap_or_default().is_empty(), "a bad day is no reason to give a message up");
}
