//! HubSpot's CRM API, as far as polling and OAuth need it.
//!
//! *Promise:* search sees what its index has: a change appears there some time after it happened, and changes may appear in
//! another order than they happened in ([`HubSpot::lag`]); listing sees everything at once. Search never gives more than
//! 10 000 results of a query, has one sort, and knows no archived object (providers.md §2.10). Where HubSpot promises no
//! order, the simulator's is the least convenient one: descending ids.
//!
//! A property that no object has matches nothing and is no error; whether HubSpot's search refuses it is not documented.
//!
//! *Not here:* associations, the free-text query, batch calls, the journal, writing through the API.
//!
//! Sources: providers.md §2.10, §2.11; developers.hubspot.com/docs/api-reference/search/guide ("Limitations"),
//! …/docs/developer-tooling/platform/usage-guidelines.

mod api;
mod oauth;
mod search;

use std::collections::BTreeMap;
use std::time::Duration;

use events::Timestamp;
use serde_json::Value;

use crate::budget::Budget;
use crate::clock::Clock;
use crate::exchange::{Answer, Request};
use crate::faults::Refusal;
use crate::oauth::{Grants, Rotation, Rules, Tokens};
use crate::server::{Provider, Simulator};

/// providers.md §2.11: half an hour; refresh tokens stay.
const RULES: Rules = Rules {
    access: Duration::from_secs(1800),
    sliding: false,
    refresh: None,
    rotation: Rotation::Never,
    prefix: "CNjAsimulated",
};

/// The types that are there from the start: name, number, and what is returned by default.
const TYPES: [(&str, &str, &[&str]); 4] = [
    ("contacts", "0-1", &["email", "firstname", "lastname"]),
    ("companies", "0-2", &["name", "domain"]),
    ("deals", "0-3", &["dealname", "amount", "closedate", "pipeline", "dealstage"]),
    ("tickets", "0-5", &["content", "hs_pipeline", "hs_pipeline_stage", "hs_ticket_priority", "subject"]),
];

/// How long the search index takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lag {
    /// Until a new object appears.
    pub created: Duration,
    /// Until a change or an archived object's absence does.
    pub updated: Duration,
}

/// An object as it was from some moment on.
#[derive(Clone, Debug)]
struct Version {
    at: Timestamp,
    indexed: Timestamp,
    properties: BTreeMap<String, String>,
    archived: Option<Timestamp>,
    /// The object that it is part of by now.
    merged: Option<u64>,
}

#[derive(Debug)]
struct Type {
    number: String,
    defaults: Vec<String>,
    objects: BTreeMap<u64, Vec<Version>>,
}

/// A HubSpot account.
#[derive(Debug)]
pub struct HubSpot {
    /// Who may ask.
    pub grants: Grants,
    /// The account's number (`hub_id`, `portalId`): the account of its grants.
    pub hub_id: u64,
    /// How long the search index takes from now on.
    pub lag: Lag,
    /// How many results a query has at most. HubSpot: 10 000 (providers.md §2.10).
    pub cap: usize,
    /// How many of a query's sorts count. HubSpot: one.
    pub sorts: usize,
    /// Whether more than 110 requests in 10 s, and 5 searches in 1 s, of the provider's clock are refused
    /// (providers.md §2.10). Off from the start: a clock that stands still never gives a new second.
    pub limited: bool,
    clock: Clock,
    types: BTreeMap<String, Type>,
    made: u64,
    burst: Budget,
    searches: Budget,
    correlations: u64,
}

impl HubSpot {
    /// An empty account, on a socket.
    #[must_use]
    pub fn start(now: Timestamp) -> Simulator<Self> {
        Simulator::start(now, |clock, _| Self::new(clock))
    }

    fn new(clock: &Clock) -> Self {
        let mut account = Self {
            grants: Grants::new(clock, RULES),
            hub_id: 62_515,
            lag: Lag { created: Duration::ZERO, updated: Duration::ZERO },
            cap: 10_000,
            sorts: 1,
            limited: false,
            clock: clock.clone(),
            types: BTreeMap::new(),
            made: 100,
            // providers.md §2.10: public apps, per account; searches of all types together.
            burst: Budget::new(110, Duration::from_secs(10)),
            searches: Budget::new(5, Duration::from_secs(1)),
            correlations: 0,
        };
        for (name, number, defaults) in TYPES {
            account.add_type(name, number, defaults);
        }
        account
    }

