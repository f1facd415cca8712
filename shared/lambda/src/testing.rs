//! Lambda, as a function's process sees it: hands out events and takes the answers.
//!
//! ```no_run
//! # use pollhook_lambda as lambda;
//! # async fn example() {
//! use lambda::testing::RuntimeApi;
//! let api = RuntimeApi::start().await;
//! let function = std::process::Command::new("target/debug/dispatcher").envs(api.environment()).spawn();
//! let answer = api.invoke(r#"{"Records":[]}"#, std::time::Duration::from_secs(30)).await;
//! # }
//! ```
//!
//! It speaks the Runtime API (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>) on 127.0.0.1. It does not
//! freeze the process between events, nor end it at the deadline: that the process answers before it is what is tested.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Where the Runtime API's paths begin.
const BASE: &str = "/2018-06-01/runtime";

/// What a function made of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It answered.
    Done(Bytes),
    /// It reported an error.
    Failed(Bytes),
}

/// The stand-in. Serves until it is dropped.
#[derive(Debug)]
pub struct RuntimeApi {
    address: SocketAddr,
    lambda: Arc<Lambda>,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

#[derive(Debug)]
struct Lambda {
    number: AtomicU64,
    events: mpsc::UnboundedSender<Event>,
    taken: tokio::sync::Mutex<mpsc::UnboundedReceiver<Event>>,
    /// Who waits for the answer to which event.
    waiting: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
    /// A permit once a function has asked for an event.
    asked: Semaphore,
}

#[derive(Debug)]
struct Event {
    id: String,
    body: Bytes,
    within: Duration,
}

impl RuntimeApi {
    /// Starts to serve on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When there is none.
    #[expect(clippy::expect_used, reason = "a test that cannot start is over")]
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("the port's address");
        let (events, taken) = mpsc::unbounded_channel();
        let lambda = Arc::new(Lambda {
            number: AtomicU64::new(0),
            events,
            taken: tokio::sync::Mutex::new(taken),
            waiting: Mutex::default(),
            asked: Semaphore::new(0),
        });
        let router = Router::new()
            .route(&format!("{BASE}/invocation/next"), get(next))
            .route(&format!("{BASE}/invocation/{{id}}/response"), post(done))
            .route(&format!("{BASE}/invocation/{{id}}/error"), post(failed))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&lambda));
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, lambda, server }
    }

    /// What Lambda sets in a function's environment.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, String); 5] {
        [
            ("AWS_LAMBDA_RUNTIME_API", self.address.to_string()),
            ("AWS_LAMBDA_FUNCTION_NAME", "function".into()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".into()),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".into()),
            ("AWS_REGION", "eu-west-1".into()),
        ]
    }

    /// Waits until a function has started: it asks for its first event.
    pub async fn started(&self) {
        drop(self.lambda.asked.acquire().await);
    }

    /// Has the function work on `event`, with so much time, and waits for its answer as long as it takes.
    ///
    /// # Panics
    /// When the stand-in has been stopped.
    #[expect(clippy::expect_used, reason = "the channels are held by this value")]
    pub async fn invoke(&self, event: impl Into<Bytes>, within: Duration) -> Answer {
        let id = format!("request-{}", self.lambda.number.fetch_add(1, Ordering::Relaxed));
        let (tell, told) = oneshot::channel();
        self.lambda.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), tell);
        self.lambda.events.send(Event { id, body: event.into(), within }).expect("an open channel");
        told.await.expect("an open channel")
    }
}

impl Drop for RuntimeApi {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn next(State(lambda): State<Arc<Lambda>>) -> Response {
    lambda.asked.add_permits(1);
    let Some(Event { id, body, within }) = lambda.taken.lock().await.recv().await else {
        return Response::default();
    };
    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + within;
    Response::builder()
        .header("lambda-runtime-aws-request-id", id)
        .header("lambda-runtime-deadline-ms", deadline.as_millis().to_string())
        .header("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-west-1:123456789012:function:function")
        .body(Body::from(body))
        .unwrap_or_default()
}

async fn done(State(lambda): State<Arc<Lambda>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    lambda.tell(&id, Answer::Done(body))
}

async fn failed(State(lambda): State<Arc<Lambda>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    lambda.tell(&id, Answer::Failed(body))
}

impl Lambda {
    fn tell(&self, id: &str, answer: Answer) -> StatusCode {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        match waiting.map(|waiting| waiting.send(answer)) {
            Some(Ok(())) => StatusCode::ACCEPTED,
            // As Lambda says of an event that nobody waits for any more.
            _ => StatusCode::GONE,
        }
    }
}
