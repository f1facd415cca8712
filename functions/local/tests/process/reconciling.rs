//! Webhook and poll together, in one process on its embedded store.

use std::time::Duration;

use platform::{Clock as _, SystemClock};
use serde_json::json;
use simulators::hubspot::HubSpot;

use super::common::{SECRET, Server, Sink, customer, http, until};

const PORTAL: &str = "62515";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_webhook_told_no_poll_tells_again_and_what_none_told_a_poll_does() {
    let provider = HubSpot::start(SystemClock.now());
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::new().await);
    let place = format!("hubspot={}", provider.url());
    let flags = ["--allow-callbacks-to", "127.0.0.0/8", "--connector-url", &place];
    let server = Server::spawn(&mut Server::command(folder.path(), &flags)).await;
    let client = customer(&server.url, folder.path());
    let tokens = provider.world(HubSpot::connect);
    let since = SystemClock.now().minus(Duration::from_secs(3600)).iso_seconds();
    let settings = [
        ("event.notification.callback.url", sink.url.as_str()),
        ("event.objects", "contacts"),
        ("event.poller.since", &since),
        ("event.reconcile.interval", "1440"),
        ("event.vendor.account", PORTAL),
        ("webhook.secret", SECRET),
        ("oauth.user.token", &tokens.access),
    ];
    let instance = client.provision("Acme", "hubspot", &settings).await;
    let searched = async || provider.served().iter().any(|served| served.path.ends_with("/search")).then_some(());
    until("the first poll", searched).await;

    // Older than what polls leave to webhooks that are under way.
    let at = SystemClock.now().minus(Duration::from_secs(600));
    provider.clock().set(at);
    let made = || provider.world(|portal| portal.create("contacts", &json!({"email": "a@example.com"})));
    let (seen, missed) = (made(), made());
    provider.clock().set(SystemClock.now());
    let webhook = format!(
        r#"[{{"objectId":{seen},"eventId":1,"portalId":{PORTAL},"occurredAt":{},"subscriptionType":"contact.creation"}}]"#,
        at.as_millis()
    );
    assert_eq!(client.hubspot_sends(&webhook).await, Some(200));
    sink.receives(1).await;
    let figures = async || http().get(format!("{}/metrics", server.url)).send().await.unwrap().text().await.unwrap();
    let idle = async || {
        let text = figures().await;
        let mut backlog = text.lines().filter(|line| line.starts_with("pollhook_backlog{queue=\"batches\""));
        backlog.all(|line| line.ends_with(" 0")).then_some(())
    };
    until("the end of the work on it", idle).await;

    client.configure(instance, "event.reconcile.interval", "1439").await;
    let told = sink.receives(2).await;
    let objects: Vec<&str> =
        told.iter().map(|received| received.json["message"]["events"][0]["objectId"].as_str().unwrap()).collect();
    assert_eq!(objects, [seen.as_str(), missed.as_str()]);
    let counted = async || {
        let text = figures().await;
        let line = |outcome| format!("pollhook_reconciled_total{{connector=\"hubspot\",outcome=\"{outcome}\"}} 1");
        ["suppressed", "told"].iter().all(|outcome| text.contains(&line(outcome))).then_some(())
    };
    until("the figures", counted).await;
    server.stop().await;
}
