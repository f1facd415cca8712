//! The connectors there are: every file in `definitions/`, read when first asked for, and what was added at the start.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::OnceLock;

use url::Url;

use crate::{Connector, DefinitionError};

/// The connectors by their keys.
#[derive(Debug, Default)]
pub struct Catalogue {
    built_in: &'static [BuiltIn],
    added: BTreeMap<String, Connector>,
}

/// Where the operator has a connector's provider be asked, OAuth included, whatever its definition says: `KEY=URL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The connector's key.
    pub key: String,
    /// What comes before the path of each of its URLs.
    pub url: Url,
}

/// A text that says no such place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a connector's key and a URL without query are wanted, such as hubspot=http://127.0.0.1:9000")]
pub struct NoPlace;

impl FromStr for Place {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let (key, url) = text.trim().split_once('=').ok_or(NoPlace)?;
        let url = Url::parse(url).map_err(|_| NoPlace)?;
        let plain = url.username().is_empty() && url.password().is_none();
        let whole = url.query().is_none() && url.fragment().is_none() && !url.as_str().contains('$');
        let web = matches!(url.scheme(), "https" | "http") && url.has_host();
        if key.is_empty() || !(plain && whole && web) {
            return Err(NoPlace);
        }
        Ok(Self { key: key.to_owned(), url })
    }
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

    /// Has providers be asked where the operator chose.
    ///
    /// # Errors
    /// For one of them there is no such connector, or its provider is not asked anything.
    pub fn place(&mut self, places: &[Place]) -> Result<(), String> {
        places.iter().try_for_each(|Place { key, url }| self.ask_at(key, url).map_err(|why| format!("{key}: {why}")))
    }

    fn ask_at(&mut self, key: &str, to: &Url) -> Result<(), String> {
        let built_in = || self.built_in.iter().find(|built_in| built_in.key == key);
        if let Some(added) = self.added.get_mut(key) {
            return added.ask_at(to);
        }
        let mut connector = match built_in().ok_or("there is no such connector")?.read() {
            Ok(connector) => connector,
            Err(error) => panic!("the built-in definition {key} does not load: {error}"),
        };
        connector.ask_at(to)?;
        self.added.insert(key.to_owned(), connector);
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_asked_where_the_operator_says_and_the_others_where_they_are() {
        let place: Place = " hubspot=http://127.0.0.1:9000/x/ ".parse().unwrap();
        let mut catalogue = Catalogue::built_in();
        catalogue.place(&[place]).unwrap();
        let chosen = |key: &str| catalogue.get(key).unwrap().polling().unwrap().chosen;
        assert!(chosen("hubspot") && !chosen("sfdc"));
        assert!(!super::catalogue().get("hubspot").unwrap().polling().unwrap().chosen);
        let hubspot = catalogue.get("hubspot").unwrap();
        assert!(hubspot.has_webhooks() && hubspot.name() == "HubSpot", "it is the same otherwise");
        for (text, why) in [("unknown=http://a.example", "no such connector"), ("github=http://a.example", "not asked")]
        {
            let error = catalogue.place(&[text.parse().unwrap()]).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        assert!(catalogue.get("github").is_some(), "what could not be placed is where it was");
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in [
            "",
            "hubspot",
            "=http://a.example",
            "hubspot=a.example",
            "hubspot=ftp://a.example",
            "hubspot=http://a.example?x",
        ] {
            assert_eq!(text.parse::<Place>(), Err(NoPlace), "{text}");
        }
        for text in ["hubspot=http://u@a.example", "hubspot=http://a.example/$x", "hubspot=http://a.example/#x"] {
            assert_eq!(text.parse::<Place>(), Err(NoPlace), "{text}");
        }
    }
}
