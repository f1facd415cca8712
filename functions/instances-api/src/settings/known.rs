//! The configuration keys that Pollhook knows, as the API describes them.
//!
//! Every instance is shown all of them, set or not, so that each has an id to be changed by; whatever else an instance's
//! configuration holds is shown beside them.

use connectors::Connector;
use events::configuration as keys;
use polling::oauth;
use records::instances::MAPPING_PREFIX;

use crate::consent;
use crate::polled::{self, POLLING};

/// Smallest and largest `event.poller.refresh_interval` and `event.reconcile.interval` in minutes. The old product's users wrote the largest to switch
/// polling off.
pub(crate) const MINUTES: std::ops::RangeInclusive<u32> = 1..=999_999_999;

/// What values a key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `true` or `false`; blank means `false`.
    Boolean,
    /// One of these, in any case.
    Word(&'static [&'static str]),
    /// Where notifications are posted.
    Callback,
    /// The provider's id of the customer's account.
    Account,
    /// The user name of basic authentication.
    Username,
    /// Minutes.
    Minutes,
    /// A date as RFC 3339 has it.
    Date,
    /// A JSON object, kept as text.
    Json,
    /// The text of `event.metadata`.
    Metadata,
    /// The text of `event.notification.instance.finder`.
    Finder,
    /// Names of fields with dots between.
    Path,
    /// Any text.
    Text,
    /// A text that is never shown.
    Secret,
}

impl Kind {
    /// The contract's word for it.
    pub(crate) fn wire(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::Word(_) => "COMBO",
            Self::Json | Self::Metadata => "TEXTAREA",
            Self::Secret => "PASSWORD",
            Self::Minutes | Self::Date => "TEXTFIELD_128",
            Self::Callback | Self::Account | Self::Username | Self::Finder | Self::Path | Self::Text => {
                "TEXTFIELD_1000"
            }
        }
    }

    /// The words to choose from; empty where any value may do.
    pub(crate) fn options(self) -> &'static [&'static str] {
        match self {
            Self::Word(words) => words,
            _ => &[],
        }
    }
}

/// A key that Pollhook knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    /// The key.
    pub(crate) key: &'static str,
    /// The old product's label, or one like it.
    pub(crate) name: &'static str,
    /// What it is for.
    pub(crate) description: &'static str,
    /// What values it takes.
    pub(crate) kind: Kind,
    /// What counts when it is unset.
    pub(crate) default: Option<&'static str>,
}

const fn known(
    key: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    name: &'static str,
    description: &'static str,
) -> Known {
    Known { key, name, description, kind, default }
}

