//! How well many instances are polled, by a real server process and by its parts.
//!
//! ```text
//! cargo bench -p pollhook --bench polling                       10,000 instances, each every minute, for three minutes
//! cargo bench -p pollhook --bench polling -- --instances 1000 --minutes 1 --idle 10000
//! ```
//!
//! 1. *Each in its minute:* instances of a loopback provider that has nothing new, polled every minute. When each is asked for is
//!    compared with its own second of the minute: how many were polled in every full minute, and how late.
//! 2. *As fast as can be:* the same instances in jobs as the wheel makes them, by as many workers as a server has for them, against a loop
//!    that asks the same provider with the same client library, by as many tasks and at the same concurrency, and reads each
//!    answer as JSON; in turns.
//! 3. *What a tick costs:* finding who is due and packing them into jobs, with those who are due alone in the table, and beside
//!    a million that are not.
//!
//! It prints, and judges nothing: a machine may be busy. Provider and server share it.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use egress::{Client, Limits, Policy};
use embedded::{Embedded, Options};
use events::message::{POLLS, PollsJob};
use events::{InstanceId, Message, Timestamp};
use futures_util::stream::{self, StreamExt as _};
use platform::{Clock, OsRandom, Platform as _, Queue as _, SystemClock, Table as _, Write};
use poller::{AT_ONCE, Accounts, Due, Poll, Polled, Poller, Queries, Times, poll_all, tick};
use records::wheel::{self, Minutes, Place};
use support::{Server, answering, percentile};

/// The server's: what is compared here runs in this process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Requests to the API at the same time.
const PROVISIONING: usize = 32;
/// Poll jobs at work at the same time: so many of the wheel's as a server does.
const JOBS: usize = embedded::POLL_WORKERS as usize / 2;
/// Turns of the two that are compared.
const TURNS: usize = 15;
/// A wheel in which a thousandth of the instances are due each minute.
const WHEEL: u32 = 1000;
/// Minutes that are ticked.
const TICKS: usize = 10;
/// Items that are put at once while the table is filled, and how often at the same time.
const WRITES: usize = 2000;
const FILLING: usize = 4;

/// When each instance was asked for: by the number that its key holds, in milliseconds since the epoch.
#[derive(Default)]
struct Asked(Mutex<Vec<(usize, i64)>>);

/// A provider that has nothing new.
async fn provider(asked: Arc<Asked>) -> SocketAddr {
    let nothing = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"data\":[]}";
    answering(nothing, move |head, _| {
        let now = SystemClock.now().as_millis();
        let key = std::str::from_utf8(head).unwrap().to_ascii_lowercase();
        let number = key.split("bearer key-").nth(1).and_then(|rest| rest.split("\r\n").next());
        if let Some(number) = number.and_then(|number| number.parse().ok()) {
            asked.0.lock().unwrap().push((number, now));
        }
    })
    .await
}

/// The path that each instance configures, as it is asked for.
const PATH: &str = "/things";

/// Instances that are polled every minute; each has its number as its key.
async fn provision(server: &Server, provider: SocketAddr, count: usize) -> Vec<InstanceId> {
    let made = stream::iter(0..count).map(|number| async move {
        let instance = serde_json::json!({ "name": "bench", "element": { "key": "http" }, "configuration": {
            "base.url": format!("http://{provider}"), "api.key": format!("key-{number}"),
            "event.poller.refresh_interval": "1",
            "event.poller.configuration": { "things": {
                "url": format!("{PATH}?since=${{gmtDate:yyyy-MM-dd'T'HH:mm:ss'Z'}}"), "recordsField": "data", "idField": "id",
                "datesConfiguration": { "updatedDateField": "updated_at", "updatedDateFormat": "yyyy-MM-dd'T'HH:mm:ss'Z'" },
            }},
            "event.notification.callback.url": format!("http://{provider}/callback"),
            "event.notification.signature.key": "bench-key",
        }});
        let made = server.provision(&instance.to_string()).await;
        InstanceId::try_from(u32::try_from(made["id"].as_u64().unwrap()).unwrap()).unwrap()
    });
    made.buffered(PROVISIONING).collect().await
}

