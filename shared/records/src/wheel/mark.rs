//! How far the ticks have come: `TICK` / `WHEEL`.
//!
//! The mark moves after what it stands for is sent, and only from where it was read: of two ticks at the same time one moves
//! it, and a slow one does not move it back.

use platform::{Condition, Consistency, Key, Platform, Table as _, TableError, Version, Write};
use serde::{Deserialize, Serialize};

use crate::{RecordError, schema};

#[derive(Serialize, Deserialize)]
struct Mark {
    minute: i64,
}

/// The last minute that a tick has finished, as read; without one there was none yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ticked {
    at: Option<(i64, Version)>,
}

impl Ticked {
    /// The minute.
    #[must_use]
    pub fn minute(&self) -> Option<i64> {
        self.at.map(|(minute, _)| minute)
    }
}

fn mark_key() -> Key {
    Key::new("TICK", "WHEEL")
}

/// How far the ticks have come.
///
/// # Errors
/// The table's.
pub async fn ticked<P: Platform>(platform: &P) -> Result<Ticked, RecordError> {
    let Some(item) = platform.table().get(&mark_key(), Consistency::Strong).await? else {
        return Ok(Ticked::default());
    };
    Ok(Ticked { at: Some((schema::decode::<Mark>(&item)?.minute, item.version)) })
}

/// Notes that all minutes up to `minute` are done with. `None`: another tick has noted something since `before` was read.
///
/// # Errors
/// The table's.
pub async fn set_ticked<P: Platform>(platform: &P, before: Ticked, minute: i64) -> Result<Option<Ticked>, RecordError> {
    let version = platform.version();
    let condition = before.at.map_or(Condition::Absent, |(_, version)| Condition::Version(version));
    let write = Write::put(mark_key(), version, schema::encode(&Mark { minute })).when(condition);
    match platform.table().write(write).await {
        Ok(()) => Ok(Some(Ticked { at: Some((minute, version)) })),
        Err(TableError::ConditionFailed(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
