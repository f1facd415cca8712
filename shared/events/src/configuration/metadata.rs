//! `event.metadata`: which event types of which objects an instance is told of.
//!
//! ```json
//! {"webhook": {"Account": {"eventTypes": ["created", "updated"]}, "{objectName}": {"eventTypes": ["deleted"]}}}
//! ```
//!
//! `{objectName}` stands for any object that is not listed. What polls tell is narrowed by `polling` in the same way. When in doubt an event is told: one
//! of unknown type always, and whatever the text says nothing of. An empty list says that nothing is to be told.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::EventType;

/// Most objects that may be listed: each is kept in what the receiver reads at every webhook, and the poller at every poll.
pub const OBJECTS: usize = 100;

/// The name that stands for any object, lower-case as all names here.
const ANY_OBJECT: &str = "{objectname}";

/// The event types to tell, by object, lower-case; empty: all of all.
pub type EventTypes = BTreeMap<String, BTreeSet<EventType>>;

/// Those of webhooks.
pub type WebhookTypes = EventTypes;

/// Why a text is no such metadata.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// Not JSON, or not an object.
    #[error("it is a JSON object such as {{\"webhook\": {{\"Account\": {{\"eventTypes\": [\"created\"]}}}}}}")]
    Form,
    /// `webhook` (or `polling`) is not an object of objects.
    #[error("\"webhook\" and \"polling\" hold one object for each object name")]
    Webhook,
    /// `eventTypes` is not what it is to be.
    #[error("\"eventTypes\" is an array of created, updated, deleted and unknown, in any case")]
    EventTypes,
    /// Too many objects.
    #[error("\"webhook\" (or \"polling\") lists more than {OBJECTS} objects")]
    TooMany,
}

/// Reads what is to be told of webhooks; a blank text says nothing.
///
/// # Errors
/// [`MetadataError`].
pub fn webhook_types(text: &str) -> Result<WebhookTypes, MetadataError> {
    types(text, "webhook")
}

/// Reads what is to be told of polls; a blank text says nothing.
///
/// # Errors
/// [`MetadataError`].
pub fn polling_types(text: &str) -> Result<EventTypes, MetadataError> {
    types(text, "polling")
}

fn types(text: &str, path: &str) -> Result<EventTypes, MetadataError> {
    if text.trim().is_empty() {
        return Ok(EventTypes::new());
    }
    let Ok(Value::Object(metadata)) = serde_json::from_str(text) else { return Err(MetadataError::Form) };
    let objects = match metadata.get(path) {
        None | Some(Value::Null) => return Ok(EventTypes::new()),
        Some(Value::Object(objects)) => objects,
        Some(_) => return Err(MetadataError::Webhook),
    };
    if objects.len() > OBJECTS {
        return Err(MetadataError::TooMany);
    }
    let mut types = EventTypes::new();
    for (name, object) in objects {
        let object = object.as_object().ok_or(MetadataError::Webhook)?;
        // Two spellings of a name are the same object: what either lists is told.
        types.entry(name.to_lowercase()).or_default().extend(listed(object.get("eventTypes"))?);
    }
    Ok(types)
}

/// The event types that are listed; all, where there is no list.
fn listed(value: Option<&Value>) -> Result<BTreeSet<EventType>, MetadataError> {
    match value {
        None | Some(Value::Null) => {
            Ok([EventType::Created, EventType::Updated, EventType::Deleted, EventType::Unknown].into())
        }
        Some(Value::Array(words)) => words.iter().map(event_type).collect(),
        Some(_) => Err(MetadataError::EventTypes),
    }
}

fn event_type(word: &Value) -> Result<EventType, MetadataError> {
    let word = word.as_str().ok_or(MetadataError::EventTypes)?.trim();
    match EventType::from_word(word) {
        EventType::Unknown if !word.eq_ignore_ascii_case(EventType::Unknown.as_str()) => Err(MetadataError::EventTypes),
        event_type => Ok(event_type),
    }
}

/// Whether an event is to be told.
#[must_use]
pub fn wants(types: &EventTypes, object_type: &str, event_type: EventType) -> bool {
    let listed = || types.get(&object_type.to_lowercase()).or_else(|| types.get(ANY_OBJECT));
    types.is_empty() || event_type == EventType::Unknown || listed().is_none_or(|listed| listed.contains(&event_type))
}

