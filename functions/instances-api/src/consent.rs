//! A customer's consent by OAuth 2: where it is given, and what its code is exchanged for.
//!
//! *Promise:* a code is shown to the provider once, after everything else of the request was accepted, and nothing is stored
//! unless tokens came of it. The app's secret is in no URL; no message holds a code, a token or anything of the provider's
//! answer. What a consent brought stays with the instance when its configuration is replaced, until there is another, or
//! somebody unsets it.
//!
//! *Bounded:* an account shows a provider few codes at the same time, as the module `turns` says; a further one is 429, and is
//! not spent.
//!
//! *Failure:* what the provider refuses is 400 and says which part of the request it may be; a provider that does not answer,
//! or not as it should, is 502, and whether the code is spent is then unknown: the customer consents again.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use connectors::Connector;
use egress::exchange::{ExchangeRequest, NoAnswer};
use events::{AccountId, configuration};
use platform::Platform;
use polling::definition::{Authentication, Oauth2, Polling};
use polling::oauth::{
    CALLBACK_URL, CLIENT_ID, CLIENT_SECRET, CONSENT, Client, Consent, REFRESH_TOKEN, Reply, Shown, TokenRequest,
};
use polling::request::ACCESS_TOKEN;
use polling::verdict;
use records::instances::Secrets;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use url::Url;

use crate::answer::{Answer, Problem};
use crate::authorization::Identity;
use crate::invalid::Invalid;
use crate::query::Parameters;
use crate::settings::Settings;
use crate::turns::Turns;
use crate::wire::{Changes, Given, ProviderData};
use crate::{Api, elements, text};

/// The parameters of a consent's URL that stand in a provider's address: settings of the same name.
const PLACES: [&str; 2] = ["siteAddress", "subdomain"];

/// The codes that are being exchanged.
static EXCHANGES: Turns = Turns::of("codes of this account are exchanged");

/// Where a customer consents.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ConsentUrl {
    oauth_url: String,
    element: String,
}

/// How the instances of a connector consent, where it is by OAuth 2.
pub(crate) fn oauth(connector: &Connector) -> Option<(&Polling, &Oauth2)> {
    let polling = connector.polling()?;
    match &polling.authentication.value {
        Authentication::Oauth2(oauth) => Some((polling, oauth)),
        _ => None,
    }
}

/// `GET /elements/{keyOrId}/oauth/url`: where to send a customer. `apiSecret`, which the contract has, is not looked at.
pub(crate) async fn url<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    _: Identity,
    Path(named): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Answer<ConsentUrl>, Problem> {
    let connector = elements::find(&api.catalogue, &named)?;
    let (polling, oauth) = oauth(connector).ok_or_else(|| no_oauth("element", connector))?;
    let query = Parameters::read(query.as_deref());
    let given = |name: &str| Ok::<_, Invalid>(query.get(name)?.map(str::trim).filter(|value| !value.is_empty()));
    let needed = |name: &str, what: &str| given(name)?.ok_or_else(|| Invalid::new(name, "nothing", what));
    let consent = Consent {
        client_id: needed("apiKey", "the app's id at the provider")?,
        callback: needed("callbackUrl", "where the provider sends the customer back to")?,
        scope: given("scope")?,
        state: given("state")?,
    };
    let mut places = BTreeMap::new();
    for place in PLACES {
        places.extend(given(place)?.map(|value| (place.to_owned(), value.to_owned())));
    }
    let url = oauth.consent_url(polling, &places, &consent);
    let oauth_url = url.map_err(|error| Invalid::new(PLACES.join(" or "), "another", error.to_string()))?;
    Ok(Answer(ConsentUrl { oauth_url, element: connector.key().to_owned() }))
}

/// What a code was exchanged for: what becomes of the configuration.
pub(crate) struct Consented(Changes);

impl Consented {
    /// What is to become of the configuration.
    pub(crate) fn changes(&self) -> &Changes {
        &self.0
    }
}

