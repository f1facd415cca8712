//! A platform whose calls fail where the test says: one-shot errors, with and without effect.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use events::InstanceId;
use platform::testing::{MemoryBus, MemoryPlatform, MemoryQueue, MemoryTable, MemoryVault};
use platform::{
    Bus, BusError, Clock, Consistency, Entry, Item, Key, Outgoing, Page, Platform, PublishError, Query, Queue,
    QueueError, Random, Receipt, Received, SendError, Table, TableError, Write,
};

use crate::flows::Published;

/// What goes wrong with one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// It is done, and its answer is lost.
    Lost,
    /// It is not done, and nobody knows.
    NotDone,
    /// Another write is in the way; of a send or a publish, every other message or entry is not taken.
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

    fn bus(self) -> BusError {
        match self {
            Self::Throttled => BusError::Throttled,
            _ => BusError::Unavailable("as the test asked".into()),
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
    eventual: usize,
    unreadable: Vec<usize>,
    lagging: bool,
    refusals: BTreeMap<InstanceId, (u64, usize)>,
    offered: HashMap<String, usize>,
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
    fn readable(&self, consistency: Consistency) -> bool {
        let mut plan = self.plan();
        let read = plan.reads;
        plan.reads += 1;
        plan.eventual += usize::from(consistency == Consistency::Eventual);
        !plan.unreadable.contains(&read)
    }
}

/// The platform in memory, with calls that fail. Acts (writes, sends, publishes, acknowledgements) and reads are counted
/// apart, from 0 and across restarts.
#[derive(Clone, Debug)]
pub struct Faulty {
    /// The platform underneath.
    pub memory: MemoryPlatform,
    table: FaultyTable,
    batches: FaultyQueue,
    polls: FaultyQueue,
    bus: FaultyBus,
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
        let bus = FaultyBus { inner: memory.bus().clone(), plan: plan.clone() };
        Self { memory, table, batches, polls, bus, plan }
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

    /// How many of the reads were eventual.
    #[must_use]
    pub fn eventual_reads(&self) -> usize {
        self.plan.plan().eventual
    }

    /// From now on, an eventual read of an item sees nothing of what was ever written.
    pub fn lag(&self) {
        self.plan.plan().lagging = true;
    }

    /// From now on, the bus does not take the first `first` offers of each event of the instance whose object's number is a
    /// multiple of `every`.
    pub fn refuse(&self, instance: InstanceId, every: u64, first: usize) {
        self.plan.plan().refusals.insert(instance, (every, first));
    }

    /// The bus.
    #[must_use]
    pub fn bus(&self) -> &FaultyBus {
        &self.bus
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
    async fn read<T>(
        &self,
        consistency: Consistency,
        read: impl Future<Output = Result<T, TableError>>,
    ) -> Result<T, TableError> {
        if self.plan.readable(consistency) { read.await } else { Err(TableError::Throttled) }
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
        let item = self.read(consistency, self.inner.get(key, consistency)).await?;
        Ok(item.filter(|_| consistency == Consistency::Strong || !self.plan.plan().lagging))
    }

    async fn get_many(&self, keys: &[Key], consistency: Consistency) -> Result<Vec<Option<Item>>, TableError> {
        self.read(consistency, self.inner.get_many(keys, consistency)).await
    }

    async fn write(&self, write: Write) -> Result<(), TableError> {
        self.act(self.inner.write(write)).await
    }

    async fn write_many(&self, writes: Vec<Write>) -> Result<(), TableError> {
        self.act(self.inner.write_many(writes)).await
    }

    async fn query(&self, query: &Query) -> Result<Page, TableError> {
        self.read(query.consistency, self.inner.query(query)).await
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

/// See [`Faulty`].
#[derive(Clone, Debug)]
pub struct FaultyBus {
    inner: MemoryBus,
    plan: Planned,
}

impl FaultyBus {
    /// What the bus took, in order.
    #[must_use]
    pub fn published(&self) -> Vec<Published> {
        self.inner.entries().iter().map(Published::read).collect()
    }

    /// Whether the bus takes the entry this time.
    fn takes(&self, entry: &Entry) -> bool {
        let mut plan = self.plan.plan();
        let offered = plan.offered.entry(entry.detail.clone()).or_default();
        let before = *offered;
        *offered += 1;
        let Published { instance, object, .. } = Published::read(entry);
        let (every, first) = plan.refusals.get(&instance).copied().unwrap_or((1, 0));
        before >= first || object.parse::<u64>().is_ok_and(|number| number % every != 0)
    }
}

impl Bus for FaultyBus {
    async fn publish(&self, entries: Vec<Entry>) -> Result<(), PublishError> {
        let trouble = self.plan.next();
        let (mut failed, mut taken) = (Vec::new(), Vec::new());
        for (index, entry) in entries.into_iter().enumerate() {
            let hindered = match trouble {
                None | Some(Trouble::Lost) => false,
                Some(Trouble::Conflict) => index % 2 == 0,
                Some(Trouble::NotDone | Trouble::Throttled) => true,
            };
            if hindered || !self.takes(&entry) {
                failed.push(index);
            } else {
                taken.push(entry);
            }
        }
        let all = failed.len() + taken.len();
        if !taken.is_empty() {
            self.inner.publish(taken).await?;
        }
        if trouble == Some(Trouble::Lost) {
            failed = (0..all).collect();
        }
        let error = trouble.map_or(BusError::Throttled, Trouble::bus);
        if failed.is_empty() { Ok(()) } else { Err(PublishError { failed, error }) }
    }
}
