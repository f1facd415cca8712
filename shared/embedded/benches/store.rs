//! What the file costs: durable puts alone and shared, reads, and a message's whole way. Every put, send and
//! acknowledgement is durable before it counts, so read the numbers beside the disk's [`pollhook_embedded::fsync_probe`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use platform::{Consistency, Key, OsRandom, Outgoing, Queue, SystemClock, Table, Version, Write};
use pollhook_embedded::{Options, Store, StoreQueue};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Acts of each writer in one iteration.
const ROUNDS: usize = 50;
const BODY_BYTES: usize = 600;

fn main() {
    divan::main();
}

struct Setup {
    _dir: TempDir,
    runtime: Runtime,
    store: Store,
    next: Arc<AtomicU64>,
}

fn setup() -> Setup {
    let dir = tempfile::tempdir().expect("a directory for the data");
    let options = Options::new(Arc::new(SystemClock), Arc::new(OsRandom), Duration::from_secs(60));
    let store = Store::open(dir.path(), options).expect("a store");
    let runtime = Runtime::new().expect("a runtime");
    Setup { _dir: dir, runtime, store, next: Arc::default() }
}

async fn put(store: &Store, n: u64) {
    let write = Write::put(Key::new(format!("P{}", n % 100), format!("{n:016}")), Version(n), vec![b'x'; BODY_BYTES]);
    store.write(write).await.expect("the put");
}

/// Runs `act` [`ROUNDS`] times in each of `workers` tasks.
fn run<F>(runtime: &Runtime, workers: usize, act: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let tasks: Vec<_> = (0..workers).map(|_| runtime.spawn(act())).collect();
    runtime.block_on(async {
        for task in tasks {
            task.await.expect("a worker");
        }
    });
}

#[divan::bench(args = [1, 64], sample_count = 20, sample_size = 1)]
fn puts(bencher: Bencher<'_, '_>, writers: usize) {
    let Setup { _dir, runtime, store, next } = setup();
    bencher.counter(ItemsCount::new(writers * ROUNDS)).bench(|| {
        run(&runtime, writers, || {
            let (store, next) = (store.clone(), Arc::clone(&next));
            async move {
                for _ in 0..ROUNDS {
                    put(&store, next.fetch_add(1, Ordering::Relaxed)).await;
                }
            }
        });
    });
}

#[divan::bench]
fn get(bencher: Bencher<'_, '_>) {
    let Setup { _dir, runtime, store, next } = setup();
    run(&runtime, 20, || {
        let (store, next) = (store.clone(), Arc::clone(&next));
        async move {
            for _ in 0..ROUNDS {
                put(&store, next.fetch_add(1, Ordering::Relaxed)).await;
            }
        }
    });
    let key = Key::new("P7", format!("{:016}", 507));
    bencher.bench(|| {
        let item = runtime.block_on(store.get(black_box(&key), Consistency::Strong));
        assert!(item.expect("the get").is_some());
    });
}

async fn cycle(queue: &StoreQueue, group: u64) {
    let message = Outgoing { body: "x".repeat(BODY_BYTES), delay: Duration::ZERO, group: format!("g{group}") };
    queue.send(vec![message]).await.expect("the send");
    let received = queue.receive(1, Duration::from_secs(20)).await.expect("the receive");
    let receipts = received.into_iter().map(|m| m.receipt).collect();
    queue.acknowledge(receipts).await.expect("the acknowledgement");
}

/// Send, receive, acknowledge.
#[divan::bench(args = [1, 64], sample_count = 20, sample_size = 1)]
fn messages(bencher: Bencher<'_, '_>, workers: usize) {
    let Setup { _dir, runtime, store, next } = setup();
    let queue = store.queue("batches").expect("a queue");
    bencher.counter(ItemsCount::new(workers * ROUNDS)).bench(|| {
        run(&runtime, workers, || {
            let (queue, group) = (queue.clone(), next.fetch_add(1, Ordering::Relaxed));
            async move {
                for _ in 0..ROUNDS {
                    cycle(&queue, group).await;
                }
            }
        });
    });
}
