//! A platform, two accounts and an operator, and requests to make.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use connectors::Catalogue;
use egress::Policy;
use egress::exchange::{Exchange, ExchangeRequest, Exchanges, NoAnswer};
use egress::fetch::Fetched;
use events::{Batch, Event, EventId, EventType, InstanceId, NotificationId, Source, Timestamp};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt as _;
use platform::Platform as _;
use platform::testing::{MemoryPlatform, VISIBILITY_TIMEOUT};
use pollhook_instances_api::{AdminKeySha256, Api, router};
use records::accounts;
use records::deliveries::{self, Delivery, State};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use url::Url;

pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);
pub(crate) const CALLBACK: &str = "https://app.example.com/hook";

/// Whoever is called does not answer.
struct Nobody;

impl egress::Post for Nobody {
    async fn post(&self, _: egress::CallbackRequest) -> Result<egress::Answer, egress::Failure> {
        Err(egress::Failure::Connect("nobody is there".into()))
    }
}

impl Exchange for Nobody {
    async fn exchange(&self, _: ExchangeRequest) -> Result<Fetched, NoAnswer> {
        Err(NoAnswer::Unsent("nobody is there".into()))
    }
}

pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn message(&self) -> &str {
        self.json["message"].as_str().unwrap()
    }
}

pub(crate) struct World {
    pub(crate) platform: MemoryPlatform,
    pub(crate) owner: String,
    pub(crate) stranger: String,
    pub(crate) operator: String,
    /// Who answers when tokens are asked for.
    pub(crate) tokens: Arc<dyn Exchanges>,
}

impl World {
    /// Each test takes a seed of its own: records remember, for the whole test process, which days they noted for which
    /// instance, and equal seeds make equal instances.
    pub(crate) async fn new(seed: u64) -> Self {
        let platform = MemoryPlatform::with(NOW, seed << 32, VISIBILITY_TIMEOUT);
        let mut headers = Vec::new();
        for operator in [false, false, true] {
            let (_, credentials) = accounts::create(&platform, operator).await.unwrap();
            headers.push(credentials.header().expose_secret().to_owned());
        }
        let [owner, stranger, operator] = headers.try_into().unwrap();
        Self { platform, owner, stranger, operator, tokens: Arc::new(Nobody) }
    }

    /// The next process over the same items and messages.
    pub(crate) fn restarted(&self) -> Self {
        let (owner, stranger, operator) = (self.owner.clone(), self.stranger.clone(), self.operator.clone());
        Self { platform: self.platform.restart(), owner, stranger, operator, tokens: Arc::clone(&self.tokens) }
    }

    pub(crate) fn router(&self) -> Router {
        self.router_with(None)
    }

    /// One of an installation whose admin key has this hash.
    pub(crate) fn router_with(&self, admin_key_sha256: Option<AdminKeySha256>) -> Router {
        let url = Url::parse("https://hooks.example.com/base/").unwrap();
        router(Arc::new(Api {
            platform: Arc::new(self.platform.clone()),
            policy: Arc::new(Policy::new(Vec::new(), Some(&url))),
            public_url: Some(url),
            catalogue: Arc::new(Catalogue::built_in()),
            callbacks: Arc::new(Nobody),
            tokens: Arc::clone(&self.tokens),
            admin_key_sha256,
        }))
    }

    pub(crate) async fn raw(&self, request: Request<Body>) -> Reply {
        ask(self.router(), request).await
    }

