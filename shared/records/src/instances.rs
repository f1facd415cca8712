//! Instances, and the view of each role.
//!
//! `INSTANCE#id` holds the configuration without secrets. Beside it stand views, one for each role: what that role needs
//! of an instance, with the secrets it may open, so that one read serves it and, on AWS, one grant suffices. All are
//! written in one transaction with the indexes that point to them. The API's own view keeps every secret, so that a view
//! can be made anew when the configuration changes; a secret that two roles need is sealed once for each.
//!
//! An instance that is polled has an item in the [timing wheel](crate::wheel), put, moved and removed in the transaction that
//! writes the instance, which keeps its place: so it is polled exactly as long as it is there, not disabled and its events
//! are on.
//!
//! One that is polled, in turns or at a signal of its provider, has a [plan](plans) beside where its polls stand.
//!
//! One that is told by webhooks and polled to tell what these missed *reconciles*: since when, it keeps, for nobody noted
//! before [what its webhooks told](crate::told).
//!
//! Written by the API alone, but for the secret that a provider hands to the receiver in a handshake.

mod handshake;
pub mod plans;
mod routes;
pub(crate) mod sealed;
mod views;

use std::collections::BTreeMap;

use events::{AccountId, InstanceId, Timestamp, configuration};
use platform::{Condition, Consistency, Item, Key, Platform, Purpose, Query, Table as _, TableError, Version, Write};
use polling::definition::Polling;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::accounts::{self, Account, Grant, KeyKind};
use crate::wheel::{self, Minutes, Place};
use crate::{RecordError, grants, schema};

use handshake::handshake_key;
pub use handshake::{Kept, handshake, keep_handshake};
pub use routes::{
    FINDER_VALUE_BYTES, FinderRefused, INSTANCES_PER_ACCOUNT, PATHS, PATHS_PER_ACCOUNT, Sought, accountless,
    check_finder, finder_paths, found, glimpsed, routed,
};
use sealed::open;
pub use views::{
    CallbackCredentials, CallbackView, MAPPING_PREFIX, SealedSecret, WebhookView, callback_view, glimpsed_view,
    webhook_views,
};
use views::{TOKEN, TokenView, callback_key, token_key, views, webhook_key};

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
    /// The partitions in which index items point to it, as last written. Kept here alone: what is given is not looked at.
    #[serde(default)]
    pub routes: Vec<String>,
    /// Where in the timing wheel its item is, as last written; `None`: it is not polled. Kept here alone, as `routes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Since when what its webhooks tell is noted, so that its polls tell the rest; `None`: it is not. Kept here alone, as
    /// `routes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reconciles: Option<Timestamp>,
}

impl Instance {
    /// Whether its events are on: an explicit value wins; without one they are on once there is somebody to tell, which is
    /// a callback or flows. Off means that nothing is taken, so nothing reaches the bus either.
    #[must_use]
    pub fn events_on(&self) -> bool {
        match self.configuration.get(configuration::ENABLED) {
            Some(value) => configuration::boolean(value).unwrap_or(false),
            None => self.configuration.contains_key(configuration::CALLBACK_URL) || self.flows_on(),
        }
    }

    /// Whether each of its events goes to the event bus as well.
    #[must_use]
    pub fn flows_on(&self) -> bool {
        self.setting(configuration::FLOW_ENABLED).is_some_and(|value| configuration::boolean(value) == Ok(true))
    }

    /// Object types to tell, lower-case; empty means all.
    fn objects(&self) -> Vec<String> {
        let objects = self.setting(configuration::OBJECTS).map(configuration::list);
        objects.into_iter().flatten().map(str::to_lowercase).collect()
    }

    /// One callback is one endpoint: instances of an account that share it share its troubles, and nobody else does.
    fn group(&self) -> String {
        let mut hash = Sha256::new();
        hash.update(self.account.0.to_be_bytes());
        hash.update(self.setting(configuration::CALLBACK_URL).unwrap_or_default());
        hash.finalize()[..12].iter().map(|b| format!("{b:02x}")).collect()
    }

    /// The partitions that point to it. Before they were listed there was one at most, made of the provider's account as it
    /// was configured.
    fn indexed(&self) -> Vec<String> {
        if !self.routes.is_empty() {
            return self.routes.clone();
        }
        let account = self.setting(configuration::VENDOR_ACCOUNT);
        account.map(|account| routes::route_partition(&self.connector, account)).into_iter().collect()
    }

    fn setting(&self, key: &str) -> Option<&str> {
        self.configuration.get(key).map(|value| value.trim()).filter(|value| !value.is_empty())
    }
}

/// Secrets in clear, by configuration key. Cannot be printed.
pub type Secrets = BTreeMap<String, SecretString>;

#[derive(Serialize, Deserialize)]
struct Tombstone {
    deleted_at: Timestamp,
}

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

fn owner_key(account: AccountId, id: InstanceId) -> Key {
    Key::new(format!("ACCOUNT#{account}"), format!("INSTANCE#{id}"))
}

