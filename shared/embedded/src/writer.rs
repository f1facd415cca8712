//! The writer thread: group commit.
//!
//! *Flow:* it takes every command that is waiting, applies them in order within one redb transaction, commits once
//! (durably) and then answers them all; meanwhile the next ones wait. A command that comes while the writer is idle is
//! committed at once. Under load, that is after a commit of [`BUSY`] commands or more, the writer sleeps for [`GATHER`]
//! before the next one, so that more join it. Commands that change nothing (failed conditions) cost no commit.
//!
//! *Failure modes:* a fault before the commit fails every command of the batch with "not available": nothing of it is in
//! the file. A fault *of* the commit leaves open whether it reached the disk, so table writes then get
//! [`TableError::OutcomeUnknown`]; sends get "not available", which for a send says the same. If redb demands it, the
//! file is reopened, at most once in [`REOPEN_INTERVAL`]. As often, after a commit that failed, a small one is tried.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use platform::{Act, Clock, Outgoing, QueueError, TableError, Write};
use tokio::sync::oneshot;

use crate::apply::Tables;
use crate::file::{Fault, File};
use crate::layout::{FORMAT, FORMAT_KEY, META};
use crate::queue::{GroupId, Id, Placed, State};
use crate::store::millis;

/// Most commands in a commit. A command costs the writer 5 to 15 µs, a commit the fsync (0.1 to 4 ms) and about as much
/// again for the tree's upper pages: at 512 the commit is a small part of the sum, so more would gain nothing and only
/// make the first one's answer wait, for which 512 stay within some 8 ms.
const MAX_COMMANDS: usize = 512;

/// No further command joins a commit of this many bytes of bodies. redb buffers changed pages in half of its cache
/// (16 MB by default) and writes them early beyond that; a single transaction may carry 4 MB.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// A commit that carries this many commands is a sign of load: a webhook makes about three (send, record,
/// acknowledgement), so some eight are under way at once, and enough is waiting for a moment to bring more.
const BUSY: usize = 24;

/// Under load, how long the writer sleeps before it takes what is waiting. What a commit costs (the fsync, and the pages it
/// writes) grows far slower than what it carries: thirty commands over many instances write some 45 pages, sixty not many
/// more. So a third of a millisecond more for each answer, which callers under load do not notice, saves processor time
/// that serves more of them. Without load nobody waits.
const GATHER: Duration = Duration::from_micros(300);

/// How often a broken file is reopened at most: a full disk stays full for longer, and each attempt may walk the file.
const REOPEN_INTERVAL: Duration = Duration::from_secs(1);

type Answer<T> = oneshot::Sender<T>;

/// Something to change.
pub(crate) enum Command {
    /// One write under its condition, or a transaction.
    Transact { writes: Vec<Write>, answer: Answer<Result<(), TableError>> },
    /// Unconditional writes.
    Each { writes: Vec<Write>, answer: Answer<Result<(), TableError>> },
    /// Deletes the items at these keys that are expired; answers how many.
    Purge { keys: Vec<Vec<u8>>, answer: Answer<Result<usize, TableError>> },
    /// Messages; answers which of their groups are crowded.
    Send { queue: Arc<State>, messages: Vec<Outgoing>, answer: Answer<Result<Vec<GroupId>, QueueError>> },
    /// Messages that are done with.
    Acknowledge { queue: Arc<State>, ids: Vec<Id>, answer: Answer<Result<(), QueueError>> },
    /// A message to set aside, and why.
    SetAside { queue: Arc<State>, id: Id, receives: u32, reason: String, answer: Answer<Result<(), QueueError>> },
    /// Some dead letters to put back; answers how many.
    Requeue { queue: Arc<State>, answer: Answer<Result<usize, QueueError>> },
    /// A reader met an I/O error: reopen the file.
    Mend,
}

impl Command {
    fn bytes(&self) -> usize {
        match self {
            Self::Transact { writes, .. } | Self::Each { writes, .. } => writes
                .iter()
                .map(|w| match &w.act {
                    Act::Put { body, .. } => body.len(),
                    Act::Delete | Act::Check => 0,
                })
                .sum(),
            Self::Send { messages, .. } => messages.iter().map(|m| m.body.len()).sum(),
            Self::Purge { .. }
            | Self::Acknowledge { .. }
            | Self::SetAside { .. }
            | Self::Requeue { .. }
            | Self::Mend => 0,
        }
    }

    /// Answers that the file failed.
    fn fail(self, broken: &Broken) {
        match self {
            Self::Transact { answer, .. } | Self::Each { answer, .. } => drop(answer.send(Err(broken.table_error()))),
            Self::Purge { answer, .. } => drop(answer.send(Err(broken.table_error()))),
            Self::Send { answer, .. } => drop(answer.send(Err(broken.queue_error()))),
            Self::Acknowledge { answer, .. } | Self::SetAside { answer, .. } => {
                drop(answer.send(Err(broken.queue_error())));
            }
            Self::Requeue { answer, .. } => drop(answer.send(Err(broken.queue_error()))),
            Self::Mend => {}
        }
    }
}