    pub(crate) async fn call(&self, who: &str, method: &str, path: &str, body: impl Into<Body>) -> Reply {
        let request = Request::builder().method(method).uri(format!("/elements/api-v2{path}"));
        self.raw(request.header(AUTHORIZATION, who).body(body.into()).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.call(&self.owner, "GET", path, "").await
    }

    pub(crate) async fn post(&self, body: &Value) -> Reply {
        self.call(&self.owner, "POST", "/instances", body.to_string()).await
    }

    pub(crate) async fn patch(&self, id: InstanceId, body: &Value) -> Reply {
        self.call(&self.owner, "PATCH", &format!("/instances/{id}"), body.to_string()).await
    }

    /// An instance of the owner's with this configuration.
    pub(crate) async fn instance(&self, configuration: Value) -> InstanceId {
        let body = json!({"name": "Acme", "element": {"key": "hubspot"}, "configuration": configuration});
        let reply = self.post(&body).await;
        assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
        id(&reply.json)
    }

    pub(crate) async fn owner_account(&self) -> accounts::Account {
        let keys = self.owner.split_once(", ").unwrap();
        let (user, organization) = (&keys.0["User ".len()..], &keys.1["Organization ".len()..]);
        let keys = accounts::Keys { user, organization: Some(organization), element: None };
        accounts::authenticate(&self.platform, keys).await.unwrap().unwrap().account
    }

    /// Two of an instance's keys: its account's user secret and its own token.
    pub(crate) async fn by_token(&self, id: InstanceId) -> String {
        let token = self.get(&format!("/instances/{id}")).await.json["token"].as_str().unwrap().to_owned();
        let user = self.owner.split_once(", ").unwrap().0;
        format!("Element {token}, {user}")
    }

    /// A delivery in `state`: the `n`th, `n` minutes old.
    pub(crate) async fn delivery(&self, instance: InstanceId, n: i64, state: State, raw: Bytes) -> NotificationId {
        let (batch, id) = notification(instance, n, raw);
        let mut delivery = Delivery::new(id, &batch, &batch.events);
        delivery.callback.state = state.clone();
        match state {
            State::Waiting { .. } | State::Parked { .. } => {
                deliveries::keep_payload(&self.platform, id, &batch, &batch.events).await.unwrap();
                deliveries::proceed(&self.platform, None, delivery, Vec::new()).await.unwrap();
            }
            _ => deliveries::end(&self.platform, None, delivery, &batch, &batch.events).await.unwrap(),
        }
        id
    }

    pub(crate) async fn parked(&self, instance: InstanceId, n: i64) -> NotificationId {
        self.delivery(instance, n, State::Parked { at: NOW }, "{}".into()).await
    }

    /// Whether the text is anywhere in the table or the queue.
    pub(crate) fn holds(&self, text: &str) -> bool {
        let within = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        let items = self.platform.table().items("").into_iter();
        let mut texts = items.flat_map(|item| [Bytes::from(format!("{:?}", item.key)), item.body]);
        texts.any(|bytes| within(&bytes))
            || self.platform.batches().messages().iter().any(|m| within(m.body.as_bytes()))
    }
}

pub(crate) async fn ask(router: Router, request: Request<Body>) -> Reply {
    let response = router.oneshot(request).await.unwrap();
    let (status, headers) = (response.status(), response.headers().clone());
    let text = String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let json = serde_json::from_str(&text).unwrap_or_default();
    Reply { status, headers, text, json }
}

pub(crate) fn id(instance: &Value) -> InstanceId {
    instance["id"].to_string().parse().unwrap()
}

/// What is set in an instance's configuration.
pub(crate) fn set(instance: &Value) -> Value {
    let configuration = instance["configuration"].as_object().unwrap().iter();
    configuration.filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn notification(instance: InstanceId, n: i64, raw: Bytes) -> (Batch, NotificationId) {
    let date = NOW.minus(Duration::from_secs(60 * n.unsigned_abs()));
    let event = Event {
        id: EventId::of(instance, "contacts", &n.to_string(), &["x"]),
        object_type: "contacts".into(),
        object_id: n.to_string(),
        event_type: EventType::Updated,
        date: Some(date),
    };
    let id = NotificationId::of(date, [&event.id]);
    let batch = Batch {
        instance,
        connector: "hubspot".into(),
        hub: "crm".into(),
        source: Source::Webhook,
        accepted_at: date,
        hops: 0,
        events: vec![event],
        raw,
    };
    (batch, id)
}