fn put<P: Platform>(platform: &P, instance: &Instance, condition: Condition) -> Write {
    let body = match instance.place {
        Some(_) => schema::encode_as(schema::WHEEL, instance),
        None => schema::encode(instance),
    };
    Write::put(instance_key(instance.id), platform.version(), body).when(condition)
}

/// What the instance's connector makes of its configuration: for its webhooks, and for its polls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Derived<'a> {
    /// The configuration keys that the receiver verifies with.
    pub secret_keys: &'a [String],
    /// The provider's id of the customer's account, as it counts for routes.
    pub account: Option<&'a str>,
    /// Whether its secret may verify requests that name no account.
    pub accountless: bool,
    /// Whether the secret of an earlier handshake is to be forgotten, so that the next one counts.
    pub forget_handshake: bool,
    /// How often it is polled while it is not disabled and its events are on; `None`: never.
    pub polled: Option<Minutes>,
    /// Whether its polls tell what its webhooks missed, and nothing else.
    pub reconciles: bool,
    /// How the provider is asked, where the instance is polled in turns or when its provider signals a change; `None`: it is
    /// not, and has no [plan](plans).
    pub polling: Option<&'a Polling>,
}

impl Derived<'_> {
    /// Where the instance's item in the timing wheel is to be that is at `before`.
    async fn place<P: Platform>(
        &self,
        platform: &P,
        instance: &Instance,
        before: Option<Place>,
    ) -> Result<Option<Place>, RecordError> {
        let polled = self.polled.filter(|_| !instance.disabled && instance.events_on());
        wheel::place(platform, instance.id, polled, before).await
    }

    /// What becomes of the instance's plan.
    async fn plan<P: Platform>(
        &self,
        platform: &P,
        instance: &Instance,
        secrets: &Secrets,
    ) -> Result<Write, RecordError> {
        match self.polling {
            Some(polling) => plans::put(platform, instance, secrets, &polling.authentication.value.settings()).await,
            None => Ok(plans::delete(instance.id)),
        }
    }
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

/// Makes an instance of `owner`'s.
///
/// # Errors
/// The table's or the vault's, or [`RecordError::TooManyFinders`].
pub async fn create<P: Platform>(
    platform: &P,
    owner: &Account,
    provision: Provision,
    derived: &Derived<'_>,
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
        routes: Vec::new(),
        place: None,
        reconciles: derived.reconciles.then_some(now),
    };
    instance.routes = routes::partitions(&instance, derived);
    loop {
        instance.id = InstanceId::from_random(platform.random().bits() as u32);
        instance.place = derived.place(platform, &instance, None).await?;
        let grant = Grant { account: owner.id, kind: KeyKind::Element, instance: Some(instance.id), made_at: None };
        let (mut writes, view) = views(platform, &instance, &provision.secrets, &token, derived).await?;
        let main = put(platform, &instance, Condition::Absent);
        let Some(version) = written_version(&main) else { continue };
        writes.push(main);
        writes.push(routes::link(platform, owner_key(owner.id, instance.id)));
        writes.push(accounts::grant_write(platform, &token, &grant));
        writes.extend(routes::links(platform, &instance, &[], &view));
        writes.extend(wheel::moved(platform, instance.id, None, instance.place));
        if derived.polling.is_some() {
            writes.push(derived.plan(platform, &instance, &provision.secrets).await?);
        }
        match routes::transact(platform, &instance, &[], &instance.routes, writes).await {
            Ok(()) => return Ok(Stored { instance, secrets: provision.secrets, token, version }),
            // The number is taken (also by a tombstone: numbers are never used again): draw another.
            Err(RecordError::Table(TableError::ConditionFailed(_))) => {}
            Err(error) => return Err(error),
        }
    }
}

fn written_version(write: &Write) -> Option<Version> {
    match &write.act {
        platform::Act::Put { version, .. } => Some(*version),
        platform::Act::Delete | platform::Act::Check => None,
    }
}

/// An instance, and secrets that stand in its configuration in clear, because an earlier version did not know their keys
/// for secrets: from now on they are not shown, and the next change seals them.
fn read_instance(item: &Item) -> Result<Option<(Instance, Secrets)>, RecordError> {
    if schema::decode::<Tombstone>(item).is_ok() {
        return Ok(None);
    }
    let mut instance: Instance = schema::decode(item)?;
    let in_clear = instance.configuration.extract_if(.., |key, _| configuration::is_secret(key));
    let secrets = in_clear.map(|(key, value)| (key, value.into())).collect();
    Ok(Some((instance, secrets)))
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
    Ok(read_instance(&item)?.map(|(instance, _)| instance).filter(|instance| instance.account == account))
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
    let Some((instance, mut secrets)) = read_instance(&item)?.filter(|(instance, _)| instance.account == account)
    else {
        return Ok(None);
    };
    let Some(view) = platform.table().get(&token_key(id), Consistency::Strong).await? else { return Ok(None) };
    let view: TokenView = schema::decode(&view)?;
    for (name, sealed) in &view.secrets {
        secrets.insert(name.clone(), open(platform, Purpose::Api, &token_key(id), name, sealed).await?);
    }
    let token = secrets.remove(TOKEN).unwrap_or_default();
    Ok(Some(Stored { instance, secrets, token, version: item.version }))
}

