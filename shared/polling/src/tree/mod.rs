//! An index of what is at which path, for providers that say no more of what is gone than where it was.
//!
//! Dropbox tells a deletion by its path alone, one entry may stand for a folder with all that was in it, and what is moved is
//! deleted at one place and new at another (`files.stone`, `DeletedMetadata`). So the poller mirrors the tree: what is at each
//! path, and where each object is. By that it tells a deletion by the object's id, one for each object of a folder, a move as
//! one change, and what is new apart from what changed.
//!
//! ```text
//! cursor of now ─▶ Listing (all that is there, telling nothing) ─▶ Following ◀──────────────────────────┐
//!                     ▲                                              │ a loop of pages has ended,       │
//!                     │ the cursor died: list again, and             │ and deletions are held           │
//!                     └ tell the difference                          └─▶ Sweeping: what is gone is told ┘
//! ```
//!
//! *Promise:* over any history, with a death between any two acts, what the provider shows is told: what is new or changed as
//! its entry comes; what is gone once the loop of pages is over in which that was said, unless it is elsewhere by then. What a
//! death repeats has the same ids, or is not repeated because the index knows of it. Where two claims in a row come to nothing,
//! what the first one left in the index may be told once more by another id, because the second may have told it otherwise.
//!
//! *How.* Who moves the place claims first, and claims are numbered. Whatever is written has a [`Stamp`]: the claim's number, and
//! that of the entry among those of its step. A deletion is a [`Hold`] with its stamp, and what is at its path or below with an
//! earlier one is gone. So neither the order of entries nor their number matters, a folder that was made again loses only what
//! it lost, and what a step that died has left is older than whatever the next one writes. To list all again is a hold of the
//! whole tree: what the listing does not renew is gone.
//!
//! *Order.* Events are sent, then the index is written, then the place moves. The index is written in ranks, one after the other
//! ([`Edit`]): a hold before what hides the object that it holds, a path before the object that is there, and what is gone the
//! other way round. An object that its path has and that has no place of its own is one whose step died; it is told, at worst once
//! more by the same id.
//!
//! *What a step told that died*, and what is gone before the next one comes, the index never knew: it is told by its path, with its
//! folder, or by what is there instead, and not at all where its folder has moved without it.
//!
//! *Approximate* is what changes between the first cursor and the end of the first listing: what is new in that time is UPDATED
//! where the listing had it; and what is gone and was not listed is told by its path or its folder's, if nothing is there again.
//!
//! *Costs.* Two items an object, two reads and two writes an entry, and a read of each folder that it is in; of a folder's deletion
//! the items of what was in it. A poll without entries costs nothing.

mod follow;
mod sweep;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use events::{EventType, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::classify::{Deleted, Rules, Told, Version};
use crate::path::Path;
use crate::poll::Change;

pub use follow::{Follow, Mode};
pub use sweep::{Gone, Sweep};

/// Where the records of a resource that is indexed say what the index holds.
#[derive(Clone, PartialEq, Debug)]
pub struct Shape {
    /// The path, in the form by which paths are compared; its parts are parted by `/`.
    pub path: Path,
    /// What says that it is a folder.
    pub folder: Deleted,
}

/// How far a resource has come that is indexed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Walk {
    /// What changed since then is told.
    pub cursor: String,
    /// What is being done.
    pub phase: Phase,
    /// How many loops of pages were told whole. It is part of each event's id: what comes back to an earlier state in another
    /// loop is another change.
    #[serde(default)]
    pub loops: u64,
    /// Whether this is the first loop after the first listing: what that listed is not told yet.
    #[serde(default, skip_serializing_if = "is_false")]
    pub fresh: bool,
    /// Whether there may be holds.
    #[serde(default, skip_serializing_if = "is_false")]
    pub held: bool,
    /// How many claims had come to nothing when that was said.
    #[serde(default)]
    pub failed: u64,
    /// The last claim that came to nothing in this loop; 0: none did.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub doubt: u64,
}

/// What is known of the claims on a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tried {
    /// How many there were: the number of the last one.
    pub claims: u64,
    /// How many came to nothing: their workers died, or gave up. Only whether it grew counts.
    pub failed: u64,
}

/// What is being done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// All that is there is listed.
    Listing {
        /// From this cursor on; `None`: from the first page.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<String>,
        /// Whether what the index does not know is told.
        tells: bool,
    },
    /// What changed is read.
    Following,
    /// The loop has ended, and what is held is told.
    Sweeping,
}

