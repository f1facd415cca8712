//! The connectors there are: every file in `definitions/`, read when first asked for, and what was added at the start.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use crate::{Connector, DefinitionError};

/// The connectors by their keys.
#[derive(Debug, Default)]
pub struct Catalogue {
    built_in: &'static [BuiltIn],
    added: BTreeMap<String, Connector>,
}

#[derive(Debug)]
struct BuiltIn {
    key: &'static str,
    /// JSON, as are the others; this one without what the others hold.
    definition: &'static str,
    polling: &'static str,
    examples: &'static str,
    read: OnceLock<Connector>,
}

include!(concat!(env!("OUT_DIR"), "/built_in.rs"));

static CATALOGUE: Catalogue = Catalogue { built_in: &BUILT_IN, added: BTreeMap::new() };

/// The built-in connectors.
#[must_use]
pub fn catalogue() -> &'static Catalogue {
    &CATALOGUE
}

impl Catalogue {
    /// The built-in connectors; what is read of them is shared by all catalogues.
    #[must_use]
    pub fn built_in() -> Self {
        Self { built_in: &BUILT_IN, added: BTreeMap::new() }
    }

    /// Adds a connector. It stands in for a built-in one of the same key, and for one that was added before, which is
    /// returned.
    pub fn add(&mut self, connector: Connector) -> Option<Connector> {
        self.added.insert(connector.key().to_owned(), connector)
    }

    /// Whether `key` is a built-in connector's.
    #[must_use]
    pub fn is_built_in(&self, key: &str) -> bool {
        self.built_in.iter().any(|built_in| built_in.key == key)
    }

    /// The connector of `key`. The first call for a built-in key reads it.
    ///
    /// # Panics
    /// When a built-in definition does not load, which a test rules out. Better than `None`: that would tell the
    /// provider that there is no such URL, and providers give up on those.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Connector> {
        if let Some(added) = self.added.get(key) {
            return Some(added);
        }
        let built_in = self.built_in.iter().find(|built_in| built_in.key == key)?;
        Some(built_in.read.get_or_init(|| match built_in.read() {
            Ok(connector) => connector,
            Err(error) => panic!("the built-in definition {key} does not load: {error}"),
        }))
    }

    /// The keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let mut keys: Vec<&str> = self.built_in.iter().map(|built_in| built_in.key).collect();
        keys.extend(self.added.keys().map(String::as_str));
        keys.sort_unstable();
        keys.dedup();
        keys.into_iter()
    }
}

impl BuiltIn {
    const fn new(key: &'static str, definition: &'static str, polling: &'static str, examples: &'static str) -> Self {
        Self { key, definition, polling, examples, read: OnceLock::new() }
    }

    fn read(&self) -> Result<Connector, DefinitionError> {
        Connector::built_in(self.definition, self.polling, self.examples)
    }
}
