//! Counting what is refused, in memory first: a stranger who sends a thousand bad requests a second must not cause a
//! thousand writes a second.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use events::Timestamp;
use platform::Platform;
use records::RecordError;
use records::refused::{self, Reason, Refusals, Sample};

/// Known connectors times reasons times days since the last flush: cannot grow beyond a few hundred.
type Counts = HashMap<(String, i64, Reason), Refusals>;

/// What was refused since the last flush.
#[derive(Debug, Default)]
pub struct RefusalCounts {
    counts: Mutex<Counts>,
}

impl RefusalCounts {
    /// Counts one. `connector` must be a known key; `detail` never holds a secret or the body.
    pub(crate) fn add(&self, connector: &str, at: Timestamp, reason: Reason, detail: String) {
        tracing::debug!(connector, ?reason, detail, "a webhook was not taken");
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts
            .entry((connector.to_owned(), at.day(), reason))
            .or_insert_with(Refusals::none)
            .add(Sample { at, detail });
    }

    pub(crate) async fn flush<P: Platform>(&self, platform: &P) -> Result<(), RecordError> {
        let counts = std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner));
        let mut outcome = Ok(());
        for ((connector, day, reason), refusals) in counts {
            if outcome.is_ok() {
                outcome = refused::add(platform, &connector, day, reason, &refusals).await;
                if outcome.is_ok() {
                    continue;
                }
            }
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            counts.entry((connector, day, reason)).or_insert_with(Refusals::none).merge(&refusals);
        }
        outcome
    }
}
