//! The view of each role: what it needs of an instance, with the secrets that it may open.
//!
//! A value that cannot be understood (it was kept before it was checked) is as good as none: nothing is filtered by it, and
//! nothing is sent because of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use events::configuration::metadata::{self, WebhookTypes};
use events::configuration::{self, headers};
use events::envelope::Recipient;
use events::{AccountId, EventType, InstanceId};
use platform::{Consistency, Key, Platform, Purpose, Table as _, Write};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::routes::{self, Sought};
use super::sealed::{Sealed, open, seal};
use super::{Derived, Instance, Secrets};
use crate::{RecordError, schema};

/// Prefix of the configuration keys that a connector's mapping may read.
pub const MAPPING_PREFIX: &str = "event.mapping.";

/// What the receiver needs of an instance.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WebhookView {
    /// Which instance.
    pub instance: InstanceId,
    /// Whose it is.
    pub account: AccountId,
    /// The connector's key.
    pub connector: String,
    /// Takes no webhooks while true.
    pub disabled: bool,
    /// Whether its events are on.
    pub events_on: bool,
    /// Whether requests without a valid signature are taken, when they name the instance by path or header.
    pub unverified: bool,
    /// Object types to tell, lower-case; empty means all.
    pub objects: Vec<String>,
    /// Event types to tell, by object; empty means all.
    #[serde(default)]
    pub event_types: WebhookTypes,
    /// The provider's id of the customer's account, as it counts for routes.
    pub provider_account: Option<String>,
    /// What of a body is the instance's, where a finder says so.
    #[serde(default)]
    pub finder: Option<Sought>,
    /// Whom the queue takes this instance's messages to concern: those with the same callback share a group.
    pub group: String,
    /// The configuration that the connector's mapping reads.
    pub mapping: BTreeMap<String, String>,
    secrets: Sealed,
}

/// What the dispatcher needs of an instance.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CallbackView {
    /// Which instance.
    pub instance: InstanceId,
    /// Whose it is.
    pub account: AccountId,
    /// The contract's `companyId`.
    pub company: u32,
    /// The contract's `userId`.
    pub user: u32,
    /// As provisioned.
    pub name: String,
    /// As provisioned.
    pub tags: Vec<String>,
    /// Where to post; without it notifications are kept to be read.
    pub url: Option<String>,
    /// Whether each event goes to the event bus as well.
    #[serde(default)]
    pub flows: bool,
    /// Whether what its webhooks tell is noted for its polls.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reconciles: bool,
    /// Leave out of notifications what the old product did not send.
    pub strict: bool,
    /// As [`WebhookView::group`].
    pub group: String,
    /// The user name of the callback's basic authentication.
    #[serde(default)]
    username: Option<String>,
    secrets: Sealed,
}

/// What a callback is posted with, in clear. Cannot be printed.
#[derive(Debug, Default)]
pub struct CallbackCredentials {
    /// The key that notifications are signed with.
    pub signature_key: Option<SecretString>,
    /// User name and password of basic authentication.
    pub basic: Option<(String, SecretString)>,
    /// Further headers: lower-case names, checked as [`headers::parse`] does.
    pub headers: Vec<(String, SecretString)>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct TokenView {
    pub(super) secrets: Sealed,
}

/// The name of the instance's token among the API view's secrets: a name that no configuration key has.
pub(super) const TOKEN: &str = "#token";

pub(super) fn webhook_key(id: InstanceId) -> Key {
    Key::new(format!("WEBHOOK#{id}"), "WEBHOOK")
}

pub(super) fn callback_key(id: InstanceId) -> Key {
    Key::new(format!("CALLBACK#{id}"), "CALLBACK")
}

pub(super) fn token_key(id: InstanceId) -> Key {
    Key::new(format!("TOKEN#{id}"), "TOKEN")
}

impl WebhookView {
    /// Whether the instance is to be told of such a change: its object type is wanted, and so is what happened. An event of
    /// unknown type is told whatever types are wanted.
    #[must_use]
    pub fn wants(&self, object_type: &str, event_type: EventType) -> bool {
        let object = || object_type.to_lowercase();
        (self.objects.is_empty() || self.objects.contains(&object()))
            && metadata::wants(&self.event_types, object_type, event_type)
    }

