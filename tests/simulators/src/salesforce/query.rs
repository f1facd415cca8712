//! What a query finds, and its pages.

use std::cmp::Ordering;

use events::Timestamp;
use serde_json::{Value, json};

use super::api::{Problem, Version};
use super::soql::{self, Filter, Literal, Operator, Order, Query};
use super::{Kind, Record, Salesforce, ids};
use crate::times::salesforce as shown;

/// What a field holds, to be compared.
#[derive(Clone, PartialEq, Debug)]
enum Datum {
    Text(String),
    Instant(Timestamp),
    Bool(bool),
    Number(f64),
    Null,
}

impl Datum {
    fn of(id: &str, record: &Record, field: &str) -> Self {
        match field {
            "Id" => Self::Text(id.to_owned()),
            "IsDeleted" => Self::Bool(record.deleted.is_some()),
            "CreatedDate" => Self::Instant(record.created),
            "LastModifiedDate" => Self::Instant(record.modified),
            "SystemModstamp" => Self::Instant(record.modstamp),
            other => match record.fields.get(other) {
                Some(Value::String(text)) => Self::Text(text.clone()),
                Some(Value::Bool(value)) => Self::Bool(*value),
                Some(Value::Number(number)) => Self::Number(number.as_f64().unwrap_or_default()),
                _ => Self::Null,
            },
        }
    }

    fn json(&self, id: &str, record: &Record, field: &str) -> Value {
        match self {
            Self::Instant(at) => shown(*at).into(),
            Self::Text(_) if field == "Id" => id.into(),
            // A number as it was written.
            Self::Number(_) => record.fields.get(field).cloned().unwrap_or_default(),
            Self::Text(text) => text.as_str().into(),
            Self::Bool(value) => (*value).into(),
            Self::Null => Value::Null,
        }
    }

    fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Text(one), Self::Text(other)) => Some(one.cmp(other)),
            (Self::Instant(one), Self::Instant(other)) => Some(one.cmp(other)),
            (Self::Bool(one), Self::Bool(other)) => Some(one.cmp(other)),
            (Self::Number(one), Self::Number(other)) => one.partial_cmp(other),
            _ => None,
        }
    }
}

impl Salesforce {
    /// Answers `query` or, with `all`, `queryAll`: the first page.
    pub(super) fn query(
        &mut self,
        text: &str,
        all: bool,
        asked: Option<usize>,
        version: Version<'_>,
    ) -> Result<Value, Problem> {
        let query = self.resolve(soql::parse(text).map_err(Problem::MalformedQuery)?)?;
        let mut found: Vec<(&String, &Record)> = self
            .records
            .iter()
            .filter(|(_, record)| record.object == query.from && !record.purged && (all || record.deleted.is_none()))
            .filter(|(id, record)| query.filter.as_ref().is_none_or(|filter| holds(filter, id, record)))
            .collect();
        found.sort_by(|one, other| order(&query.order, *one, *other));
        let found: Vec<_> = found.into_iter().skip(query.offset).take(query.limit.unwrap_or(usize::MAX)).collect();
        let Some(fields) = &query.select else {
            return Ok(json!({"totalSize": found.len(), "done": true, "records": []}));
        };
        let rows: Vec<Value> = found.iter().map(|(id, record)| row(id, record, fields, version)).collect();
        self.made += 1;
        let locator = ids::make("01g", self.made);
        self.locators.insert(locator.clone(), rows);
        let page = self.page(&locator, 0, asked, version)?;
        if page["done"] == true {
            self.locators.remove(&locator);
        }
        // Ids are counted up: the first is the oldest.
        while self.locators.len() > self.open_queries {
            self.locators.pop_first();
        }
        Ok(page)
    }

    /// A page of what an earlier query found, as often as it is asked for. The rows are those of then.
    pub(super) fn page(
        &mut self,
        locator: &str,
        from: usize,
        asked: Option<usize>,
        version: Version<'_>,
    ) -> Result<Value, Problem> {
        let rows = self.locators.get(locator).ok_or(Problem::InvalidLocator)?;
        if from > rows.len() {
            return Err(Problem::InvalidLocator);
        }
        // providers.md §5.3: 200 to 2000, and never a promise.
        let size = self.page_size.min(asked.map_or(2000, |asked| asked.clamp(200, 2000)));
        let end = rows.len().min(from.saturating_add(size));
        let mut page = json!({"totalSize": rows.len(), "done": end == rows.len(), "records": rows.get(from..end)});
        if end < rows.len() {
            // `query` after `queryAll` too: providers.md §5.3.
            page["nextRecordsUrl"] = format!("/services/data/{version}/query/{locator}-{end}").into();
        }
        Ok(page)
    }

