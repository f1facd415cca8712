//! How an instance's polls fare, for who asks why nothing comes.
//!
//! *Promise:* what is shown is what the poller goes by: where each object stands, what fails since when and why, when it is
//! tried again, and what stopped the polls, and when a consent ends that is about to. Nothing of the provider's tokens is read here, and no secret is in a reason.
//!
//! *Records* are one for each object that an instance is configured to poll: one that is taken out of the configuration has
//! none from then on, and one that is added has one before its first poll, which says so.
//!
//! *Cost:* one read for each instance that polls; a page looks at [`AT_ONCE`] instances.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use events::{InstanceId, Timestamp};
use futures_util::future::try_join_all;
use http::HeaderValue;
use platform::Platform;
use polling::configuration;
use polling::position::{IDLE, Place};
use records::health::{self, Failing, Health, Look};
use records::instances::{self as repository, Instance, Stored};
use records::wheel::Minutes;
use serde::Serialize;

use crate::answer::{Answer, NEXT_PAGE, Problem, RETURNED_COUNT};
use crate::authorization::{Caller, Identity, Target};
use crate::query::Parameters;
use crate::resource::Resource;
use crate::{Api, instances, polled};

/// Instances that a page looks at: with as many objects each as there may be, their records are within what an answer holds.
const AT_ONCE: usize = 50;
/// A position moves once an hour where nothing changes. One that is as old as this, and [`LATE_TURNS`], is late.
const LATE: Duration = IDLE.saturating_mul(2);
const LATE_TURNS: u32 = 3;
/// Instances read at the same time.
const AT_A_TIME: usize = 10;

/// How an instance, or an object of it, is polled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// As it should be.
    Ok,
    /// Not polled yet.
    Waiting,
    /// It failed, and is tried again.
    Failing,
    /// Nothing is known to fail, but it was not read to its end for long: no poll comes, or none that comes to its end.
    Late,
    /// It is not polled.
    Stopped,
}

/// Why an instance is not polled whose configuration asks for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Reason {
    /// The provider does not know the customer's consent any more.
    ConsentRevoked,
    /// The instance is disabled.
    InstanceDisabled,
    /// Its events are off.
    EventsOff,
    /// Its interval is longer than a day, which means never.
    IntervalOff,
    /// This server does not have its connector, or does not poll it.
    NoConnector,
}

/// How an instance's polls fare, in short.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Polling {
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    /// Since when it stands still or fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// The first reason of those that fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    /// The first next try of those that fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_try: Option<String>,
    /// When the last failure ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    recovered: Option<String>,
    /// Since when polls beside its webhooks find changes while no webhook comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    webhooks_quiet_since: Option<String>,
    /// When the consent ends, where that is near.
    #[serde(skip_serializing_if = "Option::is_none")]
    consent_lapses: Option<String>,
}

/// How an object is polled.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    instance_id: InstanceId,
    element_key: String,
    object_name: String,
    status: Status,
    reason: Option<Reason>,
    /// What changed up to then is told. Where nothing changes it moves once an hour. Null: not polled yet, or the provider
    /// keeps a cursor of its own.
    position: Option<String>,
    failing_since: Option<String>,
    last_failure: Option<String>,
    failures: u32,
    last_error: Option<String>,
    next_try: Option<String>,
    /// When the consent ends, where that is near.
    consent_lapses: Option<String>,
}

/// An instance that is not polled.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Disabled {
    id: InstanceId,
    name: String,
    element_key: String,
    tags: Vec<String>,
    disabled: bool,
    polling: Polling,
}

/// What is known of an instance that polls, or is to.
struct View<'a> {
    instance: &'a Instance,
    look: Look,
    stopped: Option<Reason>,
    /// How often it is polled, if it is in turns.
    turn: Option<Duration>,
    now: Timestamp,
}

