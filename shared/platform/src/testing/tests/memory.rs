//! The platform in memory passes the suite, through a network that loses things on demand.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::conformance::bus::Subscriber;
use crate::conformance::bus_faults::EntryFaults;
use crate::conformance::{
    BusUnderTest, Faults, FaultyBusUnderTest, FaultyQueueUnderTest, FaultyTableUnderTest, QueueUnderTest,
    QueuesUnderTest, TableUnderTest, VaultUnderTest,
};
use crate::testing::{ManualClock, MemoryBus, MemoryPlatform, MemoryQueue, MemoryTable, MemoryVault};
use crate::{
    Bus, BusError, Consistency, Entry, Item, Key, Outgoing, Page, Platform as _, PublishError, Query, Queue,
    QueueError, Receipt, Received, SendError, Table, TableError, Write,
};
use events::Timestamp;

const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(60);

const START: Timestamp = Timestamp::from_seconds(1_700_000_000);

fn clock() -> ManualClock {
    ManualClock::new(START)
}

async fn table() -> TableUnderTest<MemoryTable, ManualClock> {
    let time = clock();
    TableUnderTest { table: Arc::new(MemoryTable::new(time.clone())), time, keep: Box::new(()) }
}

async fn queue() -> QueueUnderTest<MemoryQueue, ManualClock> {
    let time = clock();
    let queue = Arc::new(MemoryQueue::new(time.clone(), VISIBILITY_TIMEOUT));
    QueueUnderTest { queue, time, visibility_timeout: VISIBILITY_TIMEOUT, keep: Box::new(()) }
}

/// Disorder breaks none of the promises: order is none of them.
async fn unruly_queue() -> QueueUnderTest<MemoryQueue, ManualClock> {
    let given = queue().await;
    given.queue.reorder(7);
    given
}

async fn queues() -> QueuesUnderTest<MemoryQueue, ManualClock> {
    let platform = MemoryPlatform::with(START, 0, VISIBILITY_TIMEOUT);
    let time = platform.time().clone();
    let (batches, polls) = (Arc::new(platform.batches().clone()), Arc::new(platform.polls().clone()));
    QueuesUnderTest { batches, polls, time, visibility_timeout: VISIBILITY_TIMEOUT, keep: Box::new(platform) }
}

async fn vault() -> VaultUnderTest<MemoryVault> {
    VaultUnderTest { vault: Arc::new(MemoryVault::default()), keep: Box::new(()) }
}

impl Subscriber for MemoryBus {
    async fn handed_over(&self, _: usize) -> Vec<Entry> {
        self.entries()
    }
}

async fn bus() -> BusUnderTest<MemoryBus, MemoryBus> {
    let bus = MemoryBus::default();
    BusUnderTest { bus: Arc::new(bus.clone()), subscriber: bus, keep: Box::new(()) }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    LoseAnswer,
    Refuse,
}

/// What happens to the next request, whichever it is.
#[derive(Clone, Default)]
struct Network(Arc<Mutex<Option<Fault>>>);

impl Network {
    fn next(&self) -> Option<Fault> {
        self.0.lock().unwrap().take()
    }
}

impl Faults for Network {
    fn lose_next_answer(&self) {
        *self.0.lock().unwrap() = Some(Fault::LoseAnswer);
    }

    fn refuse_next_request(&self) {
        *self.0.lock().unwrap() = Some(Fault::Refuse);
    }
}

/// A table or a queue at the other end of a network.
struct Far<T> {
    network: Network,
    near: T,
}

impl Far<MemoryTable> {
    fn to_read(&self) -> &MemoryTable {
        if self.network.next().is_some() {
            self.near.fail_next_read(TableError::Unavailable("no answer".into()));
        }
        &self.near
    }

    fn to_write(&self) -> &MemoryTable {
        match self.network.next() {
            Some(Fault::LoseAnswer) => self.near.lose_next_answer(),
            Some(Fault::Refuse) => self.near.fail_next_write(TableError::Unavailable("refused".into())),
            None => {}
        }
        &self.near
    }
}

impl Table for Far<MemoryTable> {
    async fn get(&self, key: &Key, consistency: Consistency) -> Result<Option<Item>, TableError> {
        self.to_read().get(key, consistency).await
    }

    async fn get_many(&self, keys: &[Key], consistency: Consistency) -> Result<Vec<Option<Item>>, TableError> {
        self.to_read().get_many(keys, consistency).await
    }

    async fn write(&self, write: Write) -> Result<(), TableError> {
        self.to_write().write(write).await
    }

    async fn write_many(&self, writes: Vec<Write>) -> Result<(), TableError> {
        self.to_write().write_many(writes).await
    }

