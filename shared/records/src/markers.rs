//! When an occurrence without a date was first seen.
//!
//! A notification's id holds a time, and a redelivery must make the same id. Where the provider gives no time, the first
//! dispatcher to see the occurrence writes one down, and everybody later reads it. The marker lives for `KEPT_DAYS`: a
//! redelivery later than that would be told as new.

use events::{Batch, Timestamp};
use platform::{Condition, Consistency, Key, Platform, Table as _, Write};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{DAY_S, RecordError, schema};

/// Days that a marker lives: providers redeliver for three days at most, and a record lives for a week after the last
/// attempt, which comes within four days.
const KEPT_DAYS: i64 = 30;

#[derive(Serialize, Deserialize)]
struct Marker {
    first_seen: Timestamp,
}

/// The time to use for notifications of `batch` whose first event has no date: the same however often the batch comes.
///
/// # Errors
/// The table's.
pub async fn first_seen<P: Platform>(platform: &P, batch: &Batch) -> Result<Timestamp, RecordError> {
    let mut hash = Sha256::new();
    for event in &batch.events {
        hash.update(event.id.as_str());
    }
    let name: String = hash.finalize()[..16].iter().map(|b| format!("{b:02x}")).collect();
    let key = Key::new(format!("SEEN#{name}"), "SEEN");
    if let Some(item) = platform.table().get(&key, Consistency::Strong).await? {
        return Ok(schema::decode::<Marker>(&item)?.first_seen);
    }
    let marker = Marker { first_seen: batch.accepted_at };
    let write = Write::put(key, platform.version(), schema::encode(&marker))
        .when(Condition::Absent)
        .expiring(platform.now().as_seconds() + KEPT_DAYS * DAY_S);
    match platform.table().write(write).await {
        Ok(()) => Ok(marker.first_seen),
        Err(error) => match error.clone().existing() {
            Some(Some(item)) => Ok(schema::decode::<Marker>(&item)?.first_seen),
            _ => Err(error.into()),
        },
    }
}
