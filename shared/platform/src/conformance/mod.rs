//! One suite that every platform must pass: what the ports promise, as scenarios named by the promise.
//!
//! A platform's tests say how to set up what is to be tested, and each scenario becomes a test of its own:
//!
//! ```
//! # use pollhook_platform as platform;
//! # use std::sync::Arc;
//! use platform::conformance::TableUnderTest;
//! use platform::testing::{ManualClock, MemoryTable};
//!
//! async fn table() -> TableUnderTest<MemoryTable, ManualClock> {
//!     let time = ManualClock::new(events::Timestamp::from_seconds(0));
//!     TableUnderTest { table: Arc::new(MemoryTable::new(time.clone())), time, keep: Box::new(()) }
//! }
//!
//! mod table_conformance {
//! #   use pollhook_platform as platform;
//!     platform::table_conformance!(super::table);
//! }
//! # fn main() {}
//! ```
//!
//! The tests' package needs tokio with its macros. A table may be shared by the scenarios and by earlier runs: each keeps to
//! a partition prefix of its own. A queue or a bus must be fresh for each scenario. Where time must pass, the scenarios ask
//! [`Time`] for a few seconds at most, and for one visibility timeout or two.
//!
//! | macro | set-up gives | suite |
//! |---|---|---|
//! | [`table_conformance!`](crate::table_conformance) | [`TableUnderTest`] | [`table_items`], [`table_queries`], [`table_transactions`] |
//! | [`table_fault_conformance!`](crate::table_fault_conformance) | [`FaultyTableUnderTest`] | [`table_faults`] |
//! | [`queue_conformance!`](crate::queue_conformance) | [`QueueUnderTest`] | [`queue`] |
//! | [`queue_fault_conformance!`](crate::queue_fault_conformance) | [`FaultyQueueUnderTest`] | [`queue_faults`] |
//! | [`queues_conformance!`](crate::queues_conformance) | [`QueuesUnderTest`] | [`queues`] |
//! | [`vault_conformance!`](crate::vault_conformance) | [`VaultUnderTest`] | [`vault`] |
//! | [`bus_conformance!`](crate::bus_conformance) | [`BusUnderTest`] | [`bus`] |
//! | [`bus_fault_conformance!`](crate::bus_fault_conformance) | [`FaultyBusUnderTest`] | [`bus_faults`] |

pub mod bus;
pub mod bus_faults;
pub mod queue;
pub mod queue_faults;
pub mod queues;
pub mod table_faults;
pub mod table_items;
pub mod table_queries;
pub mod table_transactions;
pub mod vault;

use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use events::Timestamp;

use crate::testing::ManualClock;
use crate::{Act, Clock, Consistency, Item, Key, OsRandom, Random, SystemClock, Table, TableError, Version, Write};

/// Lets time pass for the platform under test: turns a manual clock, or really waits.
pub trait Time: Send + Sync {
    /// The time by which the platform under test goes.
    fn now(&self) -> Timestamp;

    /// Returns when `duration` has passed for it.
    fn pass(&self, duration: Duration) -> impl Future<Output = ()> + Send;
}

/// The computer's own time.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealTime;

