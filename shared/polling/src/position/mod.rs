//! How far the polls of a resource have come, and what is remembered so that nothing is told twice.
//!
//! *Promise:* over any interleaving of changes, polls and crashes, every change that the provider shows no later than the
//! overlap after its date (less the grain of its dates) is told at least once; and once a position that came of telling it is stored, no version is told
//! again, unless [`Advance::forgotten`] says so. The tests hold this against a model, and against mutants of it.
//!
//! *How.* A poll asks for everything from [`Position::since`] on, that moment included: the position less the overlap.
//! Whatever it finds is told unless its mark (a hash of object, version and deleted-or-not) is remembered. Then
//! [`Position::advance`] moves the position, which its caller stores **after** the events are durable:
//!
//! - to the latest date that was seen, but never beyond the poll's start (on the provider's clock): a change that was
//!   indexed while the poll was reading lies between start and end, and so may a date that somebody made up;
//! - never beyond the date of a record that was put off;
//! - and no further than what was read in one piece: see [`Through`].
//!
//! Marks are dropped when the window can no longer reach them. A mark without a date is kept for as long as the record is
//! listed: each advance renews it, and a reading that came to no end, or one that counted, may lack the record.
//!
//! *Costs:* 20 bytes a mark. [`MAX_MARKS`] bounds them; beyond it the oldest are forgotten, and may be told again.
//!
//! *Failure:* none. Marks are 80 bits of SHA-256: among 100,000 remembered, a new version is taken for a told one once in
//! 10¹⁹. Whether an *object* is known is 32 bits, and decides no more than CREATED or UPDATED.

mod marks;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use events::{EventType, Timestamp};

use crate::classify::{Later, Moment, Told};

pub use marks::Mark;
pub use state::{Decoded, Encoded, Place, State, StateError};

use marks::Marks;

/// Most marks of one resource: some 2.7 MB as text, in 32 buckets. An import of more within the overlap is told, and some of
/// it again.
pub const MAX_MARKS: usize = 100_000;

/// How many readings in a row that were counted, and told something new, leave the position at their first page. A busy
/// resource's window would grow for ever; and a record that so many readings all missed is not one that shifted.
const PATIENCE: u32 = 16;

/// How far the polls of a resource have come.
#[derive(Clone, PartialEq, Debug)]
pub struct Position {
    at: Timestamp,
    /// The last object dated `at`: for providers that are asked for what comes after both.
    id: String,
    /// Nothing older is asked for: it is not remembered whether it was told.
    floor: Timestamp,
    /// How many readings in a row were counted and told something new.
    unsure: u32,
    /// Of a busy resource there are many, and a poll has the position several times.
    told: Arc<Marks>,
}

/// What a poll saw.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    marks: BTreeMap<Mark, Option<Timestamp>>,
    objects: BTreeSet<marks::Object>,
    latest: Option<(Timestamp, String)>,
    held: Option<Timestamp>,
    /// Whether any of it was not remembered.
    news: bool,
}

/// How far a query was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Through {
    /// To its end, and what changed meanwhile only moved or added records of its own.
    All,
    /// To its end by counting records (an offset, a page's number), in more than one page, ordered by date: whatever
    /// changed meanwhile may have shifted records past the reader. Only the first page is one piece; `first` is its last
    /// date. Once a whole reading shows nothing new, it counts as [`Through::All`]; so does the seventeenth in a row.
    Counted {
        /// The last date of the first page.
        first: Timestamp,
    },
    /// In the order of dates, up to this one.
    UpTo(Timestamp),
    /// Neither: what was seen is remembered, and the position stays.
    Part,
}

/// Where a poll leaves the position.
#[derive(Clone, PartialEq, Debug)]
pub struct Advance {
    /// The position to store, once what was told is durable.
    pub position: Position,
    /// How many marks were forgotten that the window still reaches.
    pub forgotten: usize,
}

impl Seen {
    /// Notes a change, told now or before; `was_told` is what [`Position::is_told`] said.
    pub fn note(&mut self, told: &Told, was_told: bool) {
        let mark = Mark::of(told);
        self.marks.insert(mark, told.position);
        self.objects.insert(mark.object());
        self.news |= !was_told;
        if let Some(date) = told.position {
            let here = (date, told.object_id.clone());
            if self.latest.as_ref().is_none_or(|latest| *latest <= here) {
                self.latest = Some(here);
            }
        }
    }

    /// Whether this very version was seen by the same poll: pages may repeat records.
    #[must_use]
    pub fn has(&self, told: &Told) -> bool {
        self.marks.contains_key(&Mark::of(told))
    }

    /// Whether any version of an object was seen by the same poll: it may change while pages are read.
    #[must_use]
    pub fn knows(&self, object_id: &str) -> bool {
        self.objects.contains(&marks::object(object_id))
    }

