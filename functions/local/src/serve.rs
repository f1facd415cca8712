//! All roles in one process, from start to drained stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use dispatcher::{Dispatcher, RetryPolicy};
use egress::{Client, Limits, Policy};
use embedded::{Embedded, OpenError, Options};
use instances_api::Api;
use platform::{Consistency, Key, OsRandom, Platform as _, SystemClock, Table as _};
use records::RecordError;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use url::Url;
use webhook_receiver::Receiver;

use crate::config::Serve;
use crate::{credentials, pump};

/// How long a message stays with the worker that took it. A restart hands everything over again at once, so this only
/// bounds how soon a failure of our own is tried again; it is several callback deadlines (15 s) long, so that a slow
/// batch is not handed over twice.
const VISIBILITY: Duration = Duration::from_secs(120);

/// How often due wake-ups are looked for. Their unit is the minute.
const SWEEP_EVERY: Duration = Duration::from_secs(20);

/// How often refusals are written down.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// How often a step of the clearing of expired items is made, and how many items it looks at: a million items an hour.
const PURGE_EVERY: Duration = Duration::from_secs(1);
const PURGE_KEYS: usize = 1000;

/// A request that has not been answered by then is given up. Providers give up sooner.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

/// How long a stop waits for what is at work: longer than a callback's deadline.
const DRAIN: Duration = Duration::from_secs(20);

/// Why the server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data folder.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// The address.
    #[error("cannot listen on {address}: {error}; choose another with --listen")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: std::io::Error,
    },
    /// The credentials file.
    #[error("the credentials file {} cannot be read or written: {error}", path.display())]
    Credentials {
        /// Where.
        path: PathBuf,
        /// Why not.
        error: std::io::Error,
    },
    /// A setting.
    #[error("{0}")]
    Setting(String),
}

/// A server at work.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// What providers call, without a trailing slash.
    pub public_url: String,
    /// The value of the `Authorization` header.
    pub authorization: SecretString,
    /// Whether the credentials were made at this start.
    pub first_start: bool,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    receiver: Arc<Receiver<Embedded>>,
}

/// Starts all roles.
///
/// # Errors
/// [`ServeError`], each saying what to do.
pub async fn start(config: &Serve) -> Result<Running, ServeError> {
    let options = Options::new(Arc::new(SystemClock), Arc::new(OsRandom), VISIBILITY);
    let platform = Arc::new(Embedded::open(&config.data, options)?);
    let listener =
        TcpListener::bind(config.listen).await.map_err(|error| ServeError::Listen { address: config.listen, error })?;
    let address = listener.local_addr().map_err(|error| ServeError::Listen { address: config.listen, error })?;
    let public_url = public_url(config, address)?;
    let (authorization, first_start) = credentials::ensure(&*platform, &config.data).await?;

    let policy = Policy::new(config.allow_callbacks_to.clone(), Some(&public_url));
    let client = Client::new(policy.clone(), Limits::default()).map_err(|e| ServeError::Setting(e.to_string()))?;
    let policy = Arc::new(policy);
    let api =
        Api { platform: Arc::clone(&platform), policy: Arc::clone(&policy), public_url: Some(public_url.clone()) };
    let public_url = public_url.as_str().trim_end_matches('/').to_owned();
    let receiver = Arc::new(Receiver::new(Arc::clone(&platform), &public_url));
    let dispatcher = Dispatcher::new(Arc::clone(&platform), client, policy, RetryPolicy::default());

    let health = Router::new().route("/healthz", get(healthz)).with_state(Arc::clone(&platform));
    let router = webhook_receiver::router(Arc::clone(&receiver))
        .merge(instances_api::router(Arc::new(api)))
        .merge(health)
        .layer(middleware::from_fn(deadline));

    let (stop, stopped) = watch::channel(false);
    let tasks = vec![
        tokio::spawn(http(listener, router, stopped.clone())),
        tokio::spawn(pump::run(Arc::clone(&platform), Arc::new(dispatcher), stopped.clone())),
        every(SWEEP_EVERY, stopped.clone(), platform.clone(), |platform| async move {
            if let Err(error) = poller::sweep(&*platform).await {
                tracing::error!(%error, "the retry sweep failed, the next one repeats it");
            }
        }),
        every(FLUSH_EVERY, stopped.clone(), Arc::clone(&receiver), |receiver| async move { flush(&receiver).await }),
        every(PURGE_EVERY, stopped, platform, |platform| async move {
            if let Err(error) = platform.store().purge(PURGE_KEYS).await {
                tracing::warn!(%error, "expired items could not be cleared");
            }
        }),
    ];
    Ok(Running { address, public_url, authorization, first_start, stop, tasks, receiver })
}

impl Running {
    /// Stops taking requests and messages, waits for what is at work, and writes down what is only in memory.
    pub async fn stop(self) {
        let _ = self.stop.send(true);
        for task in self.tasks {
            if tokio::time::timeout(DRAIN, task).await.is_err() {
                tracing::warn!("not everything at work ended in time; it is taken up again at the next start");
            }
        }
        flush(&self.receiver).await;
    }
}

async fn flush(receiver: &Receiver<Embedded>) {
    if let Err(error) = receiver.flush().await {
        tracing::error!(%error, "refusals could not be written down, the next try repeats it");
    }
}

fn public_url(config: &Serve, address: SocketAddr) -> Result<Url, ServeError> {
    let url = match &config.public_url {
        Some(url) => url.clone(),
        None => Url::parse(&format!("http://{address}")).map_err(|e| ServeError::Setting(e.to_string()))?,
    };
    let usable = matches!(url.scheme(), "http" | "https") && url.has_host() && url.query().is_none();
    if usable && url.fragment().is_none() && url.username().is_empty() && url.password().is_none() {
        Ok(url)
    } else {
        Err(ServeError::Setting("--public-url is http(s)://host[:port][/path], without a query or credentials".into()))
    }
}

async fn http(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) {
    // Answers are small: waiting to fill a packet would only delay them.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let stopping = async move { stopped(&mut stop).await };
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopping).await {
        tracing::error!(%error, "the server stopped listening");
    }
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stopped| *stopped).await;
}

/// Does `job` every `period`, first at once, until stopped; jobs do not overlap.
fn every<S, F, J>(period: Duration, mut stop: watch::Receiver<bool>, state: S, job: J) -> JoinHandle<()>
where
    S: Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send,
    J: Fn(S) -> F + Send + 'static,
{
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return,
                _ = ticks.tick() => job(state.clone()).await,
            }
        }
    })
}

async fn deadline(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

/// Healthy is what can read its store.
async fn healthz(State(platform): State<Arc<Embedded>>) -> Response {
    match platform.table().get(&Key::new("OPERATOR", "ACCOUNT"), Consistency::Strong).await {
        Ok(_) => health(StatusCode::OK, "ok"),
        Err(error) => {
            tracing::error!(%error, "not healthy");
            health(StatusCode::SERVICE_UNAVAILABLE, "the store cannot be read")
        }
    }
}

fn health(status: StatusCode, word: &str) -> Response {
    let body = serde_json::json!({ "status": word }).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