/// Writes a changed instance: `before` as loaded, then what it is to be.
///
/// # Errors
/// The table's ([`TableError::ConditionFailed`] when it changed since it was loaded) or the vault's, or
/// [`RecordError::TooManyFinders`].
pub async fn update<P: Platform>(
    platform: &P,
    before: &Stored,
    mut instance: Instance,
    secrets: Secrets,
    derived: &Derived<'_>,
) -> Result<Stored, RecordError> {
    instance.updated_at = platform.now();
    instance.routes = routes::partitions(&instance, derived);
    instance.place = derived.place(platform, &instance, before.instance.place).await?;
    // Who was polled before goes on from where the polls stand: nobody else told what changed up to now.
    let begins = if before.instance.place.is_some() { instance.created_at } else { instance.updated_at };
    instance.reconciles = derived.reconciles.then(|| before.instance.reconciles.unwrap_or(begins));
    let (mut writes, view) = views(platform, &instance, &secrets, &before.token, derived).await?;
    let main = put(platform, &instance, Condition::Version(before.version));
    let version = written_version(&main).unwrap_or(before.version);
    writes.push(main);
    let (old, new) = (before.instance.indexed(), &instance.routes);
    let key = |partition: &String| routes::index_key(&instance, partition);
    writes.extend(old.iter().filter(|partition| !new.contains(partition)).map(|gone| Write::delete(key(gone))));
    writes.extend(routes::links(platform, &instance, &before.instance.routes, &view));
    writes.extend(wheel::moved(platform, instance.id, before.instance.place, instance.place));
    writes.push(derived.plan(platform, &instance, &secrets).await?);
    if derived.forget_handshake {
        writes.push(Write::delete(handshake_key(instance.id)));
    }
    routes::transact(platform, &instance, &old, new, writes).await?;
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
        Write::delete(handshake_key(instance.id)),
        Write::delete(callback_key(instance.id)),
        Write::delete(token_key(instance.id)),
        plans::delete(instance.id),
        grants::delete(instance.id),
        Write::delete(owner_key(instance.account, instance.id)),
        Write::delete(accounts::grant_key(before.token.expose_secret())),
    ];
    let old = instance.indexed();
    writes.extend(old.iter().map(|partition| Write::delete(routes::index_key(instance, partition))));
    writes.extend(wheel::moved(platform, instance.id, instance.place, None));
    routes::transact(platform, instance, &old, &[], writes).await
}

/// The links to an account's instances, in the order of their ids as text: all after `after`.
fn links(account: AccountId, after: Option<InstanceId>, limit: usize) -> Query {
    let from = match after {
        // A blank sorts before every digit: what follows is the next id, also one that begins as this one.
        Some(id) => format!("INSTANCE#{id} "),
        None => "INSTANCE#".into(),
    };
    Query { from, before: "INSTANCE$".into(), ..Query::partition(format!("ACCOUNT#{account}"), limit) }
}

fn linked(page: &platform::Page) -> impl Iterator<Item = InstanceId> {
    page.items.iter().filter_map(|item| item.key.sort.strip_prefix("INSTANCE#")?.parse().ok())
}

/// The ids of an account's instances.
///
/// # Errors
/// The table's.
pub async fn of_account<P: Platform>(platform: &P, account: AccountId) -> Result<Vec<InstanceId>, RecordError> {
    let mut query = links(account, None, 1000);
    let mut ids = Vec::new();
    loop {
        let page = platform.table().query(&query).await?;
        ids.extend(linked(&page));
        match page.next {
            Some(next) => query.after = Some(next),
            None => return Ok(ids),
        }
    }
}

/// A page of an account's instances.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// At most as many as asked for; those that were deleted while they were read are missing.
    pub instances: Vec<Instance>,
    /// After which one the next page begins; `None`: there is no more.
    pub next: Option<InstanceId>,
}

/// A page of at most `limit` (at least one) of an account's instances after `after`, which need not be there any more. The
/// order is that of the ids as text, and never changes.
///
/// # Errors
/// The table's.
pub async fn page<P: Platform>(
    platform: &P,
    account: AccountId,
    after: Option<InstanceId>,
    limit: usize,
) -> Result<Page, RecordError> {
    let limit = limit.max(1);
    // One more than asked for tells whether there is a next page.
    let mut query = links(account, after, limit.saturating_add(1));
    let mut ids: Vec<InstanceId> = Vec::new();
    while ids.len() <= limit {
        let page = platform.table().query(&query).await?;
        ids.extend(linked(&page));
        match page.next {
            Some(next) => query.after = Some(next),
            None => break,
        }
    }
    let more = ids.len() > limit;
    ids.truncate(limit);
    let keys: Vec<Key> = ids.iter().copied().map(instance_key).collect();
    let mut instances = Vec::with_capacity(ids.len());
    for item in platform.table().get_many(&keys, Consistency::Strong).await?.iter().flatten() {
        let instance = read_instance(item)?.map(|(instance, _)| instance);
        instances.extend(instance.filter(|instance| instance.account == account));
    }
    Ok(Page { instances, next: ids.last().copied().filter(|_| more) })
}
