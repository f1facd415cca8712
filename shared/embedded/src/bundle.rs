//! The bundle of ports that a role is given.

use std::path::Path;
use std::sync::Arc;

use platform::{Clock, Platform, Random};

use crate::{KeyVault, OpenError, Options, Store, StoreQueue};

/// The name of the queue from receiver and sweep to dispatcher.
const BATCHES: &str = "batches";
/// The name of the queue from receiver to poller.
const POLLS: &str = "polls";

/// Poll jobs at work at the same time, in all. A group's share of so few is three, so an instance that changes all the time
/// takes turns with the others. The eight groups of what the timing wheel makes have two each, so that half of the workers are
/// left for whoever asks to be polled.
pub const POLL_WORKERS: u32 = 32;

/// The platform on one data directory.
#[derive(Clone)]
pub struct Embedded {
    store: Store,
    batches: StoreQueue,
    polls: StoreQueue,
    vault: KeyVault,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

impl Embedded {
    /// Opens the store in `dir` and its queues. One that an earlier version did not have is empty.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open(dir: &Path, options: Options) -> Result<Self, OpenError> {
        let (clock, random) = (Arc::clone(&options.clock), Arc::clone(&options.random));
        let store = Store::open(dir, options)?;
        let batches = store.queue(BATCHES)?;
        let polls = store.queue_for(POLLS, POLL_WORKERS)?;
        let vault = store.vault().clone();
        Ok(Self { store, batches, polls, vault, clock, random })
    }

    /// The store: for its upkeep ([`Store::purge`]), further queues and what an operator asks.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }
}

impl Platform for Embedded {
    type Table = Store;
    type Queue = StoreQueue;
    type Vault = KeyVault;

    fn table(&self) -> &Store {
        &self.store
    }

    fn batches(&self) -> &StoreQueue {
        &self.batches
    }

    fn polls(&self) -> &StoreQueue {
        &self.polls
    }

    fn vault(&self) -> &KeyVault {
        &self.vault
    }

    fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    fn random(&self) -> &dyn Random {
        &*self.random
    }
}
