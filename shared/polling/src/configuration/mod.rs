//! What an instance is to poll: `event.poller.configuration`, `event.poller.urls` and `event.objects` as one list of
//! [`Resource`]s (the contract's §4, §5.1, §5.6).
//!
//! *Promise:* one resource that cannot be used is a [`Problem`] beside its good neighbours, which are polled. A problem
//! says which resource, which field, what was given and what is accepted. What shipped configurations have wrong (values
//! that are `""`, booleans and numbers as text, JSON within a text, `filterByUpdateDate`, a tolerance or a time zone one
//! level off, keys that nobody knows) is put up with.
//!
//! *Which counts:* the configuration's resources, then those of the URLs that it does not name. `event.objects` fills
//! `{objectName}` in a resource's key and URL; where neither of the two lists a resource, it is the list. Beside a list it
//! narrows what is told, as for webhooks, which is not decided here.
//!
//! Beside the contract's fields a resource may have `recordsField`, a path to the records of an answer, `deletedField`, where
//! something stands in the record of what is gone, and `pagination`, as definitions write it (`{"page": {"query": "page",
//! "first": 1}}`): with them any JSON API can be polled.
//!
//! A resource without a URL, or with one of the hub (`/hubs/crm/contacts`), is the connector's resource of that name.

mod lines;
mod resource;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use events::configuration::{OBJECTS, POLLER_CONFIGURATION, POLLER_URLS, list};
use serde_json::{Map, Value};

use crate::dates::{DateFormat, Zone};
use crate::pagination::Paging;
use crate::path::Path;
use crate::placeholders::{Template, UrlTemplate, Values};

/// Most resources that one instance polls: they are polled one after the other.
pub const MAX_RESOURCES: usize = 100;
/// Longest name of a resource in bytes: part of an item's key and of each event.
pub const MAX_NAME_BYTES: usize = 256;
/// Most of what was given that a problem repeats, in characters.
const GIVEN_CHARACTERS: usize = 80;
/// What `event.objects` fills.
const OBJECT_NAME: &str = "objectName";

/// What to poll, and what cannot be.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Configuration {
    /// In the order in which they are polled.
    pub resources: Vec<Resource>,
    /// What cannot be used.
    pub problems: Vec<Problem>,
    /// Whether values of the instance's own, other than those that say what to poll, are in the names of resources.
    pub of_its_own: bool,
}

/// A resource to poll.
#[derive(Clone, PartialEq, Debug)]
pub struct Resource {
    /// Its key, filled: the object type of its events.
    pub name: String,
    /// What to ask; `None`: the connector knows.
    pub url: Option<UrlTemplate>,
    /// What the URL's names are filled with, beside the instance's configuration.
    pub values: BTreeMap<String, String>,
    /// Where the id is; `None`: the connector knows.
    pub id: Option<Path>,
    /// When the record was changed last.
    pub updated: Option<DateField>,
    /// When the record was made.
    pub created: Option<DateField>,
    /// Whether a record that is not newer than the last poll is ignored; `None`: not said.
    pub filter_by_updated: Option<bool>,
    /// Whether a record newer than the poll's start waits for the next poll.
    pub filter_by_current: bool,
    /// How far the two dates may lie apart for a record to be new.
    pub created_tolerance: Option<Duration>,
    /// Records a page.
    pub page_size: Option<u32>,
    /// How late the provider's index may be: looked at again.
    pub poll_delay: Option<Duration>,
    /// Where the records of an answer are. Pollhook's own.
    pub records: Option<Path>,
    /// How an answer goes on. Pollhook's own.
    pub paging: Option<Paging>,
    /// Where something stands in a record of what is gone; `None`: the connector knows. Pollhook's own.
    pub deleted: Option<Path>,
}

/// Where a date is, and how it is written.
#[derive(Clone, PartialEq, Debug)]
pub struct DateField {
    /// Where.
    pub path: Path,
    /// How.
    pub format: DateFormat,
    /// In which zone, where the text names none.
    pub zone: Zone,
}

/// Why a resource, or the whole configuration, cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problem {
    /// The resource's key; blank where it is the configuration's.
    pub resource: String,
    /// The field.
    pub field: String,
    /// What was given, cut.
    pub given: String,
    /// What is wrong with it, and what is accepted.
    pub accepted: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.resource.is_empty() {
            write!(f, "resource {:?}: ", self.resource)?;
        }
        write!(f, "{} is {}; {}", self.field, self.given, self.accepted)
    }
}

impl Resource {
    /// A resource of which only the name is known.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            url: None,
            values: BTreeMap::new(),
            id: None,
            updated: None,
            created: None,
            filter_by_updated: None,
            filter_by_current: false,
            created_tolerance: None,
            page_size: None,
            poll_delay: None,
            records: None,
            paging: None,
            deleted: None,
        }
    }
}

