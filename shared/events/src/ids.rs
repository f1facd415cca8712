//! Ids that are the same whenever the same thing is meant.
//!
//! *Promise:* an [`EventId`] is equal on every retry, redelivery and re-poll of one change on one path, and a
//! [`NotificationId`] is equal on every attempt; both are functions of what they name, so no index is needed to find out
//! whether something was told before.
//!
//! Both are 120 bits in 20 characters of an alphabet that is URL-safe and sorts as the number does, so a notification
//! id, whose first 40 bits are a time, sorts by time wherever keys are sorted as bytes.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD_NO_PAD};
use base64::{alphabet, engine::DecodePaddingMode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::Timestamp;

/// The characters of base64url, in byte order.
const SORTED: &[u8; 64] = b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz";

/// 2020-01-01T00:00:00Z: 40 bits of milliseconds from here last until 2054; later (and earlier) times saturate.
const EPOCH_2020_MS: i64 = 1_577_836_800_000;
const TIME_BITS: u32 = 40;
const HASH_BITS: u32 = 80;

/// What was wrong with the text of an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not 20 characters of the alphabet.
    #[error("an event or notification id is 20 characters of A-Z a-z 0-9 - _")]
    Id120,
    /// Not a whole number in range.
    #[error("an instance id is a whole number between 1 and 2147483647")]
    Number,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Id120([u8; 20]);

impl Id120 {
    fn of(mut number: u128) -> Self {
        let mut text = [0; 20];
        for place in text.iter_mut().rev() {
            *place = SORTED[(number & 63) as usize];
            number >>= 6;
        }
        Self(text)
    }

    fn number(&self) -> u128 {
        self.0.iter().fold(0, |number, character| {
            let digit = SORTED.iter().position(|c| c == character).unwrap_or(0);
            number << 6 | digit as u128
        })
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    fn parse(text: &str) -> Result<Self, IdError> {
        let bytes: [u8; 20] = text.as_bytes().try_into().map_err(|_| IdError::Id120)?;
        if bytes.iter().all(|b| SORTED.contains(b)) { Ok(Self(bytes)) } else { Err(IdError::Id120) }
    }
}

/// Hashes parts so that no two lists of parts collide by moving a boundary: each is preceded by its length.
struct Parts(Sha256);

impl Parts {
    fn new(domain: &str) -> Self {
        let mut parts = Self(Sha256::new());
        parts.add(domain.as_bytes());
        parts
    }

    fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    fn top_bits(self, bits: u32) -> u128 {
        let digest = self.0.finalize();
        let mut first = [0; 16];
        first.copy_from_slice(&digest[..16]);
        u128::from_be_bytes(first) >> (128 - bits)
    }
}

macro_rules! id120 {
    ($name:ident) => {
        impl $name {
            /// The id's 20 characters.
            #[must_use]
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Id120::parse(text).map(Self)
            }
        }
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// One change, told by one path, for one instance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(Id120);
id120!(EventId);

impl EventId {
    /// The id of a change of `object_type`/`object_id` in `instance`, told apart from that object's other changes by
    /// `occurrence`: what the provider repeats when it redelivers (webhook), or the record's version (poll).
    #[must_use]
    pub fn of(instance: InstanceId, object_type: &str, object_id: &str, occurrence: &[impl AsRef<[u8]>]) -> Self {
        let mut parts = Parts::new("event");
        parts.add(&instance.number().to_be_bytes());
        parts.add(object_type.as_bytes());
        parts.add(object_id.as_bytes());
        for part in occurrence {
            parts.add(part.as_ref());
        }
        Self(Id120::of(parts.top_bits(120)))
    }

    /// The id of what a poll found: `version` names the object's state, and `deleted` whether that is to be gone. Never
    /// whether it was created or updated: that depends on where the poll stood, and a repeat may stand elsewhere. It is no
    /// webhook's id, whatever the version.
    #[must_use]
    pub fn of_version(instance: InstanceId, object_type: &str, object_id: &str, version: &[u8], deleted: bool) -> Self {
        let state: &[u8] = if deleted { b"deleted" } else { b"there" };
        let mut parts = Parts::new("version");
        parts.add(&instance.number().to_be_bytes());
        for part in [object_type.as_bytes(), object_id.as_bytes(), version, state] {
            parts.add(part);
        }
        Self(Id120::of(parts.top_bits(120)))
    }
}

/// One notification: 40 bits of time, then a hash of the events it holds, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NotificationId(Id120);
id120!(NotificationId);

impl NotificationId {
    /// The id of a notification of `events`, whose first is dated `time`. Never pass "now": a redelivery must make the
    /// same id.
    #[must_use]
    pub fn of<'a>(time: Timestamp, events: impl IntoIterator<Item = &'a EventId>) -> Self {
        let mut parts = Parts::new("notification");
        for event in events {
            parts.add(event.as_str().as_bytes());
        }
        let top = (1_i64 << TIME_BITS) - 1;
        let millis = time.as_millis().saturating_sub(EPOCH_2020_MS).clamp(0, top);
        let number = (millis.unsigned_abs() as u128) << HASH_BITS | parts.top_bits(HASH_BITS);
        Self(Id120::of(number))
    }

    /// The time within the id: the first event's date, held between 2020 and 2054.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        let millis = (self.0.number() >> HASH_BITS) as i64;
        Timestamp::from_millis(EPOCH_2020_MS + millis)
    }

    /// The numeric `id` of the old envelope: grows with time, stays below 2⁵³ so that every JSON reader holds it
    /// exactly. A label: two notifications may share one, so never a key.
    #[must_use]
    pub fn label(&self) -> u64 {
        ((self.0.number() >> (HASH_BITS - 12)) as u64) & ((1 << 52) - 1)
    }

    /// One of `shards` numbers, spread evenly by the id's hash.
    #[must_use]
    pub fn shard(&self, shards: u32) -> u32 {
        (self.0.number() as u32) % shards
    }
}

/// A connector instance: one customer's account at one provider. A random number below 2³¹ (old clients read it as a
/// 32-bit integer), never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct InstanceId(u32);

/// Base64 as a URL carries it: written without padding, read with or without (trailing bits must be zero).
const PATH_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl InstanceId {
    /// A new id from 32 random bits.
    #[must_use]
    pub fn from_random(bits: u32) -> Self {
        Self((bits & 0x7fff_ffff).max(1))
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The last part of the instance's webhook URL: base64 of the decimal number, without padding.
    #[must_use]
    pub fn to_path(self) -> String {
        STANDARD_NO_PAD.encode(self.0.to_string())
    }

    /// Reads what [`Self::to_path`] writes; padding is accepted too (the old product used it).
    ///
    /// # Errors
    /// [`IdError::Number`] when it is not base64 of an instance id.
    pub fn from_path(segment: &str) -> Result<Self, IdError> {
        let decoded = PATH_BASE64.decode(segment).map_err(|_| IdError::Number)?;
        std::str::from_utf8(&decoded).map_err(|_| IdError::Number)?.parse()
    }
}

impl TryFrom<u32> for InstanceId {
    type Error = IdError;
    fn try_from(number: u32) -> Result<Self, IdError> {
        if number == 0 || number > 0x7fff_ffff { Err(IdError::Number) } else { Ok(Self(number)) }
    }
}

impl From<InstanceId> for u32 {
    fn from(id: InstanceId) -> Self {
        id.0
    }
}

impl FromStr for InstanceId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(IdError::Number);
        }
        text.parse::<u32>().map_err(|_| IdError::Number)?.try_into()
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An account of Pollhook itself: who owns instances. Its number is the contract's `accountId`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccountId(pub u32);

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn event(n: u32) -> EventId {
        EventId::of(InstanceId::from_random(1), "contacts", &n.to_string(), &["x"])
    }

    #[test]
    fn moving_a_boundary_between_parts_makes_another_id() {
        let instance = InstanceId::from_random(7);
        let ids = [
            EventId::of(instance, "ab", "c", &["d"]),
            EventId::of(instance, "a", "bc", &["d"]),
            EventId::of(instance, "a", "b", &["cd"]),
            EventId::of(instance, "a", "b", &["c", "d"]),
        ];
        for (i, a) in ids.iter().enumerate() {
            assert!(ids.iter().skip(i + 1).all(|b| a != b));
        }
    }

    #[test]
    fn a_version_s_id_changes_with_all_that_it_names_and_is_no_webhook_s() {
        let (a, b) = (InstanceId::from_random(7), InstanceId::from_random(8));
        let ids = [
            EventId::of_version(a, "contacts", "1", b"v", false),
            EventId::of_version(b, "contacts", "1", b"v", false),
            EventId::of_version(a, "accounts", "1", b"v", false),
            EventId::of_version(a, "contacts", "2", b"v", false),
            EventId::of_version(a, "contacts", "1", b"w", false),
            EventId::of_version(a, "contacts", "1", b"v", true),
            EventId::of(a, "contacts", "1", &["v", "there"]),
            EventId::of(a, "contacts", "1", &["v", "deleted"]),
        ];
        for (i, one) in ids.iter().enumerate() {
            assert!(ids.iter().skip(i + 1).all(|other| one != other));
        }
        assert_eq!(ids[0], EventId::of_version(a, "contacts", "1", b"v", false));
    }

    #[test]
    fn an_instance_path_is_read_with_and_without_padding() {
        let id: InstanceId = "20931".parse().unwrap();
        assert_eq!(id.to_path(), "MjA5MzE");
        assert_eq!(InstanceId::from_path("MjA5MzE="), Ok(id));
        assert_eq!(InstanceId::from_path("MjA5MzE"), Ok(id));
        for bad in ["", "*", "MA", "MjA5MzE==", "LTE", "OTk5OTk5OTk5OTk", "KzE"] {
            assert_eq!(InstanceId::from_path(bad), Err(IdError::Number), "{bad}");
        }
    }

    #[test]
    fn times_outside_2020_to_2054_saturate() {
        let early = NotificationId::of(Timestamp::from_millis(0), [&event(1)]);
        assert_eq!(early.time(), Timestamp::from_millis(EPOCH_2020_MS));
        let late = NotificationId::of(Timestamp::from_millis(i64::MAX), [&event(1)]);
        assert!(late > early);
    }

    proptest! {
        #[test]
        fn notification_ids_sort_as_their_times(a in EPOCH_2020_MS..EPOCH_2020_MS + (1 << 40), b in EPOCH_2020_MS..EPOCH_2020_MS + (1 << 40)) {
            let (first, second) = (event(1), event(2));
            let x = NotificationId::of(Timestamp::from_millis(a), [&first]);
            let y = NotificationId::of(Timestamp::from_millis(b), [&second]);
            prop_assert_eq!(x.time().as_millis(), a);
            if a != b {
                prop_assert_eq!(a < b, x.as_str() < y.as_str());
                prop_assert_eq!(a < b, x < y);
                prop_assert!(x.label() != y.label());
            }
            prop_assert_eq!(x.as_str().parse::<NotificationId>(), Ok(x));
        }

        #[test]
        fn any_text_is_read_as_an_id_or_refused(text in ".{0,30}") {
            if let Ok(id) = text.parse::<EventId>() {
                prop_assert_eq!(id.as_str(), text.as_str());
            }
            let _ = InstanceId::from_path(&text);
            let _ = text.parse::<InstanceId>();
        }
    }
}
