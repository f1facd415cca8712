//! Polling as a customer sees it: from an instance that says what is polled to signed notifications of what changed.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use events::InstanceId;
use http::Method;
use platform::Platform as _;
use pollhook_scenarios::{Behaviour, Logs, Reply, RetryPolicy, START, World};
use serde_json::json;
use simulators::Simulator;
use simulators::http::{HttpApi, Needs};

const CALLBACK: &str = "https://app.example/hook";
const SIGNATURE_KEY: &str = "s1gn4tur3-k3y";
const API_KEY: &str = "4p1-k3y-0f-4-cust0mer";

/// How often everybody looks whether something is due.
const LOOK: Duration = Duration::from_secs(10);

/// An API with a collection of things, and an instance that polls them every minute.
struct Polled {
    world: World,
    api: Simulator<HttpApi>,
    instance: InstanceId,
}

impl Polled {
    /// An instance whose owner entered `key`.
    async fn new(seed: u64, key: &str) -> Self {
        let api = HttpApi::start(START);
        api.world(|api| {
            api.needs = Needs::Header("authorization".into(), format!("Bearer {API_KEY}"));
            api.create("things", &json!({"name": "older than the instance"}));
        });
        let mut world = World::new(seed, RetryPolicy::default()).await;
        world.ask_providers();
        world.callbacks.behave(
            CALLBACK,
            Behaviour { key: Some(SIGNATURE_KEY.into()), first: Vec::new(), then: Reply::Status(200) },
        );
        // The older thing is older by more than the second that polls begin before.
        world.platform().memory.advance(Duration::from_secs(60));
        api.clock().set(world.now());
        let dates = "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'";
        let things = json!({"things": {
            "url": format!("/cursor/things?updated_since=${{gmtDate:{dates}}}"),
            "recordsField": "data",
            "idField": "id",
            "datesConfiguration": {
                "updatedDateField": "updated_at", "updatedDateFormat": dates,
                "createdDateField": "created_at", "createdDateFormat": dates,
            },
            "pagination": {"cursor": {"from": "meta.next_cursor", "query": "cursor"}},
        }});
        let configuration = json!({
            "base.url": api.url(),
            "api.key": key,
            "event.poller.refresh_interval": "1",
            "event.poller.configuration": things,
            "event.notification.callback.url": CALLBACK,
            "event.notification.signature.key": SIGNATURE_KEY,
        });
        let instance = world.provision("http", &configuration).await;
        Self { world, api, instance }
    }

    /// Lets so many minutes pass, in which everybody does their work.
    async fn pass(&self, minutes: u32) {
        for _ in 0..minutes * 6 {
            self.world.each_minute().await;
            while self.world.pump().await {}
            self.world.platform().memory.advance(LOOK);
            self.api.clock().set(self.world.now());
        }
    }

    /// What the callback was told so far, whose signatures it checks: each event's type, object type and object.
    fn told(&self) -> Vec<String> {
        let posted = self.world.callbacks.posted();
        assert!(posted.iter().all(|posted| posted.taken));
        let events = posted.iter().flat_map(|posted| posted.json()["message"]["events"].as_array().unwrap().clone());
        let text = |event: &serde_json::Value, field: &str| event[field].as_str().unwrap().to_owned();
        events.map(|event| ["eventType", "objectType", "objectId"].map(|field| text(&event, field)).join(" ")).collect()
    }
}

