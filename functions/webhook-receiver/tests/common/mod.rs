//! What the tests of the receiver share.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::{Body, Bytes};
use connectors::{Connector, Example, catalogue};
use events::message::PollJob;
use events::{Batch, InstanceId, Message, configuration};
use http::{HeaderName, HeaderValue, Request, StatusCode};
use platform::Platform as _;
use platform::testing::Held;
use records::bodies;
use records::refused::{self, Reason};
use scenarios::{Made, RetryPolicy, Spec, Webhook, World};

pub(crate) const SECRET: &str = "the app's secret";

/// A secret in every provider's form, and the one that recorded requests hold.
pub(crate) const RECORDED_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// How long after its signal a poll begins.
pub(crate) const SETTLES: Duration = Duration::from_secs(3);

pub(crate) const APP: &str = "https://app.example/";

pub(crate) async fn world(seed: u64) -> World {
    World::new(seed, RetryPolicy::default()).await
}

/// An instance that is told of what its provider proves with the secret of these tests.
pub(crate) fn of(connector: &'static str) -> Spec {
    Spec::of(connector).webhook_secret(SECRET).callback(APP)
}

/// A HubSpot instance of `account` that wants its events.
pub(crate) fn hubspot(account: &str) -> Spec {
    of("hubspot").account(account)
}

pub(crate) fn one(world: &World, portal: &str, object: u64) -> Webhook {
    Webhook::hubspot(SECRET, &[(portal, object)], world.now())
}

/// An instance's own URL, behind the connector's.
pub(crate) fn own(instance: InstanceId) -> String {
    format!("/{}", instance.to_path())
}

pub(crate) fn post(path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let request = Request::post(format!("/elements/api-v2/events/{path}"));
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(body.into()).unwrap()
}

/// Sends a webhook that is to be taken.
pub(crate) async fn taken(world: &World, webhook: &Webhook) {
    let (status, text) = world.send(webhook).await;
    assert_eq!(status, StatusCode::OK, "{text}");
}

/// The batches in the queue.
pub(crate) fn queued(world: &World) -> Vec<Batch> {
    let held = world.platform().memory.batches().messages();
    let batch = |text: &str| match Message::decode(text).unwrap() {
        Message::Batch(batch) => batch,
        other => panic!("not a batch: {other:?}"),
    };
    held.iter().map(|held| batch(&held.body)).collect()
}

/// The batches in the queue, those kept as bodies among them.
pub(crate) async fn batches(world: &World) -> Vec<Batch> {
    let mut batches = Vec::new();
    for held in world.platform().memory.batches().messages() {
        let mut message = Message::decode(&held.body).unwrap();
        if let Message::Stored { body, .. } = &message {
            let kept = bodies::get(world.platform(), body).await.unwrap().unwrap();
            message = Message::decode(std::str::from_utf8(&kept).unwrap()).unwrap();
        }
        match message {
            Message::Batch(batch) => batches.push(batch),
            other => panic!("not a batch: {other:?}"),
        }
    }
    batches
}

/// The instances that poll jobs are for.
pub(crate) fn polls(world: &World) -> Vec<InstanceId> {
    let held = world.platform().memory.polls().messages();
    let job = |held: &Held| match Message::decode(&held.body).unwrap() {
        Message::Poll(PollJob { instance, at }) => {
            assert_eq!(at, held.visible_at, "it says when it is handed over");
            instance
        }
        other => panic!("not a poll job: {other:?}"),
    };
    sorted(held.iter().map(job).collect())
}

pub(crate) fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort();
    items
}

/// What is queued: of which instance, which objects.
pub(crate) fn told(world: &World) -> Vec<(InstanceId, Vec<String>)> {
    let objects = |batch: &Batch| batch.events.iter().map(|event| event.object_id.clone()).collect();
    sorted(queued(world).iter().map(|batch| (batch.instance, objects(batch))).collect())
}

/// What is queued for an instance, as texts to compare with.
pub(crate) fn objects(told: &[&str]) -> Vec<String> {
    told.iter().map(ToString::to_string).collect()
}

/// Why parts of requests were skipped, of those that are counted and written.
pub(crate) async fn skipped(world: &World, connector: &str) -> Vec<String> {
    let lines = refused::list(world.platform(), connector).await.unwrap();
    let skipped = lines.into_iter().filter(|line| line.reason == Reason::Skipped);
    skipped.flat_map(|line| line.refusals.samples).map(|sample| sample.detail).collect()
}

/// Everything that is stored and queued, as text; what is queued as it is and as it reads.
pub(crate) async fn everything(world: &World) -> String {
    let memory = &world.platform().memory;
    let items = memory.table().items("");
    let mut texts: Vec<String> =
        items.iter().map(|item| format!("{:?} {}", item.key, String::from_utf8_lossy(&item.body))).collect();
    let messages = memory.batches().messages().into_iter().chain(memory.polls().messages());
    texts.extend(messages.map(|held| format!("{} {}", held.group, held.body)));
    for batch in batches(world).await {
        texts.push(format!("{:?} {}", batch.events, String::from_utf8_lossy(&batch.raw)));
    }
    texts.join("\n")
}

