//! Polls beside webhooks: what these told is left out.
//!
//! *Promise:* what is left out was told (see [`polling::reconcile`]); where that cannot be read, everything is told. The
//! position moves past what is left out as it does past what is told.
//!
//! *Where they begin:* when their instance came to have them. What its webhooks told before nobody noted, so a place of
//! earlier polls would tell it again; unless the instance says itself from when on it wants to be told.
//!
//! *Cost:* nothing for a reading that finds nothing new; else half a read for each change and day, from the day of the change
//! to this one, of a week at most. A step bounds the changes.

use std::borrow::Cow;

use events::Timestamp;
use metrics::counter;
use platform::Platform;
use polling::definition::Polling;
use polling::poll::Change;
use polling::position::{Place, Position, State};
use polling::reconcile::{Heard, Reconcile, comparable};
use polling::request::Query;
use records::plans::Plan;
use records::told;

use super::settle::since;

/// How a resource is asked that others may ask for too.
pub(super) fn query<'q>(plan: &Plan, query: &'q Query) -> Cow<'q, Query> {
    if plan.reconciles.is_some() { Cow::Owned(query.clone().reconciling()) } else { Cow::Borrowed(query) }
}

/// When an instance's polls begin.
pub(super) fn beginning(plan: &Plan) -> Timestamp {
    plan.reconciles.unwrap_or(plan.created_at)
}

/// Where the polls stand, without the places of polls that were there before anything was noted.
pub(super) fn noted<'s>(plan: &Plan, stored: &'s State) -> Cow<'s, State> {
    let Some(first) = plan.reconciles.filter(|_| since(&plan.settings).is_none()).map(Position::beginning) else {
        return Cow::Borrowed(stored);
    };
    let counts = |place: &Place| place.position().is_none_or(|position| position.at() >= first.at());
    let places = stored.places.iter().filter(|(_, place)| counts(place));
    Cow::Owned(State { places: places.map(|(name, place)| (name.clone(), place.clone())).collect() })
}

/// A change that is not known to be told.
struct Open {
    /// Which one.
    index: usize,
    at: Timestamp,
    heard: Heard,
}

impl Open {
    /// The first day on which a webhook can have told of it.
    fn from(&self, reconcile: &Reconcile) -> i64 {
        self.at.minus(told::AHEAD.saturating_add(reconcile.tolerance())).day()
    }
}

/// Leaves out of what a reading found what webhooks told. Returns how many changes that were.
pub(super) async fn leave_out<P: Platform>(
    platform: &P,
    plan: &Plan,
    polling: &Polling,
    query: &Query,
    changes: &mut Vec<Change>,
) -> usize {
    let Some(reconcile) = polling.reconcile.as_ref().filter(|_| plan.reconciles.is_some()) else { return 0 };
    let wanted = |change: &Change| plan.wants(&query.name, &change.told.object_type, change.told.event_type);
    let compared = changes.iter().enumerate().filter(|(_, change)| wanted(change));
    let mut open: Vec<Open> = compared
        .filter_map(|(index, change)| {
            Some(Open { index, at: comparable(&query.rules, &change.told)?, heard: Heard::default() })
        })
        .collect();
    let today = platform.now().day();
    let first = open.iter().map(|open| open.from(reconcile)).min().unwrap_or(today).max(today - told::KEPT_DAYS);
    let mut left_out = vec![false; changes.len()];
    for day in first..=today {
        let mut asked: Vec<&mut Open> = Vec::new();
        let mut objects: Vec<(&str, &str)> = Vec::new();
        let mut of: Vec<usize> = Vec::new();
        for one in open.iter_mut().filter(|open| open.from(reconcile) <= day && !left_out[open.index]) {
            let Change { told, .. } = &changes[one.index];
            for name in reconcile.names(&told.object_type) {
                objects.push((name, &told.object_id));
                of.push(asked.len());
            }
            asked.push(one);
        }
        match told::of(platform, plan.instance, day, &objects).await {
            Ok(heard) => {
                for (index, heard) in of.into_iter().zip(heard) {
                    let one = &mut *asked[index];
                    one.heard = one.heard.and(heard);
                    let event_type = changes[one.index].told.event_type;
                    left_out[one.index] = reconcile.was_told(event_type, one.at, one.heard);
                }
            }
            Err(error) => {
                let instance = plan.instance;
                tracing::warn!(%instance, %error, "what webhooks told cannot be read, and is told again");
                break;
            }
        }
    }
    let mut each = left_out.iter();
    changes.retain(|_| each.next() != Some(&true));
    left_out.iter().filter(|out| **out).count()
}

/// Counts what a poll left out and what it told.
pub(super) fn count(plan: &Plan, left_out: usize, told: usize) {
    if plan.reconciles.is_some() {
        for (outcome, changes) in [("suppressed", left_out), ("told", told)] {
            let connector = plan.connector.clone();
            counter!("pollhook_reconciled", "connector" => connector, "outcome" => outcome).increment(changes as u64);
        }
    }
}
