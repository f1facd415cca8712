//! Recorded requests and what they mean: one file each, run by a test, and sent by the demo.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A recorded request. Its headers are those that matter besides the signature, which is made when it is sent.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// The file's name.
    #[serde(skip)]
    pub name: String,
    /// What it shows, and where it comes from.
    pub about: String,
    /// Headers that count beside the signature: the delivery's id.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body, byte for byte.
    pub body: String,
    /// The instance's configuration.
    #[serde(default)]
    pub configuration: BTreeMap<String, String>,
    /// What must come of it, in order.
    pub changes: Vec<ExpectedChange>,
    /// The entries that become no change, by their place.
    #[serde(default)]
    pub skipped: Vec<usize>,
}

/// A change that an example must make.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedChange {
    /// The account, where the body names one.
    pub account: Option<String>,
    /// The object's type.
    #[serde(rename = "type")]
    pub object_type: String,
    /// The object's id.
    pub id: String,
    /// The contract's word for what happened.
    pub event: String,
    /// The date, e.g. `2018-08-20T15:29:06.123Z`.
    pub date: Option<String>,
    /// Whether a redelivery can be told from another change.
    #[serde(default = "yes")]
    pub identified: bool,
}

fn yes() -> bool {
    true
}

impl Example {
    pub(crate) fn from_yaml(name: &str, text: &str) -> Result<Self, String> {
        let example: Self = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        Ok(Self { name: name.into(), ..example })
    }
}
