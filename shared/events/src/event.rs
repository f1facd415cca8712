//! One change in a customer's account.

use serde::{Deserialize, Serialize};

use crate::{EventId, Timestamp};

/// What happened to the object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum EventType {
    /// It is new (or has reappeared).
    Created,
    /// It changed.
    Updated,
    /// It is gone.
    Deleted,
    /// Something happened that the provider's notice does not let us call by one of the others.
    Unknown,
}

impl EventType {
    /// The contract's word, e.g. `CREATED`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "CREATED",
            Self::Updated => "UPDATED",
            Self::Deleted => "DELETED",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// Reads the contract's word in any case; anything else is [`EventType::Unknown`].
    #[must_use]
    pub fn from_word(word: &str) -> Self {
        [Self::Created, Self::Updated, Self::Deleted]
            .into_iter()
            .find(|t| word.eq_ignore_ascii_case(t.as_str()))
            .unwrap_or(Self::Unknown)
    }
}

/// One change, normalised.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// The same on every retry and redelivery.
    pub id: EventId,
    /// The contract's word for the kind of object, e.g. `contacts`.
    #[serde(rename = "type")]
    pub object_type: String,
    /// The provider's id of the object, always text.
    #[serde(rename = "object")]
    pub object_id: String,
    /// What happened.
    #[serde(rename = "event")]
    pub event_type: EventType,
    /// When it happened by the provider's clock, where the provider says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub date: Option<Timestamp>,
}