impl Time for RealTime {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    async fn pass(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

impl Time for ManualClock {
    fn now(&self) -> Timestamp {
        Clock::now(self)
    }

    async fn pass(&self, duration: Duration) {
        self.advance(duration);
    }
}

/// A network between us and the store that can be told to lose things.
pub trait Faults: Send + Sync {
    /// The next request reaches the store and is done there; the connection dies before the answer arrives.
    fn lose_next_answer(&self);

    /// The connection dies before the next request reaches the store.
    fn refuse_next_request(&self);
}

/// What must live as long as a scenario: a directory, a server. Dropped at its end.
pub type Keep = Box<dyn Any + Send>;

/// What [`table_conformance!`](crate::table_conformance) tests.
pub struct TableUnderTest<T, C> {
    /// The table. It may hold anything outside the scenario's own partitions.
    pub table: Arc<T>,
    /// The time by which it goes.
    pub time: C,
    /// See [`Keep`].
    pub keep: Keep,
}

/// What [`table_fault_conformance!`](crate::table_fault_conformance) tests.
pub struct FaultyTableUnderTest<T, F> {
    /// The table. Nothing else may use the same [`Faults`].
    pub table: Arc<T>,
    /// The network between.
    pub faults: F,
    /// See [`Keep`].
    pub keep: Keep,
}

/// What [`queue_conformance!`](crate::queue_conformance) tests.
pub struct QueueUnderTest<Q, C> {
    /// The queue: empty, and nobody else's.
    pub queue: Arc<Q>,
    /// The time by which it goes.
    pub time: C,
    /// After what time an unacknowledged message comes back.
    pub visibility_timeout: Duration,
    /// See [`Keep`].
    pub keep: Keep,
}

/// What [`queues_conformance!`](crate::queues_conformance) tests.
pub struct QueuesUnderTest<Q, C> {
    /// The batches queue: empty, and nobody else's.
    pub batches: Arc<Q>,
    /// The poll jobs' queue of the same platform: empty, and nobody else's.
    pub polls: Arc<Q>,
    /// The time by which they go.
    pub time: C,
    /// After what time an unacknowledged message comes back.
    pub visibility_timeout: Duration,
    /// See [`Keep`].
    pub keep: Keep,
}

/// What [`queue_fault_conformance!`](crate::queue_fault_conformance) tests.
pub struct FaultyQueueUnderTest<Q, F> {
    /// The queue: empty, and nobody else's.
    pub queue: Arc<Q>,
    /// The network between.
    pub faults: F,
    /// See [`Keep`].
    pub keep: Keep,
}

/// What [`vault_conformance!`](crate::vault_conformance) tests.
pub struct VaultUnderTest<V> {
    /// The vault.
    pub vault: Arc<V>,
    /// See [`Keep`].
    pub keep: Keep,
}

/// What [`bus_conformance!`](crate::bus_conformance) tests.
pub struct BusUnderTest<B, S> {
    /// The bus: nobody else's.
    pub bus: Arc<B>,
    /// Who sees all that it hands over. See [`bus::Subscriber`].
    pub subscriber: S,
    /// See [`Keep`].
    pub keep: Keep,
}

/// What [`bus_fault_conformance!`](crate::bus_fault_conformance) tests.
pub struct FaultyBusUnderTest<B, S, F> {
    /// The bus: nobody else's.
    pub bus: Arc<B>,
    /// Who sees all that it hands over. See [`bus::Subscriber`].
    pub subscriber: S,
    /// The network between, and what goes wrong in the bus. See [`bus_faults::EntryFaults`].
    pub faults: F,
    /// See [`Keep`].
    pub keep: Keep,
}

/// A partition prefix for one run of the scenario `name`, so that runs can share a store.
#[must_use]
pub fn scope(name: &str) -> String {
    format!("CONFORMANCE#{name}#{:016x}", OsRandom.bits())
}

/// How often a scenario tries what the platform may ask it to try again.
const TRIES: u32 = 200;
/// How long it waits in between. Real time on any clock: what is in the way is another request, not the hour.
const BETWEEN_TRIES: Duration = Duration::from_millis(5);

/// Tries again while another write is in the way, as any caller would.
async fn insist<F: Future<Output = Result<(), TableError>>>(mut attempt: impl FnMut() -> F) -> Result<(), TableError> {
    for tried in 1..TRIES {
        match attempt().await {
            Err(TableError::Conflict | TableError::Throttled) => tokio::time::sleep(BETWEEN_TRIES * (tried % 8)).await,
            answer => return answer,
        }
    }
    attempt().await
}

/// The item that a put makes.
fn made_by(write: &Write) -> Option<Item> {
    match &write.act {
        Act::Put { body, version, expires_at_s } => {
            Some(Item { key: write.key.clone(), version: *version, body: body.clone(), expires_at_s: *expires_at_s })
        }
        Act::Delete | Act::Check => None,
    }
}

/// What is at `key`, read strongly.
async fn stored<T: Table>(table: &T, key: &Key) -> Option<Item> {
    table.get(key, Consistency::Strong).await.expect("a get")
}

/// A put that must succeed, and the item it makes.
async fn put<T: Table>(table: &T, key: &Key, version: u64, body: &str) -> Item {
    let write = Write::put(key.clone(), Version(version), body.to_owned());
    let item = made_by(&write).expect("a put");
    assert_eq!(table.write(write).await, Ok(()), "an unconditional put");
    item
}

/// One test for each scenario. `$call` is a macro that runs one, given the set-up function and the scenario's path.
#[doc(hidden)]
#[macro_export]
macro_rules! __scenarios {
    ($call:ident, $setup:path, $($suite:ident :: { $($name:ident),+ $(,)? }),+ $(,)?) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::$call!($setup, $suite, $name);
            }
        )+)+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __table_scenario {
    ($setup:path, $suite:ident, $name:ident) => {
        let given = $setup().await;
        let scope = $crate::conformance::scope(stringify!($name));
        $crate::conformance::$suite::$name(&given.table, &given.time, &scope).await;
        drop(given.keep);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __table_fault_scenario {
    ($setup:path, $suite:ident, $name:ident) => {
        let given = $setup().await;
        let scope = $crate::conformance::scope(stringify!($name));
        $crate::conformance::$suite::$name(&*given.table, &given.faults, &scope).await;
        drop(given.keep);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __queue_scenario {
    ($setup:path, $suite:ident, $name:ident) => {
        let given = $setup().await;
        $crate::conformance::$suite::$name(&*given.queue, &given.time, given.visibility_timeout).await;
        drop(given.keep);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __queues_scenario {
    ($setup:path, $suite:ident, $name:ident) => {
        let given = $setup().await;
        $crate::conformance::$suite::$name(&*given.batches, &*given.polls, &given.time, given.visibility_timeout).await;
        $crate::conformance::$suite::$name(&*given.polls, &*given.batches, &given.time, given.visibility_timeout).await;
        drop(given.keep);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __queue_fault_scenario {
    ($setup:path, $suite:ident, $name:ident) => {
        let given = $setup().await;
        $crate::conformance::$suite::$name(&*given.queue, &given.faults).await;
        drop(given.keep);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __vault_scenario {
    ($setup:path, $suite:ident, $name:ident) => {
        let given = $setup().await;
        $crate::conformance::$suite::$name(&*given.vault).await;
        drop(given.keep);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __bus_scenario {
    ($setup:path, $suite:ident, $name:ident) => {
        let given = $setup().await;
        $crate::conformance::$suite::$name(&*given.bus, &given.subscriber).await;
        drop(given.keep);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __bus_fault_scenario {
    ($setup:path, $suite:ident, $name:ident) => {
        let given = $setup().await;
        $crate::conformance::$suite::$name(&*given.bus, &given.subscriber, &given.faults).await;
        drop(given.keep);
    };
}
