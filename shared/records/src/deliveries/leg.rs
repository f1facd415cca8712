//! One way that a notification goes, and how it fares on it.

use events::Timestamp;
use events::message::Attempt;
use serde::{Deserialize, Serialize};

/// Attempts kept in a record, the newest ones.
const ATTEMPTS_KEPT: usize = 50;

/// How a leg stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// A further attempt is due at this time.
    Waiting {
        /// When.
        next_at: Timestamp,
    },
    /// The callback answered 2xx; the bus took every event.
    Told {
        /// When.
        at: Timestamp,
    },
    /// No attempt is due: the notification waits for its release.
    Parked {
        /// Since when; its day is part of the `PENDING` item's place.
        at: Timestamp,
    },
    /// The instance has no callback: the notification can be read, and is not posted.
    Kept,
    /// Nothing more will be sent, and this is why.
    Dropped {
        /// Why.
        reason: String,
    },
}

/// One attempt and how it ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Attempted {
    /// When it began.
    pub at: Timestamp,
    /// Which round.
    pub round: u32,
    /// Which attempt within the round, from 1.
    pub attempt: u32,
    /// The callback's status, when it answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How long it took, in milliseconds.
    pub latency_ms: u64,
    /// Why it failed, when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What became of telling the callback, or the event bus.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Leg {
    /// Raised by each release.
    pub round: u32,
    /// The last attempt made in this round; 0: none yet.
    pub attempt: u32,
    /// How it stands.
    pub state: State,
    /// The attempts, oldest first, of all rounds.
    pub attempts: Vec<Attempted>,
    /// Which of the notification's events are still owed, counting from 0; empty: all. A bus takes some and not others, a
    /// callback all or none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owed: Vec<usize>,
}

impl Leg {
    /// A leg whose first attempt is due.
    #[must_use]
    pub fn due(next_at: Timestamp) -> Self {
        Self { round: 0, attempt: 0, state: State::Waiting { next_at }, attempts: Vec::new(), owed: Vec::new() }
    }

    /// Whether something is still owed: nothing has ended the leg.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Waiting { .. } | State::Parked { .. })
    }

    /// Since when it is parked, if it is.
    #[must_use]
    pub fn parked_at(&self) -> Option<Timestamp> {
        match self.state {
            State::Parked { at } => Some(at),
            _ => None,
        }
    }

    /// Whether the attempt is still to be made: the record counts less than it, and nothing has ended the leg.
    #[must_use]
    pub fn awaits(&self, attempt: &Attempt) -> bool {
        self.is_open() && (self.round, self.attempt) < (attempt.round, attempt.attempt)
    }

    /// Notes an attempt.
    pub fn note(&mut self, attempted: Attempted) {
        (self.round, self.attempt) = (attempted.round, attempted.attempt);
        self.keep(attempted);
    }

    /// Keeps an attempt that somebody else's count has passed already.
    pub fn keep(&mut self, attempted: Attempted) {
        if self.attempts.len() == ATTEMPTS_KEPT {
            self.attempts.remove(0);
        }
        self.attempts.push(attempted);
    }
}
