//! Instances, and the view of each role.
//!
//! `INSTANCE#id` holds the configuration without secrets. Beside it stand views, one for each role: what that role needs
//! of an instance, with the secrets it may open, so that one read serves it and, on AWS, one grant suffices. All are
//! written in one transaction with the indexes that point to them. The API's own view keeps every secret, so that a view
//! can be made anew when the configuration changes; a secret that two roles need is sealed once for each.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use events::{AccountId, InstanceId, Timestamp, configuration};
use platform::{Condition, Consistency, Item, Key, Platform, Purpose, Query, Table as _, Vault as _, Version, Write};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::accounts::{self, Account, Grant, KeyKind};
use crate::{RecordError, schema};

/// Most instances that one account of ours may have told of one provider account's webhooks. Counted for each account of
/// ours, so that nobody can crowd out another by naming the other's provider account many times.
pub const INSTANCES_PER_ACCOUNT: usize = 100;

/// Most instances, of all accounts, that a webhook is handed to.
const ROUTED_INSTANCES: usize = 1000;

/// Routes read at a time.
const ROUTES_AT_ONCE: usize = 500;

/// Prefix of the configuration keys that a connector's mapping may read.
pub const MAPPING_PREFIX: &str = "event.mapping.";

/// An instance as the API shows it: without secrets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Instance {
    /// Its id.
    pub id: InstanceId,
    /// Whose it is.
    pub account: AccountId,
    /// The contract's `companyId`.
    pub company: u32,
    /// The contract's `userId`.
    pub user: u32,
    /// As provisioned.
    pub name: String,
    /// The connector's key.
    pub connector: String,
    /// The connector's hub.
    pub hub: String,
    /// As provisioned.
    pub tags: Vec<String>,
    /// When it was provisioned.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Takes no webhooks while true.
    pub disabled: bool,
    /// The configuration, secrets left out.
    pub configuration: BTreeMap<String, String>,
}

impl Instance {
    /// Whether its events are on: an explicit value wins; without one they are on once there is a callback.
    #[must_use]
    pub fn events_on(&self) -> bool {
        match self.configuration.get(configuration::ENABLED) {
            Some(value) => configuration::boolean(value).unwrap_or(false),
            None => self.configuration.contains_key(configuration::CALLBACK_URL),
        }
    }

    /// One callback is one endpoint: instances of an account that share it share its troubles, and nobody else does.
    fn group(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.account.0.to_be_bytes());
        hash.update(self.setting(configuration::CALLBACK_URL).unwrap_or_default());
        hash.finalize()[..12].iter().map(|b| format!("{b:02x}")).collect()
    }

    fn setting(&self, key: &str) -> Option<&str> {
        self.configuration.get(key).map(|value| value.trim()).filter(|value| !value.is_empty())
    }
}

/// Secrets in clear, by configuration key. Cannot be printed.
pub type Secrets = BTreeMap<String, SecretString>;

/// Secrets as an item holds them: sealed for one purpose at one place, base64.
type Sealed = BTreeMap<String, String>;

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
    /// The provider's id of the customer's account.
    pub provider_account: Option<String>,
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
    /// Leave out of notifications what the old product did not send.
    pub strict: bool,
    /// As [`WebhookView::group`].
    pub group: String,
    secrets: Sealed,
}

#[derive(Serialize, Deserialize)]
struct TokenView {
    secrets: Sealed,
}

/// The name of the instance's token among the API view's secrets: a name that no configuration key has.
const TOKEN: &str = "#token";

