//! Webhook and poll together, as a customer sees it: what HubSpot's webhooks tell is told once, what they miss a poll tells.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use events::{InstanceId, Timestamp};
use http::{Method, StatusCode};
use platform::testing::Moment;
use pollhook_scenarios::{Behaviour, Reply, RetryPolicy, START, Webhook, World};
use serde_json::json;
use simulators::Simulator;
use simulators::hubspot::HubSpot;

const CALLBACK: &str = "https://app.example/hook";
const SECRET: &str = "the app's secret";
const PORTAL: &str = "62515";

/// How often everybody looks whether something is due.
const LOOK: Duration = Duration::from_secs(10);

/// A portal of HubSpot, and an instance that is told by its webhooks and polls every ten minutes beside them.
struct Both {
    world: World,
    portal: Simulator<HubSpot>,
    instance: InstanceId,
}

impl Both {
    async fn new(seed: u64) -> Self {
        let portal = HubSpot::start(START);
        let tokens = portal.world(HubSpot::connect);
        let mut world = World::new(seed, RetryPolicy::default()).await;
        world.ask_providers();
        world.ask_at("hubspot", &portal.url().parse().unwrap());
        world.callbacks.behave(CALLBACK, Behaviour { key: None, first: Vec::new(), then: Reply::Status(200) });
        let configuration = json!({
            "event.notification.callback.url": CALLBACK, "event.objects": "contacts", "event.vendor.account": PORTAL,
            "event.reconcile.interval": "10", "webhook.secret": SECRET, "oauth.user.token": tokens.access,
            "oauth.user.refresh_token": tokens.refresh, "oauth.api.key": "client-id",
            "oauth.api.secret": "client-secret"});
        let instance = world.provision("hubspot", &configuration).await;
        Self { world, portal, instance }
    }

    /// A contact is made now; its id.
    fn creates(&self) -> u64 {
        self.portal.world(|portal| portal.create("contacts", &json!({"email": "a@example.com"}))).parse().unwrap()
    }

    /// A contact is changed now.
    fn updates(&self, id: u64) {
        self.portal.world(|portal| portal.update("contacts", &id.to_string(), &json!({"firstname": "Ann"})));
    }

    /// HubSpot's webhook of a change, as the app's subscription sends it.
    async fn webhook(&self, id: u64, at: Timestamp) {
        let (status, _) = self.world.send(&Webhook::hubspot(SECRET, &[(PORTAL, id)], at)).await;
        assert_eq!(status, StatusCode::OK);
    }

    /// Everybody works on what is due now; whoever dies is restarted.
    async fn work(&mut self) -> usize {
        let mut deaths = 0;
        loop {
            let memory = self.world.platform().memory.clone();
            let work = async {
                self.world.each_minute().await;
                while self.world.pump().await {}
            };
            if memory.run_until_crash(work).await.is_ok() {
                return deaths;
            }
            deaths += 1;
            self.world.restart();
        }
    }

    /// Lets so many minutes pass, in which everybody does their work; how often somebody died.
    async fn pass(&mut self, minutes: u32) -> usize {
        let mut deaths = 0;
        for _ in 0..minutes * 6 {
            deaths += self.work().await;
            self.world.platform().memory.advance(LOOK);
            self.portal.clock().set(self.world.now());
        }
        deaths
    }

    /// What the callback was told so far: how it was learnt, and of which object.
    fn told(&self) -> Vec<(&'static str, u64)> {
        let mut told = Vec::new();
        for posted in self.world.callbacks.posted() {
            let body = posted.json();
            let way = if body["message"]["raw"].get("pollDate").is_some() { "poll" } else { "webhook" };
            for event in body["message"]["events"].as_array().unwrap() {
                told.push((way, event["objectId"].as_str().unwrap().parse().unwrap()));
            }
        }
        told
    }
}

#[tokio::test]
async fn what_a_webhook_told_is_told_once_and_what_it_missed_is_told_by_a_poll() {
    let mut both = Both::new(12_001).await;
    both.pass(2).await;
    let (seen, missed) = (both.creates(), both.creates());
    both.webhook(seen, both.world.now()).await;
    both.pass(30).await;
    assert_eq!(both.told(), [("webhook", seen), ("poll", missed)]);

    both.updates(missed);
    both.webhook(missed, both.world.now()).await;
    both.pass(1).await;
    both.updates(seen);
    both.pass(30).await;
    assert_eq!(both.told()[2..], [("webhook", missed), ("poll", seen)]);
    both.pass(60).await;
    assert_eq!(both.told().len(), 4, "each once, however often it is looked at again");
}

#[tokio::test]
async fn a_webhook_that_comes_within_the_grace_is_not_overtaken_by_a_poll_and_one_that_comes_later_is() {
    let mut both = Both::new(12_002).await;
    both.pass(2).await;
    let (soon, late) = (both.creates(), both.creates());
    let at = both.world.now();
    both.pass(4).await;
    both.webhook(soon, at).await;
    both.pass(30).await;
    both.webhook(late, at).await;
    both.pass(5).await;
    assert_eq!(
        both.told(),
        [("webhook", soon), ("poll", late), ("webhook", late)],
        "told twice rather than not at all"
    );
}

#[tokio::test]
async fn polls_begin_when_they_are_asked_for_and_end_when_they_are_not_any_more() {
    let mut both = Both::new(12_003).await;
    let path = format!("/instances/{}", both.instance);
    let set = |minutes| json!({"configuration": {"event.reconcile.interval": minutes}});
    both.world.ask(Method::PATCH, &path, Some(set(json!(null)))).await;
    both.pass(1).await;
    both.portal.forget();
    let before = both.creates();
    both.pass(30).await;
    assert!(both.portal.served().is_empty() && both.told().is_empty());
    both.world.ask(Method::PATCH, &path, Some(set(json!("10")))).await;
    both.pass(1).await;
    let after = both.creates();
    both.pass(30).await;
    assert_eq!(both.told(), [("poll", after)], "{before} was made before");
    assert_eq!(both.world.ask(Method::GET, &path, None).await["polling"]["status"], "ok");
}

/// The dispatcher, or whoever is at work, dies at every step of a webhook's way and of the poll that follows.
#[tokio::test]
async fn whenever_somebody_dies_each_change_is_told_and_what_a_webhook_told_by_no_poll() {
    for step in 0.. {
        let mut deaths = 0;
        for (seed, moment) in [(0, Moment::Before), (1, Moment::After)] {
            let mut both = Both::new(12_100 + 2 * step as u64 + seed).await;
            both.pass(2).await;
            let (seen, missed) = (both.creates(), both.creates());
            both.webhook(seen, both.world.now()).await;
            both.world.crash_at(step, moment);
            deaths += both.pass(40).await;
            let mut told = both.told();
            told.sort_unstable();
            told.dedup();
            // The message comes again long before the poll does, and what was told is noted then.
            assert_eq!(told, [("poll", missed), ("webhook", seen)], "died {moment:?} step {step}");
        }
        if deaths == 0 {
            assert!(step > 6, "only {step} steps");
            return;
        }
    }
}
