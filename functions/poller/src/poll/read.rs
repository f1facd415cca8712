//! Reading one resource, page by page.
//!
//! *Promise:* what was read before reading ended counts, whatever ended it. *Not promised:* that a failure is repeated
//! here: the next poll does.

use std::collections::BTreeMap;

use events::{InstanceId, Timestamp};
use http::HeaderMap;
use platform::Platform;
use polling::definition::Polling;
use polling::pagination::Progress;
use polling::poll::{Change, Finished, Poll, Step, Summary};
use polling::position::Place;
use polling::request::{self, Query, Request};
use polling::tree::Tried;
use polling::verdict::{self, Verdict, verdict};
use serde_json::Value;

use super::credential::{Asking, Keeper};
use super::gate::Gate;
use super::tree::Edits;
use super::{Answer, End, Fetch, Trouble};

/// Most bytes of pages that brought something new in one reading, beyond the last page: their records are held in memory,
/// as some ten times as much. Pages that repeat what was told do not count, or a window with more of them would never be
/// read to its end.
pub(super) const FRESH_BYTES: usize = 8 * 1024 * 1024;

/// What is asked with.
pub(super) struct Asker<'a, 'k, P, F> {
    pub(super) asking: Asking<'a, P, F>,
    pub(super) instance: InstanceId,
    /// What is known of the claims on its place.
    pub(super) tried: Tried,
    pub(super) polling: &'a Polling,
    pub(super) keeper: &'a mut Keeper<'k>,
    pub(super) settings: &'a BTreeMap<String, String>,
    pub(super) gate: &'a Gate<'a>,
}

/// What reading a resource came to.
pub(super) struct Reading {
    /// What was found.
    pub(super) found: Found,
    /// Why reading ended before the query did; `None`: it came to its end, or to as much as a step holds.
    pub(super) stop: Option<Stop>,
    /// Whether another reading comes further at once: this one found something, and did not come to the query's end.
    pub(super) more: bool,
    /// Records that tell nothing: without an id, or without a date among everything that a provider has.
    pub(super) left_out: usize,
}

/// What a reading found, and where it leads.
pub(super) struct Found {
    /// What is new, in the provider's order.
    pub(super) changes: Vec<Change>,
    /// Where the resource stands once the changes are durable; `None`: nowhere yet.
    pub(super) place: Option<Place>,
    /// Whether that is worth a write.
    pub(super) worth_storing: bool,
    /// When the reading began: the contract's `pollDate`.
    pub(super) start: Timestamp,
    /// What is to be written to the resource's index between the two; then this is all of a step.
    pub(super) edits: Option<Edits>,
}

/// Why reading ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// This resource's trouble.
    Trouble(Trouble),
    /// The trouble of all, or the end of time.
    Account(End),
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// A page that came.
pub(super) struct Taken {
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
    pub(super) bytes: usize,
}

/// A page, or why there is none.
pub(super) enum Page {
    Is(Taken),
    Reset,
    Not(Stop),
}

/// Why not one record of an answer is understood.
fn not_understood(query: &Query, summary: &Summary) -> String {
    let Summary { without_id, without_date, .. } = *summary;
    if without_id > 0 {
        return format!("of the {without_id} records of its answer none has an id at {}", query.rules.id);
    }
    let fields = query.rules.updated.iter().chain(&query.rules.created);
    let fields: Vec<String> = fields.map(|field| field.path.to_string()).collect();
    format!("of the {without_date} records of its answer none has a date at {}", fields.join(" or "))
}

