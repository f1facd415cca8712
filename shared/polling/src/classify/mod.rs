//! What a polled record tells (the contract's §5.4): CREATED, UPDATED or DELETED, or nothing, and why.
//!
//! *Promise:* a pure function of the record, the [`Rules`] of its resource, the [`Moment`] of the poll and whether the
//! object is known. Its [`Version`] never depends on when or how often it was read. When in doubt it tells: a date that
//! cannot be read makes a version of the record's content, not silence.
//!
//! ```text
//! record ─▶ id? ─▶ gone? ─▶ dates ─▶ older than what is asked ─▶ Ignored
//!                                    newer than the poll's start, where that counts ─▶ Later
//!                                    of a second that is not over ─▶ Later
//!                                    else ─▶ Told
//! ```
//!
//! *The event type.* Both dates: CREATED where they lie no further apart than the tolerance (or, where the connector says
//! so, where the record was made since when is asked and is not known), else UPDATED. Only the created date, or both in
//! one field: CREATED where it is in the window and the object is not known, else UPDATED if the provider selected it (it
//! did for a reason) and nothing if it lists everything. Only the updated date: UPDATED. None: CREATED the first time that
//! the object is seen, unless a cursor knows what is new, which shows what is not new too. Nothing that is known is CREATED.
//!
//! *The version* is the provider's own where the connector names one; else the updated date; else, or where the date is as
//! coarse as a day or lies in the future, a hash of the content. A date as coarse as a second may come twice, so such a
//! version is told once that second is over on the provider's clock: told at once, a second change in it would be lost.
//!
//! *Failure:* a record without an id is [`Ignored::NoId`], one without a readable date among all records of a provider
//! [`Ignored::NoDate`]: both are counted by the caller, never silently dropped.

mod version;

use std::borrow::Cow;
use std::time::Duration;

use events::{EventId, EventType, InstanceId, Timestamp};
use serde_json::Value;

use crate::configuration::DateField;
use crate::dates::{Grain, Read};
use crate::definition::Types;
use crate::path::Path;
use crate::same::same;

pub use version::Version;

/// How a resource's records are read.
#[derive(Clone, PartialEq, Debug)]
pub struct Rules {
    /// The object type of its events.
    pub object_type: String,
    /// Another, of records that say what they are.
    pub types: Option<Types>,
    /// Whether a cursor knows what is new. It shows a record once, so nothing waits, and may show an object that was moved
    /// with the version it had: a version is the record as it is.
    pub by_cursor: bool,
    /// Where the id is.
    pub id: Path,
    /// Where it is of records without that, such as those of what is gone.
    pub id_else: Option<Path>,
    /// When the record was changed last.
    pub updated: Option<DateField>,
    /// When the record was made.
    pub created: Option<DateField>,
    /// The provider's own version, such as a revision.
    pub version: Option<Path>,
    /// What says that the object is gone.
    pub deleted: Option<Deleted>,
    /// How far the two dates of a new record may lie apart.
    pub tolerance: Duration,
    /// Whether a record that was made since when is asked is new, however far its dates lie apart.
    pub new_since_last: bool,
    /// Whether a record older than what is asked is ignored.
    pub filter_by_updated: bool,
    /// What becomes of a record newer than the poll's start.
    pub newer: Newer,
    /// Whether the provider selects what changed, or lists everything.
    pub selects: bool,
}

/// What becomes of a record that is newer than the poll's start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Newer {
    /// It is told.
    Told,
    /// It waits for a later poll.
    Waits,
    /// It waits where its date is as near as clocks are apart: one beyond is a mistake, or a wish, and is told.
    WaitsIfNear,
}

/// What says that an object is gone.
#[derive(Clone, PartialEq, Debug)]
pub struct Deleted {
    /// Where it stands.
    pub path: Path,
    /// What stands there; `None`: anything but null, false and blank.
    pub is: Option<Value>,
}

/// The times of a poll.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// Since when is asked: how far the polls before have come, less what is looked at again. A record of that very time
    /// counts.
    pub since: Timestamp,
    /// When the poll began.
    pub start: Timestamp,
    /// The provider's clock; ours where it does not say.
    pub clock: Timestamp,
}

/// What a record tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Classified {
    /// A change, unless its version was told before.
    Told(Told),
    /// Not yet: a later poll finds it, provided that none begins beyond [`Later::date`].
    Later(Later),
    /// Nothing.
    Ignored(Ignored),
}

/// A change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// The provider's id of the object.
    pub object_id: String,
    /// The resource's name.
    pub object_type: String,
    /// What happened.
    pub event_type: EventType,
    /// When, by the provider's clock.
    pub date: Option<Timestamp>,
    /// The object's state.
    pub version: Version,
    /// The date that the poll's position may come to by it. `None`: the record has none that selects it, and its version
    /// is to be remembered for as long as the provider lists it.
    pub position: Option<Timestamp>,
}

/// Why a record is told by a later poll.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Later {
    /// The record's date.
    pub date: Timestamp,
    /// Why.
    pub why: Wait,
}

/// Why a record waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// It is newer than the poll's start, and the configuration wants no such records.
    AfterStart,
    /// It may change again and be dated the same.
    NotOver,
}

/// Why a record tells nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ignored {
    /// It is older than what is asked.
    Older,
    /// Nothing at the id's place names an object.
    NoId,
    /// Nothing says when it changed, and the provider lists everything.
    NoDate,
}

/// A date further ahead of the provider's clock is a mistake or a wish, and is not waited for.
const AHEAD: Duration = Duration::from_secs(300);

impl Told {
    /// The event's id.
    #[must_use]
    pub fn id(&self, instance: InstanceId) -> EventId {
        let deleted = self.event_type == EventType::Deleted;
        EventId::of_version(instance, &self.object_type, &self.object_id, self.version.as_bytes(), deleted)
    }
}

