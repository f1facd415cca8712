//! Counting what is refused, in memory first: a stranger who sends a thousand bad requests a second must not cause a
//! thousand writes a second.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use events::Timestamp;
use platform::Platform;
use records::RecordError;
use records::refused::{self, Reason, Refusals, Sample};

/// Known connectors times reasons times days since the last flush: cannot grow beyond a few hundred.
type Counts = HashMap<(String, i64, Reason), Refusals>;

/// Where nobody flushes by the clock, it is done with a request, and then at most this often.
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// What was refused since the last flush.
#[derive(Debug, Default)]
pub struct RefusalCounts {
    counts: Mutex<Counts>,
    /// When the last flush began that was asked for by [`RefusalCounts::due`].
    last: Mutex<Option<Timestamp>>,
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

    /// Whether it is time to flush; if so, the next time is a while from now.
    pub(crate) fn due(&self, now: Timestamp) -> bool {
        let any = !self.counts.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let due = due(any, *last, now);
        if due {
            *last = Some(now);
        }
        due
    }

    pub(crate) async fn flush<P: Platform>(&self, platform: &P) -> Result<(), RecordError> {
        let counts = std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner));
        let mut taken = Taken { from: self, counts };
        while let Some((key, refusals)) = taken.counts.iter().next() {
            let ((connector, day, reason), key) = (key, key.clone());
            refused::add(platform, connector, *day, *reason, refusals).await?;
            taken.counts.remove(&key);
        }
        Ok(())
    }
}

fn due(any: bool, last: Option<Timestamp>, now: Timestamp) -> bool {
    // A clock that was set back must not end it.
    any && last.is_none_or(|last| now < last || now.since(last) >= FLUSH_EVERY)
}

/// What is being written. What is left when this is dropped, by an error or because a flush was given up, stays counted.
struct Taken<'a> {
    from: &'a RefusalCounts,
    counts: Counts,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut counts = self.from.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, refusals) in self.counts.drain() {
            counts.entry(key).or_insert_with(Refusals::none).merge(&refusals);
        }
    }
}

#[cfg(test)]
mod tests {
    use platform::TableError;
    use platform::testing::MemoryPlatform;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);

    fn counts() -> RefusalCounts {
        let counts = RefusalCounts::default();
        for connector in ["hubspot", "stripe"] {
            counts.add(connector, NOW, Reason::UnknownAccount, "no such portal".into());
        }
        counts
    }

    async fn written(platform: &MemoryPlatform) -> u64 {
        let mut count = 0;
        for connector in ["hubspot", "stripe"] {
            count +=
                refused::list(platform, connector).await.unwrap().iter().map(|line| line.refusals.count).sum::<u64>();
        }
        count
    }

    #[test]
    fn it_is_time_when_there_is_something_and_the_last_time_is_a_second_ago() {
        let later = |ms| NOW.plus(Duration::from_millis(ms));
        assert!(due(true, None, NOW) && !due(false, None, NOW));
        assert!(due(true, Some(NOW), later(1000)) && !due(true, Some(NOW), later(999)));
        assert!(!due(false, Some(NOW), later(5000)));
        assert!(due(true, Some(later(1)), NOW));
    }

    #[test]
    fn a_flood_of_refusals_asks_for_one_flush_a_second() {
        let counts = counts();
        let asked = (0..3000).filter(|ms| counts.due(NOW.plus(Duration::from_millis(*ms)))).count();
        assert_eq!(asked, 3);
    }

    #[tokio::test]
    async fn what_could_not_be_written_stays_counted_and_nothing_is_counted_twice() {
        let platform = MemoryPlatform::new(NOW);
        let counts = counts();
        platform.table().fail_next_read(TableError::Throttled);
        assert!(counts.flush(&platform).await.is_err());
        assert_eq!(written(&platform).await, 0);
        counts.flush(&platform).await.unwrap();
        counts.flush(&platform).await.unwrap();
        assert_eq!(written(&platform).await, 2);
    }

    /// Lambda's function gives a flush up that takes too long.
    #[tokio::test]
    async fn what_a_flush_that_was_given_up_did_not_write_stays_counted() {
        let platform = MemoryPlatform::new(NOW);
        let counts = counts();
        let taken = Taken { from: &counts, counts: std::mem::take(&mut *counts.counts.lock().unwrap()) };
        counts.add("hubspot", NOW, Reason::UnknownAccount, "another".into());
        drop(taken);
        counts.flush(&platform).await.unwrap();
        assert_eq!(written(&platform).await, 3);
    }
}
