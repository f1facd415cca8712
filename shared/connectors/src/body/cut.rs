//! Part of a JSON body, byte for byte: what an instance is shown of a request that also tells of other customers'
//! accounts, without the fields that are secrets.
//!
//! What stays is exactly as it was received: order, white space, escapes, digits. Only whole members of an object and
//! whole elements of an array are left out, each with one comma. So the result is JSON, and never longer than the
//! body.
//!
//! *Hazard:* a name may stand twice in an object. Whoever reads it into a map sees the last one only, and so did the
//! parser that found the entries. An earlier one would carry entries and secrets past it unseen; so it is left out
//! along the path, and a redacted field is left out as often as it stands.

use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The body with only its entries at `places` (from 0; `None`: all of them; each once and in the body's order,
/// however often it is named), and those without the fields `redact`.
///
/// The entries are the elements of the body, where that is an array (whatever the path), or of the array that `path`,
/// field by field, leads to. Where it leads to none, the body is its own and only entry, at place 0.
///
/// `None`: the body is not JSON, has no entry at one of the places, or is itself the only entry and not among them.
pub(crate) fn cut(body: &[u8], path: &[&str], places: Option<&[usize]>, redact: &[&str]) -> Option<Vec<u8>> {
    let root: &RawValue = serde_json::from_slice(body).ok()?;
    let mut cut = Cut { body, places, redact, gone: Vec::new() };
    if is_array(root) {
        cut.entries(root)?;
    } else if leads_to_entries(root, path)? {
        cut.follow(root, path)?;
    } else {
        if places.is_some_and(|places| places.is_empty() || places.iter().any(|place| *place != 0)) {
            return None;
        }
        if is_object(root) {
            cut.members(root, path, redact)?;
        }
    }
    cut.rest()
}

/// What is left out of a body, being found.
struct Cut<'a> {
    body: &'a [u8],
    places: Option<&'a [usize]>,
    redact: &'a [&'a str],
    /// In the body's order, and apart from each other.
    gone: Vec<Range<usize>>,
}

impl Cut<'_> {
    /// Goes down from `value` to the entries, if the path leads to any.
    fn follow(&mut self, value: &RawValue, path: &[&str]) -> Option<()> {
        if path.is_empty() && is_array(value) {
            self.entries(value)
        } else if !path.is_empty() && is_object(value) {
            self.members(value, path, &[])
        } else {
            Some(())
        }
    }

    fn entries(&mut self, array: &RawValue) -> Option<()> {
        let entries: Vec<&RawValue> = serde_json::from_str(array.get()).ok()?;
        let mut wanted = vec![self.places.is_none(); entries.len()];
        for place in self.places.unwrap_or_default() {
            *wanted.get_mut(*place)? = true;
        }
        let spans = entries.iter().map(|entry| self.span(entry)).collect::<Option<Vec<_>>>()?;
        let redact = self.redact;
        self.sift(&spans, &wanted, |cut, place| {
            if redact.is_empty() || !is_object(entries[place]) {
                return Some(());
            }
            cut.members(entries[place], &[], redact)
        })
    }

    /// Leaves out of an object the fields `redact`, and all but the last of the one that the path goes on with.
    fn members(&mut self, object: &RawValue, path: &[&str], redact: &[&str]) -> Option<()> {
        let Members(members) = serde_json::from_str(object.get()).ok()?;
        let next = last(&members, path);
        let wanted: Vec<bool> = members
            .iter()
            .enumerate()
            .map(|(place, member)| {
                let name = member.name.as_str();
                !redact.contains(&name) && (path.first() != Some(&name) || next == Some(place))
            })
            .collect();
        let spans: Option<Vec<_>> =
            members.iter().map(|member| Some(self.span(member.key)?.start..self.span(member.value)?.end)).collect();
        self.sift(&spans?, &wanted, |cut, place| match path {
            [_, rest @ ..] if next == Some(place) => cut.follow(members[place].value, rest),
            _ => Some(()),
        })
    }

    /// Leaves out of a list what is not wanted, each with the comma before it; before the first that is wanted, with
    /// the comma after it. `inside` sees to those that are.
    fn sift(
        &mut self,
        spans: &[Range<usize>],
        wanted: &[bool],
        mut inside: impl FnMut(&mut Self, usize) -> Option<()>,
    ) -> Option<()> {
        let mut before: Option<usize> = None;
        for (place, (span, wanted)) in spans.iter().zip(wanted).enumerate() {
            if *wanted {
                inside(self, place)?;
                before = Some(span.end);
            } else if let Some(end) = before {
                self.gone.push(end..span.end);
                before = Some(span.end);
            } else {
                self.gone.push(span.start..spans.get(place + 1).map_or(span.end, |next| next.start));
            }
        }
        Some(())
    }

    /// Where a value stands in the body, which it was borrowed from.
    fn span(&self, value: &RawValue) -> Option<Range<usize>> {
        let text = value.get();
        let start = text.as_ptr().addr().checked_sub(self.body.as_ptr().addr())?;
        let end = start.checked_add(text.len())?;
        (end <= self.body.len()).then_some(start..end)
    }

    /// The body without what is left out.
    fn rest(self) -> Option<Vec<u8>> {
        let mut rest = Vec::with_capacity(self.body.len());
        let mut from = 0;
        for gone in self.gone {
            rest.extend_from_slice(self.body.get(from..gone.start)?);
            from = gone.end;
        }
        rest.extend_from_slice(self.body.get(from..)?);
        Some(rest)
    }
}