    /// A type of objects that is not there yet.
    pub fn add_type(&mut self, name: &str, number: &str, defaults: &[&str]) {
        let defaults = defaults.iter().map(ToString::to_string).collect();
        self.types.insert(name.into(), Type { number: number.into(), defaults, objects: BTreeMap::new() });
    }

    /// A user of the account agrees: tokens, as if a code had been exchanged.
    pub fn connect(&mut self) -> Tokens {
        self.grants.grant(&self.hub_id.to_string())
    }

    /// Creates an object now; its id.
    ///
    /// # Panics
    /// When there is no such type.
    pub fn create(&mut self, kind: &str, properties: &Value) -> String {
        self.made += 1;
        let (id, now) = (self.made, self.clock.now());
        let indexed = now.plus(self.lag.created);
        let mut version = Version { at: now, indexed, properties: BTreeMap::new(), archived: None, merged: None };
        version.properties.insert("createdate".into(), now.iso_millis());
        version.properties.insert("hs_object_id".into(), id.to_string());
        version.properties.insert(modified(kind).into(), now.iso_millis());
        version.properties.extend(texts(properties));
        self.kind(kind).objects.insert(id, vec![version]);
        id.to_string()
    }

    /// Changes properties of an object now.
    pub fn update(&mut self, kind: &str, id: &str, properties: &Value) {
        let properties = texts(properties);
        self.change(kind, id, |version| version.properties.extend(properties));
    }

    /// Archives an object now, which is how HubSpot deletes.
    pub fn archive(&mut self, kind: &str, id: &str) {
        let now = self.clock.now();
        self.change(kind, id, |version| version.archived = Some(now));
    }

    /// Brings an archived object back.
    pub fn restore(&mut self, kind: &str, id: &str) {
        self.change(kind, id, |version| version.archived = None);
    }

    /// Merges an object into another, which changes: the old id leads to the other from now on (providers.md §2.10).
    pub fn merge(&mut self, kind: &str, into: &str, id: &str) {
        let survivor = into.parse().ok();
        self.change(kind, id, |version| version.merged = survivor);
        self.change(kind, into, |version| {
            let merged = version.properties.entry("hs_merged_object_ids".into()).or_default();
            let separator = if merged.is_empty() { "" } else { ";" };
            *merged = format!("{merged}{separator}{id}");
        });
    }

    fn change(&mut self, kind: &str, id: &str, change: impl FnOnce(&mut Version)) {
        let (now, lag) = (self.clock.now(), self.lag.updated);
        let Ok(id) = id.parse::<u64>() else { return };
        let Some(versions) = self.kind(kind).objects.get_mut(&id) else { return };
        let Some(mut version) = versions.last().cloned() else { return };
        version.at = now;
        version.indexed = now.plus(lag);
        version.properties.insert(modified(kind).into(), now.iso_millis());
        change(&mut version);
        versions.push(version);
    }

    fn kind(&mut self, kind: &str) -> &mut Type {
        self.types.get_mut(kind).unwrap_or_else(|| panic!("no type {kind}"))
    }

    /// The name of the type that is written so, by name or number.
    fn named(&self, kind: &str) -> Option<&str> {
        let found = self.types.iter().find(|(name, known)| *name == kind || known.number == kind);
        found.map(|(name, _)| name.as_str())
    }
}

/// The property that says when an object changed: providers.md §2.10, contacts have another one than all others.
fn modified(kind: &str) -> &'static str {
    if kind == "contacts" { "lastmodifieddate" } else { "hs_lastmodifieddate" }
}

/// Every property is text.
fn texts(properties: &Value) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    properties.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), text(value))).collect()
}

impl Provider for HubSpot {
    fn answer(&mut self, request: &Request) -> Answer {
        self.respond(request)
    }

    fn refuse(&mut self, refusal: Refusal, request: &Request) -> Answer {
        match refusal {
            Refusal::TooMany(_) => self.too_many(request.path.ends_with("/search")),
            Refusal::Broken(status) => self.problem(status, None, "internal error"),
        }
    }

    fn grants(&mut self) -> &mut Grants {
        &mut self.grants
    }
}
