//! How many requests an account takes in how long, kept by who asks.
//!
//! *Promise:* in no span of the budget's seconds, wherever it begins, are there more requests than it says; and none waits
//! longer than that needs. A bucket of tokens would let through twice as many where it had been full.

use std::collections::VecDeque;
use std::time::Duration;

use events::Timestamp;
use polling::definition::Budget;

/// The last requests of an account, and those that wait for their time.
#[derive(Debug, Default)]
pub(crate) struct Window {
    granted: VecDeque<Timestamp>,
}

impl Window {
    /// When a request may be sent that somebody wants to send `now`; that time is then taken. `None`: not before `until`.
    pub(crate) fn take(&mut self, budget: Budget, now: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let span = Duration::from_secs(budget.seconds.into());
        while self.granted.front().is_some_and(|at| at.plus(span) <= now) {
            self.granted.pop_front();
        }
        let requests = usize::try_from(budget.requests).unwrap_or(usize::MAX).max(1);
        let at_its_time = self.granted.len().checked_sub(requests).and_then(|index| self.granted.get(index));
        let at = at_its_time.map_or(now, |at| at.plus(span).max(now));
        (at < until).then(|| {
            self.granted.push_back(at);
            at
        })
    }

    /// Whether nothing of it counts any more.
    pub(crate) fn is_over(&self, budget: Budget, now: Timestamp) -> bool {
        let span = Duration::from_secs(budget.seconds.into());
        self.granted.back().is_none_or(|at| at.plus(span) <= now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn second(n: i64) -> Timestamp {
        Timestamp::from_seconds(1_790_000_000 + n)
    }

    #[test]
    fn a_budget_goes_at_once_and_what_is_beyond_it_waits() {
        let mut window = Window::default();
        let budget = Budget { requests: 2, seconds: 10 };
        let taken: Vec<Option<Timestamp>> = (0..6).map(|_| window.take(budget, second(0), second(20))).collect();
        assert_eq!(
            taken,
            [0, 0, 10, 10].map(|at| Some(second(at))).into_iter().chain([None, None]).collect::<Vec<_>>()
        );
        assert!(!window.is_over(budget, second(19)));
        assert!(window.is_over(budget, second(20)));
        assert_eq!(window.take(budget, second(25), second(30)), Some(second(25)));
    }

    proptest! {
        #[test]
        fn no_span_holds_more_than_the_budget_and_nobody_waits_without_need(
            requests in 1_u32..8,
            seconds in 1_u32..5,
            wanted in proptest::collection::vec((0_i64..1500, 0_u64..20_000), 1..80),
        ) {
            let budget = Budget { requests, seconds };
            let (mut window, mut now, mut granted) = (Window::default(), second(0), Vec::new());
            for (passes, patience) in wanted {
                now = Timestamp::from_millis(now.as_millis() + passes);
                let until = now.plus(Duration::from_millis(patience));
                // The first time that breaks no span, given those before it.
                let span = i64::from(seconds) * 1000;
                let fits = |at: i64| granted.iter().filter(|before: &&i64| **before > at - span).count() < requests as usize;
                let first = granted.iter().map(|before| before + span).chain([now.as_millis()])
                    .filter(|at| *at >= now.as_millis() && fits(*at)).min();
                let taken = window.take(budget, now, until).map(Timestamp::as_millis);
                prop_assert_eq!(taken, first.filter(|at| *at < until.as_millis()));
                granted.extend(taken);
            }
            for at in &granted {
                let within = granted.iter().filter(|other| (*at..*at + i64::from(seconds) * 1000).contains(other)).count();
                prop_assert!(within <= requests as usize);
            }
        }
    }
}