/// Whether `path` leads from `value` to an array, by the last field of each name.
fn leads_to_entries(value: &RawValue, path: &[&str]) -> Option<bool> {
    let [_, rest @ ..] = path else { return Some(is_array(value)) };
    if !is_object(value) {
        return Some(false);
    }
    let Members(members) = serde_json::from_str(value.get()).ok()?;
    last(&members, path).map_or(Some(false), |place| leads_to_entries(members[place].value, rest))
}

/// The place of the member that `path` goes on with: the last of its name.
fn last(members: &[Member<'_>], path: &[&str]) -> Option<usize> {
    let name = path.first()?;
    members.iter().rposition(|member| member.name == *name)
}

fn is_array(value: &RawValue) -> bool {
    value.get().starts_with('[')
}

fn is_object(value: &RawValue) -> bool {
    value.get().starts_with('{')
}

/// An object's members in order, however often a name stands.
struct Members<'a>(Vec<Member<'a>>);

struct Member<'a> {
    /// The name that the key's escapes spell: a secret is not to hide behind `\u0073`.
    name: String,
    key: &'a RawValue,
    value: &'a RawValue,
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    let name = serde_json::from_str(key.get()).map_err(serde::de::Error::custom)?;
                    members.push(Member { name, key, value });
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    use super::*;

    fn text(body: &str, path: &[&str], places: Option<&[usize]>, redact: &[&str]) -> Option<String> {
        cut(body.as_bytes(), path, places, redact).map(|json| String::from_utf8(json).unwrap())
    }

    #[test]
    fn an_entry_is_handed_on_byte_for_byte() {
        let body = " [ {\"b\" : 1.0e2,\"a\":\"\\u00eb\\/\",\"a\":9007199254740993.0} ,\n[ 1 ], \"x,]\" , null]\n";
        let cut = |places: &[usize]| text(body, &[], Some(places), &[]);
        assert_eq!(cut(&[0]).as_deref(), Some(" [ {\"b\" : 1.0e2,\"a\":\"\\u00eb\\/\",\"a\":9007199254740993.0}]\n"));
        assert_eq!(cut(&[1, 2]).as_deref(), Some(" [ [ 1 ], \"x,]\"]\n"));
        assert_eq!(cut(&[3, 1, 3, 3]).as_deref(), Some(" [ [ 1 ] , null]\n"), "each once, in the body's order");
        assert_eq!(cut(&[]).as_deref(), Some(" [ ]\n"));
        assert_eq!(cut(&[0, 1, 2, 3]).as_deref(), Some(body));
        assert_eq!(text(body, &["any", "path"], None, &["zz"]).as_deref(), Some(body));
    }

    #[test]
    fn entries_inside_an_object_leave_the_rest_of_it_as_it_is() {
        let body = r#"{ "n": 1e0, "events" : [ {"id":1} , {"id":2},{"id":3} ] , "entropy":"\u0041" }"#;
        assert_eq!(
            text(body, &["events"], Some(&[1]), &[]).as_deref(),
            Some(r#"{ "n": 1e0, "events" : [ {"id":2} ] , "entropy":"\u0041" }"#)
        );
        let body = r#"{"list_folder": {"accounts": ["a", "b", "c"]}, "delta": {"users": [1]}}"#;
        assert_eq!(
            text(body, &["list_folder", "accounts"], Some(&[2, 0]), &["id"]).as_deref(),
            Some(r#"{"list_folder": {"accounts": ["a", "c"]}, "delta": {"users": [1]}}"#)
        );
    }

    #[test]
    fn a_redacted_field_goes_from_every_entry_however_it_is_spelled_and_often_it_stands() {
        let body = r#"{"value":[{"s":"one","id":1},{"id":2, "\u0073" : ["two"],"s":{"s":3} ,"t":"s"},{"s":"four"},"s",7],"s":"wrapper"}"#;
        assert_eq!(
            text(body, &["value"], None, &["s", "absent"]).as_deref(),
            Some(r#"{"value":[{"id":1},{"id":2 ,"t":"s"},{},"s",7],"s":"wrapper"}"#)
        );
        assert_eq!(
            text(r#"[{"a":1,"s":0,"b":{"s":5}}]"#, &[], None, &["s"]).as_deref(),
            Some(r#"[{"a":1,"b":{"s":5}}]"#),
            "of the entry itself, not of what is in it"
        );
    }

    #[test]
    fn a_body_whose_path_leads_to_no_array_is_its_only_entry() {
        for body in
            [r#"{"s":1,"id":2}"#, r#"{"events":{"x":[1]},"s":1}"#, r#"{"events":[[1]],"s":1}"#, r#"{"events":null}"#]
        {
            let path: &[&str] = &["events", "y"];
            let expected = body.replace(r#""s":1,"#, "").replace(r#","s":1"#, "");
            assert_eq!(text(body, path, None, &["s"]).as_deref(), Some(&*expected), "{body}");
            assert_eq!(text(body, path, Some(&[0, 0]), &["s"]).as_deref(), Some(&*expected), "{body}");
            for places in [&[][..], &[1], &[0, 1]] {
                assert_eq!(text(body, path, Some(places), &["s"]), None, "{body} {places:?}");
            }
        }
        assert_eq!(text("\"[1]\"", &[], None, &["s"]).as_deref(), Some("\"[1]\""));
    }

    #[test]
    fn an_earlier_field_of_the_same_name_carries_nothing_past_the_parser() {
        let path: &[&str] = &["a", "events"];
        for (body, expected) in [
            (r#"{"a":{"events":["other"]},"a":{"events":["x","mine"]}}"#, r#"{"a":{"events":["mine"]}}"#),
            (
                r#"{"a":{"events":["other"],"\u0065vents":["x","mine"],"z":0}}"#,
                r#"{"a":{"\u0065vents":["mine"],"z":0}}"#,
            ),
            (r#"{"z":1,"a":["other"],"y":2,"a":{"events":["x","mine"]}}"#, r#"{"z":1,"y":2,"a":{"events":["mine"]}}"#),
        ] {
            assert_eq!(text(body, path, Some(&[1]), &[]).as_deref(), Some(expected), "{body}");
        }
        // The last one leads to no array: the body is the only entry, and the array before it was nobody's.
        let body = r#"{"a":{"events":[{"s":"secret"}]},"a":{"events":[{"s":"secret"}],"events":0},"s":"secret"}"#;
        assert_eq!(text(body, path, Some(&[0]), &["s"]).as_deref(), Some(r#"{"a":{"events":0}}"#));
    }

    #[test]
    fn what_is_no_json_or_not_in_it_is_none() {
        for (body, places) in [
            ("{\"0\":1}", &[1][..]),
            ("null", &[]),
            ("[1", &[0]),
            ("[1] [2]", &[0]),
            ("[1,2]", &[0, 2]),
            ("[1]", &[usize::MAX]),
            ("[]", &[0]),
            ("", &[]),
        ] {
            assert_eq!(text(body, &[], Some(places), &[]), None, "{body} {places:?}");
        }
        assert_eq!(cut(b"[\"\xff\"]", &[], None, &[]), None);
    }

    #[test]
    fn deep_nesting_costs_no_stack() {
        let deep = format!("[{}{},1]", "[".repeat(500_000), "]".repeat(500_000));
        assert_eq!(text(&deep, &[], Some(&[1]), &["s"]).as_deref(), Some("[1]"));
    }

    /// JSON text with odd white space and repeated names, which no serialiser writes.
    fn json_text() -> impl Strategy<Value = String> {
        let space = || prop::sample::select(vec!["", " ", "\n", " \t"]);
        let leaf = prop::sample::select(vec!["1", "-2.50e1", "null", "true", "\"x\"", "\"],}\\\"{[\"", "[]", "{ }"])
            .prop_map(String::from);
        leaf.prop_recursive(4, 60, 6, move |inner| {
            let list = |open: &'static str, close: &'static str, items: Vec<(String, &'static str)>| {
                let items: Vec<String> = items.iter().map(|(item, space)| format!("{space}{item}{space}")).collect();
                format!("{open}{}{close}", items.join(","))
            };
            let name = prop::sample::select(vec!["\"a\"", "\"b\"", "\"s\"", "\"\\u0073\"", "\"\\u0061\""]);
            let member =
                (name, space(), inner.clone()).prop_map(|(name, space, value)| format!("{name}{space}:{space}{value}"));
            prop_oneof![
                prop::collection::vec((inner, space()), 0..5).prop_map(move |items| list("[", "]", items)),
                prop::collection::vec((member, space()), 0..6).prop_map(move |items| list("{", "}", items)),
            ]
        })
    }

    /// What the parser makes of the body, cut as a value: `None` where there is no such place.
    fn model(body: &Value, path: &[&str], places: Option<&[usize]>, redact: &[&str]) -> Option<Value> {
        let redacted = |entry: &Value| match entry {
            Value::Object(fields) => Value::Object(
                fields
                    .iter()
                    .filter(|(name, _)| !redact.contains(&&***name))
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect::<Map<_, _>>(),
            ),
            other => other.clone(),
        };
        let pointer: String =
            if body.is_array() { String::new() } else { path.iter().map(|name| format!("/{name}")).collect() };
        let entries = path_of_objects(body, path).then(|| body.pointer(&pointer)).flatten().and_then(Value::as_array);
        let count = entries.map_or(1, Vec::len);
        let places = places.map_or_else(|| (0..count).collect(), <[usize]>::to_vec);
        if places.iter().any(|place| *place >= count) {
            return None;
        }
        let Some(entries) = entries else { return (!places.is_empty()).then(|| redacted(body)) };
        let kept =
            entries.iter().enumerate().filter(|(place, _)| places.contains(place)).map(|(_, entry)| redacted(entry));
        let mut result = body.clone();
        *result.pointer_mut(&pointer).unwrap() = kept.collect();
        Some(result)
    }

    fn path_of_objects(body: &Value, path: &[&str]) -> bool {
        body.is_array() || path.iter().try_fold(body, |value, name| value.as_object()?.get(*name)).is_some()
    }

    fn paths() -> impl Strategy<Value = &'static [&'static str]> {
        prop::sample::select(vec![&[][..], &["a"], &["a", "b"], &["b", "a", "a"], &["s"]])
    }

    proptest! {
        #[test]
        fn without_places_and_secrets_the_body_says_what_it_said(body in json_text(), path in paths()) {
            let cut = text(&body, path, None, &[]).unwrap();
            prop_assert_eq!(serde_json::from_str::<Value>(&cut).unwrap(), serde_json::from_str::<Value>(&body).unwrap());
            prop_assert!(cut.len() <= body.len());
        }

        #[test]
        fn a_cut_body_reads_as_the_body_that_was_read_and_cut(
            body in json_text(), path in paths(),
            places in prop::option::of(prop::collection::vec(0_usize..4, 0..4)),
            redact in prop::sample::select(vec![&[][..], &["s"], &["a", "s"]]),
        ) {
            let expected = model(&serde_json::from_str(&body).unwrap(), path, places.as_deref(), redact);
            let cut = text(&body, path, places.as_deref(), redact);
            prop_assert_eq!(cut.as_ref().map(|cut| serde_json::from_str::<Value>(cut).unwrap()), expected);
            prop_assert!(cut.is_none_or(|cut| cut.len() <= body.len()));
        }

        #[test]
        fn nothing_of_another_customers_entry_or_of_a_secret_remains(
            mine in prop::collection::vec(any::<bool>(), 1..12), decoys in 0_usize..3, nested in any::<bool>(),
        ) {
            let entry = |mine: &bool| {
                let owner = if *mine { "mine" } else { "theirs" };
                format!(r#"{{"secret":"hidden","owner":"{owner}","\u0073ecret":["hidden"]}}"#)
            };
            let entries: Vec<String> = mine.iter().map(entry).collect();
            let decoy = r#""events":[{"secret":"hidden","owner":"theirs"}],"#.repeat(decoys);
            let wrapper = format!(r#"{{{decoy}"events":[{}],"entropy":"kept"}}"#, entries.join(", "));
            let (body, path): (_, &[&str]) =
                if nested { (format!(r#"{{"a":{wrapper}}}"#), &["a", "events"]) } else { (wrapper, &["events"]) };
            let places: Vec<usize> = (0..mine.len()).filter(|place| mine[*place]).collect();
            let cut = text(&body, path, Some(&places), &["secret"]).unwrap();
            prop_assert!(!cut.contains("theirs") && !cut.contains("hidden") && cut.contains("kept"), "{cut}");
            prop_assert_eq!(cut.matches("mine").count(), places.len());
        }

        #[test]
        fn garbage_never_panics(body in prop::collection::vec(prop::sample::select(b"{}[]\",:a1\\s \xff".to_vec()), 0..60)) {
            let cut = cut(&body, &["a"], Some(&[0]), &["s"]);
            prop_assert!(cut.is_none() || serde_json::from_slice::<&RawValue>(&body).is_ok());
        }
    }

    #[test]
    fn the_model_of_the_property_tests_is_not_empty() {
        let body = json!({"a": [{"s": 1, "b": 2}, 3]});
        assert_eq!(model(&body, &["a"], Some(&[0]), &["s"]), Some(json!({"a": [{"b": 2}]})));
        assert_eq!(model(&body, &["a"], Some(&[2]), &[]), None);
    }
}
