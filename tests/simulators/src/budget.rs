//! How many requests a provider allows in a time.

use std::collections::VecDeque;
use std::time::Duration;

use events::Timestamp;

/// At most so many requests in any window of this length of the provider's clock.
#[derive(Debug)]
pub(crate) struct Budget {
    /// How many.
    pub(crate) most: usize,
    /// In which time.
    pub(crate) window: Duration,
    spent: VecDeque<Timestamp>,
}

impl Budget {
    pub(crate) const fn new(most: usize, window: Duration) -> Self {
        Self { most, window, spent: VecDeque::new() }
    }

    /// How many requests are left at `now`.
    pub(crate) fn left(&mut self, now: Timestamp) -> usize {
        while self.spent.front().is_some_and(|at| now.since(*at) >= self.window) {
            self.spent.pop_front();
        }
        self.most.saturating_sub(self.spent.len())
    }

    /// Counts a request at `now`.
    pub(crate) fn spend(&mut self, now: Timestamp) {
        self.spent.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_counted_for_as_long_as_the_window() {
        let mut budget = Budget::new(2, Duration::from_secs(10));
        let at = Timestamp::from_seconds;
        budget.spend(at(0));
        budget.spend(at(4));
        assert_eq!(budget.left(at(9)), 0);
        assert_eq!(budget.left(at(10)), 1);
        assert_eq!(budget.left(at(14)), 2);
    }
}
