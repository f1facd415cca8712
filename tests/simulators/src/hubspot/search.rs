//! Search: filters, one sort, pages, and the caps.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use events::Timestamp;
use serde_json::{Value, json};

use super::{HubSpot, Version, modified};
use crate::exchange::Request;

/// providers.md §2.10.
const LONGEST_BODY: usize = 3000;
const MOST_GROUPS: usize = 5;
const MOST_FILTERS_OF_GROUP: usize = 6;
const MOST_FILTERS: usize = 18;
const LARGEST_PAGE: usize = 200;
const PAGE: usize = 10;

/// Why a search is refused, in HubSpot's words where they are known.
pub(super) struct Invalid(pub(super) String);

fn invalid<T>(message: impl Into<String>) -> Result<T, Invalid> {
    Err(Invalid(message.into()))
}

/// What a property's text is compared by.
#[derive(PartialEq, PartialOrd, Debug)]
enum Comparable {
    Number(f64),
    Text(String),
}

impl Comparable {
    /// Times are milliseconds in filters and ISO 8601 in answers; both are numbers here. Text has no case in search.
    fn of(text: &str) -> Self {
        if let Some(at) = Timestamp::parse_rfc3339(text) {
            #[expect(clippy::cast_precision_loss, reason = "milliseconds of this age have less than 53 bits")]
            return Self::Number(at.as_millis() as f64);
        }
        text.parse().map_or_else(|_| Self::Text(text.to_lowercase()), Self::Number)
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Number(one), Self::Number(other)) => one.partial_cmp(other),
            (Self::Text(one), Self::Text(other)) => Some(one.cmp(other)),
            _ => None,
        }
    }
}

impl HubSpot {
    pub(super) fn search(&self, kind: &str, request: &Request) -> Result<Value, Invalid> {
        if request.body.len() > LONGEST_BODY {
            return invalid("Request body is too long: at most 3000 characters are allowed");
        }
        let body = request.json().map_err(|error| Invalid(format!("Invalid input JSON: {error}")))?;
        let groups = list(&body, "filterGroups");
        check(groups)?;
        let limit = match body.get("limit") {
            None => PAGE,
            Some(limit) => match limit.as_u64().and_then(|limit| usize::try_from(limit).ok()) {
                Some(limit) if limit <= LARGEST_PAGE => limit,
                _ => return invalid(format!("The limit must be at most {LARGEST_PAGE}")),
            },
        };
        let after = match body.get("after") {
            None | Some(Value::Null) => 0,
            Some(Value::String(after)) => {
                after.parse().map_err(|_| Invalid(format!("Invalid value for 'after': {after}")))?
            }
            Some(after) => after.as_u64().and_then(|after| usize::try_from(after).ok()).unwrap_or(usize::MAX),
        };
        if after.saturating_add(limit) > self.cap {
            return invalid(format!("Paging beyond the first {} results of a query is not possible", self.cap));
        }
        let sorts = list(&body, "sorts");
        let keys: Vec<(&str, bool)> = sorts.iter().take(self.sorts).filter_map(key).collect();
        let mut found = Vec::new();
        for (id, version) in self.indexed(kind) {
            if matches(groups, version)? {
                let held = |(property, _): &(&str, bool)| version.properties.get(*property);
                let by: Vec<_> = keys.iter().map(|key| held(key).map(|text| Comparable::of(text))).collect();
                found.push((by, id, version));
            }
        }
        found.sort_by(|(one, id, _), (other, other_id, _)| {
            let pairs = one.iter().zip(other).zip(&keys);
            let by_keys = pairs.fold(Ordering::Equal, |order, ((one, other), (_, descending))| {
                let next = one.partial_cmp(other).unwrap_or(Ordering::Equal);
                order.then(if *descending { next.reverse() } else { next })
            });
            by_keys.then_with(|| other_id.cmp(id))
        });
        let properties = list(&body, "properties").iter().filter_map(Value::as_str).collect::<Vec<_>>();
        let page = found.iter().skip(after).take(limit);
        let results: Vec<Value> = page.map(|(_, id, version)| self.shown(kind, *id, version, &properties)).collect();
        let mut answer = json!({"total": found.len(), "results": results});
        if after + limit < found.len() {
            answer["paging"] = json!({"next": {"after": (after + limit).to_string()}});
        }
        Ok(answer)
    }

    /// The objects as the index has them.
    fn indexed(&self, kind: &str) -> impl Iterator<Item = (u64, &Version)> {
        let now = self.clock.now();
        let objects = self.types.get(kind).into_iter().flat_map(|known| &known.objects);
        objects.filter_map(move |(id, versions)| {
            let version = versions.iter().rev().find(|version| version.indexed <= now)?;
            (version.archived.is_none() && version.merged.is_none()).then_some((*id, version))
        })
    }