/// All of them, in the order in which they are listed.
pub(crate) const KNOWN: [Known; 33] = [
    known(
        keys::ENABLED,
        Kind::Boolean,
        None,
        "Events Enabled",
        "Whether events are told; unset, they are once there is a callback or flows are on",
    ),
    known(
        keys::FLOW_ENABLED,
        Kind::Boolean,
        Some("false"),
        "Flows Enabled",
        "Whether each event goes to the event bus as well, where a rule can start a flow",
    ),
    known(
        keys::VENDOR_TYPE,
        Kind::Word(&["webhook", "webhooks", POLLING]),
        None,
        "Vendor Event Type",
        "How changes are learned of; unset, by webhooks where the connector has them, else by polling",
    ),
    known(
        keys::CALLBACK_URL,
        Kind::Callback,
        None,
        "Event Notification Callback URL",
        "Where notifications are posted",
    ),
    known(
        keys::SIGNATURE_KEY,
        Kind::Secret,
        None,
        "Callback Notification Signature Key",
        "What notifications are signed with",
    ),
    known(
        keys::NOTIFICATION_TYPE,
        Kind::Word(&["webhook"]),
        Some("webhook"),
        "Event Notification Type",
        "How notifications are sent",
    ),
    known(
        keys::CONTRACT,
        Kind::Word(&["extended", "strict"]),
        Some("extended"),
        "Event Notification Contract",
        "strict leaves out of notifications what the old product did not send",
    ),
    known(
        keys::BASIC_USERNAME,
        Kind::Username,
        None,
        "Event Notification Basic Authentication User Name",
        "The user name of basic authentication at the callback",
    ),
    known(
        keys::BASIC_PASSWORD,
        Kind::Secret,
        None,
        "Event Notification Basic Authentication Password",
        "The password of basic authentication at the callback",
    ),
    known(
        keys::CALLBACK_HEADERS,
        Kind::Secret,
        None,
        "Event Notification Callback Headers",
        "Further headers of what is posted: a JSON object, or lines of Name: value",
    ),
    known(
        keys::SUBSCRIPTION_ID,
        Kind::Text,
        None,
        "Event Notification Subscription ID",
        "The provider's id of the webhook subscription",
    ),
    known(
        keys::INSTANCE_FINDER,
        Kind::Finder,
        None,
        "Event Notification Instance Finder",
        "What in a webhook's body names the instance: <configuration key>|<path in the body>",
    ),
    known(
        keys::OBJECTS,
        Kind::Text,
        None,
        "Objects to Monitor for Changes",
        "Comma-separated object types to tell; unset, all",
    ),
    known(keys::METADATA, Kind::Metadata, None, "Event Metadata", "Which event types of which objects to tell"),
    known(keys::VENDOR_ACCOUNT, Kind::Account, None, "Vendor Account", "The provider's id of the customer's account"),
    known(
        keys::VENDOR_VERIFICATION,
        Kind::Word(&["signature", "none"]),
        Some("signature"),
        "Vendor Verification",
        "none takes unsigned webhooks that name the instance by path or header",
    ),
    known(keys::WEBHOOK_SECRET, Kind::Secret, None, "Webhook Secret", "What the provider signs its webhooks with"),
    known(
        keys::POLLER_REFRESH_INTERVAL,
        Kind::Minutes,
        Some("15"),
        "Event poller refresh interval (mins)",
        "Minutes between two polls; more than 1440 switch polling off",
    ),
    known(
        keys::RECONCILE_INTERVAL,
        Kind::Minutes,
        None,
        "Event reconcile interval (mins)",
        "Minutes between two polls that tell what webhooks missed; unset, or more than 1440, there are none",
    ),
    known(
        keys::POLLER_SINCE,
        Kind::Date,
        None,
        "Event poller since",
        "From when on changes are told by the first poll; unset, since the instance was made",
    ),
    known(
        keys::POLLER_CONFIGURATION,
        Kind::Json,
        Some("{}"),
        "Event Poller Resources Configuration",
        "What to poll, by resource",
    ),
    known(keys::POLLER_URLS, Kind::Text, None, "Event Poller URLs", "What to poll, in the old form"),
    known(
        keys::FILTER_RESPONSE_NULLS,
        Kind::Boolean,
        Some("true"),
        "Filter null values from the response",
        "Whether fields that are null are left out of polled records",
    ),
    known(oauth::CLIENT_ID, Kind::Secret, None, "API Key", "The app's id at the provider"),
    known(oauth::CLIENT_SECRET, Kind::Secret, None, "API Secret", "The app's secret at the provider"),
    known(
        oauth::CALLBACK_URL,
        Kind::Text,
        None,
        "Callback URL",
        "Where the provider sends a customer back to, as it is entered there",
    ),
    known(oauth::SCOPE, Kind::Text, None, "Scope", "What a customer is asked for; unset, what the connector polls"),
    known("event.helper.key", Kind::Text, None, "Event Helper Key", "Kept for the old product's clients"),
    known("event.raw.enabled", Kind::Text, None, "Raw Events Enabled", "Kept for the old product's clients"),
    known(OBJECT_TYPE, Kind::Path, None, "Mapping: Object Type", "Where in the body the object's type is"),
    known(OBJECT_ID, Kind::Path, None, "Mapping: Object Id", "Where in the body the object's id is"),
    known(EVENT_TYPE, Kind::Path, None, "Mapping: Event Type", "Where in the body it says what happened"),
    known(DATE, Kind::Path, None, "Mapping: Date", "Where in the body it says when"),
];

/// Those of connectors whose customers consent by OAuth 2.
const OAUTH: [&str; 4] = [oauth::CLIENT_ID, oauth::CLIENT_SECRET, oauth::CALLBACK_URL, oauth::SCOPE];

const OBJECT_TYPE: &str = "event.mapping.objectType";
const OBJECT_ID: &str = "event.mapping.objectId";
const EVENT_TYPE: &str = "event.mapping.eventType";
const DATE: &str = "event.mapping.date";

/// What is known of `key`.
pub(crate) fn find(key: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.key == key)
}

/// The keys that every instance of `connector` is shown, set or not, in order.
pub(crate) fn listed(connector: &Connector) -> impl Iterator<Item = &str> {
    let maps = connector.reads_configuration();
    let consents = consent::oauth(connector).is_some();
    let known = KNOWN.iter().map(|known| known.key);
    let known = known.filter(move |key| maps || !key.starts_with(MAPPING_PREFIX));
    let known = known.filter(move |key| consents || !OAUTH.contains(key));
    let known = known.filter(move |key| polled::can_reconcile(connector) || *key != keys::RECONCILE_INTERVAL);
    let own = connector.required().iter().chain(connector.secret_keys()).map(String::as_str);
    known.chain(own.filter(move |key| find(key).is_none() || !consents && OAUTH.contains(key)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_key_is_described_once_and_a_secret_is_one_by_its_name_as_well() {
        let keys: BTreeSet<&str> = KNOWN.iter().map(|known| known.key).collect();
        assert_eq!(keys.len(), KNOWN.len());
        for known in KNOWN {
            assert_eq!(known.kind == Kind::Secret, keys::is_secret(known.key), "{}", known.key);
            assert!(!known.name.is_empty() && !known.description.is_empty());
            assert_eq!(find(known.key).unwrap().name, known.name);
        }
    }

    #[test]
    fn an_instance_is_shown_what_its_connector_reads() {
        let of = |key| listed(connectors::catalogue().get(key).unwrap()).collect::<Vec<_>>();
        assert!(of("hubspot").contains(&"oauth.api.secret") && !of("hubspot").contains(&OBJECT_ID));
        assert!(of("standard").contains(&OBJECT_ID) && !of("standard").contains(&"oauth.api.secret"));
        for key in connectors::catalogue().keys() {
            let unique: BTreeSet<&str> = of(key).into_iter().collect();
            assert_eq!(unique.len(), of(key).len(), "{key}");
        }
    }
}
