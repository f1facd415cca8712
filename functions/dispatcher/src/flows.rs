//! The leg to the event bus: each event of the notification by itself.
//!
//! *Promise:* what the bus did not take is offered again, and what it took is not, unless we died in between. One event
//! that the bus can never take (over its limits, which a provider's id of a megabyte would be) keeps no other from it: the
//! others are published, and the leg ends as dropped, saying which one and why.
//!
//! *Failure modes.* A bus that does not answer within [`PATIENCE`] is as good as one that says no. What it took by then is
//! offered again, under the same event id.

use std::time::Duration;

use egress::Post;
use events::flow;
use events::message::Attempt;
use futures_util::future::join_all;
use platform::{Bus, BusError, Entry, Platform, PublishError, limits};
use records::deliveries::{Attempted, Leg, State};
use records::instances::CallbackView;

use crate::outcome::{Came, Made};
use crate::{Dispatcher, Telling, count};

/// How long the bus may take for one publish: longer than any client of it waits.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Why nothing more is published of an instance.
const OFF: &str = "the instance's flows were switched off";

/// An event to publish: which of the notification's, counting from 0, and what the bus is told.
type Numbered = (usize, Entry);

/// What became of some events.
#[derive(Debug, Default)]
struct Offered {
    /// How many the bus took.
    taken: usize,
    /// Which it did not take this time.
    owed: Vec<usize>,
    /// Why the first of those was not taken.
    error: Option<BusError>,
    /// Which it can never take, and why.
    refused: Vec<(usize, BusError)>,
}

impl Offered {
    fn add(&mut self, more: Self) {
        self.taken += more.taken;
        self.owed.extend(more.owed);
        self.error = self.error.take().or(more.error);
        self.refused.extend(more.refused);
    }
}

impl<P: Platform, C: Post, B: Bus> Dispatcher<P, C, B> {
    /// Makes the attempt: publishes what `leg` says is still owed, or everything where there is none.
    pub(crate) async fn publish(&self, telling: Telling<'_>, attempt: Attempt, leg: Option<&Leg>) -> Made {
        let Some(view) = telling.view else { return Made::deleted(attempt) };
        // Apart from the callback's group: a bus in trouble is not to hold up callbacks, nor one instance's events another's.
        let group = format!("flows-{}", attempt.instance);
        if !view.flows {
            let came = Came::Ended(State::Dropped { reason: OFF.into() });
            return Made { attempt, attempted: None, came, owed: Vec::new(), group };
        }
        let began = self.platform.now();
        let owed = leg.map(|leg| leg.owed.as_slice()).unwrap_or_default();
        let offered = self.offer(entries(view, telling, &attempt, owed)).await;
        let ended = self.platform.now();
        count::published(offered.taken);

        let all = telling.events.len();
        let refused = offered.refused.first().map(|(index, error)| {
            let (some, event) = (offered.refused.len(), &telling.events[*index].id);
            format!("{some} of {all} events, {event} first: {error}")
        });
        let (error, came) = match (&offered.error, refused) {
            (None, None) => (None, Came::Ended(State::Told { at: ended })),
            (None, Some(reason)) => (Some(reason.clone()), Came::Ended(State::Dropped { reason })),
            (Some(error), _) => {
                let error = format!("{} of {all} events: {error}", offered.owed.len());
                (Some(error), Came::Failed { retry_after: None })
            }
        };
        // What can never be taken stays among them: the last attempt is to say so.
        let mut owed = offered.owed;
        if offered.error.is_some() {
            owed.extend(offered.refused.iter().map(|(index, _)| index));
            owed.sort_unstable();
        }
        let latency_ms = u64::try_from(ended.since(began).as_millis()).unwrap_or(u64::MAX);
        let Attempt { round, attempt: number, .. } = attempt;
        let attempted = Attempted { at: began, round, attempt: number, status: None, latency_ms, error };
        Made { attempt, attempted: Some(attempted), came, owed, group }
    }

    async fn offer(&self, entries: Vec<Numbered>) -> Offered {
        let (publishes, mut offered) = publishes(entries);
        for more in join_all(publishes.into_iter().map(|entries| self.offer_some(entries))).await {
            offered.add(more);
        }
        offered
    }

