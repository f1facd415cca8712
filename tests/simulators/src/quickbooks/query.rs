//! What a query finds: providers.md §3.8.

use std::cmp::Ordering;

use events::Timestamp;
use serde_json::{Value, json};

use super::select::{self, Condition, Operator, Select};
use super::{Object, QuickBooks, shown};
use crate::exchange::Answer;
use crate::times::{pacific_millis, parse_pacific};

/// developer.intuit.com, `data-queries`: as many objects as one answer has at most.
const MOST: usize = 1000;

/// What a property holds, to be compared.
#[derive(PartialEq, Debug)]
enum Datum {
    Instant(Timestamp),
    Number(f64),
    Text(String),
}

impl Datum {
    /// `None`: the object does not have it.
    fn of(id: u64, object: &Object, property: &str) -> Option<Self> {
        Some(match property.to_ascii_lowercase().as_str() {
            "metadata.createtime" => Self::Instant(object.created),
            "metadata.lastupdatedtime" => Self::Instant(object.updated),
            #[expect(clippy::cast_precision_loss, reason = "ids of tests are small")]
            "id" => Self::Number(id as f64),
            "synctoken" => Self::Text(object.sync_token.to_string()),
            "active" => Self::Text(object.active?.to_string()),
            lower => {
                let (_, value) = object.fields.iter().find(|(name, _)| name.to_ascii_lowercase() == lower)?;
                match value {
                    Value::Number(number) => Self::Number(number.as_f64()?),
                    Value::String(text) => Self::Text(text.clone()),
                    other => Self::Text(other.to_string()),
                }
            }
        })
    }

    /// Where it stands to a value as a query writes it; `None`: it cannot be compared.
    fn compare(&self, value: &str) -> Option<Ordering> {
        match self {
            Self::Instant(at) => Some(at.cmp(&parse_pacific(value)?)),
            Self::Number(number) => number.partial_cmp(&value.parse().ok()?),
            Self::Text(text) => Some(text.as_str().cmp(value)),
        }
    }
}

impl QuickBooks {
    pub(super) fn query(&self, text: &str) -> Answer {
        let select = match select::parse(text) {
            Ok(select) => select,
            Err(met) => {
                let detail = format!("QueryParserError: Encountered \"{met}\"");
                return self.invalid("4000", "Error parsing query", &detail);
            }
        };
        let Some(entity) = self.named(&select.entity) else {
            let detail = format!("QueryValidationError: Entity {} not found", select.entity);
            return self.invalid("4001", "Invalid query", &detail);
        };
        if select.most > MOST || select.most == 0 || select.start == 0 {
            let detail = format!("QueryValidationError: at most {MOST} results, from position 1");
            return self.invalid("4001", "Invalid query", &detail);
        }
        if let Some(property) = self.unknown_property(entity, &select) {
            let detail = format!("QueryValidationError: Property {property} not found for Entity {entity}");
            return self.invalid("4001", "Invalid query", &detail);
        }
        // Inactive ones vanish unless they are asked for.
        let of_active = select.conditions.iter().any(|condition| condition.property.eq_ignore_ascii_case("Active"));
        let mut found: Vec<(u64, &Object)> = self
            .objects
            .get(entity)
            .into_iter()
            .flatten()
            .filter_map(|(id, object)| Some((*id, object.found(self.clock.now())?)))
            .filter(|(_, object)| !object.deleted && (of_active || object.active != Some(false)))
            .filter(|(id, object)| select.conditions.iter().all(|condition| holds(condition, *id, object)))
            .collect();
        let time = pacific_millis(self.clock.now());
        if select.count {
            return Answer::json(200, &json!({"QueryResponse": {"totalCount": found.len()}, "time": time}));
        }
        found.sort_by(|one, other| order(&select, *one, *other));
        let page = found.iter().skip(select.start - 1).take(select.most);
        let objects: Vec<Value> = page.map(|(id, object)| chosen(&select, shown(*id, object))).collect();
        let response = if objects.is_empty() {
            json!({})
        } else {
            json!({entity: objects, "startPosition": select.start, "maxResults": objects.len()})
        };
        Answer::json(200, &json!({"QueryResponse": response, "time": time}))
    }

