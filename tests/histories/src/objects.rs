//! The judge of providers that show objects by the time of their last change.
//!
//! *Must be told:* a version that is an object's last as a poll reads everything, while nothing changes or comes to be
//! shown, at that poll or before; if it was made after the instance, its moment was over on the clock that the provider shows
//! (whole seconds), and the provider shows it no [later](Rules::latest) after its date than the window reaches.
//!
//! *May be told:* any other version from the second before the instance on. The provider shows an object's last version
//! alone: what a later one replaced before a poll came is hidden by the API. Of an object that was made and deleted in between
//! there is its end. When the instance was made our clock says, and when all else happened the provider's: where they are apart,
//! it begins at that time of the provider's.
//!
//! *Must not be told:* what never was, or not yet; older versions; a version again, unless the poll that told it last
//! died or met a failure of our own; one version by two ids, or two by one; something else than what happened.

use std::collections::BTreeMap;
use std::time::Duration;

use events::{Event, EventId, EventType, Timestamp};
use serde_json::Value;

use crate::subject::{Evidence, Poll, Telling};

/// What an instance that was just made may be told beside what came after it.
const BEFORE: Duration = Duration::from_secs(1);

/// An object's type, as events have it, and its id.
pub type Object = (String, String);

/// A version of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version {
    /// Whose.
    pub object: Object,
    /// What names it in what is told.
    pub key: String,
    /// How the provider dates it.
    pub date: Timestamp,
    /// When it was made.
    pub at: Timestamp,
    /// From when on the provider shows it.
    pub shown: Timestamp,
    /// Until its moment is over another could have the same name.
    pub over: Timestamp,
    /// Whether the object is gone.
    pub deleted: bool,
    /// Whether the object is new.
    pub first: bool,
    /// Whether no API shows the object from then on, nor that it is gone.
    pub hidden: bool,
}

/// What happened to objects.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    /// In order; of each object in the order in which they are shown.
    pub versions: Vec<Version>,
    /// How many ids the test has made up.
    pub numbers: u64,
}

/// How a provider's objects are judged.
pub struct Rules {
    /// Whether records say when they changed. Else all that is listed is new the first time, whenever it was made, and
    /// nothing is too late.
    pub dated: bool,
    /// How late after its date a version may be shown. The window begins an overlap before the position, that moment
    /// included, and the position is the date of what was told. Where that was told once its moment was over, it is by two
    /// moments older than the first that the next poll may find: by these a version may be later than the overlap.
    pub latest: Duration,
    /// What names the version that an event tells.
    pub key: fn(&Event, &Value) -> String,
    /// Whether the provider hides what is gone from this poll: it showed more than fits into its answer.
    pub hides_deleted: fn(&Poll) -> bool,
}

impl Objects {
    /// The objects of a type whose last version is so, and is shown: while a change is under way nobody makes another.
    #[must_use]
    pub fn those(&self, object_type: &str, deleted: bool, now: Timestamp) -> Vec<&Version> {
        let mut last: BTreeMap<&Object, &Version> = BTreeMap::new();
        for version in self.versions.iter().filter(|version| version.object.0 == object_type) {
            last.insert(&version.object, version);
        }
        let is = |version: &&Version| version.deleted == deleted && !version.hidden && version.shown <= now;
        last.into_values().filter(is).collect()
    }

    /// Each object's last version that is shown at a time, of the first so many changes.
    fn shown(&self, at: Timestamp, changes: usize) -> BTreeMap<&Object, &Version> {
        let shown = self.versions.iter().take(changes).filter(|version| version.shown <= at);
        shown.map(|version| (&version.object, version)).collect()
    }

