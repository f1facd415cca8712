//! The table on the file.
//!
//! Reads take a snapshot and run where they are called: they are short and wait for no writer. Both consistencies are
//! strong: a snapshot sees every commit that was answered before.

use std::ops::Bound;

use bytes::Bytes;
use platform::limits::{check_key, check_query, check_transaction, check_write, check_write_many};
use platform::{Consistency, Item, Key, Page, Query, Table, TableError, Write};

use crate::Store;
use crate::file::Fault;
use crate::layout::{self, ITEMS};
use crate::store::writer_stopped;
use crate::writer::Command;

/// Most bytes of a page, as on DynamoDB
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Query.Pagination.html>).
const PAGE_BYTES: usize = 1024 * 1024;

/// Most writes in one command of [`Table::write_many`]: a large batch must not hold up a commit that others wait for.
const WRITES_PER_COMMAND: usize = 100;

impl Store {
    fn read_many(&self, keys: &[Key]) -> Result<Vec<Option<Item>>, Fault> {
        let now = self.inner.clock.now();
        let table = self.inner.file.begin_read()?.open_table(ITEMS)?;
        let mut bytes = Vec::new();
        let mut items = Vec::with_capacity(keys.len());
        for key in keys {
            layout::put_key(&mut bytes, &key.partition, &key.sort);
            let item = match table.get(bytes.as_slice())? {
                Some(value) => Some(layout::item(key, value.value()).ok_or_else(|| Fault::damaged("item"))?),
                None => None,
            };
            items.push(item.filter(|i| !i.expired(now)));
        }
        Ok(items)
    }

    fn read_page(&self, query: &Query) -> Result<Page, Fault> {
        let mut page = Page::default();
        let Some((lower, upper)) = range(query) else { return Ok(page) };
        let now_s = self.inner.clock.now().as_seconds();
        let table = self.inner.file.begin_read()?.open_table(ITEMS)?;
        let rows = table.range::<&[u8]>((as_slice(&lower), as_slice(&upper)))?;
        let rows: &mut dyn Iterator<Item = _> = if query.descending { &mut rows.rev() } else { &mut { rows } };
        let prefix = query.partition.len() + 1;
        let (mut examined, mut bytes) = (0, 0);
        let mut last = None;
        for row in rows {
            let (key, value) = row?;
            // There is more, and this page is full.
            if examined >= query.limit || bytes >= PAGE_BYTES {
                page.next = last;
                break;
            }
            let damaged = || Fault::damaged("item");
            let sort = key.value().get(prefix..).and_then(|s| std::str::from_utf8(s).ok()).ok_or_else(damaged)?;
            let (head, body) = layout::split_item(value.value()).ok_or_else(damaged)?;
            examined += 1;
            bytes += key.value().len() + body.len();
            if !head.expired(now_s) {
                page.items.push(Item {
                    key: Key::new(query.partition.clone(), sort),
                    version: head.version,
                    body: Bytes::copy_from_slice(body),
                    expires_at_s: head.expires_at_s,
                });
            }
            last = Some(sort.to_owned());
        }
        Ok(page)
    }

    async fn command(&self, writes: Vec<Write>) -> Result<(), TableError> {
        let answer = self.inner.ask(|answer| Command::Transact { writes, answer }).await;
        answer.unwrap_or_else(|| Err(writer_stopped()))
    }
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

/// Keys from one to another.
type Keys = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// The keys that a query walks; `None` when there can be none.
fn range(query: &Query) -> Option<Keys> {
    let key = |sort: &str| layout::item_key(&query.partition, sort);
    let from = key(&query.from);
    let before = if query.before.is_empty() {
        // The next byte after the zero that ends the partition.
        let mut end = query.partition.clone().into_bytes();
        end.push(1);
        end
    } else {
        key(&query.before)
    };
    let after = query.after.as_deref().map(key);
    let (lower, upper) = match (after, query.descending) {
        (Some(after), false) if after >= from => (Bound::Excluded(after), before),
        (Some(after), true) if after <= before => (Bound::Included(from), after),
        _ => (Bound::Included(from), before),
    };
    let low = match &lower {
        Bound::Included(key) | Bound::Excluded(key) => key,
        Bound::Unbounded => return None,
    };
    if *low >= upper {
        return None;
    }
    Some((lower, Bound::Excluded(upper)))
}

impl Table for Store {
    async fn get(&self, key: &Key, _: Consistency) -> Result<Option<Item>, TableError> {
        check_key(key)?;
        let mut items = self.read_many(std::slice::from_ref(key)).map_err(|e| self.inner.table_error(e))?;
        Ok(items.pop().flatten())
    }

    async fn get_many(&self, keys: &[Key], _: Consistency) -> Result<Vec<Option<Item>>, TableError> {
        keys.iter().try_for_each(check_key)?;
        self.read_many(keys).map_err(|e| self.inner.table_error(e))
    }

    async fn write(&self, write: Write) -> Result<(), TableError> {
        check_write(&write)?;
        self.command(vec![write]).await
    }

    async fn write_many(&self, mut writes: Vec<Write>) -> Result<(), TableError> {
        check_write_many(&writes)?;
        while !writes.is_empty() {
            let rest = writes.split_off(writes.len().min(WRITES_PER_COMMAND));
            let chunk = std::mem::replace(&mut writes, rest);
            let answer = self.inner.ask(|answer| Command::Each { writes: chunk, answer }).await;
            answer.unwrap_or_else(|| Err(writer_stopped()))?;
        }
        Ok(())
    }

    async fn query(&self, query: &Query) -> Result<Page, TableError> {
        check_query(query)?;
        self.read_page(query).map_err(|e| self.inner.table_error(e))
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), TableError> {
        check_transaction(&writes)?;
        self.command(writes).await
    }
}
