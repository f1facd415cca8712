//! Which configurations are accepted. Pure.
//!
//! Keys that we know are checked (`known`, `values`); others are kept as they came, unless they are almost one that we know
//! (`spelling`). A value that is stored already is not checked again, so that a client may send back a whole configuration
//! that a newer policy would refuse in part.
//!
//! Blank is unset for the keys we read, with two exceptions: `event.notification.enabled`, where blank means off, and what
//! a mistake must not silently switch off, the secrets that requests are signed with and the provider's account.

pub(crate) mod known;
mod spelling;
mod values;

use std::collections::BTreeMap;

use connectors::{Catalogue, Connector};
use egress::Policy;
use events::configuration;
use events::configuration::finder::Finder;
use events::configuration::headers;
use polling::configuration::{Configuration, Problem};
use polling::request::Query;
use records::instances::{self, FinderRefused, Instance, Secrets};
use secrecy::{ExposeSecret as _, SecretString};

use crate::invalid::Invalid;
use crate::wire::Changes;
use crate::{consent, polled, text};

/// Largest value in bytes: a key pair or a polling configuration fits; several fit an item.
const VALUE_BYTES: usize = 64 * 1024;
/// Longest key in bytes: it becomes part of where a secret is sealed.
const KEY_BYTES: usize = 128;
/// Most keys: each secret costs some hundred bytes beside itself once sealed.
const KEYS: usize = 256;
/// Most bytes of the whole configuration, written as JSON: sealed and in base64 it must still fit an item
/// ([`platform::limits::ITEM_BYTES`]) beside name and tags.
const TOTAL_BYTES: usize = 192 * 1024;
/// The keys that say what is polled, and whether.
const POLLED: [&str; 5] = [
    configuration::VENDOR_TYPE,
    configuration::POLLER_CONFIGURATION,
    configuration::POLLER_URLS,
    configuration::OBJECTS,
    configuration::RECONCILE_INTERVAL,
];
/// What the names begin with under which records seal secrets of their own beside the configuration's.
const RESERVED: char = '#';

/// A whole configuration, its secrets apart.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// What may be shown.
    pub(crate) plain: BTreeMap<String, String>,
    /// What may not.
    pub(crate) secrets: Secrets,
}

impl Settings {
    /// Whether `key` has a value that is not blank.
    fn has(&self, key: &str) -> bool {
        let plain = self.plain.get(key).is_some_and(|value| !value.trim().is_empty());
        plain || self.secrets.get(key).is_some_and(|secret| !secret.expose_secret().trim().is_empty())
    }
}

/// What a configuration is judged by.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    /// Where callbacks may go.
    pub(crate) policy: &'a Policy,
    /// The connectors there are.
    pub(crate) catalogue: &'a Catalogue,
    /// The instance's connector.
    pub(crate) connector: &'a Connector,
}

