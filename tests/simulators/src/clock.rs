//! The provider's own clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use events::Timestamp;

/// What a simulator takes for now, and nothing else does: it stands still until a test turns it.
///
/// A provider's clock is not ours: [`Clock::skew`] lets it go before or behind the test's, and every time that the
/// simulator tells (the `Date` header, modification times, the expiry of its tokens) is this clock's.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Hands>);

#[derive(Debug)]
struct Hands {
    now_ms: AtomicI64,
    skew_ms: AtomicI64,
}

impl Clock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self(Arc::new(Hands { now_ms: AtomicI64::new(now.as_millis()), skew_ms: AtomicI64::new(0) }))
    }

    /// What the provider takes for now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let (now, skew) = (self.0.now_ms.load(Ordering::SeqCst), self.0.skew_ms.load(Ordering::SeqCst));
        Timestamp::from_millis(now.saturating_add(skew))
    }

    /// Turns the clock to `now` of the test's; the provider's skew is added to it.
    pub fn set(&self, now: Timestamp) {
        self.0.now_ms.store(now.as_millis(), Ordering::SeqCst);
    }

    /// Turns the clock by `duration`.
    pub fn advance(&self, duration: Duration) {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        self.0.now_ms.fetch_add(millis, Ordering::SeqCst);
    }

    /// How far the provider's clock is before (or, negative, behind) the test's, in milliseconds.
    pub fn skew(&self, millis: i64) {
        self.0.skew_ms.store(millis, Ordering::SeqCst);
    }
}
