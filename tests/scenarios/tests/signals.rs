//! A provider that only signals: many signals, few polls, and nothing that changed is left out.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::Duration;

use http::StatusCode;
use pollhook_scenarios::{Behaviour, Reply, RetryPolicy, START, Webhook, World};
use serde_json::json;
use simulators::Simulator;
use simulators::dropbox::Dropbox;

const CALLBACK: &str = "https://app.example/hook";
const SECRET: &str = "the app's secret";

struct Signalled {
    world: World,
    dropbox: Simulator<Dropbox>,
    account: String,
}

impl Signalled {
    async fn new(seed: u64) -> Self {
        let dropbox = Dropbox::start(START);
        let mut world = World::new(seed, RetryPolicy::default()).await;
        world.ask_providers();
        world.ask_at("dropbox", &dropbox.url().parse().unwrap());
        world.callbacks.behave(CALLBACK, Behaviour { key: None, first: Vec::new(), then: Reply::Status(200) });
        let (token, account) = dropbox.world(|dropbox| (dropbox.connect().access, dropbox.account.clone()));
        let configuration = json!({
            "event.objects": "files", "event.vendor.account": account, "oauth.user.token": token,
            "webhook.secret": SECRET, "event.notification.callback.url": CALLBACK,
        });
        world.provision("dropbox", &configuration).await;
        let signalled = Self { world, dropbox, account };
        signalled.pass(Duration::from_secs(1)).await;
        signalled.dropbox.forget();
        signalled
    }

    /// Lets time pass, after everybody did their work.
    async fn pass(&self, time: Duration) {
        while self.world.pump().await {}
        self.world.platform().memory.advance(time);
        self.dropbox.clock().set(self.world.now());
        while self.world.pump().await {}
    }

    /// A file is written, and the provider says that something changed. Its id.
    async fn write(&self, path: &str) -> String {
        let id = self.dropbox.world(|dropbox| dropbox.write(path));
        let body = json!({"list_folder": {"accounts": [self.account]}, "delta": {"users": [1]}}).to_string();
        let (status, text) = self.world.send(&Webhook::new("dropbox", SECRET, body)).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        id
    }

    fn told(&self) -> BTreeSet<String> {
        let posted = self.world.callbacks.posted();
        let events = posted.iter().flat_map(|posted| posted.json()["message"]["events"].as_array().unwrap().clone());
        events.map(|event| event["objectId"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test]
async fn a_hundred_signals_within_two_seconds_are_few_polls_and_all_that_changed_is_told() {
    let signalled = Signalled::new(13_001).await;
    let mut written = BTreeSet::new();
    for number in 0..100 {
        written.insert(signalled.write(&format!("/{number}.txt")).await);
        signalled.pass(Duration::from_millis(20)).await;
    }
    assert_eq!(signalled.dropbox.served().len(), 0, "nothing is asked while it goes on");
    signalled.pass(Duration::from_secs(4)).await;
    assert_eq!(signalled.told(), written);
    let asked = signalled.dropbox.served().len();
    assert!(asked <= 4, "{asked} requests");
}

#[tokio::test]
async fn what_changes_at_any_moment_before_during_and_after_a_poll_is_told_within_seconds() {
    for step in [150, 700, 1_900, 2_100, 2_999, 3_000, 3_001] {
        let signalled = Signalled::new(13_100 + step).await;
        let mut written = BTreeSet::new();
        for number in 0..20 {
            written.insert(signalled.write(&format!("/{number}.txt")).await);
            signalled.pass(Duration::from_millis(step)).await;
        }
        signalled.pass(Duration::from_secs(3)).await;
        assert_eq!(signalled.told(), written, "every {step} ms");
    }
}
