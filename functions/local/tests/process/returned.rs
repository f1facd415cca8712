//! Callbacks that are our own: events go back to the connectors, and no circle goes round for ever.

use serde_json::Value;

use super::common::{Server, Sink, contact, customer, until};

const CALLBACK: &str = "event.notification.callback.url";

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_of_our_own_hands_the_events_to_another_connector() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::new().await);
    // Our own URL needs no permission; the sink does.
    let server = Server::start(folder.path()).await;
    let client = customer(&server.url, folder.path());
    let standard = client.provision("Second", "standard", &[(CALLBACK, sink.url.as_str())]).await;
    client.hubspot(1, &format!("{}/elements/api-v2/events/standard/", server.url)).await;
    assert_eq!(client.hubspot_sends(&contact(1, [7])).await, Some(200));
    let received = sink.receives(1).await.remove(0);
    let (message, event) = (&received.json["message"], &received.json["message"]["events"][0]);
    assert_eq!((&message["instanceId"], &message["elementKey"]), (&standard.number().into(), &"standard".into()));
    assert_eq!((&event["objectType"], &event["objectId"]), (&"contacts".into(), &"7".into()));
    assert_eq!((&event["eventType"], &event["date"]), (&"CREATED".into(), &"2024-11-14T19:22:39Z".into()));
    assert_eq!(message["raw"]["message"]["instanceName"], "Acme", "the notification that came back");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_that_call_each_other_end_after_three_rounds_and_it_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let client = customer(&server.url, folder.path());
    let one = client.provision("One", "standard", &[]).await;
    let other = client.provision("Other", "standard", &[]).await;
    for (from, to) in [(one, other), (other, one)] {
        let callback = format!("{}/elements/api-v2/events/standard/{}", server.url, to.to_path());
        client.configure(from, CALLBACK, &callback).await;
    }
    let body = r#"{"type":"contact.created","timestamp":"2024-11-14T19:22:39Z","data":{"id":"1"}}"#;
    assert_eq!(client.sends("standard", Some(one), "msg_1", body).await, Some(200));

    until("a refusal that names the loop", async || {
        let (_, refused) = client.get("/elements/api-v2/refused").await;
        let refused: Vec<Value> = serde_json::from_str(&refused).unwrap();
        refused.into_iter().find(|line| line["reason"].to_string().to_lowercase().contains("loop"))
    })
    .await;
    // The provider's, then three that came back; the fourth was refused, and nothing is due.
    let told = async |instance| {
        let history = client.history(instance).await;
        (history.len() == 2 && history.iter().all(|entry| entry["status"] == "NOTIFIED")).then_some(())
    };
    until("both told twice", async || told(one).await.and(told(other).await)).await;
}