fn is_false(truth: &bool) -> bool {
    !truth
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Walk {
    /// At a cursor whose changes are to be told, with nothing in the index.
    #[must_use]
    pub fn begin(cursor: String) -> Self {
        let phase = Phase::Listing { at: None, tells: false };
        Self { cursor, phase, loops: 0, fresh: true, held: false, failed: 0, doubt: 0 }
    }

    /// At another cursor, after the one before has died: all is listed again.
    #[must_use]
    pub fn begin_again(&self, cursor: String) -> Self {
        let phase = Phase::Listing { at: None, tells: true };
        Self { cursor, phase, fresh: false, held: true, ..*self }
    }

    /// The same as it is after these claims. One that came to nothing may have left holds, and may have told what the index does
    /// not know of.
    #[must_use]
    pub fn after(mut self, tried: Tried) -> Self {
        if self.failed != tried.failed {
            (self.held, self.failed, self.doubt) = (true, tried.failed, tried.claims);
        }
        self
    }

    /// What is held before the first page of such a listing: all that it does not renew. It is written with that page, once the
    /// place is of the listing: where a listing was not begun after all, it would take all for gone.
    #[must_use]
    pub fn hold(&self) -> Option<Hold> {
        let begins = self.phase == Phase::Listing { at: None, tells: true };
        let all = Hold { path: String::new(), stamp: Stamp::here(0), after: String::new(), held: Held::Within };
        begins.then_some(all)
    }

    /// Before its next page.
    #[must_use]
    pub fn mode(&self) -> Mode {
        match self.phase {
            Phase::Listing { tells: false, .. } => Mode::Seed,
            // What it told of what is listed and has changed back since, the loop after the listing shows.
            Phase::Listing { .. } => Mode::Tell { fresh: false, doubt: 0 },
            Phase::Following | Phase::Sweeping => Mode::Tell { fresh: self.fresh, doubt: self.doubt },
        }
    }

    /// The cursor of the next page; `None`: it is the first.
    #[must_use]
    pub fn at(&self) -> Option<&str> {
        match &self.phase {
            Phase::Listing { at, .. } => at.as_deref(),
            Phase::Following | Phase::Sweeping => Some(&self.cursor),
        }
    }

    /// After a page that leads on to `next`, with the last of them as `ended`.
    pub fn pass(&mut self, next: Option<String>, ended: bool) {
        match &mut self.phase {
            Phase::Listing { .. } if ended => self.phase = Phase::Following,
            Phase::Listing { at, .. } => *at = next.or(at.take()),
            Phase::Following | Phase::Sweeping => {
                self.cursor = next.unwrap_or_else(|| std::mem::take(&mut self.cursor));
                match (ended, self.held) {
                    (true, true) => self.phase = Phase::Sweeping,
                    (true, false) => self.end_loop(),
                    (false, _) => {}
                }
            }
        }
    }

    /// Once nothing is held any more.
    pub fn swept(&mut self) {
        (self.phase, self.held) = (Phase::Following, false);
        self.end_loop();
    }

    fn end_loop(&mut self) {
        self.loops += 1;
        (self.fresh, self.doubt) = (false, 0);
    }
}

/// When something was written: by which claim, and for which entry of its step.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Stamp(pub u64, pub u32);

/// The claim of a step that has none yet: later than any.
const HERE: u64 = u64::MAX;

impl Stamp {
    /// Of this step.
    #[must_use]
    pub fn here(entry: u32) -> Self {
        Self(HERE, entry)
    }

    /// The same once the step's claim has its number.
    #[must_use]
    pub fn claimed(self, claim: u64) -> Self {
        if self.0 == HERE { Self(claim, self.1) } else { self }
    }
}

/// What is at a path.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Node {
    /// The path.
    pub path: String,
    /// The object's id; blank of a folder that is known by what is in it alone.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Whether others may be in it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub folder: bool,
    /// The type of its events.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub object_type: String,
    /// When it was seen last.
    pub stamp: Stamp,
}

/// Where an object is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Object {
    /// Its id.
    pub id: String,
    /// Its path.
    pub path: String,
    /// The provider's version of it; its content where it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// How often it was told of.
    #[serde(default)]
    pub changes: u32,
    /// Whether it was listed and not told.
    #[serde(default, skip_serializing_if = "is_false")]
    pub seeded: bool,
    /// When it was seen last.
    pub stamp: Stamp,
}

/// What is gone, unless it is elsewhere when the loop ends.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hold {
    /// The path. The whole tree's is blank.
    pub path: String,
    /// What is there with a later stamp came after it.
    pub stamp: Stamp,
    /// Up to where what is in it was swept; blank: nothing was.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub after: String,
    /// What of it.
    pub held: Held,
}

