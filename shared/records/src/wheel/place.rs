//! When an instance is polled, and when a slot is due: functions of numbers.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use events::configuration::{POLLER_REFRESH_INTERVAL, RECONCILE_INTERVAL};
use events::{InstanceId, Timestamp, time::MINUTE_MS};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// How often an instance is polled: every so many minutes, 1 to 1440. A longer interval means that it is not polled, as the
/// old product's users wrote 999999999 for "off".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Minutes(u16);

/// A number of minutes that is no interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an interval is 1 to {} minutes", Minutes::LONGEST.0)]
pub struct NoInterval;

/// The old product's: 23 of its 27 polled elements had it.
const DEFAULT_MINUTES: u32 = 15;

impl Minutes {
    /// The longest: a day.
    pub const LONGEST: Self = Self(1440);

    /// How often an instance with this configuration is polled, if it is polled in turns; `None`: never.
    #[must_use]
    pub fn configured(configuration: &BTreeMap<String, String>) -> Option<Self> {
        let set =
            configuration.get(POLLER_REFRESH_INTERVAL).map(|minutes| minutes.trim()).filter(|set| !set.is_empty());
        // What is no number was let in by a version that did not check it.
        Self::new(set.and_then(|minutes| minutes.parse().ok()).unwrap_or(DEFAULT_MINUTES))
    }

    /// How often an instance with this configuration is polled beside its webhooks, where it has those; `None`: never.
    #[must_use]
    pub fn reconciling(configuration: &BTreeMap<String, String>) -> Option<Self> {
        Self::new(configuration.get(RECONCILE_INTERVAL)?.trim().parse().ok()?)
    }

    /// The interval of so many minutes; `None`: not polled.
    #[must_use]
    pub fn new(minutes: u32) -> Option<Self> {
        let minutes = u16::try_from(minutes).ok()?;
        (1..=Self::LONGEST.0).contains(&minutes).then_some(Self(minutes))
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// How long a turn takes.
    #[must_use]
    pub fn turn(self) -> Duration {
        Duration::from_secs(60 * u64::from(self.0))
    }

    /// The slot that is due in a minute since the epoch.
    #[must_use]
    pub fn slot(self, minute: i64) -> u16 {
        // Below the interval, which is a u16.
        u16::try_from(minute.rem_euclid(i64::from(self.0))).unwrap_or_default()
    }

    /// The slots that are due after the minute `after` up to and with `until`, with the minute that each is due in, in the
    /// order of minutes. However many minutes were missed, a slot is due once: in the last of its minutes up to `now`. So
    /// whoever looks at the minutes up to `now` piece by piece meets each slot once.
    pub fn due(self, after: i64, until: i64, now: i64) -> impl Iterator<Item = (u16, i64)> {
        let first = (now - i64::from(self.0)).max(after) + 1;
        (first..=until.min(now)).map(move |minute| (self.slot(minute), minute))
    }
}

impl TryFrom<u32> for Minutes {
    type Error = NoInterval;
    fn try_from(minutes: u32) -> Result<Self, NoInterval> {
        Self::new(minutes).ok_or(NoInterval)
    }
}

impl From<Minutes> for u32 {
    fn from(minutes: Minutes) -> Self {
        minutes.0.into()
    }
}

impl fmt::Display for Minutes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where in the wheels an instance's item is: kept with the instance, because the wheel may have more shards by the time
/// that it is to be removed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Place {
    /// Which wheel.
    pub minutes: Minutes,
    /// Which of its slots, below the interval.
    pub slot: u16,
    /// Which shard of the slot.
    pub shard: u32,
}

impl Place {
    /// The place of an instance in a wheel of `shards` shards: always the same, and evenly spread.
    #[must_use]
    pub fn of(instance: InstanceId, minutes: Minutes, shards: u32) -> Self {
        let [slot, shard, _] = hash(instance);
        let slot = u16::try_from(slot % u64::from(minutes.0)).unwrap_or_default();
        let shard = u32::try_from(shard % u64::from(shards.max(1))).unwrap_or_default();
        Self { minutes, slot, shard }
    }

    pub(super) fn partition(&self) -> String {
        format!("WHEEL#{}#{}#{}", self.minutes, self.slot, self.shard)
    }
}

/// The second of its minute in which an instance is polled, 0 to 59: always the same, and evenly spread within each slot.
#[must_use]
pub fn second(instance: InstanceId) -> u8 {
    let [.., second] = hash(instance);
    u8::try_from(second % 60).unwrap_or_default()
}

/// The time of a second of a minute since the epoch.
#[must_use]
pub fn time(minute: i64, second: u8) -> Timestamp {
    Timestamp::from_millis(minute.saturating_mul(MINUTE_MS).saturating_add(i64::from(second) * 1000))
}