impl Deleted {
    /// Whether it stands in a record.
    pub(crate) fn holds(&self, record: &Value) -> bool {
        let Some(found) = self.path.find(record) else { return false };
        match (&self.is, found) {
            (Some(expected), found) => same(expected, found),
            (None, Value::Null | Value::Bool(false)) => false,
            (None, Value::String(text)) => !text.trim().is_empty() && !text.trim().eq_ignore_ascii_case("false"),
            (None, _) => true,
        }
    }
}

impl Rules {
    /// What a record tells; `known` says whether the object was told of before, as far as is remembered.
    #[must_use]
    pub fn classify(&self, record: &Value, moment: &Moment, known: impl Fn(&str) -> bool) -> Classified {
        let Some(object_id) = self.id_of(record) else { return Classified::Ignored(Ignored::NoId) };
        let deleted = self.is_gone(record);
        let one_field = self.updated.is_none() || self.created_is_updated();
        let updated = self.updated.as_ref().and_then(|field| date(field, record));
        let created = self.created.as_ref().and_then(|field| date(field, record));
        // What the provider selects by: the record's latest date.
        let latest = updated.or(created);

        // A provider that selects knows more of a change than a date that does not move.
        let filtered = match one_field {
            true => !self.selects || self.filter_by_updated && self.updated.is_some(),
            false => self.filter_by_updated,
        };
        if let Some(read @ Read { at, .. }) = latest {
            if filtered && placed(read) < moment.since {
                return Classified::Ignored(Ignored::Older);
            }
            let waits = match self.newer {
                Newer::Told => false,
                Newer::Waits => true,
                Newer::WaitsIfNear => at <= moment.clock.plus(AHEAD),
            };
            if waits && !self.by_cursor && at > moment.start {
                return Classified::Later(Later { date: at, why: Wait::AfterStart });
            }
        } else if !self.selects && (self.updated.is_some() || self.created.is_some()) {
            return Classified::Ignored(Ignored::NoDate);
        }

        // A created date does not move when the record changes: its version is its content.
        let moving = updated.filter(|_| !one_field);
        let version = match self.version.as_ref().and_then(|path| path.text(record)) {
            _ if self.by_cursor => Version::content(None, record),
            Some(version) => Version::named(&version),
            None => match moving {
                Some(Read { at, grain, .. }) if grain < Grain::Day && at <= moment.clock.plus(AHEAD) => {
                    if grain.end(at) > moment.clock {
                        return Classified::Later(Later { date: at, why: Wait::NotOver });
                    }
                    Version::dated(at)
                }
                Some(Read { at, .. }) => Version::content(Some(at), record),
                None => Version::content(None, record),
            },
        };
        let event_type = match deleted {
            true => EventType::Deleted,
            false => self.event_type(updated, created, moment, known(&object_id)),
        };
        let position = latest.map(placed).filter(|_| filtered);
        Classified::Told(Told {
            object_id: object_id.into_owned(),
            object_type: self.type_of(record).to_owned(),
            event_type,
            date: latest.map(|read| read.at),
            version,
            position,
        })
    }

    /// Which object a record is of.
    pub(crate) fn id_of<'r>(&self, record: &'r Value) -> Option<Cow<'r, str>> {
        self.id.text(record).or_else(|| self.id_else.as_ref()?.text(record))
    }

    /// Whether a record says that its object is gone.
    pub(crate) fn is_gone(&self, record: &Value) -> bool {
        self.deleted.as_ref().is_some_and(|deleted| deleted.holds(record))
    }

    /// When a record was changed, as it says.
    pub(crate) fn changed(&self, record: &Value) -> Option<Timestamp> {
        let of = |field: &Option<DateField>| date(field.as_ref()?, record);
        of(&self.updated).or_else(|| of(&self.created)).map(|read| read.at)
    }

    /// The type of a record's events.
    pub(crate) fn type_of(&self, record: &Value) -> &str {
        let said = self.types.as_ref().and_then(|types| types.of.get(types.at.text(record)?.as_ref()));
        said.unwrap_or(&self.object_type)
    }

    /// Whether a record's date is that of its last change.
    pub(crate) fn date_moves(&self) -> bool {
        !self.by_cursor && self.updated.is_some() && !self.created_is_updated()
    }

    fn created_is_updated(&self) -> bool {
        matches!((&self.updated, &self.created), (Some(updated), Some(created)) if updated.path == created.path)
    }

    fn event_type(&self, updated: Option<Read>, created: Option<Read>, moment: &Moment, known: bool) -> EventType {
        let new = match (updated, created) {
            (Some(updated), Some(created)) if !self.created_is_updated() => {
                let apart = updated.at.since(created.at).max(created.at.since(updated.at));
                // Within what is looked at again it may be shown late, and whatever was told is known.
                let since_last = self.new_since_last && created.at >= moment.since;
                (apart <= self.tolerance || since_last) && !known
            }
            (_, Some(created)) => created.at >= moment.since && !known,
            (Some(_), None) => false,
            (None, None) => !known && !self.by_cursor,
        };
        if new { EventType::Created } else { EventType::Updated }
    }
}

/// Where a date stands among the positions: one without a time of day may mean any moment of that day, so its last.
fn placed(Read { at, grain, .. }: Read) -> Timestamp {
    match grain {
        Grain::Millisecond | Grain::Second => at,
        Grain::Minute | Grain::Day => Timestamp::from_millis(grain.end(at).as_millis() - 1),
    }
}

fn date(field: &DateField, record: &Value) -> Option<Read> {
    field.format.read(field.path.find(record)?, &field.zone).ok().flatten()
}

#[cfg(test)]
mod tests;
