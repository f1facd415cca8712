//! The world around a process, and the process in it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use connectors::{Catalogue, Place};
use dispatcher::{Dispatcher, Fault, RetryPolicy, Taken};
use egress::{Client, Limits, Policy};
use events::time::MINUTE_MS;
use events::{InstanceId, Timestamp};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use instances_api::Api;
use platform::testing::{MemoryPlatform, Moment, VISIBILITY_TIMEOUT};
use platform::{Platform as _, Queue as _};
use poller::{Accounts, Due, Poll, Polled, Poller, Queries};
use records::accounts::{self, Account};
use records::deliveries::{self, Delivery};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use tower::ServiceExt as _;
use url::Url;
use webhook_receiver::Receiver;

use crate::{Callbacks, Caller, Faulty, FaultyBus, Made, Spec, Webhook};

/// Where the installation is reached.
pub const PUBLIC_URL: &str = "https://pollhook.example";

/// When a world begins: some seconds into a minute, some hours into a day.
pub const START: Timestamp = Timestamp::from_seconds(1_790_000_017);

/// Releases what is parked: `where=channel='webhook' and status='queued'`.
const RELEASE: &str = "/elements/api-v2/notifications/subscriptions/deliveries?where=channel%3D%27webhook%27%20and%20status%3D%27queued%27";

const MINUTE: Duration = Duration::from_secs(60);

/// Looks at the queue before a world that does not come to rest fails its test.
const LOOKS: usize = 500;

/// Polls that find nothing: whom they were for.
#[derive(Debug, Default)]
struct Polls(Mutex<Vec<InstanceId>>);

impl Poll for Polls {
    async fn poll(&self, Due { instance, .. }: Due<'_>) -> Polled {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(instance);
        Polled::Done
    }
}

/// One process of all roles.
struct Process {
    platform: Faulty,
    router: Router,
    receiver: Arc<Receiver<Faulty>>,
    /// Two, as of two processes: what one of them is at work on, the other does not know.
    dispatchers: [Dispatcher<Faulty, Caller, FaultyBus>; 2],
    /// What the poller knows of providers' accounts. To wait for one takes no time.
    accounts: Accounts,
    queries: Queries,
}

impl Process {
    fn new(platform: Faulty, callbacks: &Callbacks, retry: RetryPolicy, catalogue: &Arc<Catalogue>) -> Self {
        let (shared, catalogue) = (Arc::new(platform.clone()), Arc::clone(catalogue));
        let receiver = Arc::new(Receiver::new(Arc::clone(&shared), PUBLIC_URL, Arc::clone(&catalogue)));
        let caller = || Caller { platform: platform.clone(), callbacks: callbacks.clone() };
        let public_url = Url::parse(PUBLIC_URL).ok();
        let policy = Arc::new(Policy::new(Vec::new(), public_url.as_ref()));
        let api = Api {
            platform: Arc::clone(&shared),
            policy: Arc::clone(&policy),
            public_url,
            catalogue,
            callbacks: Arc::new(caller()),
            tokens: Arc::new(providers()),
            admin_key_sha256: None,
        };
        Self {
            router: webhook_receiver::router(Arc::clone(&receiver)).merge(instances_api::router(Arc::new(api))),
            receiver,
            dispatchers: [0, 1].map(|_| {
                let bus = platform.bus().clone();
                Dispatcher::new(Arc::clone(&shared), caller(), bus, Arc::clone(&policy), retry)
            }),
            accounts: Accounts::waiting(|_| Box::pin(std::future::ready(()))),
            queries: Queries::default(),
            platform,
        }
    }
}

/// Asks providers, at addresses of this computer.
fn providers() -> Client {
    let policy = Policy::new(vec!["127.0.0.0/8".parse().unwrap()], None);
    Client::new(policy, Limits::fetching()).unwrap()
}

