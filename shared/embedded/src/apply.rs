//! Applying commands within one redb transaction: what a condition sees, and when a repeated write recognises itself.
//!
//! Commands are applied in order, and each sees what those before it did. A failed condition undoes nothing, because
//! conditions are looked at before anything of their command is written.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use platform::{Act, Condition, Failed, Item, Key, Outgoing, TableError, Write};
use redb::{ReadableTable, Table, WriteTransaction};

use crate::file::Fault;
use crate::layout::{self, DEAD, ITEMS, REASONS};
use crate::queue::{Id, Placed, State};

/// Most dead letters that one command puts back: a message may have a quarter of a megabyte.
const REQUEUED: usize = 16;

/// The redb tables of one transaction, opened as they are needed.
pub(crate) struct Tables<'txn> {
    transaction: &'txn WriteTransaction,
    items: Option<Table<'txn, &'static [u8], &'static [u8]>>,
    queues: HashMap<String, Table<'txn, (u64, u64), &'static [u8]>>,
    now_s: i64,
    now_ms: u64,
    /// Whether there is something to commit.
    changed: bool,
    key: Vec<u8>,
    value: Vec<u8>,
}

/// What a table command comes to: the inner error is the caller's, the outer one the file's.
pub(crate) type Outcome = Result<Result<(), TableError>, Fault>;

impl<'txn> Tables<'txn> {
    pub(crate) fn new(transaction: &'txn WriteTransaction, now_s: i64, now_ms: u64) -> Self {
        Self {
            transaction,
            items: None,
            queues: HashMap::new(),
            now_s,
            now_ms,
            changed: false,
            key: Vec::new(),
            value: Vec::new(),
        }
    }

    pub(crate) fn changed(&self) -> bool {
        self.changed
    }

