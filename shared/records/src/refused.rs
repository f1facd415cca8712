//! Webhooks that were not taken: counted by connector, day and reason, with a few samples, kept for a week.
//!
//! Silence is what users fear most, so everything that is not taken leaves a trace; and anyone can send us anything, so
//! the trace is bounded: one item per known connector, day and reason, with at most [`SAMPLES`] samples.

use events::Timestamp;
use platform::{Condition, Consistency, Key, Platform, Query, Table as _, TableError, Write};
use serde::{Deserialize, Serialize};

use crate::{DAY_S, RETENTION_DAYS, RecordError, schema};

/// Samples kept per connector, day and reason: the newest ones.
pub const SAMPLES: usize = 20;

/// Longest detail kept of a sample, in bytes.
const DETAIL_BYTES: usize = 200;

/// How often a count is added on top of what somebody else wrote meanwhile, before it is left for the next flush. Each
/// failure means that another writer got on.
const TRIES: usize = 1000;

/// Why a webhook was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// No instance has the provider account that the body names.
    UnknownAccount,
    /// The path or header names no instance of this connector.
    UnknownInstance,
    /// The request names no account and no instance.
    NoInstanceNamed,
    /// The instance is disabled.
    InstanceDisabled,
    /// The instance's events are off.
    EventsOff,
    /// The instance has no secret to verify with.
    NoSecret,
    /// A header that the signature needs is missing or malformed.
    SignatureMissing,
    /// The signature does not match.
    SignatureMismatch,
    /// The signed time is too far from now.
    Stale,
    /// The body could not be read.
    Malformed,
    /// The body is larger than taken.
    TooLarge,
    /// Taken and understood, but every change is of an object type that the instance does not want.
    Filtered,
    /// Taken and understood, but part of it could not be made into events, or concerns no instance.
    Skipped,
    /// Events returned to the connectors went round in a circle.
    Loop,
    /// More accounts in a request, or more instances of an account, than are served.
    TooMany,
}

impl Reason {
    const ALL: [Self; 15] = [
        Self::UnknownAccount,
        Self::UnknownInstance,
        Self::NoInstanceNamed,
        Self::InstanceDisabled,
        Self::EventsOff,
        Self::NoSecret,
        Self::SignatureMissing,
        Self::SignatureMismatch,
        Self::Stale,
        Self::Malformed,
        Self::TooLarge,
        Self::Filtered,
        Self::Skipped,
        Self::Loop,
        Self::TooMany,
    ];

    /// The reason's name, as stored and shown.
    #[must_use]
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// One webhook that was not taken.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub at: Timestamp,
    /// What exactly: never a secret, never the body.
    pub detail: String,
}

/// What was not taken for one reason on one day.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusals {
    /// How many.
    pub count: u64,
    /// The newest few.
    pub samples: Vec<Sample>,
}

/// One line of the operator's report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Days since the epoch.
    pub day: i64,
    /// Why.
    pub reason: Reason,
    /// How many, and samples.
    pub refusals: Refusals,
}

impl Refusals {
    /// No refusals.
    #[must_use]
    pub const fn none() -> Self {
        Self { count: 0, samples: Vec::new() }
    }

    /// Counts one more.
    pub fn add(&mut self, mut sample: Sample) {
        self.count += 1;
        if sample.detail.len() > DETAIL_BYTES {
            let end = sample.detail.floor_char_boundary(DETAIL_BYTES);
            sample.detail.truncate(end);
        }
        if self.samples.len() == SAMPLES {
            self.samples.remove(0);
        }
        self.samples.push(sample);
    }

    /// Adds what was counted elsewhere.
    pub fn merge(&mut self, more: &Self) {
        self.count += more.count;
        self.samples.extend(more.samples.iter().cloned());
        self.samples.sort_by_key(|s| s.at);
        let surplus = self.samples.len().saturating_sub(SAMPLES);
        self.samples.drain(..surplus);
    }
}

fn key(connector: &str, day: i64, reason: Reason) -> Key {
    Key::new(format!("REFUSED#{connector}#{day}"), reason.name())
}

/// Adds to the day's count. `connector` must be a known one: its key becomes part of an item's key.
///
/// # Errors
/// The table's.
pub async fn add<P: Platform>(
    platform: &P,
    connector: &str,
    day: i64,
    reason: Reason,
    more: &Refusals,
) -> Result<(), RecordError> {
    let key = key(connector, day, reason);
    let mut outcome = Ok(());
    for _ in 0..TRIES {
        let before = platform.table().get(&key, Consistency::Strong).await?;
        let (mut refusals, condition) = match &before {
            Some(item) => (schema::decode::<Refusals>(item)?, Condition::Version(item.version)),
            None => (Refusals::none(), Condition::Absent),
        };
        refusals.merge(more);
        let write = Write::put(key.clone(), platform.version(), schema::encode(&refusals))
            .when(condition)
            .expiring((day + RETENTION_DAYS + 1) * DAY_S);
        match platform.table().write(write).await {
            Ok(()) => return Ok(()),
            // Somebody else counted meanwhile: count on top.
            Err(error @ (TableError::ConditionFailed(_) | TableError::Conflict)) => outcome = Err(error.into()),
            Err(error) => return Err(error.into()),
        }
    }
    outcome
}

/// The last week's refusals of a connector, newest day first.
///
/// # Errors
/// The table's.
pub async fn list<P: Platform>(platform: &P, connector: &str) -> Result<Vec<Line>, RecordError> {
    let today = platform.now().day();
    let mut lines = Vec::new();
    for day in (today - RETENTION_DAYS..=today).rev() {
        let page = platform.table().query(&Query::partition(format!("REFUSED#{connector}#{day}"), 100)).await?;
        for item in page.items {
            // A reason that only a newer version knows is left to that version to show.
            if let Some(reason) = Reason::ALL.into_iter().find(|reason| reason.name() == item.key.sort) {
                lines.push(Line { day, reason, refusals: schema::decode(&item)? });
            }
        }
    }
    Ok(lines)
}