#[derive(Serialize, Deserialize)]
struct Tombstone {
    deleted_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Link {}

/// An instance as read, with what a later write is conditional on.
#[derive(Debug)]
pub struct Stored {
    /// The instance.
    pub instance: Instance,
    /// Every secret of its configuration.
    pub secrets: Secrets,
    /// The instance's token.
    pub token: SecretString,
    version: Version,
}

fn instance_key(id: InstanceId) -> Key {
    Key::new(format!("INSTANCE#{id}"), "INSTANCE")
}

fn webhook_key(id: InstanceId) -> Key {
    Key::new(format!("WEBHOOK#{id}"), "WEBHOOK")
}

fn callback_key(id: InstanceId) -> Key {
    Key::new(format!("CALLBACK#{id}"), "CALLBACK")
}

fn token_key(id: InstanceId) -> Key {
    Key::new(format!("TOKEN#{id}"), "TOKEN")
}

fn owner_key(account: AccountId, id: InstanceId) -> Key {
    Key::new(format!("ACCOUNT#{account}"), format!("INSTANCE#{id}"))
}

fn route_partition(connector: &str, provider_account: &str) -> String {
    format!("ROUTE#{connector}#{provider_account}")
}

fn route_key(instance: &Instance) -> Option<Key> {
    let account = instance.setting(configuration::VENDOR_ACCOUNT)?;
    let sort = format!("{}#{}", instance.account, instance.id);
    Some(Key::new(route_partition(&instance.connector, account), sort))
}

async fn seal<P: Platform>(
    platform: &P,
    purpose: Purpose,
    place: &Key,
    secrets: Vec<(&str, &SecretString)>,
) -> Result<Sealed, RecordError> {
    let mut sealed = Sealed::new();
    for (name, secret) in secrets {
        let place = format!("{}#{name}", place.partition);
        let bytes = platform.vault().seal(purpose, &place, secret.expose_secret().as_bytes()).await?;
        sealed.insert(name.to_owned(), STANDARD.encode(bytes));
    }
    Ok(sealed)
}

async fn open<P: Platform>(
    platform: &P,
    purpose: Purpose,
    place: &Key,
    name: &str,
    sealed: &str,
) -> Result<SecretString, RecordError> {
    let damaged = || RecordError::Damaged(format!("{place:?}"), "a sealed value is not text".into());
    let bytes = STANDARD.decode(sealed).map_err(|_| damaged())?;
    let plain = platform.vault().open(purpose, &format!("{}#{name}", place.partition), &bytes).await?;
    Ok(String::from_utf8(plain).map_err(|_| damaged())?.into())
}

impl WebhookView {
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
    /// The key that notifications are signed with.
    ///
    /// # Errors
    /// The vault's.
    pub async fn signature_key<P: Platform>(&self, platform: &P) -> Result<Option<SecretString>, RecordError> {
        let Some(sealed) = self.secrets.get(configuration::SIGNATURE_KEY) else { return Ok(None) };
        let place = callback_key(self.instance);
        open(platform, Purpose::Callback, &place, configuration::SIGNATURE_KEY, sealed).await.map(Some)
    }
}

/// The writes that make an instance's item and views say what `instance` and `secrets` say.
async fn views<P: Platform>(
    platform: &P,
    instance: &Instance,
    secrets: &Secrets,
    token: &SecretString,
    webhook_secrets: &[String],
) -> Result<Vec<Write>, RecordError> {
    let id = instance.id;
    let (webhook, callback, api) = (webhook_key(id), callback_key(id), token_key(id));
    let named = |wanted: &dyn Fn(&str) -> bool| -> Vec<(&str, &SecretString)> {
        secrets.iter().map(|(key, secret)| (key.as_str(), secret)).filter(|(key, _)| wanted(key)).collect()
    };
    let for_webhook = named(&|key| key == configuration::SIGNATURE_KEY || webhook_secrets.iter().any(|s| s == key));
    let for_callback = named(&|key| key == configuration::SIGNATURE_KEY);
    let mut for_api = named(&|_| true);
    for_api.push((TOKEN, token));
    let webhook_view = WebhookView {
        instance: id,
        account: instance.account,
        connector: instance.connector.clone(),
        disabled: instance.disabled,
        events_on: instance.events_on(),
        unverified: instance.setting(configuration::VENDOR_VERIFICATION) == Some("none"),
        objects: instance
            .setting(configuration::OBJECTS)
            .map(|objects| configuration::list(objects).map(str::to_lowercase).collect())
            .unwrap_or_default(),
        mapping: instance
            .configuration
            .iter()
            .filter(|(key, _)| key.starts_with(MAPPING_PREFIX))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        provider_account: instance.setting(configuration::VENDOR_ACCOUNT).map(str::to_owned),
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
        strict: instance.setting(configuration::CONTRACT) == Some("strict"),
        group: instance.group(),
        secrets: seal(platform, Purpose::Callback, &callback, for_callback).await?,
    };
    let token_view = TokenView { secrets: seal(platform, Purpose::Api, &api, for_api).await? };
    Ok(vec![
        Write::put(webhook, platform.version(), schema::encode(&webhook_view)),
        Write::put(callback, platform.version(), schema::encode(&callback_view)),
        Write::put(api, platform.version(), schema::encode(&token_view)),
    ])
}

fn put<P: Platform>(platform: &P, instance: &Instance, condition: Condition) -> Write {
    Write::put(instance_key(instance.id), platform.version(), schema::encode(instance)).when(condition)
}

fn link<P: Platform>(platform: &P, key: Key) -> Write {
    Write::put(key, platform.version(), schema::encode(&Link {}))
}

/// What a new instance is made of.
#[derive(Debug)]
pub struct Provision {
    /// As given.
    pub name: String,
    /// The connector's key.
    pub connector: String,
    /// The connector's hub.
    pub hub: String,
    /// As given.
    pub tags: Vec<String>,
    /// The configuration, secrets left out.
    pub configuration: BTreeMap<String, String>,
    /// The configuration's secrets.
    pub secrets: Secrets,
}

/// Makes an instance of `owner`'s. `webhook_secrets` are the configuration keys that the receiver verifies with.
///
/// # Errors
/// The table's or the vault's.
pub async fn create<P: Platform>(
    platform: &P,
    owner: &Account,
    provision: Provision,
    webhook_secrets: &[String],
) -> Result<Stored, RecordError> {
    let token = accounts::new_secret(platform);
    let now = platform.now();
    let mut instance = Instance {
        id: InstanceId::from_random(0),
        account: owner.id,
        company: owner.company,
        user: owner.user,
        name: provision.name,
        connector: provision.connector,
        hub: provision.hub,
        tags: provision.tags,
        created_at: now,
        updated_at: now,
        disabled: false,
        configuration: provision.configuration,
    };
    loop {
        instance.id = InstanceId::from_random(platform.random().bits() as u32);
        let grant = Grant { account: owner.id, kind: KeyKind::Element, instance: Some(instance.id) };
        let mut writes = views(platform, &instance, &provision.secrets, &token, webhook_secrets).await?;
        let main = put(platform, &instance, Condition::Absent);
        let Some(version) = written_version(&main) else { continue };
        writes.push(main);
        writes.push(link(platform, owner_key(owner.id, instance.id)));
        writes.push(accounts::grant_write(platform, &token, &grant));
        writes.extend(route_key(&instance).map(|key| link(platform, key)));
        match platform.table().transact(writes).await {
            Ok(()) => return Ok(Stored { instance, secrets: provision.secrets, token, version }),
            // The number is taken (also by a tombstone: numbers are never used again): draw another.
            Err(platform::TableError::ConditionFailed(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn written_version(write: &Write) -> Option<Version> {
    match &write.act {
        platform::Act::Put { version, .. } => Some(*version),
        platform::Act::Delete | platform::Act::Check => None,
    }
}

fn read_instance(item: &Item) -> Result<Option<Instance>, RecordError> {
    if schema::decode::<Tombstone>(item).is_ok() {
        return Ok(None);
    }
    schema::decode(item).map(Some)
}

/// An instance of `account`'s; `None` when there is none, also when it is another account's.
///
/// # Errors
/// The table's.
pub async fn get<P: Platform>(
    platform: &P,
    account: AccountId,
    id: InstanceId,
) -> Result<Option<Instance>, RecordError> {
    let Some(item) = platform.table().get(&instance_key(id), Consistency::Strong).await? else { return Ok(None) };
    Ok(read_instance(&item)?.filter(|instance| instance.account == account))
}

/// An instance of `account`'s with its secrets, to be changed.
///
/// # Errors
/// The table's or the vault's.
pub async fn load<P: Platform>(
    platform: &P,
    account: AccountId,
    id: InstanceId,
) -> Result<Option<Stored>, RecordError> {
    // One after the other: a change in between makes the later write fail, because it is conditional on the first item.
    // Read the other way round, or at once, old secrets could be written back over new ones.
    let Some(item) = platform.table().get(&instance_key(id), Consistency::Strong).await? else { return Ok(None) };
    let Some(instance) = read_instance(&item)?.filter(|instance| instance.account == account) else { return Ok(None) };
    let Some(view) = platform.table().get(&token_key(id), Consistency::Strong).await? else { return Ok(None) };
    let view: TokenView = schema::decode(&view)?;
    let mut secrets = Secrets::new();
    for (name, sealed) in &view.secrets {
        secrets.insert(name.clone(), open(platform, Purpose::Api, &token_key(id), name, sealed).await?);
    }
    let token = secrets.remove(TOKEN).unwrap_or_default();
    Ok(Some(Stored { instance, secrets, token, version: item.version }))
}

/// Writes a changed instance: `before` as loaded, then what it is to be.
///
/// # Errors
/// The table's ([`platform::TableError::ConditionFailed`] when it changed since it was loaded) or the vault's.
pub async fn update<P: Platform>(
    platform: &P,
    before: &Stored,
    mut instance: Instance,
    secrets: Secrets,
    webhook_secrets: &[String],
) -> Result<Stored, RecordError> {
    instance.updated_at = platform.now();
    let mut writes = views(platform, &instance, &secrets, &before.token, webhook_secrets).await?;
    let main = put(platform, &instance, Condition::Version(before.version));
    let version = written_version(&main).unwrap_or(before.version);
    writes.push(main);
    let (old, new) = (route_key(&before.instance), route_key(&instance));
    if old != new {
        writes.extend(old.map(Write::delete));
        writes.extend(new.map(|key| link(platform, key)));
    }
    platform.table().transact(writes).await?;
    Ok(Stored { instance, secrets, token: SecretString::from(before.token.expose_secret()), version })
}

/// Deletes an instance; its number stays taken.
///
/// # Errors
/// As [`update`].
pub async fn delete<P: Platform>(platform: &P, before: &Stored) -> Result<(), RecordError> {
    let instance = &before.instance;
    let tombstone = schema::encode(&Tombstone { deleted_at: platform.now() });
    let mut writes = vec![
        Write::put(instance_key(instance.id), platform.version(), tombstone).when(Condition::Version(before.version)),
        Write::delete(webhook_key(instance.id)),
        Write::delete(callback_key(instance.id)),
        Write::delete(token_key(instance.id)),
        Write::delete(owner_key(instance.account, instance.id)),
        Write::delete(accounts::grant_key(before.token.expose_secret())),
    ];
    writes.extend(route_key(instance).map(Write::delete));
    Ok(platform.table().transact(writes).await?)
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

/// The instances that a provider account's webhooks are for, and whether there are more than are served. Read strongly.
///
/// # Errors
/// The table's.
pub async fn routed<P: Platform>(
    platform: &P,
    connector: &str,
    provider_account: &str,
) -> Result<(Vec<InstanceId>, bool), RecordError> {
    let partition = route_partition(connector, provider_account);
    // A stranger names the account: what cannot be a key is nobody's.
    if platform::limits::check_key(&Key::new(partition.as_str(), "x")).is_err() {
        return Ok((Vec::new(), false));
    }
    let mut query = Query::partition(partition, ROUTES_AT_ONCE);
    let (mut ids, mut more) = (Vec::new(), false);
    let mut of_account = (String::new(), 0);
    loop {
        let page = platform.table().query(&query).await?;
        for item in &page.items {
            let Some((account, id)) = item.key.sort.split_once('#') else { continue };
            let Ok(id) = id.parse() else { continue };
            if of_account.0 != account {
                of_account = (account.to_owned(), 0);
            }
            of_account.1 += 1;
            if of_account.1 > INSTANCES_PER_ACCOUNT || ids.len() >= ROUTED_INSTANCES {
                more = true;
            } else {
                ids.push(id);
            }
        }
        match page.next {
            Some(next) if ids.len() < ROUTED_INSTANCES => query.after = Some(next),
            next => return Ok((ids, more || next.is_some())),
        }
    }
}

/// The dispatcher's view, read strongly: a changed callback or key counts from the next delivery. `None`: deleted.
///
/// # Errors
/// The table's.
pub async fn callback_view<P: Platform>(platform: &P, id: InstanceId) -> Result<Option<CallbackView>, RecordError> {
    let item = platform.table().get(&callback_key(id), Consistency::Strong).await?;
    item.map(|item| schema::decode(&item)).transpose()
}

/// The ids of an account's instances.
///
/// # Errors
/// The table's.
pub async fn of_account<P: Platform>(platform: &P, account: AccountId) -> Result<Vec<InstanceId>, RecordError> {
    let mut query = Query {
        from: "INSTANCE#".into(),
        before: "INSTANCE$".into(),
        ..Query::partition(format!("ACCOUNT#{account}"), 1000)
    };
    let mut ids = Vec::new();
    loop {
        let page = platform.table().query(&query).await?;
        ids.extend(page.items.iter().filter_map(|i| i.key.sort.strip_prefix("INSTANCE#")?.parse::<InstanceId>().ok()));
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(ids),
        }
    }
}
