//! A queue on the file.
//!
//! *Promises:* those of [`platform::Queue`]; beyond them, fairness between groups and a bound on how far a group's
//! senders outrun its delivery.
//!
//! *Flow:* a send is a command; once it is committed, the writer puts the message into the index and wakes a receiver.
//! Receiving writes nothing: what is in flight, and how often it was handed over, is in memory alone, so after a restart
//! every message that is not acknowledged is handed over again and counted anew. An acknowledgement is a command that
//! deletes the message. One that is not acknowledged comes back, for as long as it takes: what a failing disk or a bug of
//! ours holds up is not lost. Only a message that nobody can ever read is [set aside](StoreQueue::set_aside), by whoever
//! found that out, and can be [put back](StoreQueue::requeue_dead_letters).
//!
//! *Waking:* whatever makes a message available wakes one waiting receiver, and a receiver that leaves passes the baton:
//! it wakes the next one, which looks for itself. So no message waits while a receiver sleeps, and a commit of one
//! message does not wake them all.
//!
//! *Failure modes:* a read error gives the messages back uncounted; a failed acknowledgement lets them come back.

mod index;

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use platform::limits::{SEND_MESSAGES, check_send};
use platform::{Outgoing, Queue, QueueError, Receipt, Received, SendError};
use redb::{ReadableTable, TableError};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

pub use index::{Backlog, CROWDED, MAX_IN_FLIGHT_PER_GROUP, WORKERS};
pub(crate) use index::{GroupId, Id, Taken};

use crate::file::{Fault, File};
use crate::layout;
use crate::queue::index::Index;
use crate::store::{Inner, millis};
use crate::writer::Command;

/// The longest that a receive waits, as on AWS.
const MAX_WAIT: Duration = Duration::from_secs(20);

/// Most of a reason that is kept with a dead letter, in bytes: a sentence or two.
pub const REASON_BYTES: usize = 500;

/// A message that a commit has stored.
#[derive(Clone, Copy)]
pub(crate) struct Placed {
    pub(crate) id: Id,
    pub(crate) group: GroupId,
}

/// A queue as its handles and the writer share it.
pub(crate) struct State {
    /// The queue's name.
    pub(crate) name: String,
    /// The name of its redb table.
    pub(crate) table: String,
    index: Mutex<Index>,
    arrivals: Notify,
    next_number: AtomicU64,
    /// Keyed afresh in each process, so that nobody can choose group names that collide.
    hasher: RandomState,
}

