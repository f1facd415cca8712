//! The whole way, as a user would have it: a real server process, signed HubSpot webhooks in over loopback, signed
//! notifications out to a sink, every accept durable before its answer.
//!
//! ```text
//! cargo bench -p pollhook --bench throughput                     all phases
//! cargo bench -p pollhook --bench throughput -- --seconds 20     longer ones
//! cargo bench -p pollhook --bench throughput -- --only 64        those whose name holds "64"
//! ```
//!
//! Phases, for 1 and for 50 instances: as fast as 64 senders can (each waits for its answer), and a steady 1,000 a
//! second; then a dead callback beside 50 healthy ones. Generator and sink share one process and the machine with the
//! server, so the figures are of all three together. It prints, and judges nothing: a machine may be busy.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod support;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use platform::{Clock as _, SystemClock};
use support::{Connection, Server, answering, percentile};
use tokio::net::TcpListener;

const SECRET: &str = "bench-app-secret";
const SENDERS: usize = 64;
const STEADY_PER_SECOND: usize = 1000;
const WARM_UP: usize = 2000;
const WARM_OBJECT: usize = 1_000_000_000;
const FIRST_OBJECT: usize = 2_000_000_000;

/// An instance of HubSpot's.
async fn provision(server: &Server, portal: usize, callback: &str) {
    let instance = format!(
        r#"{{"name":"bench","element":{{"key":"hubspot"}},"configuration":{{"event.vendor.account":"{portal}","webhook.secret":"{SECRET}","event.notification.signature.key":"bench-key","event.notification.callback.url":"{callback}"}}}}"#
    );
    server.provision(&instance).await;
}

/// What happened to each webhook, in nanoseconds since the start; 0: nothing yet.
struct Log {
    start: Instant,
    /// The object of the first webhook; the others count up.
    first_object: usize,
    sent: Vec<AtomicU64>,
    acked: Vec<AtomicU64>,
    told: Vec<AtomicU64>,
    told_count: AtomicUsize,
    repeated: AtomicUsize,
    refused: AtomicUsize,
}

impl Log {
    fn new(first_object: usize, webhooks: usize) -> Arc<Self> {
        let empty = || (0..webhooks).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self {
            start: Instant::now(),
            first_object,
            sent: empty(),
            acked: empty(),
            told: empty(),
            told_count: AtomicUsize::new(0),
            repeated: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
        })
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn told(&self, object: usize) {
        let Some(place) = self.told.get(object.wrapping_sub(self.first_object)) else { return };
        if place.compare_exchange(0, self.now(), Relaxed, Relaxed).is_ok() {
            self.told_count.fetch_add(1, Relaxed);
        } else {
            self.repeated.fetch_add(1, Relaxed);
        }
    }
}

/// A callback that answers 200 at once and notes every event.
async fn sink(log: Arc<Mutex<Arc<Log>>>) -> SocketAddr {
    answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", move |_, body| {
        let log = Arc::clone(&log.lock().unwrap());
        // The normalised events write the id as text; the raw body does not.
        let text = std::str::from_utf8(body).unwrap();
        for part in text.split("\"objectId\":\"").skip(1) {
            let id = part.split('"').next().unwrap_or_default();
            log.told(id.parse().unwrap_or(0));
        }
    })
    .await
}

/// A callback that takes connections and never answers.
async fn black_hole() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    address
}

/// Signed single-change webhooks, ready to send.
fn requests(address: SocketAddr, portals: &[usize], first_object: usize, count: usize) -> Vec<Vec<u8>> {
    let connector = connectors::catalogue().get("hubspot").unwrap();
    let url = format!("http://{address}/elements/api-v2/events/hubspot");
    (0..count)
        .map(|n| {
            let (portal, object, at) = (portals[n % portals.len()], first_object + n, SystemClock.now());
            let body = format!(
                r#"[{{"eventId":{object},"subscriptionId":3849708,"portalId":{portal},"appId":14947547,"occurredAt":{},"subscriptionType":"contact.propertyChange","attemptNumber":0,"objectId":{object},"propertyName":"lifecyclestage","propertyValue":"subscriber","changeSource":"CRM_UI","sourceId":"userId:75514748"}}]"#,
                at.as_millis() - 1000
            );
            let outgoing =
                connectors::Outgoing { method: "POST", url: &url, body: body.as_bytes(), id: "bench", at };
            let mut request = format!(
                "POST /elements/api-v2/events/hubspot HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
                body.len()
            );
            for (name, value) in connector.sign(SECRET, &outgoing).unwrap() {
                request.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
            }
            request.push_str("\r\n");
            request.push_str(&body);
            request.into_bytes()
        })
        .collect()
}