    /// The first of `keys` that the instance has a secret for: what its provider's webhooks are verified with.
    #[must_use]
    pub fn secret(&self, keys: &[impl AsRef<str>]) -> Option<SealedSecret<'_>> {
        keys.iter().find_map(|key| {
            let (key, sealed) = self.secrets.get_key_value(key.as_ref())?;
            Some(SealedSecret { instance: self.instance, key, sealed })
        })
    }

    /// The key of the instance's own notifications: verifies events that come back to the connectors.
    #[must_use]
    pub fn signature_key(&self) -> Option<SealedSecret<'_>> {
        self.secret(&[configuration::SIGNATURE_KEY])
    }
}

/// A secret of a [`WebhookView`], still sealed.
#[derive(Clone, Copy, Debug)]
pub struct SealedSecret<'a> {
    instance: InstanceId,
    key: &'a str,
    sealed: &'a str,
}

impl SealedSecret<'_> {
    /// Names this very sealing (it holds fresh randomness), so that an opened secret may be kept under it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.sealed
    }

    /// Opens it.
    ///
    /// # Errors
    /// The vault's.
    pub async fn open<P: Platform>(&self, platform: &P) -> Result<SecretString, RecordError> {
        open(platform, Purpose::Webhook, &webhook_key(self.instance), self.key, self.sealed).await
    }
}

impl CallbackView {
    /// What the envelope says of the instance.
    #[must_use]
    pub fn recipient(&self) -> Recipient<'_> {
        Recipient {
            name: &self.name,
            tags: &self.tags,
            account: self.account,
            company: self.company,
            user: self.user,
            strict: self.strict,
        }
    }

    /// What the callback is posted with, all of it opened.
    ///
    /// # Errors
    /// The vault's.
    pub async fn credentials<P: Platform>(&self, platform: &P) -> Result<CallbackCredentials, RecordError> {
        let signature_key = self.secret(platform, configuration::SIGNATURE_KEY).await?;
        let basic = match &self.username {
            Some(username) => {
                let password = self.secret(platform, configuration::BASIC_PASSWORD).await?;
                Some((username.clone(), password.unwrap_or_default()))
            }
            None => None,
        };
        let text = self.secret(platform, configuration::CALLBACK_HEADERS).await?;
        let headers = text.and_then(|text| headers::parse(text.expose_secret()).ok()).unwrap_or_default();
        Ok(CallbackCredentials { signature_key, basic, headers })
    }

    async fn secret<P: Platform>(&self, platform: &P, key: &str) -> Result<Option<SecretString>, RecordError> {
        let Some(sealed) = self.secrets.get(key) else { return Ok(None) };
        open(platform, Purpose::Callback, &callback_key(self.instance), key, sealed).await.map(Some)
    }
}

/// The secrets that posting to a callback takes.
const CALLBACK_SECRETS: [&str; 3] =
    [configuration::SIGNATURE_KEY, configuration::BASIC_PASSWORD, configuration::CALLBACK_HEADERS];

