//! Bugs that are planted, each of which the judge must find.
//!
//! None is in the poller: a definition is altered, or the platform or the answers are, so that the real poller does what a
//! wrong one would.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use platform::testing::{MemoryPlatform, MemoryQueue, MemoryTable, MemoryVault};
use platform::{
    Act, Clock, Consistency, Item, Key, Outgoing, Page, Platform, Query, Queue, QueueError, Random, Receipt, Received,
    SendError, Table, TableError, Write,
};

/// A bug.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// `>` for `>=`: what the window begins with is not asked for.
    AsksStrictly,
    /// The next poll begins where this one came to.
    NoOverlap,
    /// The position moves before what was found is durable.
    MovesFirst,
    /// What was told is known by the object's id, whatever its version.
    IdAlone,
    /// A page that fails is taken for one without records.
    SkipsPage,
    /// What was told is not remembered.
    ForgetsTold,
    /// What is gone is not told.
    IgnoresDeletions,
    /// Tokens that were replaced are not stored.
    ForgetsTokens,
    /// The index of what is where is written before what was found is durable.
    IndexesFirst,
}

/// The platform in memory, with a bug or without.
#[derive(Clone, Debug)]
pub struct Planted {
    memory: MemoryPlatform,
    table: PlantedTable,
    batches: PlantedQueue,
    polls: PlantedQueue,
}

/// Its table.
#[derive(Clone, Debug)]
pub struct PlantedTable {
    memory: MemoryTable,
    forgets: bool,
    forgets_tokens: bool,
    /// Whether what is held back is sent once an index was written.
    indexes: bool,
    held: PlantedQueue,
}

/// A queue of it.
#[derive(Clone, Debug)]
pub struct PlantedQueue {
    memory: MemoryQueue,
    /// What is sent once the position has moved, or the index is written, where that comes first.
    held: Option<Arc<Mutex<Vec<Outgoing>>>>,
}

impl Planted {
    /// A process's platform.
    #[must_use]
    pub fn new(memory: &MemoryPlatform, bug: Option<Bug>) -> Self {
        let queue =
            |memory: &MemoryQueue, holds: bool| PlantedQueue { memory: memory.clone(), held: holds.then(Arc::default) };
        let batches = queue(memory.batches(), matches!(bug, Some(Bug::MovesFirst | Bug::IndexesFirst)));
        Self {
            table: PlantedTable {
                memory: memory.table().clone(),
                forgets: bug == Some(Bug::ForgetsTold),
                forgets_tokens: bug == Some(Bug::ForgetsTokens),
                indexes: bug == Some(Bug::IndexesFirst),
                held: batches.clone(),
            },
            batches,
            polls: queue(memory.polls(), false),
            memory: memory.clone(),
        }
    }
}

impl PlantedQueue {
    /// Sends what was held back.
    async fn let_go(&self) {
        let Some(held) = &self.held else { return };
        let messages = std::mem::take(&mut *held.lock().unwrap_or_else(PoisonError::into_inner));
        for some in messages.chunks(platform::limits::SEND_MESSAGES) {
            // What fails is lost: that is the bug.
            let _ = self.memory.send(some.to_vec()).await;
        }
    }
}

/// The state without what was told.
fn forgotten(mut write: Write) -> Write {
    let Act::Put { body, .. } = &mut write.act else { return write };
    let Ok(text) = std::str::from_utf8(body) else { return write };
    let mut rest = text.to_owned();
    while let Some((before, told)) = rest.split_once(",\"told\":\"") {
        let after = told.split_once('"').map_or("", |(_, after)| after);
        rest = format!("{before}{after}");
    }
    *body = rest.into();
    write
}

impl Queue for PlantedQueue {
    async fn send(&self, messages: Vec<Outgoing>) -> Result<(), SendError> {
        match &self.held {
            None => self.memory.send(messages).await,
            Some(held) => {
                held.lock().unwrap_or_else(PoisonError::into_inner).extend(messages);
                Ok(())
            }
        }
    }

    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Received>, QueueError> {
        self.memory.receive(max, wait).await
    }

    async fn acknowledge(&self, receipts: Vec<Receipt>) -> Result<(), QueueError> {
        self.memory.acknowledge(receipts).await
    }
}

impl Table for PlantedTable {
    async fn get(&self, key: &Key, consistency: Consistency) -> Result<Option<Item>, TableError> {
        self.memory.get(key, consistency).await
    }

    async fn get_many(&self, keys: &[Key], consistency: Consistency) -> Result<Vec<Option<Item>>, TableError> {
        self.memory.get_many(keys, consistency).await
    }

    async fn write(&self, write: Write) -> Result<(), TableError> {
        if self.forgets_tokens && write.key.sort == "GRANT" {
            return Ok(());
        }
        self.memory.write(write).await
    }

    async fn write_many(&self, writes: Vec<Write>) -> Result<(), TableError> {
        let index = self.indexes && writes.iter().all(|write| write.key.partition.starts_with("TREE#"));
        self.memory.write_many(writes).await?;
        if index {
            self.held.let_go().await;
        }
        Ok(())
    }

    async fn query(&self, query: &Query) -> Result<Page, TableError> {
        self.memory.query(query).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), TableError> {
        let writes = if self.forgets { writes.into_iter().map(forgotten).collect() } else { writes };
        self.memory.transact(writes).await?;
        self.held.let_go().await;
        Ok(())
    }
}

impl Platform for Planted {
    type Table = PlantedTable;
    type Queue = PlantedQueue;
    type Vault = MemoryVault;

    fn table(&self) -> &PlantedTable {
        &self.table
    }

    fn batches(&self) -> &PlantedQueue {
        &self.batches
    }

    fn polls(&self) -> &PlantedQueue {
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
