//! The store: one open data directory.
//!
//! Handles are cheap to clone. Dropping the last one (queues and bundle included) lets the writer finish what is queued,
//! joins its thread and closes the file.

use std::collections::HashMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use events::Timestamp;
use platform::{Clock, QueueError, Random, TableError};
use redb::{ReadableTable as _, ReadableTableMetadata as _};
use tokio::sync::oneshot;

use crate::file::{Fault, File};
use crate::layout::{self, DEAD, ITEMS, REASONS};
use crate::open::{self, OpenError};
use crate::queue::{State, StoreQueue, WORKERS};
use crate::vault::KeyVault;
use crate::writer::{self, Command, Counts};

/// redb's cache. The whole process is to stay within 100 MB of memory: this, up to 48 MB for the index of a million
/// waiting messages, and the rest for code, connections and bodies in passing.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// How long a send waits for its crowded group at most. A tenth of the strictest provider's deadline of 3 s, so a
/// receiver still answers in time after several; long enough that accepting cannot outrun a delivery that works.
const SEND_WAIT: Duration = Duration::from_millis(250);

/// Most bytes that a step of the purge reads: items may have 400 KB, and the step must stay short.
const PURGE_BYTES: usize = 4 * 1024 * 1024;

/// Of a dead letter that an earlier version set aside.
const UNKNOWN_REASON: &str = "it was never acknowledged";

/// Longest name of a queue.
const QUEUE_NAME_BYTES: usize = 64;

/// How a store behaves.
#[derive(Clone)]
pub struct Options {
    /// Tells when items expire and messages are due.
    pub clock: Arc<dyn Clock>,
    /// Makes the vault's key and nonces.
    pub random: Arc<dyn Random>,
    /// How long a message that was handed over stays hidden if it is not acknowledged.
    pub visibility: Duration,
    /// How long a send waits at most, after its commit, for a [crowded](crate::CROWDED) group; zero: not at all.
    pub send_wait: Duration,
    /// How many workers the messages of a queue are handed to, in all, where its opener does not say otherwise; a queue
    /// never hands over more at the same time.
    pub workers: u32,
    /// redb's cache, in bytes.
    pub cache_bytes: usize,
}

impl Options {
    /// With the usual wait for room, workers and cache.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, random: Arc<dyn Random>, visibility: Duration) -> Self {
        Self { clock, random, visibility, send_wait: SEND_WAIT, workers: WORKERS, cache_bytes: CACHE_BYTES }
    }
}

/// What group commit has done since the store was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Commits {
    /// Durable commits.
    pub commits: u64,
    /// Commands that they carried; those that changed nothing count too.
    pub commands: u64,
}

/// What a step of the purge did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Purged {
    /// Items looked at.
    pub examined: usize,
    /// Expired items deleted.
    pub deleted: usize,
    /// The step reached the end of the table; the next one begins anew.
    pub wrapped: bool,
}

/// A message that was [set aside](StoreQueue::set_aside).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetter {
    /// Its queue.
    pub queue: String,
    /// Whom it concerned.
    pub group: String,
    /// When it was set aside.
    pub at: Timestamp,
    /// How often it had been handed over since the start before.
    pub receives: u32,
    /// Why.
    pub reason: String,
    /// The message.
    pub body: String,
}

/// Milliseconds since the epoch, as the file writes them.
pub(crate) fn millis(at: Timestamp) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(0)
}

/// What all handles share.
pub(crate) struct Inner {
    pub(crate) file: Arc<File>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) send_wait: Duration,
    path: PathBuf,
    visibility: Duration,
    workers: u32,
    vault: KeyVault,
    counts: Arc<Counts>,
    queues: Mutex<HashMap<String, Arc<State>>>,
    /// The last key that the purge looked at; empty: none.
    purge_cursor: Mutex<Vec<u8>>,
    /// `None` only while dropping.
    commands: Option<mpsc::Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The writer ends once the channel is closed and empty.
        self.commands = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer thread had panicked");
        }
    }
}

impl Inner {
    /// Hands a command to the writer without waiting; whether the writer is there.
    pub(crate) fn tell(&self, command: Command) -> bool {
        self.commands.as_ref().is_some_and(|c| c.send(command).is_ok())
    }

