//! Salesforce's REST API, as far as polling and OAuth need it.
//!
//! *Promise:* records with the times that Salesforce gives them, at seconds; what a long transaction commits carries the time
//! at which it was written, not that of its commit (providers.md §5.3); what is deleted lies in the recycle bin, in sight of
//! `queryAll` only, until it is purged, and in the log of deletions afterwards.
//!
//! Where Salesforce promises no order, the simulator's is the least convenient one: descending ids.
//!
//! *Not here:* relations, aggregates, SOSL, the Bulk and SOAP APIs, writing through the API.
//!
//! Sources: providers.md §5.3, §5.4; developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/ (`resources_query`,
//! `resources_queryall`, `resources_getupdated`, `resources_getdeleted`, `errorcodes`).

mod api;
mod ids;
mod query;
mod replication;
mod soql;

use std::collections::BTreeMap;
use std::time::Duration;

use events::Timestamp;
use serde_json::{Map, Value};

use crate::clock::Clock;
use crate::exchange::{Answer, Request};
use crate::faults::Refusal;
use crate::oauth::{Grants, Rotation, Rules, Tokens};
use crate::server::{Provider, Simulator};
use crate::times::floor;

const SECOND_MS: i64 = 1000;

/// providers.md §5.4: there is no `expires_in`; a session lives as long as the org says, by default two hours, from its last
/// use.
const RULES: Rules = Rules {
    access: Duration::from_secs(2 * 60 * 60),
    sliding: true,
    refresh: None,
    rotation: Rotation::Never,
    prefix: "00DxX0000000001!AQ",
};

/// What a field holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A record's id.
    Id,
    /// Text.
    Text,
    /// A point in time.
    Instant,
    /// True or false.
    Bool,
    /// A number.
    Number,
}

/// What every object has, besides what its records bring.
const SYSTEM_FIELDS: [(&str, Kind); 5] = [
    ("Id", Kind::Id),
    ("IsDeleted", Kind::Bool),
    ("CreatedDate", Kind::Instant),
    ("LastModifiedDate", Kind::Instant),
    ("SystemModstamp", Kind::Instant),
];

/// The objects that are there from the start, with the prefixes of their ids.
const OBJECTS: [(&str, &str); 5] =
    [("Account", "001"), ("Contact", "003"), ("Opportunity", "006"), ("Lead", "00Q"), ("Case", "500")];

#[derive(Debug)]
struct Object {
    prefix: String,
    fields: BTreeMap<String, Kind>,
}

/// One record as it was last committed.
#[derive(Clone, Debug)]
pub struct Record {
    /// Which object it is of.
    pub object: String,
    /// The fields that are not the system's.
    pub fields: Map<String, Value>,
    /// `CreatedDate`.
    pub created: Timestamp,
    /// `LastModifiedDate`.
    pub modified: Timestamp,
    /// `SystemModstamp`.
    pub modstamp: Timestamp,
    /// When it was deleted.
    pub deleted: Option<Timestamp>,
    /// Whether it has left the recycle bin.
    pub purged: bool,
}

/// What a transaction does to one record.
#[derive(Clone, Debug)]
enum Write {
    Create(String, Map<String, Value>),
    Update(Map<String, Value>),
    Touch,
    Delete,
    Undelete,
}

#[derive(Clone, Debug)]
struct Pending {
    id: String,
    write: Write,
    written: Timestamp,
    commit: Timestamp,
}

/// An org.
#[derive(Debug)]
pub struct Salesforce {
    /// Who may ask.
    pub grants: Grants,
    /// The org's id: the account of its grants.
    pub org: String,
    /// How many records a page has at most, whatever the client asks. Salesforce: 2000, or fewer (providers.md §5.3).
    pub page_size: usize,
    /// How many queries may have pages left to read: the oldest is forgotten when there are more. Salesforce: 10 of a user
    /// (simple-salesforce/simple-salesforce#95).
    pub open_queries: usize,
    /// How many API requests the org may make in a day; beyond, they are refused.
    pub daily_requests: usize,
    /// How many it has made.
    pub requests_made: usize,
    /// How many ids `updated` and `deleted` give at most. Salesforce: 600 000 (providers.md §5.3).
    pub id_limit: usize,
    clock: Clock,
    url: String,
    objects: BTreeMap<String, Object>,
    records: BTreeMap<String, Record>,
    pending: Vec<Pending>,
    locators: BTreeMap<String, Vec<Value>>,
    deletions_from: Timestamp,
    made: u64,
}

impl Salesforce {
    /// An org of which nothing is known yet, on a socket.
    #[must_use]
    pub fn start(now: Timestamp) -> Simulator<Self> {
        Simulator::start(now, Self::new)
    }

    fn new(clock: &Clock, url: &str) -> Self {
        let org = "00DxX0000000001EAA".to_owned();
        let mut grants = Grants::new(clock, RULES);
        grants.own_account = Some(org.clone());
        let mut org = Self {
            grants,
            org,
            page_size: 2000,
            open_queries: 10,
            daily_requests: 100_000,
            requests_made: 0,
            id_limit: 600_000,
            clock: clock.clone(),
            url: url.to_owned(),
            objects: BTreeMap::new(),
            records: BTreeMap::new(),
            pending: Vec::new(),
            locators: BTreeMap::new(),
            deletions_from: Timestamp::from_millis(i64::MIN),
            made: 0,
        };
        for (name, prefix) in OBJECTS {
            org.add_object(name, prefix);
        }
        org
    }

