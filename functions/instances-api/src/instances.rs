//! Provisioning, reading, changing and deleting an instance.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, State};
use bytes::Bytes;
use connectors::{Catalogue, Connector, catalogue};
use events::{InstanceId, configuration};
use platform::{Platform, TableError};
use records::RecordError;
use records::accounts::Account;
use records::instances::{self, Instance, Provision, Secrets, Stored};
use secrecy::ExposeSecret as _;
use serde::Serialize;

use crate::answer::{Answer, Problem};
use crate::authorization::Caller;
use crate::invalid::Invalid;
use crate::settings::{self, Rules, Settings};
use crate::wire::Given;
use crate::{Api, BASE, release, text};

/// How often a change is tried when others change the same instance at the same time: somebody wins each time, so more
/// than a few losses in a row is a loop in somebody's program, which should hear of it.
const TRIES: usize = 5;

/// `POST /instances`.
pub(crate) async fn provision<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    Caller(account): Caller,
    body: Bytes,
) -> Result<Answer<Resource>, Problem> {
    let given = Given::read(&body)?;
    let (name, connector) = required(&given, catalogue())?;
    let rules = Rules { policy: &api.policy, catalogue: catalogue(), secret_keys: connector.secret_keys() };
    let Settings { plain, secrets } = rules.apply(Settings::default(), &given.configuration)?;
    let provision = Provision {
        name,
        connector: connector.key().to_owned(),
        hub: connector.hub().to_owned(),
        tags: given.tags.unwrap_or_default(),
        configuration: plain,
        secrets,
    };
    let stored = instances::create(&*api.platform, &account, provision, connector.secret_keys()).await?;
    Ok(Answer(api.resource(&stored)))
}

/// `GET /instances/{id}`.
pub(crate) async fn read<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    Caller(account): Caller,
    Path(id): Path<String>,
) -> Result<Answer<Resource>, Problem> {
    let stored = load(&api, &account, &id).await?;
    Ok(Answer(api.resource(&stored)))
}

/// `PATCH /instances/{id}`: what the body does not name stays.
pub(crate) async fn change<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    Caller(account): Caller,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Answer<Resource>, Problem> {
    let given = Given::read(&body)?;
    edit(&api, &account, &id, |before| {
        same_connector(&given, &before.instance)?;
        let secret_keys = secret_keys(&before.instance);
        let rules = Rules { policy: &api.policy, catalogue: catalogue(), secret_keys };
        let settings = Settings { plain: before.instance.configuration.clone(), secrets: before.secrets.clone() };
        let Settings { plain, secrets } = rules.apply(settings, &given.configuration)?;
        let instance = Instance {
            name: given.name.clone().unwrap_or_else(|| before.instance.name.clone()),
            tags: given.tags.clone().unwrap_or_else(|| before.instance.tags.clone()),
            disabled: given.disabled.unwrap_or(before.instance.disabled),
            configuration: plain,
            ..before.instance.clone()
        };
        Ok((instance, secrets))
    })
    .await
}

/// `PUT /instances/{id}/enabled`: takes webhooks again.
pub(crate) async fn enable<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    Caller(account): Caller,
    Path(id): Path<String>,
) -> Result<Answer<Resource>, Problem> {
    set_disabled(&api, &account, &id, false).await
}

/// `DELETE /instances/{id}/enabled`: takes no webhooks until it is enabled again. What was taken before is still told.
pub(crate) async fn disable<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    Caller(account): Caller,
    Path(id): Path<String>,
) -> Result<Answer<Resource>, Problem> {
    set_disabled(&api, &account, &id, true).await
}

async fn set_disabled<P: Platform>(
    api: &Api<P>,
    account: &Account,
    id: &str,
    disabled: bool,
) -> Result<Answer<Resource>, Problem> {
    let change = |before: &Stored| Ok((Instance { disabled, ..before.instance.clone() }, before.secrets.clone()));
    edit(api, account, id, change).await
}

