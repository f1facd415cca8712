//! From one page to the next.
//!
//! *Promise:* reading ends. Each page leads to another [`Turn`], to the end, or to an error: a page that was asked for
//! before is not asked for again, so many empty pages in a row are enough, and a budget bounds them all. A URL that a
//! provider gives is followed only to where the first request went: the customer's token never travels to another host.
//!
//! | kind | the next page is |
//! |---|---|
//! | `offset` | so many records further; the end is a page that is not full |
//! | `page` | the next number; the same |
//! | `cursor` | what stands at a path of the body, as a parameter, a field of the body, or `{cursor}` in the request |
//! | `link` | the header `Link: <…>; rel="next"` (RFC 8288); `stable` where that is no page's number |
//! | `url` | the URL that stands at a path of the body; it may be relative; `stable` the same |
//! | `since` | the same query again, from the last record's date on: for providers that order by it, and shift nothing |
//!
//! A query may be capped (`restart`): beyond so many records it begins again as `since` does. One that counts by offset or
//! by cursor may do so at every page (`from_last`): whatever changes while it reads then shifts nothing past the reader,
//! unless a whole page is of one date, through which it counts.
//!
//! *Failure:* [`PagingError`] means that the query was not read to its end. What was read counts as a part.

mod link;

use std::collections::BTreeSet;

use events::Timestamp;
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use crate::path::Path;

/// How a query goes on.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Paging {
    /// By counting records.
    Offset(Counting),
    /// By numbering pages.
    Page(Counting),
    /// By a word of the provider's.
    Cursor(Cursor),
    /// By a header.
    Link(Link),
    /// By a URL in the body.
    Url(NextUrl),
    /// By the last record's date.
    Since(Since),
}

/// How records or pages are counted.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counting {
    /// The parameter of the query that says where the page begins.
    pub query: Option<String>,
    /// The field of the body that says so.
    pub body: Option<String>,
    /// What the first page is.
    #[serde(default)]
    pub first: u64,
    /// Whether the next page begins at the last record's date, where that is later than what the query asks from: only
    /// records of one date are counted then. Of an offset.
    #[serde(default)]
    pub from_last: bool,
}

/// Where a cursor is and where it goes. With neither `query` nor `body` the request says `{cursor}`.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// Where it stands in the body.
    pub from: Path,
    /// The parameter of the query that takes it.
    pub query: Option<String>,
    /// The field of the body that takes it.
    pub body: Option<String>,
    /// What says whether there is more, where a cursor is there at the end too.
    pub more: Option<Path>,
    /// The path that takes it, where that is another.
    pub path: Option<String>,
    /// Whether it is all of the body.
    #[serde(default)]
    pub alone: bool,
    /// How many records the provider shows of one query.
    pub restart: Option<u64>,
    /// Whether it is a count in disguise, and the next page begins at the last record's date as that of an offset may.
    #[serde(default)]
    pub from_last: bool,
}

/// The header `Link`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Whether it leads on from the last record, whatever changed meanwhile. Many links only count pages.
    #[serde(default)]
    pub stable: bool,
}

/// Where a URL stands in the body.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NextUrl {
    /// Where.
    pub at: Path,
    /// Whether it leads on from the last record, whatever changed meanwhile. Many URLs only count pages.
    #[serde(default)]
    pub stable: bool,
}

/// From the last record's date on.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Since {}

/// Which page to ask for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Turn {
    /// The first.
    #[default]
    First,
    /// The one that begins so many records further.
    Offset(u64),
    /// The one of that number.
    Page(u64),
    /// The one that the cursor names.
    Cursor(String),
    /// The one at a URL, whose host was checked.
    Url(String),
    /// The first of the query from that date on.
    Since(Timestamp),
}

/// A page that came.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// The URL that it was asked for at.
    pub url: &'a str,
    /// The answer's headers.
    pub headers: &'a HeaderMap,
    /// The answer's body.
    pub body: &'a Value,
    /// How many records it holds.
    pub records: usize,
    /// How many were asked for, where that is known.
    pub page_size: Option<u32>,
    /// The last record's date, where records come in the order of dates.
    pub last: Option<Timestamp>,
}

/// What comes after a page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// Another page.
    Turn(Turn),
    /// Nothing: the query is read.
    End,
    /// More, which the budget, or the provider, does not let be read.
    Budget,
}