impl View<'_> {
    /// What was noted of the present consent: an instance that was changed since may have another.
    fn of_consent(&self, noted: Option<Timestamp>) -> Option<Timestamp> {
        noted.filter(|_| self.look.plan.is_none_or(|plan| self.look.health.is_of(plan)))
    }

    /// Whether a consent was lost that nobody renewed since.
    fn revoked(&self) -> Option<Timestamp> {
        self.of_consent(self.look.health.revoked)
    }

    fn lapses(&self) -> Option<String> {
        self.of_consent(self.look.health.lapses).map(Timestamp::iso_seconds)
    }

    fn reason(&self) -> Option<Reason> {
        self.stopped.or_else(|| self.revoked().map(|_| Reason::ConsentRevoked))
    }

    fn webhooks_quiet(&self) -> Option<Timestamp> {
        Health::quiet_since(self.look.health.webhooks_quiet, self.instance.reconciles)
    }

    /// What fails among all objects, or before any is asked for.
    fn failing(&self, object: &str) -> Option<&Failing> {
        self.look.health.failing.get("").or_else(|| self.look.health.failing.get(object))
    }

    /// Where an object stands by time, and whether that is long ago.
    fn position(&self, object: &str) -> Option<(Timestamp, bool)> {
        let Some(Place::Position(position)) = self.look.places.get(object) else { return None };
        let late =
            |turn: Duration| self.now.since(position.at()) > LATE.saturating_add(turn.saturating_mul(LATE_TURNS));
        Some((position.at(), self.turn.is_some_and(late)))
    }

    fn objects(&self) -> BTreeSet<String> {
        let read = configuration::read(&self.instance.configuration);
        let unusable = read.problems.into_iter().map(|problem| problem.resource).filter(|name| !name.is_empty());
        read.resources.into_iter().map(|resource| resource.name).chain(unusable).collect()
    }

    fn polling(&self) -> Polling {
        let objects = self.objects();
        let failing: Vec<&Failing> =
            objects.iter().map(String::as_str).chain([""]).filter_map(|object| self.failing(object)).collect();
        let reason = self.reason();
        let waiting = !objects.is_empty() && self.look.places.is_empty();
        let late = objects.iter().filter_map(|object| self.position(object)).filter(|(_, late)| *late);
        let late = late.map(|(at, _)| at).min();
        let status = match reason {
            Some(_) => Status::Stopped,
            None if !failing.is_empty() => Status::Failing,
            None if late.is_some() => Status::Late,
            None if waiting => Status::Waiting,
            None => Status::Ok,
        };
        let since = match reason {
            Some(Reason::ConsentRevoked) => self.revoked(),
            Some(_) => None,
            None => failing.iter().map(|failing| failing.since).min().or(late),
        };
        let next = failing.iter().map(|failing| failing.next).min().filter(|_| reason.is_none());
        Polling {
            status,
            reason,
            since: since.map(Timestamp::iso_seconds),
            last_error: failing.first().map(|failing| failing.error.clone()),
            next_try: next.map(Timestamp::iso_seconds),
            recovered: self.look.health.recovered.map(Timestamp::iso_seconds),
            webhooks_quiet_since: self.webhooks_quiet().map(Timestamp::iso_seconds),
            consent_lapses: self.lapses(),
        }
    }

    fn record(&self, object: String) -> Record {
        let (failing, place, reason) = (self.failing(&object), self.look.places.get(&object), self.reason());
        let position = self.position(&object);
        let status = match (reason, failing, place) {
            (Some(_), ..) => Status::Stopped,
            (None, Some(_), _) => Status::Failing,
            (None, None, None) => Status::Waiting,
            (None, None, Some(_)) if position.is_some_and(|(_, late)| late) => Status::Late,
            (None, None, Some(_)) => Status::Ok,
        };
        Record {
            instance_id: self.instance.id,
            element_key: self.instance.connector.clone(),
            status,
            reason,
            position: position.map(|(at, _)| at.iso_seconds()),
            failing_since: failing.map(|failing| failing.since.iso_seconds()),
            last_failure: failing.map(|failing| failing.last.iso_seconds()),
            failures: failing.map_or(0, |failing| failing.failures),
            last_error: failing.map(|failing| failing.error.clone()),
            next_try: failing.filter(|_| reason.is_none()).map(|failing| failing.next.iso_seconds()),
            consent_lapses: self.lapses(),
            object_name: object,
        }
    }

    fn records(&self) -> impl Iterator<Item = Record> {
        self.objects().into_iter().map(|object| self.record(object))
    }
}