impl<P: Platform, F: Fetch> Asker<'_, '_, P, F> {
    /// Reads a resource from its place on, until some `room` changes are found.
    pub(super) async fn read(&mut self, query: &Query, place: Option<&Place>, room: usize) -> Reading {
        let start = self.asking.platform.now();
        if let Some(shape) = &query.index {
            return Box::pin(self.read_tree((query, shape), place, start, room)).await;
        }
        let Some(place) = place else { return Box::pin(self.begin_cursor(query, start, None)).await };
        let mut poll = Poll::begin(self.polling, query, self.settings, place, start, room);
        let (mut pages, mut fresh) = (0, 0);
        let stop = loop {
            let request = match poll.request() {
                Ok(request) => request,
                Err(error) => break Some(Trouble::Configuration(error.to_string()).into()),
            };
            let page = match self.ask(&request).await {
                Page::Is(page) => page,
                Page::Not(stop) => break Some(stop),
                // The next reading begins where the last good page led, and comes here at once.
                Page::Reset if query.keeps_cursor() && poll.found() == 0 => {
                    let lost = "the provider's cursor has died: what changed since the last poll cannot be told";
                    return Box::pin(self.begin_cursor(query, start, Some(Trouble::Theirs(lost.into())))).await;
                }
                Page::Reset if query.keeps_cursor() => break None,
                Page::Reset => break Some(Trouble::Theirs(format!("the query died after {pages} pages")).into()),
            };
            let before = poll.found();
            match poll.take(&request, &page.headers, &page.body) {
                Ok(Step::More) => {}
                Ok(Step::Done) => break None,
                Err(error) => break Some(Trouble::Theirs(error.to_string()).into()),
            }
            pages += 1;
            fresh += if poll.found() > before { page.bytes } else { 0 };
            if fresh >= FRESH_BYTES {
                break None;
            }
        };
        let Finished { changes, place, worth_storing, complete, stopped, summary, .. } = poll.finish();
        // What was found is remembered, or a cursor led on from it: another reading comes to something else.
        let more = !complete && !changes.is_empty();
        let stop = stop.or_else(|| stopped.map(|error| Trouble::Theirs(error.to_string()).into()));
        if summary.understood_none(changes.len()) {
            // The place stays: what is mended there, the next poll tells.
            let trouble = Trouble::Theirs(not_understood(query, &summary));
            let found = Found { changes, place: None, worth_storing: false, start, edits: None };
            return Reading { found, stop: stop.or(Some(trouble.into())), more: false, left_out: 0 };
        }
        let left_out = summary.without_id + summary.without_date;
        let found = Found { changes, place: Some(place), worth_storing, start, edits: None };
        Reading { found, stop, more, left_out }
    }

    /// Begins with the provider's cursor of now, because there is none yet, or because it was lost.
    async fn begin_cursor(&mut self, query: &Query, start: Timestamp, lost: Option<Trouble>) -> Reading {
        let begun = self.start_cursor(query, start).await;
        let (place, stop) = match begun {
            Ok(cursor) => (Some(Place::Cursor(cursor)), lost.map(Stop::from)),
            Err(stop) => (None, Some(stop)),
        };
        let worth_storing = place.is_some();
        let found = Found { changes: Vec::new(), place, worth_storing, start, edits: None };
        Reading { found, stop, more: false, left_out: 0 }
    }

    /// The provider's cursor of now.
    pub(super) async fn start_cursor(&mut self, query: &Query, start: Timestamp) -> Result<String, Stop> {
        let progress = Progress::new(start, 1);
        let asking = request::Asking { progress: &progress, now: start, settings: self.settings };
        let planned = query.plan_start(self.polling, &asking);
        let planned = planned.map_err(|error| Trouble::Configuration(error.to_string()))?;
        let no_cursor = || Stop::from(Trouble::Theirs("there is no cursor to begin with".into()));
        match self.ask(&planned.ok_or_else(no_cursor)?).await {
            Page::Is(page) => query.cursor(&page.body).ok_or_else(no_cursor),
            Page::Reset => Err(no_cursor()),
            Page::Not(stop) => Err(stop),
        }
    }

    /// Asks, and once more where another credential may help.
    pub(super) async fn ask(&mut self, request: &Request) -> Page {
        let page = self.ask_once(request).await;
        let Page::Not(Stop::Trouble(Trouble::Unauthorised)) = &page else { return page };
        match Box::pin(self.keeper.renew(&self.asking)).await {
            Ok(true) => self.ask_once(request).await,
            Ok(false) => page,
            Err(stop) => Page::Not(stop),
        }
    }

    async fn ask_once(&self, request: &Request) -> Page {
        let Asking { platform, fetch, .. } = &self.asking;
        if let Err(end) = self.gate.pass(*platform).await {
            return Page::Not(Stop::Account(end));
        }
        let Answer { status, headers, body, bytes } = match fetch.fetch(request, self.keeper.credential()).await {
            Ok(answer) => answer,
            Err(trouble) => return Page::Not(trouble.into()),
        };
        let now = platform.now();
        let judged = verdict::Answer { status, headers: &headers, body: body.as_ref() };
        Page::Not(match (verdict(&self.polling.signs, &judged, now), body) {
            (Verdict::Ok, Some(body)) => return Page::Is(Taken { headers, body, bytes }),
            // "204 No Content" holds no records, where a resource may lack them.
            (Verdict::Ok, None) if bytes == 0 => return Page::Is(Taken { headers, body: Value::Null, bytes }),
            (Verdict::Reset, _) => return Page::Reset,
            (Verdict::Ok, None) => Trouble::Theirs(format!("the answer is no JSON, status {}", status.as_u16())).into(),
            (Verdict::RateLimited { after }, _) => Stop::Account(self.gate.put_off(now.plus(after), now)),
            // That a consent is over its token endpoint says: another may hand on what one of its own was told.
            (Verdict::GrantRevoked | Verdict::TokenExpired, _) => Trouble::Unauthorised.into(),
            (Verdict::Failed { reason }, _) => Trouble::Theirs(reason).into(),
        })
    }
}