#[cfg(test)]
mod tests {
    use EventType::{Created, Deleted, Unknown, Updated};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_listed_is_told_unless_any_object_is_listed() {
        let types = webhook_types(r#"{"webhook":{"Account":{"eventTypes":["created","UPDATED"]},"Note":{}}}"#).unwrap();
        for (object, event_type, told) in [
            ("account", Created, true),
            ("ACCOUNT", Updated, true),
            ("Account", Deleted, false),
            ("Account", Unknown, true),
            ("Note", Deleted, true),
            ("Contact", Deleted, true),
        ] {
            assert_eq!(wants(&types, object, event_type), told, "{object} {event_type:?}");
        }
        let text = r#"{"webhook":{"Account":{"eventTypes":["created"]},"{objectName}":{"eventTypes":["deleted"]}},
            "polling":{"Contact":{"eventTypes":["created"]}}}"#;
        let types = webhook_types(text).unwrap();
        assert!(wants(&types, "Account", Created) && !wants(&types, "Account", Deleted));
        assert!(wants(&types, "Contact", Deleted) && !wants(&types, "Contact", Created));
        let polling = polling_types(text).unwrap();
        assert!(wants(&polling, "Contact", Created) && !wants(&polling, "Contact", Deleted));
        assert!(wants(&polling, "Account", Deleted), "each way has its own");
        assert!(!wants(&webhook_types(r#"{"webhook":{"a":{"eventTypes":[]}}}"#).unwrap(), "A", Created));
    }

    #[test]
    fn metadata_that_says_nothing_of_webhooks_filters_nothing() {
        for text in
            ["", " ", "{}", r#"{"webhook":null}"#, r#"{"webhook":{}}"#, r#"{"polling":{"a":{"eventTypes":[]}}}"#]
        {
            let types = webhook_types(text).unwrap();
            assert!(wants(&types, "a", Created), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_understood_is_refused_by_name() {
        for (text, error) in [
            ("{", MetadataError::Form),
            ("[]", MetadataError::Form),
            (r#"{"webhook":[]}"#, MetadataError::Webhook),
            (r#"{"webhook":{"a":["created"]}}"#, MetadataError::Webhook),
            (r#"{"webhook":{"a":{"eventTypes":"created"}}}"#, MetadataError::EventTypes),
            (r#"{"webhook":{"a":{"eventTypes":["changed"]}}}"#, MetadataError::EventTypes),
            (r#"{"webhook":{"a":{"eventTypes":[1]}}}"#, MetadataError::EventTypes),
        ] {
            assert_eq!(webhook_types(text), Err(error), "{text}");
        }
        let objects = |n: usize| (0..n).map(|n| format!("\"o{n}\":{{}}")).collect::<Vec<_>>().join(",");
        assert!(webhook_types(&format!("{{\"webhook\":{{{}}}}}", objects(OBJECTS))).is_ok());
        let many = webhook_types(&format!("{{\"webhook\":{{{}}}}}", objects(OBJECTS + 1)));
        assert_eq!(many, Err(MetadataError::TooMany));
    }

    fn a_type() -> impl Strategy<Value = EventType> {
        prop_oneof![Just(Created), Just(Updated), Just(Deleted), Just(Unknown)]
    }

    proptest! {
        #[test]
        fn exactly_what_is_listed_is_told_and_unknown_always(
            listed in proptest::collection::btree_map("[A-C]", proptest::collection::btree_set(a_type(), 0..4), 0..3),
            any in proptest::option::of(proptest::collection::btree_set(a_type(), 0..4)),
            object in "[a-dA-D]",
            event_type in a_type(),
        ) {
            let words = |types: &BTreeSet<EventType>| types.iter().map(|t| t.as_str()).collect::<Vec<_>>();
            let mut webhook = serde_json::Map::new();
            for (name, types) in &listed {
                webhook.insert(name.clone(), serde_json::json!({ "eventTypes": words(types) }));
            }
            if let Some(any) = &any {
                webhook.insert("{objectName}".into(), serde_json::json!({ "eventTypes": words(any) }));
            }
            let types = webhook_types(&serde_json::json!({ "webhook": webhook }).to_string()).unwrap();
            let says = listed.get(&object.to_uppercase()).or(any.as_ref());
            let told = event_type == Unknown || says.is_none_or(|types| types.contains(&event_type));
            prop_assert_eq!(wants(&types, &object, event_type), told);
        }

        #[test]
        fn no_text_panics(text in ".{0,60}") {
            let _ = (webhook_types(&text), polling_types(&text));
        }
    }
}
