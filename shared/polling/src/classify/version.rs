//! What names an object's state.

use events::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What names an object's state: equal for the same state, however often and whenever it is read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Version([u8; 16]);

impl Version {
    /// A version that the provider names.
    #[must_use]
    pub fn named(version: &str) -> Self {
        Self::of(&Sha256::new_with_prefix(b"named").chain_update(version.as_bytes()))
    }

    /// The date of the last change.
    #[must_use]
    pub fn dated(at: Timestamp) -> Self {
        Self::of(&Sha256::new_with_prefix(b"dated").chain_update(at.as_millis().to_be_bytes()))
    }

    /// The record as it is, the order of its fields aside, and a date that alone would not tell two states apart.
    #[must_use]
    pub fn content(at: Option<Timestamp>, record: &Value) -> Self {
        let mut hash = Sha256::new_with_prefix(b"content");
        hash.update(at.map_or(i64::MIN, Timestamp::as_millis).to_be_bytes());
        add(&mut hash, record);
        Self::of(&hash)
    }

    /// The same as a change since a cursor: what returns to an earlier state is another change.
    #[must_use]
    pub fn since(self, cursor: &str) -> Self {
        Self::of(&Sha256::new_with_prefix(b"since").chain_update(self.0).chain_update(cursor))
    }

    /// The version's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    fn of(hash: &Sha256) -> Self {
        let digest = hash.clone().finalize();
        let mut first = [0; 16];
        first.copy_from_slice(&digest[..16]);
        Self(first)
    }
}

/// Adds a value so that no two values add the same. Recurses as deep as the value, which its reader limits.
fn add(hash: &mut Sha256, value: &Value) {
    let mut text = |kind: u8, text: &str| {
        hash.update([kind]);
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    };
    match value {
        Value::Null => text(0, ""),
        Value::Bool(truth) => text(1, if *truth { "t" } else { "f" }),
        Value::Number(number) => text(2, &number.to_string()),
        Value::String(string) => text(3, string),
        Value::Array(items) => {
            text(4, &items.len().to_string());
            for item in items {
                add(hash, item);
            }
        }
        Value::Object(fields) => {
            text(5, &fields.len().to_string());
            // Whether the map is sorted is a feature that any crate can switch.
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            for (name, field) in fields {
                hash.update((name.len() as u64).to_be_bytes());
                hash.update(name);
                add(hash, field);
            }
        }
    }
}
