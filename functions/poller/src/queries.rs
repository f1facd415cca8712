//! What instances ask for, read once for all that ask for the same.
//!
//! *Promise:* a poll's queries are those that its configuration says with its connector, whether they were read for it or for
//! another before. Reading them (JSON, templates, date patterns) takes longer than all else that a poll with nothing new does,
//! and whoever has many customers gives all of them the same configuration.
//!
//! *What is not kept:* a configuration that names values of the instance's own where resources are named; those in URLs,
//! headers and bodies are filled anew with each request.
//!
//! *Bounded:* when it is too much all is forgotten, and learnt anew.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use events::configuration::{OBJECTS, POLLER_CONFIGURATION, POLLER_URLS};
use polling::configuration::{self, Configuration, Problem};
use polling::definition::Polling;
use polling::request::Query;

/// Most bytes that are kept, about.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// What a resource takes, about, beside the text that it was read from.
const RESOURCE_BYTES: usize = 4096;

/// The settings that say what is asked for.
const SETTINGS: [&str; 3] = [OBJECTS, POLLER_CONFIGURATION, POLLER_URLS];

/// A worker's memory of what instances ask for. One is for one catalogue of connectors.
#[derive(Default, Debug)]
pub struct Queries(Mutex<Known>);

#[derive(Default, Debug)]
struct Known {
    asked: HashMap<Key, Arc<Asked>>,
    bytes: usize,
}

/// The connector, and what each of [`SETTINGS`] says.
#[derive(PartialEq, Eq, Hash, Debug)]
struct Key {
    connector: String,
    settings: [String; SETTINGS.len()],
}

/// What an instance asks for.
#[derive(Default, Debug)]
pub(crate) struct Asked {
    /// What can be asked, in the order of the configuration.
    pub(crate) queries: Vec<Query>,
    /// What cannot.
    pub(crate) problems: Vec<Problem>,
    /// The names of all resources that are configured, usable or not.
    pub(crate) names: BTreeSet<String>,
}

impl Asked {
    /// What a configuration asks for of a connector's provider; of a connector that cannot be polled nothing.
    pub(crate) fn of(polling: Option<&Polling>, configuration: Configuration) -> Self {
        let Configuration { resources, mut problems, .. } = configuration;
        let names = resources.iter().map(|resource| &resource.name);
        let names = names.chain(problems.iter().map(|problem| &problem.resource)).cloned().collect();
        let mut queries = Vec::new();
        for resolved in resources.iter().filter_map(|resource| Some(Query::resolve(polling?, resource))) {
            match resolved {
                Ok(query) => queries.push(query),
                Err(problem) => problems.push(problem),
            }
        }
        Self { queries, problems, names }
    }
}

/// What it takes to keep it, about: the text, and several times as much of what was read from it.
fn bytes(key: &Key, asked: &Asked) -> usize {
    let text = key.connector.len() + key.settings.iter().map(String::len).sum::<usize>();
    4 * text + RESOURCE_BYTES * asked.names.len().max(1)
}

impl Queries {
    /// What an instance with these settings asks for.
    pub(crate) fn asked(
        &self,
        connector: &str,
        polling: Option<&Polling>,
        settings: &BTreeMap<String, String>,
    ) -> Arc<Asked> {
        let said = SETTINGS.map(|name| settings.get(name).cloned().unwrap_or_default());
        let key = Key { connector: connector.to_owned(), settings: said };
        if let Some(asked) = self.known(|known| known.asked.get(&key).map(Arc::clone)) {
            return asked;
        }
        let configuration = configuration::read(settings);
        let of_its_own = configuration.of_its_own;
        let asked = Arc::new(Asked::of(polling, configuration));
        let bytes = bytes(&key, &asked);
        if !of_its_own && bytes <= MOST_BYTES {
            self.known(|known| {
                if known.bytes + bytes > MOST_BYTES {
                    *known = Known::default();
                }
                if known.asked.insert(key, Arc::clone(&asked)).is_none() {
                    known.bytes += bytes;
                }
            });
        }
        asked
    }

    fn known<T>(&self, with: impl FnOnce(&mut Known) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECTION: &str = r#"
base_url: https://api.example
authentication: { none: {} }
resources:
  a: { path: /a, id: id }
  b: { path: /b, id: id }
"#;

    fn settings(objects: &str, poller: &str, own: &str) -> BTreeMap<String, String> {
        let settings = [(OBJECTS, objects), (POLLER_CONFIGURATION, poller), ("own", own)];
        settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    }

    fn polling() -> Polling {
        Polling::from_yaml(SECTION).unwrap()
    }

    fn said(asked: &Asked) -> String {
        format!("{asked:?}")
    }

    proptest! {
        #[test]
        fn what_is_remembered_is_what_would_be_read(
            polls in proptest::collection::vec(
                (
                    proptest::sample::select(vec!["", "a", "a,b", "c"]),
                    proptest::sample::select(vec!["", "{", r#"{"a":{}}"#, r#"{"{own}":{"url":"/x"},"b":{}}"#, r#"{"{objectName}":{}}"#]),
                    proptest::sample::select(vec!["", "a", "z"]),
                    any::<bool>(),
                ),
                1..20,
            ),
        ) {
            let (queries, polling) = (Queries::default(), polling());
            for (objects, poller, own, polled) in polls {
                let (settings, polling) = (settings(objects, poller, own), polled.then_some(&polling));
                let connector = if polled { "api" } else { "other" };
                let afresh = Asked::of(polling, configuration::read(&settings));
                prop_assert_eq!(said(&queries.asked(connector, polling, &settings)), said(&afresh));
            }
        }
    }

    #[test]
    fn those_who_ask_for_the_same_share_it_and_what_names_their_own_values_is_read_for_each() {
        let (queries, polling) = (Queries::default(), polling());
        let ask = |poller: &str, own: &str| queries.asked("api", Some(&polling), &settings("", poller, own));
        assert!(Arc::ptr_eq(&ask(r#"{"a":{}}"#, "x"), &ask(r#"{"a":{}}"#, "y")));
        let own = r#"{"{own}":{"url":"/x"}}"#;
        assert_eq!(ask(own, "x").queries[0].name, "x");
        assert_eq!(ask(own, "y").queries[0].name, "y");
    }

    #[test]
    fn of_very_many_only_some_are_kept() {
        let (queries, polling) = (Queries::default(), polling());
        for number in 0..200 {
            let poller = format!(r#"{{"a":{{"note":"{number}{}"}}}}"#, "x".repeat(50_000));
            assert_eq!(queries.asked("api", Some(&polling), &settings("", &poller, "")).queries.len(), 1);
        }
        let (kept, bytes) = queries.known(|known| (known.asked.len(), known.bytes));
        let there: usize = queries.known(|known| known.asked.iter().map(|(key, asked)| self::bytes(key, asked)).sum());
        assert!(kept > 0 && bytes <= MOST_BYTES && bytes == there);
        let huge = format!(r#"{{"a":{{"note":"{}"}}}}"#, "x".repeat(2 * MOST_BYTES));
        assert_eq!(queries.asked("api", Some(&polling), &settings("", &huge, "")).queries.len(), 1);
        assert_eq!(queries.known(|known| known.asked.len()), kept);
    }
}