/// What is held of a path.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Held {
    /// Whatever was there, and all that was in it.
    All {
        /// Whether the index knew it. What it did not know is told by its path.
        known: bool,
    },
    /// All that was in it.
    Within,
    /// An object that another has replaced.
    Object {
        /// Its id.
        id: String,
        /// The type of its events.
        object_type: String,
    },
}

impl Held {
    /// What tells it from others of one stamp, held of `path`: a letter, and a path or an id.
    #[must_use]
    pub fn name<'a>(&'a self, path: &'a str) -> (char, &'a str) {
        match self {
            Self::All { .. } => ('A', path),
            Self::Within => ('W', path),
            Self::Object { id, .. } => ('O', id),
        }
    }
}

/// A write of the index. Of a step's ranks each is durable before the next is begun, and writes an item once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Edit {
    /// Something is held, or held from further on.
    Hold(Hold),
    /// Something is at a path.
    Node(Node),
    /// An object is somewhere.
    Object(Object),
    /// A hold is done with.
    NoHold(Hold),
    /// Nothing is at a path.
    NoNode(String),
    /// An object is nowhere.
    NoObject(String),
}

/// An entry of a page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its path.
    pub path: String,
    /// What is there; `None`: nothing.
    pub thing: Option<Thing>,
}

/// What an entry says is at its path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Thing {
    /// The object's id.
    pub id: String,
    /// Whether it is a folder.
    pub folder: bool,
    /// The type of its events.
    pub object_type: String,
    /// The provider's version of it; blank where it has none.
    pub version: String,
    /// When it was changed.
    pub date: Option<Timestamp>,
}

/// The folder that a path is in, and its name there.
#[must_use]
pub fn parent(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// The folders that a path is in, the nearest first.
pub(crate) fn folders(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(parent(path).0), |folder| Some(parent(folder).0)).take_while(|folder| !folder.is_empty())
}

impl Shape {
    /// What a record says. `None`: it has no path, or no id.
    #[must_use]
    pub fn entry(&self, rules: &Rules, record: &Value) -> Option<Entry> {
        let path = self.path.text(record)?.into_owned();
        if rules.is_gone(record) {
            return Some(Entry { path, thing: None });
        }
        let id = rules.id_of(record)?.into_owned();
        let version = rules.version.as_ref().and_then(|place| place.text(record)).map(Cow::into_owned);
        // Folders have none, and change all the same: in how their names are written, and in who shares them.
        let content = || Version::content(None, record).as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let version = version.unwrap_or_else(content);
        let folder = self.folder.holds(record);
        let (object_type, date) = (rules.type_of(record).to_owned(), rules.changed(record));
        Some(Entry { path, thing: Some(Thing { id, folder, object_type, version, date }) })
    }

    /// The change that an entry tells, which is the object's so many-th, in the loop after so many.
    #[must_use]
    pub fn changed(&self, entry: &Entry, told: (EventType, u32), loops: u64, record: &Value) -> Option<Change> {
        let thing = entry.thing.as_ref()?;
        let version = format!("{loops} {} {} {}", told.1, thing.version, entry.path);
        let told = Told {
            object_id: thing.id.clone(),
            object_type: thing.object_type.clone(),
            event_type: told.0,
            date: thing.date,
            version: Version::named(&version),
            position: None,
        };
        Some(Change { told, record: record.clone() })
    }

    /// The change that something gone tells, in the loop after so many.
    #[must_use]
    pub fn gone(&self, rules: &Rules, gone: &Gone, loops: u64) -> Change {
        let mut record = Value::Object(Map::new());
        if let Some(Deleted { path, is }) = &rules.deleted {
            path.put(&mut record, is.clone().unwrap_or(Value::Bool(true)));
        }
        self.path.put(&mut record, Value::from(gone.path.as_str()));
        let (object_id, object_type) = match &gone.object {
            Some((id, object_type)) => {
                rules.id.put(&mut record, Value::from(id.as_str()));
                (id, object_type.as_str())
            }
            None => (&gone.path, rules.type_of(&record)),
        };
        let told = Told {
            object_id: object_id.clone(),
            object_type: object_type.to_owned(),
            event_type: EventType::Deleted,
            date: None,
            // Not of its path: two steps of which one died may have found it at two.
            version: Version::named(&loops.to_string()),
            position: None,
        };
        Change { told, record }
    }
}
