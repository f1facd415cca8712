//! The table on DynamoDB.
//!
//! *Layout:* one table with the hash key `pk` and the range key `sk` (text); `b` the body (binary), `v` the version and
//! `x` the expiry in seconds (numbers). `x` is the table's TTL attribute: DynamoDB deletes within days of it, and until
//! then reads and conditions here treat the item as absent. Every expression names attributes through placeholders, so
//! that no reserved word can ever matter.
//!
//! *A lost answer*, a request at a time:
//!
//! | request | recognised by |
//! |---|---|
//! | put, unconditional | doing it again is the same |
//! | put on a condition | the item there carries the version being written |
//! | delete on a version | in the same call: the item is gone. From a later call it cannot be told from "never there" |
//! | transaction | in the same call: its token. From a later call: all its puts stand there |
//!
//! The token is new for each call and the same for its attempts. It could not be the same across calls: the conditions
//! hold the time, and DynamoDB refuses a token that comes back with another request.

mod bulk;
mod expression;
mod item;
mod outcome;
mod range;
mod single;
mod transaction;

use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{Builder, Config};
use events::Timestamp;
use platform::{Clock, Consistency, Item, Key, Page, Query, Table, TableError, Write, limits};

pub use self::item::{PARTITION_ATTRIBUTE, SORT_ATTRIBUTE, TTL_ATTRIBUTE};
use crate::Connection;
use crate::connection::{BULK_ATTEMPT_TIMEOUT, timeouts};

/// A [`Table`] on DynamoDB. Cheap to clone.
#[derive(Clone)]
pub struct DynamoTable {
    client: Client,
    name: String,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for DynamoTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DynamoTable({})", self.name)
    }
}

impl DynamoTable {
    /// The table `name` (or its ARN). `clock` decides what has expired.
    pub fn new(connection: &Connection, name: impl Into<String>, clock: Arc<dyn Clock>) -> Self {
        Self { client: Client::new(connection.config()), name: name.into(), clock }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// What is changed for requests of megabytes.
fn bulk() -> Builder {
    Config::builder().timeout_config(timeouts(BULK_ATTEMPT_TIMEOUT))
}

fn strong(consistency: Consistency) -> bool {
    consistency == Consistency::Strong
}

impl Table for DynamoTable {
    async fn get(&self, key: &Key, consistency: Consistency) -> Result<Option<Item>, TableError> {
        limits::check_key(key)?;
        let item = self.get_stored(key, consistency).await?;
        let now = self.now();
        Ok(item.filter(|item| !item.expired(now)))
    }

    async fn get_many(&self, keys: &[Key], consistency: Consistency) -> Result<Vec<Option<Item>>, TableError> {
        keys.iter().try_for_each(limits::check_key)?;
        let found = self.get_all_stored(keys, consistency).await?;
        let now = self.now();
        Ok(keys.iter().map(|key| found.get(key).filter(|item| !item.expired(now)).cloned()).collect())
    }

    async fn write(&self, write: Write) -> Result<(), TableError> {
        limits::check_write(&write)?;
        self.write_one(write).await
    }

    async fn write_many(&self, writes: Vec<Write>) -> Result<(), TableError> {
        limits::check_write_many(&writes)?;
        self.write_all(writes).await
    }

    async fn query(&self, query: &Query) -> Result<Page, TableError> {
        limits::check_query(query)?;
        self.query_range(query).await
    }

    async fn transact(&self, writes: Vec<Write>) -> Result<(), TableError> {
        limits::check_transaction(&writes)?;
        self.transact_all(writes).await
    }
}