    fn items(&mut self) -> Result<&mut Table<'txn, &'static [u8], &'static [u8]>, Fault> {
        if self.items.is_none() {
            self.items = Some(self.transaction.open_table(ITEMS)?);
        }
        self.items.as_mut().ok_or_else(|| Fault::damaged("table of items"))
    }

    fn queue(&mut self, queue: &State) -> Result<&mut Table<'txn, (u64, u64), &'static [u8]>, Fault> {
        if !self.queues.contains_key(&queue.table) {
            let table = self.transaction.open_table(layout::queue_table(&queue.table))?;
            self.queues.insert(queue.table.clone(), table);
        }
        self.queues.get_mut(&queue.table).ok_or_else(|| Fault::damaged("queue"))
    }

    /// The unexpired item at `key`.
    fn existing(&mut self, key: &Key) -> Result<Option<Item>, Fault> {
        let now_s = self.now_s;
        let mut bytes = std::mem::take(&mut self.key);
        layout::put_key(&mut bytes, &key.partition, &key.sort);
        let found = match self.items()?.get(bytes.as_slice())? {
            Some(value) => Some(layout::item(key, value.value()).ok_or_else(|| Fault::damaged("item"))?),
            None => None,
        };
        self.key = bytes;
        Ok(found.filter(|item| item.expires_at_s.is_none_or(|at| at > now_s)))
    }

    fn act(&mut self, write: &Write) -> Result<(), Fault> {
        let (mut key, mut value) = (std::mem::take(&mut self.key), std::mem::take(&mut self.value));
        layout::put_key(&mut key, &write.key.partition, &write.key.sort);
        match &write.act {
            Act::Put { body, version, expires_at_s } => {
                layout::put_item(&mut value, *version, *expires_at_s, body);
                self.items()?.insert(key.as_slice(), value.as_slice())?;
                self.changed = true;
            }
            Act::Delete => {
                if self.items()?.remove(key.as_slice())?.is_some() {
                    self.changed = true;
                }
            }
            Act::Check => {}
        }
        (self.key, self.value) = (key, value);
        Ok(())
    }

    /// All of the writes, or none when a condition fails.
    pub(crate) fn transact(&mut self, writes: &[Write]) -> Outcome {
        let mut failed = Vec::new();
        for (index, write) in writes.iter().enumerate() {
            let Some(condition) = write.condition else { continue };
            let existing = self.existing(&write.key)?;
            let holds = match condition {
                Condition::Absent => existing.is_none(),
                Condition::Version(version) => existing.as_ref().is_some_and(|item| item.version == version),
            };
            if !holds {
                failed.push(Failed { index, existing });
            }
        }
        if !failed.is_empty() {
            return Ok(if self.done_before(writes)? { Ok(()) } else { Err(TableError::ConditionFailed(failed)) });
        }
        for write in writes {
            self.act(write)?;
        }
        Ok(Ok(()))
    }

    /// Whether these very writes were done before: there are puts, and each one's version stands at its key.
    fn done_before(&mut self, writes: &[Write]) -> Result<bool, Fault> {
        let mut puts = 0;
        for write in writes {
            if let Act::Put { version, .. } = &write.act {
                puts += 1;
                if self.existing(&write.key)?.is_none_or(|item| item.version != *version) {
                    return Ok(false);
                }
            }
        }
        Ok(puts > 0)
    }

    /// Writes without conditions.
    pub(crate) fn each(&mut self, writes: &[Write]) -> Outcome {
        for write in writes {
            self.act(write)?;
        }
        Ok(Ok(()))
    }

    /// Deletes those of the items that are expired (still: one may have been written anew since it was found).
    pub(crate) fn purge(&mut self, keys: &[Vec<u8>]) -> Result<usize, Fault> {
        let now_s = self.now_s;
        let mut deleted = 0;
        for key in keys {
            let items = self.items()?;
            let expired = match items.get(key.as_slice())? {
                Some(value) => layout::split_item(value.value()).is_some_and(|(head, _)| head.expired(now_s)),
                None => false,
            };
            if expired {
                items.remove(key.as_slice())?;
                deleted += 1;
            }
        }
        self.changed |= deleted > 0;
        Ok(deleted)
    }

    /// Stores the messages.
    pub(crate) fn send(&mut self, queue: &Arc<State>, messages: &[Outgoing]) -> Result<Vec<Placed>, Fault> {
        let now_ms = self.now_ms;
        let mut value = std::mem::take(&mut self.value);
        let table = self.queue(queue)?;
        let mut placed = Vec::with_capacity(messages.len());
        for message in messages {
            let place = queue.place(&message.group, message.delay, now_ms);
            layout::put_message(&mut value, &message.group, &message.body);
            table.insert((place.id.visible_at_ms, place.id.number), value.as_slice())?;
            placed.push(place);
        }
        self.value = value;
        self.changed = true;
        Ok(placed)
    }

    /// Deletes the messages; absent ones are no error.
    pub(crate) fn acknowledge(&mut self, queue: &Arc<State>, ids: &[Id]) -> Result<(), Fault> {
        let table = self.queue(queue)?;
        let mut removed = false;
        for id in ids {
            removed |= table.remove((id.visible_at_ms, id.number))?.is_some();
        }
        self.changed |= removed;
        Ok(())
    }

    /// Moves a message to the dead ones. Returns its group; `None` when it is gone.
    pub(crate) fn set_aside(
        &mut self,
        queue: &Arc<State>,
        id: Id,
        receives: u32,
        reason: &str,
    ) -> Result<Option<String>, Fault> {
        let now_ms = self.now_ms;
        let mut value = std::mem::take(&mut self.value);
        let group = match self.queue(queue)?.remove((id.visible_at_ms, id.number))? {
            Some(message) => {
                layout::put_dead(&mut value, now_ms, receives, &queue.name, message.value());
                layout::split_message(message.value()).map(|(group, _)| group.to_owned()).unwrap_or_default()
            }
            None => return Ok(None),
        };
        let mut dead = self.transaction.open_table(DEAD)?;
        let number = dead.last()?.map_or(0, |(number, _)| number.value() + 1);
        dead.insert(number, value.as_slice())?;
        self.transaction.open_table(REASONS)?.insert(number, reason)?;
        drop(dead);
        self.value = value;
        self.changed = true;
        Ok(Some(group))
    }

    /// Puts the oldest of the queue's dead letters back, at most [`REQUEUED`].
    pub(crate) fn requeue(&mut self, queue: &Arc<State>) -> Result<Vec<Placed>, Fault> {
        let now_ms = self.now_ms;
        let mut value = std::mem::take(&mut self.value);
        let mut dead = self.transaction.open_table(DEAD)?;
        let mut reasons = self.transaction.open_table(REASONS)?;
        let mut numbers = Vec::new();
        let mut placed = Vec::new();
        let table = self.queue(queue)?;
        for row in dead.iter()? {
            let (number, letter) = row?;
            let letter = layout::split_dead(letter.value()).ok_or_else(|| Fault::damaged("dead letter"))?;
            if letter.queue != queue.name {
                continue;
            }
            let place = queue.place(letter.group, Duration::ZERO, now_ms);
            layout::put_message(&mut value, letter.group, letter.body);
            table.insert((place.id.visible_at_ms, place.id.number), value.as_slice())?;
            placed.push(place);
            numbers.push(number.value());
            if numbers.len() == REQUEUED {
                break;
            }
        }
        for number in &numbers {
            dead.remove(number)?;
            reasons.remove(number)?;
        }
        drop((dead, reasons));
        self.value = value;
        self.changed |= !numbers.is_empty();
        Ok(placed)
    }
}
