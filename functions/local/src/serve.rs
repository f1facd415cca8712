//! All roles in one process, from start to drained stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::routing::get;
use axum::{Router, middleware};
use connectors::Catalogue;
use dispatcher::{Dispatcher, RetryPolicy};
use egress::{Client, Limits, Policy};
use embedded::{Embedded, OpenError, Options, POLL_WORKERS, WORKERS};
use instances_api::Api;
use platform::{OsRandom, Platform as _, SystemClock};
use poller::{Accounts, Poller, Queries};
use pollhook_metrics::{Installed, prometheus};
use records::RecordError;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use url::Url;
use webhook_receiver::Receiver;

use crate::config::Serve;
use crate::definitions::{self, Broken};
use crate::flows::Flows;
use crate::{connections, credentials, edge, figures, pump};

/// How long a message stays with the worker that took it. A restart hands everything over again at once, so this only
/// bounds how soon a failure of our own is tried again; it is several callback deadlines (15 s) long, so that a slow
/// batch is not handed over twice.
pub(crate) const VISIBILITY: Duration = Duration::from_secs(120);

/// How often due wake-ups are looked for. Their unit is the minute.
const SWEEP_EVERY: Duration = Duration::from_secs(20);

/// How often is looked whether a minute has begun, of which the wheel has something due: a read, and more once a minute. Whoever
/// is due in a minute's first second is late by up to so much.
const TICK_EVERY: Duration = Duration::from_secs(1);

/// How long the next look waits after one that failed.
const AFTER_TICK: Duration = Duration::from_secs(5);

/// How long a tick and a poll job may take: as long as on AWS.
const POLLS_WITHIN: Duration = Duration::from_secs(60);

/// How often refusals are written down.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// How often a step of the clearing of expired items is made, and how many items it looks at: a million items an hour.
const PURGE_EVERY: Duration = Duration::from_secs(1);
const PURGE_KEYS: usize = 1000;

/// A request that has not been answered by then is given up. Providers give up sooner.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

