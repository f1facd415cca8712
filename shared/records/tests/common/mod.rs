//! Instances to test with.

#![allow(dead_code, reason = "each test binary uses its part")]

use events::{InstanceId, Timestamp, configuration};
use platform::testing::{MemoryPlatform, VISIBILITY_TIMEOUT};
use pollhook_records::RecordError;
use pollhook_records::accounts::{self, Account};
use pollhook_records::instances::{self, Derived, Instance, Provision, Secrets, Stored};
use secrecy::SecretString;

pub(crate) const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);

pub(crate) fn platform(seed: u64) -> MemoryPlatform {
    MemoryPlatform::with(NOW, seed, VISIBILITY_TIMEOUT)
}

pub(crate) async fn owner(platform: &MemoryPlatform) -> Account {
    accounts::create(platform, false).await.unwrap().0
}

pub(crate) fn provision(connector: &str, plain: &[(&str, &str)], secrets: &[(&str, &str)]) -> Provision {
    Provision {
        name: "mine".into(),
        connector: connector.into(),
        hub: "crm".into(),
        tags: Vec::new(),
        configuration: plain.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        secrets: secrets.iter().map(|(key, value)| ((*key).to_owned(), SecretString::from(*value))).collect(),
    }
}

/// What the API makes of a configuration, of a connector of which all characters of an account count.
fn derived(instance_account: Option<&str>, accountless: bool) -> Derived<'_> {
    Derived { account: instance_account, accountless, ..Derived::default() }
}

pub(crate) async fn try_make(
    platform: &MemoryPlatform,
    owner: &Account,
    plain: &[(&str, &str)],
    accountless: bool,
) -> Result<Stored, RecordError> {
    let account = plain.iter().find(|(key, _)| *key == configuration::VENDOR_ACCOUNT).map(|(_, account)| *account);
    instances::create(platform, owner, provision("github", plain, &[]), &derived(account, accountless)).await
}

pub(crate) async fn make(platform: &MemoryPlatform, owner: &Account, plain: &[(&str, &str)]) -> Stored {
    try_make(platform, owner, plain, false).await.unwrap()
}

/// Sets (or, with a blank value, unsets) plain settings.
pub(crate) async fn set(
    platform: &MemoryPlatform,
    before: &Stored,
    settings: &[(&str, &str)],
) -> Result<Stored, RecordError> {
    let mut instance = before.instance.clone();
    for (key, value) in settings {
        match value.is_empty() {
            true => instance.configuration.remove(*key),
            false => instance.configuration.insert((*key).to_owned(), (*value).to_owned()),
        };
    }
    write(platform, before, instance, before.secrets.clone()).await
}

pub(crate) async fn write(
    platform: &MemoryPlatform,
    before: &Stored,
    instance: Instance,
    secrets: Secrets,
) -> Result<Stored, RecordError> {
    let account = instance.configuration.get(configuration::VENDOR_ACCOUNT).cloned();
    instances::update(platform, before, instance, secrets, &derived(account.as_deref(), false)).await
}

pub(crate) async fn load(platform: &MemoryPlatform, owner: &Account, id: InstanceId) -> Stored {
    instances::load(platform, owner.id, id).await.unwrap().unwrap()
}
