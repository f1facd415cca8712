//! The table in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use events::Timestamp;

use super::lock;
use super::process::Process;
use super::surroundings::ManualClock;
use crate::{
    Act, Clock, Condition, Consistency, Failed, Item, Key, Page, Query, Table, TableError, Version, Write, limits,
};

/// After how many bytes a page ends, as in DynamoDB (1 MB, expired items included):
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.Pagination.html>.
const PAGE_BYTES: usize = 1024 * 1024;

#[derive(Debug, Default)]
struct Stored {
    items: BTreeMap<Key, Item>,
    /// What eventual reads see, where that is not what is there.
    behind: Option<BTreeMap<Key, Item>>,
    /// `None`: that read succeeds.
    fail_reads: VecDeque<Option<TableError>>,
    reads: usize,
    fail_writes: VecDeque<TableError>,
    lose_answers: usize,
}

/// What becomes of some writes, given what is there.
enum Decision {
    Happen,
    /// An earlier try of the same writes had succeeded.
    HappenedAlready,
    Fail(Vec<Failed>),
}

impl Stored {
    /// The unexpired item.
    fn item(&self, key: &Key, now: Timestamp) -> Option<&Item> {
        self.seen(key, Consistency::Strong, now)
    }

    /// The items that such a read sees.
    fn shown(&self, consistency: Consistency) -> &BTreeMap<Key, Item> {
        match (consistency, &self.behind) {
            (Consistency::Eventual, Some(behind)) => behind,
            _ => &self.items,
        }
    }

    /// The unexpired item that such a read sees.
    fn seen(&self, key: &Key, consistency: Consistency, now: Timestamp) -> Option<&Item> {
        self.shown(consistency).get(key).filter(|item| !item.expired(now))
    }

    fn version(&self, key: &Key, now: Timestamp) -> Option<Version> {
        self.item(key, now).map(|item| item.version)
    }

    /// The rule of the module [`table`](crate::Table), "recognising oneself" included.
    fn decide(&self, writes: &[Write], now: Timestamp) -> Decision {
        let holds = |write: &Write| match write.condition {
            None => true,
            Some(Condition::Absent) => self.version(&write.key, now).is_none(),
            Some(Condition::Version(version)) => self.version(&write.key, now) == Some(version),
        };
        let failed: Vec<Failed> = (writes.iter().enumerate())
            .filter(|(_, write)| !holds(write))
            .map(|(index, write)| Failed { index, existing: self.item(&write.key, now).cloned() })
            .collect();
        if failed.is_empty() {
            return Decision::Happen;
        }
        let mut own = writes.iter().filter_map(|write| match write.act {
            Act::Put { version, .. } => Some(self.version(&write.key, now) == Some(version)),
            Act::Delete | Act::Check => None,
        });
        let any = own.next();
        if any == Some(true) && own.all(|own| own) { Decision::HappenedAlready } else { Decision::Fail(failed) }
    }

    fn apply(&mut self, write: Write) {
        match write.act {
            Act::Put { body, version, expires_at_s } => {
                self.items.insert(write.key.clone(), Item { key: write.key, version, body, expires_at_s });
            }
            Act::Delete => {
                self.items.remove(&write.key);
            }
            Act::Check => {}
        }
    }

    fn all_or_nothing(&mut self, writes: Vec<Write>, now: Timestamp) -> Result<(), TableError> {
        match self.decide(&writes, now) {
            Decision::Happen => {
                writes.into_iter().for_each(|write| self.apply(write));
                Ok(())
            }
            Decision::HappenedAlready => Ok(()),
            Decision::Fail(failed) => Err(TableError::ConditionFailed(failed)),
        }
    }

    fn page(&self, query: &Query, now: Timestamp) -> Page {
        let in_range = |sort: &str| {
            let after = query.after.as_deref();
            sort >= query.from.as_str()
                && (query.before.is_empty() || sort < query.before.as_str())
                && after.is_none_or(|after| if query.descending { sort < after } else { sort > after })
        };
        let mut found: Vec<&Item> = (self.shown(query.consistency).range(Key::new(query.partition.as_str(), "")..))
            .take_while(|(key, _)| key.partition == query.partition)
            .filter(|(key, _)| in_range(&key.sort))
            .map(|(_, item)| item)
            .collect();
        if query.descending {
            found.reverse();
        }
        let mut page = Page::default();
        let mut bytes = 0;
        for (read, item) in found.into_iter().enumerate() {
            bytes += item.key.partition.len() + item.key.sort.len() + item.body.len() + limits::ITEM_OVERHEAD_BYTES;
            if !item.expired(now) {
                page.items.push(item.clone());
            }
            // As DynamoDB: the limit counts what was read, and a full page says "more" without looking.
            if read + 1 == query.limit || bytes > PAGE_BYTES {
                page.next = Some(item.key.sort.clone());
                break;
            }
        }
        page
    }
}

/// A [`Table`] in memory. Clones are the same table.
#[derive(Clone, Debug)]
pub struct MemoryTable {
    stored: Arc<Mutex<Stored>>,
    clock: ManualClock,
    process: Arc<Process>,
}

