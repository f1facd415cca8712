//! Whether what a definition expects is what a provider sent: texts in any case, and numbers and booleans also as texts.

use std::borrow::Cow;

use serde_json::Value;

pub(crate) fn same(expected: &Value, found: &Value) -> bool {
    match (scalar(expected), scalar(found)) {
        (Some(expected), Some(found)) => expected.eq_ignore_ascii_case(&found),
        _ => expected == found,
    }
}

fn scalar(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text.trim())),
        Value::Number(_) | Value::Bool(_) => Some(Cow::Owned(value.to_string())),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars_are_compared_as_texts_and_the_rest_as_it_is() {
        for (expected, found, is) in [
            (json!("Deleted"), json!(" deleted"), true),
            (json!("Deleted"), json!("Active"), false),
            (json!(true), json!("TRUE"), true),
            (json!(true), json!(1), false),
            (json!(3001), json!("3001"), true),
            (json!("3001"), json!(3001), true),
            (json!(null), json!(null), true),
            (json!(null), json!("null"), false),
            (json!([1]), json!([1]), true),
            (json!({"a": 1}), json!({"a": 2}), false),
        ] {
            assert_eq!(same(&expected, &found), is, "{expected} {found}");
        }
    }
}
