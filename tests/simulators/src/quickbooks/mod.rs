//! QuickBooks Online's accounting API, as far as polling and OAuth need it.
//!
//! *Promise:* change data capture gives at most 1000 objects over all entities together, without a next page and without
//! saying that there were more; it looks back 30 days; deleted objects keep an id, a status and a time. A query does not
//! see what was deleted, nor, unless asked, what is inactive. Faults come with 200 too. Times are California's, with their
//! offset, at seconds (providers.md §3.7, §3.8).
//!
//! Where Intuit says nothing, the simulator is the least convenient: `changedSince` is exclusive, no order is promised
//! (descending ids), a time without an offset is California's.
//!
//! *Not here:* answers in XML beyond their frame, reports, batches, writing through the API.
//!
//! Sources: providers.md §3.7–§3.10; developer.intuit.com/app/developer/qbo/docs/learn/explore-the-quickbooks-online-api/
//! (`change-data-capture`, `data-queries`), …/docs/learn/limits-and-throttles.

mod api;
mod cdc;
mod faults;
mod oauth;
mod query;
mod select;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use events::Timestamp;
use events::time::DAY_MS;
use serde_json::{Map, Value, json};

use crate::budget::Budget;
use crate::clock::Clock;
use crate::exchange::{Answer, Request};
use crate::faults::Refusal;
use crate::oauth::{Grants, Rotation, Rules, Tokens};
use crate::server::{Provider, Simulator};
use crate::times::{floor, pacific};

/// providers.md §3.10: an hour, 101 days, and another refresh token about every day.
const RULES: Rules = Rules {
    access: Duration::from_secs(3600),
    sliding: false,
    refresh: Some(Duration::from_secs(8_726_400)),
    rotation: Rotation::After(Duration::from_millis(DAY_MS.unsigned_abs())),
    prefix: "eyJsimulated..",
};

/// Entities of lists: they are made inactive, not deleted.
const LISTS: [&str; 8] = ["Account", "Class", "Customer", "Department", "Employee", "Item", "Term", "Vendor"];
/// Transactions: they are deleted.
const TRANSACTIONS: [&str; 12] = [
    "Bill",
    "BillPayment",
    "CreditMemo",
    "Deposit",
    "Estimate",
    "Invoice",
    "JournalEntry",
    "Payment",
    "Purchase",
    "PurchaseOrder",
    "SalesReceipt",
    "VendorCredit",
];
/// providers.md §3.7: change data capture does not know them.
const WITHOUT_CDC: [&str; 5] = ["JournalCode", "TaxAgency", "TimeActivity", "TaxCode", "TaxRate"];

/// One object as it is, or was until it was deleted.
#[derive(Clone, Debug)]
struct Object {
    fields: Map<String, Value>,
    sync_token: u64,
    active: Option<bool>,
    created: Timestamp,
    updated: Timestamp,
    deleted: bool,
    /// From when on it is found as this.
    found: Timestamp,
    /// What it is found as until then.
    before: Option<Box<Object>>,
}

impl Object {
    /// The object as it is found at a time.
    fn found(&self, now: Timestamp) -> Option<&Self> {
        if self.found <= now { Some(self) } else { self.before.as_ref()?.found(now) }
    }
}

/// How the provider refuses when there were too many requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Throttle {
    /// In JSON.
    Json,
    /// In XML, whatever was accepted, as routablehq/python-quickbooks#43 saw it.
    Xml,
}

/// A company.
#[derive(Debug)]
pub struct QuickBooks {
    /// Who may ask.
    pub grants: Grants,
    /// The company's number: the account of its grants.
    pub realm: String,
    /// How many objects change data capture gives at most. Intuit: 1000 (providers.md §3.7).
    pub cdc_limit: usize,
    /// How long it takes from now on until a change is found by change data capture and queries. Whether it takes any time
    /// Intuit does not say.
    pub lag: Duration,
    /// Whether more than 500 requests in a minute, and 10 in a second, of the provider's clock are refused
    /// (providers.md §3.9). Off from the start: a clock that stands still never gives a new second.
    pub limited: bool,
    /// How it refuses when there were too many requests.
    pub throttle: Throttle,
    minute: Budget,
    second: Budget,
    clock: Clock,
    url: String,
    objects: BTreeMap<String, BTreeMap<u64, Object>>,
    broken: BTreeSet<String>,
    made: u64,
}

impl QuickBooks {
    /// An empty company, on a socket.
    #[must_use]
    pub fn start(now: Timestamp) -> Simulator<Self> {
        Simulator::start(now, Self::new)
    }