    /// Publishes at most as many as the bus takes at once.
    async fn offer_some(&self, entries: Vec<Numbered>) -> Offered {
        let count = entries.len();
        let Err((failed, error)) = self.publish_once(entries.clone()).await else {
            return Offered { taken: count, ..Offered::default() };
        };
        let (failed, taken): (Vec<_>, Vec<_>) =
            entries.into_iter().enumerate().partition(|(place, _)| failed.contains(place));
        let failed: Vec<Numbered> = failed.into_iter().map(|(_, entry)| entry).collect();
        let taken = taken.len();
        match (error, failed.as_slice()) {
            // Which of them it can never take, it says of one alone.
            (error @ BusError::Invalid(_), [(index, _)]) => {
                Offered { taken, refused: vec![(*index, error)], ..Offered::default() }
            }
            (BusError::Invalid(_), _) => {
                let mut offered = Offered { taken, ..Offered::default() };
                for (index, entry) in failed {
                    offered.add(match self.publish_once(vec![(index, entry)]).await {
                        Ok(()) => Offered { taken: 1, ..Offered::default() },
                        Err((_, error @ BusError::Invalid(_))) => {
                            Offered { refused: vec![(index, error)], ..Offered::default() }
                        }
                        Err((_, error)) => Offered { owed: vec![index], error: Some(error), ..Offered::default() },
                    });
                }
                offered
            }
            (error, _) => {
                let owed = failed.into_iter().map(|(index, _)| index).collect();
                Offered { taken, owed, error: Some(error), refused: Vec::new() }
            }
        }
    }

    /// The error: which were not taken, and why not.
    async fn publish_once(&self, entries: Vec<Numbered>) -> Result<(), (Vec<usize>, BusError)> {
        let count = entries.len();
        let entries = entries.into_iter().map(|(_, entry)| entry).collect();
        let patience = self.patience;
        match tokio::time::timeout(patience, self.bus.publish(entries)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(PublishError { failed, error })) => Err((failed, error)),
            Err(_) => Err(((0..count).collect(), BusError::Unavailable(format!("no answer within {patience:?}")))),
        }
    }
}

/// What the bus is told: of those events that are `owed`, or of all.
fn entries(view: &CallbackView, telling: Telling<'_>, attempt: &Attempt, owed: &[usize]) -> Vec<Numbered> {
    let Telling { batch, events, .. } = telling;
    let wanted = events.iter().enumerate().filter(|(index, _)| owed.is_empty() || owed.contains(index));
    let entry = |event| Entry {
        source: flow::SOURCE.into(),
        detail_type: flow::DETAIL_TYPE.into(),
        detail: flow::detail(view.account, batch, attempt.notification, event),
        time: batch.time_of(event),
    };
    wanted.map(|(index, event)| (index, entry(event))).collect()
}

/// Splits entries, in order, into as many as a bus takes at once; what it could not take alone is refused.
fn publishes(entries: Vec<Numbered>) -> (Vec<Vec<Numbered>>, Offered) {
    let (mut publishes, mut offered) = (Vec::new(), Offered::default());
    let (mut publish, mut bytes) = (Vec::new(), 0);
    for (index, entry) in entries {
        let size = limits::entry_bytes(&entry);
        if size > limits::PUBLISH_BYTES {
            let error = BusError::Invalid(format!("an entry of {size} bytes; at most {}", limits::PUBLISH_BYTES));
            offered.refused.push((index, error));
            continue;
        }
        if publish.len() == limits::PUBLISH_ENTRIES || bytes + size > limits::PUBLISH_BYTES {
            publishes.push(std::mem::take(&mut publish));
            bytes = 0;
        }
        bytes += size;
        publish.push((index, entry));
    }
    if !publish.is_empty() {
        publishes.push(publish);
    }
    (publishes, offered)
}

#[cfg(test)]
mod tests {
    use events::Timestamp;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        // Each case writes megabytes.
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_the_sizes_each_entry_is_in_one_publish_that_the_bus_takes_or_refused(
            sizes in proptest::collection::vec(prop_oneof![0_usize..400, 200_000_usize..1_100_000], 0..45)
        ) {
            let entry = |size: &usize| Entry {
                source: flow::SOURCE.into(),
                detail_type: flow::DETAIL_TYPE.into(),
                detail: format!("{{\"x\":\"{}\"}}", "x".repeat(*size)),
                time: Timestamp::from_millis(0),
            };
            let entries: Vec<Numbered> = sizes.iter().map(entry).enumerate().collect();
            let (publishes, offered) = publishes(entries.clone());
            for publish in &publishes {
                let entries: Vec<Entry> = publish.iter().map(|(_, entry)| entry.clone()).collect();
                prop_assert_eq!(limits::check_publish(&entries), Ok(()));
            }
            for pair in publishes.windows(2) {
                let together: usize = pair.iter().flatten().map(|(_, e)| limits::entry_bytes(e)).sum();
                let count: usize = pair.iter().map(Vec::len).sum();
                prop_assert!(count > limits::PUBLISH_ENTRIES || together > limits::PUBLISH_BYTES, "one would have done");
            }
            let told: Vec<usize> = publishes.iter().flatten().map(|(index, _)| *index).collect();
            let refused: Vec<usize> = offered.refused.iter().map(|(index, _)| *index).collect();
            let fits = |index: &usize| limits::entry_bytes(&entries[*index].1) <= limits::PUBLISH_BYTES;
            let (fit, too_large): (Vec<usize>, Vec<usize>) = (0..sizes.len()).partition(fits);
            prop_assert_eq!((told, refused), (fit, too_large));
        }
    }
}
