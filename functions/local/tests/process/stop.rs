//! Stopping: what is at work is finished, and nothing is told twice because of it.

use super::common::{Server, Sink, contact, customer};

async fn drains(signal: &str) {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::new().await);
    let mut server = Server::start(folder.path()).await;
    let client = customer(&server.url, folder.path());
    let instance = client.hubspot(1, &sink.url).await;
    sink.hold(true);
    assert_eq!(client.hubspot_sends(&contact(1, [1])).await, Some(200));
    sink.receives(1).await;
    server.signal(signal);
    server.printed("Stopping").await;
    assert!(server.runs(), "it waits for the callback");
    sink.hold(false);
    assert!(server.ended().await.success());

    let server = Server::start(folder.path()).await;
    let client = client.at(&server.url);
    assert_eq!(client.history(instance).await[0]["status"], "NOTIFIED");
    assert_eq!(client.hubspot_sends(&contact(1, [2])).await, Some(200));
    let told: Vec<_> = sink.receives(2).await.iter().map(|received| received.events()[0].0.clone()).collect();
    assert_eq!(told, ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_waits_for_a_slow_callback_records_it_and_ends_with_0() {
    drains("TERM").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigint_waits_for_a_slow_callback_records_it_and_ends_with_0() {
    drains("INT").await;
}
