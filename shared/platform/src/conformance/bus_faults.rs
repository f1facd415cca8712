//! A bus in trouble: what is not known to be taken is named, with the reason, so that the caller can publish it again; a
//! copy is allowed, a loss is not.

use super::Faults;
use super::bus::{Subscriber, assert_handed_over, entry};
use crate::{Bus, BusError, Entry, PublishError};

/// A test for each scenario with a network that loses things and a bus that fails in part. `$setup` is an async function
/// without arguments that gives a [`FaultyBusUnderTest`](crate::conformance::FaultyBusUnderTest).
#[macro_export]
macro_rules! bus_fault_conformance {
    ($setup:path) => {
        $crate::__scenarios! {
            __bus_fault_scenario, $setup,
            bus_faults::{
                a_publish_whose_answer_was_lost_is_published_or_reported,
                a_refused_publish_is_repeated_or_reported,
                a_failure_in_part_names_exactly_what_failed,
                a_failure_of_all_names_all,
                throttled_and_not_available_are_told_apart,
            },
        }
    };
}

/// A bus that can be made to fail in part.
pub trait EntryFaults: Faults {
    /// From now on, entries of this detail type are not taken, however often they are tried, for a reason that is `error`
    /// (not [`BusError::Invalid`]); the others are.
    fn fail_entries(&self, detail_type: &str, error: &BusError);

    /// From now on, all are taken again.
    fn heal(&self);
}

/// An entry that a scenario may make fail.
fn doomed(name: &str) -> Entry {
    Entry { detail_type: "Doomed".into(), ..entry(name) }
}

/// The reasons a bus can have of its own.
fn reasons() -> [BusError; 2] {
    [BusError::Throttled, BusError::Unavailable("made up".into())]
}

fn same_kind(a: &BusError, b: &BusError) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

/// Publishes what an answer reported as not published, once more.
async fn publish_the_rest<B: Bus>(bus: &B, answer: Result<(), PublishError>, published: &[Entry]) {
    let Err(PublishError { failed, error }) = answer else { return };
    assert!(matches!(error, BusError::Unavailable(_) | BusError::Throttled), "{error:?}");
    assert!(failed.is_sorted_by(|a, b| a < b), "{failed:?}: each once, in order");
    let rest = failed.into_iter().map(|index| published[index].clone()).collect();
    assert_eq!(bus.publish(rest).await, Ok(()));
}

/// Nothing is lost, whatever the answer.
pub async fn a_publish_whose_answer_was_lost_is_published_or_reported<B: Bus>(
    bus: &B,
    subscriber: &impl Subscriber,
    faults: &impl EntryFaults,
) {
    let entries = [entry("one"), entry("two")];
    faults.lose_next_answer();
    let answer = bus.publish(entries.to_vec()).await;
    publish_the_rest(bus, answer, &entries).await;
    assert_handed_over(subscriber, &entries).await;
}

/// Nothing is lost, whatever the answer.
pub async fn a_refused_publish_is_repeated_or_reported<B: Bus>(
    bus: &B,
    subscriber: &impl Subscriber,
    faults: &impl EntryFaults,
) {
    let entries = [entry("one"), entry("two")];
    faults.refuse_next_request();
    let answer = bus.publish(entries.to_vec()).await;
    publish_the_rest(bus, answer, &entries).await;
    assert_handed_over(subscriber, &entries).await;
}

/// And their neighbours are taken. Published again, the failed ones are there too.
pub async fn a_failure_in_part_names_exactly_what_failed<B: Bus>(
    bus: &B,
    subscriber: &impl Subscriber,
    faults: &impl EntryFaults,
) {
    let entries = [entry("0"), doomed("1"), entry("2"), doomed("3"), doomed("4")];
    let good = [entries[0].clone(), entries[2].clone()];
    for reason in reasons() {
        faults.fail_entries("Doomed", &reason);
        let PublishError { failed, error } = bus.publish(entries.to_vec()).await.expect_err("a failure in part");
        assert_eq!(failed, [1, 3, 4]);
        assert!(same_kind(&error, &reason), "{error:?} for {reason:?}");
        assert_handed_over(subscriber, &good).await;
    }
    faults.heal();
    let rest = [1, 3, 4].map(|index| entries[index].clone());
    assert_eq!(bus.publish(rest.to_vec()).await, Ok(()));
    assert_handed_over(subscriber, &entries).await;
}

/// Rather than an error without names.
pub async fn a_failure_of_all_names_all<B: Bus>(bus: &B, subscriber: &impl Subscriber, faults: &impl EntryFaults) {
    let entries = [doomed("0"), doomed("1")];
    for reason in reasons() {
        faults.fail_entries("Doomed", &reason);
        let error = bus.publish(entries.to_vec()).await.expect_err("a failure");
        assert_eq!(error.failed, [0, 1]);
    }
    assert_handed_over(subscriber, &[]).await;
}

/// One passes by itself, the other may need somebody. Where both happen, the first entry's reason is told.
pub async fn throttled_and_not_available_are_told_apart<B: Bus>(
    bus: &B,
    subscriber: &impl Subscriber,
    faults: &impl EntryFaults,
) {
    let second = |name: &str| Entry { detail_type: "Doomed otherwise".into(), ..entry(name) };
    let [throttled, unavailable] = reasons();
    faults.fail_entries("Doomed", &throttled);
    faults.fail_entries("Doomed otherwise", &unavailable);
    let error = bus.publish(vec![entry("0"), doomed("1"), second("2")]).await.expect_err("a failure in part");
    assert_eq!((error.failed, error.error), (vec![1, 2], BusError::Throttled));
    let error = bus.publish(vec![second("1"), entry("0"), doomed("2")]).await.expect_err("a failure in part");
    assert_eq!(error.failed, [0, 2]);
    assert!(matches!(error.error, BusError::Unavailable(_)), "{:?}", error.error);
    assert_handed_over(subscriber, &[entry("0")]).await;
}
