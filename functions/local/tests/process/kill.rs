//! Killed under load, again and again: nothing accepted is lost, and nothing gets a second identity.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::watch;

use super::common::{Client, Server, Sink, contact, customer, until};

const SENDERS: u64 = 8;

/// Webhooks accepted between two kills: primes, so that a kill falls on no particular moment of a sender's or a
/// writer's rhythm. What exactly is under way then differs from run to run, and must not matter.
const ACCEPTED: [usize; 3] = [97, 151, 211];

/// Changes in one webhook: every third makes two notifications.
fn objects(webhook: u64) -> std::ops::Range<u64> {
    let count = if webhook.is_multiple_of(3) { 25 } else { 2 };
    webhook * 100..webhook * 100 + count
}

/// What the senders share.
struct Load {
    next: AtomicU64,
    accepted: Mutex<BTreeSet<u64>>,
    done: AtomicBool,
}

/// Sends one webhook after another; each again until it is answered 2xx, as providers do.
async fn sender(load: Arc<Load>, client: Client, mut server: watch::Receiver<String>) {
    while !load.done.load(Ordering::SeqCst) {
        let webhook = load.next.fetch_add(1, Ordering::SeqCst);
        let body = contact(1, objects(webhook));
        loop {
            let client = client.at(&server.borrow_and_update().clone());
            match client.hubspot_sends(&body).await {
                Some(200) => break,
                Some(status) => assert!(status >= 500, "answered {status}"),
                // Killed: the next server is awaited, so that waiting costs nothing.
                None => {
                    let _ = tokio::time::timeout(Duration::from_millis(50), server.changed()).await;
                }
            }
        }
        load.accepted.lock().unwrap().insert(webhook);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_under_load_everything_accepted_arrives_under_one_identity() {
    let folder = tempfile::tempdir().unwrap();
    // One notification in seven fails at first, so that kills also fall between a failure and its retry.
    let sink = Sink::answering(|received, count| {
        let unlucky = received.events()[0].0.parse::<u64>().unwrap() / 100 % 7 == 0;
        if unlucky && count == 1 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK }
    })
    .await;
    let mut server = Server::start(folder.path()).await;
    let client = customer(&server.url, folder.path());
    client.hubspot(1, &sink.url).await;
    let load = Arc::new(Load { next: AtomicU64::new(1), accepted: Mutex::default(), done: AtomicBool::new(false) });
    let (address, watched) = watch::channel(server.url.clone());
    let senders: Vec<_> =
        (0..SENDERS).map(|_| tokio::spawn(sender(Arc::clone(&load), client.clone(), watched.clone()))).collect();
    let accepted = || load.accepted.lock().unwrap().len();

    for more in ACCEPTED {
        let target = accepted() + more;
        until("webhooks accepted", async || (accepted() >= target).then_some(())).await;
        server.kill();
        server = Server::start(folder.path()).await;
        address.send(server.url.clone()).unwrap();
    }
    load.done.store(true, Ordering::SeqCst);
    for sender in senders {
        sender.await.unwrap();
    }

    let owed: BTreeSet<u64> = load.accepted.lock().unwrap().iter().flat_map(|webhook| objects(*webhook)).collect();
    let told = || -> BTreeSet<u64> {
        let objects = sink.taken().into_iter().flat_map(|received| received.events());
        objects.map(|(object, _)| object.parse().unwrap()).collect()
    };
    until("everything accepted to arrive", async || owed.is_subset(&told()).then_some(())).await;
    // What is at work may still repeat something: it ends before the account is closed.
    server.stop().await;

    assert_eq!(told(), owed, "nothing else was told: every webhook was sent until it was accepted");
    let mut identities: HashMap<String, (String, String)> = HashMap::new();
    let mut bodies: HashMap<String, Vec<(String, String)>> = HashMap::new();
    for received in sink.received() {
        let notification = received.id().to_owned();
        assert_eq!(received.header("webhook-id"), notification);
        let events = received.events();
        assert_eq!(bodies.entry(notification.clone()).or_insert_with(|| events.clone()), &events);
        for (object, event) in events {
            let identity = (event, notification.clone());
            assert_eq!(identities.entry(object).or_insert_with(|| identity.clone()), &identity);
        }
    }
    let events: BTreeSet<_> = identities.values().map(|(event, _)| event).collect();
    assert_eq!(events.len(), owed.len(), "no two changes share an id");
}