/// Three numbers of an instance that have nothing to do with each other, so that the instances of one slot spread over its
/// shards and seconds as all instances do. Never to change: the items stay where they were put.
fn hash(instance: InstanceId) -> [u64; 3] {
    let mut hash = Sha256::new();
    hash.update(b"wheel");
    hash.update(instance.number().to_be_bytes());
    let hash = hash.finalize();
    let mut words = hash.chunks_exact(8).map(|word| word.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)));
    std::array::from_fn(|_| words.next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn id(bits: u32) -> InstanceId {
        InstanceId::from_random(bits)
    }

    fn minutes() -> impl Strategy<Value = Minutes> {
        (1_u32..=1440).prop_map(|minutes| Minutes::new(minutes).unwrap())
    }

    #[test]
    fn an_interval_is_a_minute_to_a_day_and_anything_else_is_off() {
        for off in [0, 1441, 65_537, 999_999_999, u32::MAX] {
            assert_eq!(Minutes::new(off), None, "{off}");
        }
        assert_eq!([1, 1440].map(|on| Minutes::new(on).unwrap().number()), [1, 1440]);
        assert!(serde_json::from_str::<Minutes>("1441").is_err());
    }

    #[test]
    fn places_are_where_they_always_were() {
        let place = |bits, minutes| {
            let Place { slot, shard, .. } = Place::of(id(bits), Minutes::new(minutes).unwrap(), 8);
            (slot, shard, second(id(bits)))
        };
        assert_eq!([place(1, 15), place(7, 1440), place(2_082_467_969, 60)], PLACED);
    }

    /// Computed apart from this code: `sha256(b"wheel" + id.to_bytes(4, "big"))`, its first three words.
    const PLACED: [(u16, u32, u8); 3] = [(14, 5, 10), (1158, 7, 22), (23, 4, 40)];

    #[test]
    fn slots_seconds_and_shards_are_even_also_together() {
        const INSTANCES: usize = 120_000;
        let even = |name: &str, counts: BTreeMap<(u16, u32, u8), usize>, places: usize| {
            // Six standard deviations: a bad hash is beyond it, and this one never is, as the ids are fixed.
            let mean = (INSTANCES / places) as f64;
            assert_eq!(counts.len(), places, "{name}");
            let off = counts.values().map(|count| (*count as f64 - mean).abs()).fold(0.0, f64::max);
            assert!(off < 6.0 * mean.sqrt(), "{name}: {off} off {mean}");
        };
        let mut counts: [BTreeMap<_, usize>; 4] = Default::default();
        for bits in 1..=u32::try_from(INSTANCES).unwrap() {
            let (place, second) = (Place::of(id(bits), Minutes::new(60).unwrap(), 8), second(id(bits)));
            let keys = [(place.slot, 0, 0), (0, place.shard, 0), (0, 0, second), (place.slot % 6, place.shard, second)];
            counts.iter_mut().zip(keys).for_each(|(counts, key)| *counts.entry(key).or_default() += 1);
        }
        let [slots, shards, seconds, together] = counts;
        even("slots", slots, 60);
        even("shards", shards, 8);
        even("seconds", seconds, 60);
        even("together", together, 6 * 8 * 60);
    }

    proptest! {
        #[test]
        fn a_place_is_within_its_wheel_and_survives_being_kept(bits: u32, minutes in minutes(), shards in 0_u32..200) {
            let place = Place::of(id(bits), minutes, shards);
            prop_assert!(place.slot < minutes.number() && place.shard < shards.max(1) && second(id(bits)) < 60);
            let kept = serde_json::to_string(&place).unwrap();
            prop_assert_eq!(serde_json::from_str::<Place>(&kept).unwrap(), place);
        }

        #[test]
        fn every_slot_comes_once_in_as_many_minutes_as_there_are_slots(minutes in minutes(), from in -3000_i64..30_000_000) {
            let slots: BTreeSet<u16> = (from..from + i64::from(minutes.number())).map(|m| minutes.slot(m)).collect();
            prop_assert_eq!(slots, (0..minutes.number()).collect());
        }

        #[test]
        fn in_time_a_minute_has_one_slot(minutes in minutes(), now in 0_i64..30_000_000) {
            prop_assert_eq!(minutes.due(now - 1, now, now).collect::<Vec<_>>(), [(minutes.slot(now), now)]);
        }

        #[test]
        fn however_many_minutes_were_missed_each_slot_of_theirs_is_due_once_whatever_the_pieces(
            minutes in minutes(),
            missed in 0_i64..4000,
            piece in 1_i64..200,
            now in 4000_i64..30_000_000,
        ) {
            let after = now - missed;
            let mut due: Vec<(u16, i64)> = Vec::new();
            let mut at = after;
            while at < now {
                let until = (at + piece).min(now);
                due.extend(minutes.due(at, until, now));
                at = until;
            }
            let wanted: BTreeMap<u16, i64> = (after + 1..=now).map(|minute| (minutes.slot(minute), minute)).collect();
            prop_assert_eq!(due.len(), wanted.len());
            prop_assert_eq!(due.into_iter().collect::<BTreeMap<_, _>>(), wanted, "the last minute of each");
        }
    }
}
