//! The event bus on EventBridge.
//!
//! *Flow:* a publish is one `PutEvents`, in which each entry succeeds or fails by itself
//! (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html>). The SDK repeats a request that
//! failed as a whole; entries that failed for a reason that passes are sent again here, without the others, after pauses.
//!
//! *Failure modes:* when an answer is lost, the request is repeated and its entries may be handed over twice; that is
//! within "not only once". What no answer names as taken is reported as failed.

use aws_sdk_eventbridge::Client;
use aws_sdk_eventbridge::primitives::DateTime;
use aws_sdk_eventbridge::types::{PutEventsRequestEntry, PutEventsResultEntry};
use platform::{Bus, BusError, Entry, OsRandom, PublishError, Random, limits};

use crate::{Connection, backoff, failures};

/// A [`Bus`] on EventBridge. Cheap to clone.
#[derive(Clone)]
pub struct EventBus {
    client: Client,
    name: String,
}

impl std::fmt::Debug for EventBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EventBus({})", self.name)
    }
}

impl EventBus {
    /// The event bus `name` (or its ARN).
    pub fn new(connection: &Connection, name: impl Into<String>) -> Self {
        Self { client: Client::new(connection.config()), name: name.into() }
    }

    /// What became of each entry, in order.
    async fn put(&self, entries: Vec<PutEventsRequestEntry>) -> Result<Vec<Fate>, BusError> {
        let count = entries.len();
        let answer = self.client.put_events().set_entries(Some(entries)).send().await;
        let answer = answer.map_err(|error| failures::of_bus(&error))?;
        let mut fates: Vec<Fate> = answer.entries().iter().map(fate).collect();
        fates.resize(count, Fate::Failed(unnamed()));
        Ok(fates)
    }
}

/// The errors of an entry that do not pass by themselves, though they are no fault of the entry
/// (<https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html>).
const LASTING: [&str; 3] = ["AccessDeniedException", "InvalidAccountIdException", "RedactionFailure"];

/// What became of an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Fate {
    Taken,
    /// It may be taken when it is tried again.
    Failed(BusError),
    /// It will not.
    Refused(BusError),
}

fn unnamed() -> BusError {
    BusError::Unavailable("an answer that does not name each entry".into())
}

fn fate(answer: &PutEventsResultEntry) -> Fate {
    match (answer.event_id(), answer.error_code()) {
        (_, Some(code)) => {
            let text = || format!("{code}: {}", answer.error_message().unwrap_or_default());
            match failures::of_entry(Some(code), text) {
                error @ BusError::Invalid(_) => Fate::Refused(error),
                error if LASTING.contains(&code) => Fate::Refused(error),
                error => Fate::Failed(error),
            }
        }
        (Some(_), None) => Fate::Taken,
        (None, None) => Fate::Failed(unnamed()),
    }
}

/// The entries that are not taken yet, by their place in the publish, and why not.
#[derive(PartialEq, Eq, Debug)]
struct Left {
    /// Not yet tried, or failed for a reason that may pass.
    open: Vec<usize>,
    /// Failed for good.
    refused: Vec<(usize, BusError)>,
    /// The reasons of the open ones, when they were tried last.
    reasons: Vec<BusError>,
}

impl Left {
    fn all(count: usize) -> Self {
        Self { open: (0..count).collect(), refused: Vec::new(), reasons: Vec::new() }
    }

    /// After a round in which the open ones were tried. Whether any of them is not open any more.
    fn after(&mut self, fates: Vec<Fate>) -> bool {
        let tried = std::mem::take(&mut self.open);
        let count = tried.len();
        self.reasons.clear();
        for (index, fate) in tried.into_iter().zip(fates) {
            match fate {
                Fate::Taken => {}
                Fate::Refused(error) => self.refused.push((index, error)),
                Fate::Failed(error) => {
                    self.open.push(index);
                    self.reasons.push(error);
                }
            }
        }
        self.open.len() < count
    }

    /// A round failed as a whole.
    fn failed(&mut self, error: &BusError) {
        self.reasons = vec![error.clone(); self.open.len()];
    }

    /// What is told in the end.
    fn told(self) -> Result<(), PublishError> {
        let mut failed = self.refused;
        failed.extend(self.open.into_iter().zip(self.reasons));
        failed.sort_by_key(|(index, _)| *index);
        let error = failed.first().map(|(_, error)| error.clone());
        let failed = failed.into_iter().map(|(index, _)| index).collect();
        error.map_or(Ok(()), |error| Err(PublishError { failed, error }))
    }
}

