//! Clock, randomness, and the bundle of ports that a role is given.

use events::Timestamp;

use crate::{Queue, Table, Vault, Version};

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Gives unpredictable bits.
pub trait Random: Send + Sync + 'static {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);

    /// 64 bits.
    fn bits(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

/// The computer's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// The operating system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    /// # Panics
    /// When the operating system has no randomness to give: no id or key may be made then.
    fn fill(&self, bytes: &mut [u8]) {
        assert!(getrandom::fill(bytes).is_ok(), "the operating system gives no randomness");
    }
}

/// Everything a role is given. One value per process, shared by reference.
pub trait Platform: Send + Sync + 'static {
    /// The table.
    type Table: Table;
    /// The queues.
    type Queue: Queue;
    /// The vault.
    type Vault: Vault;

    /// Everything durable that is looked up.
    fn table(&self) -> &Self::Table;
    /// The batches queue: receiver and sweep → dispatcher.
    fn batches(&self) -> &Self::Queue;
    /// The poll jobs' queue: receiver → poller.
    fn polls(&self) -> &Self::Queue;
    /// Sealing of secrets.
    fn vault(&self) -> &Self::Vault;
    /// The time.
    fn clock(&self) -> &dyn Clock;
    /// Randomness.
    fn random(&self) -> &dyn Random;

    /// Now.
    fn now(&self) -> Timestamp {
        self.clock().now()
    }

    /// A fresh version for a write.
    fn version(&self) -> Version {
        Version(self.random().bits())
    }
}
