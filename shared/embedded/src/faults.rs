//! What happens when the disk fails: tests over a backend that can be told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use std::{fs, io};

use events::Timestamp;
use platform::testing::{ManualClock, SeededRandom};
use platform::{Consistency, Key, Outgoing, Queue, Table, TableError, Version, Write};
use redb::backends::FileBackend;
use redb::{Builder, StorageBackend};

use crate::file::File;
use crate::layout::{DEAD, ITEMS};
use crate::vault::KeyVault;
use crate::{Options, Store};

/// Which calls fail, and how often the file was opened.
#[derive(Debug, Default)]
struct Disk {
    /// What was written before can be overwritten; nothing more fits.
    full: AtomicBool,
    /// The end of what was written.
    end: AtomicU64,
    sync_fails: AtomicBool,
    sync_panics: AtomicBool,
    reads_fail: AtomicBool,
    opened: AtomicU64,
}

#[derive(Debug)]
struct FaultyBackend {
    file: FileBackend,
    disk: Arc<Disk>,
}

fn fails(flag: &AtomicBool) -> io::Result<()> {
    if flag.load(Ordering::SeqCst) { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
}

impl StorageBackend for FaultyBackend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        fails(&self.disk.reads_fail)?;
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        // Takes no space yet on most file systems: the write into the hole fails.
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        assert!(!self.disk.sync_panics.swap(false, Ordering::SeqCst), "a bug in the writer");
        // Once: redb syncs again while it closes and opens.
        if self.disk.sync_fails.swap(false, Ordering::SeqCst) {
            return Err(io::Error::other("the disk is gone"));
        }
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let end = offset + data.len() as u64;
        if end > self.disk.end.load(Ordering::SeqCst) {
            fails(&self.disk.full)?;
            self.disk.end.store(end, Ordering::SeqCst);
        }
        self.file.write(offset, data)
    }
}

struct Setup {
    _dir: tempfile::TempDir,
    disk: Arc<Disk>,
    store: Store,
}

fn setup() -> Setup {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let disk = Arc::new(Disk::default());
    let opener = {
        let (disk, path) = (Arc::clone(&disk), path.clone());
        move || {
            disk.opened.fetch_add(1, Ordering::SeqCst);
            let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            let file = FileBackend::new(file)?;
            // No cache: what is read is read from the disk.
            Builder::new().set_cache_size(0).create_with_backend(FaultyBackend { file, disk: Arc::clone(&disk) })
        }
    };
    let file = File::open(opener).unwrap();
    let transaction = file.begin_write().unwrap();
    transaction.open_table(ITEMS).unwrap();
    transaction.open_table(DEAD).unwrap();
    transaction.commit().unwrap();
    let random = Arc::new(SeededRandom::new(1));
    let clock = ManualClock::new(Timestamp::from_seconds(1_000));
    let options = Options::new(Arc::new(clock), random.clone(), Duration::from_secs(60));
    let store = Store::start(file, path, KeyVault::new(&[7; 32], random), options).unwrap();
    Setup { _dir: dir, disk, store }
}

fn put(n: u64) -> Write {
    Write::put(Key::new("P", format!("{n}")), Version(n), "x".repeat(100))
}

async fn is_there(store: &Store, n: u64) -> bool {
    store.get(&put(n).key, Consistency::Strong).await.unwrap().is_some()
}

/// Tries again while the writer may still have to reopen the file, which it does at most once a second.
async fn insist<T, E: std::fmt::Debug, F: Future<Output = Result<T, E>>>(mut attempt: impl FnMut() -> F) -> T {
    for _ in 0..100 {
        if let Ok(done) = attempt().await {
            return done;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    attempt().await.unwrap()
}

#[tokio::test]
async fn a_full_disk_fails_the_commit_and_reads_go_on() {
    let Setup { _dir, disk, store } = setup();
    let queue = store.queue("batches").unwrap();
    store.write(put(1)).await.unwrap();
    disk.full.store(true, Ordering::SeqCst);
    let large = |n: u64| Write::put(Key::new("LARGE", format!("{n}")), Version(n), "x".repeat(100_000));
    let mut fitted = 0;
    let failed = loop {
        match store.write(large(fitted)).await {
            Ok(()) => fitted += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(failed, TableError::Unavailable(_) | TableError::OutcomeUnknown(_)), "{failed:?}");
    let key = put(1).key;
    assert!(insist(|| store.get(&key, Consistency::Strong)).await.is_some(), "reads go on while the disk is full");
    let message = Outgoing { body: "x".repeat(200_000), delay: Duration::ZERO, group: "g".into() };
    queue.send(vec![message.clone()]).await.unwrap_err();
    let unhealthy = store.healthy().unwrap_err();
    assert!(unhealthy.starts_with("the last commit failed: "), "{unhealthy}");

    disk.full.store(false, Ordering::SeqCst);
    // Nobody writes: the writer finds out by itself.
    insist(async || store.healthy()).await;
    insist(|| store.write(large(fitted))).await;
    assert!(is_there(&store, 1).await);
    for n in 0..=fitted {
        assert!(store.get(&large(n).key, Consistency::Strong).await.unwrap().is_some(), "item {n}");
    }
    queue.send(vec![message]).await.unwrap();
    assert_eq!(queue.receive(10, Duration::ZERO).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_failed_sync_leaves_the_outcome_open_and_the_file_is_reopened() {
    let Setup { _dir, disk, store } = setup();
    store.write(put(1)).await.unwrap();
    disk.sync_fails.store(true, Ordering::SeqCst);
    let failed = store.write(put(2)).await.unwrap_err();
    assert!(matches!(failed, TableError::OutcomeUnknown(_)), "{failed:?}");
    store.write(put(3)).await.unwrap();
    assert!(is_there(&store, 1).await && is_there(&store, 3).await);
    assert_eq!(disk.opened.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_reader_that_meets_an_error_has_the_file_reopened() {
    let Setup { _dir, disk, store } = setup();
    for n in 0..200 {
        store.write(put(n)).await.unwrap();
    }
    disk.reads_fail.store(true, Ordering::SeqCst);
    let failed = store.get(&put(1).key, Consistency::Strong).await.unwrap_err();
    assert!(matches!(failed, TableError::Unavailable(_)), "{failed:?}");
    disk.reads_fail.store(false, Ordering::SeqCst);
    let key = put(1).key;
    assert!(insist(|| store.get(&key, Consistency::Strong)).await.is_some());
}

#[tokio::test]
async fn a_store_whose_writer_has_died_is_not_healthy() {
    let Setup { _dir, disk, store } = setup();
    store.healthy().unwrap();
    disk.sync_panics.store(true, Ordering::SeqCst);
    let failed = store.write(put(1)).await.unwrap_err();
    assert!(matches!(failed, TableError::OutcomeUnknown(_)), "{failed:?}");
    // The answer is dropped while the thread still unwinds.
    insist(async || store.healthy().map_or_else(Ok, |()| Err("still there"))).await;
    assert_eq!(store.healthy().unwrap_err(), "the store's writer has stopped");
}
