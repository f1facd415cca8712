//! Paths into a record, as the contract's `idField` and date fields have them.
//!
//! | written | leads to |
//! |---|---|
//! | `a.b`, `$.a.b`, `@.a.b`, `.a.b` | the field `b` of the field `a` |
//! | `@.@id` | the field `@id` (`@` alone is the record) |
//! | `a[0]`, `a.0` | the first element of the list `a`; `a.0` also the field `0` |
//! | `a['b.c']` | the field `b.c` of the field `a` |
//! | `$`, `@` | the value itself |
//!
//! A path whose fields are not there is tried once more as one name: some providers have dots in the names of fields.
//!
//! *Promise:* reading borrows from the value; nothing is copied, nothing recurses.

use std::borrow::Cow;

use serde_json::Value;

/// A text that is no path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no path; one is written id, properties.id, items[0].id or $.id, with at most {MAX_STEPS} names")]
pub struct PathError(pub String);

/// Most names in a path: records are not nested deeper.
const MAX_STEPS: usize = 16;

/// A path into a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Path {
    text: String,
    steps: Vec<Step>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    /// A field; of a list the element of that number.
    Name(String),
    Index(usize),
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// [`PathError`]; also for a blank one.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        let error = || PathError(text.to_owned());
        let trimmed = text.trim();
        let root = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
        let mut rest = trimmed.strip_prefix(['$', '@']).filter(|rest| root(rest)).unwrap_or(trimmed);
        let mut steps = Vec::new();
        if rest.len() == trimmed.len() && !rest.starts_with(['.', '[']) {
            let name = rest.split(['.', '[']).next().unwrap_or_default();
            steps.push(name_step(name).ok_or_else(error)?);
            rest = &rest[name.len()..];
        }
        while !rest.is_empty() {
            let (step, after) = match rest.strip_prefix('.') {
                Some(inner) => {
                    let name = inner.split(['.', '[']).next().unwrap_or_default();
                    (name_step(name), &inner[name.len()..])
                }
                None => bracketed(rest).ok_or_else(error)?,
            };
            steps.push(step.ok_or_else(error)?);
            rest = after;
        }
        if steps.len() > MAX_STEPS { Err(error()) } else { Ok(Self { text: trimmed.to_owned(), steps }) }
    }

    /// The path that leads nowhere else: `$`.
    #[must_use]
    pub fn root() -> Self {
        Self { text: "$".into(), steps: Vec::new() }
    }

    /// What lies there; `None` where nothing does. A null that is there is found.
    #[must_use]
    pub fn find<'v>(&self, value: &'v Value) -> Option<&'v Value> {
        let found = self.steps.iter().try_fold(value, |value, step| match (value, step) {
            (Value::Object(fields), Step::Name(name)) => fields.get(name),
            (Value::Array(items), Step::Index(index)) => items.get(*index),
            (Value::Array(items), Step::Name(name)) => items.get(name.parse::<usize>().ok()?),
            _ => None,
        });
        found.or_else(|| value.get(self.text.as_str()))
    }

    /// Lays something there, in objects that are made where there are none. Nothing is laid where a list's
    /// element is meant.
    pub(crate) fn put(&self, record: &mut Value, laid: Value) {
        let place = self.steps.iter().try_fold(record, |value, step| match step {
            Step::Name(name) => {
                if !value.is_object() {
                    *value = Value::Object(serde_json::Map::new());
                }
                value.as_object_mut().map(|fields| fields.entry(name.as_str()).or_insert(Value::Null))
            }
            Step::Index(_) => None,
        });
        if let Some(place) = place {
            *place = laid;
        }
    }

    /// The text that lies there: a text as it is, a whole number as its digits. `None` for a blank one, and for whatever
    /// else does not name an object, such as a number too large to have come exactly.
    #[must_use]
    pub fn text<'v>(&self, value: &'v Value) -> Option<Cow<'v, str>> {
        match self.find(value)? {
            Value::String(text) if !text.trim().is_empty() => Some(Cow::Borrowed(text.trim())),
            Value::Number(number) if number.is_i64() || number.is_u64() => Some(Cow::Owned(number.to_string())),
            Value::Number(number) => {
                let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < EXACT)?;
                Some(Cow::Owned(format!("{float:.0}")))
            }
            _ => None,
        }
    }
}

/// Below it a number that came as `1.0` or `1e3` is exactly that: 2⁵³.
const EXACT: f64 = 9_007_199_254_740_992.0;

