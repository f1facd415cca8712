//! A callback (or a rule engine) on a real socket that keeps what it gets.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode, header};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::until;

/// A notification that came.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, as it came.
    pub body: Bytes,
    /// The body, read.
    pub json: Value,
    /// What it was, or will be, answered.
    pub status: StatusCode,
}

impl Received {
    /// A header's value; empty where there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The notification's id; of an entry of the event bus, its event's.
    #[must_use]
    pub fn id(&self) -> &str {
        let told = &self.json["message"]["eventId"];
        told.as_str().or(self.json["detail"]["eventId"].as_str()).unwrap()
    }

    /// Ids of objects and events.
    pub fn events(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let events = self.json["message"]["events"].as_array().unwrap().iter();
        events.map(|event| (text(&event["objectId"]), text(&event["id"]))).collect()
    }
}

type Decide = dyn Fn(&Received, u32) -> StatusCode + Send + Sync;

struct Inner {
    received: Mutex<Vec<Received>>,
    counts: Mutex<HashMap<String, u32>>,
    decide: Box<Decide>,
    held: watch::Sender<bool>,
    /// What `Retry-After` says with every answer that is no success.
    retry_after: OnceLock<String>,
}

/// The callback. Stops when dropped.
pub struct Sink {
    /// Where it listens.
    pub url: String,
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

impl Sink {
    /// Answers 200 to everything.
    pub async fn new() -> Self {
        Self::answering(|_, _| StatusCode::OK).await
    }

    /// Answers what `decide` says of a request and how many came with its notification's id, from 1.
    pub async fn answering(decide: impl Fn(&Received, u32) -> StatusCode + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/callback", listener.local_addr().unwrap());
        let inner = Arc::new(Inner {
            received: Mutex::default(),
            counts: Mutex::default(),
            decide: Box::new(decide),
            held: watch::Sender::new(false),
            retry_after: OnceLock::new(),
        });
        let router = Router::new().fallback(take).with_state(Arc::clone(&inner));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, inner, task }
    }

    /// The same, and what it declines it wants to see again after so many seconds.
    #[must_use]
    pub fn asking_for(self, seconds: &str) -> Self {
        self.inner.retry_after.set(seconds.to_owned()).unwrap();
        self
    }

    /// From now on, and until it is released, no request is answered.
    pub fn hold(&self, held: bool) {
        self.inner.held.send_replace(held);
    }

    /// All that came, in order.
    pub fn received(&self) -> Vec<Received> {
        self.inner.received.lock().unwrap().clone()
    }

    /// All that came and was answered 2xx.
    pub fn taken(&self) -> Vec<Received> {
        self.received().into_iter().filter(|received| received.status.is_success()).collect()
    }

    /// Waits until `count` have come, however they were answered.
    pub async fn receives(&self, count: usize) -> Vec<Received> {
        let what = format!("{count} notifications");
        until(&what, async || Some(self.received()).filter(|received| received.len() >= count)).await
    }

    /// Waits until `count` were taken.
    pub async fn takes(&self, count: usize) -> Vec<Received> {
        let what = format!("{count} notifications answered 2xx");
        until(&what, async || Some(self.taken()).filter(|taken| taken.len() >= count)).await
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(sink): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> Response {
    let json = serde_json::from_slice(&body).unwrap();
    let mut received = Received { headers, body, json, status: StatusCode::OK };
    let count = {
        let mut counts = sink.counts.lock().unwrap();
        let count = counts.entry(received.id().to_owned()).or_default();
        *count += 1;
        *count
    };
    received.status = (sink.decide)(&received, count);
    let status = received.status;
    sink.received.lock().unwrap().push(received);
    let _ = sink.held.subscribe().wait_for(|held| !held).await;
    match sink.retry_after.get().filter(|_| !status.is_success()) {
        Some(seconds) => (status, [(header::RETRY_AFTER, seconds.as_str())]).into_response(),
        None => status.into_response(),
    }
}