impl State {
    /// Reads the queue's messages from the file: all of it, so its time grows with the backlog (and the bodies' size).
    pub(crate) fn load(
        name: &str,
        file: &File,
        visibility: Duration,
        workers: u32,
        now_ms: u64,
    ) -> Result<Self, Fault> {
        let table = layout::queue_table_name(name);
        let mut index = Index::new(u64::try_from(visibility.as_millis()).unwrap_or(u64::MAX), workers);
        let hasher = RandomState::new();
        let mut next_number = 0;
        match file.begin_read()?.open_table(layout::queue_table(&table)) {
            Ok(stored) => {
                for entry in stored.iter()? {
                    let (key, value) = entry?;
                    let (visible_at_ms, number) = key.value();
                    let (group, _) =
                        layout::split_message(value.value()).ok_or_else(|| Fault::damaged("queue message"))?;
                    index.add(Id { visible_at_ms, number }, hasher.hash_one(group), now_ms);
                    next_number = next_number.max(number + 1);
                }
            }
            Err(TableError::TableDoesNotExist(_)) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(Self {
            name: name.to_owned(),
            table,
            index: Mutex::new(index),
            arrivals: Notify::new(),
            next_number: AtomicU64::new(next_number),
            hasher,
        })
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names the queue too: two queues count alike, and one's receipt must not acknowledge the other's message.
    fn receipt(&self, id: Id) -> Receipt {
        Receipt(format!("{}:{:x}-{:x}", self.name, id.visible_at_ms, id.number))
    }

    fn parse_receipt(&self, receipt: &Receipt) -> Result<Id, QueueError> {
        let parse = || {
            let (at, number) = receipt.0.strip_prefix(&self.name)?.strip_prefix(':')?.split_once('-')?;
            Some(Id { visible_at_ms: u64::from_str_radix(at, 16).ok()?, number: u64::from_str_radix(number, 16).ok()? })
        };
        parse().ok_or_else(|| QueueError::Invalid("a receipt of another queue".into()))
    }

    /// For the writer: where a message goes.
    pub(crate) fn place(&self, group: &str, delay: Duration, now_ms: u64) -> Placed {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        let id = Id {
            visible_at_ms: now_ms.saturating_add(delay_ms),
            // Only the writer thread draws numbers.
            number: self.next_number.fetch_add(1, Ordering::Relaxed),
        };
        Placed { id, group: self.hasher.hash_one(group) }
    }

    /// For the writer: the messages are durable. Returns those of their groups whose senders are to wait.
    pub(crate) fn placed(&self, messages: &[Placed], now_ms: u64) -> Vec<GroupId> {
        let mut crowded = Vec::new();
        {
            let mut index = self.index();
            for Placed { id, group } in messages {
                index.add(*id, *group, now_ms);
                if index.crowded(*group, now_ms) && !crowded.contains(group) {
                    crowded.push(*group);
                }
            }
        }
        self.arrivals.notify_one();
        crowded
    }

    /// The messages' workers are done with them: their places are free before the acknowledgement is durable, else a
    /// group's rate would be bound by the disk's.
    fn landed(&self, ids: &[Id], now_ms: u64) {
        let more = {
            let mut index = self.index();
            ids.iter().for_each(|id| index.landed(*id, now_ms));
            index.has_more()
        };
        if more {
            self.arrivals.notify_one();
        }
    }

    /// For the writer: the messages are gone.
    pub(crate) fn gone(&self, ids: &[Id]) {
        let more = {
            let mut index = self.index();
            for id in ids {
                index.forget(*id);
            }
            index.has_more()
        };
        if more {
            self.arrivals.notify_one();
        }
    }
}

/// What a look at the queue found.
enum Look {
    Messages(Vec<Received>),
    /// Nothing now; the time until something becomes due or comes back, if anything will.
    Nothing(Option<Duration>),
}

/// Wakes the next receiver when this one leaves, however it leaves.
struct Baton<'a>(&'a Notify);

impl Drop for Baton<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// A queue. Clones share it.
#[derive(Clone)]
pub struct StoreQueue {
    inner: Arc<Inner>,
    state: Arc<State>,
}

impl StoreQueue {
    pub(crate) fn new(inner: Arc<Inner>, state: Arc<State>) -> Self {
        Self { inner, state }
    }

    /// Its name: what its dead letters are known by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// How many messages there are.
    #[must_use]
    pub fn backlog(&self) -> Backlog {
        self.state.index().backlog()
    }

    fn now_ms(&self) -> u64 {
        millis(self.inner.clock.now())
    }

    fn look(&self, max: usize) -> Result<Look, Fault> {
        loop {
            let now_ms = self.now_ms();
            let (taken, more, next_due_ms) = {
                let mut index = self.state.index();
                index.advance(now_ms);
                let taken = index.take(max, now_ms);
                (taken, index.has_more(), index.next_due_ms())
            };
            if taken.is_empty() {
                return Ok(Look::Nothing(next_due_ms.map(|at| Duration::from_millis(at.saturating_sub(now_ms)))));
            }
            if more {
                self.state.arrivals.notify_one();
            }
            let messages = self.read(&taken).inspect_err(|_| {
                let mut index = self.state.index();
                taken.iter().for_each(|t| index.give_back(t.id, now_ms));
            })?;
            if !messages.is_empty() {
                return Ok(Look::Messages(messages));
            }
        }
    }

    /// The bodies. One that is missing was acknowledged after it had come back, by who had it before.
    fn read(&self, taken: &[Taken]) -> Result<Vec<Received>, Fault> {
        let table = self.inner.file.begin_read()?.open_table(layout::queue_table(&self.state.table))?;
        let mut messages = Vec::with_capacity(taken.len());
        let mut missing = Vec::new();
        for Taken { id, receives } in taken {
            match table.get((id.visible_at_ms, id.number))? {
                Some(value) => {
                    let (_, body) =
                        layout::split_message(value.value()).ok_or_else(|| Fault::damaged("queue message"))?;
                    let receipt = self.state.receipt(*id);
                    messages.push(Received { body: body.to_owned(), receipt, receive_count: *receives });
                }
                None => missing.push(*id),
            }
        }
        self.state.gone(&missing);
        Ok(messages)
    }

