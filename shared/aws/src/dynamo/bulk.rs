//! Batches: any number of reads or unconditional writes, in requests of what DynamoDB takes at a time.

use std::collections::{HashMap, HashSet};

use aws_sdk_dynamodb::types::{DeleteRequest, KeysAndAttributes, PutRequest, WriteRequest};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use platform::{Act, Consistency, Item, Key, OsRandom, Random, TableError, Write, limits};

use super::item::{self, Attributes};
use super::{DynamoTable, bulk, strong};
use crate::attempts::Doubt;
use crate::backoff;
use crate::failures;

/// Most keys in a `BatchGetItem`:
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html>.
const READS: usize = 100;
/// Most writes in a `BatchWriteItem`:
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html>.
const WRITES: usize = 25;
/// Requests at a time: enough to hide the way there and back, few enough to leave memory (a read may bring 16 MB) and the
/// table's other callers in peace.
const AT_A_TIME: usize = 4;

// `BatchWriteItem` takes 16 MB in all: its full number of the largest items stays below, also as base64.
const _: () = assert!(WRITES * limits::ITEM_BYTES / 3 * 4 < 16_000_000);

/// Counts rounds that bring nothing, and waits in between.
#[derive(Default)]
struct Rounds {
    fruitless: u32,
}

impl Rounds {
    async fn next(&mut self, fruitful: bool) -> Result<(), TableError> {
        self.fruitless = if fruitful { 0 } else { self.fruitless + 1 };
        let pause = backoff::pause(self.fruitless, OsRandom.bits()).ok_or(TableError::Throttled)?;
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

impl DynamoTable {
    /// What is stored under `keys` (which may repeat), expired or not.
    pub(super) async fn get_all_stored(
        &self,
        keys: &[Key],
        consistency: Consistency,
    ) -> Result<HashMap<Key, Item>, TableError> {
        // DynamoDB refuses repeats.
        let distinct: Vec<&Key> = keys.iter().collect::<HashSet<_>>().into_iter().collect();
        let chunks: Vec<Vec<Attributes>> =
            distinct.chunks(READS).map(|chunk| chunk.iter().map(|key| item::of_key(key)).collect()).collect();
        let reads = stream::iter(chunks).map(|chunk| self.get_chunk(chunk, consistency)).buffer_unordered(AT_A_TIME);
        let found: Vec<Vec<Item>> = reads.try_collect().await?;
        Ok(found.into_iter().flatten().map(|item| (item.key.clone(), item)).collect())
    }

    async fn get_chunk(&self, mut keys: Vec<Attributes>, consistency: Consistency) -> Result<Vec<Item>, TableError> {
        let mut found = Vec::with_capacity(keys.len());
        let mut rounds = Rounds::default();
        loop {
            let asked = keys.len();
            let wanted = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(strong(consistency)).build();
            let wanted = wanted.map_err(|error| TableError::Invalid(error.to_string()))?;
            let request = self.client.batch_get_item().request_items(&self.name, wanted);
            let answer = request.customize().config_override(bulk()).send().await;
            let answer = answer.map_err(|error| failures::of_read(&error))?;
            for attributes in answer.responses.into_iter().flatten().flat_map(|(_, items)| items) {
                found.push(item::item(attributes)?);
            }
            keys = answer.unprocessed_keys.into_iter().flatten().flat_map(|(_, left)| left.keys).collect();
            if keys.is_empty() {
                return Ok(found);
            }
            rounds.next(keys.len() < asked).await?;
        }
    }

    pub(super) async fn write_all(&self, writes: Vec<Write>) -> Result<(), TableError> {
        let mut requests = Vec::with_capacity(writes.len());
        for write in writes {
            requests.push(write_request(write)?);
        }
        let chunks: Vec<Vec<WriteRequest>> = requests.chunks(WRITES).map(<[_]>::to_vec).collect();
        let writes = stream::iter(chunks).map(|chunk| self.write_chunk(chunk)).buffer_unordered(AT_A_TIME);
        writes.try_collect().await
    }

    async fn write_chunk(&self, mut requests: Vec<WriteRequest>) -> Result<(), TableError> {
        let mut rounds = Rounds::default();
        loop {
            let asked = requests.len();
            let doubt = Doubt::default();
            let request = self.client.batch_write_item().request_items(&self.name, requests).customize();
            let answer = request.config_override(bulk()).interceptor(doubt.clone()).send().await;
            let answer = answer.map_err(|error| failures::of_write(&error, &doubt))?;
            requests = answer.unprocessed_items.into_iter().flatten().flat_map(|(_, left)| left).collect();
            if requests.is_empty() {
                return Ok(());
            }
            rounds.next(requests.len() < asked).await?;
        }
    }
}

fn write_request(write: Write) -> Result<WriteRequest, TableError> {
    let request = WriteRequest::builder();
    let request = match write.act {
        Act::Put { body, version, expires_at_s } => {
            let put = PutRequest::builder().set_item(Some(item::of_item(&write.key, body, version, expires_at_s)));
            request.put_request(put.build().map_err(|error| TableError::Invalid(error.to_string()))?)
        }
        Act::Delete => {
            let delete = DeleteRequest::builder().set_key(Some(item::of_key(&write.key)));
            request.delete_request(delete.build().map_err(|error| TableError::Invalid(error.to_string()))?)
        }
        Act::Check => return Err(TableError::Invalid("a bare check outside a transaction".into())),
    };
    Ok(request.build())
}