/// What outlives a process, and the process that is alive.
pub struct World {
    /// The customers' callbacks.
    pub callbacks: Callbacks,
    /// Who owns the instances.
    pub owner: Account,
    authorization: SecretString,
    webhooks: Mutex<Vec<Webhook>>,
    polls: Polls,
    /// How providers are asked; `None`: they are not, and polls find nothing.
    asks: Option<Client>,
    retry: RetryPolicy,
    catalogue: Arc<Catalogue>,
    process: Process,
}

impl World {
    /// An empty world. Worlds of one test process need different seeds: ids are drawn from them.
    pub async fn new(seed: u64, retry: RetryPolicy) -> Self {
        let platform = Faulty::new(MemoryPlatform::with(START, seed, VISIBILITY_TIMEOUT));
        let (owner, credentials) = accounts::create(&platform, false).await.unwrap();
        let callbacks = Callbacks::default();
        let catalogue = Arc::new(Catalogue::built_in());
        let process = Process::new(platform, &callbacks, retry, &catalogue);
        let authorization = credentials.header();
        Self {
            callbacks,
            owner,
            authorization,
            webhooks: Mutex::default(),
            polls: Polls::default(),
            asks: None,
            retry,
            catalogue,
            process,
        }
    }

    /// The platform of the process that is alive.
    #[must_use]
    pub fn platform(&self) -> &Faulty {
        &self.process.platform
    }

    /// The receiver of the process that is alive.
    #[must_use]
    pub fn receiver(&self) -> &Receiver<Faulty> {
        &self.process.receiver
    }

    /// What answers the requests of everybody outside, to be served on a socket.
    pub fn router(&self) -> Router {
        self.process.router.clone()
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.platform().now()
    }

    /// From now on polls ask providers, at addresses of this computer.
    pub fn ask_providers(&mut self) {
        self.asks = Some(providers());
    }

    /// A connector's provider is asked there, from the next process on, which is this.
    pub fn ask_at(&mut self, connector: &str, url: &Url) {
        let mut catalogue = Catalogue::built_in();
        catalogue.place(&[Place { key: connector.to_owned(), url: url.clone() }]).unwrap();
        self.catalogue = Arc::new(catalogue);
        self.restart();
    }

    /// The owner makes an instance, through the API.
    pub async fn provision(&self, connector: &str, configuration: &serde_json::Value) -> InstanceId {
        let body = json!({ "name": "Acme", "element": { "key": connector }, "configuration": configuration });
        let made = self.ask(Method::POST, "/instances", Some(body)).await;
        made["id"].to_string().parse().unwrap()
    }

    /// The owner asks the API for something that it does.
    pub async fn ask(&self, method: Method, path: &str, body: Option<serde_json::Value>) -> serde_json::Value {
        let (status, answer) = self.api(method, path, body).await;
        assert!(status.is_success(), "{status} {answer}");
        answer
    }