    /// Waits until none of the groups is crowded, or until `end`. The waits run together.
    async fn wait_for_room(&self, groups: &[GroupId], end: Instant) {
        let mut waits = Vec::new();
        {
            // Made under the index's lock, so no wake-up comes between the look and the wait.
            let mut index = self.state.index();
            for room in groups.iter().filter_map(|group| index.room(*group)) {
                let mut wait = Box::pin(room.notified_owned());
                wait.as_mut().enable();
                waits.push(wait);
            }
        }
        for wait in waits {
            // Whether woken or timed out: the messages are durable, and the send is over.
            let _ = timeout_at(end, wait).await;
        }
    }

    /// Moves a message that was received, and that nobody can ever do anything with, to the dead letters, with the time
    /// and the reason (its first [`REASON_BYTES`]). It is no error when it is gone.
    ///
    /// # Errors
    /// [`QueueError::Invalid`] for a receipt of another queue, [`QueueError::Unavailable`]: then the message comes back.
    pub async fn set_aside(&self, receipt: &Receipt, reason: &str) -> Result<(), QueueError> {
        let id = self.state.parse_receipt(receipt)?;
        let receives = self.state.index().receives(id);
        self.state.landed(&[id], self.now_ms());
        let reason = reason[..reason.floor_char_boundary(REASON_BYTES)].to_owned();
        self.inner
            .ask(|answer| Command::SetAside { queue: Arc::clone(&self.state), id, receives, reason, answer })
            .await
            .unwrap_or_else(|| Err(stopped()))
    }

    /// Puts the queue's dead letters back, oldest first, as new messages; returns how many. Those that still cannot be
    /// read will be set aside again.
    ///
    /// # Errors
    /// [`QueueError::Unavailable`]: those before are back already, the others are kept.
    pub async fn requeue_dead_letters(&self) -> Result<usize, QueueError> {
        let mut back = 0;
        loop {
            let asked = self.inner.ask(|answer| Command::Requeue { queue: Arc::clone(&self.state), answer }).await;
            match asked.unwrap_or_else(|| Err(stopped()))? {
                0 => return Ok(back),
                some => back += some,
            }
        }
    }
}

impl Queue for StoreQueue {
    /// After the commit it waits while one of the groups is [crowded](CROWDED), for
    /// [`Options::send_wait`](crate::Options::send_wait) at most. It does not wait for a group that is not drained at all:
    /// that would only pass one dead endpoint's trouble on to everyone whom the same webhook concerns.
    async fn send(&self, messages: Vec<Outgoing>) -> Result<(), SendError> {
        let count = messages.len();
        let failed = |error| SendError { failed: (0..count).collect(), error };
        check_send(&messages).map_err(failed)?;
        let crowded = self
            .inner
            .ask(|answer| Command::Send { queue: Arc::clone(&self.state), messages, answer })
            .await
            .unwrap_or_else(|| Err(stopped()))
            .map_err(failed)?;
        if !crowded.is_empty() {
            self.wait_for_room(&crowded, Instant::now() + self.inner.send_wait).await;
        }
        Ok(())
    }

    /// `max` and `wait` beyond the limits are taken as the nearest limit. `wait` runs by the computer's clock, delays
    /// by the injected one.
    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Received>, QueueError> {
        let max = max.clamp(1, SEND_MESSAGES);
        let end = Instant::now() + wait.min(MAX_WAIT);
        let mut baton = None;
        loop {
            let arrival = self.state.arrivals.notified();
            match self.look(max).map_err(|e| self.inner.queue_error(e))? {
                Look::Messages(messages) => return Ok(messages),
                Look::Nothing(_) if Instant::now() >= end => return Ok(Vec::new()),
                Look::Nothing(due) => {
                    baton.get_or_insert_with(|| Baton(&self.state.arrivals));
                    // A clock that stands still must not make this spin: the timer's own resolution is the least sleep.
                    let due = due.map(|d| Instant::now() + d.max(Duration::from_millis(1)));
                    let until = due.map_or(end, |due| due.min(end));
                    // Arrival or time: both mean to look again.
                    let _ = timeout_at(until, arrival).await;
                }
            }
        }
    }

    async fn acknowledge(&self, receipts: Vec<Receipt>) -> Result<(), QueueError> {
        let mut ids = Vec::with_capacity(receipts.len());
        for receipt in &receipts {
            ids.push(self.state.parse_receipt(receipt)?);
        }
        if ids.is_empty() {
            return Ok(());
        }
        self.state.landed(&ids, self.now_ms());
        self.inner
            .ask(|answer| Command::Acknowledge { queue: Arc::clone(&self.state), ids, answer })
            .await
            .unwrap_or_else(|| Err(stopped()))
    }
}

fn stopped() -> QueueError {
    QueueError::Unavailable("the store's writer has stopped".into())
}
