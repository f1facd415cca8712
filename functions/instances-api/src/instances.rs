//! Provisioning, reading, changing, replacing and deleting an instance.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use bytes::Bytes;
use connectors::{Catalogue, Connector};
use events::configuration;
use platform::{Platform, TableError};
use records::RecordError;
use records::accounts::Account;
use records::instances::{self, Derived, Instance, Provision, Stored};

use crate::answer::{Answer, Problem};
use crate::authorization::{Caller, Target};
use crate::consent::{self, Consented};
use crate::invalid::Invalid;
use crate::query::Parameters;
use crate::resource::{Resource, element_id};
use crate::settings::{self, Rules, Settings};
use crate::wire::{ElementGiven, Given};
use crate::{Api, elements, polled, release, text};

/// How often a change is tried when others change the same instance at the same time: somebody wins each time, so more
/// than a few losses in a row is a loop in somebody's program, which should hear of it.
const TRIES: usize = 5;

/// `POST /instances`.
pub(crate) async fn provision<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    Caller(account): Caller,
    body: Bytes,
) -> Result<Answer<Resource>, Problem> {
    make(&api, &account, Given::read(&body)?).await
}

/// `POST /elements/{keyOrId}/instances`: the path names the connector, the body need not.
pub(crate) async fn provision_of_element<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    Caller(account): Caller,
    Path(named): Path<String>,
    body: Bytes,
) -> Result<Answer<Resource>, Problem> {
    let connector = elements::find(&api.catalogue, &named)?;
    let given = Given::read(&body)?;
    same_connector(&given.element, connector.key(), "as in the path, or none")?;
    make(&api, &account, Given { element: ElementGiven { key: Some(connector.key().to_owned()), id: None }, ..given })
        .await
}

async fn make<P: Platform>(api: &Api<P>, account: &Account, given: Given) -> Result<Answer<Resource>, Problem> {
    let (name, connector) = required(&given, &api.catalogue)?;
    let rules = api.rules(connector);
    let none = BTreeMap::new();
    let mut settings = rules.provision(given.configuration.as_ref().unwrap_or(&none))?;
    if let Some(consented) = consent::exchange(api, account.id, connector, &given, &settings).await? {
        settings = rules.change(settings, consented.changes())?;
    }
    let account_key = account_key(connector, &settings.plain);
    let derived = derived(connector, &settings.plain, account_key.as_deref(), false);
    let provision = Provision {
        name,
        connector: connector.key().to_owned(),
        hub: connector.hub().to_owned(),
        tags: given.tags.unwrap_or_default(),
        configuration: settings.plain,
        secrets: settings.secrets,
    };
    let stored = instances::create(&*api.platform, account, provision, &derived).await?;
    polled::begin(&*api.platform, None, &stored.instance, derived.polling.is_some() && connector.signals()).await;
    Ok(Answer(api.shown(&stored).await))
}

/// `GET /instances/{id}`.
pub(crate) async fn read<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    target: Target,
) -> Result<Answer<Resource>, Problem> {
    let stored = load(&api, &target).await?;
    Ok(Answer(api.shown(&stored).await))
}

/// `PATCH /instances/{id}`: what the body does not name stays.
pub(crate) async fn change<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    target: Target,
    body: Bytes,
) -> Result<Answer<Resource>, Problem> {
    let given = Given::read(&body)?;
    let none = BTreeMap::new();
    let changes = given.configuration.as_ref().unwrap_or(&none);
    let wanted = |before: &Stored, rules: &Rules<'_>| {
        same_instance(&given, &before.instance)?;
        rules.change(settings(before), changes)
    };
    let consented = consented(&api, &target, &given, wanted).await?;
    let (stored, ()) = edit(&api, &target, |before, rules| {
        let settings = with_consent(rules, wanted(before, rules)?, consented.as_ref())?;
        let instance = Instance {
            name: given.name.clone().unwrap_or_else(|| before.instance.name.clone()),
            tags: given.tags.clone().unwrap_or_else(|| before.instance.tags.clone()),
            disabled: given.disabled.unwrap_or(before.instance.disabled),
            ..before.instance.clone()
        };
        Ok((Edit { instance, settings, forget_handshake: rules.renews_secret(changes) }, ()))
    })
    .await?;
    Ok(Answer(api.shown(&stored).await))
}

