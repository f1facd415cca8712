//! A callback (or a rule engine) on a real socket that keeps what it gets.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::until;

/// A notification that came.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The body, read.
    pub(crate) json: Value,
    /// What it was, or will be, answered.
    pub(crate) status: StatusCode,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The notification's id; of an entry of the event bus, its event's.
    pub(crate) fn id(&self) -> &str {
        let told = &self.json["message"]["eventId"];
        told.as_str().or(self.json["detail"]["eventId"].as_str()).unwrap()
    }

    /// Ids of objects and events.
    pub(crate) fn events(&self) -> Vec<(String, String)> {
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
}

/// The callback. Stops when dropped.
pub(crate) struct Sink {
    pub(crate) url: String,
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

impl Sink {
    /// Answers 200 to everything.
    pub(crate) async fn new() -> Self {
        Self::answering(|_, _| StatusCode::OK).await
    }

    /// Answers what `decide` says of a request and how many came with its notification's id, from 1.
    pub(crate) async fn answering(decide: impl Fn(&Received, u32) -> StatusCode + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/callback", listener.local_addr().unwrap());
        let inner = Arc::new(Inner {
            received: Mutex::default(),
            counts: Mutex::default(),
            decide: Box::new(decide),
            held: watch::Sender::new(false),
        });
        let router = Router::new().fallback(take).with_state(Arc::clone(&inner));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, inner, task }
    }

    /// From now on, and until it is released, no request is answered.
    pub(crate) fn hold(&self, held: bool) {
        self.inner.held.send_replace(held);
    }

    /// All that came, in order.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.inner.received.lock().unwrap().clone()
    }

    /// All that came and was answered 2xx.
    pub(crate) fn taken(&self) -> Vec<Received> {
        self.received().into_iter().filter(|received| received.status.is_success()).collect()
    }

    /// Waits until `count` have come, however they were answered.
    pub(crate) async fn receives(&self, count: usize) -> Vec<Received> {
        let what = format!("{count} notifications");
        until(&what, async || Some(self.received()).filter(|received| received.len() >= count)).await
    }

    /// Waits until `count` were taken.
    pub(crate) async fn takes(&self, count: usize) -> Vec<Received> {
        let what = format!("{count} notifications answered 2xx");
        until(&what, async || Some(self.taken()).filter(|taken| taken.len() >= count)).await
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(sink): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> StatusCode {
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
    status
}
