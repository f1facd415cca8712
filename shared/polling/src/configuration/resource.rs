//! One resource of `event.poller.configuration`. Keys are read in any case; those that nobody knows are ignored.

use std::time::Duration;

use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::{DateField, Problem, Resource, described};
use crate::dates::{DateFormat, Zone};
use crate::pagination::Paging;
use crate::path::Path;
use crate::placeholders::UrlTemplate;

/// Longest tolerance and delay: a month of seconds. Longer would be a mistake in the unit.
const MAX_SECONDS: u64 = 31 * 24 * 60 * 60;
/// Largest page that is asked for; shipped configurations have up to 10000.
const MAX_PAGE: u64 = 10_000;

/// How a date is taken to be written when nobody says: ISO 8601 and numbers are read whatever the format is.
const ISO: &str = "yyyy-MM-dd'T'HH:mm:ssXXX";

pub(super) fn read(name: &str, value: &Value) -> Result<Resource, Problem> {
    let problem = |field: &str, given: &Value, accepted: &str| Problem {
        resource: name.to_owned(),
        field: field.to_owned(),
        given: described(given),
        accepted: accepted.to_owned(),
    };
    let Value::Object(fields) = value else {
        return Err(problem(
            "the resource",
            value,
            r#"it is an object: {"url": …, "idField": …, "datesConfiguration": …}"#,
        ));
    };
    let none = Map::new();
    let dates = match field(fields, "datesConfiguration") {
        None => &none,
        Some(Value::Object(dates)) => dates,
        Some(other) => return Err(problem("datesConfiguration", other, "it is an object")),
    };
    let fields = Fields { name, fields, dates };
    let url = fields.text(fields.fields, "url")?.map(|url| {
        UrlTemplate::parse(url)
            .map_err(|error| problem("url", &Value::String(error.placeholder.clone()), &error.problem))
    });
    let id = fields.place("idField")?;
    let (updated, created) = dates_of(&fields)?;
    Ok(Resource {
        url: url.transpose()?,
        id,
        updated,
        created,
        // One of the documents spells it without the d.
        filter_by_updated: fields.boolean("filterByUpdatedDate")?.or(fields.boolean("filterByUpdateDate")?),
        filter_by_current: fields.boolean("filterByCurrentDate")?.unwrap_or(false),
        created_tolerance: fields.seconds("createdCheckTolerance")?,
        page_size: fields.number("pageSize", 1..=MAX_PAGE)?.and_then(|size| u32::try_from(size).ok()),
        poll_delay: fields.seconds("pollDelay")?,
        records: fields.place("recordsField")?,
        deleted: fields.place("deletedField")?,
        paging: fields.paging()?,
        ..Resource::named(name)
    })
}

/// Updated and created, each taking format and zone from the other where it has none.
fn dates_of(fields: &Fields<'_>) -> Result<(Option<DateField>, Option<DateField>), Problem> {
    let updated = fields.date("updatedDateField", "updatedDateFormat", "updatedDateTimezone")?;
    let created = fields.date("createdDateField", "createdDateFormat", "createdDateTimezone")?;
    Ok(paired(&updated, &created))
}

/// A date as far as it is configured.
pub(super) type Partial = (Option<Path>, Option<DateFormat>, Option<Zone>);

pub(super) fn paired(updated: &Partial, created: &Partial) -> (Option<DateField>, Option<DateField>) {
    let complete = |(path, format, zone): &Partial, other: &Partial| {
        let path = path.clone()?;
        let format = format.clone().or_else(|| other.1.clone()).or_else(|| DateFormat::parse(ISO).ok())?;
        let zone = zone.clone().or_else(|| other.2.clone()).unwrap_or_else(Zone::gmt);
        Some(DateField { path, format, zone })
    };
    (complete(updated, created), complete(created, updated))
}

struct Fields<'a> {
    name: &'a str,
    fields: &'a Map<String, Value>,
    dates: &'a Map<String, Value>,
}

/// A field, in any case; null is none.
fn field<'v>(fields: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    let exact = fields.get(name);
    let found = exact.or_else(|| fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value));
    found.filter(|value| !value.is_null())
}

impl<'a> Fields<'a> {
    fn problem(&self, field: &str, given: &Value, accepted: &impl ToString) -> Problem {
        Problem {
            resource: self.name.to_owned(),
            field: field.to_owned(),
            given: described(given),
            accepted: accepted.to_string(),
        }
    }

    /// A text that is not blank.
    fn text(&self, fields: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, Problem> {
        match field(fields, name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str()).filter(|text| !text.trim().is_empty())),
            Some(other) => Err(self.problem(name, other, &"it is a text")),
        }
    }

    /// A path into a record, or an answer.
    fn place(&self, name: &str) -> Result<Option<Path>, Problem> {
        self.text(self.fields, name)?.map(|text| self.path(name, text)).transpose()
    }

    fn path(&self, name: &str, text: &str) -> Result<Path, Problem> {
        Path::parse(text).map_err(|error| self.problem(name, &Value::String(text.to_owned()), &error))
    }

    /// A field of either level: the documents have some a level off.
    fn either(&self, name: &str) -> Option<&'a Value> {
        field(self.fields, name).or_else(|| field(self.dates, name))
    }

    fn boolean(&self, name: &str) -> Result<Option<bool>, Problem> {
        let Some(value) = self.either(name) else { return Ok(None) };
        let read = match value {
            Value::Bool(truth) => Some(*truth),
            Value::String(text) if text.trim().is_empty() => return Ok(None),
            Value::String(text) => events::configuration::boolean(text).ok(),
            _ => None,
        };
        read.map(Some).ok_or_else(|| self.problem(name, value, &"it is true or false"))
    }

    fn number(&self, name: &str, accepted: std::ops::RangeInclusive<u64>) -> Result<Option<u64>, Problem> {
        let Some(value) = self.either(name) else { return Ok(None) };
        let read = match value {
            Value::Number(number) => number.as_u64(),
            Value::String(text) if text.trim().is_empty() => return Ok(None),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let wrong = || format!("it is a whole number from {} to {}", accepted.start(), accepted.end());
        match read.filter(|number| accepted.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.problem(name, value, &wrong())),
        }
    }

    fn paging(&self) -> Result<Option<Paging>, Problem> {
        let Some(value) = field(self.fields, "pagination") else { return Ok(None) };
        let read = Paging::deserialize(value);
        let accepted = |error| format!(r#"{error}; it is written {{"page": {{"query": "page", "first": 1}}}}"#);
        read.map(Some).map_err(|error| self.problem("pagination", value, &accepted(error)))
    }

    fn seconds(&self, name: &str) -> Result<Option<Duration>, Problem> {
        Ok(self.number(name, 0..=MAX_SECONDS)?.map(Duration::from_secs))
    }

    fn date(&self, path: &str, format: &str, zone: &str) -> Result<Partial, Problem> {
        let at = |name: &str| Ok(self.text(self.dates, name)?.or(self.text(self.fields, name)?));
        let given = |text: &str| Value::String(text.to_owned());
        let place = at(path)?.map(|text| self.path(path, text)).transpose()?;
        let pattern = match at(format)? {
            Some(text) => Some(DateFormat::parse(text).map_err(|error| self.problem(format, &given(text), &error))?),
            None => None,
        };
        let region = match at(zone)? {
            Some(text) => Some(Zone::parse(text).map_err(|error| self.problem(zone, &given(text), &error))?),
            None => None,
        };
        Ok((place, pattern, region))
    }
}