/// The writes that make an instance's views say what `instance` and `secrets` say, and what the receiver's is to hold.
pub(super) async fn views<P: Platform>(
    platform: &P,
    instance: &Instance,
    secrets: &Secrets,
    token: &SecretString,
    derived: &Derived<'_>,
) -> Result<(Vec<Write>, Bytes), RecordError> {
    let id = instance.id;
    let (webhook, callback, api) = (webhook_key(id), callback_key(id), token_key(id));
    let named = |wanted: &dyn Fn(&str) -> bool| -> Vec<(&str, &SecretString)> {
        secrets.iter().map(|(key, secret)| (key.as_str(), secret)).filter(|(key, _)| wanted(key)).collect()
    };
    let for_webhook = named(&|key| key == configuration::SIGNATURE_KEY || derived.secret_keys.iter().any(|s| s == key));
    let for_callback = named(&|key| CALLBACK_SECRETS.contains(&key));
    let mut for_api = named(&|_| true);
    for_api.push((TOKEN, token));
    let webhook_view = WebhookView {
        instance: id,
        account: instance.account,
        connector: instance.connector.clone(),
        disabled: instance.disabled,
        events_on: instance.events_on(),
        unverified: instance.setting(configuration::VENDOR_VERIFICATION) == Some("none"),
        objects: instance.objects(),
        event_types: instance
            .setting(configuration::METADATA)
            .and_then(|text| metadata::webhook_types(text).ok())
            .unwrap_or_default(),
        mapping: instance
            .configuration
            .iter()
            .filter(|(key, _)| key.starts_with(MAPPING_PREFIX))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        provider_account: derived.account.map(str::to_owned),
        finder: routes::wanted(instance, derived),
        group: instance.group(),
        secrets: seal(platform, Purpose::Webhook, &webhook, for_webhook).await?,
    };
    let callback_view = CallbackView {
        instance: id,
        account: instance.account,
        company: instance.company,
        user: instance.user,
        name: instance.name.clone(),
        tags: instance.tags.clone(),
        url: instance.setting(configuration::CALLBACK_URL).map(str::to_owned),
        flows: instance.flows_on(),
        reconciles: instance.reconciles.is_some(),
        strict: instance.setting(configuration::CONTRACT) == Some("strict"),
        group: instance.group(),
        username: instance
            .setting(configuration::BASIC_USERNAME)
            .filter(|name| configuration::is_username(name))
            .map(str::to_owned),
        secrets: seal(platform, Purpose::Callback, &callback, for_callback).await?,
    };
    let token_view = TokenView { secrets: seal(platform, Purpose::Api, &api, for_api).await? };
    let webhook_view = Bytes::from(schema::encode(&webhook_view));
    let writes = vec![
        Write::put(webhook, platform.version(), webhook_view.clone()),
        Write::put(callback, platform.version(), schema::encode(&callback_view)),
        Write::put(api, platform.version(), schema::encode(&token_view)),
    ];
    Ok((writes, webhook_view))
}

/// The receiver's views of these instances, in order; `None` for those that do not exist. Read strongly: a webhook that
/// comes right after its instance was made must not be taken for a stranger's.
///
/// # Errors
/// The table's.
pub async fn webhook_views<P: Platform>(
    platform: &P,
    ids: &[InstanceId],
) -> Result<Vec<Option<WebhookView>>, RecordError> {
    let keys: Vec<Key> = ids.iter().map(|id| webhook_key(*id)).collect();
    let items = platform.table().get_many(&keys, Consistency::Strong).await?;
    items.iter().map(|item| item.as_ref().map(schema::decode).transpose()).collect()
}

/// One of [`webhook_views`] by a read that may lag by a moment and costs half.
///
/// # Errors
/// The table's.
pub async fn glimpsed_view<P: Platform>(platform: &P, id: InstanceId) -> Result<Option<WebhookView>, RecordError> {
    let item = platform.table().get(&webhook_key(id), Consistency::Eventual).await?;
    item.map(|item| schema::decode(&item)).transpose()
}

/// The dispatcher's view, read strongly: a changed callback or key counts from the next delivery. `None`: deleted.
///
/// # Errors
/// The table's.
pub async fn callback_view<P: Platform>(platform: &P, id: InstanceId) -> Result<Option<CallbackView>, RecordError> {
    let item = platform.table().get(&callback_key(id), Consistency::Strong).await?;
    item.map(|item| schema::decode(&item)).transpose()
}
