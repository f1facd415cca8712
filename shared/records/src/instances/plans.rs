//! The poller's view of an instance: what it is to poll, and with which secrets.
//!
//! | partition | sort | what |
//! |---|---|---|
//! | `POLL#id` | `PLAN` | the view: written by the API with the instance, in its transaction |
//!
//! *Promise:* it stands beside [where the polls stand](crate::polls), so that a poll begins with one query. It holds the
//! configuration without secrets, and of the secrets those alone that the connector's requests are made with, sealed for
//! the poller. What concerns callbacks is left out: the poller calls none.
//!
//! *Upgrade:* a version that knows of no reconciliation wrote neither since when nor in which wheel: then the instance
//! is polled, if it is, for all that changed, and how often its configuration says.
//!
//! A value that cannot be understood is as good as none: nothing is filtered by it.

use std::collections::BTreeMap;

use events::configuration::metadata::{self, EventTypes};
use events::configuration::{self, FILTER_RESPONSE_NULLS, METADATA};
use events::{AccountId, EventType, InstanceId, Timestamp};
use platform::{Key, Platform, Purpose, Version, Write};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use super::sealed::{Sealed, open, seal};
use super::{Instance, Secrets};
use crate::grants::Kept;
use crate::polls::{self, Standing};
use crate::wheel::Minutes;
use crate::{RecordError, health, schema};

const PLAN: &str = "PLAN";

/// How the keys begin that are no business of the poller's.
const CALLBACKS: &str = "event.notification.";

/// What the poller needs of an instance.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Which instance.
    pub instance: InstanceId,
    /// Whose it is.
    pub account: AccountId,
    /// The connector's key.
    pub connector: String,
    /// The connector's hub.
    pub hub: String,
    /// When it was provisioned: older changes are not told.
    pub created_at: Timestamp,
    /// Is not polled while true.
    pub disabled: bool,
    /// Whether its events are on.
    pub events_on: bool,
    /// Object types to tell, lower-case; empty means all.
    pub objects: Vec<String>,
    /// Event types to tell, by object; empty means all.
    pub event_types: EventTypes,
    /// Whether fields that are null are kept in records.
    pub keep_nulls: bool,
    /// Whom the queue takes this instance's messages to concern: those with the same callback share a group.
    pub group: String,
    /// Since when what its webhooks tell is noted, so that its polls tell the rest; `None`: they tell all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconciles: Option<Timestamp>,
    /// The wheel that it is in; `None`: in none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    turn: Option<Minutes>,
    /// The configuration, without secrets and what concerns callbacks: what to poll, and what fills its placeholders.
    pub settings: BTreeMap<String, String>,
    secrets: Sealed,
}

impl Plan {
    /// Whether a change is to be told that the poll of `resource` found. An event of unknown type is told whatever types are
    /// wanted.
    #[must_use]
    pub fn wants(&self, resource: &str, object_type: &str, event_type: EventType) -> bool {
        let names = [resource, object_type];
        let listed = |name: &&str| self.objects.contains(&name.to_lowercase());
        (self.objects.is_empty() || names.iter().any(listed))
            && metadata::wants(&self.event_types, object_type, event_type)
    }

    /// How often it is polled, if it is in turns.
    #[must_use]
    pub fn interval(&self) -> Option<Minutes> {
        self.turn.or_else(|| Minutes::configured(&self.settings))
    }

    /// The secrets that the provider is asked with, by configuration key.
    ///
    /// # Errors
    /// The vault's.
    pub async fn secrets<P: Platform>(&self, platform: &P) -> Result<Secrets, RecordError> {
        let mut secrets = Secrets::new();
        for (name, sealed) in &self.secrets {
            let secret: SecretString = open(platform, Purpose::Poll, &key(self.instance), name, sealed).await?;
            secrets.insert(name.clone(), secret);
        }
        Ok(secrets)
    }
}

pub(crate) fn key(id: InstanceId) -> Key {
    Key::new(polls::partition(id), PLAN)
}

/// The write that makes an instance's plan say what `instance` and `secrets` say, for the transaction that writes the
/// instance. `needed` are the configuration keys that the connector's requests are made with.
///
/// # Errors
/// The vault's.
pub async fn put<P: Platform>(
    platform: &P,
    instance: &Instance,
    secrets: &Secrets,
    needed: &[impl AsRef<str>],
) -> Result<Write, RecordError> {
    let place = key(instance.id);
    let is_needed = |name: &str| needed.iter().any(|key| key.as_ref() == name);
    let secrets = secrets.iter().filter(|(name, _)| is_needed(name)).map(|(name, secret)| (name.as_str(), secret));
    let settings = instance.configuration.iter().filter(|(name, _)| !name.starts_with(CALLBACKS));
    // What is not wanted of webhooks is not missed.
    let types = if instance.reconciles.is_some() { metadata::webhook_types } else { metadata::polling_types };
    let plan = Plan {
        instance: instance.id,
        account: instance.account,
        connector: instance.connector.clone(),
        hub: instance.hub.clone(),
        created_at: instance.created_at,
        disabled: instance.disabled,
        events_on: instance.events_on(),
        objects: instance.objects(),
        event_types: instance.setting(METADATA).and_then(|text| types(text).ok()).unwrap_or_default(),
        keep_nulls: instance
            .setting(FILTER_RESPONSE_NULLS)
            .is_some_and(|value| configuration::boolean(value) == Ok(false)),
        group: instance.group(),
        reconciles: instance.reconciles,
        turn: instance.place.map(|place| place.minutes),
        settings: settings.map(|(name, value)| (name.clone(), value.clone())).collect(),
        secrets: seal(platform, Purpose::Poll, &place, secrets.collect()).await?,
    };
    Ok(Write::put(place, platform.version(), schema::encode(&plan)))
}

/// The write that takes an instance's plan away, for the transaction that deletes the instance. Where its polls stood is
/// [forgotten](crate::polls::forget) by itself.
#[must_use]
pub fn delete(id: InstanceId) -> Write {
    Write::delete(key(id))
}

/// What a poll begins with.
#[derive(Debug)]
pub struct Read {
    /// What is to be polled.
    pub plan: Plan,
    /// Which write made the plan: another one after each change of the instance.
    pub version: Version,
    /// Where the polls stand.
    pub standing: Standing,
    /// What is kept of the tokens that the provider replaced.
    pub grant: Kept,
    /// How they fare.
    pub health: health::Stored,
}

/// What a poll of an instance begins with: by one query, strongly. `None`: there is no plan, so there is nothing to poll; the
/// instance may be deleted.
///
/// # Errors
/// As [`polls::read`].
pub async fn read<P: Platform>(platform: &P, id: InstanceId) -> Result<Option<Read>, RecordError> {
    let (standing, items) = polls::read_all(platform, id).await?;
    let Some(item) = items.iter().find(|item| item.key.sort == PLAN) else { return Ok(None) };
    let (plan, health) = (schema::decode(item)?, health::Stored::of(&items));
    let grant = Kept::of(id, item.version, &items)?;
    Ok(Some(Read { plan, version: item.version, standing, grant, health }))
}