    /// The query with its names as the org writes them, and its values of the right kinds.
    fn resolve(&self, mut query: Query) -> Result<Query, Problem> {
        let Some(object) = self.object(&query.from) else { return Err(Problem::InvalidType(query.from)) };
        query.from = object.to_owned();
        for field in query.select.iter_mut().flatten() {
            *field = self.field(&query.from, field)?.0;
        }
        for key in &mut query.order {
            key.field = self.field(&query.from, &key.field)?.0;
        }
        if let Some(filter) = &mut query.filter {
            self.resolve_filter(&query.from, filter)?;
        }
        Ok(query)
    }

    fn field(&self, object: &str, field: &str) -> Result<(String, Kind), Problem> {
        let known = self.objects.get(object).into_iter().flat_map(|object| &object.fields);
        let found = known.clone().find(|(name, _)| name.eq_ignore_ascii_case(field));
        match found {
            Some((name, kind)) => Ok((name.clone(), *kind)),
            None => Err(Problem::NoSuchField(field.to_owned(), object.to_owned())),
        }
    }

    fn resolve_filter(&self, object: &str, filter: &mut Filter) -> Result<(), Problem> {
        match filter {
            Filter::And(all) | Filter::Or(all) => all.iter_mut().try_for_each(|one| self.resolve_filter(object, one)),
            Filter::Not(inner) => self.resolve_filter(object, inner),
            Filter::Compare(field, _, literal) => {
                let kind;
                (*field, kind) = self.field(object, field)?;
                fit(field, kind, literal)
            }
            Filter::In(field, literals, _) => {
                let kind;
                (*field, kind) = self.field(object, field)?;
                literals.iter_mut().try_for_each(|literal| fit(field, kind, literal))
            }
        }
    }
}

/// Whether a value can be compared with a field; ids are made long.
fn fit(field: &str, kind: Kind, literal: &mut Literal) -> Result<(), Problem> {
    match (kind, literal) {
        (_, Literal::Null)
        | (Kind::Text, Literal::Text(_))
        | (Kind::Instant, Literal::Instant(_))
        | (Kind::Bool, Literal::Bool(_))
        | (Kind::Number, Literal::Number(_)) => Ok(()),
        (Kind::Id, Literal::Text(id)) => {
            *id = ids::long(id);
            Ok(())
        }
        (kind, literal) => Err(Problem::WrongKind(field.to_owned(), kind, matches!(literal, Literal::Text(_)))),
    }
}

fn holds(filter: &Filter, id: &str, record: &Record) -> bool {
    match filter {
        Filter::And(all) => all.iter().all(|one| holds(one, id, record)),
        Filter::Or(all) => all.iter().any(|one| holds(one, id, record)),
        Filter::Not(inner) => !holds(inner, id, record),
        Filter::Compare(field, operator, literal) => compares(&Datum::of(id, record, field), *operator, literal),
        Filter::In(field, literals, negated) => {
            let datum = Datum::of(id, record, field);
            literals.iter().any(|literal| compares(&datum, Operator::Equal, literal)) != *negated
        }
    }
}

fn compares(datum: &Datum, operator: Operator, literal: &Literal) -> bool {
    let literal = match literal {
        Literal::Text(text) => Datum::Text(text.clone()),
        Literal::Instant(at) => Datum::Instant(*at),
        Literal::Bool(value) => Datum::Bool(*value),
        Literal::Number(number) => Datum::Number(*number),
        Literal::Null | Literal::Day(_) => Datum::Null,
    };
    let order = datum.compare(&literal);
    match operator {
        Operator::Equal => *datum == literal,
        Operator::NotEqual => *datum != literal,
        Operator::Less => order == Some(Ordering::Less),
        Operator::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Operator::Greater => order == Some(Ordering::Greater),
        Operator::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }
}

fn order(keys: &[Order], one: (&String, &Record), other: (&String, &Record)) -> Ordering {
    let by_keys = keys.iter().fold(Ordering::Equal, |order, key| {
        order.then_with(|| {
            let (one, other) = (Datum::of(one.0, one.1, &key.field), Datum::of(other.0, other.1, &key.field));
            match (one == Datum::Null, other == Datum::Null) {
                (true, true) => Ordering::Equal,
                (true, false) => {
                    if key.nulls_last {
                        Ordering::Greater
                    } else {
                        Ordering::Less
                    }
                }
                (false, true) => {
                    if key.nulls_last {
                        Ordering::Less
                    } else {
                        Ordering::Greater
                    }
                }
                (false, false) => {
                    let order = one.compare(&other).unwrap_or(Ordering::Equal);
                    if key.descending { order.reverse() } else { order }
                }
            }
        })
    });
    // Nothing is promised of what is equal: the least convenient order.
    by_keys.then_with(|| other.0.cmp(one.0))
}

/// A record as answers have it.
pub(super) fn row(id: &str, record: &Record, fields: &[String], version: Version<'_>) -> Value {
    let object = &record.object;
    let url = format!("/services/data/{version}/sobjects/{object}/{id}");
    let mut row = json!({"attributes": {"type": object, "url": url}});
    for field in fields {
        row[field] = Datum::of(id, record, field).json(id, record, field);
    }
    row
}