/// What applying a command came to.
enum Applied {
    Table(Result<(), TableError>),
    Purged(usize),
    Sent(Vec<Placed>),
    Acknowledged,
    /// The group; `None` when the message was gone.
    SetAside(Option<String>),
    Requeued(Vec<Placed>),
    Nothing,
}

/// A batch that failed as a whole.
enum Broken {
    /// Nothing of it is in the file.
    Before(Fault),
    /// It may or may not be in the file.
    During(Fault),
}

impl Broken {
    fn fault(&self) -> &Fault {
        match self {
            Self::Before(fault) | Self::During(fault) => fault,
        }
    }

    fn table_error(&self) -> TableError {
        match self {
            Self::Before(fault) => TableError::Unavailable(fault.text.clone()),
            Self::During(fault) => TableError::OutcomeUnknown(fault.text.clone()),
        }
    }

    fn queue_error(&self) -> QueueError {
        QueueError::Unavailable(self.fault().text.clone())
    }
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self::Before(fault)
    }
}

/// What the writer tells of itself.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) commits: AtomicU64,
    pub(crate) commands: AtomicU64,
    /// Why the last commit failed; `None` when it did not.
    failing: Mutex<Option<String>>,
}

impl Counts {
    pub(crate) fn failing(&self) -> Option<String> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn committed(&self, outcome: Result<(), &Fault>) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(()) if failing.take().is_some() => tracing::warn!("commits work again"),
            Ok(()) => {}
            Err(fault) => *failing = Some(fault.text.clone()),
        }
    }
}

/// Whether the file works.
#[derive(Default)]
struct Health {
    /// The file must be reopened.
    broken: bool,
    /// The last commit failed.
    failing: bool,
    /// The last attempt to reopen it.
    tried: Option<Instant>,
}

impl Health {
    fn may_try(&self) -> bool {
        self.tried.is_none_or(|at| at.elapsed() >= REOPEN_INTERVAL)
    }
}

/// The writer thread's state.
pub(crate) struct Writer {
    pub(crate) file: Arc<File>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) commands: Receiver<Command>,
}

