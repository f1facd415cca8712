//! `pollhook demo`: everything at work, and checked.
//!
//! *Promise.* The server is the real one, reached over real sockets; webhooks are signed as the providers sign them. What
//! is shown at the end is what arrived: anything missing or too many is named, and the exit code is 1 then. Nothing is
//! left behind, also when something fails.
//!
//! *Flow.* [`scenarios`] says what is sent and what must come of it ([`recorded`]: every connector's examples, also those of
//! a provider that the demo defines itself, in a file as any user could; [`polled`]: an API that is asked); [`provider`] provisions and sends; the receiver of
//! `listen` takes what arrives; [`ledger`] compares, and [`reply`] how webhooks are
//! answered; [`table`] shows. Waiting is for what is expected, up to a deadline.
//! Whether something arrives that should not can only be seen while the demo runs: the longest expected wait (a retry,
//! some five seconds) leaves time for it, and the server finishes what is at work before the account is closed.

mod ledger;
mod polled;
mod provider;
mod recorded;
mod reply;
mod scenarios;
mod table;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use events::configuration::POLLER_REFRESH_INTERVAL;
use events::{InstanceId, SignatureKey};
use ipnet::{IpNet, Ipv4Net};
use platform::{Clock as _, OsRandom, Random as _, SystemClock};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::config::Serve;
use crate::definitions::{self, Loaded};
use crate::demo::ledger::Ledger;
use crate::demo::polled::Bookings;
use crate::demo::provider::Provider;
use crate::demo::reply::Wanted;
use crate::demo::scenarios::{Scenario, Send};
use crate::demo::table::Row;
use crate::listen::arrival::Arrival;
use crate::listen::receiver::{self, Behaviour};
use crate::listen::{WAITING, show};
use crate::paint::{Paint, counted};
use crate::run::{failed, stop_signals};
use crate::say;
use crate::serve::{self, Running, ServeError};

/// How long everything expected may take to arrive. The retry comes after 5 s ± 20 %.
const DEADLINE: Duration = Duration::from_secs(30);

/// What is dated by a second is told once that is over.
const SETTLED: Duration = Duration::from_secs(2);

/// A provider that nobody has heard of: its key, and its definition.
const OWN_KEY: &str = "lantern";
const OWN_DEFINITION: &str = include_str!("lantern.yaml");

/// Why the demo did not get to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error("the folder of the demo's data cannot be made or removed: {0}")]
    Folder(std::io::Error),
    #[error("no port for the demo's callback: {0}")]
    Port(std::io::Error),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("a request of the demo failed: {0}")]
    Http(#[from] reqwest::Error),
    #[error("an instance was not provisioned: {0}")]
    Provision(String),
    #[error("an instance was not changed: {0}")]
    Change(String),
    #[error("a notification was not told in time")]
    Untold,
    #[error("a webhook could not be signed: {0}")]
    Sign(connectors::SignError),
    #[error("a signature key could not be made: {0}")]
    Key(#[from] events::signature::KeyError),
}

/// Runs the demo, and removes its traces.
pub(crate) async fn run() -> ExitCode {
    let stop = match stop_signals() {
        Ok(stop) => stop,
        Err(error) => return failed(&error),
    };
    let folder = match tempfile::Builder::new().prefix("pollhook-demo-").tempdir() {
        Ok(folder) => folder,
        Err(error) => return failed(&DemoError::Folder(error)),
    };
    let paint = Paint::of_stdout();
    let outcome = tokio::select! {
        outcome = demonstrate(folder.path(), paint) => Some(outcome),
        () = stop => None,
    };
    if let Err(error) = folder.close() {
        return failed(&DemoError::Folder(error));
    }
    match outcome {
        Some(Ok(true)) => ExitCode::SUCCESS,
        Some(Ok(false)) => ExitCode::FAILURE,
        Some(Err(error)) => failed(&error),
        None => {
            say!("\nStopped; nothing is left behind.");
            ExitCode::FAILURE
        }
    }
}

/// The callback's end: one URL that works, one that fails once.
struct Callbacks {
    steady: SocketAddr,
    failing: SocketAddr,
    arrivals: mpsc::Receiver<Arrival>,
    tasks: [JoinHandle<std::io::Result<()>>; 2],
}

impl Callbacks {
    async fn start(key: &SignatureKey) -> Result<Self, DemoError> {
        let (tell, arrivals) = mpsc::channel(WAITING);
        let start = async |fail_first| {
            let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(DemoError::Port)?;
            let address = socket.local_addr().map_err(DemoError::Port)?;
            let behaviour = Behaviour { key: Some(key.clone()), fail_first };
            Ok::<_, DemoError>((address, tokio::spawn(receiver::serve(socket, behaviour, tell.clone()))))
        };
        let ((steady, one), (failing, other)) = (start(0).await?, start(1).await?);
        Ok(Self { steady, failing, arrivals, tasks: [one, other] })
    }
}

impl Drop for Callbacks {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn demonstrate(folder: &Path, paint: Paint) -> Result<bool, DemoError> {
    let began = Instant::now();
    let settings = settings(folder);
    let file = format!("{OWN_KEY}.yaml");
    let loaded = define(settings.connectors.as_deref(), &file)?;
    let mut scenarios = scenarios::all(&loaded.catalogue, OWN_KEY, &file, SystemClock.now());
    let bookings = Bookings::start(secret()).await?;
    scenarios.extend(loaded.catalogue.get("http").map(|http| bookings.scenario(http)));
    let (signature_key, webhook_secret) = (secret(), secret());
    let mut callbacks = Callbacks::start(&SignatureKey::new(signature_key.as_str().into())?).await?;
    let running = serve::start(&settings).await?;
    let provider = Provider::new(&running.public_url, &running.authorization)?;
    introduce(&running, &callbacks, &bookings, folder, paint);

    let instances = provision(&provider, &scenarios, &callbacks, &signature_key, &webhook_secret).await?;
    say!("  instances  {} provisioned over POST /elements/api-v2/instances\n", instances.len());
    say!("{}", paint.bold("Notifications as they arrive"));

    let mut book = Book::new(&scenarios, paint);
    let sending = send(&provider, &scenarios, &instances, &webhook_secret);
    let polling = poll(&provider, &bookings, instances.get(polled::NAME).copied());
    let (answers, polled, ()) = tokio::join!(sending, polling, book.keep(&mut callbacks.arrivals));
    book.keep_rest(running, &mut callbacks.arrivals).await;
    polled?;
    for Answer { scenario, wanted, fault } in answers {
        match fault {
            Ok(fault) => book.ledger.answered(scenario, wanted, fault),
            Err(error) => book.ledger.complain(scenario, error.to_string()),
        }
    }
    Ok(book.close(&scenarios, began.elapsed()))
}

/// Writes the demo's own definition as a user would, and reads what the server will read.
fn define(folder: Option<&Path>, file: &str) -> Result<Loaded, DemoError> {
    if let Some(folder) = folder {
        std::fs::create_dir(folder).map_err(DemoError::Folder)?;
        std::fs::write(folder.join(file), OWN_DEFINITION).map_err(DemoError::Folder)?;
    }
    Ok(definitions::load(folder).map_err(ServeError::from)?)
}

/// A random key that serves as a text and, as Standard Webhooks writes keys, as base64.
fn secret() -> String {
    format!("whsec_{:016x}{:016x}", OsRandom.bits(), OsRandom.bits())
}

fn settings(folder: &Path) -> Serve {
    Serve {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        data: folder.join("data"),
        public_url: None,
        connector_url: Vec::new(),
        allow_callbacks_to: vec![IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::LOCALHOST, 8))],
        flows_to: None,
        connectors: Some(folder.join("connectors")),
        admin_key_sha256: None,
        // The demo starts no log: its output is what is to be read.
        log: String::new(),
    }
}

