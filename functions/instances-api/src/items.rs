//! An instance's configuration as a list of items, each with a number to be changed by.
//!
//! Listed is every key that Pollhook or the instance's connector knows, set or not (`propertyValue` is null then), and
//! whatever else the configuration holds. Secrets are masked.
//!
//! *Numbers.* An item's id is a hash of the instance's id and the key, below 2³¹. Two keys of one instance whose hashes are
//! the same are hashed once more, the later in the list: the listed keys go before others, so theirs never change.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Path, State};
use bytes::Bytes;
use connectors::Connector;
use events::{InstanceId, configuration};
use platform::Platform;
use records::instances::Stored;
use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Problem};
use crate::authorization::Target;
use crate::instances::{self, Edit};
use crate::invalid::Invalid;
use crate::resource::fnv;
use crate::settings::known::{self, Known};
use crate::wire::ItemGiven;
use crate::{Api, polled, settings, text};

/// One key of an instance's configuration.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Item {
    id: u32,
    key: String,
    name: String,
    description: String,
    property_value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_value: Option<&'static str>,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    options: Vec<&'static str>,
    required: bool,
    active: bool,
}

/// The path parameter that names an item.
#[derive(Deserialize)]
pub(crate) struct Named {
    item: String,
}

/// `GET /instances/{id}/configuration`, `GET /instances/configuration`.
pub(crate) async fn list<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    target: Target,
) -> Result<Answer<Vec<Item>>, Problem> {
    let stored = instances::load(&api, &target).await?;
    Ok(Answer(items(&stored, api.catalogue.get(&stored.instance.connector))))
}

/// `GET /instances/{id}/configuration/{configurationId}`.
pub(crate) async fn one<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    target: Target,
    Path(named): Path<Named>,
) -> Result<Answer<Item>, Problem> {
    let stored = instances::load(&api, &target).await?;
    find(&stored, api.catalogue.get(&stored.instance.connector), &named).map(Answer)
}

/// `PATCH /instances/{id}/configuration/{configurationId}`.
pub(crate) async fn change<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    target: Target,
    Path(named): Path<Named>,
    body: Bytes,
) -> Result<Answer<Item>, Problem> {
    let given = ItemGiven::read(&body)?;
    let (stored, item) = instances::edit(&api, &target, |before, rules| {
        let item = find(before, Some(rules.connector), &named)?;
        check_same(&given, &item)?;
        let changes = given.change(&item.key)?;
        let edit = Edit {
            settings: rules.change(instances::settings(before), &changes)?,
            instance: before.instance.clone(),
            forget_handshake: rules.renews_secret(&changes),
        };
        Ok((edit, item))
    })
    .await?;
    let value =
        settings::shown(&stored.instance, &stored.secrets).get(item.key.as_str()).map(|value| (*value).to_owned());
    Ok(Answer(Item { property_value: value, ..item }))
}

/// An item that is sent back must be the one that the path names.
fn check_same(given: &ItemGiven<'_>, item: &Item) -> Result<(), Invalid> {
    if let Some(id) = given.id.filter(|id| *id != item.id) {
        return Err(Invalid::new("id", id.to_string(), format!("{}, as in the path, or none", item.id)));
    }
    match &given.key {
        Some(key) if *key != item.key => Err(Invalid::new(
            "key",
            text::quoted(key),
            format!("\"{}\", which the path's id stands for, or none", item.key),
        )),
        _ => Ok(()),
    }
}

fn find(stored: &Stored, connector: Option<&Connector>, named: &Named) -> Result<Item, Problem> {
    let item = items(stored, connector).into_iter().find(|item| item.id.to_string() == named.item);
    item.ok_or(Problem::NoSuch("configuration item; GET /instances/{id}/configuration lists them with their ids"))
}

