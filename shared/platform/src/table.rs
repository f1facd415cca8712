//! The table: items under (partition, sort).
//!
//! *Promises:* a write that returned `Ok` is durable. An expired item is absent, in reads and in conditions, whatever the
//! store still holds. A conditional write repeated after a lost answer recognises itself.
//!
//! *Recognising oneself.* Each put carries a fresh [`Version`], so an item that has the version of the very put at hand
//! proves that an earlier try of it had succeeded. The rule, of every platform and whoever repeats (the caller or the
//! platform itself):
//!
//! - A put whose condition does not hold is `Ok`, and changes nothing, when the unexpired item there carries the put's own
//!   version, whatever the condition was.
//! - A transaction of which some condition does not hold is `Ok`, and changes nothing, when it has at least one put and
//!   the unexpired item of *each* of its puts carries that put's own version; its deletes and checks happened with them.
//! - Deletes and checks carry no version. A caller who repeats a delete under a condition may get
//!   [`TableError::ConditionFailed`]. A platform that repeats one by itself after a lost answer must not say so: it says
//!   `Ok` when it can tell, and else [`TableError::OutcomeUnknown`].
//! - Where the conditions hold, the write happens, once more if need be. Without conditions a repeat may thus undo what
//!   others wrote in between.
//!
//! *Does not promise:* order between writes of different callers; scans; secondary indexes. An index is an item, written
//! in the same transaction as what it points to.
//!
//! *Failure modes* are the variants of [`TableError`]. [`TableError::OutcomeUnknown`] is a write that may or may not have
//! happened: read before deciding.

use std::fmt;
use std::future::Future;

use bytes::Bytes;
use events::Timestamp;

/// Where an item is. Both parts are non-empty text; sort keys order by their bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Items of one partition can be queried in order of their sort keys.
    pub partition: String,
    /// Unique within the partition.
    pub sort: String,
}

impl Key {
    /// A key of two parts.
    pub fn new(partition: impl Into<String>, sort: impl Into<String>) -> Self {
        Self { partition: partition.into(), sort: sort.into() }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.partition, self.sort)
    }
}

/// Names one write of one item. Chosen at random by the writer, afresh for each write; equal means "that very write".
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Version(pub u64);

/// A stored item.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// Where it is.
    pub key: Key,
    /// Which write made it.
    pub version: Version,
    /// Opaque to the table.
    pub body: Bytes,
    /// Seconds since the epoch from which on it is absent; `None`: never.
    pub expires_at_s: Option<i64>,
}

impl Item {
    /// Whether the item is absent at `now`.
    #[must_use]
    pub fn expired(&self, now: Timestamp) -> bool {
        self.expires_at_s.is_some_and(|at| at <= now.as_seconds())
    }
}

/// What must hold for a write to happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    /// No (unexpired) item is there.
    Absent,
    /// The (unexpired) item there is that of this very write.
    Version(Version),
}

/// What a write does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Act {
    /// Makes or replaces the item.
    Put {
        /// The new body.
        body: Bytes,
        /// Names this write.
        version: Version,
        /// See [`Item::expires_at_s`].
        expires_at_s: Option<i64>,
    },
    /// Removes the item; not an error when it is absent.
    Delete,
    /// Changes nothing: only its condition counts. In transactions alone.
    Check,
}

/// One write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Write {
    /// Which item.
    pub key: Key,
    /// What to do.
    pub act: Act,
    /// When to do it; `None`: always.
    pub condition: Option<Condition>,
}

impl Write {
    /// Makes or replaces an item.
    #[must_use]
    pub fn put(key: Key, version: Version, body: impl Into<Bytes>) -> Self {
        Self { key, act: Act::Put { body: body.into(), version, expires_at_s: None }, condition: None }
    }

    /// Removes an item.
    #[must_use]
    pub fn delete(key: Key) -> Self {
        Self { key, act: Act::Delete, condition: None }
    }

    /// Holds a transaction to a condition on an item that it does not change.
    #[must_use]
    pub fn check(key: Key, condition: Condition) -> Self {
        Self { key, act: Act::Check, condition: Some(condition) }
    }

    /// The same write, only if `condition` holds.
    #[must_use]
    pub fn when(mut self, condition: Condition) -> Self {
        self.condition = Some(condition);
        self
    }