/// Why reading cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PagingError {
    /// It would ask for what it asked for before.
    #[error("page {0} leads to a page that was read before")]
    Repeats(u32),
    /// Pages without records, and each with a next.
    #[error("{EMPTY_PAGES} pages in a row were empty and led on")]
    Empty,
    /// The next page would be at another host.
    #[error("the next page is at {0}, not where the query went; credentials are not sent there")]
    OtherHost(String),
    /// What should lead on is no URL, or no cursor.
    #[error("what leads to the next page cannot be read")]
    Unreadable,
    /// More records of one date than a query shows.
    #[error("more records have one date than the provider shows of a query")]
    OneDate,
}

/// What is known of the pages of a query so far.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Pages that may be read.
    budget: u32,
    pages: u32,
    /// Records of the query, since it began or began again.
    records: u64,
    empty: u32,
    /// From when the query asks.
    since: Timestamp,
    turn: Turn,
    turns: BTreeSet<String>,
    beyond: bool,
    /// The last date of the last page, where records come in the order of dates.
    last: Option<Timestamp>,
    /// The last date of the page after which records were counted first; the date is none where they come in no order.
    counted: Option<Option<Timestamp>>,
}

/// Empty pages in a row that are enough: Dropbox sends some, nobody sends so many.
const EMPTY_PAGES: u32 = 20;
/// Longest cursor in bytes: what fits into any URL.
const CURSOR_BYTES: usize = 8 * 1024;

impl Progress {
    /// Before the first page of a query that asks `since`; `budget` pages may be read.
    #[must_use]
    pub fn new(since: Timestamp, budget: u32) -> Self {
        let (turn, turns) = (Turn::First, BTreeSet::new());
        Self { budget, pages: 0, records: 0, empty: 0, since, turn, turns, beyond: false, last: None, counted: None }
    }

    /// Before the first page of a query that goes on where a cursor left it.
    #[must_use]
    pub fn resuming(cursor: &str, budget: u32) -> Self {
        Self { turn: Turn::Cursor(cursor.to_owned()), ..Self::new(Timestamp::from_millis(0), budget) }
    }

    /// Which page is to be asked for.
    #[must_use]
    pub fn turn(&self) -> &Turn {
        &self.turn
    }

    /// From when the query asks by now.
    #[must_use]
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// The last date of the last page.
    pub(crate) fn last(&self) -> Option<Timestamp> {
        self.last
    }

    /// The last date of what was read before any records were counted; `None`: none were.
    pub(crate) fn counted(&self) -> Option<Option<Timestamp>> {
        self.counted
    }

    /// Notes a page's last date.
    pub(crate) fn note(&mut self, last: Option<Timestamp>) {
        self.last = last.or(self.last);
    }

    /// Notes the only page of a query that does not go on. `cut`: there would be more; `beyond`: which is asked for in
    /// another way, from its beginning.
    pub(crate) fn only_page(&mut self, cut: bool, beyond: bool) -> Next {
        self.pages += 1;
        if !cut {
            return Next::End;
        }
        if !beyond || self.pages >= self.budget {
            return Next::Budget;
        }
        (self.beyond, self.last) = (true, None);
        Next::Turn(Turn::First)
    }

    /// Whether an answer was cut off, and the rest is asked for in another way.
    #[must_use]
    pub fn is_beyond(&self) -> bool {
        self.beyond
    }

    /// How many pages were read.
    #[must_use]
    pub fn pages(&self) -> u32 {
        self.pages
    }
}

impl Paging {
    /// Whether it counts, or may: then what changes while it reads may shift records past the reader.
    #[must_use]
    pub fn counts(&self) -> bool {
        match self {
            Self::Offset(_) | Self::Page(_) => true,
            Self::Link(Link { stable }) | Self::Url(NextUrl { stable, .. }) => !stable,
            Self::Cursor(Cursor { from_last, .. }) => *from_last,
            Self::Since(_) => false,
        }
    }

    /// Whether it begins again from the last record's date: then records come in that order, in pages of a known size.
    #[must_use]
    pub fn restarts(&self) -> bool {
        match self {
            Self::Offset(counting) => counting.from_last,
            Self::Cursor(cursor) => cursor.from_last || cursor.restart.is_some(),
            Self::Since(_) => true,
            Self::Page(_) | Self::Link(_) | Self::Url(_) => false,
        }
    }

