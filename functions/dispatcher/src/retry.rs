//! When to try again: a pure function of the attempt, the answer and a random number.
//!
//! *Promise:* the first retry comes within seconds, the last about three days after the first attempt, and no wait is
//! shorter than what the receiver asked for (up to [`LONGEST`]). Jitter spreads what failed together.
//!
//! *The other side of it:* a notification can be three days late, so order is not kept across retries; and a receiver's
//! `Retry-After` of a month costs at most one extra step of [`LONGEST`].

use std::time::Duration;

use egress::RetryAfter;
use events::Timestamp;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// Seconds from one attempt to the next. Quick at first, because most failures are a deployment or a lost packet; then
/// slower, up to half a day, because what fails for hours needs a person. Together 75.7 hours: the old product's and the
/// Standard Webhooks schedules end at 73 and 75.6.
const DELAYS_S: [u64; 14] = [
    5,
    30,
    2 * MINUTE,
    10 * MINUTE,
    30 * MINUTE,
    HOUR,
    2 * HOUR,
    4 * HOUR,
    8 * HOUR,
    12 * HOUR,
    12 * HOUR,
    12 * HOUR,
    12 * HOUR,
    12 * HOUR,
];

/// The longest wait, also when the receiver asks for more.
pub const LONGEST: Duration = Duration::from_secs(12 * HOUR);

/// A wait is this much shorter or longer, at most: enough to spread a burst, little enough to predict.
const JITTER: f64 = 0.2;

/// What comes after a failed attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// Another attempt, after this long (whole seconds).
    After(Duration),
    /// None: the notification is parked.
    Park,
}

/// The retry schedule.
#[derive(Clone, Copy, Debug)]
pub struct RetryPolicy {
    delays_s: &'static [u64],
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { delays_s: &DELAYS_S }
    }
}

impl RetryPolicy {
    /// A schedule of these waits, in seconds.
    #[must_use]
    pub const fn new(delays_s: &'static [u64]) -> Self {
        Self { delays_s }
    }

    /// Attempts in all, the first included.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        u32::try_from(self.delays_s.len()).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// What comes after attempt number `attempt` (from 1) failed, where the receiver asked for `retry_after` and `random`
    /// is any 64 bits.
    #[must_use]
    pub fn next(&self, attempt: u32, retry_after: Option<RetryAfter>, random: u64, now: Timestamp) -> Next {
        let Some(base) = attempt.checked_sub(1).and_then(|index| self.delays_s.get(index as usize)) else {
            return Next::Park;
        };
        // 53 bits make every double in [0, 1) equally likely.
        let fraction = (random >> 11) as f64 / (1_u64 << 53) as f64;
        let seconds = (*base as f64 * (1.0 + JITTER * (2.0 * fraction - 1.0))).round() as u64;
        let asked = match retry_after {
            None => 0,
            Some(RetryAfter::Seconds(seconds)) => seconds,
            Some(RetryAfter::Date(date)) => date.since(now).as_millis().div_ceil(1000) as u64,
        };
        Next::After(Duration::from_secs(seconds.max(asked.min(LONGEST.as_secs())).max(1)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);

    fn asked() -> impl Strategy<Value = Option<RetryAfter>> {
        prop_oneof![
            Just(None),
            any::<u64>().prop_map(|s| Some(RetryAfter::Seconds(s))),
            any::<i64>().prop_map(|ms| Some(RetryAfter::Date(Timestamp::from_millis(ms)))),
        ]
    }

    #[test]
    fn the_schedule_is_the_documented_one() {
        let policy = RetryPolicy::default();
        let middle = 1 << 63;
        let waits: Vec<u64> = (1..policy.attempts())
            .map(|attempt| match policy.next(attempt, None, middle, NOW) {
                Next::After(wait) => wait.as_secs(),
                Next::Park => panic!("parked early"),
            })
            .collect();
        assert_eq!(waits, DELAYS_S);
        assert_eq!(policy.next(policy.attempts(), None, middle, NOW), Next::Park);
        assert_eq!(policy.attempts(), 15);
        assert_eq!(waits.iter().sum::<u64>(), 272_555);
    }

    proptest! {
        #[test]
        fn every_wait_is_near_its_step_or_what_the_receiver_asked_and_never_longer_than_the_longest(
            attempt in 1u32..15, retry_after in asked(), random: u64
        ) {
            let Next::After(wait) = RetryPolicy::default().next(attempt, retry_after, random, NOW) else {
                return Err(TestCaseError::fail("parked early"));
            };
            let base = DELAYS_S[attempt as usize - 1] as f64;
            prop_assert_eq!(wait.subsec_nanos(), 0);
            prop_assert!(wait.as_secs_f64() >= (base * 0.8).floor());
            prop_assert!(wait.as_secs_f64() <= (base * 1.2).ceil().max(LONGEST.as_secs_f64()));
            match retry_after {
                None => prop_assert!(wait.as_secs_f64() <= (base * 1.2).ceil()),
                Some(RetryAfter::Seconds(s)) => prop_assert!(wait.as_secs() >= s.min(LONGEST.as_secs())),
                Some(RetryAfter::Date(date)) => prop_assert!(wait >= date.since(NOW).min(LONGEST)),
            }
        }

        #[test]
        fn after_the_last_attempt_nothing_makes_another(attempt in 15u32.., retry_after in asked(), random: u64) {
            prop_assert_eq!(RetryPolicy::default().next(attempt, retry_after, random, NOW), Next::Park);
            prop_assert_eq!(RetryPolicy::default().next(0, retry_after, random, NOW), Next::Park);
        }
    }
}