impl<P: Platform> Api<P> {
    /// What is known of an instance's polls; `None`: it is not to be polled.
    async fn view<'a>(&self, instance: &'a Instance) -> Result<Option<View<'a>>, Problem> {
        let mut turn = None;
        let stopped = match self.catalogue.get(&instance.connector) {
            None if polled::wants(&instance.configuration) => Some(Reason::NoConnector),
            None => return Ok(None),
            Some(connector) => {
                let in_turns = polled::in_turns(connector, &instance.configuration);
                let can = polled::polling(connector, &instance.configuration).is_some();
                if !can && !polled::wants(&instance.configuration) {
                    return Ok(None);
                }
                let minutes = polled::turn(connector, &instance.configuration);
                turn = minutes.map(Minutes::turn);
                let never = in_turns && minutes.is_none();
                match () {
                    () if !can => Some(Reason::NoConnector),
                    () if instance.disabled => Some(Reason::InstanceDisabled),
                    () if !instance.events_on() => Some(Reason::EventsOff),
                    () if never => Some(Reason::IntervalOff),
                    () => None,
                }
            }
        };
        let look = health::look(&*self.platform, instance.id).await?;
        Ok(Some(View { instance, look, stopped, turn, now: self.platform.now() }))
    }

    /// An instance with how its polls fare, where it is to be polled.
    pub(crate) async fn shown(&self, stored: &Stored) -> Resource {
        let view = self.view(&stored.instance).await.unwrap_or_else(|problem| {
            // The instance is there whatever becomes of this.
            tracing::warn!(id = %stored.instance.id, ?problem, "how an instance's polls fare could not be shown");
            None
        });
        self.resource(stored).polled(view.map(|view| view.polling()))
    }
}

/// `GET /instances/event-poller-records`: of the account's instances, or of the one of the token.
pub(crate) async fn records_of_all<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    identity: Identity,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    if identity.token_of.is_some() {
        return Ok(records_of_one(State(api), Target::of_token(identity)?).await?.into_response());
    }
    let show = |view: View<'_>| view.records().collect::<Vec<_>>();
    page(&api, &identity, query.as_deref(), show).await
}

/// `GET /instances/{id}/event-poller-records`.
pub(crate) async fn records_of_one<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    target: Target,
) -> Result<Answer<Vec<Record>>, Problem> {
    let stored = instances::load(&api, &target).await?;
    Ok(Answer(api.view(&stored.instance).await?.map(|view| view.records().collect()).unwrap_or_default()))
}

/// `GET /instances/polling-disabled`: the account's instances whose configuration asks for polls and that are not polled.
pub(crate) async fn disabled<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    Caller(account): Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let identity = Identity { account, token_of: None, whole_account: true };
    let show = |view: View<'_>| {
        let Instance { id, name, connector, tags, disabled, .. } = view.instance;
        let stopped = || Disabled {
            id: *id,
            name: name.clone(),
            element_key: connector.clone(),
            tags: tags.clone(),
            disabled: *disabled,
            polling: view.polling(),
        };
        view.reason().map(|_| stopped()).into_iter().collect()
    };
    page(&api, &identity, query.as_deref(), show).await
}

/// What is to be shown of a page of the account's instances.
async fn page<P: Platform, T: Serialize>(
    api: &Api<P>,
    identity: &Identity,
    query: Option<&str>,
    show: impl Fn(View<'_>) -> Vec<T>,
) -> Result<Response, Problem> {
    let query = Parameters::read(query);
    let size = query.page_size(AT_ONCE)?.min(AT_ONCE);
    let page = repository::page(&*api.platform, identity.account.id, query.next_page()?, size).await?;
    let mut shown = Vec::new();
    for some in page.instances.chunks(AT_A_TIME) {
        let views = try_join_all(some.iter().map(|instance| api.view(instance))).await?;
        shown.extend(views.into_iter().flatten().flat_map(&show));
    }
    let count = HeaderValue::from(shown.len());
    let mut response = Answer(shown).into_response();
    response.headers_mut().insert(RETURNED_COUNT, count);
    if let Some(next) = page.next {
        response.headers_mut().insert(NEXT_PAGE, HeaderValue::from(next.number()));
    }
    Ok(response)
}
