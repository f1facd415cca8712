//! Items as DynamoDB's attributes, and back.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use platform::{Item, Key, TableError, Version};

/// The table's hash key, text.
pub const PARTITION_ATTRIBUTE: &str = "pk";
/// The table's range key, text.
pub const SORT_ATTRIBUTE: &str = "sk";
/// The table's TTL attribute, a number of seconds since the epoch.
pub const TTL_ATTRIBUTE: &str = "x";
pub(super) const BODY: &str = "b";
pub(super) const VERSION: &str = "v";

pub(super) type Attributes = HashMap<String, AttributeValue>;

pub(super) fn number(number: &impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(super) fn of_key(key: &Key) -> Attributes {
    HashMap::from([
        (PARTITION_ATTRIBUTE.to_owned(), AttributeValue::S(key.partition.clone())),
        (SORT_ATTRIBUTE.to_owned(), AttributeValue::S(key.sort.clone())),
    ])
}

pub(super) fn of_item(key: &Key, body: Bytes, version: Version, expires_at_s: Option<i64>) -> Attributes {
    let mut attributes = of_key(key);
    attributes.insert(BODY.to_owned(), AttributeValue::B(Blob::new(body)));
    attributes.insert(VERSION.to_owned(), number(&version.0));
    if let Some(at_s) = expires_at_s {
        attributes.insert(TTL_ATTRIBUTE.to_owned(), number(&at_s));
    }
    attributes
}

/// The sort key among `attributes`.
pub(super) fn sort(mut attributes: Attributes) -> Result<String, TableError> {
    match attributes.remove(SORT_ATTRIBUTE) {
        Some(AttributeValue::S(sort)) => Ok(sort),
        _ => Err(foreign(SORT_ATTRIBUTE)),
    }
}

pub(super) fn key(attributes: &Attributes) -> Result<Key, TableError> {
    let part = |name| match attributes.get(name) {
        Some(AttributeValue::S(part)) => Ok(part.as_str()),
        _ => Err(foreign(name)),
    };
    Ok(Key::new(part(PARTITION_ATTRIBUTE)?, part(SORT_ATTRIBUTE)?))
}

pub(super) fn item(mut attributes: Attributes) -> Result<Item, TableError> {
    let key = key(&attributes)?;
    let body = match attributes.remove(BODY) {
        Some(AttributeValue::B(body)) => Bytes::from(body.into_inner()),
        _ => return Err(foreign(BODY)),
    };
    let version = match attributes.get(VERSION) {
        Some(AttributeValue::N(version)) => Version(version.parse().map_err(|_| foreign(VERSION))?),
        _ => return Err(foreign(VERSION)),
    };
    let expires_at_s = match attributes.get(TTL_ATTRIBUTE) {
        Some(AttributeValue::N(at_s)) => Some(at_s.parse().map_err(|_| foreign(TTL_ATTRIBUTE))?),
        None => None,
        Some(_) => return Err(foreign(TTL_ATTRIBUTE)),
    };
    Ok(Item { key, version, body, expires_at_s })
}

/// Someone else writes to our table.
fn foreign(attribute: &str) -> TableError {
    TableError::Unavailable(format!("an item without a proper attribute {attribute:?}: not written by this table"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_item_survives_its_attributes(
            partition in ".+", sort in ".+", body: Vec<u8>, version: u64, expires_at_s: Option<i64>,
        ) {
            let key = Key::new(partition, sort);
            let written = Item { key: key.clone(), version: Version(version), body: body.into(), expires_at_s };
            let attributes = of_item(&key, written.body.clone(), written.version, expires_at_s);
            prop_assert_eq!(item(attributes).unwrap(), written);
        }

        /// DynamoDB's own count: names, text and binary by their bytes, a number by half its digits and one or two more.
        #[test]
        fn the_limits_never_count_less_than_dynamodb(version: u64, at_s: i64, body in 0_usize..2000) {
            let key = Key::new("p", "s");
            let attributes = of_item(&key, vec![0; body].into(), Version(version), Some(at_s));
            let counted: usize = attributes.iter().map(|(name, value)| name.len() + match value {
                AttributeValue::S(text) => text.len(),
                AttributeValue::B(body) => body.as_ref().len(),
                AttributeValue::N(number) => number.len().div_ceil(2) + 2,
                _ => unreachable!(),
            }).sum();
            let write = platform::Write::put(key, Version(version), vec![0; body]).expiring(at_s);
            prop_assert!(platform::limits::size(&write) >= counted);
        }
    }

    #[test]
    fn a_foreign_item_is_an_error_and_not_a_guess() {
        let mut attributes = of_item(&Key::new("p", "s"), Bytes::new(), Version(1), None);
        attributes.insert(TTL_ATTRIBUTE.into(), AttributeValue::S("soon".into()));
        assert!(matches!(item(attributes), Err(TableError::Unavailable(_))));
    }
}
