//! How an instance's polls fare, where they fail.
//!
//! | partition | sort | what |
//! |---|---|---|
//! | `POLL#id` | `HEALTH` | which resources fail, since when, why, and when each is tried again; when a consent ends that soon does |
//!
//! Of an instance whose polls tell what its webhooks missed, it says as well since when these are quiet.
//!
//! It stands beside [where the polls stand](crate::polls), so a poll reads it with its one query. An instance whose polls
//! never failed, and whose consent goes on, has none. It is written by polls alone, conditionally: of two that come to something at the same time one
//! notes it, so what is told on account of it is told once.
//!
//! *Kept* for [`KEPT_DAYS`] after it was written: whoever fails writes it anew before.

use std::collections::BTreeMap;

use events::{InstanceId, Timestamp};
use platform::{Condition, Consistency, Item, Key, Platform, Table as _, TableError, Version, Write};
use polling::position::Place;
use serde::{Deserialize, Serialize};

use crate::instances::plans;
use crate::{DAY_S, RecordError, polls, schema};

/// How long it is kept. Much longer than the longest time between two tries; and who lost a provider's consent, which nobody
/// tries to use again, is tried and told so once a month.
pub const KEPT_DAYS: i64 = 30;

pub(crate) const HEALTH: &str = "HEALTH";

/// How an instance's polls fare.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Health {
    /// What fails, by resource; blank: all of them, before any is asked for.
    #[serde(default)]
    pub failing: BTreeMap<String, Failing>,
    /// Since when the provider does not know the customer's consent any more. Then nothing is asked until the instance is
    /// changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
    /// When the consent ends, once that is near and the operator was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lapses: Option<Timestamp>,
    /// When the last failure ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<Timestamp>,
    /// Since when the polls beside its webhooks find changes while no webhook comes. It counts if what webhooks tell has been
    /// noted since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhooks_quiet: Option<Timestamp>,
    /// Which write made the plan that it is about: one that was changed since is tried at once.
    pub plan: u64,
}

/// A resource that fails.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Failing {
    /// The first failure.
    pub since: Timestamp,
    /// The last one that was noted.
    pub last: Timestamp,
    /// How many were noted.
    pub failures: u32,
    /// The last reason, without secrets.
    pub error: String,
    /// When it is tried again.
    pub next: Timestamp,
    /// Whether turns before then are left out.
    pub slowed: bool,
    /// Whether the operator was told.
    pub told: bool,
}

impl Health {
    /// Of an instance with this plan, of which nothing failed yet.
    #[must_use]
    pub fn of(plan: Version) -> Self {
        Self { plan: plan.0, ..Self::default() }
    }

    /// Since when webhooks are quiet of which what they tell is `noted` since then: a note from before they were taken away and
    /// came back does not count.
    #[must_use]
    pub fn quiet_since(quiet: Option<Timestamp>, noted: Option<Timestamp>) -> Option<Timestamp> {
        quiet.filter(|quiet| noted.is_some_and(|noted| noted <= *quiet))
    }

    /// Whether it is about this plan.
    #[must_use]
    pub fn is_of(&self, plan: Version) -> bool {
        self.plan == plan.0
    }
}

/// A health as it was read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stored {
    /// How the polls fare.
    pub health: Health,
    /// Why what was noted cannot be read.
    pub unreadable: Option<String>,
    version: Option<Version>,
}

impl Stored {
    /// The health among the items of an instance's partition. One that cannot be read is as good as none: it only informs,
    /// and the next note replaces it.
    pub(crate) fn of(items: &[Item]) -> Self {
        let Some(item) = items.iter().find(|item| item.key.sort == HEALTH) else { return Self::default() };
        Self::read(item).unwrap_or_else(|error| Self {
            version: Some(item.version),
            unreadable: Some(error.to_string()),
            ..Self::default()
        })
    }

    fn read(item: &Item) -> Result<Self, RecordError> {
        Ok(Self { health: schema::decode(item)?, unreadable: None, version: Some(item.version) })
    }
}

fn key(instance: InstanceId) -> Key {
    Key::new(polls::partition(instance), HEALTH)
}

/// How an instance's polls fare and where they stand, for people who look.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Look {
    /// How they fare.
    pub health: Health,
    /// Where they stand, by resource, without what was told.
    pub places: BTreeMap<String, Place>,
    /// Which write made the plan that they go by.
    pub plan: Option<Version>,
}

/// How an instance's polls fare and where they stand: by one read, whatever was told.
///
/// # Errors
/// The table's, or it cannot be read.
pub async fn look<P: Platform>(platform: &P, instance: InstanceId) -> Result<Look, RecordError> {
    let keys = [key(instance), polls::state_key(instance), plans::key(instance)];
    let mut found = platform.table().get_many(&keys, Consistency::Strong).await?.into_iter();
    let (health, state, plan) = (found.next().flatten(), found.next().flatten(), found.next().flatten());
    Ok(Look {
        health: health.as_ref().map(Stored::read).transpose()?.unwrap_or_default().health,
        places: state.as_ref().map(|item| polls::places(instance, item)).transpose()?.unwrap_or_default(),
        plan: plan.map(|item| item.version),
    })
}

/// Notes how an instance's polls fare, unless another poll noted something since it was read. Whether it did.
///
/// # Errors
/// The table's.
pub async fn put<P: Platform>(
    platform: &P,
    instance: InstanceId,
    read: &Stored,
    health: &Health,
) -> Result<bool, RecordError> {
    let condition = read.version.map_or(Condition::Absent, Condition::Version);
    let write = Write::put(key(instance), platform.version(), schema::encode(health)).when(condition);
    match platform.table().write(write.expiring(platform.now().as_seconds() + KEPT_DAYS * DAY_S)).await {
        Ok(()) => Ok(true),
        Err(TableError::ConditionFailed(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