/// Phase 1.
async fn each_in_its_minute(count: usize, minutes: i64) -> (tempfile::TempDir, Vec<InstanceId>) {
    let asked = Arc::new(Asked::default());
    let provider = provider(Arc::clone(&asked)).await;
    let server = Server::start();
    let began = Instant::now();
    let instances = provision(&server, provider, count).await;
    println!("{count} instances provisioned in {:.1} s", began.elapsed().as_secs_f64());
    // Whole minutes that begin when everybody is there, and some seconds for those who are late in the last.
    let first = SystemClock.now().minute() + 1;
    let (begin, end) = (wheel::time(first, 0), wheel::time(first + minutes, 0));
    tokio::time::sleep(begin.since(SystemClock.now())).await;
    let cpu = server.cpu();
    tokio::time::sleep(end.since(SystemClock.now())).await;
    let cpu = (server.cpu() - cpu) / (60 * minutes) as f64;
    tokio::time::sleep(Duration::from_secs(20)).await;

    let asked = std::mem::take(&mut *asked.0.lock().unwrap());
    let mut late = Vec::new();
    let (mut missed, mut more) = (0, 0);
    let mut times: Vec<Vec<i64>> = vec![Vec::new(); count];
    asked.into_iter().for_each(|(number, at)| times[number].push(at));
    for (times, instance) in times.iter().zip(&instances) {
        for minute in first..first + minutes {
            let due = wheel::time(minute, wheel::second(*instance)).as_millis();
            let mut within = times.iter().filter(|at| (due..due + 60_000).contains(*at));
            match within.next() {
                Some(at) => late.push(u64::try_from(at - due).unwrap() * 1_000_000),
                None => missed += 1,
            }
            more += within.count();
        }
    }
    late.sort_unstable();
    println!(
        "in {minutes} minutes: {} polls, {missed} missed, {more} more than one a minute; behind their second p50 {:.0} ms, p99 {:.0} ms, at most {:.0} ms; {:.2} cores, {} MB at most",
        late.len(),
        percentile(&late, 0.5),
        percentile(&late, 0.99),
        percentile(&late, 1.0),
        cpu,
        server.peak_mb()
    );
    (server.end(), instances)
}

fn open(folder: &Path, clock: Arc<dyn Clock>) -> Embedded {
    Embedded::open(folder, Options::new(clock, Arc::new(OsRandom), Duration::from_secs(120))).unwrap()
}

/// What there is to do, for each worker its part.
fn dealt<T: Clone>(all: &[T]) -> impl Iterator<Item = Vec<T>> {
    (0..JOBS).map(|worker| all.iter().skip(worker).step_by(JOBS).cloned().collect())
}

/// Waits for all workers.
async fn all(workers: impl Iterator<Item = tokio::task::JoinHandle<()>>) {
    // Whoever maps lazily starts one worker at a time.
    let workers: Vec<_> = workers.collect();
    for worker in workers {
        worker.await.unwrap();
    }
}

/// Phase 2.
async fn as_fast_as_can_be(folder: &Path, instances: &[InstanceId]) {
    let platform = open(folder, Arc::new(SystemClock));
    let policy = Policy::new(vec!["127.0.0.0/8".parse().unwrap()], None);
    let fetch = Client::new(policy, Limits::fetching()).unwrap();
    let worker = Arc::new((platform, fetch, Accounts::default(), Queries::default()));
    let jobs: Vec<PollsJob> = instances
        .chunks(POLLS)
        .map(|some| PollsJob { instances: some.to_vec(), at: SystemClock.now(), failed: 0 })
        .collect();
    let polls = async || {
        let each = dealt(&jobs).map(|jobs| {
            let worker = Arc::clone(&worker);
            tokio::spawn(async move {
                let (platform, fetch, accounts, queries) = &*worker;
                let poller = Poller { platform, fetch, catalogue: connectors::catalogue(), accounts, queries };
                for job in jobs {
                    let end = SystemClock.now().plus(Duration::from_secs(600));
                    poll_all(platform, &poller, &job, Times { begin: end, end }, std::future::pending()).await.unwrap();
                }
            })
        });
        all(each).await;
    };

    let asked = Arc::new(Asked::default());
    let provider = provider(asked).await;
    egress::crypto::provide();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let bare = async || {
        let each = dealt(instances).map(|instances| {
            let client = client.clone();
            tokio::spawn(async move {
                let ask = |_| async {
                    let url = format!("http://{provider}{PATH}?since=2026-01-01T00%3A00%3A00Z");
                    let answer = client.get(url).header("authorization", "Bearer key").send().await.unwrap();
                    let body: serde_json::Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
                    assert!(body["data"].is_array());
                };
                stream::iter(instances).for_each_concurrent(AT_ONCE, ask).await;
            })
        });
        all(each).await;
    };
    // Connections are opened and definitions read before anything is counted.
    polls().await;
    bare().await;
    let mut ratios = Vec::with_capacity(TURNS);
    for turn in 1..=TURNS {
        let began = Instant::now();
        polls().await;
        let ours = instances.len() as f64 / began.elapsed().as_secs_f64();
        let began = Instant::now();
        bare().await;
        let bare = instances.len() as f64 / began.elapsed().as_secs_f64();
        println!("turn {turn}: {ours:.0} polls/s, a bare loop {bare:.0} requests/s: {:.2} of it", ours / bare);
        ratios.push(ours / bare);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median of {TURNS} turns: {:.2} of it", ratios[TURNS / 2]);
}

/// A clock that stands until it is turned.
struct Turned(AtomicI64);

impl Clock for Turned {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Relaxed))
    }
}

