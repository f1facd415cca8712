//! A platform in memory, for deterministic tests of roles.
//!
//! *Promises:* the limits of [`limits`](crate::limits) and the documented meaning of every port, as the suite in
//! [`conformance`](crate::conformance) holds them. Time is a clock that the test turns; randomness comes from a seed; nothing
//! sleeps. Where DynamoDB or SQS is stricter or stranger than one would guess, so is this: a page may be empty and have a
//! next one, an old receipt acknowledges nothing.
//!
//! *Flow:* what is stored is apart from the **process** that works on it. Every act (a write, each message of a send, each
//! entry of a publish, an acknowledgement, and what a test's double reports through [`MemoryPlatform::act`]) is one step of the process, and the
//! process can be made to die just before or just after any step. [`MemoryPlatform::restart`] is the next process over the
//! same stored things. So a test runs a role once to count its steps, and then once for every step and [`Moment`]:
//!
//! ```
//! # use pollhook_platform as platform;
//! # use platform::testing::{MemoryPlatform, Moment};
//! # use platform::{Key, Platform, Table, Version, Write};
//! # use events::Timestamp;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! async fn role(platform: &MemoryPlatform) {
//!     let write = Write::put(Key::new("A", "1"), Version(1), "body");
//!     platform.table().write(write).await.expect("memory takes it");
//! }
//! let platform = MemoryPlatform::new(Timestamp::from_seconds(0));
//! role(&platform).await;
//! for step in 0..platform.steps() {
//!     for moment in [Moment::Before, Moment::After] {
//!         let platform = MemoryPlatform::new(Timestamp::from_seconds(0));
//!         platform.crash_at(step, moment);
//!         assert!(platform.run_until_crash(role(&platform)).await.is_err());
//!         let platform = platform.restart();
//!         role(&platform).await;
//!         assert_eq!(platform.table().items("A").len(), 1);
//!     }
//! }
//! # }
//! ```
//!
//! *Failure modes* are asked for: see [`MemoryTable`], [`MemoryQueue`] and [`MemoryBus`] for errors, lost answers,
//! duplicates and disorder.

mod bus;
mod process;
mod queue;
mod surroundings;
mod table;
mod vault;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use events::Timestamp;

use crate::{Clock, Platform, Random};
pub use bus::MemoryBus;
use process::Process;
pub use process::{Crashed, Moment};
pub use queue::{Held, MemoryQueue};
pub use surroundings::{ManualClock, SeededRandom};
pub use table::MemoryTable;
pub use vault::MemoryVault;

/// The visibility timeout of [`MemoryPlatform::new`].
pub const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(60);

/// A test that panicked elsewhere must not hide its message behind a poisoned lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The platform in memory. Clones are the same process.
#[derive(Clone, Debug)]
pub struct MemoryPlatform {
    process: Arc<Process>,
    table: MemoryTable,
    batches: MemoryQueue,
    polls: MemoryQueue,
    bus: MemoryBus,
    vault: MemoryVault,
    clock: ManualClock,
    random: SeededRandom,
}

impl MemoryPlatform {
    /// An empty platform at `now`, with seed 0 and a visibility timeout of [`VISIBILITY_TIMEOUT`].
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self::with(now, 0, VISIBILITY_TIMEOUT)
    }

    /// An empty platform at `now`.
    #[must_use]
    pub fn with(now: Timestamp, seed: u64, visibility_timeout: Duration) -> Self {
        let clock = ManualClock::new(now);
        let process = Arc::new(Process::default());
        let queue = |name| MemoryQueue::named(name, clock.clone(), visibility_timeout).of(&process);
        Self {
            table: MemoryTable::new(clock.clone()).of(&process),
            batches: queue("batches"),
            polls: queue("polls"),
            bus: MemoryBus::default().of(&process),
            vault: MemoryVault::default(),
            random: SeededRandom::new(seed),
            clock,
            process,
        }
    }

    /// The next process over the same items, messages and bus, clock and randomness. What was in flight is handed over again
    /// at once, with its receive counts; this process is dead from here on.
    #[must_use]
    pub fn restart(&self) -> Self {
        self.process.die(Crashed { step: self.steps(), moment: Moment::Before, act: "restart".into() });
        self.batches.hand_back();
        self.polls.hand_back();
        let process = Arc::new(Process::default());
        Self {
            table: self.table.of(&process),
            batches: self.batches.of(&process),
            polls: self.polls.of(&process),
            bus: self.bus.of(&process),
            vault: self.vault.clone(),
            clock: self.clock.clone(),
            random: self.random.clone(),
            process,
        }
    }

    /// The clock, to turn it.
    #[must_use]
    pub fn time(&self) -> &ManualClock {
        &self.clock
    }

    /// The event bus, which is no part of the bundle: only the dispatcher publishes.
    #[must_use]
    pub fn bus(&self) -> &MemoryBus {
        &self.bus
    }

    /// Turns the clock forward.
    pub fn advance(&self, duration: Duration) {
        self.clock.advance(duration);
    }

    /// How many steps this process has taken.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.process.steps()
    }

    /// What this process did, step by step: only acts that happened.
    #[must_use]
    pub fn acts(&self) -> Vec<String> {
        self.process.acts()
    }

    /// The process dies at `step` (counted from 0, from its start): the act does not happen, or happens unseen.
    pub fn crash_at(&self, step: usize, moment: Moment) {
        self.process.crash_at(step, moment);
    }

    /// Takes a step outside the platform, such as a request that a test's double receives. It never returns when the
    /// process dies at it, or is dead.
    pub async fn act(&self, what: &str) {
        self.act_with(what, || ()).await;
    }

    /// Takes a step outside the platform whose effect is `effect`: it does not happen when the process dies before it,
    /// and happens unseen when the process dies after it.
    pub async fn act_with<T>(&self, what: &str, effect: impl FnOnce() -> T) -> T {
        self.process.act(what.into(), effect).await
    }

    /// Runs `work` to its end, or to the process's.
    ///
    /// # Errors
    /// [`Crashed`]: `work` was dropped where it stood. Tasks that it spawned hang at their next act.
    pub async fn run_until_crash<T>(&self, work: impl Future<Output = T>) -> Result<T, Crashed> {
        tokio::select! {
            biased;
            crashed = self.process.death() => Err(crashed),
            value = work => Ok(value),
        }
    }
}

impl Platform for MemoryPlatform {
    type Table = MemoryTable;
    type Queue = MemoryQueue;
    type Vault = MemoryVault;

    fn table(&self) -> &MemoryTable {
        &self.table
    }

    fn batches(&self) -> &MemoryQueue {
        &self.batches
    }

    fn polls(&self) -> &MemoryQueue {
        &self.polls
    }

    fn vault(&self) -> &MemoryVault {
        &self.vault
    }

    fn clock(&self) -> &dyn Clock {
        &self.clock
    }

    fn random(&self) -> &dyn Random {
        &self.random
    }
}
