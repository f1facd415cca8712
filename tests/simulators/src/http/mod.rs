//! No provider in particular: a JSON API as many are, for connectors to anything.
//!
//! *Promise:* the same records by five ways of paging, each with its own trap: a cursor reads what was there when it began and
//! may expire; a `Link` header, a page's number and an offset count, so what changes meanwhile is skipped or told twice; a
//! whole URL in the body is to be followed as it is. Records may be asked for by the time of their last change, inclusively.
//! Who asks shows a token, a key or a password, whatever the API wants.
//!
//! | path | page | next |
//! |---|---|---|
//! | `/cursor/{collection}?limit=&cursor=` | `data` | `meta.next_cursor`, null at the end |
//! | `/link/{collection}?per_page=&page=` | the body | header `Link`, `rel="next"` (RFC 8288) |
//! | `/page/{collection}?per_page=&page=` | `results` | `page` and `pages` |
//! | `/offset/{collection}?limit=&offset=` | `items` | `total` |
//! | `/next/{collection}?limit=` | `value` | `next`, a whole URL; missing at the end |
//!
//! Also `updated_since` (RFC 3339) and `include_deleted=true` on each, and `/{way}/{collection}/{id}`. Tokens are those of
//! RFC 6749 at `/oauth/token`.
//!
//! Sources: RFC 8288, RFC 6749; providers.md §8.6 and §8.7 (the ways of paging that Nango and Airbyte know).

mod api;

use std::collections::BTreeMap;
use std::time::Duration;

use events::Timestamp;
use serde_json::{Map, Value, json};

use crate::clock::Clock;
use crate::exchange::{Answer, Request};
use crate::faults::Refusal;
use crate::oauth::{Grants, Rotation, Rules, Tokens};
use crate::server::{Provider, Simulator};

const RULES: Rules = Rules {
    access: Duration::from_secs(3600),
    sliding: false,
    refresh: None,
    rotation: Rotation::Always,
    prefix: "access-",
};

/// What a request must show.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Needs {
    /// Nothing.
    Nothing,
    /// A bearer token of a grant.
    Bearer,
    /// This key in a header of this name.
    Header(String, String),
    /// This key in a parameter of the query of this name.
    Parameter(String, String),
    /// This name and this password.
    Basic(String, String),
}

#[derive(Clone, Debug)]
struct Record {
    fields: Map<String, Value>,
    created: Timestamp,
    updated: Timestamp,
    deleted: bool,
    /// From when on lists have it.
    listed: Timestamp,
}

/// An API.
#[derive(Debug)]
pub struct HttpApi {
    /// Who may ask, where tokens are asked for.
    pub grants: Grants,
    /// What a request must show.
    pub needs: Needs,
    /// How many records a page has that does not say how many it wants.
    pub page_size: usize,
    /// How many it has at most.
    pub largest_page: usize,
    /// How long it takes from now on until a change appears in lists; until then they have the record as it was.
    pub lag: Duration,
    clock: Clock,
    url: String,
    /// Each record's states, the latest last.
    collections: BTreeMap<String, BTreeMap<u64, Vec<Record>>>,
    cursors: BTreeMap<String, Option<(Vec<Value>, usize)>>,
    made: u64,
}

impl HttpApi {
    /// An empty API, on a socket.
    #[must_use]
    pub fn start(now: Timestamp) -> Simulator<Self> {
        Simulator::start(now, |clock, url| Self {
            grants: Grants::new(clock, RULES),
            needs: Needs::Bearer,
            page_size: 20,
            largest_page: 100,
            lag: Duration::ZERO,
            clock: clock.clone(),
            url: url.to_owned(),
            collections: BTreeMap::new(),
            cursors: BTreeMap::new(),
            made: 0,
        })
    }

    /// A user agrees: tokens, as if a code had been exchanged.
    pub fn connect(&mut self) -> Tokens {
        self.grants.grant("account-1")
    }

    /// Makes a collection that has nothing in it, where it is not there.
    pub fn collection(&mut self, name: &str) {
        self.collections.entry(name.to_owned()).or_default();
    }

    /// Creates a record now, in a collection that is made where it is not there; its id.
    pub fn create(&mut self, collection: &str, fields: &Value) -> String {
        self.made += 1;
        let (id, now) = (self.made, self.clock.now());
        let fields = fields.as_object().cloned().unwrap_or_default();
        let record = Record { fields, created: now, updated: now, deleted: false, listed: now.plus(self.lag) };
        self.collections.entry(collection.to_owned()).or_default().insert(id, vec![record]);
        id.to_string()
    }

    /// Changes fields of a record now.
    pub fn update(&mut self, collection: &str, id: &str, fields: &Value) {
        let fields = fields.as_object().cloned().unwrap_or_default();
        self.change(collection, id, |record| record.fields.extend(fields));
    }

    /// Deletes a record now; it is seen by `include_deleted=true` only.
    pub fn delete(&mut self, collection: &str, id: &str) {
        self.change(collection, id, |record| record.deleted = true);
    }

    /// All cursors have expired: 410.
    pub fn expire_cursors(&mut self) {
        for cursor in self.cursors.values_mut() {
            *cursor = None;
        }
    }

    fn change(&mut self, collection: &str, id: &str, change: impl FnOnce(&mut Record)) {
        let (now, lag) = (self.clock.now(), self.lag);
        let Ok(id) = id.parse() else { return };
        let Some(states) = self.collections.get_mut(collection).and_then(|records| records.get_mut(&id)) else {
            return;
        };
        if let Some(last) = states.last() {
            let mut record = Record { updated: now, listed: now.plus(lag), ..last.clone() };
            change(&mut record);
            states.push(record);
        }
    }
}

/// A record as answers have it.
fn shown(id: u64, record: &Record) -> Value {
    let mut shown = if record.deleted { Map::new() } else { record.fields.clone() };
    shown.insert("id".into(), id.into());
    shown.insert("created_at".into(), record.created.iso_millis().into());
    shown.insert("updated_at".into(), record.updated.iso_millis().into());
    if record.deleted {
        shown.insert("deleted_at".into(), record.updated.iso_millis().into());
    }
    Value::Object(shown)
}

impl Provider for HttpApi {
    fn answer(&mut self, request: &Request) -> Answer {
        self.respond(request)
    }

    fn refuse(&mut self, refusal: Refusal, _request: &Request) -> Answer {
        match refusal {
            Refusal::TooMany(_) => Answer::json(429, &json!({"error": "too_many_requests"})),
            Refusal::Broken(status) => Answer::json(status, &json!({"error": "internal"})),
        }
    }

    fn grants(&mut self) -> &mut Grants {
        &mut self.grants
    }
}