    /// An object as answers have it.
    pub(super) fn shown(&self, kind: &str, id: u64, version: &Version, properties: &[&str]) -> Value {
        let always = ["createdate", "hs_object_id", modified(kind)];
        let defaults = self.types.get(kind).into_iter().flat_map(|known| known.defaults.iter().map(String::as_str));
        let wanted: Vec<&str> = if properties.is_empty() { defaults.collect() } else { properties.to_vec() };
        let mut shown = serde_json::Map::new();
        for name in wanted.into_iter().chain(always) {
            shown.insert(name.into(), version.properties.get(name).map_or(Value::Null, |text| text.as_str().into()));
        }
        let mut object = json!({
            "id": id.to_string(),
            "properties": shown,
            "createdAt": version.properties.get("createdate"),
            "updatedAt": version.at.iso_millis(),
            "archived": version.archived.is_some(),
        });
        if let Some(at) = version.archived {
            object["archivedAt"] = at.iso_millis().into();
        }
        object
    }
}

fn list<'a>(body: &'a Value, name: &str) -> &'a [Value] {
    body.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn check(groups: &[Value]) -> Result<(), Invalid> {
    let filters = groups.iter().map(|group| list(group, "filters").len());
    if groups.len() > MOST_GROUPS {
        return invalid(format!("Too many filter groups: at most {MOST_GROUPS} are allowed"));
    }
    if filters.clone().any(|filters| filters > MOST_FILTERS_OF_GROUP) || filters.sum::<usize>() > MOST_FILTERS {
        return invalid(format!(
            "Too many filters: at most {MOST_FILTERS_OF_GROUP} of a group and {MOST_FILTERS} in all are allowed"
        ));
    }
    // Refused whatever there is to be found: a filter is read even where nothing is compared with it.
    let at = Timestamp::from_millis(0);
    let nothing = Version { at, indexed: at, properties: BTreeMap::new(), archived: None, merged: None };
    groups.iter().flat_map(|group| list(group, "filters")).try_for_each(|filter| holds(filter, &nothing).map(drop))
}

/// A sort: `{"propertyName", "direction"}`, or a name with a minus before it where it descends.
fn key(sort: &Value) -> Option<(&str, bool)> {
    if let Some(name) = sort.as_str() {
        return Some(name.strip_prefix('-').map_or((name, false), |name| (name, true)));
    }
    Some((sort.get("propertyName")?.as_str()?, sort.get("direction").and_then(Value::as_str) == Some("DESCENDING")))
}

/// Whether all filters of any group hold.
fn matches(groups: &[Value], version: &Version) -> Result<bool, Invalid> {
    if groups.is_empty() {
        return Ok(true);
    }
    for group in groups {
        let mut all = true;
        for filter in list(group, "filters") {
            all &= holds(filter, version)?;
        }
        if all {
            return Ok(true);
        }
    }
    Ok(false)
}

fn holds(filter: &Value, version: &Version) -> Result<bool, Invalid> {
    let text = |name: &str| filter.get(name).and_then(Value::as_str);
    let (Some(property), Some(operator)) = (text("propertyName"), text("operator")) else {
        return invalid("Invalid input JSON: a filter needs propertyName and operator");
    };
    let held = version.properties.get(property);
    let order = |name: &str| match (held, text(name)) {
        (_, None) => invalid(format!("A filter of {operator} needs {name}")),
        (held, Some(value)) => Ok(held.and_then(|held| Comparable::of(held).compare(&Comparable::of(value)))),
    };
    let any_of = || {
        let values = list(filter, "values").iter().filter_map(Value::as_str);
        held.is_some_and(|held| values.into_iter().any(|value| Comparable::of(value) == Comparable::of(held)))
    };
    Ok(match operator {
        "HAS_PROPERTY" => held.is_some(),
        "NOT_HAS_PROPERTY" => held.is_none(),
        "EQ" => order("value")? == Some(Ordering::Equal),
        "NEQ" => order("value")? != Some(Ordering::Equal),
        "LT" => order("value")? == Some(Ordering::Less),
        "LTE" => matches!(order("value")?, Some(Ordering::Less | Ordering::Equal)),
        "GT" => order("value")? == Some(Ordering::Greater),
        "GTE" => matches!(order("value")?, Some(Ordering::Greater | Ordering::Equal)),
        "BETWEEN" => {
            matches!(order("value")?, Some(Ordering::Greater | Ordering::Equal))
                && matches!(order("highValue")?, Some(Ordering::Less | Ordering::Equal))
        }
        "IN" => any_of(),
        "NOT_IN" => held.is_some() && !any_of(),
        other => return invalid(format!("Invalid input JSON: {other} is no operator of this simulator")),
    })
}