impl Rules<'_> {
    /// A new instance's configuration.
    ///
    /// # Errors
    /// [`Invalid`]; it holds no secret.
    pub(crate) fn provision(&self, given: &Changes) -> Result<Settings, Invalid> {
        let settings = self.apply(Settings::default(), given)?;
        self.check_required(&settings, |_| true)?;
        self.check_polled(&settings)?;
        Ok(settings)
    }

    /// What replaces the configuration `before`: what is not given is unset, but for what a consent brought. A mask keeps the
    /// secret that it stands for.
    ///
    /// # Errors
    /// As [`Self::provision`].
    pub(crate) fn replace(&self, before: Settings, given: &Changes) -> Result<Settings, Invalid> {
        let Settings { mut plain, mut secrets } = before;
        let consented = consent::has_tokens(&secrets);
        let stays = |key: &str| given.contains_key(key) || consented && consent::brings(self.connector, key);
        plain.retain(|key, _| stays(key));
        secrets.retain(|key, _| stays(key));
        let settings = self.apply(Settings { plain, secrets }, given)?;
        self.check_required(&settings, |_| true)?;
        self.check_polled(&settings)?;
        Ok(settings)
    }

    /// `before` with `changes` made.
    ///
    /// # Errors
    /// As [`Self::provision`].
    pub(crate) fn change(&self, before: Settings, changes: &Changes) -> Result<Settings, Invalid> {
        // What was missing before may stay so: the connector may have come to ask for it since. Who polled was not asked.
        let required = self.connector.required().iter().map(String::as_str);
        let polled = polled::in_turns(self.connector, &before.plain);
        let had: Vec<&str> = required.filter(|key| polled || before.has(key)).collect();
        let settings = self.apply(before, changes)?;
        self.check_required(&settings, |key| had.contains(&key))?;
        if POLLED.iter().any(|key| changes.contains_key(*key)) {
            self.check_polled(&settings)?;
        }
        Ok(settings)
    }

    /// Whether `given` sets or unsets a secret that webhooks are verified with, rather than leaving it as it is: the secret
    /// of an earlier handshake is to be forgotten then.
    pub(crate) fn renews_secret(&self, given: &Changes) -> bool {
        let renews = |value: &Option<SecretString>| {
            value.as_ref().is_none_or(|value| value.expose_secret() != configuration::MASK)
        };
        self.connector.secret_keys().iter().any(|key| given.get(key).is_some_and(renews))
    }

    fn apply(&self, before: Settings, changes: &Changes) -> Result<Settings, Invalid> {
        let mut settings = before;
        if consent::is_renewed(&settings.secrets, changes) {
            settings.plain.retain(|key, _| !polling::oauth::CONSENT.contains(&key.as_str()));
            settings
                .secrets
                .retain(|key, _| !polling::oauth::CONSENT.contains(&key.as_str()) || changes.contains_key(key));
        }
        for (key, change) in changes {
            check_key(key)?;
            let Some(value) = change else {
                settings.plain.remove(key);
                settings.secrets.remove(key);
                continue;
            };
            self.set(&mut settings, key, value)?;
        }
        if !changes.is_empty() {
            check_size(&settings)?;
        }
        let changed = |keys: &[&str]| keys.iter().any(|key| changes.contains_key(*key));
        if changed(&[configuration::CALLBACK_URL, configuration::SIGNATURE_KEY]) {
            self.check_way_back(&settings)?;
        }
        if changed(&[configuration::BASIC_USERNAME, configuration::BASIC_PASSWORD, configuration::CALLBACK_HEADERS]) {
            check_basic(&settings)?;
        }
        self.check_finder(&settings, changes)?;
        Ok(settings)
    }

    fn set(&self, settings: &mut Settings, key: &str, value: &SecretString) -> Result<(), Invalid> {
        let text = value.expose_secret();
        if text.len() > VALUE_BYTES {
            let given = format!("a value of {} bytes", text.len());
            return Err(Invalid::setting(key, given, format!("at most {VALUE_BYTES} bytes")));
        }
        if self.is_secret(key) {
            if text == configuration::MASK {
                let kept = settings.secrets.contains_key(key);
                let given = "the mask that stands for a secret, but there is no secret to keep";
                return if kept { Ok(()) } else { Err(Invalid::setting(key, given, values::SECRET)) };
            }
            self.check_spelling(key, settings)?;
            settings.plain.remove(key);
            if self.secret(key, value)? {
                settings.secrets.insert(key.to_owned(), value.clone());
            } else {
                settings.secrets.remove(key);
            }
        } else if settings.plain.get(key).map(String::as_str) != Some(text) {
            self.check_spelling(key, settings)?;
            settings.secrets.remove(key);
            match self.plain(key, text)? {
                Some(text) => settings.plain.insert(key.to_owned(), text),
                None => settings.plain.remove(key),
            };
        }
        Ok(())
    }

    fn is_secret(&self, key: &str) -> bool {
        configuration::is_secret(key) || self.connector.secret_keys().iter().any(|secret| secret == key)
    }

    /// A key that is stored already was taken when it was not yet almost one of ours, and stays.
    fn check_spelling(&self, key: &str, settings: &Settings) -> Result<(), Invalid> {
        let stored = settings.plain.contains_key(key) || settings.secrets.contains_key(key);
        let own = self.connector.required().iter().chain(self.connector.secret_keys()).map(String::as_str);
        match spelling::meant(key, known::KNOWN.iter().map(|known| known.key).chain(own)) {
            Some(meant) if !stored => {
                let given = "a key that nothing reads";
                Err(Invalid::setting(
                    key,
                    given,
                    format!("\"{meant}\"; did you mean that? Other keys are kept as they come"),
                ))
            }
            _ => Ok(()),
        }
    }

    /// An instance that polls says what, in words that can be understood: else it would never be told of anything.
    fn check_polled(&self, settings: &Settings) -> Result<(), Invalid> {
        let (connector, plain) = (self.connector, &settings.plain);
        let polled = polled::by_itself(connector, plain);
        let Some(polling) = connector.polling().filter(|_| polled) else { return Ok(()) };
        let Configuration { resources, problems, .. } = polling::configuration::read(&settings.plain);
        let unknown = resources.iter().filter_map(|resource| Query::resolve(polling, resource).err());
        if let Some(Problem { resource, field, given, accepted }) = problems.into_iter().chain(unknown).next() {
            let field = match resource.as_str() {
                "" => field,
                resource => {
                    format!("{}, resource {}: {field}", configuration::POLLER_CONFIGURATION, text::quoted(resource))
                }
            };
            return Err(Invalid::new(field, given, accepted));
        }
        if resources.is_empty() {
            let accepted = format!("what is to be polled, or the names of it in \"{}\"", configuration::OBJECTS);
            return Err(Invalid::setting(configuration::POLLER_CONFIGURATION, "nothing to poll", accepted));
        }
        Ok(())
    }

    /// Names all that is missing at once, of the keys that are `asked` for. They are those of webhooks.
    fn check_required(&self, settings: &Settings, asked: impl Fn(&str) -> bool) -> Result<(), Invalid> {
        if polled::in_turns(self.connector, &settings.plain) {
            return Ok(());
        }
        let missing = self.connector.required().iter().filter(|key| asked(key) && !settings.has(key));
        let missing: Vec<String> = missing.map(|key| format!("\"{key}\"")).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let given = format!("nothing for {}", missing.join(", "));
        let accepted = format!("a value for each, which {} cannot do without", self.connector.name());
        Err(Invalid::new("configuration", given, accepted))
    }

    fn check_finder(&self, settings: &Settings, changes: &Changes) -> Result<(), Invalid> {
        let key = configuration::INSTANCE_FINDER;
        let Some(finder) = settings.plain.get(key).and_then(|text| Finder::parse(text).ok()) else { return Ok(()) };
        if !changes.contains_key(key) && !changes.contains_key(&finder.key) {
            return Ok(());
        }
        instances::check_finder(self.connector.key(), &settings.plain, self.connector.secret_keys()).map_err(
            |refused| match refused {
                FinderRefused::Form(error) => values::refused_finder(&format!("{}|{}", finder.key, finder.path), error),
                FinderRefused::Value => {
                    let named = text::start(&finder.key);
                    let given = format!("a finder for the value of \"{named}\" that could not find the instance");
                    Invalid::setting(key, given, refused.to_string())
                }
            },
        )
    }

    /// A callback of our own returns events to the connectors. The receiver there verifies them with the instance's
    /// signature key, so there must be one.
    fn check_way_back(&self, settings: &Settings) -> Result<(), Invalid> {
        let Some(text) = settings.plain.get(configuration::CALLBACK_URL) else { return Ok(()) };
        let Ok(url) = self.policy.check(text) else { return Ok(()) };
        let Some(connector) = self.policy.own_events_connector(&url) else { return Ok(()) };
        let takes = |key: &str| self.catalogue.get(key).is_some_and(Connector::has_webhooks);
        if !takes(&connector) {
            let given = format!("a URL of ours with the connector {}", text::quoted(&connector));
            let takers: Vec<&str> = self.catalogue.keys().filter(|key| takes(key)).collect();
            let accepted = format!("of our own URLs, those of a connector with webhooks: {}", takers.join(", "));
            return Err(Invalid::setting(configuration::CALLBACK_URL, given, accepted));
        }
        if !settings.secrets.contains_key(configuration::SIGNATURE_KEY) {
            let given = format!("a URL of ours, without {}", configuration::SIGNATURE_KEY);
            let accepted = format!("our own URLs together with {}", configuration::SIGNATURE_KEY);
            return Err(Invalid::setting(configuration::CALLBACK_URL, given, accepted));
        }
        Ok(())
    }
}