    /// A property that no object of the entity has.
    fn unknown_property<'a>(&self, entity: &str, select: &'a Select) -> Option<&'a str> {
        const SYSTEM: [&str; 6] =
            ["Id", "SyncToken", "MetaData", "MetaData.CreateTime", "MetaData.LastUpdatedTime", "Active"];
        let objects = self.objects.get(entity).into_iter().flatten();
        let own: Vec<&String> = objects.flat_map(|(_, object)| object.fields.keys()).collect();
        let known = |property: &&str| {
            let mut system = SYSTEM.iter();
            system.any(|known| known.eq_ignore_ascii_case(property))
                || own.iter().any(|known| known.eq_ignore_ascii_case(property))
        };
        let conditions = select.conditions.iter().map(|condition| condition.property.as_str());
        let order = select.order.iter().map(|(property, _)| property.as_str());
        let properties = select.properties.iter().map(String::as_str);
        conditions.chain(order).chain(properties).find(|property| !known(property))
    }
}

fn holds(condition: &Condition, id: u64, object: &Object) -> bool {
    let Some(datum) = Datum::of(id, object, &condition.property) else { return false };
    let Some(first) = condition.values.first() else { return false };
    let order = datum.compare(first);
    match condition.operator {
        Operator::Equal => order == Some(Ordering::Equal),
        Operator::Less => order == Some(Ordering::Less),
        Operator::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Operator::Greater => order == Some(Ordering::Greater),
        Operator::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        Operator::In => condition.values.iter().any(|value| datum.compare(value) == Some(Ordering::Equal)),
        Operator::Like => match datum {
            Datum::Text(text) => like(&text.to_lowercase(), &first.to_lowercase()),
            Datum::Instant(_) | Datum::Number(_) => false,
        },
    }
}

/// Whether `text` is as `pattern` says, in which `%` stands for anything.
fn like(text: &str, pattern: &str) -> bool {
    match pattern.split_once('%') {
        None => text == pattern,
        Some((start, rest)) => match text.strip_prefix(start) {
            None => false,
            Some(after) => {
                let ends = after.char_indices().map(|(at, _)| at).chain([after.len()]);
                ends.into_iter().any(|at| like(&after[at..], rest))
            }
        },
    }
}

fn order(select: &Select, one: (u64, &Object), other: (u64, &Object)) -> Ordering {
    let by_keys = select.order.iter().fold(Ordering::Equal, |order, (property, descending)| {
        order.then_with(|| {
            let [one, other] = [one, other].map(|(id, object)| Datum::of(id, object, property));
            let order = match (&one, &other) {
                (Some(Datum::Instant(one)), Some(Datum::Instant(other))) => one.cmp(other),
                (Some(Datum::Number(one)), Some(Datum::Number(other))) => one.total_cmp(other),
                (Some(Datum::Text(one)), Some(Datum::Text(other))) => one.cmp(other),
                (one, other) => one.is_some().cmp(&other.is_some()),
            };
            if *descending { order.reverse() } else { order }
        })
    });
    // Nothing is promised of what is equal: the least convenient order.
    by_keys.then_with(|| other.0.cmp(&one.0))
}

/// The properties that were asked for.
fn chosen(select: &Select, mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut().filter(|_| !select.properties.is_empty()) {
        fields.retain(|name, _| {
            let asked = |property: &String| {
                let first = property.split('.').next().unwrap_or_default();
                first.eq_ignore_ascii_case(name)
            };
            ["domain", "sparse"].contains(&name.as_str()) || select.properties.iter().any(asked)
        });
    }
    object
}

#[cfg(test)]
mod tests {
    use super::like;

    #[test]
    fn a_percent_sign_stands_for_anything() {
        for (pattern, holds) in
            [("acme", true), ("ac%", true), ("%me", true), ("a%m%", true), ("%", true), ("b%", false), ("acm", false)]
        {
            assert_eq!(like("acme", pattern), holds, "{pattern}");
        }
    }
}