/// `PUT /instances/{id}`: name, tags and configuration become what the body says, and a code that it brings is a new consent.
/// Whether the instance is disabled stays, unless the body says it. With `reAuthenticate=false` a code is left alone.
pub(crate) async fn replace<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    target: Target,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Result<Answer<Resource>, Problem> {
    let mut given = Given::read(&body)?;
    if !Parameters::read(query.as_deref()).flag("reAuthenticate", true)? {
        given.provider = None;
    }
    let (name, changes) = whole(&given)?;
    let wanted = |before: &Stored, rules: &Rules<'_>| {
        same_instance(&given, &before.instance)?;
        rules.replace(settings(before), changes)
    };
    let consented = consented(&api, &target, &given, wanted).await?;
    let (stored, ()) = edit(&api, &target, |before, rules| {
        let settings = with_consent(rules, wanted(before, rules)?, consented.as_ref())?;
        let instance = Instance {
            name: name.to_owned(),
            tags: given.tags.clone().unwrap_or_default(),
            disabled: given.disabled.unwrap_or(before.instance.disabled),
            ..before.instance.clone()
        };
        Ok((Edit { instance, settings, forget_handshake: rules.renews_secret(changes) }, ()))
    })
    .await?;
    Ok(Answer(api.shown(&stored).await))
}

/// Exchanges the code that a change of an instance brings, if it does. Once, however often the change is tried.
async fn consented<P: Platform>(
    api: &Api<P>,
    target: &Target,
    given: &Given,
    wanted: impl Fn(&Stored, &Rules<'_>) -> Result<Settings, Invalid> + Send,
) -> Result<Option<Consented>, Problem> {
    if given.provider.is_none() && !given.brings_tokens {
        return Ok(None);
    }
    let before = load(api, target).await?;
    let connector = connector(api, &before.instance)?;
    let settings = wanted(&before, &api.rules(connector))?;
    consent::exchange(api, target.account.id, connector, given, &settings).await
}

fn with_consent(rules: &Rules<'_>, settings: Settings, consented: Option<&Consented>) -> Result<Settings, Invalid> {
    match consented {
        Some(consented) => rules.change(settings, consented.changes()),
        None => Ok(settings),
    }
}

/// `PUT /instances/{id}/enabled`: takes webhooks again.
pub(crate) async fn enable<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    target: Target,
) -> Result<Answer<Resource>, Problem> {
    set_disabled(&api, &target, false).await
}

/// `DELETE /instances/{id}/enabled`: takes no webhooks until it is enabled again. What was taken before is still told.
pub(crate) async fn disable<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    target: Target,
) -> Result<Answer<Resource>, Problem> {
    set_disabled(&api, &target, true).await
}

async fn set_disabled<P: Platform>(api: &Api<P>, target: &Target, disabled: bool) -> Result<Answer<Resource>, Problem> {
    let (stored, ()) = edit(api, target, |before, _| {
        let instance = Instance { disabled, ..before.instance.clone() };
        Ok((Edit { instance, settings: settings(before), forget_handshake: false }, ()))
    })
    .await?;
    Ok(Answer(api.shown(&stored).await))
}

/// What an instance is to become.
pub(crate) struct Edit {
    /// All but its configuration.
    pub(crate) instance: Instance,
    /// Its configuration.
    pub(crate) settings: Settings,
    /// Whether the secret of an earlier handshake is to be forgotten.
    pub(crate) forget_handshake: bool,
}

