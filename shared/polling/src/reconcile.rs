//! Whether a change that a poll finds was told by a webhook before: for instances that have both.
//!
//! *Promise:* pure, and when in doubt it tells. A change is [left out](Reconcile::was_told) only where a webhook told of the
//! same object, that it is gone if it is gone and that it is there if it is there, at a date of the provider's that is not
//! before the change's. So whoever was told has heard of the object since it became as the poll shows it.
//!
//! *Dates.* Those of webhooks and those of records must be of one clock and mean the same, which a connector's section says by
//! having a part `reconcile:`; without one nothing is left out. A date as coarse as a second is compared as it stands: a
//! change whose webhook was lost, within the same second as one that was told, counts as told. One that is coarser, of a
//! minute or a day, counts as the last moment of it. A record whose date does not move with its changes is told.
//!
//! *The race.* A webhook of a change of this moment is still under way. So a poll that is to leave out what was told puts off
//! whatever changed in the last [`GRACE`], by the provider's clock, and a later poll tells it or leaves it out.

use std::collections::BTreeMap;
use std::time::Duration;

use events::{EventType, Timestamp};
use serde::{Deserialize, Serialize};

use crate::classify::{Newer, Rules, Told};
use crate::request::Query;

/// How old a change is when it is missed: the slowest webhooks come some minutes late while nothing is wrong.
pub const GRACE: Duration = Duration::from_secs(5 * 60);

/// How what a connector's webhooks tell is compared with what its polls find.
///
/// ```yaml
/// reconcile:
///   tolerance: 1                    # seconds by which a webhook's date may lie before the record's
///   types: { accounts: companies }  # object types of webhooks: what else polls call them
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reconcile {
    /// Seconds by which a webhook's date may lie before that of the record that shows the same change.
    #[serde(default)]
    tolerance: u64,
    /// Object types of webhooks, and what else polls call them.
    #[serde(default)]
    types: BTreeMap<String, String>,
}

/// What webhooks told of an object: the latest date of each kind, where they named one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Heard {
    /// That it was made or changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    live: Option<Timestamp>,
    /// That it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gone: Option<Timestamp>,
}

impl Heard {
    /// What one event tells. One of an unknown kind, or without a date, was told, and says nothing to compare.
    #[must_use]
    pub fn of(event_type: EventType, date: Option<Timestamp>) -> Self {
        match event_type {
            EventType::Created | EventType::Updated => Self { live: date, gone: None },
            EventType::Deleted => Self { live: None, gone: date },
            EventType::Unknown => Self::default(),
        }
    }

    /// What both tell, in whichever order they came.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { live: self.live.max(other.live), gone: self.gone.max(other.gone) }
    }

    fn covers(self, gone: bool, at: Timestamp, tolerance: Duration) -> bool {
        let latest = if gone { self.gone } else { self.live };
        latest.is_some_and(|latest| latest.plus(tolerance) >= at)
    }
}

impl Reconcile {
    /// Whether webhooks that told this of the object told of the change, too, which happened at the date that
    /// [`comparable`] says.
    #[must_use]
    pub fn was_told(&self, event_type: EventType, at: Timestamp, heard: Heard) -> bool {
        heard.covers(event_type == EventType::Deleted, at, self.tolerance())
    }

    /// How far a webhook's date may lie before the record's.
    #[must_use]
    pub fn tolerance(&self) -> Duration {
        Duration::from_secs(self.tolerance)
    }

    /// What webhooks call the objects that a poll calls so.
    pub fn names<'a>(&'a self, polled: &'a str) -> impl Iterator<Item = &'a str> {
        let others = self.types.iter().filter(move |(_, other)| other.eq_ignore_ascii_case(polled));
        std::iter::once(polled).chain(others.map(|(webhook, _)| webhook.as_str()))
    }
}

/// The date that a change is compared by: the last moment at which it can have happened. `None`: nothing of the record says
/// when it changed.
#[must_use]
pub fn comparable(rules: &Rules, told: &Told) -> Option<Timestamp> {
    told.position.filter(|_| rules.date_moves())
}

impl Query {
    /// The query of a poll that leaves out what webhooks told. What a cursor shows it shows once, so nothing of it is put off.
    #[must_use]
    pub fn reconciling(mut self) -> Self {
        if !self.keeps_cursor() {
            self.grace = GRACE;
            if self.rules.newer == Newer::Told {
                self.rules.newer = Newer::WaitsIfNear;
            }
        }
        self
    }
}

#[cfg(test)]
mod tests;
