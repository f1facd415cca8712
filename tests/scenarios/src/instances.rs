//! Making instances, and batches for them.

use std::collections::BTreeMap;
use std::ops::Range;

use axum::body::Bytes;
use connectors::{Connector, catalogue};
use events::{Batch, Event, EventId, EventType, InstanceId, Source, configuration};
use records::accounts::Account;
use records::instances::{self, Derived, Provision, Secrets, Stored};

use crate::{Faulty, START};

/// An instance to make.
#[derive(Clone, Debug)]
pub struct Spec {
    connector: &'static str,
    configuration: BTreeMap<String, String>,
    secrets: BTreeMap<String, String>,
}

impl Spec {
    /// Of this connector, unconfigured.
    #[must_use]
    pub fn of(connector: &'static str) -> Self {
        Self { connector, configuration: BTreeMap::new(), secrets: BTreeMap::new() }
    }

    /// The same, with a plain setting.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.configuration.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The same, with a secret.
    #[must_use]
    pub fn secret(mut self, key: &str, value: &str) -> Self {
        self.secrets.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The same, told at `url`.
    #[must_use]
    pub fn callback(self, url: &str) -> Self {
        self.set(configuration::CALLBACK_URL, url)
    }

    /// The same, with flows on.
    #[must_use]
    pub fn flows(self) -> Self {
        self.set(configuration::FLOW_ENABLED, "true")
    }

    /// The same, its notifications signed with `key`.
    #[must_use]
    pub fn signed(self, key: &str) -> Self {
        self.secret(configuration::SIGNATURE_KEY, key)
    }

    /// The same, its provider signing with `secret`.
    #[must_use]
    pub fn webhook_secret(self, secret: &str) -> Self {
        self.secret(configuration::WEBHOOK_SECRET, secret)
    }

    /// The same, of the provider's `account`.
    #[must_use]
    pub fn account(self, account: &str) -> Self {
        self.set(configuration::VENDOR_ACCOUNT, account)
    }

    pub(crate) async fn make(self, platform: &Faulty, owner: &Account) -> Made {
        let connector = catalogue().get(self.connector).unwrap();
        let secrets: Secrets = self.secrets.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
        let provision = Provision {
            name: format!("an instance of {}", self.connector),
            connector: connector.key().to_owned(),
            hub: connector.hub().to_owned(),
            tags: vec!["test".into()],
            configuration: self.configuration,
            secrets,
        };
        let account = provision.configuration.get(configuration::VENDOR_ACCOUNT).cloned();
        let derived = derived(connector, account.as_deref());
        let stored = instances::create(platform, owner, provision, &derived).await.unwrap();
        Made { id: stored.instance.id, owner: owner.clone(), stored }
    }
}

/// What the instances API makes of a connector and an account.
fn derived<'a>(connector: &'a Connector, account: Option<&'a str>) -> Derived<'a> {
    Derived {
        secret_keys: connector.secret_keys(),
        account: account.map(|account| connector.account_key(account)),
        accountless: connector.verifies_without_account(),
        forget_handshake: false,
        polled: None,
        reconciles: false,
        polling: None,
    }
}

/// An instance that was made.
#[derive(Debug)]
pub struct Made {
    /// Its id.
    pub id: InstanceId,
    /// Whose.
    pub owner: Account,
    /// As stored.
    pub stored: Stored,
}

impl Made {
    /// Changes the instance's configuration.
    pub async fn change(
        &mut self,
        platform: &Faulty,
        change: impl FnOnce(&mut BTreeMap<String, String>, &mut Secrets),
    ) {
        let connector = catalogue().get(&self.stored.instance.connector).unwrap();
        let mut instance = self.stored.instance.clone();
        let mut secrets: Secrets = self.stored.secrets.clone();
        change(&mut instance.configuration, &mut secrets);
        let account = instance.configuration.get(configuration::VENDOR_ACCOUNT).cloned();
        let derived = derived(connector, account.as_deref());
        self.stored = instances::update(platform, &self.stored, instance, secrets, &derived).await.unwrap();
    }
}

/// A batch of changes of `objects`, as the receiver makes one of a webhook with the body `raw`.
#[must_use]
pub fn batch(instance: InstanceId, objects: Range<u64>, raw: impl Into<Bytes>) -> Batch {
    let event = |object: u64| Event {
        id: EventId::of(instance, "contacts", &object.to_string(), &["a test"]),
        object_type: "contacts".into(),
        object_id: object.to_string(),
        event_type: EventType::Updated,
        date: Some(START),
    };
    Batch {
        instance,
        connector: "hubspot".into(),
        hub: "crm".into(),
        source: Source::Webhook,
        accepted_at: START,
        hops: 0,
        events: objects.map(event).collect(),
        raw: raw.into(),
    }
}