#[tokio::test]
async fn what_is_made_and_changed_at_a_provider_is_told_once_and_nothing_after_the_instance_is_deleted() {
    let polled = Polled::new(11_001, API_KEY).await;
    polled.pass(1).await;
    assert!(!polled.api.served().is_empty(), "it is polled at once");
    polled.pass(3).await;
    assert_eq!(polled.told(), [""; 0], "what is older than the instance is not told");

    let id = polled.api.world(|api| api.create("things", &json!({"name": "new", "nothing": null})));
    polled.pass(3).await;
    assert_eq!(polled.told(), [format!("CREATED things {id}")]);
    let raw = &polled.world.callbacks.posted()[0].json()["message"]["raw"];
    assert_eq!((&raw["objectType"], &raw["things"][0]["name"]), (&json!("things"), &json!("new")));

    polled.api.world(|api| api.update("things", &id, &json!({"name": "changed"})));
    polled.pass(10).await;
    let both = [format!("CREATED things {id}"), format!("UPDATED things {id}")];
    assert_eq!(polled.told(), both, "each is told once, however often it is seen");

    polled.world.delete(polled.instance).await;
    polled.api.world(|api| api.update("things", &id, &json!({"name": "changed again"})));
    polled.api.forget();
    polled.pass(5).await;
    assert_eq!(polled.api.served().len(), 0, "nobody asks any more");
    assert_eq!(polled.told(), both);
    assert_eq!(polled.world.platform().memory.table().items("POLL#"), []);
}

#[tokio::test]
async fn a_key_that_the_provider_does_not_take_is_told_in_the_log_without_the_key() {
    let (logs, _capture) = Logs::capture();
    let polled = Polled::new(11_002, "an0th3r-k3y").await;
    polled.api.world(|api| api.create("things", &json!({})));
    polled.pass(3).await;
    assert!(!polled.api.served().is_empty());
    assert_eq!(polled.told(), [""; 0]);
    let text = logs.text();
    let line = text.lines().find(|line| line.contains("a poll did not come to all")).unwrap();
    let expected = ["WARN", &polled.instance.to_string(), "things: the provider does not take"];
    assert!(expected.iter().all(|part| line.contains(part)), "{line}");
    assert!(!text.contains("an0th3r-k3y"));
}

#[tokio::test]
async fn who_entered_a_wrong_key_sees_why_nothing_comes_and_once_it_is_right_is_told_all() {
    let polled = Polled::new(11_004, "an0th3r-k3y").await;
    let id = polled.api.world(|api| api.create("things", &json!({})));
    polled.pass(60).await;
    let asked = polled.api.served().len();
    assert!((5..12).contains(&asked), "less and less: {asked}");
    let path = format!("/instances/{}", polled.instance);
    let records = polled.world.api(Method::GET, &format!("{path}/event-poller-records"), None).await.1;
    let [record] = &records.as_array().unwrap()[..] else { panic!("{records}") };
    assert_eq!((&record["objectName"], &record["status"]), (&json!("things"), &json!("failing")));
    assert_eq!(record["lastError"], "the provider does not take the credentials");
    assert!(record["nextTry"].as_str().unwrap() > polled.world.now().iso_seconds().as_str());

    let right = json!({"configuration": {"api.key": API_KEY}});
    polled.world.api(Method::PATCH, &path, Some(right)).await;
    polled.pass(2).await;
    assert_eq!(polled.told(), [format!("CREATED things {id}")]);
    assert_eq!(polled.world.api(Method::GET, &path, None).await.1["polling"]["status"], "ok");
    polled.api.forget();
    polled.pass(10).await;
    assert!(polled.api.served().len() >= 9, "each turn asks again");
}

#[tokio::test]
async fn a_webhook_instance_of_a_provider_that_could_be_polled_is_not_polled() {
    let mut world = World::new(11_003, RetryPolicy::default()).await;
    world.ask_providers();
    world.callbacks.behave(CALLBACK, Behaviour { key: None, first: Vec::new(), then: Reply::Status(200) });
    let configuration = json!({
        "event.notification.callback.url": CALLBACK,
        "event.objects": "contacts",
        "event.poller.refresh_interval": "1",
        "oauth.user.token": API_KEY,
        "webhook.secret": "s3cret",
    });
    world.provision("hubspot", &configuration).await;
    let memory = &world.platform().memory;
    assert!(memory.polls().messages().is_empty());
    assert_eq!((memory.table().items("WHEEL#"), memory.table().items("POLL#")), (vec![], vec![]));
}