    /// Holds what was told against what happened.
    ///
    /// # Errors
    /// What was promised and is not so.
    pub fn judge(&self, rules: &Rules, evidence: &Evidence<'_>) -> Result<(), String> {
        let mut ids: BTreeMap<Name, (EventId, usize)> = BTreeMap::new();
        let mut first_told: BTreeMap<Name, usize> = BTreeMap::new();
        for (number, telling) in evidence.told.iter().enumerate() {
            let name = Name::told(rules, telling);
            let poll = &evidence.polls[telling.poll];
            let there = |version: &&Version| {
                let date = rules.dated.then_some(version.date);
                let by_then = version.shown <= poll.ended && version.at <= poll.ended;
                name.is(version) && !version.hidden && telling.event.date == date && by_then
            };
            let versions: Vec<&Version> = self.versions.iter().filter(there).collect();
            if versions.is_empty() {
                return Err(format!("told, and never was: {telling:?}"));
            }
            if rules.dated && versions.iter().all(|version| version.date < evidence.provisioned.minus(BEFORE)) {
                return Err(format!("told, and older than the instance: {telling:?}"));
            }
            if let Some((id, last)) = ids.get(&name) {
                if *id != telling.event.id {
                    return Err(format!("told again by another id: {telling:?}"));
                }
                if !evidence.polls[*last].broken {
                    return Err(format!("told again, and nothing died: {telling:?}"));
                }
            }
            first_told.entry(name.clone()).or_insert(telling.poll);
            ids.insert(name, (telling.event.id, telling.poll));
            self.judge_type(rules, evidence, telling, &versions, &evidence.told[..number])?;
        }
        let mut by_id: Vec<EventId> = ids.values().map(|(id, _)| *id).collect();
        by_id.sort();
        by_id.dedup();
        if by_id.len() != ids.len() {
            return Err("two versions by one id".into());
        }
        let still =
            |poll: &Poll| !self.versions.iter().any(|other| other.shown > poll.began && other.shown <= poll.ended);
        let saw_all = |(_, poll): &(usize, &Poll)| poll.saw_all() && still(poll);
        for (number, poll) in evidence.polls.iter().enumerate().filter(saw_all) {
            for version in self.shown(poll.began, poll.changes_before).into_values() {
                let seen = version.over <= second(poll.began);
                let in_time = version.at >= evidence.provisioned && version.shown.since(version.date) <= rules.latest;
                let asked_for = in_time || !rules.dated;
                let hid = |poll: &Poll| (rules.hides_deleted)(poll) && poll.ended >= version.at;
                let hidden = version.deleted && evidence.polls[..=number].iter().any(hid);
                let told = first_told.get(&Name::of(version)).is_some_and(|told| *told <= number);
                if seen && asked_for && !hidden && !version.hidden && !told {
                    return Err(format!("poll {number} could see it, and it is not told: {version:?}"));
                }
            }
        }
        Ok(())
    }

    /// CREATED is an object's first version that is told, if the object is not older than the instance: always where nothing
    /// else happened to it. What comes back may be CREATED where no more than its end was told. DELETED is what is gone, and
    /// nothing else.
    fn judge_type(
        &self,
        rules: &Rules,
        evidence: &Evidence<'_>,
        telling: &Telling,
        versions: &[&Version],
        before: &[Telling],
    ) -> Result<(), String> {
        let event = &telling.event;
        let same =
            |other: &&Telling| other.event.object_type == event.object_type && other.event.object_id == event.object_id;
        let told = before.iter().filter(same);
        let known = told.clone().any(|other| {
            let stored = other.poll == telling.poll || !evidence.polls[other.poll].broken;
            stored && other.event.event_type != EventType::Deleted
        });
        let of_object = |version: &&Version| version.first && versions.iter().any(|told| told.object == version.object);
        let made = self.versions.iter().find(of_object).map(|version| version.at);
        let young = !rules.dated || made.is_some_and(|made| made >= evidence.provisioned.minus(BEFORE * 2));
        let right = match event.event_type {
            EventType::Deleted => versions.iter().any(|version| version.deleted),
            EventType::Created => young && !known,
            EventType::Updated => told.count() > 0 || !versions.iter().all(|version| version.first),
            EventType::Unknown => false,
        };
        if right { Ok(()) } else { Err(format!("told as what it is not: {telling:?}")) }
    }
}

/// What a version is called.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Name {
    object: Object,
    key: String,
    deleted: bool,
}

impl Name {
    fn told(rules: &Rules, Telling { event, record, .. }: &Telling) -> Self {
        let object = (event.object_type.clone(), event.object_id.clone());
        Self { object, key: (rules.key)(event, record), deleted: event.event_type == EventType::Deleted }
    }

    fn of(version: &Version) -> Self {
        Self { object: version.object.clone(), key: version.key.clone(), deleted: version.deleted }
    }

    fn is(&self, version: &Version) -> bool {
        self.object == version.object && self.key == version.key && self.deleted == version.deleted
    }
}

/// The clock as the header `Date` shows it.
fn second(at: Timestamp) -> Timestamp {
    Timestamp::from_seconds(at.as_millis().div_euclid(1_000))
}

/// A date as it names a version.
#[must_use]
pub fn dated(event: &Event, _: &Value) -> String {
    event.date.map(|date| date.as_millis().to_string()).unwrap_or_default()
}