    /// The same put, of an item that is absent from `at_s` (seconds since the epoch) on.
    #[must_use]
    pub fn expiring(mut self, at_s: i64) -> Self {
        if let Act::Put { expires_at_s, .. } = &mut self.act {
            *expires_at_s = Some(at_s);
        }
        self
    }
}

/// How fresh a read must be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Consistency {
    /// Sees every write that returned before the read began. Twice the price on AWS.
    Strong,
    /// May lag by a moment.
    Eventual,
}

/// A range of one partition, in order of sort keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Query {
    /// The partition.
    pub partition: String,
    /// Only sort keys ≥ this; empty: from the start.
    pub from: String,
    /// Only sort keys < this; empty: to the end.
    pub before: String,
    /// From the greatest sort key down.
    pub descending: bool,
    /// Most items in the page, 1 or more.
    pub limit: usize,
    /// The previous page's [`Page::next`].
    pub after: Option<String>,
    /// How fresh.
    pub consistency: Consistency,
}

impl Query {
    /// All of a partition, ascending, strong, in pages of `limit`.
    pub fn partition(partition: impl Into<String>, limit: usize) -> Self {
        Self {
            partition: partition.into(),
            from: String::new(),
            before: String::new(),
            descending: false,
            limit,
            after: None,
            consistency: Consistency::Strong,
        }
    }
}

/// A page of a query. It may hold fewer items than the limit (even none) and still have a next one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// The items, unexpired ones only.
    pub items: Vec<Item>,
    /// Where the next page begins; `None`: there is no more.
    pub next: Option<String>,
}

/// One condition that did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failed {
    /// Which of the writes, counting from 0.
    pub index: usize,
    /// The (unexpired) item that is there instead.
    pub existing: Option<Item>,
}

/// Why the table did not do as told. Unless said otherwise, nothing was written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TableError {
    /// One or more conditions did not hold.
    #[error("a condition did not hold")]
    ConditionFailed(Vec<Failed>),
    /// Another transaction is at the same items at this moment: try again.
    #[error("another write is at the same items")]
    Conflict,
    /// Too many requests: try again later.
    #[error("the table is throttled")]
    Throttled,
    /// The answer was lost: the write may or may not have happened. Read before deciding.
    #[error("the answer was lost, the write may or may not have happened: {0}")]
    OutcomeUnknown(String),
    /// The request can never succeed: a key, an item or a transaction over the limits.
    #[error("the table cannot hold this: {0}")]
    Invalid(String),
    /// The table could not be reached or is broken.
    #[error("the table is not available: {0}")]
    Unavailable(String),
}

impl TableError {
    /// The item found where the only condition of a write failed: `Some(None)` when it failed because there is none.
    #[must_use]
    pub fn existing(self) -> Option<Option<Item>> {
        match self {
            Self::ConditionFailed(mut failed) => Some(failed.pop().and_then(|f| f.existing)),
            _ => None,
        }
    }
}

/// The table.
pub trait Table: Send + Sync + 'static {
    /// One item, or `None`.
    fn get(&self, key: &Key, consistency: Consistency)
    -> impl Future<Output = Result<Option<Item>, TableError>> + Send;

    /// Many items, in the order of `keys` (any number; a key may repeat).
    fn get_many(
        &self,
        keys: &[Key],
        consistency: Consistency,
    ) -> impl Future<Output = Result<Vec<Option<Item>>, TableError>> + Send;

    /// One write of one item; [`Act::Check`] is refused.
    fn write(&self, write: Write) -> impl Future<Output = Result<(), TableError>> + Send;

    /// Many unconditional puts and deletes (any number, each key once), in no order and not all-or-nothing: after an
    /// error some may have happened.
    fn write_many(&self, writes: Vec<Write>) -> impl Future<Output = Result<(), TableError>> + Send;

    /// A page of a range.
    fn query(&self, query: &Query) -> impl Future<Output = Result<Page, TableError>> + Send;

    /// All of the writes or none: 1 to [`limits::TRANSACTION_WRITES`](crate::limits::TRANSACTION_WRITES), each key once.
    fn transact(&self, writes: Vec<Write>) -> impl Future<Output = Result<(), TableError>> + Send;
}