    /// Notes a record that is told later.
    pub fn put_off(&mut self, later: &Later) {
        self.held = Some(self.held.map_or(later.date, |held| held.min(later.date)));
    }

    /// Whether anything in it was not told before.
    #[must_use]
    pub fn is_news(&self) -> bool {
        self.news
    }
}

impl Position {
    /// The position before the first poll: nothing that is older than `at` is told.
    #[must_use]
    pub fn starting(at: Timestamp) -> Self {
        Self { at, id: String::new(), floor: at, unsure: 0, told: Arc::default() }
    }

    /// The position of a resource that begins to be polled `now`: a second before, since dates may be as coarse as that, and
    /// what changes within this one is new. What changed in the second before may be told too.
    #[must_use]
    pub fn beginning(now: Timestamp) -> Self {
        Self::starting(now.minus(Duration::from_secs(1)))
    }

    /// How far the polls have come.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// The last object of that date, by its id; blank where none was.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Since when a poll asks, that moment included.
    #[must_use]
    pub fn since(&self, overlap: Duration) -> Timestamp {
        self.at.minus(overlap).max(self.floor)
    }

    /// The times of a poll that begins at `start`; both are times of the provider's clock, where it shows one.
    #[must_use]
    pub fn moment(&self, overlap: Duration, start: Timestamp, clock: Timestamp) -> Moment {
        Moment { since: self.since(overlap), start, clock }
    }

    /// Whether this very version was told.
    #[must_use]
    pub fn is_told(&self, told: &Told) -> bool {
        self.told.has(&Mark::of(told))
    }

    /// Whether any version of an object was told, as far as is remembered.
    #[must_use]
    pub fn knows(&self, object_id: &str) -> bool {
        self.told.knows(object_id)
    }

    /// How many versions are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.told.len()
    }

    /// Where a poll leaves the position that began at `start` and saw what it saw.
    #[must_use]
    pub fn advance(&self, seen: &Seen, through: Through, start: Timestamp, overlap: Duration) -> Advance {
        let latest = seen.latest.as_ref().map_or(self.at, |(date, _)| *date);
        let undated = seen.marks.values().any(Option::is_none);
        let read = through;
        let (through, unsure) = match through {
            // What was put off has changed too, and may have shifted others.
            Through::Counted { first } if (seen.news || seen.held.is_some()) && self.unsure < PATIENCE => {
                (Through::UpTo(first), self.unsure + 1)
            }
            Through::All | Through::Counted { .. } => (Through::All, 0),
            other => (other, self.unsure),
        };
        let reached = match through {
            // What is shown as late as the overlap is still within the window of the next poll.
            Through::All if undated => start,
            Through::All => latest.max(start.minus(overlap)),
            Through::UpTo(date) => latest.min(date),
            Through::Part | Through::Counted { .. } => self.at,
        };
        let at = reached.min(start).min(seen.held.unwrap_or(start)).max(self.at);
        let id = match &seen.latest {
            Some((date, id)) if *date == at => id.clone(),
            _ if at == self.at => self.id.clone(),
            _ => String::new(),
        };
        let floor = at.minus(overlap).max(self.floor);
        let mut kept = Arc::clone(&self.told);
        let told = Arc::make_mut(&mut kept);
        // The position begins by our clock: where the provider's is behind it, a mark as old as the poll would be dropped at once.
        let renewed = start.max(at);
        for (mark, date) in &seen.marks {
            told.add(mark, date.unwrap_or(renewed));
        }
        match read {
            // What was not read may be listed.
            Through::Part => {}
            Through::UpTo(_) if undated => {}
            // A list that shrank while it was counted lacks records that are still there: the next reading shows them.
            Through::Counted { .. } if undated => told.drop_before(self.since(overlap)),
            Through::All | Through::Counted { .. } | Through::UpTo(_) => told.drop_before(floor),
        }
        let forgotten = told.forget_beyond(MAX_MARKS);
        Advance { position: Self { at, id, floor, unsure, told: kept }, forgotten }
    }

    /// Whether storing `next` in this one's place is worth a write: it tells of something new, or an hour has passed.
    /// Until then the next poll reads the same window again, and comes to the same.
    #[must_use]
    pub fn worth_storing(&self, next: &Self, news: bool) -> bool {
        news || next.at.since(self.at) >= IDLE
    }
}

/// How often the position of a resource moves in which nothing happens: its window grows by as much.
pub const IDLE: Duration = Duration::from_secs(3600);

impl Mark {
    /// The mark of a change.
    #[must_use]
    pub fn of(told: &Told) -> Self {
        Self::new(&told.object_id, told.version.as_bytes(), told.event_type == EventType::Deleted)
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
