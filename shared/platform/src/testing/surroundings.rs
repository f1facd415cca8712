//! Time that a test turns, randomness that a seed decides.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use events::Timestamp;

use super::lock;
use crate::{Clock, Random};

/// A clock that stands still until turned. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<Timestamp>>);

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(now)))
    }

    /// Turns it forward.
    pub fn advance(&self, duration: Duration) {
        let mut now = lock(&self.0);
        *now = now.plus(duration);
    }

    /// Turns it to `now`, backward too.
    pub fn set(&self, now: Timestamp) {
        *lock(&self.0) = now;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *lock(&self.0)
    }
}

/// Steps the generator and gives its next 64 bits: splitmix64, <https://prng.di.unimi.it/splitmix64.c>.
pub(super) fn splitmix64(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The same bits for the same seed. Clones draw from the same stream.
#[derive(Clone, Debug)]
pub struct SeededRandom(Arc<Mutex<u64>>);

impl SeededRandom {
    /// The stream of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(seed)))
    }
}

impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = lock(&self.0);
        for chunk in bytes.chunks_mut(8) {
            let bits = splitmix64(&mut state).to_le_bytes();
            chunk.copy_from_slice(&bits[..chunk.len()]);
        }
    }
}
