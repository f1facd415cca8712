//! A platform whose calls fail where the test says: one-shot errors, with and without effect.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use platform::testing::{MemoryPlatform, MemoryQueue, MemoryTable, MemoryVault};
use platform::{
    Clock, Consistency, Item, Key, Outgoing, Page, Platform, Query, Queue, QueueError, Random, Receipt, Received,
    SendError, Table, TableError, Write,
};

/// What goes wrong with one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// It is done, and its answer is lost.
    Lost,
    /// It is not done, and nobody knows.
    NotDone,
    /// Another write is in the way; of a send, every other message is not taken.
    Conflict,
    /// Too much at once.
    Throttled,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Lost, Self::NotDone, Self::Conflict, Self::Throttled];

    fn table(self) -> TableError {
        match self {
            Self::Lost | Self::NotDone => TableError::OutcomeUnknown("as the test asked".into()),
            Self::Conflict => TableError::Conflict,
            Self::Throttled => TableError::Throttled,
        }
    }

    fn queue(self) -> QueueError {
        match self {
            Self::Throttled => QueueError::Throttled,
            _ => QueueError::Unavailable("as the test asked".into()),
        }
    }
}

#[derive(Debug, Default)]
struct Plan {
    acts: usize,
    troubles: Vec<(usize, Trouble)>,
    reads: usize,
    unreadable: Vec<usize>,
}

/// Which calls fail. Clones are the same plan.
#[derive(Clone, Debug, Default)]
struct Planned(Arc<Mutex<Plan>>);

impl Planned {
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call that does something, and tells its trouble.
    fn next(&self) -> Option<Trouble> {
        let mut plan = self.plan();
        let act = plan.acts;
        plan.acts += 1;
        plan.troubles.iter().find(|(at, _)| *at == act).map(|(_, trouble)| *trouble)
    }

    /// Counts a read, and tells whether it succeeds.
    fn readable(&self) -> bool {
        let mut plan = self.plan();
        let read = plan.reads;
        plan.reads += 1;
        !plan.unreadable.contains(&read)
    }
}

/// The platform in memory, with calls that fail. Acts (writes, sends, acknowledgements) and reads are counted apart, from 0
/// and across restarts.
#[derive(Clone, Debug)]
pub struct Faulty {
    /// The platform underneath.
    pub memory: MemoryPlatform,
    table: FaultyTable,
    batches: FaultyQueue,
    polls: FaultyQueue,
    plan: Planned,
}

impl Faulty {
    pub(crate) fn new(memory: MemoryPlatform) -> Self {
        Self::with(memory, Planned::default())
    }

    fn with(memory: MemoryPlatform, plan: Planned) -> Self {
        let table = FaultyTable { inner: memory.table().clone(), plan: plan.clone() };
        let batches = FaultyQueue { inner: memory.batches().clone(), plan: plan.clone() };
        let polls = FaultyQueue { inner: memory.polls().clone(), plan: plan.clone() };
        Self { memory, table, batches, polls, plan }
    }

    pub(crate) fn restart(&self) -> Self {
        Self::with(self.memory.restart(), self.plan.clone())
    }

    /// How many acts there were.
    #[must_use]
    pub fn acts(&self) -> usize {
        self.plan.plan().acts
    }

    /// How many reads there were.
    #[must_use]
    pub fn reads(&self) -> usize {
        self.plan.plan().reads
    }

    /// The act `ahead` of now (0: the next one) fails.
    pub fn fail(&self, ahead: usize, trouble: Trouble) {
        let mut plan = self.plan.plan();
        let at = plan.acts + ahead;
        plan.troubles.push((at, trouble));
    }

    /// The read `ahead` of now (0: the next one) is throttled.
    pub fn fail_read(&self, ahead: usize) {
        let mut plan = self.plan.plan();
        let at = plan.reads + ahead;
        plan.unreadable.push(at);
    }
}

impl Platform for Faulty {
    type Table = FaultyTable;
    type Queue = FaultyQueue;
    type Vault = MemoryVault;

    fn table(&self) -> &FaultyTable {
        &self.table
    }

    fn batches(&self) -> &FaultyQueue {
        &self.batches
    }

    fn polls(&self) -> &FaultyQueue {
        &self.polls
    }

    fn vault(&self) -> &MemoryVault {
        self.memory.vault()
    }

    fn clock(&self) -> &dyn Clock {
        self.memory.clock()
    }

    fn random(&self) -> &dyn Random {
        self.memory.random()
    }
}

/// See [`Faulty`].
#[derive(Clone, Debug)]
pub struct FaultyTable {
    inner: MemoryTable,
    plan: Planned,
}

impl FaultyTable {
    async fn read<T>(&self, read: impl Future<Output = Result<T, TableError>>) -> Result<T, TableError> {
        if self.plan.readable() { read.await } else { Err(TableError::Throttled) }
    }

    async fn act(&self, act: impl Future<Output = Result<(), TableError>>) -> Result<(), TableError> {
        match self.plan.next() {
            None => act.await,
            Some(Trouble::Lost) => act.await.and(Err(Trouble::Lost.table())),
            Some(trouble) => Err(trouble.table()),
        }
    }
}

impl Table for FaultyTable {
    async fn get(&self, key: &Key, consistency: Consistency) -> Result<Option<Item>, TableError> {
        self.read(self.inner.get(key, consistency)).await
    }

    async fn get_many(&self, keys: &[Key], consistency: Consistency) -> Result<Vec<Option<Item>>, TableError> {
        self.read(self.inner.get_many(keys, consistency)).await
    }

    async fn write(&self, write: Write) -> Result<(), TableError> {
        self.act(self.inner.write(write)).await
    }

    async fn write_many(&self, writes: Vec<Write>) -> Result<(), TableError> {
        self.act(self.inner.write_many(writes)).await
    }

    async fn query(&self, query: &Query) -> Result<Page, TableError> {
        self.read(self.inner.query(query)).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), TableError> {
        self.act(self.inner.transact(writes)).await
    }
}

/// See [`Faulty`].
#[derive(Clone, Debug)]
pub struct FaultyQueue {
    inner: MemoryQueue,
    plan: Planned,
}

impl Queue for FaultyQueue {
    async fn send(&self, messages: Vec<Outgoing>) -> Result<(), SendError> {
        let Some(trouble) = self.plan.next() else { return self.inner.send(messages).await };
        let all: Vec<usize> = (0..messages.len()).collect();
        let failed = match trouble {
            Trouble::Lost => {
                self.inner.send(messages).await?;
                all
            }
            Trouble::Conflict => {
                let taken: Vec<Outgoing> = messages.into_iter().skip(1).step_by(2).collect();
                if !taken.is_empty() {
                    self.inner.send(taken).await?;
                }
                all.into_iter().step_by(2).collect()
            }
            Trouble::NotDone | Trouble::Throttled => all,
        };
        Err(SendError { failed, error: trouble.queue() })
    }

    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Received>, QueueError> {
        self.inner.receive(max, wait).await
    }

    async fn acknowledge(&self, receipts: Vec<Receipt>) -> Result<(), QueueError> {
        match self.plan.next() {
            None => self.inner.acknowledge(receipts).await,
            Some(Trouble::Lost) => self.inner.acknowledge(receipts).await.and(Err(Trouble::Lost.queue())),
            Some(trouble) => Err(trouble.queue()),
        }
    }
}
