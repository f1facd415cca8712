//! Polls that are about to begin because a provider signalled a change.
//!
//! | partition | sort | what |
//! |---|---|---|
//! | `SIGNAL#id` | `SIGNAL` | when the next such poll of an instance begins, whose job is in the queue |
//!
//! *Promise:* what is noted is true: the job was made durable before. It only ever saves a job. A note that is missing, lags
//! behind, cannot be read or was overwritten by an earlier one costs a poll that finds nothing.

use std::collections::BTreeSet;

use events::{InstanceId, Timestamp};
use platform::{Consistency, Key, Platform, Table as _, Write};
use serde::{Deserialize, Serialize};

use crate::{RecordError, schema};

/// Seconds that a note outlives its poll's beginning, after which it says nothing.
const KEPT_S: i64 = 60;

#[derive(Serialize, Deserialize)]
struct Note {
    begins: Timestamp,
}

fn key(instance: InstanceId) -> Key {
    Key::new(format!("SIGNAL#{instance}"), "SIGNAL")
}

/// When a poll of each of these instances begins, as far as is noted; by one read, which may lag.
///
/// # Errors
/// The table's.
pub async fn noted<P: Platform>(platform: &P, instances: &[InstanceId]) -> Result<Vec<Option<Timestamp>>, RecordError> {
    let keys: Vec<Key> = instances.iter().copied().map(key).collect();
    let items = platform.table().get_many(&keys, Consistency::Eventual).await?;
    // One that cannot be read is as good as none.
    let begins = |item: &platform::Item| schema::decode::<Note>(item).ok().map(|note| note.begins);
    Ok(items.iter().map(|item| item.as_ref().and_then(begins)).collect())
}

/// Notes that a poll of each of these instances begins then: once their jobs are durable.
///
/// # Errors
/// The table's; some may be noted.
pub async fn note<P: Platform>(
    platform: &P,
    instances: impl Iterator<Item = InstanceId>,
    begins: Timestamp,
) -> Result<(), RecordError> {
    let instances: BTreeSet<InstanceId> = instances.collect();
    let put = |instance| {
        let write = Write::put(key(instance), platform.version(), schema::encode(&Note { begins }));
        write.expiring(begins.as_seconds() + KEPT_S)
    };
    Ok(platform.table().write_many(instances.into_iter().map(put).collect()).await?)
}