impl Writer {
    /// Runs until every sender of commands is gone and what they sent is done.
    pub(crate) fn run(self) {
        let mut health = Health::default();
        let mut batch = Vec::new();
        let mut busy = false;
        loop {
            // A broken file is tried again without waiting for a command: readers want it too. And so is a commit, for
            // those who send nothing before they hear that it works.
            let first = if health.broken || health.failing {
                self.commands.recv_timeout(REOPEN_INTERVAL)
            } else {
                self.commands.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match first {
                Ok(command) => self.gather(command, &mut batch, busy),
                Err(RecvTimeoutError::Timeout) => self.try_out(&mut health),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // A reader's word from before the last attempt is old news; if it is not, another will say so.
            health.broken |= health.may_try() && batch.iter().any(|c| matches!(c, Command::Mend));
            self.mend(&mut health);
            busy = batch.len() >= BUSY;
            self.process(&mut batch, &mut health);
            self.mend(&mut health);
        }
    }

    /// A commit that writes what is there already.
    fn try_out(&self, health: &mut Health) {
        if !health.failing || health.broken {
            return;
        }
        let commit = || -> Result<(), Fault> {
            let transaction = self.file.begin_write()?;
            transaction.open_table(META)?.insert(FORMAT_KEY, FORMAT)?;
            Ok(transaction.commit()?)
        };
        self.note(commit().as_ref().copied(), health);
    }

    /// Notes how a commit went.
    fn note(&self, outcome: Result<(), &Fault>, health: &mut Health) {
        health.failing = outcome.is_err();
        health.broken |= outcome.is_err_and(|fault| fault.reopen);
        self.counts.committed(outcome);
    }

    /// Reopens a broken file, unless that was tried just now.
    fn mend(&self, health: &mut Health) {
        if !health.broken || !health.may_try() {
            return;
        }
        match self.file.reopen() {
            Ok(()) => {
                health.broken = false;
                tracing::warn!("the data file was reopened after an I/O error");
            }
            Err(error) => tracing::error!(%error, "the data file cannot be reopened after an I/O error; trying again"),
        }
        health.tried = Some(Instant::now());
    }

    fn gather(&self, first: Command, batch: &mut Vec<Command>, busy: bool) {
        let mut bytes = first.bytes();
        batch.push(first);
        self.drain(batch, &mut bytes);
        if busy {
            std::thread::sleep(GATHER);
            self.drain(batch, &mut bytes);
        }
    }

    fn drain(&self, batch: &mut Vec<Command>, bytes: &mut usize) {
        while batch.len() < MAX_COMMANDS
            && *bytes < MAX_BYTES
            && let Ok(command) = self.commands.try_recv()
        {
            *bytes += command.bytes();
            batch.push(command);
        }
    }

    /// Commits and answers the batch.
    fn process(&self, batch: &mut Vec<Command>, health: &mut Health) {
        if batch.iter().all(|c| matches!(c, Command::Mend)) {
            batch.clear();
            return;
        }
        let now = self.clock.now();
        let now_ms = millis(now);
        match self.commit(batch, now.as_seconds(), now_ms) {
            Ok((applied, changed)) => {
                if changed {
                    self.note(Ok(()), health);
                }
                for (command, applied) in batch.drain(..).zip(applied) {
                    finish(command, applied, now_ms);
                }
            }
            Err(broken) => {
                tracing::error!(error = broken.fault().text, commands = batch.len(), "a commit failed");
                self.note(Err(broken.fault()), health);
                for command in batch.drain(..) {
                    command.fail(&broken);
                }
            }
        }
    }

    /// What the commands came to, and whether that changed anything.
    fn commit(&self, batch: &[Command], now_s: i64, now_ms: u64) -> Result<(Vec<Applied>, bool), Broken> {
        let transaction = self.file.begin_write()?;
        let mut tables = Tables::new(&transaction, now_s, now_ms);
        let mut applied = Vec::with_capacity(batch.len());
        for command in batch {
            applied.push(match command {
                Command::Transact { writes, .. } => Applied::Table(tables.transact(writes)?),
                Command::Each { writes, .. } => Applied::Table(tables.each(writes)?),
                Command::Purge { keys, .. } => Applied::Purged(tables.purge(keys)?),
                Command::Send { queue, messages, .. } => Applied::Sent(tables.send(queue, messages)?),
                Command::Acknowledge { queue, ids, .. } => {
                    tables.acknowledge(queue, ids)?;
                    Applied::Acknowledged
                }
                Command::SetAside { queue, id, receives, reason, .. } => {
                    Applied::SetAside(tables.set_aside(queue, *id, *receives, reason)?)
                }
                Command::Requeue { queue, .. } => Applied::Requeued(tables.requeue(queue)?),
                Command::Mend => Applied::Nothing,
            });
        }
        let changed = tables.changed();
        drop(tables);
        if changed {
            transaction.commit().map_err(|e| Broken::During(e.into()))?;
            self.counts.commits.fetch_add(1, Ordering::Relaxed);
        } else {
            transaction.abort().map_err(Fault::from)?;
        }
        self.counts.commands.fetch_add(batch.len() as u64, Ordering::Relaxed);
        Ok((applied, changed))
    }
}

/// Tells the queue's index, then the caller. The caller may have gone away; the index must know all the same.
fn finish(command: Command, applied: Applied, now_ms: u64) {
    match (command, applied) {
        (Command::Transact { answer, .. } | Command::Each { answer, .. }, Applied::Table(outcome)) => {
            drop(answer.send(outcome));
        }
        (Command::Purge { answer, .. }, Applied::Purged(deleted)) => drop(answer.send(Ok(deleted))),
        (Command::Send { queue, answer, .. }, Applied::Sent(placed)) => {
            drop(answer.send(Ok(queue.placed(&placed, now_ms))));
        }
        (Command::Acknowledge { queue, ids, answer }, Applied::Acknowledged) => {
            queue.gone(&ids);
            drop(answer.send(Ok(())));
        }
        (Command::SetAside { queue, id, receives, reason, answer }, Applied::SetAside(group)) => {
            queue.gone(&[id]);
            if let Some(group) = group {
                let (queue, number) = (&queue.name, id.number);
                tracing::error!(
                    queue,
                    group,
                    number,
                    receives,
                    reason,
                    "a message was set aside; see the dead letters"
                );
            }
            drop(answer.send(Ok(())));
        }
        (Command::Requeue { queue, answer }, Applied::Requeued(placed)) => {
            queue.placed(&placed, now_ms);
            drop(answer.send(Ok(placed.len())));
        }
        // The pairs above are all that `commit` makes; anything else has nobody to answer.
        _ => {}
    }
}

/// Starts a writer thread; it ends when the sender is dropped.
pub(crate) fn start(
    file: Arc<File>,
    clock: Arc<dyn Clock>,
    counts: Arc<Counts>,
) -> std::io::Result<(mpsc::Sender<Command>, std::thread::JoinHandle<()>)> {
    let (sender, commands) = mpsc::channel();
    let writer = Writer { file, clock, counts, commands };
    let thread = std::thread::Builder::new().name("store-writer".into()).spawn(move || writer.run())?;
    Ok((sender, thread))
}