/// Reads an instance's configuration.
#[must_use]
pub fn read(settings: &BTreeMap<String, String>) -> Configuration {
    let setting = |key: &str| settings.get(key).map(|value| value.trim()).unwrap_or_default();
    let objects: Vec<&str> = list(setting(OBJECTS)).collect();
    let mut reading = Reading { settings, objects, names: BTreeSet::new(), read: Configuration::default() };
    match object(setting(POLLER_CONFIGURATION)) {
        Ok(resources) => resources.iter().for_each(|(key, value)| reading.add(key, |name| resource::read(name, value))),
        Err(found) => reading.read.problems.push(Problem {
            resource: String::new(),
            field: POLLER_CONFIGURATION.into(),
            given: found,
            accepted: r#"it is a JSON object with a resource by each name: {"contacts": {"url": …, "idField": …}}"#
                .into(),
        }),
    }
    for line in lines::split(setting(POLLER_URLS)) {
        reading.add(line.name(), |name| line.read(name));
    }
    if reading.names.is_empty() {
        for object in reading.objects.clone() {
            reading.add(object, |name| Ok(Resource::named(name)));
        }
    }
    reading.read
}

struct Reading<'a> {
    settings: &'a BTreeMap<String, String>,
    objects: Vec<&'a str>,
    /// Every name that was met, also of what cannot be used.
    names: BTreeSet<String>,
    read: Configuration,
}

impl Reading<'_> {
    /// Adds the resource of a key, or one for each object where the key says `{objectName}`.
    fn add(&mut self, key: &str, read: impl Fn(&str) -> Result<Resource, Problem>) {
        let of_objects = Template::parse(key).is_ok_and(|key| key.names().any(|name| name == OBJECT_NAME));
        if !of_objects {
            return self.add_one(key, &BTreeMap::new(), read);
        }
        if self.objects.is_empty() {
            self.names.insert(key.to_owned());
            return self.problem(key, "the key", key, "{objectName} is filled by event.objects, which is blank".into());
        }
        for object in self.objects.clone() {
            self.add_one(key, &BTreeMap::from([(OBJECT_NAME.to_owned(), object.to_owned())]), &read);
        }
    }

    fn add_one(
        &mut self,
        key: &str,
        values: &BTreeMap<String, String>,
        read: impl Fn(&str) -> Result<Resource, Problem>,
    ) {
        let name = match self.fill(key.trim(), values) {
            Ok(name) => name,
            Err(wrong) => return self.problem(key, "the key", key, wrong),
        };
        if !self.names.insert(name.clone()) {
            return;
        }
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains(char::is_control) {
            let accepted = format!("it is a name of 1 to {MAX_NAME_BYTES} bytes without control characters");
            return self.problem(&name, "the key", &name, accepted);
        }
        if self.names.len() > MAX_RESOURCES {
            return self.problem(&name, "the key", &name, format!("{MAX_RESOURCES} resources are the most"));
        }
        match read(&name) {
            Ok(resource) => self.read.resources.push(Resource { values: values.clone(), ..resource }),
            Err(problem) => self.read.problems.push(problem),
        }
    }

    fn fill(&mut self, key: &str, values: &BTreeMap<String, String>) -> Result<String, String> {
        let template = Template::parse(key).map_err(|error| error.to_string())?;
        let mut settings: BTreeMap<String, String> = values.clone();
        for name in template.names() {
            if settings.contains_key(name) {
                continue;
            }
            self.read.of_its_own = true;
            if let Some(value) = self.settings.get(name) {
                settings.insert(name.to_owned(), value.clone());
            }
        }
        let zero = events::Timestamp::from_millis(0);
        let values = Values { since: zero, now: zero, format: None, zone: None, settings: (&settings).into() };
        template.fill(&values).map_err(|error| error.to_string())
    }

    fn problem(&mut self, resource: &str, field: &str, given: &str, accepted: String) {
        self.read.problems.push(Problem {
            resource: cut(resource),
            field: field.to_owned(),
            given: format!("{:?}", cut(given)),
            accepted,
        });
    }
}

/// A configuration's JSON object, written as such or as JSON within a JSON text; a blank one is empty.
///
/// # Errors
/// What it is instead.
fn object(text: &str) -> Result<Map<String, Value>, String> {
    if text.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(resources)) => Ok(resources),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(Value::String(inner)) if inner.len() < text.len() => object(inner.trim()),
        Ok(other) => Err(described(&other)),
        Err(error) => Err(format!("no JSON (line {}, column {})", error.line(), error.column())),
    }
}

/// A value as a problem shows it.
fn described(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Object(_) => "an object".into(),
        Value::Array(_) => "an array".into(),
        Value::String(text) => format!("{:?}", cut(text)),
        other => other.to_string(),
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(GIVEN_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