fn introduce(running: &Running, callbacks: &Callbacks, bookings: &Bookings, folder: &Path, paint: Paint) {
    say!("{}\n", paint.bold("Pollhook demo: a real server, a real callback, webhooks as the providers sign them, and an API that is polled"));
    say!("  server     {}", running.public_url);
    say!("  data       {} (removed at the end)", folder.display());
    say!("  callbacks  http://{} checks both signatures", callbacks.steady);
    say!("             http://{} does too, and answers each first attempt 503", callbacks.failing);
    say!("  polled     {}/bookings, which sends no webhooks", bookings.url());
    say!("  provider   invented, and all that Pollhook knows of it is connectors/{OWN_KEY}.yaml there:");
    let definition = OWN_DEFINITION.lines().take_while(|line| !line.starts_with("examples:"));
    definition.for_each(|line| say!("{}", paint.dim(&format!("               {line}"))));
}

async fn provision(
    provider: &Provider,
    scenarios: &[Scenario<'_>],
    callbacks: &Callbacks,
    signature_key: &str,
    webhook_secret: &str,
) -> Result<HashMap<String, InstanceId>, DemoError> {
    let mut ids = HashMap::new();
    for instance in scenarios.iter().flat_map(|scenario| &scenario.instances) {
        let address = if instance.fails_once { callbacks.failing } else { callbacks.steady };
        let body = instance.body(&format!("http://{address}/callback"), signature_key, webhook_secret);
        ids.insert(instance.name.clone(), provider.provision(&body).await?);
    }
    Ok(ids)
}

/// How a webhook was answered.
struct Answer<'s> {
    scenario: usize,
    wanted: &'s Wanted,
    /// What is wrong with the answer, if there was one.
    fault: Result<Option<String>, DemoError>,
}

/// Sends everything, in order.
async fn send<'s>(
    provider: &Provider,
    scenarios: &'s [Scenario<'_>],
    instances: &HashMap<String, InstanceId>,
    secret: &str,
) -> Vec<Answer<'s>> {
    let mut answers = Vec::new();
    for (scenario, Scenario { sends, .. }) in scenarios.iter().enumerate() {
        for Send { webhook, to, after, wanted } in sends {
            let id = |name: &Option<String>| name.as_ref().and_then(|name| instances.get(name)).copied();
            let sending = async {
                if let Some(instance) = id(after) {
                    provider.told(instance).await?;
                }
                let answered = provider.send(webhook, id(to), secret).await?;
                Ok(wanted.fault(webhook.connector, &answered))
            };
            answers.push(Answer { scenario, wanted, fault: sending.await });
        }
    }
    answers
}