/// The keys of the connectors, for messages.
pub(crate) fn known(catalogue: &Catalogue) -> String {
    catalogue.keys().collect::<Vec<_>>().join(", ")
}

/// The configuration as the API shows it: its secrets masked.
pub(crate) fn shown<'a>(instance: &'a Instance, secrets: &'a Secrets) -> BTreeMap<&'a str, &'a str> {
    let plain = instance.configuration.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    plain.chain(secrets.keys().map(|key| (key.as_str(), configuration::MASK))).collect()
}

/// A password alone would never be sent; with an `Authorization` header beside it, one of the two would not.
fn check_basic(settings: &Settings) -> Result<(), Invalid> {
    let (username, password) = (configuration::BASIC_USERNAME, configuration::BASIC_PASSWORD);
    let named = settings.has(username);
    if !named && settings.secrets.contains_key(password) {
        return Err(Invalid::setting(password, format!("a password without \"{username}\""), "both, or neither"));
    }
    let further = settings.secrets.get(configuration::CALLBACK_HEADERS);
    let further = further.and_then(|text| headers::parse(text.expose_secret()).ok()).unwrap_or_default();
    if named && further.iter().any(|(name, _)| name.eq_ignore_ascii_case(headers::AUTHORIZATION)) {
        let given = format!("an Authorization header beside \"{username}\", which sets it too");
        return Err(Invalid::setting(configuration::CALLBACK_HEADERS, given, "one of the two"));
    }
    Ok(())
}

