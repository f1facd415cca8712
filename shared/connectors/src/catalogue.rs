//! The built-in connectors: every file in `definitions/`, compiled when first asked for.

use std::sync::OnceLock;

use crate::{Connector, Example};

/// The connectors by their keys.
#[derive(Debug)]
pub struct Catalogue(&'static [BuiltIn]);

#[derive(Debug)]
struct BuiltIn {
    key: &'static str,
    definition: &'static str,
    examples: &'static [(&'static str, &'static str)],
    compiled: OnceLock<Connector>,
}

include!(concat!(env!("OUT_DIR"), "/built_in.rs"));

static CATALOGUE: Catalogue = Catalogue(&BUILT_IN);

/// The built-in connectors.
#[must_use]
pub fn catalogue() -> &'static Catalogue {
    &CATALOGUE
}

impl Catalogue {
    /// The connector of `key`. The first call for a key compiles it, in about a millisecond.
    ///
    /// # Panics
    /// When a built-in definition does not load, which a test rules out. Better than `None`: that would tell the
    /// provider that there is no such URL, and providers give up on those.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Connector> {
        let built_in = self.0.iter().find(|built_in| built_in.key == key)?;
        Some(built_in.compiled.get_or_init(|| match built_in.load() {
            Ok(connector) => connector,
            Err(error) => panic!("the built-in definition {key} does not load: {error}"),
        }))
    }

    /// The keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|built_in| built_in.key)
    }
}

impl BuiltIn {
    const fn new(
        key: &'static str,
        definition: &'static str,
        examples: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self { key, definition, examples, compiled: OnceLock::new() }
    }

    fn load(&self) -> Result<Connector, String> {
        let mut connector = Connector::from_yaml(self.definition).map_err(|error| error.to_string())?;
        for (name, text) in self.examples {
            connector.examples.push(Example::from_yaml(name, text).map_err(|error| format!("{name}: {error}"))?);
        }
        Ok(connector)
    }
}