    /// What comes after a page. [`Progress`] is where it stands afterwards.
    ///
    /// # Errors
    /// [`PagingError`].
    pub fn next(&self, page: &Received<'_>, progress: &mut Progress) -> Result<Next, PagingError> {
        progress.pages += 1;
        progress.records += page.records as u64;
        progress.empty = if page.records == 0 { progress.empty + 1 } else { 0 };
        let full = page.records > 0 && page.page_size.is_none_or(|size| page.records >= size as usize);
        let turn = match self {
            Self::Offset(counting) => full.then(|| {
                let again = from_last(counting.from_last, page, progress);
                again.unwrap_or(Turn::Offset(counting.first + progress.records))
            }),
            Self::Page(counting) => full.then(|| Turn::Page(counting.first + u64::from(progress.pages))),
            Self::Cursor(cursor) => cursor.next(page, progress)?,
            Self::Link(_) => link::next(page.headers).map(|url| followed(page.url, &url)).transpose()?,
            Self::Url(NextUrl { at, .. }) => match at.find(page.body) {
                None | Some(Value::Null | Value::Bool(false)) => None,
                Some(Value::String(url)) if url.trim().is_empty() => None,
                Some(Value::String(url)) => Some(followed(page.url, url)?),
                Some(_) => return Err(PagingError::Unreadable),
            },
            Self::Since(Since {}) => full.then(|| restarted(page, progress)).transpose()?,
        };
        let Some(turn) = turn else { return Ok(Next::End) };
        if progress.empty >= EMPTY_PAGES {
            return Err(PagingError::Empty);
        }
        let key = match &turn {
            Turn::Since(date) => format!("since {}", date.as_millis()),
            Turn::Cursor(cursor) => format!("{} {cursor}", progress.since.as_millis()),
            Turn::Url(url) => url.clone(),
            Turn::First | Turn::Offset(_) | Turn::Page(_) => format!("{} {turn:?}", progress.since.as_millis()),
        };
        let first = matches!(&turn, Turn::Url(url) if url == page.url);
        if first || !progress.turns.insert(key) {
            return Err(PagingError::Repeats(progress.pages));
        }
        if self.counts() && !matches!(turn, Turn::Since(_)) {
            progress.counted = progress.counted.or(Some(page.last));
        }
        if progress.pages >= progress.budget {
            return Ok(Next::Budget);
        }
        if let Turn::Since(date) = turn {
            (progress.since, progress.records) = (date, 0);
        }
        progress.turn = turn.clone();
        Ok(Next::Turn(turn))
    }
}

impl Cursor {
    fn next(&self, page: &Received<'_>, progress: &Progress) -> Result<Option<Turn>, PagingError> {
        if self.more.as_ref().is_some_and(|more| !is_true(more.find(page.body))) {
            return Ok(None);
        }
        let cursor = match self.from.find(page.body) {
            None | Some(Value::Null | Value::Bool(false)) => return Ok(None),
            Some(Value::String(cursor)) if cursor.trim().is_empty() => return Ok(None),
            Some(Value::String(cursor)) if cursor.len() <= CURSOR_BYTES => cursor.clone(),
            Some(Value::Number(number)) => number.to_string(),
            Some(_) => return Err(PagingError::Unreadable),
        };
        if let Some(again) = from_last(self.from_last, page, progress) {
            return Ok(Some(again));
        }
        // The next page would go beyond what the provider shows of one query.
        let next_page = page.page_size.map_or(page.records as u64, u64::from);
        if self.restart.is_some_and(|most| progress.records + next_page > most) {
            return restarted(page, progress).map(Some);
        }
        Ok(Some(Turn::Cursor(cursor)))
    }
}

/// The same query from the last record's date on, where it is to be `wanted` and leads further than the query did.
fn from_last(wanted: bool, page: &Received<'_>, progress: &Progress) -> Option<Turn> {
    page.last.filter(|last| wanted && *last > progress.since).map(Turn::Since)
}

/// The same query from the last record's date on.
fn restarted(page: &Received<'_>, progress: &Progress) -> Result<Turn, PagingError> {
    match page.last {
        Some(last) if last > progress.since => Ok(Turn::Since(last)),
        _ => Err(PagingError::OneDate),
    }
}

fn is_true(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(truth)) => *truth,
        Some(Value::String(text)) => text.trim().eq_ignore_ascii_case("true"),
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        _ => false,
    }
}

/// The URL that `given` means on a page at `from`: of the same scheme, host and port.
fn followed(from: &str, given: &str) -> Result<Turn, PagingError> {
    let unreadable = |_| PagingError::Unreadable;
    let from = Url::parse(from).map_err(unreadable)?;
    let to = from.join(given.trim()).map_err(unreadable)?;
    let user = !to.username().is_empty() || to.password().is_some();
    if to.origin() != from.origin() || user {
        let port = to.port().map_or_else(String::new, |port| format!(":{port}"));
        return Err(PagingError::OtherHost(format!("{}://{}{port}", to.scheme(), to.host_str().unwrap_or_default())));
    }
    Ok(Turn::Url(to.into()))
}

#[cfg(test)]
mod tests;