    fn new(clock: &Clock, url: &str) -> Self {
        let names = LISTS.into_iter().chain(TRANSACTIONS).chain(WITHOUT_CDC);
        Self {
            grants: Grants::new(clock, RULES),
            realm: "9341453474484455".into(),
            cdc_limit: 1000,
            lag: Duration::ZERO,
            limited: false,
            throttle: Throttle::Json,
            minute: Budget::new(500, Duration::from_secs(60)),
            second: Budget::new(10, Duration::from_secs(1)),
            clock: clock.clone(),
            url: url.to_owned(),
            objects: names.map(|name| (name.to_owned(), BTreeMap::new())).collect(),
            broken: BTreeSet::new(),
            made: 0,
        }
    }

    /// A user of the company agrees: tokens, as if a code had been exchanged.
    pub fn connect(&mut self) -> Tokens {
        self.grants.grant(&self.realm.clone())
    }

    /// Creates an object now; its id.
    ///
    /// # Panics
    /// When there is no such entity.
    pub fn create(&mut self, entity: &str, fields: &Value) -> String {
        self.made += 1;
        let now = floor(self.clock.now(), 1000);
        let object = Object {
            fields: fields.as_object().cloned().unwrap_or_default(),
            sync_token: 0,
            active: LISTS.contains(&entity).then_some(true),
            created: now,
            updated: now,
            deleted: false,
            found: self.clock.now().plus(self.lag),
            before: None,
        };
        let id = self.made;
        self.entity(entity).insert(id, object);
        id.to_string()
    }

    /// Changes fields of an object now.
    pub fn update(&mut self, entity: &str, id: &str, fields: &Value) {
        let fields = fields.as_object().cloned().unwrap_or_default();
        self.change(entity, id, |object| object.fields.extend(fields));
    }

    /// Makes an object of a list inactive, or active again.
    pub fn set_active(&mut self, entity: &str, id: &str, active: bool) {
        self.change(entity, id, |object| object.active = Some(active));
    }

    /// Deletes an object now, for good.
    pub fn delete(&mut self, entity: &str, id: &str) {
        self.change(entity, id, |object| object.deleted = true);
    }

    /// From now on change data capture has a fault in the place of this entity's objects, or no longer.
    pub fn set_broken(&mut self, entity: &str, broken: bool) {
        if broken {
            self.broken.insert(entity.to_owned());
        } else {
            self.broken.remove(entity);
        }
    }

    fn change(&mut self, entity: &str, id: &str, change: impl FnOnce(&mut Object)) {
        let (now, found) = (floor(self.clock.now(), 1000), self.clock.now().plus(self.lag));
        let Ok(id) = id.parse() else { return };
        if let Some(object) = self.entity(entity).get_mut(&id) {
            (object.before, object.found) = (Some(Box::new(object.clone())), found);
            object.sync_token += 1;
            object.updated = now;
            change(object);
        }
    }

    fn entity(&mut self, entity: &str) -> &mut BTreeMap<u64, Object> {
        self.objects.get_mut(entity).unwrap_or_else(|| panic!("no entity {entity}"))
    }

    /// The name of the entity that is written so, whatever its case.
    fn named(&self, entity: &str) -> Option<&str> {
        self.objects.keys().find(|known| known.eq_ignore_ascii_case(entity)).map(String::as_str)
    }
}

/// An object as answers have it.
fn shown(id: u64, object: &Object) -> Value {
    if object.deleted {
        let meta = json!({"LastUpdatedTime": pacific(object.updated)});
        return json!({"domain": "QBO", "status": "Deleted", "Id": id.to_string(), "MetaData": meta});
    }
    let mut shown = object.fields.clone();
    let meta = json!({"CreateTime": pacific(object.created), "LastUpdatedTime": pacific(object.updated)});
    let system = [
        ("Id", json!(id.to_string())),
        ("SyncToken", json!(object.sync_token.to_string())),
        ("MetaData", meta),
        ("domain", json!("QBO")),
        ("sparse", json!(false)),
    ];
    shown.extend(system.map(|(name, value)| (name.to_owned(), value)));
    if let Some(active) = object.active {
        shown.insert("Active".into(), active.into());
    }
    Value::Object(shown)
}

impl Provider for QuickBooks {
    fn answer(&mut self, request: &Request) -> Answer {
        self.respond(request)
    }

    fn refuse(&mut self, refusal: Refusal, _request: &Request) -> Answer {
        match refusal {
            Refusal::TooMany(_) => self.too_many(),
            Refusal::Broken(status) => {
                let message = "An application error has occurred while processing your request";
                self.fault(status, "SystemFault", "10000", message, "System Failure Error")
            }
        }
    }

    fn grants(&mut self) -> &mut Grants {
        &mut self.grants
    }
}