impl std::fmt::Display for Path {
    /// As it was written.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> serde::Deserialize<'de> for Path {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

fn name_step(name: &str) -> Option<Step> {
    let plain = !name.trim().is_empty() && !name.contains(|c: char| c.is_control() || c == ']' || c == '*');
    plain.then(|| Step::Name(name.to_owned()))
}

/// `[0]` or `['name']`, and what comes after it.
fn bracketed(text: &str) -> Option<(Option<Step>, &str)> {
    let inner = text.strip_prefix('[')?;
    if let Some(quote @ ('\'' | '"')) = inner.chars().next() {
        let (name, after) = inner[1..].split_once(quote)?;
        let step = (!name.is_empty()).then(|| Step::Name(name.to_owned()));
        return Some((step, after.strip_prefix(']')?));
    }
    let (index, after) = inner.split_once(']')?;
    Some((index.parse().ok().map(Step::Index), after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_where_the_contract_s_configurations_mean() {
        let record = json!({
            "id": 7, "user": {"id": "u"}, "properties": {"x": "p", "a.b": "dotted"}, "@id": "at", "0": "zero",
            "items": [{"id": "first"}, {"id": "second"}], "hs.date": "flat", "null": null
        });
        for (path, expected) in [
            ("id", json!(7)),
            (" user.id ", json!("u")),
            ("properties.x", json!("p")),
            ("$.properties.x", json!("p")),
            ("@.user.id", json!("u")),
            (".user.id", json!("u")),
            ("@.@id", json!("at")),
            ("@id", json!("at")),
            ("items[1].id", json!("second")),
            ("items.1.id", json!("second")),
            ("$.items[0]['id']", json!("first")),
            ("properties[\"a.b\"]", json!("dotted")),
            ("hs.date", json!("flat")),
            ("0", json!("zero")),
            ("null", json!(null)),
        ] {
            assert_eq!(Path::parse(path).unwrap().find(&record), Some(&expected), "{path}");
        }
        assert_eq!(Path::parse("$").unwrap().find(&record), Some(&record));
        assert_eq!(Path::parse("$"), Ok(Path::root()));
        assert_eq!(Path::parse("$[0]").unwrap().find(&json!([5])), Some(&json!(5)));
        for path in ["absent", "id.x", "items.x", "items[2]", "user[0]", "properties"] {
            let found = Path::parse(path).unwrap().find(&record).filter(|found| !found.is_object());
            assert_eq!(found, None, "{path}");
        }
    }

    #[test]
    fn what_is_laid_somewhere_is_found_there_and_a_list_has_no_such_place() {
        for text in ["id", "['.tag']", "$.a.b['c.d']"] {
            let (path, mut record) = (Path::parse(text).unwrap(), json!({"a": {"kept": 1}}));
            path.put(&mut record, json!("x"));
            assert_eq!((path.find(&record), &record["a"]["kept"]), (Some(&json!("x")), &json!(1)), "{text}");
        }
        let mut record = json!(null);
        Path::parse("items[0].id").unwrap().put(&mut record, json!("x"));
        assert_eq!(record, json!({"items": null}));
    }

    #[test]
    fn an_id_is_a_text_or_a_whole_number_and_nothing_else() {
        let id = |value: Value| Path::parse("id").unwrap().text(&json!({"id": value})).map(Cow::into_owned);
        for (value, expected) in [
            (json!("2|0"), "2|0"),
            (json!(" a "), "a"),
            (json!(0), "0"),
            (json!(-4), "-4"),
            (json!(u64::MAX), "18446744073709551615"),
            (json!(12.0), "12"),
        ] {
            assert_eq!(id(value.clone()).as_deref(), Some(expected), "{value}");
        }
        for value in [json!(null), json!(""), json!(" "), json!(true), json!([1]), json!({}), json!(1.5), json!(1e20)] {
            assert_eq!(id(value.clone()), None, "{value}");
        }
    }

    #[test]
    fn what_is_no_path_is_refused() {
        let deep = ["a"; MAX_STEPS + 1].join(".");
        for text in ["", " ", "a..b", "a.", "a[", "a[x]", "a['b'", "a['']", "a]b", "*", "a.*", "$$.[", "a[0]b", &deep] {
            assert_eq!(Path::parse(text), Err(PathError(text.into())), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_path_finds_what_was_put_there(names in proptest::collection::vec("[a-zA-Z@_][a-z0-9@$_ -]{0,5}[a-z]", 1..6), root in "(\\$\\.|@\\.|)") {
            let value = names.iter().rev().fold(json!("found"), |inner, name| json!({ name.as_str(): inner }));
            let path = Path::parse(&format!("{root}{}", names.join("."))).unwrap();
            let found = path.text(&value);
            prop_assert_eq!(found.as_deref(), Some("found"));
        }

        #[test]
        fn any_text_is_a_path_or_refused(text in "[a.$@\\[\\]'0-9\"]{0,12}|.{0,9}") {
            if let Ok(path) = Path::parse(&text) {
                let _ = path.find(&json!({"a": [{"a": 1}]}));
                prop_assert_eq!(Path::parse(&path.to_string()), Ok(path));
            }
        }
    }
}