/// Fewer files than this are worth a warning: what connections, callbacks (one socket each) and kept connections take at
/// most.
const FILES: usize = 8192;

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
    /// No certificates: no callback by https could ever be told.
    #[error(
        "the system's CA certificates cannot be read, and without them no callback can be trusted: {0}; install them (package ca-certificates)"
    )]
    Certificates(egress::Failure),
    /// The folder of connectors.
    #[error(transparent)]
    Connectors(#[from] Broken),
    /// Somebody else counts in this process.
    #[error(transparent)]
    Metrics(#[from] Installed),
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
    let catalogue = Arc::new(catalogue(config)?);
    // Before the roles: what they count goes where it went when they were made.
    let prometheus = prometheus::install()?;
    let options = Options::new(Arc::new(SystemClock), Arc::new(OsRandom), VISIBILITY);
    let platform = Arc::new(Embedded::open(&config.data, options)?);
    let listener =
        TcpListener::bind(config.listen).await.map_err(|error| ServeError::Listen { address: config.listen, error })?;
    let address = listener.local_addr().map_err(|error| ServeError::Listen { address: config.listen, error })?;
    let public_url = public_url(config, address)?;
    let policy = Policy::new(config.allow_callbacks_to.clone(), Some(&public_url));
    let client = Client::new(policy.clone(), Limits::default()).map_err(|e| ServeError::Setting(e.to_string()))?;
    client.warm().map_err(ServeError::Certificates)?;
    let client = Arc::new(client);
    // None of our own URLs is a provider's.
    let policy_of_polls = Policy::new(config.allow_callbacks_to.clone(), None);
    let tokens = Client::new(policy_of_polls.clone(), Limits::exchanging());
    let tokens = tokens.map_err(|e| ServeError::Setting(e.to_string()))?;
    let fetch = Client::new(policy_of_polls, Limits::fetching()).map_err(|e| ServeError::Setting(e.to_string()))?;
    let fetch = Arc::new(fetch);
    let (authorization, first_start) = credentials::ensure(&*platform, &config.data).await?;
    let open_files = connections::open_files();
    warn_of(&platform, open_files);

    let policy = Arc::new(policy);
    let api = Api {
        platform: Arc::clone(&platform),
        policy: Arc::clone(&policy),
        public_url: Some(public_url.clone()),
        catalogue: Arc::clone(&catalogue),
        callbacks: client.clone(),
        tokens: Arc::new(tokens),
        admin_key_sha256: config.admin_key_sha256.clone(),
    };
    let public_url = public_url.as_str().trim_end_matches('/').to_owned();
    let (polled, polled_catalogue) = (Arc::clone(&platform), Arc::clone(&catalogue));
    let receiver = Arc::new(Receiver::new(Arc::clone(&platform), &public_url, catalogue));

    let health = Router::new().route("/healthz", get(edge::healthz)).with_state(Arc::clone(&platform));
    let figures = Router::new().route("/metrics", get(figures::page)).with_state((prometheus, Arc::clone(&platform)));
    let router = webhook_receiver::router(Arc::clone(&receiver))
        .merge(instances_api::router(Arc::new(api)))
        .merge(health)
        .merge(figures)
        .fallback(edge::nowhere)
        .layer(middleware::from_fn_with_state(REQUEST_DEADLINE, edge::deadline));
    let flows = Flows::to(config.flows_to.clone()).map_err(|e| ServeError::Setting(e.to_string()))?;
    let dispatcher = Arc::new(Dispatcher::new(Arc::clone(&platform), client, flows, policy, RetryPolicy::default()));
    let work = move |body: String, receive_count: u32| {
        let dispatcher = Arc::clone(&dispatcher);
        async move { dispatcher.handle(&body, receive_count).await }
    };
    let known = Arc::new((Accounts::default(), Queries::default()));
    let poll = move |body: String, _: u32| {
        let (platform, fetch, catalogue) = (Arc::clone(&polled), Arc::clone(&fetch), Arc::clone(&polled_catalogue));
        let known = Arc::clone(&known);
        async move {
            let (accounts, queries) = &*known;
            let poller = Poller { platform: &*platform, fetch: &*fetch, catalogue: &catalogue, accounts, queries };
            poller::handle(&*platform, &poller, &body, POLLS_WITHIN).await
        }
    };

    let (stop, stopped) = watch::channel(false);
    let tasks = vec![
        tokio::spawn(connections::serve(
            listener,
            router,
            connections::most(open_files),
            connections::HEAD_DEADLINE,
            stopped.clone(),
        )),
        tokio::spawn(pump::run(platform.batches().clone(), WORKERS, work, stopped.clone())),
        tokio::spawn(pump::run(platform.polls().clone(), POLL_WORKERS, poll, stopped.clone())),
        every(SWEEP_EVERY, stopped.clone(), platform.clone(), |platform| async move {
            if let Err(error) = poller::sweep(&*platform).await {
                tracing::error!(%error, "the retry sweep failed, the next one repeats it");
            }
        }),
        every(TICK_EVERY, stopped.clone(), platform.clone(), |platform| async move {
            if let Err(error) = poller::tick(&*platform, platform.now().plus(POLLS_WITHIN)).await {
                tracing::error!(%error, "not all that is due could be sent to be polled");
                // The next look sends all of it again.
                tokio::time::sleep(AFTER_TICK).await;
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

/// The built-in connectors, and those of the folder; their providers where the operator has them be asked.
fn catalogue(config: &Serve) -> Result<Catalogue, ServeError> {
    let definitions::Loaded { mut catalogue, files } = definitions::load(config.connectors.as_deref())?;
    for (key, file) in &files {
        let file = file.display();
        match catalogue.is_built_in(key) {
            true => tracing::info!(key, %file, "a connector was read, and stands in for the built-in one"),
            false => tracing::info!(key, %file, "a connector was read"),
        }
    }
    catalogue.place(&config.connector_url).map_err(|why| ServeError::Setting(format!("--connector-url {why}")))?;
    Ok(catalogue)
}

fn public_url(config: &Serve, address: SocketAddr) -> Result<Url, ServeError> {
    let url = match &config.public_url {
        Some(url) => url.clone(),
        None => Url::parse(&format!("http://{address}")).map_err(|e| ServeError::Setting(e.to_string()))?,
    };
    if front::is_public_url(&url) {
        Ok(url)
    } else {
        Err(ServeError::Setting(format!("--public-url is {}", front::PUBLIC_URL)))
    }
}

/// Says what an operator should know at the start.
fn warn_of(platform: &Embedded, open_files: usize) {
    if open_files < FILES {
        tracing::warn!(open_files, "few files may be open; under load set the limit (ulimit -n) to {FILES} or more");
    }
    match platform.store().dead_letter_count().and_then(|count| Ok((count, platform.store().dead_letters(1)?))) {
        Ok((count, newest)) => {
            if let Some(newest) = newest.first() {
                let (newest, reason) = (newest.at.iso_seconds(), &newest.reason);
                tracing::warn!(count, newest, reason, "there are dead letters; `pollhook dead-letters` shows them");
            }
        }
        Err(error) => tracing::error!(%error, "the dead letters cannot be read"),
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