/// Reads an instance, changes it, and writes it, anew if somebody else changed it in between.
async fn edit<P: Platform>(
    api: &Api<P>,
    account: &Account,
    id: &str,
    change: impl Fn(&Stored) -> Result<(Instance, Secrets), Problem> + Send,
) -> Result<Answer<Resource>, Problem> {
    for _ in 0..TRIES {
        let before = load(api, account, id).await?;
        let (instance, secrets) = change(&before)?;
        let secret_keys = secret_keys(&before.instance);
        match instances::update(&*api.platform, &before, instance, secrets, secret_keys).await {
            Ok(stored) => return Ok(Answer(api.resource(&stored))),
            Err(error) if in_between(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem::Changed)
}

/// `DELETE /instances/{id}`.
pub(crate) async fn delete<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    Caller(account): Caller,
    Path(id): Path<String>,
) -> Result<Answer<BTreeMap<(), ()>>, Problem> {
    for _ in 0..TRIES {
        let before = load(&api, &account, &id).await?;
        let view = instances::callback_view(&*api.platform, before.instance.id).await?;
        match instances::delete(&*api.platform, &before).await {
            Ok(()) => {
                // The instance is gone whatever becomes of this: to answer that it failed would be wrong.
                if let Some(view) = view
                    && let Err(problem) = release::let_go(&*api.platform, view).await
                {
                    tracing::error!(%id, ?problem, "what was parked for a deleted instance could not be let go");
                }
                return Ok(Answer(BTreeMap::new()));
            }
            Err(error) if in_between(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem::Changed)
}

/// The instance's number as a path has it. What is not a number is no instance's.
pub(crate) fn id(text: &str) -> Result<InstanceId, Problem> {
    text.parse().map_err(|_| Problem::NoSuch("instance"))
}

async fn load<P: Platform>(api: &Api<P>, account: &Account, text: &str) -> Result<Stored, Problem> {
    instances::load(&*api.platform, account.id, id(text)?).await?.ok_or(Problem::NoSuch("instance"))
}

/// Whether another change to the same instance made this one fail.
fn in_between(error: &RecordError) -> bool {
    matches!(error, RecordError::Table(TableError::ConditionFailed(_) | TableError::Conflict))
}

fn secret_keys(instance: &Instance) -> &'static [String] {
    catalogue().get(&instance.connector).map(Connector::secret_keys).unwrap_or_default()
}

/// What a new instance cannot do without.
fn required<'c>(given: &Given, catalogue: &'c Catalogue) -> Result<(String, &'c Connector), Invalid> {
    let accepted = || format!("a name, and one of the connectors {}", settings::known(catalogue));
    let (name, key) = match (&given.name, &given.connector) {
        (Some(name), Some(key)) => (name, key),
        (None, Some(_)) => return Err(Invalid::new("name", "nothing", accepted())),
        (Some(_), None) => return Err(Invalid::new("element.key", "nothing", accepted())),
        (None, None) => return Err(Invalid::new("name and element.key", "nothing", accepted())),
    };
    match catalogue.get(key) {
        Some(connector) => Ok((name.clone(), connector)),
        None => Err(Invalid::new("element.key", text::quoted(key), settings::known(catalogue))),
    }
}

/// An instance stays with its connector: its history, routes and webhook URL are that one's.
fn same_connector(given: &Given, instance: &Instance) -> Result<(), Invalid> {
    match &given.connector {
        Some(key) if *key != instance.connector => {
            let accepted = format!("\"{}\", which an instance keeps", instance.connector);
            Err(Invalid::new("element.key", text::quoted(key), accepted))
        }
        _ => Ok(()),
    }
}

/// An instance in the contract's words; `webhookUrl`, `encodedid` and `updatedDate` are additions.
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
    configuration: BTreeMap<String, String>,
    events_enabled: bool,
    trace_logging_enabled: bool,
    caching_enabled: bool,
    external_authentication: &'static str,
    user: User,
    encodedid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook_url: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Element {
    id: u32,
    name: String,
    key: String,
    hub: String,
    active: bool,
    deleted: bool,
}

#[derive(Debug, Serialize)]
struct User {
    id: u32,
}

impl<P: Platform> Api<P> {
    fn resource(&self, stored: &Stored) -> Resource {
        let instance = &stored.instance;
        let connector = catalogue().get(&instance.connector);
        let element_id = element_id(&instance.connector);
        let shown = settings::shown(instance, &stored.secrets);
        Resource {
            id: instance.id,
            name: instance.name.clone(),
            created_date: instance.created_at.iso_seconds(),
            updated_date: instance.updated_at.iso_millis(),
            token: stored.token.expose_secret().to_owned(),
            element: Element {
                id: element_id,
                name: connector.map_or(instance.connector.as_str(), Connector::name).to_owned(),
                key: instance.connector.clone(),
                hub: instance.hub.clone(),
                active: connector.is_some(),
                deleted: connector.is_none(),
            },
            element_id,
            tags: instance.tags.clone(),
            provision_interactions: [],
            valid: true,
            disabled: instance.disabled,
            max_cache_size: 0,
            cache_time_to_live: 0,
            configuration: shown.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            events_enabled: instance.events_on(),
            trace_logging_enabled: false,
            caching_enabled: false,
            external_authentication: "none",
            user: User { id: instance.user },
            encodedid: instance.id.to_path(),
            webhook_url: self.webhook_url(instance),
        }
    }

    /// Where the provider is to send this instance's webhooks.
    fn webhook_url(&self, instance: &Instance) -> Option<String> {
        let base = self.public_url.as_ref()?.as_str().trim_end_matches('/');
        Some(format!("{base}{BASE}/events/{}/{}", instance.connector, instance.id.to_path()))
    }
}

/// A number for a connector, which the contract wants: always the same one, from its key (FNV-1a,
/// <http://www.isthe.com/chongo/tech/comp/fnv/>), within what old clients read as an integer.
fn element_id(key: &str) -> u32 {
    let hash = key.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash & 0x7fff_ffff
}

/// The configuration key that makes notifications `strict`, as the dispatcher reads it.
pub(crate) fn strict(instance: &Instance) -> bool {
    instance.configuration.get(configuration::CONTRACT).is_some_and(|word| word.trim() == "strict")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_new_instance_lacks_is_named() {
        let error = |body: &str| {
            let given = Given::read(body.as_bytes()).ok().unwrap();
            required(&given, catalogue()).err().unwrap().to_string()
        };
        assert!(error("{}").starts_with("name and element.key: given nothing"));
        assert!(error(r#"{"name":"x"}"#).starts_with("element.key: given nothing"));
        assert!(error(r#"{"element":{"key":"hubspot"}}"#).starts_with("name: given nothing"));
        let unknown = error(r#"{"name":"x","element":{"key":"hubspott"}}"#);
        assert!(unknown.starts_with("element.key: given \"hubspott\"; accepted: ") && unknown.contains("hubspot,"));
    }

    #[test]
    fn a_connectors_number_never_changes() {
        assert_eq!(element_id("hubspot"), 16_784_420);
        assert_ne!(element_id("hubspot"), element_id("standard"));
    }
}