impl Bus for EventBus {
    async fn publish(&self, entries: Vec<Entry>) -> Result<(), PublishError> {
        let mut left = Left::all(entries.len());
        if let Err(error) = limits::check_publish(&entries) {
            return Err(PublishError { failed: left.open, error });
        }
        let entries: Vec<_> = entries.into_iter().map(|entry| request(&self.name, entry)).collect();
        let mut fruitless = 0;
        loop {
            match self.put(left.open.iter().map(|index| entries[*index].clone()).collect()).await {
                Ok(fates) => fruitless = if left.after(fates) { 0 } else { fruitless + 1 },
                // The SDK has repeated it already.
                Err(error) => {
                    left.failed(&error);
                    return left.told();
                }
            }
            let pause = if left.open.is_empty() { None } else { backoff::pause(fruitless, OsRandom.bits()) };
            let Some(pause) = pause else { return left.told() };
            tokio::time::sleep(pause).await;
        }
    }
}

fn request(bus: &str, entry: Entry) -> PutEventsRequestEntry {
    PutEventsRequestEntry::builder()
        .event_bus_name(bus)
        .source(entry.source)
        .detail_type(entry.detail_type)
        .detail(entry.detail)
        .time(DateTime::from_millis(entry.time.as_millis()))
        .build()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn answer(id: Option<&str>, code: Option<&str>) -> PutEventsResultEntry {
        let (id, code) = (id.map(Into::into), code.map(Into::into));
        PutEventsResultEntry::builder().set_event_id(id).set_error_code(code).build()
    }

    #[test]
    fn an_entry_is_taken_when_it_has_an_id_and_no_error() {
        assert_eq!(fate(&answer(Some("id"), None)), Fate::Taken);
        assert_eq!(fate(&answer(None, None)), Fate::Failed(unnamed()));
        assert_eq!(fate(&answer(Some("id"), Some("ThrottlingException"))), Fate::Failed(BusError::Throttled));
        assert_eq!(fate(&answer(None, Some("ThrottlingException"))), Fate::Failed(BusError::Throttled));
    }

    #[test]
    fn a_code_says_whose_fault_it_was_and_whether_it_passes() {
        let fate_of = |code| fate(&answer(None, Some(code)));
        for code in ["InternalFailure", "InternalException", "SomethingNew"] {
            assert!(matches!(fate_of(code), Fate::Failed(BusError::Unavailable(_))), "{code}");
        }
        for code in LASTING {
            assert!(matches!(fate_of(code), Fate::Refused(BusError::Unavailable(_))), "{code}");
        }
        for code in [
            "MalformedDetail",
            "InvalidArgument",
            "NotAuthorizedForSourceException",
            "NotAuthorizedForDetailTypeException",
        ] {
            assert!(matches!(fate_of(code), Fate::Refused(BusError::Invalid(_))), "{code}");
        }
    }

    #[test]
    fn what_is_refused_is_not_tried_again_and_is_told_in_its_place() {
        let mut left = Left::all(4);
        let invalid = BusError::Invalid("detail".into());
        let fates =
            vec![Fate::Failed(BusError::Throttled), Fate::Taken, Fate::Refused(invalid), Fate::Failed(unnamed())];
        assert!(left.after(fates));
        assert_eq!(left.open, [0, 3]);
        assert!(left.after(vec![Fate::Taken, Fate::Failed(BusError::Throttled)]));
        assert_eq!(left.open, [3]);
        assert!(!left.after(vec![Fate::Failed(BusError::Throttled)]));
        let told = left.told().unwrap_err();
        assert_eq!(told.failed, [2, 3]);
        assert!(matches!(told.error, BusError::Invalid(_)), "the first one's reason: {told:?}");
    }

    fn fates() -> impl Strategy<Value = Fate> {
        prop_oneof![
            Just(Fate::Taken),
            Just(Fate::Failed(BusError::Throttled)),
            Just(Fate::Refused(BusError::Invalid(String::new()))),
            Just(Fate::Failed(BusError::Unavailable(String::new()))),
        ]
    }

    proptest! {
        /// Whatever each round brings.
        #[test]
        fn exactly_what_was_never_taken_is_told(
            count in 1usize..=10,
            rounds in prop::collection::vec(prop::collection::vec(fates(), 10), 1..5),
        ) {
            let mut left = Left::all(count);
            let mut taken = vec![false; count];
            for fates in rounds {
                let fates: Vec<Fate> = fates.into_iter().take(left.open.len()).collect();
                for (index, fate) in left.open.iter().zip(&fates) {
                    taken[*index] |= *fate == Fate::Taken;
                }
                left.after(fates);
            }
            let expected: Vec<usize> = (0..count).filter(|index| !taken[*index]).collect();
            let told = left.told().map_or_else(|error| error.failed, |()| Vec::new());
            prop_assert_eq!(told, expected);
        }
    }
}