    /// Hands a command to the writer and waits for the answer; `None` when the writer is gone.
    pub(crate) async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        if !self.tell(command(answer)) {
            return None;
        }
        answered.await.ok()
    }

    fn met(&self, fault: &Fault) {
        if fault.reopen {
            self.tell(Command::Mend);
        }
    }

    /// What a reader of the table says of a fault.
    pub(crate) fn table_error(&self, fault: Fault) -> TableError {
        self.met(&fault);
        TableError::Unavailable(fault.text)
    }

    /// What a receiver says of a fault.
    pub(crate) fn queue_error(&self, fault: Fault) -> QueueError {
        self.met(&fault);
        QueueError::Unavailable(fault.text)
    }
}

/// A data directory, open. It is the [table](platform::Table) itself, and opens queues.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

impl Store {
    /// Opens `dir`, making it, the data file and the key file when they are absent (0700 and 0600).
    ///
    /// # Errors
    /// Each says what, where and what to do.
    pub fn open(dir: &Path, options: Options) -> Result<Self, OpenError> {
        let opened = open::open(dir, options.cache_bytes, &*options.random)?;
        let vault = KeyVault::new(&opened.key, Arc::clone(&options.random));
        Self::start(opened.file, opened.path, vault, options)
    }

    /// Starts the writer over an open file.
    pub(crate) fn start(file: File, path: PathBuf, vault: KeyVault, options: Options) -> Result<Self, OpenError> {
        let file = Arc::new(file);
        let counts = Arc::new(Counts::default());
        let (commands, thread) = writer::start(Arc::clone(&file), Arc::clone(&options.clock), Arc::clone(&counts))
            .map_err(OpenError::Thread)?;
        let inner = Inner {
            file,
            clock: options.clock,
            send_wait: options.send_wait,
            path,
            visibility: options.visibility,
            workers: options.workers,
            vault,
            counts,
            queues: Mutex::default(),
            purge_cursor: Mutex::default(),
            commands: Some(commands),
            thread: Some(thread),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The queue `name` (lower-case letters, digits and hyphens). The first call reads its messages from the file.
    ///
    /// # Errors
    /// When the name is not usable or the file cannot be read.
    pub fn queue(&self, name: &str) -> Result<StoreQueue, OpenError> {
        self.queue_for(name, self.inner.workers)
    }

    /// The queue `name` for so many workers; what the first call says, counts.
    ///
    /// # Errors
    /// As [`Store::queue`].
    pub fn queue_for(&self, name: &str, workers: u32) -> Result<StoreQueue, OpenError> {
        let usable = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if name.is_empty() || name.len() > QUEUE_NAME_BYTES || !name.bytes().all(usable) {
            return Err(OpenError::QueueName(name.to_owned()));
        }
        let mut queues = self.inner.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let state = match queues.get(name) {
            Some(state) => Arc::clone(state),
            None => {
                let now_ms = millis(self.inner.clock.now());
                let state = State::load(name, &self.inner.file, self.inner.visibility, workers, now_ms)
                    .map_err(|e| OpenError::fault(&self.inner.path, e))?;
                let state = Arc::new(state);
                queues.insert(name.to_owned(), Arc::clone(&state));
                state
            }
        };
        Ok(StoreQueue::new(Arc::clone(&self.inner), state))
    }

    /// The vault of this directory's key.
    #[must_use]
    pub fn vault(&self) -> &KeyVault {
        &self.inner.vault
    }

    /// What group commit has done.
    #[must_use]
    pub fn commits(&self) -> Commits {
        Commits {
            commits: self.inner.counts.commits.load(Ordering::Relaxed),
            commands: self.inner.counts.commands.load(Ordering::Relaxed),
        }
    }

    /// One step of deleting expired items: looks at up to `max_keys` items (or 4 MB of them), from where the last step
    /// ended, and deletes the expired ones in one command.
    ///
    /// Expired items are absent to every reader anyway; this frees their space. Call it each second with 1,000: a step
    /// takes well under a millisecond of reading, a table of a million items is walked in 17 minutes, and an item stays
    /// in the file for one walk longer than it lives. Steps are taken one at a time: two at once would look at the same.
    ///
    /// # Errors
    /// [`TableError::Unavailable`], [`TableError::OutcomeUnknown`]; the step is not repeated, the next walk finds what
    /// it missed.
    pub async fn purge(&self, max_keys: usize) -> Result<Purged, TableError> {
        let now_s = self.inner.clock.now().as_seconds();
        let (examined, expired, wrapped) = self.sweep(max_keys, now_s).map_err(|e| self.inner.table_error(e))?;
        let deleted = if expired.is_empty() {
            0
        } else {
            let answer = self.inner.ask(|answer| Command::Purge { keys: expired, answer }).await;
            answer.unwrap_or_else(|| Err(writer_stopped()))?
        };
        Ok(Purged { examined, deleted, wrapped })
    }

    fn sweep(&self, max_keys: usize, now_s: i64) -> Result<(usize, Vec<Vec<u8>>, bool), Fault> {
        let mut cursor = self.inner.purge_cursor.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.inner.file.begin_read()?.open_table(ITEMS)?;
        let (mut examined, mut bytes, mut expired) = (0, 0, Vec::new());
        let mut last = Vec::new();
        let range = (Bound::Excluded(cursor.as_slice()), Bound::Unbounded);
        let mut rows = table.range::<&[u8]>(range)?;
        while examined < max_keys && bytes < PURGE_BYTES {
            let Some(row) = rows.next() else {
                cursor.clear();
                return Ok((examined, expired, true));
            };
            let (key, value) = row?;
            examined += 1;
            bytes += value.value().len();
            last.clear();
            last.extend_from_slice(key.value());
            if layout::split_item(value.value()).is_some_and(|(head, _)| head.expired(now_s)) {
                expired.push(key.value().to_vec());
            }
        }
        if examined > 0 {
            *cursor = last;
        }
        Ok((examined, expired, false))
    }

    /// The newest `limit` messages that were set aside, newest first.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, QueueError> {
        let read = || -> Result<Vec<DeadLetter>, Fault> {
            let snapshot = self.inner.file.begin_read()?;
            let table = snapshot.open_table(DEAD)?;
            let reasons = match snapshot.open_table(REASONS) {
                Ok(reasons) => Some(reasons),
                Err(redb::TableError::TableDoesNotExist(_)) => None,
                Err(error) => return Err(error.into()),
            };
            let mut letters = Vec::new();
            for row in table.iter()?.rev().take(limit) {
                let (number, value) = row?;
                let dead = layout::split_dead(value.value()).ok_or_else(|| Fault::damaged("dead letter"))?;
                let reason = match &reasons {
                    Some(reasons) => reasons.get(number.value())?.map(|reason| reason.value().to_owned()),
                    None => None,
                };
                letters.push(DeadLetter {
                    queue: dead.queue.to_owned(),
                    group: dead.group.to_owned(),
                    at: Timestamp::from_millis(i64::try_from(dead.at_ms).unwrap_or(i64::MAX)),
                    receives: dead.receives,
                    reason: reason.unwrap_or_else(|| UNKNOWN_REASON.to_owned()),
                    body: dead.body.to_owned(),
                });
            }
            Ok(letters)
        };
        read().map_err(|e| self.inner.queue_error(e))
    }

    /// How many messages were set aside and are kept.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`].
    pub fn dead_letter_count(&self) -> Result<u64, QueueError> {
        let read = || -> Result<u64, Fault> { Ok(self.inner.file.begin_read()?.open_table(DEAD)?.len()?) };
        read().map_err(|e| self.inner.queue_error(e))
    }

    /// Whether changes can be made: the writer is there, and its last commit worked. After one that failed, the writer
    /// tries by itself every second, so this recovers without anybody's write.
    ///
    /// # Errors
    /// What is wrong.
    pub fn healthy(&self) -> Result<(), String> {
        if self.inner.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            return Err("the store's writer has stopped".into());
        }
        match self.inner.counts.failing() {
            Some(reason) => Err(format!("the last commit failed: {reason}")),
            None => Ok(()),
        }
    }
}

/// What a table command's caller is told when the writer thread is gone: it may have died within the commit.
pub(crate) fn writer_stopped() -> TableError {
    TableError::OutcomeUnknown("the store's writer has stopped".into())
}