/// Makes what a poll is to find, and has the instance polled before its turn: its polling is changed.
async fn poll(provider: &Provider, bookings: &Bookings, instance: Option<InstanceId>) -> Result<(), DemoError> {
    bookings.make(SystemClock.now());
    tokio::time::sleep(SETTLED).await;
    match instance {
        Some(instance) => provider.change(instance, POLLER_REFRESH_INTERVAL, "2").await,
        None => Ok(()),
    }
}

/// Shows what arrives, and books it.
struct Book {
    ledger: Ledger,
    /// The scenario of each instance, by its name.
    owners: HashMap<String, usize>,
    /// How many notifications of each scenario are still to be shown.
    lines: Vec<usize>,
    /// How many notifications were not shown.
    unshown: usize,
    /// Width of the longest name of an instance whose notifications are shown.
    width: usize,
    paint: Paint,
}

impl Book {
    fn new(scenarios: &[Scenario<'_>], paint: Paint) -> Self {
        let mut book =
            Self { ledger: Ledger::default(), owners: HashMap::new(), lines: Vec::new(), unshown: 0, width: 0, paint };
        for (number, scenario) in scenarios.iter().enumerate() {
            book.ledger.open(scenario.expected.clone());
            book.lines.push(scenario.lines);
            for instance in &scenario.instances {
                book.owners.insert(instance.name.clone(), number);
                if scenario.lines > 0 {
                    book.width = book.width.max(instance.name.chars().count());
                }
            }
        }
        book
    }

    /// Until everything expected has arrived, or the deadline.
    async fn keep(&mut self, arrivals: &mut mpsc::Receiver<Arrival>) {
        let deadline = tokio::time::Instant::now() + DEADLINE;
        while !self.ledger.complete() {
            match tokio::time::timeout_at(deadline, arrivals.recv()).await {
                Ok(Some(arrival)) => self.take(&arrival),
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// While the server finishes what is at work: that may still arrive, and must not be missed.
    async fn keep_rest(&mut self, running: Running, arrivals: &mut mpsc::Receiver<Arrival>) {
        let mut stopping = std::pin::pin!(running.stop());
        loop {
            tokio::select! {
                Some(arrival) = arrivals.recv() => self.take(&arrival),
                () = &mut stopping => break,
            }
        }
        while let Ok(arrival) = arrivals.try_recv() {
            self.take(&arrival);
        }
    }

    fn take(&mut self, arrival: &Arrival) {
        let name = arrival.notification.as_ref().map(|notification| &notification.message.instance_name);
        let owner = name.and_then(|name| self.owners.get(name)).copied();
        // What nobody awaits is always shown.
        match owner.and_then(|owner| self.lines.get_mut(owner)) {
            Some(0) => self.unshown += 1,
            left => {
                left.into_iter().for_each(|left| *left -= 1);
                say!("  {}", show::line(arrival, self.width, self.paint));
            }
        }
        let Some(notification) = &arrival.notification else {
            self.ledger.complain(0, "something that is not a notification arrived".into());
            return;
        };
        let message = &notification.message;
        match arrival.status {
            StatusCode::OK => self.ledger.book(owner, &message.instance_name, &message.events, arrival.count),
            StatusCode::SERVICE_UNAVAILABLE => {}
            status => {
                let refusal = arrival.verdicts.refusal().unwrap_or_default();
                self.ledger.complain(owner.unwrap_or(0), format!("the callback answered {status}: {refusal}"));
            }
        }
    }

    /// Shows the table; returns whether all went as expected.
    fn close(self, scenarios: &[Scenario<'_>], took: Duration) -> bool {
        let row = |(number, scenario): (usize, &Scenario<'_>)| Row {
            scenario: scenario.name.clone(),
            sent: match scenario.polled {
                0 => counted(scenario.sends.len(), "request"),
                changes => format!("{} made", counted(changes, "change")),
            },
            expected: scenario.tally().to_string(),
            arrived: self.ledger.arrived(number).to_string(),
            faults: self.ledger.faults(number),
        };
        let rows: Vec<Row> = scenarios.iter().enumerate().map(row).collect();
        let wrong = rows.iter().filter(|row| !row.faults.is_empty()).count();
        say!("  {}", self.paint.dim(&format!("… and {} more, compared below", self.unshown)));
        say!("\n{}\n", table::render(&rows, self.paint));
        say!("  Answers are compared too: acknowledgements (Salesforce's is XML), and what handshakes are to echo.");
        say!(
            "  A signal (Dropbox) says only that something changed, and became a poll job: of an account that nobody gave\n  Pollhook a token for, so nothing is asked.\n"
        );
        let seconds = took.as_secs_f64();
        let verdict = match wrong {
            0 => self.paint.good("All as expected"),
            _ => self.paint.bad(&format!("{} went wrong", counted(wrong, "scenario"))),
        };
        say!("  {verdict}, in {seconds:.1} s");
        wrong == 0
    }
}
