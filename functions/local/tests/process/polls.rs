//! A provider is polled by the server: at once where its instance is made or changed.

use std::time::Duration;

use events::{SignatureKey, Timestamp};
use platform::{Clock as _, SystemClock};
use serde_json::json;
use simulators::http::{HttpApi, Needs};

use super::common::{KEY, Server, Sink, customer, until};

const API_KEY: &str = "s3cret-of-the-api";

fn now() -> Timestamp {
    SystemClock.now()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_at_a_polled_provider_is_told_to_the_callback_signed_and_once() {
    let api = HttpApi::start(now().minus(Duration::from_secs(60)));
    api.world(|api| {
        api.needs = Needs::Header("x-key".into(), API_KEY.into());
        api.create("things", &json!({}));
    });
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::new().await);
    let server = Server::start(folder.path()).await;
    let client = customer(&server.url, folder.path());
    let dates = "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'";
    let things = json!({"things": {
        "url": format!("/next/things?updated_since=${{gmtDate:{dates}}}"),
        "recordsField": "value",
        "idField": "id",
        "datesConfiguration": {
            "updatedDateField": "updated_at", "updatedDateFormat": dates,
            "createdDateField": "created_at", "createdDateFormat": dates,
        },
        "pagination": {"url": {"at": "next"}},
    }});
    let things = things.to_string();
    let settings = [
        ("base.url", api.url()),
        ("authentication.type", "header"),
        ("api.key.header", "X-Key"),
        ("api.key", API_KEY),
        ("event.poller.configuration", things.as_str()),
        ("event.notification.callback.url", sink.url.as_str()),
    ];
    let instance = client.provision("Acme", "http", &settings).await;
    let polls = async |count: usize| {
        let asked = async || (api.served().len() >= count).then_some(());
        until("a poll", asked).await;
    };
    polls(1).await;

    api.clock().set(now());
    let id = api.world(|api| api.create("things", &json!({"name": "new"})));
    // What a second holds is told once it is over.
    api.clock().advance(Duration::from_secs(2));
    client.configure(instance, "event.poller.refresh_interval", "20").await;
    let told = sink.receives(1).await.remove(0);
    assert_eq!(told.events().len(), 1);
    let event = &told.json["message"]["events"][0];
    assert_eq!((&event["eventType"], &event["objectType"]), (&json!("CREATED"), &json!("things")));
    assert_eq!((&event["objectId"], &event["elementKey"]), (&json!(id), &json!("http")));
    let key = SignatureKey::new(KEY.into()).unwrap();
    key.verify_elements(told.header("elements-webhook-signature"), &told.body).unwrap();

    let before = api.served().len();
    client.configure(instance, "event.poller.refresh_interval", "25").await;
    polls(before + 1).await;
    client.stands(instance, "NOTIFIED").await;
    assert_eq!(client.history(instance).await.len(), 1, "what was told is not told again");
    assert!(!server.stderr().contains(API_KEY));
    server.stop().await;
}
