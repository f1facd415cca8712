//! What was published for flows.

use events::{InstanceId, Timestamp, flow};
use platform::Entry;
use serde_json::Value;

/// An entry that the bus took.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Published {
    /// Of which instance.
    pub instance: InstanceId,
    /// Of which notification.
    pub notification: String,
    /// Which event.
    pub event: String,
    /// Of which object.
    pub object: String,
    /// When it happened.
    pub time: Timestamp,
}

impl Published {
    pub(crate) fn read(entry: &Entry) -> Self {
        assert_eq!((entry.source.as_str(), entry.detail_type.as_str()), (flow::SOURCE, flow::DETAIL_TYPE));
        let detail: Value = serde_json::from_str(&entry.detail).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            instance: detail["instanceId"].to_string().parse().unwrap(),
            notification: text(&detail["notificationId"]),
            event: text(&detail["eventId"]),
            object: text(&detail["event"]["objectId"]),
            time: entry.time,
        }
    }
}