    /// A request of the owner's to the API, and what it answers.
    pub async fn api(
        &self,
        method: Method,
        path: &str,
        body: Option<serde_json::Value>,
    ) -> (StatusCode, serde_json::Value) {
        let request = Request::builder()
            .method(method)
            .uri(format!("/elements/api-v2{path}"))
            .header(header::AUTHORIZATION, self.authorization.expose_secret())
            .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))
            .unwrap();
        let (status, text) = self.call(request).await;
        (status, serde_json::from_str(&text).unwrap())
    }

    /// Makes an instance of the owner's.
    pub async fn make(&self, spec: Spec) -> Made {
        spec.make(self.platform(), &self.owner).await
    }

    /// Makes an instance of somebody else's.
    pub async fn make_for(&self, owner: &Account, spec: Spec) -> Made {
        spec.make(self.platform(), owner).await
    }

    /// The next process. Counting of steps begins anew.
    pub fn restart(&mut self) {
        self.process = Process::new(self.platform().restart(), &self.callbacks, self.retry, &self.catalogue);
    }

    /// The process dies at `step` from here on.
    pub fn crash_at(&self, step: usize, moment: Moment) {
        let memory = &self.platform().memory;
        memory.crash_at(memory.steps() + step, moment);
    }

    /// The provider has something to tell.
    pub fn provider_sends(&self, webhook: Webhook) {
        self.webhooks().push(webhook);
    }

    /// What the provider has to tell.
    pub(crate) fn webhooks(&self) -> MutexGuard<'_, Vec<Webhook>> {
        self.webhooks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The instances that were polled, in order.
    #[must_use]
    pub fn polled(&self) -> Vec<InstanceId> {
        self.polls.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One request to the receiver: the whole answer.
    pub async fn answer(&self, request: Request<Body>) -> Response<String> {
        let (parts, body) = self.process.router.clone().oneshot(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Response::from_parts(parts, String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// One request to the receiver: its status and text.
    pub async fn call(&self, request: Request<Body>) -> (StatusCode, String) {
        let answer = self.answer(request).await;
        (answer.status(), answer.into_body())
    }

    /// The provider sends one webhook, once.
    pub async fn send(&self, webhook: &Webhook) -> (StatusCode, String) {
        self.call(webhook.request(self.now())).await
    }

    /// The dispatcher of the process that is alive.
    #[must_use]
    pub fn dispatcher(&self) -> &Dispatcher<Faulty, Caller, FaultyBus> {
        &self.process.dispatchers[0]
    }

    /// One message, as the queue would hand it over.
    ///
    /// # Errors
    /// The dispatcher's.
    pub async fn handle(&self, message: &str) -> Result<(), Fault> {
        self.dispatcher().handle(message, 1).await
    }

    /// One message, as the queue would hand it over the second time.
    ///
    /// # Errors
    /// The dispatcher's.
    pub async fn handle_again(&self, message: &str) -> Result<(), Fault> {
        self.dispatcher().handle(message, 2).await
    }

    /// Sends once everything that the provider saw no 2xx for.
    async fn send_unanswered(&self) {
        let count = self.webhooks().len();
        for index in 0..count {
            let webhook = {
                let mut webhooks = self.webhooks();
                let webhook = &mut webhooks[index];
                if webhook.answered {
                    continue;
                }
                let sent = webhook.clone();
                webhook.sent += 1;
                sent
            };
            let (status, _) = self.send(&webhook).await;
            if status.is_success() {
                self.webhooks()[index].answered = true;
            } else {
                assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "the provider's request is in order");
            }
        }
    }

    /// Hands over what is due in both queues; whether there was anything.
    pub async fn pump(&self) -> bool {
        let batches = self.pump_batches().await;
        self.pump_polls().await || batches
    }

    /// One poll job, as its queue would hand it over.
    ///
    /// # Errors
    /// The poller's.
    pub async fn poll_job(&self, message: &str) -> Result<(), poller::Fault> {
        match &self.asks {
            Some(fetch) => {
                let (catalogue, accounts, queries) = (&self.catalogue, &self.process.accounts, &self.process.queries);
                let poller = Poller { platform: self.platform(), fetch, catalogue, accounts, queries };
                poller::handle(self.platform(), &poller, message, MINUTE).await
            }
            None => poller::handle(self.platform(), &self.polls, message, MINUTE).await,
        }
    }

    /// Hands over the poll jobs that are due.
    async fn pump_polls(&self) -> bool {
        let queue = self.platform().polls();
        let received = queue.receive(10, Duration::ZERO).await.unwrap_or_default();
        let any = !received.is_empty();
        for message in received {
            if self.poll_job(&message.body).await.is_err() {
                continue;
            }
            let _ = queue.acknowledge(vec![message.receipt]).await;
        }
        any
    }

    /// Hands over the batches and attempts that are due, all of a receive at the same time.
    async fn pump_batches(&self) -> bool {
        let queue = self.platform().batches();
        let received = queue.receive(10, Duration::ZERO).await.unwrap_or_default();
        let any = !received.is_empty();
        let (even, odd): (Vec<_>, Vec<_>) = received.into_iter().enumerate().partition(|(index, _)| index % 2 == 0);
        let handled = self.process.dispatchers.iter().zip([even, odd]).map(|(dispatcher, received)| async move {
            let taken = |(_, m): &'_ (usize, platform::Received)| (m.body.clone(), m.receive_count);
            let texts: Vec<(String, u32)> = received.iter().map(taken).collect();
            let taken: Vec<Taken<'_>> =
                texts.iter().map(|(text, count)| Taken { text, receive_count: *count }).collect();
            let done = dispatcher.handle_all(&taken).for_each_concurrent(None, |(index, outcome)| {
                let receipt = received[index].1.receipt.clone();
                async move {
                    if outcome.is_ok() {
                        // A lost acknowledgement brings the message again.
                        let _ = queue.acknowledge(vec![receipt]).await;
                    }
                }
            });
            done.await;
        });
        join_all(handled).await;
        any
    }

    /// Sends what is due in this minute: wake-ups, and parts of the wheel.
    pub async fn each_minute(&self) {
        // What fails is sent the next time.
        let _ = poller::each_minute(self.platform(), MINUTE).await;
    }

    /// When something is due next; `None`: never.
    fn next(&self) -> Option<Timestamp> {
        let (memory, now) = (&self.platform().memory, self.now());
        let messages = memory.batches().messages().into_iter().chain(memory.polls().messages());
        let messages = messages.map(|message| message.visible_at);
        let buckets = memory.table().items("RETRY#").into_iter().map(|item| {
            let minute: i64 = item.key.partition.split('#').nth(1).unwrap().parse().unwrap();
            // Overdue: its sweep failed, and the next one comes a minute later.
            Timestamp::from_millis(minute * MINUTE_MS).max(Timestamp::from_millis((now.minute() + 1) * MINUTE_MS))
        });
        let unanswered = self.webhooks().iter().any(|w| !w.answered).then(|| now.plus(Duration::from_secs(30)));
        messages.chain(buckets).chain(unanswered).min()
    }

    /// Lets time pass and everybody do their work, until nothing is due any more.
    pub async fn settle(&self) {
        for _ in 0..LOOKS {
            self.send_unanswered().await;
            self.each_minute().await;
            while self.pump().await {}
            let Some(next) = self.next() else { return };
            self.platform().memory.advance(next.since(self.now()));
        }
        panic!("does not come to rest: {:?}", self.platform().memory.batches().messages());
    }

    /// [`World::settle`], restarting whatever dies; how often it died.
    pub async fn run(&mut self) -> usize {
        let mut deaths = 0;
        loop {
            let memory = self.platform().memory.clone();
            if memory.run_until_crash(self.settle()).await.is_ok() {
                return deaths;
            }
            deaths += 1;
            self.restart();
        }
    }

    /// The owner releases what is parked, through the API: whether anything was, or it must be asked again.
    pub async fn release(&self) -> bool {
        let request = Request::put(RELEASE)
            .header(header::AUTHORIZATION, self.authorization.expose_secret())
            .body(Body::empty())
            .unwrap();
        let (status, text) = self.call(request).await;
        assert!(status.is_success() || status == StatusCode::SERVICE_UNAVAILABLE, "{status} {text}");
        !status.is_success() || text != "[]"
    }

    /// Releases what is parked until nothing is, restarting whatever dies; how often it died.
    pub async fn release_all(&mut self) -> usize {
        let mut deaths = 0;
        loop {
            let memory = self.platform().memory.clone();
            let released = async {
                let released = self.release().await;
                self.settle().await;
                released
            };
            match memory.run_until_crash(released).await {
                Ok(false) => return deaths,
                Ok(true) => {}
                Err(_) => {
                    deaths += 1;
                    self.restart();
                }
            }
        }
    }

    /// The owner deletes an instance, through the API.
    pub async fn delete(&self, instance: InstanceId) {
        self.ask(Method::DELETE, &format!("/instances/{instance}"), None).await;
    }

    /// The instance's records, newest first.
    pub async fn records(&self, instance: InstanceId) -> Vec<Delivery> {
        let listed = deliveries::list(&self.platform().memory, instance, None, 1000).await.unwrap();
        listed.into_iter().map(|stored| stored.delivery).collect()
    }
}
