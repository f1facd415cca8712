//! Entries of a publish that the bus does not take: what EventBridge answers then, and the emulators never do.
//!
//! The doomed entries are taken out of the request before it is forwarded, and their failures put into the answer.

use platform::BusError;
use serde_json::{Value, json};

/// Which entries are not taken, by detail type, and with which error code.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doomed(Vec<(String, &'static str)>);

/// A publish of which some entries are doomed.
#[derive(Debug)]
pub(crate) struct Part {
    /// The body without them; `None` when nothing is left.
    pub(crate) body: Option<Vec<u8>>,
    /// For each entry: why it is not taken.
    fates: Vec<Option<&'static str>>,
}

impl Doomed {
    pub(crate) fn add(&mut self, detail_type: &str, error: &BusError) {
        let code = match error {
            BusError::Throttled => "ThrottlingException",
            BusError::Unavailable(_) => "InternalFailure",
            BusError::Invalid(_) => panic!("a reason that no bus has of its own"),
        };
        self.0.retain(|(of, _)| of != detail_type);
        self.0.push((detail_type.to_owned(), code));
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// `None` when none of the request's entries is doomed, or it is no publish.
    pub(crate) fn part(&self, head: &str, body: &[u8]) -> Option<Part> {
        if self.0.is_empty() || !head.contains("AWSEvents.PutEvents") {
            return None;
        }
        let mut request: Value = serde_json::from_slice(body).ok()?;
        let entries = request["Entries"].as_array_mut()?;
        let of =
            |entry: &Value| self.0.iter().find(|(of, _)| entry["DetailType"] == of.as_str()).map(|(_, code)| *code);
        let fates: Vec<Option<&'static str>> = entries.iter().map(of).collect();
        if fates.iter().all(Option::is_none) {
            return None;
        }
        entries.retain(|entry| of(entry).is_none());
        let nothing_left = entries.is_empty();
        Some(Part { body: (!nothing_left).then(|| request.to_string().into_bytes()), fates })
    }
}

impl Part {
    /// The answer's body, given that to what was forwarded.
    ///
    /// # Panics
    /// When that is no answer to a publish.
    pub(crate) fn answer(&self, forwarded: Option<&[u8]>) -> String {
        let forwarded: Value = forwarded.map_or_else(|| json!({}), |body| serde_json::from_slice(body).expect("JSON"));
        let mut taken = forwarded["Entries"].as_array().cloned().unwrap_or_default().into_iter();
        let fate = |fate: &Option<&str>| match fate {
            Some(code) => json!({"ErrorCode": code, "ErrorMessage": "made up"}),
            None => taken.next().expect("an answer to each entry"),
        };
        let entries: Vec<Value> = self.fates.iter().map(fate).collect();
        let failed = entries.iter().filter(|entry| entry.get("ErrorCode").is_some()).count();
        json!({"FailedEntryCount": failed, "Entries": entries}).to_string()
    }
}
