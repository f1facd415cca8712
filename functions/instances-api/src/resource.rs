//! An instance and a connector in the contract's words.

use std::collections::BTreeMap;

use connectors::Connector;
use events::{InstanceId, configuration};
use platform::Platform;
use records::instances::{Instance, Stored};
use secrecy::ExposeSecret as _;
use serde::Serialize;

use crate::pollers::Polling;
use crate::settings::{self, known};
use crate::{Api, BASE, consent};

/// An instance; `webhookUrl`, `encodedid`, `updatedDate` and `polling` are additions. Of the configuration, keys that we know and that
/// are unset are null, as the contract has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Resource {
    id: InstanceId,
    name: String,
    created_date: String,
    updated_date: String,
    token: String,
    element: Element,
    element_id: u32,
    tags: Vec<String>,
    provision_interactions: [(); 0],
    valid: bool,
    disabled: bool,
    max_cache_size: u32,
    cache_time_to_live: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration: Option<BTreeMap<String, Option<String>>>,
    events_enabled: bool,
    trace_logging_enabled: bool,
    caching_enabled: bool,
    external_authentication: &'static str,
    user: User,
    encodedid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    polling: Option<Polling>,
}

impl Resource {
    /// The same without its configuration.
    pub(crate) fn bare(self) -> Self {
        Self { configuration: None, ..self }
    }

    /// The same with how its polls fare.
    pub(crate) fn polled(self, polling: Option<Polling>) -> Self {
        Self { polling, ..self }
    }
}

#[derive(Debug, Serialize)]
struct User {
    id: u32,
}

/// A connector: the contract's element.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Element {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) key: String,
    pub(crate) description: String,
    hub: String,
    active: bool,
    deleted: bool,
    type_oauth: bool,
    trial_account: bool,
    transformations_enabled: bool,
    authentication: Authentication,
    parameters: [(); 0],
}

#[derive(Debug, Serialize)]
struct Authentication {
    r#type: &'static str,
}

impl Element {
    pub(crate) fn of(connector: &Connector) -> Self {
        Self {
            name: connector.name().to_owned(),
            description: connector.description().to_owned(),
            active: true,
            deleted: false,
            type_oauth: consent::oauth(connector).is_some(),
            authentication: Authentication { r#type: authentication(connector) },
            ..Self::gone(connector.key(), connector.hub())
        }
    }

    /// A connector that this server does not have: its definition was taken away since the instance was made.
    fn gone(key: &str, hub: &str) -> Self {
        Self {
            id: element_id(key),
            name: key.to_owned(),
            key: key.to_owned(),
            description: String::new(),
            hub: hub.to_owned(),
            active: false,
            deleted: true,
            type_oauth: false,
            trial_account: false,
            transformations_enabled: false,
            authentication: Authentication { r#type: "custom" },
            parameters: [],
        }
    }
}

/// How the instances of a connector say whose they are, in the contract's words.
fn authentication(connector: &Connector) -> &'static str {
    if consent::oauth(connector).is_some() { "oauth2" } else { "custom" }
}

impl<P: Platform> Api<P> {
    pub(crate) fn resource(&self, stored: &Stored) -> Resource {
        let instance = &stored.instance;
        let connector = self.catalogue.get(&instance.connector);
        let unset = connector.into_iter().flat_map(shown_unset).map(|key| (key.to_owned(), None));
        let set = settings::shown(instance, &stored.secrets).into_iter();
        let configuration = unset.chain(set.map(|(key, value)| (key.to_owned(), Some(value.to_owned())))).collect();
        Resource {
            id: instance.id,
            name: instance.name.clone(),
            created_date: instance.created_at.iso_seconds(),
            updated_date: instance.updated_at.iso_millis(),
            token: stored.token.expose_secret().to_owned(),
            element: connector.map_or_else(|| Element::gone(&instance.connector, &instance.hub), Element::of),
            element_id: element_id(&instance.connector),
            tags: instance.tags.clone(),
            provision_interactions: [],
            valid: true,
            disabled: instance.disabled,
            max_cache_size: 0,
            cache_time_to_live: 0,
            configuration: Some(configuration),
            events_enabled: instance.events_on(),
            trace_logging_enabled: false,
            caching_enabled: false,
            external_authentication: "none",
            user: User { id: instance.user },
            encodedid: instance.id.to_path(),
            webhook_url: self.webhook_url(instance, connector),
            polling: None,
        }
    }

    /// Where the provider is to send this instance's webhooks, if it sends any. Where the secret is to stand in it, its mask does.
    fn webhook_url(&self, instance: &Instance, connector: Option<&Connector>) -> Option<String> {
        let base = self.public_url.as_ref()?.as_str().trim_end_matches('/');
        let url = format!("{base}{BASE}/events/{}/{}", instance.connector, instance.id.to_path());
        match connector {
            Some(connector) if !connector.has_webhooks() => None,
            Some(connector) => Some(connector.url_with_secret(&url, configuration::MASK).into_owned()),
            None => Some(url),
        }
    }
}

/// The keys of a connector's instances that are shown also when they are unset.
///
/// Not the secret of a connector that hands one over itself: clients send back whole instances, and a null there would
/// make us forget the one that we were handed.
fn shown_unset(connector: &Connector) -> impl Iterator<Item = &str> {
    let handed = |key: &str| connector.keeps_handshake() && connector.secret_keys().iter().any(|own| own == key);
    known::listed(connector).filter(move |key| !handed(key))
}

/// A number for a connector, which the contract wants: always the same one, from its key, within what old clients read as
/// an integer.
pub(crate) fn element_id(key: &str) -> u32 {
    fnv(key.bytes()) & 0x7fff_ffff
}

/// FNV-1a (<http://www.isthe.com/chongo/tech/comp/fnv/>): numbers that are to be the same in every version.
pub(crate) fn fnv(bytes: impl Iterator<Item = u8>) -> u32 {
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connectors_number_never_changes_and_no_two_share_one() {
        assert_eq!(element_id("hubspot"), 16_784_420);
        let catalogue = connectors::catalogue();
        let numbers: std::collections::BTreeSet<u32> = catalogue.keys().map(element_id).collect();
        assert_eq!(numbers.len(), catalogue.keys().count());
    }
}