/// Nothing new, whoever is polled.
struct Idle;

impl Poll for Idle {
    async fn poll(&self, _: Due<'_>) -> Polled {
        Polled::Done
    }
}

/// Puts so many instances into the wheel, those of them whose places are `wanted`. Returns how many these are.
async fn fill(platform: &Embedded, instances: u32, wanted: impl Fn(Place) -> bool) -> usize {
    let minutes = Minutes::new(WHEEL).unwrap();
    let moved = (1..=instances).map(InstanceId::from_random).flat_map(|instance| {
        let place = Place::of(instance, minutes, 1);
        wheel::moved(platform, instance, None, wanted(place).then_some(place))
    });
    let writes: Vec<Write> = moved.collect();
    let count = writes.len();
    let write = |writes: Vec<Write>| async { platform.table().write_many(writes).await.unwrap() };
    stream::iter(writes.chunks(WRITES).map(<[Write]>::to_vec)).for_each_concurrent(FILLING, write).await;
    count
}

/// Takes everything out of the queue that is due.
async fn drain(platform: &Embedded) -> Vec<Message> {
    let mut messages = Vec::new();
    loop {
        let received = platform.polls().receive(10, Duration::ZERO).await.unwrap();
        if received.is_empty() {
            return messages;
        }
        messages.extend(received.iter().map(|message| Message::decode(&message.body).unwrap()));
        let receipts = received.into_iter().map(|message| message.receipt).collect();
        platform.polls().acknowledge(receipts).await.unwrap();
    }
}

/// Ticks minute by minute, and prints what that takes.
async fn ticked(platform: &Embedded, clock: &Turned, placed: usize) {
    let (mut times, mut due) = (Vec::new(), 0);
    for _ in 0..TICKS {
        let began = Instant::now();
        tick(platform, clock.now().plus(Duration::from_secs(60))).await.unwrap();
        for shard in drain(platform).await {
            poller::handle(platform, &Idle, &shard.encode(), Duration::from_secs(60)).await.unwrap();
        }
        times.push(u64::try_from(began.elapsed().as_nanos()).unwrap());
        // The polls' own second is over then.
        clock.0.fetch_add(60_000, Relaxed);
        for message in drain(platform).await {
            let Message::Polls(job) = message else { panic!("{message:?}") };
            due += job.instances.len();
        }
    }
    times.sort_unstable();
    println!(
        "{placed} instances in the wheel, {} due a minute: a tick and its shard {:.1} ms (median), {:.1} ms at most",
        due / TICKS,
        percentile(&times, 0.5),
        percentile(&times, 1.0)
    );
}

/// Phase 3.
async fn what_a_tick_costs(instances: u32) {
    let folder = tempfile::tempdir().unwrap();
    let first = SystemClock.now().minute();
    let clock = Arc::new(Turned(AtomicI64::new(wheel::time(first, 0).as_millis())));
    let platform = open(folder.path(), Arc::clone(&clock) as Arc<dyn Clock>);
    // The first tick ever comes before anybody is placed, and what it has due is nobody's.
    let minutes = Minutes::new(WHEEL).unwrap();
    wheel::place(&platform, InstanceId::from_random(1), Some(minutes), None).await.unwrap();
    let ticks = 2 * i64::try_from(TICKS).unwrap();
    let slots: Vec<u16> = (first..first + ticks).map(|minute| minutes.slot(minute)).collect();
    let due = |place: Place| slots.contains(&place.slot);
    let alone = fill(&platform, instances, due).await;
    ticked(&platform, &clock, alone).await;
    let idle = fill(&platform, instances, |place| !due(place)).await;
    ticked(&platform, &clock, alone + idle).await;
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| arguments.iter().position(|a| a == name).and_then(|i| arguments.get(i + 1));
    let number = |name: &str, default: u32| value(name).map_or(default, |number| number.parse().unwrap());
    let (instances, minutes) = (number("--instances", 10_000), number("--minutes", 3));
    let (data, instances) = each_in_its_minute(instances as usize, minutes.into()).await;
    as_fast_as_can_be(data.path(), &instances).await;
    what_a_tick_costs(number("--idle", 1_000_000)).await;
}