/// Sends as fast as `SENDERS` connections can, for `time` at most. Returns how many were sent.
async fn flood(address: SocketAddr, requests: Arc<Vec<Vec<u8>>>, log: Arc<Log>, time: Duration) -> usize {
    let next = Arc::new(AtomicUsize::new(0));
    let end = Instant::now() + time;
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let (requests, log, next) = (Arc::clone(&requests), Arc::clone(&log), Arc::clone(&next));
            tokio::spawn(async move {
                let mut connection = Connection::open(address).await;
                while Instant::now() < end {
                    let n = next.fetch_add(1, Relaxed);
                    let Some(request) = requests.get(n) else { break };
                    send(&mut connection, request, &log, n, log.now()).await;
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    next.load(Relaxed).min(requests.len())
}

/// Sends one every `1 / STEADY_PER_SECOND` s, whatever the server does: waits count against it.
async fn steady(address: SocketAddr, requests: Arc<Vec<Vec<u8>>>, log: Arc<Log>) -> usize {
    let (give, take) = tokio::sync::mpsc::unbounded_channel::<(usize, u64)>();
    let take = Arc::new(tokio::sync::Mutex::new(take));
    let senders: Vec<_> = (0..SENDERS)
        .map(|_| {
            let (requests, log, take) = (Arc::clone(&requests), Arc::clone(&log), Arc::clone(&take));
            tokio::spawn(async move {
                let mut connection = Connection::open(address).await;
                loop {
                    let Some((n, due)) = take.lock().await.recv().await else { break };
                    send(&mut connection, &requests[n], &log, n, due).await;
                }
            })
        })
        .collect();
    let start = Instant::now();
    for n in 0..requests.len() {
        let due = start + Duration::from_secs_f64(n as f64 / STEADY_PER_SECOND as f64);
        tokio::time::sleep_until(due.into()).await;
        give.send((n, log.now())).unwrap();
    }
    drop(give);
    for sender in senders {
        sender.await.unwrap();
    }
    requests.len()
}

async fn send(connection: &mut Connection, request: &[u8], log: &Log, n: usize, due: u64) {
    log.sent[n].store(due.max(1), Relaxed);
    if connection.exchange(request).await.0 == 200 {
        log.acked[n].store(log.now(), Relaxed);
    } else {
        log.refused.fetch_add(1, Relaxed);
    }
}

struct Figures {
    accepted_per_s: f64,
    told_per_s: f64,
    ack: (f64, f64),
    end_to_end: (f64, f64),
    missing: usize,
    repeated: usize,
}

/// Waits until everything accepted is told (or nothing comes any more), and counts. `counts` says which webhooks matter.
async fn figures(log: &Log, sent: usize, counts: impl Fn(usize) -> bool) -> Figures {
    let accepted: Vec<usize> = (0..sent).filter(|n| counts(*n) && log.acked[*n].load(Relaxed) > 0).collect();
    let mut quiet = 0;
    let mut before = 0;
    while accepted.iter().any(|n| log.told[*n].load(Relaxed) == 0) && quiet < 50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = log.told_count.load(Relaxed);
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
    }
    let first = accepted.iter().map(|n| log.sent[*n].load(Relaxed)).min().unwrap_or(0);
    let last_ack = accepted.iter().map(|n| log.acked[*n].load(Relaxed)).max().unwrap_or(0);
    let last_told = accepted.iter().map(|n| log.told[*n].load(Relaxed)).max().unwrap_or(0);
    let told: Vec<usize> = accepted.iter().copied().filter(|n| log.told[*n].load(Relaxed) > 0).collect();
    let times = |end: &[AtomicU64], which: &[usize]| {
        let mut times: Vec<u64> =
            which.iter().map(|n| end[*n].load(Relaxed).saturating_sub(log.sent[*n].load(Relaxed))).collect();
        times.sort_unstable();
        (percentile(&times, 0.5), percentile(&times, 0.99))
    };
    let rate = |count: usize, end: u64| count as f64 / (end.saturating_sub(first) as f64 / 1e9).max(1e-9);
    Figures {
        accepted_per_s: rate(accepted.len(), last_ack),
        told_per_s: rate(told.len(), last_told),
        ack: times(&log.acked, &accepted),
        end_to_end: times(&log.told, &told),
        missing: accepted.len() - told.len(),
        repeated: log.repeated.load(Relaxed),
    }
}

fn print(name: &str, f: &Figures, server: &Server, cpu: f64) {
    println!(
        "{name:<44} {:>9.0} {:>9.0} {:>6.2} {:>6.2} {:>8.2} {:>8.2} {:>7} {:>8} {:>5.2} {:>5.0} {:>5}",
        f.accepted_per_s,
        f.told_per_s,
        f.ack.0,
        f.ack.1,
        f.end_to_end.0,
        f.end_to_end.1,
        f.missing,
        f.repeated,
        cpu,
        cpu * 1e6 / f.accepted_per_s,
        server.peak_mb()
    );
}

enum Load {
    Flood,
    Steady,
}

/// Name, load, healthy instances, dead ones.
const PHASES: &[(&str, Load, usize, usize)] = &[
    ("64 senders, 1 instance", Load::Flood, 1, 0),
    ("64 senders, 50 instances", Load::Flood, 50, 0),
    ("1,000/s, 1 instance", Load::Steady, 1, 0),
    ("1,000/s, 50 instances", Load::Steady, 50, 0),
    ("1,000/s, 50 instances, 1 dead beside", Load::Steady, 50, 1),
];

async fn phase(name: &str, load: &Load, instances: usize, dead: usize, seconds: u64) -> Figures {
    let count = match load {
        Load::Flood => 30_000 * seconds as usize,
        Load::Steady => STEADY_PER_SECOND * seconds as usize,
    };
    let warming = Log::new(WARM_OBJECT, WARM_UP);
    let log = Log::new(FIRST_OBJECT, count);
    let current = Arc::new(Mutex::new(Arc::clone(&warming)));
    let sink = sink(Arc::clone(&current)).await;
    let hole = black_hole().await;
    let server = Server::start();
    let portals: Vec<usize> = (1..=instances + dead).collect();
    for portal in &portals {
        // Each instance has its own callback: a group of its own in the queue.
        let to = if *portal > instances { hole } else { sink };
        provision(&server, *portal, &format!("http://{to}/callback/{portal}")).await;
    }
    // Connections, caches and the compiled definition are there before anything is counted.
    let warm_up = Arc::new(requests(server.address, &portals[..instances], WARM_OBJECT, WARM_UP));
    let sent = flood(server.address, warm_up, Arc::clone(&warming), Duration::from_secs(5)).await;
    figures(&warming, sent, |_| true).await;
    *current.lock().unwrap() = Arc::clone(&log);

    let all = Arc::new(requests(server.address, &portals, FIRST_OBJECT, count));
    let (cpu, began) = (server.cpu(), Instant::now());
    let sent = match load {
        Load::Flood => flood(server.address, all, Arc::clone(&log), Duration::from_secs(seconds)).await,
        Load::Steady => steady(server.address, all, Arc::clone(&log)).await,
    };
    let cpu = (server.cpu() - cpu) / began.elapsed().as_secs_f64();
    let figures = figures(&log, sent, |n| n % portals.len() < instances).await;
    print(name, &figures, &server, cpu);
    if log.refused.load(Relaxed) > 0 {
        println!("  {} webhooks were not answered 200", log.refused.load(Relaxed));
    }
    figures
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| arguments.iter().position(|a| a == name).and_then(|i| arguments.get(i + 1));
    let seconds = value("--seconds").and_then(|s| s.parse().ok()).unwrap_or(8);
    let probe = tempfile::tempdir().unwrap();
    println!(
        "fsync here: {:.2} ms (median). Times in ms; cpu: cores used by the server; µs: of them for each webhook;\nMB: its highest resident memory.\n",
        embedded::fsync_probe(probe.path()).unwrap().as_secs_f64() * 1e3
    );
    println!(
        "{:<44} {:>9} {:>9} {:>6} {:>6} {:>8} {:>8} {:>7} {:>8} {:>5} {:>5} {:>5}",
        "", "accepted/s", "told/s", "ack50", "ack99", "told50", "told99", "missing", "repeated", "cpu", "µs", "MB"
    );
    let only = value("--only");
    let mut p99 = Vec::new();
    for (name, load, instances, dead) in PHASES {
        if only.is_none_or(|only| name.contains(only.as_str())) {
            p99.push(phase(name, load, *instances, *dead, seconds).await.end_to_end.1);
        }
    }
    let [_, _, _, alone, beside] = p99[..] else { return };
    println!(
        "\nA dead callback beside 50 healthy ones: their end-to-end p99 is {:.2} times what it is without.",
        beside / alone
    );
}
