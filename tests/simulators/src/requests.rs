//! What a simulator was asked, for tests to read.

use events::Timestamp;
use http::Method;

use crate::exchange::{Authorization, Request};

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was answered with this status.
    Answered(u16),
    /// The connection was closed without an answer.
    HungUp,
}

/// One request that was received.
#[derive(Clone, Debug)]
pub struct Served {
    /// When, by the provider's clock.
    pub at: Timestamp,
    /// The method.
    pub method: Method,
    /// The path, as it was sent.
    pub path: String,
    /// The whole request.
    pub request: Request,
    /// What it said of its sender.
    pub authorization: Authorization,
    /// What became of it.
    pub outcome: Outcome,
}

impl Served {
    /// The status of the answer; `None`: there was none.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self.outcome {
            Outcome::Answered(status) => Some(status),
            Outcome::HungUp => None,
        }
    }
}