/// The items of an instance, those that every instance has first.
fn items(stored: &Stored, connector: Option<&Connector>) -> Vec<Item> {
    let shown = settings::shown(&stored.instance, &stored.secrets);
    let listed: Vec<&str> = connector.map(|connector| known::listed(connector).collect()).unwrap_or_default();
    let others = shown.keys().copied().filter(|key| !listed.contains(key));
    let keys: Vec<&str> = listed.iter().copied().chain(others).collect();
    let ids = numbers(&keys, |key, again| number(stored.instance.id, key, again));
    let value = |key| shown.get(key).map(|value| (*value).to_owned());
    keys.iter().zip(ids).map(|(key, id)| item(id, key, value(*key), connector)).collect()
}

fn item(id: u32, key: &str, property_value: Option<String>, connector: Option<&Connector>) -> Item {
    let of_connector = |keys: fn(&Connector) -> &[String]| {
        connector.is_some_and(|connector| keys(connector).iter().any(|own| own == key))
    };
    let secret = configuration::is_secret(key) || of_connector(Connector::secret_keys);
    let known: Option<&Known> = known::find(key);
    Item {
        id,
        key: key.to_owned(),
        name: known.map_or(key, |known| known.name).to_owned(),
        description: description(key, known, connector, secret),
        property_value,
        default_value: known.and_then(|known| known.default),
        r#type: match known {
            Some(known) => known.kind.wire(),
            None if secret => "PASSWORD",
            None => "TEXTFIELD_1000",
        },
        options: known.map(|known| options(known, connector)).unwrap_or_default(),
        required: of_connector(Connector::required),
        active: true,
    }
}

/// The words that a key's value is one of.
fn options(known: &Known, connector: Option<&Connector>) -> Vec<&'static str> {
    let words = known.kind.options();
    match connector {
        Some(connector) if known.key == configuration::VENDOR_TYPE => polled::ways(connector, words),
        _ => words.to_vec(),
    }
}

fn description(key: &str, known: Option<&Known>, connector: Option<&Connector>, secret: bool) -> String {
    match (known, connector) {
        (Some(known), _) => known.description.to_owned(),
        (None, Some(connector)) if connector.required().iter().any(|own| own == key) => {
            format!("What {} cannot do without", connector.name())
        }
        (None, Some(connector)) if connector.secret_keys().iter().any(|own| own == key) => {
            format!("A secret that the webhooks of {} are verified with", connector.name())
        }
        _ if secret => "Kept as it came, sealed".to_owned(),
        _ => "Kept as it came".to_owned(),
    }
}

/// A number for each of `keys`, in order, no two the same: the first that is free of those that `number` has for the key.
fn numbers(keys: &[&str], number: impl Fn(&str, u32) -> u32) -> Vec<u32> {
    let mut taken = BTreeSet::new();
    let free =
        |key: &&str| (0..).map(|again| number(key, again)).find(|number| taken.insert(*number)).unwrap_or_default();
    keys.iter().map(free).collect()
}

/// The `again`th number of a key of an instance, below 2³¹.
fn number(instance: InstanceId, key: &str, again: u32) -> u32 {
    let place = instance.number().to_be_bytes().into_iter().chain(key.bytes());
    fnv(place.chain(again.to_be_bytes())) & 0x7fff_ffff
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_items_number_never_changes() {
        let instance: InstanceId = "31".parse().unwrap();
        assert_ne!(number(instance, configuration::ENABLED, 0), number(instance, configuration::ENABLED, 1));
        assert_eq!(number(instance, configuration::ENABLED, 0), 94_662_158);
    }

    proptest! {
        #[test]
        fn numbers_are_unique_and_what_comes_later_changes_none_before(
            keys in proptest::collection::btree_set("[a-c]{1,3}", 0..14),
            more in proptest::collection::btree_set("[d-f]{1,3}", 0..14),
            space in 30..60_u32,
        ) {
            // So few numbers that keys must share them.
            let crowded = |key: &str, again: u32| (number(InstanceId::from_random(7), key, 0) % space + again) % space;
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let all: Vec<&str> = keys.iter().copied().chain(more.iter().map(String::as_str)).collect();
            let (some, of_all) = (numbers(&keys, crowded), numbers(&all, crowded));
            prop_assert_eq!(&of_all[..some.len()], &some[..]);
            prop_assert_eq!(of_all.iter().collect::<BTreeSet<_>>().len(), all.len());
        }
    }
}
