//! Conditions as DynamoDB's expressions.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use events::Timestamp;
use platform::Condition;

use super::item::{Attributes, PARTITION_ATTRIBUTE, TTL_ATTRIBUTE, VERSION, number};

/// An expression with its placeholders. Only those it uses: DynamoDB refuses others.
#[derive(Clone, Debug, Default)]
pub(super) struct Expression {
    pub(super) text: Option<String>,
    pub(super) names: Option<HashMap<String, String>>,
    pub(super) values: Option<Attributes>,
}

impl Expression {
    fn new(
        text: &str,
        names: &[(&str, &str)],
        values: impl IntoIterator<Item = (&'static str, AttributeValue)>,
    ) -> Self {
        let owned = |(placeholder, name): &(&str, &str)| ((*placeholder).to_owned(), (*name).to_owned());
        Self {
            text: Some(text.to_owned()),
            names: Some(names.iter().map(owned).collect()),
            values: Some(values.into_iter().map(|(placeholder, value)| (placeholder.to_owned(), value)).collect()),
        }
    }

    /// What must hold, an expired item being absent. A comparison with a missing attribute is false.
    pub(super) fn of(condition: Option<Condition>, now: Timestamp) -> Self {
        let now = (":now", number(&now.as_seconds()));
        match condition {
            None => Self::default(),
            Some(Condition::Absent) => Self::new(
                "attribute_not_exists(#pk) OR #x <= :now",
                &[("#pk", PARTITION_ATTRIBUTE), ("#x", TTL_ATTRIBUTE)],
                [now],
            ),
            Some(Condition::Version(version)) => Self::new(
                "#v = :v AND (attribute_not_exists(#x) OR #x > :now)",
                &[("#v", VERSION), ("#x", TTL_ATTRIBUTE)],
                [now, (":v", number(&version.0))],
            ),
        }
    }
}