    /// A custom object, or a standard one that is not there yet.
    pub fn add_object(&mut self, name: &str, prefix: &str) {
        let mut fields = BTreeMap::from(SYSTEM_FIELDS.map(|(field, kind)| (field.to_owned(), kind)));
        fields.insert("Name".into(), Kind::Text);
        self.objects.insert(name.to_owned(), Object { prefix: prefix.to_owned(), fields });
    }

    /// A user of the org agrees: tokens, as if a code had been exchanged.
    pub fn connect(&mut self) -> Tokens {
        self.grants.grant(&self.org.clone())
    }

    /// Creates a record now; its id. Fields that the object does not have yet are added to it.
    pub fn create(&mut self, object: &str, fields: &Value) -> String {
        self.create_in_transaction(object, fields, self.clock.now())
    }

    /// Creates a record now, in a transaction that commits later: until then nobody sees it, then it is seen with the times
    /// of now.
    ///
    /// # Panics
    /// When there is no such object.
    pub fn create_in_transaction(&mut self, object: &str, fields: &Value, commit: Timestamp) -> String {
        let known = self.objects.get_mut(object).unwrap_or_else(|| panic!("no object {object}"));
        let fields = fields.as_object().cloned().unwrap_or_default();
        for (name, value) in &fields {
            let kind = match value {
                Value::Bool(_) => Kind::Bool,
                Value::Number(_) => Kind::Number,
                _ => Kind::Text,
            };
            known.fields.entry(name.clone()).or_insert(kind);
        }
        self.made += 1;
        let id = ids::make(&known.prefix, self.made);
        self.write(&id, Write::Create(object.to_owned(), fields), commit);
        id
    }

    /// Changes fields of a record now.
    pub fn update(&mut self, id: &str, fields: &Value) {
        self.update_in_transaction(id, fields, self.clock.now());
    }

    /// Changes fields of a record now, in a transaction that commits later.
    pub fn update_in_transaction(&mut self, id: &str, fields: &Value, commit: Timestamp) {
        self.write(id, Write::Update(fields.as_object().cloned().unwrap_or_default()), commit);
    }

    /// The system changes a record: `SystemModstamp` moves, `LastModifiedDate` does not.
    pub fn touch(&mut self, id: &str) {
        self.write(id, Write::Touch, self.clock.now());
    }

    /// Moves a record to the recycle bin.
    pub fn delete(&mut self, id: &str) {
        self.write(id, Write::Delete, self.clock.now());
    }

    /// Takes a record back from the recycle bin.
    pub fn undelete(&mut self, id: &str) {
        self.write(id, Write::Undelete, self.clock.now());
    }

    /// Empties the recycle bin: `queryAll` no longer sees what was in it, the log of deletions still does.
    pub fn empty_recycle_bin(&mut self) {
        for record in self.records.values_mut().filter(|record| record.deleted.is_some()) {
            record.purged = true;
        }
    }

    /// The log of deletions forgets what was before `at` (providers.md §5.3: it is purged when it is large).
    pub fn forget_deletions_before(&mut self, at: Timestamp) {
        self.deletions_from = self.deletions_from.max(at);
    }

    /// All open queries are forgotten: their next pages are `INVALID_QUERY_LOCATOR`.
    pub fn expire_locators(&mut self) {
        self.locators.clear();
    }

    /// A record as it is committed by now.
    pub fn record(&mut self, id: &str) -> Option<&Record> {
        self.settle();
        self.records.get(id)
    }

    fn write(&mut self, id: &str, write: Write, commit: Timestamp) {
        // Seconds: providers.md §5.3 shows every time with `.000`.
        let written = floor(self.clock.now(), SECOND_MS);
        self.pending.push(Pending { id: id.to_owned(), write, written, commit });
        self.settle();
    }

    /// Commits what is to be committed by now.
    fn settle(&mut self) {
        let now = self.clock.now();
        let mut due: Vec<Pending> = self.pending.extract_if(.., |pending| pending.commit <= now).collect();
        due.sort_by_key(|pending| pending.commit);
        for Pending { id, write, written, .. } in due {
            if let Write::Create(object, fields) = write {
                let times = (written, written, written);
                let (created, modified, modstamp) = times;
                let record = Record { object, fields, created, modified, modstamp, deleted: None, purged: false };
                self.records.insert(id, record);
                continue;
            }
            let Some(record) = self.records.get_mut(&id) else { continue };
            match write {
                Write::Update(fields) => {
                    record.fields.extend(fields);
                    record.modified = written;
                }
                Write::Delete => {
                    record.deleted = Some(written);
                    record.modified = written;
                }
                Write::Undelete if !record.purged => {
                    record.deleted = None;
                    record.modified = written;
                }
                Write::Create(..) | Write::Touch | Write::Undelete => {}
            }
            record.modstamp = written;
        }
    }

    /// The name of the object that is written so, whatever its case.
    fn object(&self, name: &str) -> Option<&str> {
        self.objects.keys().find(|known| known.eq_ignore_ascii_case(name)).map(String::as_str)
    }
}

impl Provider for Salesforce {
    fn answer(&mut self, request: &Request) -> Answer {
        self.settle();
        self.respond(request)
    }

    fn refuse(&mut self, refusal: Refusal, _request: &Request) -> Answer {
        match refusal {
            // Salesforce knows no 429 here: providers.md §5.3, 403 without `Retry-After`.
            Refusal::TooMany(_) => api::Problem::TooMany.answer(),
            Refusal::Broken(status) => api::Problem::Broken(status).answer(),
        }
    }

    fn grants(&mut self) -> &mut Grants {
        &mut self.grants
    }
}