/// Exchanges the code that a request of `account` brings, if it does; `settings` are those that the instance is to have.
pub(crate) async fn exchange<P: Platform>(
    api: &Api<P>,
    account: AccountId,
    connector: &Connector,
    given: &Given,
    settings: &Settings,
) -> Result<Option<Consented>, Problem> {
    if given.brings_tokens {
        brought(connector, settings)?;
    }
    let Some(ProviderData { code, fields }) = &given.provider else { return Ok(None) };
    let (polling, oauth) = oauth(connector).ok_or_else(|| no_oauth("providerData.code", connector))?;
    let value = |key: &str| {
        let secret = settings.secrets.get(key).map(|secret| secret.expose_secret());
        secret.or_else(|| settings.plain.get(key).map(String::as_str)).map(str::trim).filter(|text| !text.is_empty())
    };
    let (Some(client), Some(callback)) = (Client::of(value), value(CALLBACK_URL)) else {
        return Err(lacking(value).into());
    };
    let mut changes: Changes = CONSENT.map(|key| (key.to_owned(), None)).into();
    for (setting, parameter) in &oauth.redirect {
        match fields.get(parameter).map(|value| value.trim()).filter(|value| !value.is_empty()) {
            Some(value) => changes.insert(setting.clone(), Some(value.into())),
            None if value(setting).is_some() => None,
            None => {
                let field = format!("providerData.{parameter}");
                let accepted =
                    format!("the parameter {parameter} of the redirect, or \"{setting}\" in the configuration");
                return Err(Invalid::new(field, "nothing", accepted).into());
            }
        };
    }
    let request = oauth.token_request(polling, &settings.plain, &client, Shown::Code(code, callback));
    let request = request.map_err(|error| Invalid::new("configuration", "another", error.to_string()))?;
    let url = Url::parse(&request.url).map_err(|error| Problem::Broken(error.to_string()))?;
    let TokenRequest { form, basic, chosen, .. } = request;
    let _turn = EXCHANGES.take(account)?;
    let asked = api.tokens.ask(ExchangeRequest { url, form, basic, chosen }).await;
    let answer = asked.map_err(|failure| match failure {
        NoAnswer::Ours(cause) => Problem::Broken(cause),
        NoAnswer::Unsent(reason) | NoAnswer::Unclear(reason) => Problem::Provider(reason),
    })?;
    let body = serde_json::from_slice(&answer.body).ok();
    let judged = verdict::Answer { status: answer.status, headers: &answer.headers, body: body.as_ref() };
    let now = api.platform.now();
    let tokens = match oauth.judge(&judged, now) {
        Reply::Tokens(tokens) => tokens,
        Reply::Refused => {
            let given = "a code that the provider does not take";
            let accepted = format!(
                "a code that it sent the customer back with just now, to exactly the \"{CALLBACK_URL}\" of the \
                 configuration; it is good once"
            );
            return Err(Invalid::new("providerData.code", given, accepted).into());
        }
        Reply::UnknownClient => {
            let given = "values by which the provider does not know the app";
            let field = format!("configuration \"{CLIENT_ID}\" and \"{CLIENT_SECRET}\"");
            return Err(Invalid::new(field, given, "the app's id and secret, as the provider shows them").into());
        }
        Reply::Limited { .. } => return Err(Problem::Provider("it is asked for too much at the moment".into())),
        Reply::Failed { reason } | Reply::Unclear { reason } => return Err(Problem::Provider(reason)),
    };
    let life = tokens.life(now).into_iter().map(|(key, value)| (key.to_owned(), Some(value.into())));
    changes.extend(life);
    changes.extend(tokens.settings.into_iter().map(|(key, value)| (key, Some(value.into()))));
    changes.insert(ACCESS_TOKEN.to_owned(), Some(tokens.access));
    changes.insert(REFRESH_TOKEN.to_owned(), tokens.refresh);
    Ok(Some(Consented(changes)))
}

/// Whether the tokens of an instance are others than they were.
pub(crate) fn is_another(before: &Secrets, after: &Secrets) -> bool {
    let token = |secrets: &Secrets, key: &str| secrets.get(key).map(|token| token.expose_secret().to_owned());
    [ACCESS_TOKEN, REFRESH_TOKEN].iter().any(|key| token(before, key) != token(after, key))
}

/// Whether there are tokens of a consent.
pub(crate) fn has_tokens(secrets: &Secrets) -> bool {
    [ACCESS_TOKEN, REFRESH_TOKEN].iter().any(|key| secrets.contains_key(*key))
}

/// Whether `changes` bring another token than there was: then nothing of the consent before it goes on beside it.
pub(crate) fn is_renewed(before: &Secrets, changes: &Changes) -> bool {
    let token = |key: &str| before.get(key).map(|token| token.expose_secret());
    [ACCESS_TOKEN, REFRESH_TOKEN].iter().any(|key| {
        let given = changes.get(*key).and_then(|given| given.as_ref()).map(|given| given.expose_secret());
        given.is_some_and(|given| given != configuration::MASK && token(key) != Some(given))
    })
}

/// Whether `key` is of what a consent brought to the instances of a connector: it stays unless it is named.
pub(crate) fn brings(connector: &Connector, key: &str) -> bool {
    CONSENT.contains(&key)
        || oauth(connector).is_some_and(|(_, oauth)| oauth.keeps.contains_key(key) || oauth.redirect.contains_key(key))
}

/// Who says that tokens are brought along has to bring one.
fn brought(connector: &Connector, settings: &Settings) -> Result<(), Invalid> {
    if oauth(connector).is_none() || has_tokens(&settings.secrets) {
        return Ok(());
    }
    let given = format!("\"initial\", without \"{REFRESH_TOKEN}\" in the configuration");
    Err(Invalid::new("externalAuthentication", given, "both, or neither"))
}

fn lacking<'v>(value: impl Fn(&str) -> Option<&'v str>) -> Invalid {
    let missing = [CLIENT_ID, CLIENT_SECRET, CALLBACK_URL].into_iter().filter(|key| value(key).is_none());
    let missing: Vec<String> = missing.map(|key| format!("\"{key}\"")).collect();
    let accepted = format!("a code together with {} in the configuration", missing.join(", "));
    Invalid::new("providerData.code", "a code alone", accepted)
}

fn no_oauth(field: &str, connector: &Connector) -> Invalid {
    let given = format!("{}, whose customers do not consent by OAuth 2 here", text::quoted(connector.key()));
    Invalid::new(field, given, "a connector whose authentication type is oauth2")
}
