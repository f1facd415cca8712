//! The callbacks: what customers run. They check both signatures, remember everything, and fail as scripted.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use egress::{Answer, CallbackRequest, Failure, Post, RetryAfter, Stage};
use events::{SignatureKey, Timestamp, signature};
use http::HeaderMap;
use platform::Platform as _;

use crate::Faulty;

/// How a callback answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// With this status.
    Status(u16),
    /// With this status and `Retry-After`, in seconds.
    RetryAfter(u16, u64),
    /// With this status and text.
    Text(u16, String),
    /// Not in time: whether it was received is unknown to whoever posts.
    Timeout,
    /// Not at all, and the fault is ours.
    Ours,
}

/// How a callback behaves.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// The key that it verifies with; `None`: it expects no signature.
    pub key: Option<String>,
    /// How the first posts of each notification are answered.
    pub first: Vec<Reply>,
    /// How all later ones are, until told otherwise.
    pub then: Reply,
}

/// One post as it was received.
#[derive(Clone, Debug)]
pub struct Posted {
    /// Where.
    pub url: String,
    /// When.
    pub at: Timestamp,
    /// `Elements-Webhook-Id`.
    pub id: String,
    /// All headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Whether it was answered 2xx.
    pub taken: bool,
}

impl Posted {
    /// The body, read.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The events: (event id, object id).
    #[must_use]
    pub fn events(&self) -> Vec<(String, String)> {
        let json = self.json();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        let events = json["message"]["events"].as_array().unwrap().clone();
        events.iter().map(|event| (text(&event["id"]), text(&event["objectId"]))).collect()
    }
}

#[derive(Debug, Default)]
struct State {
    behaviours: BTreeMap<String, Behaviour>,
    posted: Vec<Posted>,
    counts: HashMap<(String, String), usize>,
}

/// All callbacks of a world. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Callbacks(Arc<Mutex<State>>);

impl Callbacks {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, what is posted to `url` is treated so.
    pub fn behave(&self, url: &str, behaviour: Behaviour) {
        self.state().behaviours.insert(url.to_owned(), behaviour);
    }

    /// From now on, `url` answers what is not scripted otherwise with `reply`.
    pub fn then(&self, url: &str, reply: Reply) {
        self.state().behaviours.get_mut(url).unwrap().then = reply;
    }

    /// Everything received, in order.
    #[must_use]
    pub fn posted(&self) -> Vec<Posted> {
        self.state().posted.clone()
    }

    fn receive(&self, request: &CallbackRequest, at: Timestamp) -> Reply {
        let mut state = self.state();
        let url = request.url.as_str().to_owned();
        let behaviour = state.behaviours.get(&url).cloned().unwrap_or_else(|| panic!("nobody listens at {url}"));
        check_signatures(behaviour.key.as_deref(), request, at);
        let id = request.headers[signature::ELEMENTS_ID].to_str().unwrap().to_owned();
        let count = state.counts.entry((url.clone(), id.clone())).or_default();
        let reply = behaviour.first.get(*count).unwrap_or(&behaviour.then).clone();
        *count += 1;
        let taken = matches!(reply, Reply::Status(200..300));
        let (headers, body) = (request.headers.clone(), request.body.clone());
        state.posted.push(Posted { url, at, id, headers, body, taken });
        reply
    }
}

fn check_signatures(key: Option<&str>, request: &CallbackRequest, at: Timestamp) {
    let header = |name: &str| request.headers.get(name).map(|value| value.to_str().unwrap());
    let Some(key) = key else {
        assert_eq!(header(signature::ELEMENTS_SIGNATURE), None);
        assert_eq!(header(signature::WEBHOOK_SIGNATURE), None);
        return;
    };
    let key = SignatureKey::new(key.into()).unwrap();
    key.verify_elements(header(signature::ELEMENTS_SIGNATURE).unwrap(), &request.body).unwrap();
    let (id, time) = (header(signature::WEBHOOK_ID).unwrap(), header(signature::WEBHOOK_TIMESTAMP).unwrap());
    assert_eq!(header(signature::ELEMENTS_ID), Some(id));
    key.verify_standard(id, time, header(signature::WEBHOOK_SIGNATURE).unwrap(), &request.body, at).unwrap();
}

/// One process's way to the callbacks: each post is a step of that process.
#[derive(Debug)]
pub struct Caller {
    /// Whose steps.
    pub platform: Faulty,
    /// Who is called.
    pub callbacks: Callbacks,
}

impl Post for Caller {
    async fn post(&self, request: CallbackRequest) -> Result<Answer, Failure> {
        let now = self.platform.now();
        let what = format!("POST {}", request.url);
        let reply = self.platform.memory.act_with(&what, || self.callbacks.receive(&request, now)).await;
        let answer = |status, retry_after, text: &str| {
            let latency = Duration::from_millis(7);
            Ok(Answer { status, retry_after, body_start: text.to_owned(), latency, certificate: None })
        };
        match reply {
            Reply::Status(status) => answer(status, None, ""),
            Reply::RetryAfter(status, seconds) => answer(status, Some(RetryAfter::Seconds(seconds)), ""),
            Reply::Text(status, text) => answer(status, None, &text),
            Reply::Timeout => Err(Failure::Timeout { during: Stage::Answering, after: Duration::from_secs(15) }),
            Reply::Ours => Err(Failure::Ours("too many open files".into())),
        }
    }
}
