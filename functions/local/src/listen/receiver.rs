//! The listener's HTTP side.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use events::signature::{ELEMENTS_ID, SignatureKey, WEBHOOK_ID};
use platform::{Clock as _, SystemClock};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::listen::arrival::{Arrival, Notification};
use crate::listen::verdict::{self, Verdicts};

/// Largest body taken, in bytes. A notification repeats its webhook's whole body, of at most 4 MiB, beside its events.
const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// What the listener checks, and how it misbehaves.
#[derive(Debug)]
pub(crate) struct Behaviour {
    /// The key to check signatures with, if they are checked.
    pub(crate) key: Option<SignatureKey>,
    /// How many requests of each notification are answered 503 before one is answered 200.
    pub(crate) fail_first: u32,
}

struct Listener {
    behaviour: Behaviour,
    /// Requests by notification id; only of those whose signatures hold, so that a stranger cannot fill it.
    counts: Mutex<HashMap<String, u32>>,
    tell: mpsc::Sender<Arrival>,
}

/// Takes requests until the task is dropped, telling each arrival before it is answered.
///
/// # Errors
/// The socket's.
pub(crate) async fn serve(
    socket: TcpListener,
    behaviour: Behaviour,
    tell: mpsc::Sender<Arrival>,
) -> std::io::Result<()> {
    let listener = Listener { behaviour, counts: Mutex::default(), tell };
    let router =
        Router::new().fallback(take).layer(DefaultBodyLimit::max(MAX_BODY_BYTES)).with_state(Arc::new(listener));
    axum::serve(socket, router).await
}

async fn take(State(listener): State<Arc<Listener>>, method: Method, headers: HeaderMap, body: Bytes) -> Response {
    if method != Method::POST {
        return answer(StatusCode::METHOD_NOT_ALLOWED, "notifications come by POST");
    }
    let at = SystemClock.now();
    let verdicts = Verdicts::of(listener.behaviour.key.as_ref(), &headers, &body, at);
    let refusal = verdicts.refusal();
    let notification = Notification::read(&body);
    let named = verdict::header(&headers, WEBHOOK_ID).or(verdict::header(&headers, ELEMENTS_ID));
    let id = named.or(notification.as_ref().map(|n| n.message.event_id.as_str())).unwrap_or_default().to_owned();
    let count = if refusal.is_some() { 0 } else { listener.count(&id) };
    let (status, text) = match refusal {
        Some(reason) => (StatusCode::UNAUTHORIZED, reason),
        None if count <= listener.behaviour.fail_first => {
            (StatusCode::SERVICE_UNAVAILABLE, "failing as told by --fail-first".to_owned())
        }
        None => (StatusCode::OK, String::new()),
    };
    let arrival = Arrival { at, id, count, verdicts, status, notification, body };
    // Nobody shows what arrives any more: it is better sent again later.
    if listener.tell.send(arrival).await.is_err() {
        return answer(StatusCode::SERVICE_UNAVAILABLE, "stopping");
    }
    answer(status, &text)
}

impl Listener {
    fn count(&self, id: &str) -> u32 {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(id.to_owned()).or_default();
        *count = count.saturating_add(1);
        *count
    }
}

fn answer(status: StatusCode, message: &str) -> Response {
    let body = match message {
        "" => "{}".to_owned(),
        message => serde_json::json!({ "message": message }).to_string(),
    };
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
