//! One poll of one resource, from which only sending is left out.
//!
//! ```text
//! begin ─▶ request ─▶ (send it; judge the answer) ─▶ take ─▶ More: request again
//!                                                           Done: finish ─▶ (make the changes durable) ─▶ (store the place)
//! ```
//!
//! *Promise:* what [`Finished::changes`] holds was not told before, as far as the place remembers, and is in the provider's
//! order; whoever makes it durable and then stores [`Finished::place`], in this order, tells everything and nothing twice.
//! Whoever gives up in between polls again later and comes to the same ids.
//!
//! *A poll may end at any page*: at the limit of changes, at an answer that is no page, at a failure. [`Poll::finish`] then
//! counts what was read as a part.
//!
//! *Failure:* [`Finished::stopped`] says why reading ended early where the provider is to blame; [`Summary`] counts what was
//! not told, and why.

use std::collections::BTreeMap;
use std::time::Duration;

use events::Timestamp;
use http::HeaderMap;
use http::header::DATE;
use serde_json::Value;

use crate::classify::{Classified, Ignored, Told};
use crate::definition::Polling;
use crate::pagination::{Next, PagingError, Progress};
use crate::position::{Place, Position, Seen};
use crate::request::{Asking, NoRecords, PlanError, Query, Request};
use crate::tree::Walk;

/// A poll that is under way.
#[derive(Debug)]
pub struct Poll<'a> {
    polling: &'a Polling,
    query: &'a Query,
    settings: &'a BTreeMap<String, String>,
    place: &'a Place,
    /// Where a place that is a cursor has nothing to say.
    position: Position,
    /// When it began, on our clock.
    start: Timestamp,
    /// When it began, on the provider's clock.
    theirs: Option<Timestamp>,
    progress: Progress,
    limit: usize,
    seen: Seen,
    changes: Vec<Change>,
    cursor: Option<String>,
    ended: bool,
    stopped: Option<PagingError>,
    summary: Summary,
}

/// A change, with the record that tells it.
#[derive(Clone, PartialEq, Debug)]
pub struct Change {
    /// What it tells.
    pub told: Told,
    /// The record as it came.
    pub record: Value,
}

/// What was not told, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    /// Told before.
    pub repeated: usize,
    /// Older than what is asked.
    pub older: usize,
    /// Told by a later poll.
    pub put_off: usize,
    /// Without an id.
    pub without_id: usize,
    /// Without a date among everything that a provider has.
    pub without_date: usize,
    /// Whether an answer was cut off, and the rest asked for in a way that may not show all that is gone.
    pub beyond: bool,
}

impl Summary {
    /// Whether records came of which not one was understood, where `found` is how many changes they were: then it is no record
    /// that is odd, but where ids or dates are looked for.
    #[must_use]
    pub fn understood_none(&self, found: usize) -> bool {
        let understood = found + self.repeated + self.older + self.put_off;
        understood == 0 && self.without_id + self.without_date > 0
    }
}

/// Whether there is another page to ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// There is.
    More,
    /// There is none, or no more is wanted now.
    Done,
}

/// What a poll came to.
#[derive(Clone, PartialEq, Debug)]
pub struct Finished {
    /// What is to be told.
    pub changes: Vec<Change>,
    /// Where the resource stands once the changes are durable.
    pub place: Place,
    /// Whether storing the place is worth a write. Where there are changes it always is.
    pub worth_storing: bool,
    /// Whether all was read. If not, another poll is worth while at once.
    pub complete: bool,
    /// Why reading ended early, where the provider is to blame.
    pub stopped: Option<PagingError>,
    /// How many versions were forgotten that may be told again.
    pub forgotten: usize,
    /// What was not told.
    pub summary: Summary,
}

impl<'a> Poll<'a> {
    /// A poll that begins at `start` on our clock, and ends with the page that brings it to `limit` changes.
    #[must_use]
    pub fn begin(
        polling: &'a Polling,
        query: &'a Query,
        settings: &'a BTreeMap<String, String>,
        place: &'a Place,
        start: Timestamp,
        limit: usize,
    ) -> Self {
        let (position, progress) = match place {
            Place::Position(position) => {
                (position.clone(), Progress::new(position.since(query.overlap), polling.max_pages))
            }
            Place::Cursor(cursor) | Place::Tree(Walk { cursor, .. }) => {
                (Position::starting(Timestamp::from_millis(0)), Progress::resuming(cursor, polling.max_pages))
            }
        };
        Self {
            polling,
            query,
            settings,
            place,
            position,
            start,
            theirs: None,
            progress,
            limit,
            seen: Seen::default(),
            changes: Vec::new(),
            cursor: None,
            ended: false,
            stopped: None,
            summary: Summary::default(),
        }
    }