    async fn query(&self, query: &Query) -> Result<Page, TableError> {
        self.to_read().query(query).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), TableError> {
        self.to_write().transact(writes).await
    }
}

impl Queue for Far<MemoryQueue> {
    async fn send(&self, messages: Vec<Outgoing>) -> Result<(), SendError> {
        match self.network.next() {
            Some(Fault::LoseAnswer) => self.near.lose_next_answer(),
            Some(Fault::Refuse) => {
                let all: Vec<usize> = (0..messages.len()).collect();
                self.near.fail_next_send(all, QueueError::Unavailable("refused".into()));
            }
            None => {}
        }
        self.near.send(messages).await
    }

    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Received>, QueueError> {
        self.near.receive(max, wait).await
    }

    async fn acknowledge(&self, receipts: Vec<Receipt>) -> Result<(), QueueError> {
        if self.network.next().is_some() {
            self.near.fail_next_acknowledge(QueueError::Unavailable("refused".into()));
        }
        self.near.acknowledge(receipts).await
    }
}

/// What goes wrong on the way to a bus and in it.
#[derive(Clone, Default)]
struct Troubles {
    network: Network,
    entries: Arc<Mutex<Vec<(String, BusError)>>>,
}

impl Troubles {
    /// Why the bus does not take `entry`, if so.
    fn of(&self, entry: &Entry) -> Option<BusError> {
        let entries = self.entries.lock().unwrap();
        entries.iter().rev().find(|(of, _)| *of == entry.detail_type).map(|(_, error)| error.clone())
    }
}

impl Faults for Troubles {
    fn lose_next_answer(&self) {
        self.network.lose_next_answer();
    }

    fn refuse_next_request(&self) {
        self.network.refuse_next_request();
    }
}

impl EntryFaults for Troubles {
    fn fail_entries(&self, detail_type: &str, error: &BusError) {
        self.entries.lock().unwrap().push((detail_type.into(), error.clone()));
    }

    fn heal(&self) {
        self.entries.lock().unwrap().clear();
    }
}

/// A bus at the other end of a network.
struct FarBus {
    troubles: Troubles,
    near: MemoryBus,
}

impl Bus for FarBus {
    async fn publish(&self, entries: Vec<Entry>) -> Result<(), PublishError> {
        match self.troubles.network.next() {
            Some(Fault::LoseAnswer) => self.near.lose_next_answer(),
            Some(Fault::Refuse) => self.near.refuse_next_publish(BusError::Unavailable("refused".into())),
            None => {
                let failures = entries.iter().map(|entry| self.troubles.of(entry)).enumerate();
                let failures: Vec<(usize, BusError)> =
                    failures.filter_map(|(index, error)| Some((index, error?))).collect();
                if let Some((_, first)) = failures.first() {
                    let which: Vec<usize> = failures.iter().map(|(index, _)| *index).collect();
                    self.near.fail_next_publish(which, first.clone());
                }
            }
        }
        self.near.publish(entries).await
    }
}

async fn far_bus() -> FaultyBusUnderTest<FarBus, MemoryBus, Troubles> {
    let (faults, near) = (Troubles::default(), MemoryBus::default());
    let bus = FarBus { troubles: faults.clone(), near: near.clone() };
    FaultyBusUnderTest { bus: Arc::new(bus), subscriber: near, faults, keep: Box::new(()) }
}

async fn far_table() -> FaultyTableUnderTest<Far<MemoryTable>, Network> {
    let faults = Network::default();
    let table = Arc::new(Far { network: faults.clone(), near: MemoryTable::new(clock()) });
    FaultyTableUnderTest { table, faults, keep: Box::new(()) }
}

async fn far_queue() -> FaultyQueueUnderTest<Far<MemoryQueue>, Network> {
    let faults = Network::default();
    let queue = Arc::new(Far { network: faults.clone(), near: MemoryQueue::new(clock(), VISIBILITY_TIMEOUT) });
    FaultyQueueUnderTest { queue, faults, keep: Box::new(()) }
}

mod table_conformance {
    crate::table_conformance!(super::table);
}

mod table_fault_conformance {
    crate::table_fault_conformance!(super::far_table);
}

mod queue_conformance {
    crate::queue_conformance!(super::queue);
}

mod queues_conformance {
    crate::queues_conformance!(super::queues);
}

mod queue_conformance_in_disorder {
    crate::queue_conformance!(super::unruly_queue);
}

mod queue_fault_conformance {
    crate::queue_fault_conformance!(super::far_queue);
}

mod vault_conformance {
    crate::vault_conformance!(super::vault);
}

mod bus_conformance {
    crate::bus_conformance!(super::bus);
}

mod bus_fault_conformance {
    crate::bus_fault_conformance!(super::far_bus);
}