fn check_key(key: &str) -> Result<(), Invalid> {
    let field = || format!("configuration key \"{}\"", text::start(&key.escape_debug().to_string()));
    if key.is_empty() || key.len() > KEY_BYTES || key.contains(char::is_control) {
        let accepted = format!("1 to {KEY_BYTES} bytes without control characters");
        return Err(Invalid::new(field(), format!("{} bytes", key.len()), accepted));
    }
    if key.starts_with(RESERVED) {
        return Err(Invalid::new(
            field(),
            "a name that Pollhook keeps for itself",
            format!("one that does not begin with {RESERVED}"),
        ));
    }
    Ok(())
}

fn check_size(settings: &Settings) -> Result<(), Invalid> {
    let keys = settings.plain.len() + settings.secrets.len();
    if keys > KEYS {
        return Err(Invalid::new("configuration", format!("{keys} keys in all"), format!("at most {KEYS}")));
    }
    let plain = settings.plain.iter().map(|(key, value)| key.len() + escaped_bytes(value));
    let secrets = settings.secrets.iter().map(|(key, value)| key.len() + value.expose_secret().len());
    let bytes: usize = plain.chain(secrets).sum();
    if bytes > TOTAL_BYTES {
        let accepted = format!("at most {TOTAL_BYTES} bytes");
        return Err(Invalid::new("configuration", format!("{bytes} bytes in all"), accepted));
    }
    Ok(())
}

/// Bytes of a text once written as JSON, at most.
fn escaped_bytes(text: &str) -> usize {
    let bytes = |byte: u8| match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(bytes).sum()
}

#[cfg(test)]
mod tests;