    /// The request for the next page.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn request(&self) -> Result<Request, PlanError> {
        let asking = Asking { progress: &self.progress, now: self.start, settings: self.settings };
        self.query.plan(self.polling, &asking)
    }

    /// Takes the page that `request` was answered with.
    ///
    /// # Errors
    /// [`NoRecords`]: it is no page. What was read before it counts.
    pub fn take(&mut self, request: &Request, headers: &HeaderMap, body: &Value) -> Result<Step, NoRecords> {
        let page = self.query.read(request, headers, body, &mut self.progress)?;
        // The first answer's: what was indexed while the others were read may be dated later.
        let shown = clock(headers).filter(|theirs| theirs.since(self.start).max(self.start.since(*theirs)) <= MAX_SKEW);
        self.theirs = self.theirs.or(shown);
        let clock = shown.or(self.theirs).unwrap_or(self.start);
        let moment = self.position.moment(self.query.overlap, self.until(), clock);
        for record in page.records {
            let known = |object_id: &str| self.position.knows(object_id) || self.seen.knows(object_id);
            match self.query.rules.classify(record, &moment, known) {
                Classified::Told(mut told) => {
                    if let Some(cursor) = self.place.cursor() {
                        told.version = told.version.since(cursor);
                    }
                    let repeated = self.position.is_told(&told) || self.seen.has(&told);
                    self.seen.note(&told, repeated);
                    if repeated {
                        self.summary.repeated += 1;
                    } else {
                        self.changes.push(Change { told, record: record.clone() });
                    }
                }
                Classified::Later(later) => {
                    self.seen.put_off(&later);
                    self.summary.put_off += 1;
                }
                Classified::Ignored(Ignored::Older) => self.summary.older += 1,
                Classified::Ignored(Ignored::NoId) => self.summary.without_id += 1,
                Classified::Ignored(Ignored::NoDate) => self.summary.without_date += 1,
            }
        }
        self.cursor = self.query.cursor(body).or(self.cursor.take());
        match page.next {
            Ok(Next::Turn(_)) if self.changes.len() < self.limit => return Ok(Step::More),
            Ok(Next::Turn(_) | Next::Budget) => {}
            Ok(Next::End) => self.ended = true,
            Err(error) => self.stopped = Some(error),
        }
        Ok(Step::Done)
    }

    /// Up to when on the provider's clock changes count: what came later, or is too young, waits.
    fn until(&self) -> Timestamp {
        self.theirs.unwrap_or(self.start).minus(self.query.grace)
    }

    /// How many changes were found so far.
    #[must_use]
    pub fn found(&self) -> usize {
        self.changes.len()
    }

    /// What the poll came to, at whichever page it ended.
    #[must_use]
    pub fn finish(self) -> Finished {
        let news = self.seen.is_news();
        let (place, forgotten, worth_storing) = match self.place {
            Place::Cursor(old) | Place::Tree(Walk { cursor: old, .. }) => {
                let cursor = self.cursor.unwrap_or_else(|| old.clone());
                let moved = cursor != *old;
                (Place::Cursor(cursor), 0, moved)
            }
            Place::Position(position) => {
                let through = self.query.through(&self.progress, self.ended);
                let advance = position.advance(&self.seen, through, self.until(), self.query.overlap);
                let worth = position.worth_storing(&advance.position, news);
                (Place::Position(advance.position), advance.forgotten, worth)
            }
        };
        Finished {
            changes: self.changes,
            place,
            worth_storing,
            complete: self.ended,
            stopped: self.stopped,
            forgotten,
            summary: Summary { beyond: self.progress.is_beyond(), ..self.summary },
        }
    }
}

/// Furthest that a provider's clock may be from ours: a header that says something else is somebody's constant.
const MAX_SKEW: Duration = Duration::from_secs(24 * 60 * 60);

/// The provider's clock, from the header `Date`.
fn clock(headers: &HeaderMap) -> Option<Timestamp> {
    let date = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?.trim()).ok()?;
    let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok().map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests;
