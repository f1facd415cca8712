//! A request to the listener, and the notification in it.

use axum::http::StatusCode;
use bytes::Bytes;
use events::Timestamp;
use serde::Deserialize;

use crate::listen::verdict::Verdicts;

/// A request, and how it was answered.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    /// When it came.
    pub(crate) at: Timestamp,
    /// Its notification's id: of the headers, else of the body, else empty.
    pub(crate) id: String,
    /// How many requests with this id have come, this one included; 0 for one that was refused.
    pub(crate) count: u32,
    /// Its signatures.
    pub(crate) verdicts: Verdicts,
    /// What it was answered.
    pub(crate) status: StatusCode,
    /// What it holds; `None`: not a notification.
    pub(crate) notification: Option<Notification>,
    /// Its body, as it came.
    pub(crate) body: Bytes,
}

/// As much of a notification as is shown. Read leniently: a listener shows also what is odd.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub(crate) struct Notification {
    /// E.g. `instance-523232-hubspot-events`.
    #[serde(default)]
    pub(crate) topic: String,
    /// What happened to whom.
    pub(crate) message: Message,
}

/// The message of a notification.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Message {
    /// The notification's id.
    #[serde(default)]
    pub(crate) event_id: String,
    /// The instance.
    pub(crate) instance_id: u64,
    /// Its name.
    #[serde(default)]
    pub(crate) instance_name: String,
    /// The changes.
    pub(crate) events: Vec<Told>,
}

/// One change.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Told {
    /// `CREATED`, `UPDATED`, `DELETED` or `UNKNOWN`.
    pub(crate) event_type: String,
    /// The kind of object.
    pub(crate) object_type: String,
    /// The object.
    pub(crate) object_id: String,
    /// When.
    #[serde(default)]
    pub(crate) date: String,
}

impl Notification {
    /// Reads a body.
    pub(crate) fn read(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }
}