impl MemoryTable {
    /// An empty table, of a process that does not die.
    #[must_use]
    pub fn new(clock: ManualClock) -> Self {
        Self { stored: Arc::default(), clock, process: Arc::default() }
    }

    /// The same table, worked on by `process`.
    pub(super) fn of(&self, process: &Arc<Process>) -> Self {
        Self { process: Arc::clone(process), ..self.clone() }
    }

    /// The unexpired items whose partition begins with `partition_prefix`, in order of their keys.
    #[must_use]
    pub fn items(&self, partition_prefix: &str) -> Vec<Item> {
        let now = self.clock.now();
        let stored = lock(&self.stored);
        let items = stored.items.values().filter(|item| item.key.partition.starts_with(partition_prefix));
        items.filter(|item| !item.expired(now)).cloned().collect()
    }

    /// From now on eventual reads see what is there now, until they [`catch up`](Self::catch_up).
    pub fn fall_behind(&self) {
        let mut stored = lock(&self.stored);
        stored.behind = Some(stored.items.clone());
    }

    /// Eventual reads see what is there again.
    pub fn catch_up(&self) {
        lock(&self.stored).behind = None;
    }

    /// The next read (get or query) gets this error. Called again, the one after it does.
    pub fn fail_next_read(&self, error: TableError) {
        self.fail_read_after(0, error);
    }

    /// As [`fail_next_read`](Self::fail_next_read), after so many that succeed.
    pub fn fail_read_after(&self, reads: usize, error: TableError) {
        let mut stored = lock(&self.stored);
        stored.fail_reads.extend(std::iter::repeat_n(None, reads));
        stored.fail_reads.push_back(Some(error));
    }

    /// How many reads (gets, queries) there were, failed ones included.
    #[must_use]
    pub fn reads(&self) -> usize {
        lock(&self.stored).reads
    }

    /// The next write, batch of writes or transaction gets this error and changes nothing. Called again, the one after
    /// it does.
    pub fn fail_next_write(&self, error: TableError) {
        lock(&self.stored).fail_writes.push_back(error);
    }

    /// The next write, batch of writes or transaction is done, and the caller gets [`TableError::OutcomeUnknown`].
    pub fn lose_next_answer(&self) {
        lock(&self.stored).lose_answers += 1;
    }

    /// A read, unless it was to fail.
    async fn read<T>(&self, read: impl FnOnce(&Stored, Timestamp) -> T) -> Result<T, TableError> {
        self.process.alive().await;
        let mut stored = lock(&self.stored);
        stored.reads += 1;
        match stored.fail_reads.pop_front().flatten() {
            Some(error) => Err(error),
            None => Ok(read(&stored, self.clock.now())),
        }
    }

    /// Whether a write may begin.
    async fn begin(&self) -> Result<(), TableError> {
        self.process.alive().await;
        lock(&self.stored).fail_writes.pop_front().map_or(Ok(()), Err)
    }

    async fn act(&self, what: String, writes: Vec<Write>) -> Result<(), TableError> {
        self.process.act(what, || lock(&self.stored).all_or_nothing(writes, self.clock.now())).await
    }

    /// The answer, unless it was to be lost.
    fn answer(&self, answer: Result<(), TableError>) -> Result<(), TableError> {
        let mut stored = lock(&self.stored);
        if stored.lose_answers == 0 {
            return answer;
        }
        stored.lose_answers -= 1;
        Err(TableError::OutcomeUnknown("as the test asked".into()))
    }
}

fn describe(write: &Write) -> String {
    let verb = match write.act {
        Act::Put { .. } => "put",
        Act::Delete => "delete",
        Act::Check => "check",
    };
    format!("{verb} {:?}", write.key)
}

impl Table for MemoryTable {
    async fn get(&self, key: &Key, consistency: Consistency) -> Result<Option<Item>, TableError> {
        limits::check_key(key)?;
        self.read(|stored, now| stored.seen(key, consistency, now).cloned()).await
    }

    async fn get_many(&self, keys: &[Key], consistency: Consistency) -> Result<Vec<Option<Item>>, TableError> {
        keys.iter().try_for_each(limits::check_key)?;
        self.read(|stored, now| keys.iter().map(|key| stored.seen(key, consistency, now).cloned()).collect()).await
    }

    async fn write(&self, write: Write) -> Result<(), TableError> {
        limits::check_write(&write)?;
        self.begin().await?;
        let answer = self.act(describe(&write), vec![write]).await;
        self.answer(answer)
    }

    async fn write_many(&self, writes: Vec<Write>) -> Result<(), TableError> {
        limits::check_write_many(&writes)?;
        self.begin().await?;
        for write in writes {
            self.act(describe(&write), vec![write]).await?;
        }
        self.answer(Ok(()))
    }

    async fn query(&self, query: &Query) -> Result<Page, TableError> {
        limits::check_query(query)?;
        self.read(|stored, now| stored.page(query, now)).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), TableError> {
        limits::check_transaction(&writes)?;
        self.begin().await?;
        let what = writes.iter().map(describe).collect::<Vec<_>>().join(", ");
        let answer = self.act(format!("transact {what}"), writes).await;
        self.answer(answer)
    }
}
