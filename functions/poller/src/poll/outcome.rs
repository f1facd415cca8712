//! What a poll came to, and whose fault it was where it came to little.

use std::collections::{BTreeMap, BTreeSet};

use events::Timestamp;
use records::RecordError;
use records::grants::Lapse;

/// What a poll of an instance came to.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// How many events were made durable. Nothing new: none, whatever the end.
    pub told: usize,
    /// How many records told nothing: without an id, or without a date among everything that the provider has.
    pub left_out: usize,
    /// The resources that were read to their end.
    pub finished: BTreeSet<String>,
    /// What went wrong, by resource; blank where it is the whole configuration. The others were polled all the same.
    pub troubles: BTreeMap<String, Trouble>,
    /// Whether the consent that it asked by has an end; `None`: it did not come to that.
    pub lasts: Option<Lasts>,
    /// How it ended.
    pub end: End,
}

/// How long a consent goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lasts {
    /// No end is known.
    On,
    /// Until then.
    Until(Lapse),
}

impl Outcome {
    /// Of a poll that came to nothing else.
    pub(super) fn ended(end: End) -> Self {
        Self { told: 0, left_out: 0, finished: BTreeSet::new(), troubles: BTreeMap::new(), lasts: None, end }
    }
}

/// How a poll ended.
#[derive(Clone, PartialEq, Debug)]
pub enum End {
    /// Every resource was asked for.
    Asked,
    /// Time ran out: another poll is worth while at once.
    More,
    /// Another worker has the polls, or has had them since they were read: until then nothing comes of another poll.
    Elsewhere {
        /// When the other's claim runs out; now, where it has none any more.
        until: Timestamp,
    },
    /// The provider wants this account to be left alone until then.
    PutOff {
        /// Until when.
        until: Timestamp,
    },
    /// Its polls fail, and this one's turn is left out; nothing was asked.
    Resting,
    /// Nothing helps but a new consent of the customer.
    Revoked,
    /// The instance has nothing to ask with, for this reason.
    NoCredential(String),
    /// There is nothing to poll.
    Unpolled(Unpolled),
    /// We failed: the next poll repeats it.
    Ours(RecordError),
}

/// Why there is nothing to poll.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unpolled {
    /// The instance was deleted, or was never to be polled.
    Deleted,
    /// It is disabled, or its events are off.
    Disabled,
    /// Its connector does not poll.
    Connector,
}

/// Why a resource was not polled to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The instance's configuration, or an address that is not for customers to ask.
    #[error("{0}")]
    Configuration(String),
    /// The provider does not take the credentials.
    #[error("the provider does not take the credentials")]
    Unauthorised,
    /// The provider, or the way to it.
    #[error("{0}")]
    Theirs(String),
    /// Us.
    #[error("our own failure: {0}")]
    Ours(String),
}