/// Reads an instance, changes it, and writes it, anew if somebody else changed it in between.
pub(crate) async fn edit<P: Platform, T: Send>(
    api: &Api<P>,
    target: &Target,
    change: impl Fn(&Stored, &Rules<'_>) -> Result<(Edit, T), Problem> + Send,
) -> Result<(Stored, T), Problem> {
    for _ in 0..TRIES {
        let before = load(api, target).await?;
        let connector = connector(api, &before.instance)?;
        let (Edit { instance, settings, forget_handshake }, told) = change(&before, &api.rules(connector))?;
        let account_key = account_key(connector, &settings.plain);
        let derived = derived(connector, &settings.plain, account_key.as_deref(), forget_handshake);
        let instance = Instance { configuration: settings.plain, ..instance };
        match instances::update(&*api.platform, &before, instance, settings.secrets, &derived).await {
            Ok(stored) => {
                let renewed = consent::is_another(&before.secrets, &stored.secrets);
                let signalled = derived.polling.is_some() && (connector.signals() || renewed);
                polled::begin(&*api.platform, before.instance.place, &stored.instance, signalled).await;
                return Ok((stored, told));
            }
            Err(error) if in_between(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem::Changed)
}

/// `DELETE /instances/{id}`.
pub(crate) async fn delete<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    target: Target,
) -> Result<Answer<BTreeMap<(), ()>>, Problem> {
    for _ in 0..TRIES {
        let before = load(&api, &target).await?;
        let view = instances::callback_view(&*api.platform, before.instance.id).await?;
        match instances::delete(&*api.platform, &before).await {
            Ok(()) => {
                polled::forget(&*api.platform, api.catalogue.get(&before.instance.connector), before.instance.id).await;
                // The instance is gone whatever becomes of this: to answer that it failed would be wrong.
                if let Some(view) = view
                    && let Err(problem) = release::let_go(&*api.platform, view).await
                {
                    let id = target.id;
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

pub(crate) async fn load<P: Platform>(api: &Api<P>, target: &Target) -> Result<Stored, Problem> {
    let stored = instances::load(&*api.platform, target.account.id, target.id).await?;
    stored.filter(|stored| target.is_of(&stored.instance.connector)).ok_or_else(|| target.absent())
}

/// The configuration of an instance as it was read.
pub(crate) fn settings(stored: &Stored) -> Settings {
    Settings { plain: stored.instance.configuration.clone(), secrets: stored.secrets.clone() }
}

impl<P: Platform> Api<P> {
    fn rules<'a>(&'a self, connector: &'a Connector) -> Rules<'a> {
        Rules { policy: &self.policy, catalogue: &self.catalogue, connector }
    }
}

/// Another change to the same instance made this one fail.
fn in_between(error: &RecordError) -> bool {
    matches!(error, RecordError::Table(TableError::ConditionFailed(_) | TableError::Conflict))
}

/// What an instance's webhooks are verified and found by is the connector's to say: written without it, the instance would
/// no longer be told of anything once the connector is back.
fn connector<'a, P: Platform>(api: &'a Api<P>, instance: &Instance) -> Result<&'a Connector, Invalid> {
    api.catalogue.get(&instance.connector).ok_or_else(|| {
        let given =
            format!("the instance's connector {}, which this server does not have", text::quoted(&instance.connector));
        let accepted = format!("changes to instances of {}", settings::known(&api.catalogue));
        Invalid::new("element.key", given, accepted)
    })
}

/// The provider's account as it counts for routes.
fn account_key(connector: &Connector, plain: &BTreeMap<String, String>) -> Option<String> {
    let account = plain.get(configuration::VENDOR_ACCOUNT)?.trim();
    (!account.is_empty()).then(|| connector.account_key(account).to_owned())
}

fn derived<'a>(
    connector: &'a Connector,
    plain: &BTreeMap<String, String>,
    account: Option<&'a str>,
    forget_handshake: bool,
) -> Derived<'a> {
    Derived {
        secret_keys: connector.secret_keys(),
        account,
        accountless: connector.verifies_without_account(),
        forget_handshake,
        polled: polled::turn(connector, plain),
        reconciles: polled::reconciles(connector, plain),
        polling: polled::polling(connector, plain),
    }
}

/// What a new instance cannot do without.
fn required<'c>(given: &Given, catalogue: &'c Catalogue) -> Result<(String, &'c Connector), Invalid> {
    let connectors = || format!("one of the connectors {}", settings::known(catalogue));
    let element = named(&given.element, catalogue)?;
    match (&given.name, element) {
        (Some(name), Some(connector)) => Ok((name.clone(), connector)),
        (None, Some(_)) => Err(Invalid::new("name", "nothing", "a text")),
        (Some(_), None) => Err(Invalid::new("element.key", "nothing", connectors())),
        (None, None) => Err(Invalid::new("name and element.key", "nothing", format!("a text, and {}", connectors()))),
    }
}

/// The connector that a request names by key, by number or by both.
fn named<'c>(given: &ElementGiven, catalogue: &'c Catalogue) -> Result<Option<&'c Connector>, Invalid> {
    let by_key = match &given.key {
        Some(key) => Some(
            catalogue
                .get(key)
                .ok_or_else(|| Invalid::new("element.key", text::quoted(key), settings::known(catalogue)))?,
        ),
        None => None,
    };
    let by_number = match given.id {
        Some(id) => Some(
            elements::by_number(catalogue, id)
                .ok_or_else(|| Invalid::new("element.id", id.to_string(), "the id of one that GET /elements lists"))?,
        ),
        None => None,
    };
    match (by_key, by_number) {
        (Some(key), Some(number)) if key.key() != number.key() => {
            let given = format!("the number of {}", number.key());
            Err(Invalid::new("element.id", given, format!("{}, the number of {}", element_id(key.key()), key.key())))
        }
        (key, number) => Ok(key.or(number)),
    }
}

/// What replaces an instance must say all that can be replaced: what is missing would be lost.
fn whole(given: &Given) -> Result<(&str, &BTreeMap<String, Option<secrecy::SecretString>>), Invalid> {
    let accepted = "the whole instance: name and configuration at least; PATCH changes it in part";
    let name = given.name.as_deref().ok_or_else(|| Invalid::new("name", "nothing", accepted))?;
    let changes = given.configuration.as_ref().ok_or_else(|| Invalid::new("configuration", "nothing", accepted))?;
    Ok((name, changes))
}