/// What was refused, after a flush.
pub(crate) async fn refused(world: &World, connector: &str) -> BTreeMap<Reason, u64> {
    world.receiver().flush().await.unwrap();
    let lines = refused::list(world.platform(), connector).await.unwrap();
    lines.into_iter().map(|line| (line.reason, line.refusals.count)).collect()
}

pub(crate) fn counts(of: &[(Reason, u64)]) -> BTreeMap<Reason, u64> {
    of.iter().copied().collect()
}

/// The keys of all built-in connectors that have webhooks.
pub(crate) fn connectors() -> Vec<&'static str> {
    catalogue().keys().filter(|key| connector(key).has_webhooks()).collect()
}

pub(crate) fn connector(key: &str) -> &'static Connector {
    catalogue().get(key).unwrap()
}

/// A recorded request that tells, or signals, a change by POST: the first of its connector.
pub(crate) fn telling(key: &str) -> &'static Example {
    let tells = |example: &&Example| {
        example.answer.is_none()
            && example.method == "POST"
            && !(example.changes.is_empty() && example.signals.is_empty())
    };
    connector(key).examples().iter().find(tells).unwrap()
}

/// What a recorded request's instance is made with.
pub(crate) fn spec_of(key: &'static str, example: &Example) -> Spec {
    let mut spec = Spec::of(key).callback(APP).webhook_secret(example.secret.as_deref().unwrap_or(RECORDED_SECRET));
    for (key, value) in &example.configuration {
        spec = spec.set(key, value);
    }
    let account = example.changes.iter().find_map(|change| change.account.as_deref());
    match account.filter(|_| connector(key).account_must_match()) {
        Some(account) => spec.set(configuration::VENDOR_ACCOUNT, account),
        None => spec,
    }
}

/// The instance that a recorded request is sent to.
pub(crate) async fn receiver_of(world: &World, key: &'static str, example: &Example) -> Made {
    world.make(spec_of(key, example)).await
}

/// A world of one connector: an instance, and what its provider tells it at the instance's own URL.
pub(crate) struct Provider {
    pub(crate) key: &'static str,
    pub(crate) world: World,
    pub(crate) instance: InstanceId,
    pub(crate) webhook: Webhook,
    /// The body of the webhook.
    pub(crate) body: &'static str,
    /// What proves who sends it.
    pub(crate) secret: &'static str,
}

/// One such world for each connector, in which nothing has happened yet.
pub(crate) async fn providers(seed: u64) -> Vec<Provider> {
    let mut providers = Vec::new();
    for (place, key) in (0..).zip(connectors()) {
        let mut world = world(seed + place).await;
        let example = telling(key);
        let instance = receiver_of(&world, key, example).await.id;
        world.restart();
        let webhook = Webhook::recorded(key, example, RECORDED_SECRET).path(&own(instance));
        let secret = example.secret.as_deref().unwrap_or(RECORDED_SECRET);
        providers.push(Provider { key, world, instance, webhook, body: example.body.trim(), secret });
    }
    assert!(providers.len() >= 14);
    providers
}

impl Provider {
    /// How many messages are in both queues.
    pub(crate) fn sent(&self) -> usize {
        let memory = &self.world.platform().memory;
        memory.batches().messages().len() + memory.polls().messages().len()
    }

    /// What the provider tells is taken: whatever came before has done no harm.
    pub(crate) async fn still_takes(&self, about: &str) {
        let before = self.sent();
        let (status, text) = self.world.send(&self.webhook).await;
        assert_eq!(status, StatusCode::OK, "{}, after {about}: {text}", self.key);
        assert_eq!(self.sent(), before + 1, "{}, after {about}", self.key);
    }

    /// Sends what is to be refused with `status`, leaving nothing behind but a count.
    pub(crate) async fn refuses(&self, status: StatusCode, request: Request<Body>, about: &str) {
        let acts = self.world.platform().memory.acts().len();
        let answer = self.world.answer(request).await;
        assert_eq!(answer.status(), status, "{}, {about}: {}", self.key, answer.body());
        assert_eq!(self.world.platform().memory.acts().len(), acts, "{}, {about}", self.key);
        assert!(answer.body().len() < 500, "{}, {about}: {}", self.key, answer.body());
        assert!(!answer.body().contains(self.secret), "{}, {about}: {}", self.key, answer.body());
    }
}

/// The request with one header set.
pub(crate) fn with(request: &Request<Bytes>, header: &HeaderName, value: &[u8]) -> Request<Body> {
    let mut request = request.clone().map(Body::from);
    request.headers_mut().insert(header, HeaderValue::from_bytes(value).unwrap());
    request
}