/// A body that names an instance names the one that it is sent to, and an instance stays with its connector: its history,
/// routes and webhook URL are that one's.
fn same_instance(given: &Given, instance: &Instance) -> Result<(), Invalid> {
    if let Some(id) = given.id.filter(|id| *id != instance.id) {
        return Err(Invalid::new(
            "id",
            id.to_string(),
            format!("{}, the instance that is meant, or none", instance.id),
        ));
    }
    same_connector(&given.element, &instance.connector, "which an instance keeps")
}

/// A body that names a connector names `connector`, for the reason that is said in `why`.
fn same_connector(given: &ElementGiven, connector: &str, why: &str) -> Result<(), Invalid> {
    let accepted = || format!("\"{connector}\" ({}), {why}", element_id(connector));
    match given {
        ElementGiven { key: Some(key), .. } if key != connector => {
            Err(Invalid::new("element.key", text::quoted(key), accepted()))
        }
        ElementGiven { id: Some(id), .. } if *id != element_id(connector) => {
            Err(Invalid::new("element.id", id.to_string(), accepted()))
        }
        _ => Ok(()),
    }
}

/// The configuration key that makes notifications `strict`, as the dispatcher reads it.
pub(crate) fn strict(instance: &Instance) -> bool {
    instance.configuration.get(configuration::CONTRACT).is_some_and(|word| word.trim() == "strict")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lacking(body: &str) -> String {
        let given = Given::read(body.as_bytes()).ok().unwrap();
        required(&given, connectors::catalogue()).err().unwrap().to_string()
    }

    #[test]
    fn what_a_new_instance_lacks_is_named() {
        assert!(lacking("{}").starts_with("name and element.key: given nothing"));
        assert!(lacking(r#"{"name":"x"}"#).starts_with("element.key: given nothing"));
        assert!(lacking(r#"{"element":{"key":"hubspot"}}"#).starts_with("name: given nothing"));
        let unknown = lacking(r#"{"name":"x","element":{"key":"hubspott"}}"#);
        assert!(unknown.starts_with("element.key: given \"hubspott\"; accepted: ") && unknown.contains("hubspot,"));
    }

    #[test]
    fn a_connector_is_named_by_key_or_number_and_both_must_agree() {
        let (hubspot, standard) = (element_id("hubspot"), element_id("standard"));
        let found = |element: ElementGiven| {
            let connector = named(&element, connectors::catalogue()).map_err(|invalid| invalid.to_string())?;
            Ok::<_, String>(connector.map(|connector| connector.key().to_owned()))
        };
        let both = |key: &str, id| ElementGiven { key: Some(key.into()), id: Some(id) };
        assert_eq!(found(ElementGiven { key: None, id: Some(hubspot) }), Ok(Some("hubspot".into())));
        assert_eq!(found(both("hubspot", hubspot)), Ok(Some("hubspot".into())));
        assert_eq!(found(ElementGiven::default()), Ok(None));
        assert!(found(ElementGiven { key: None, id: Some(7) }).unwrap_err().starts_with("element.id: given 7"));
        let error = found(both("hubspot", standard)).unwrap_err();
        assert!(error.contains("standard") && error.contains(&hubspot.to_string()), "{error}");
    }

    proptest! {
        #[test]
        fn a_connector_is_taken_exactly_where_all_that_names_it_names_it(
            key in proptest::option::of(prop_oneof![
                proptest::sample::select(vec!["hubspot", "sfdc", "github"]).prop_map(str::to_owned), "[a-z]{0,8}",
            ]),
            id in proptest::option::of(prop_oneof![
                proptest::sample::select(vec!["hubspot", "sfdc", "github"]).prop_map(element_id), any::<u32>(),
            ]),
        ) {
            let catalogue = connectors::catalogue();
            let given = ElementGiven { key: key.clone(), id };
            let fits = |connector: &str| {
                key.as_ref().is_none_or(|key| key == connector) && id.is_none_or(|id| id == element_id(connector))
            };
            let expected = catalogue.keys().find(|connector| fits(connector));
            let found = named(&given, catalogue).ok().map(|connector| connector.map(Connector::key));
            if key.is_none() && id.is_none() {
                prop_assert_eq!(found, Some(None));
            } else {
                prop_assert_eq!(found.flatten(), expected);
            }
            for connector in catalogue.keys() {
                prop_assert_eq!(same_connector(&given, connector, "").is_ok(), fits(connector));
            }
        }
    }
}
