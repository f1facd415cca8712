//! A provider in memory, an instance of it, and what was told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use egress::exchange::NoAnswer;
use events::{Batch, Event, EventId, EventType, InstanceId, Message, Timestamp};
use http::{HeaderMap, StatusCode, header};
use platform::testing::{MemoryPlatform, VISIBILITY_TIMEOUT};
use platform::{Platform as _, Table as _};
use pollhook_poller::poll::{Answer, Fetch, Outcome, Trouble, Worker, poll_instance};
use pollhook_poller::{Accounts, Queries, Slot, Slots};
use polling::definition::Polling;
use polling::oauth::TokenRequest;
use polling::request::{Credential, Request};
use records::accounts::{self, Account};
use records::instances::{self, Derived, Provision, Secrets};
use records::{bodies, plans};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::tokens::TokenServer;

pub(crate) const START: Timestamp = Timestamp::from_seconds(1_790_000_000);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// A connector that knows every object by time, in pages of three.
pub(crate) const SECTION: &str = r#"
base_url: https://api.example/v1
authentication:
  api_key: { header: x-api-key, setting: api.key }
overlap: 60
page_size: 3
resources:
  "{objectName}":
    path: /{objectName}
    query: { since: "${epoch:ms}", limit: "{page_size}" }
    paging: { cursor: { from: next, query: cursor } }
    ordered: true
    records: data
    id: id
    updated: { at: updatedAt }
    created: { at: createdAt }
    deleted: { at: gone }
"#;

/// A version of an object, as an event tells it.
pub(crate) type Version = (String, String, Option<Timestamp>, bool);

pub(crate) struct Record {
    created: Timestamp,
    pub(crate) updated: Timestamp,
    gone: bool,
    note: String,
}

/// What a provider answers instead.
pub(crate) type Reply = (u16, Vec<(&'static str, &'static str)>, Option<Value>);

#[derive(Default)]
pub(crate) struct Provided {
    pub(crate) objects: BTreeMap<(String, u32), Record>,
    /// Answered instead of pages, by the path's last part, after so many good pages.
    pub(crate) replies: BTreeMap<String, (usize, Reply)>,
    pub(crate) asked: Vec<String>,
    pub(crate) keys: BTreeSet<Option<String>>,
    /// How often a request lets others go first, drawn one after the other.
    pub(crate) pauses: Vec<usize>,
    /// Whom requests are answered to, where they are made with tokens.
    pub(crate) tokens: Option<TokenServer>,
}

/// The provider.
#[derive(Clone)]
pub(crate) struct Provider {
    pub(crate) state: Arc<Mutex<Provided>>,
    clock: MemoryPlatform,
}

impl Provider {
    pub(crate) fn look<T>(&self, look: impl FnOnce(&mut Provided) -> T) -> T {
        look(&mut self.state.lock().unwrap())
    }

    /// Answers so instead, after so many good pages.
    pub(crate) fn instead(&self, resource: &str, after: usize, reply: Reply) {
        self.look(|state| state.replies.insert(resource.to_owned(), (after, reply)));
    }

    pub(crate) fn heal(&self) {
        self.look(|state| state.replies.clear());
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.look(|state| std::mem::take(&mut state.asked))
    }

    fn answer(&self, request: &Request) -> (u16, HeaderMap, Option<Value>) {
        let url: url::Url = request.url.parse().unwrap();
        let name = url.path_segments().unwrap().next_back().unwrap().to_owned();
        let parameters: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
        let mut headers = HeaderMap::new();
        let now = std::time::UNIX_EPOCH + Duration::from_millis(self.clock.now().as_millis().unsigned_abs());
        headers.insert(header::DATE, httpdate::fmt_http_date(now).parse().unwrap());
        self.look(|state| {
            state.asked.push(name.clone());
            if let Some((after, (status, more, body))) = state.replies.get_mut(&name) {
                if *after == 0 {
                    headers.extend(
                        more.iter()
                            .map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap())),
                    );
                    return (*status, headers, body.clone());
                }
                *after -= 1;
            }
            let since: i64 = parameters["since"].parse().unwrap();
            let limit: usize = parameters["limit"].parse().unwrap();
            let last = parameters.get("cursor").map(|cursor| {
                let (at, id) = cursor.split_once(':').unwrap();
                (at.parse::<i64>().unwrap(), id.parse::<u32>().unwrap())
            });
            let mut found: Vec<_> = (state.objects.iter())
                .filter(|((resource, _), _)| *resource == name)
                .map(|((_, id), record)| ((record.updated.as_millis(), *id), record))
                .filter(|(place, _)| place.0 >= since && last.is_none_or(|last| *place > last))
                .collect();
            found.sort_by_key(|(place, _)| *place);
            let more = found.len() > limit;
            found.truncate(limit);
            let next = found.last().filter(|_| more).map(|((at, id), _)| format!("{at}:{id}"));
            let data: Vec<Value> = found.into_iter().map(|((_, id), record)| shown(id, record)).collect();
            (200, headers, Some(json!({"data": data, "next": next})))
        })
    }
}

fn shown(id: u32, record: &Record) -> Value {
    json!({"id": id, "createdAt": record.created.iso_millis(), "updatedAt": record.updated.iso_millis(),
           "gone": record.gone, "note": record.note})
}

impl Fetch for Provider {
    async fn fetch(&self, request: &Request, credential: Option<&Credential>) -> Result<Answer, Trouble> {
        for _ in 0..self.look(|state| state.pauses.pop().unwrap_or(0)) {
            tokio::task::yield_now().await;
        }
        let key = match credential {
            Some(Credential::Header(name, value) | Credential::Query(name, value)) => Some(format!("{name}: {value}")),
            None => None,
        };
        let admitted = self.look(|state| {
            state.keys.insert(key.clone());
            state.tokens.as_mut().is_none_or(|tokens| tokens.admits(key.as_deref()))
        });
        if !admitted {
            let (status, headers, body) = (StatusCode::UNAUTHORIZED, HeaderMap::new(), None);
            return Ok(Answer { status, headers, body, bytes: 0 });
        }
        assert_eq!(request.base, "https://api.example/v1");
        let (status, headers, body) = self.answer(request);
        if status == 0 {
            return Err(Trouble::Theirs("nobody is there".into()));
        }
        let bytes = body.as_ref().map_or(0, |body| body.to_string().len());
        Ok(Answer { status: StatusCode::from_u16(status).unwrap(), headers, body, bytes })
    }

    async fn exchange(&self, request: &TokenRequest) -> Result<Answer, NoAnswer> {
        for _ in 0..self.look(|state| state.pauses.pop().unwrap_or(0)) {
            tokio::task::yield_now().await;
        }
        let (status, body) = self.look(|state| state.tokens.as_mut().unwrap().exchange(request))?;
        let (status, headers) = (StatusCode::from_u16(status).unwrap(), HeaderMap::new());
        Ok(Answer { status, headers, bytes: body.to_string().len(), body: Some(body) })
    }
}

/// An instance, its provider, and the platform's present process.
pub(crate) struct World {
    pub(crate) platform: MemoryPlatform,
    pub(crate) provider: Provider,
    pub(crate) polling: Polling,
    pub(crate) instance: InstanceId,
    owner: Account,
    /// Every version that there ever was since the provisioning.
    pub(crate) history: BTreeSet<Version>,
    /// What this process knows of providers' accounts; to wait for one turns the clock.
    pub(crate) accounts: Accounts,
    pub(crate) queries: Queries,
}

impl World {
    /// An instance that polls these objects.
    pub(crate) async fn of(seed: u64, objects: &str) -> Self {
        Self::with(seed, SECTION, &[("event.objects", objects)]).await
    }

    pub(crate) async fn with(seed: u64, section: &str, settings: &[(&str, &str)]) -> Self {
        Self::with_secrets(seed, section, settings, &[("api.key", "s3cret")]).await
    }

    pub(crate) async fn with_secrets(
        seed: u64,
        section: &str,
        settings: &[(&str, &str)],
        secrets: &[(&str, &str)],
    ) -> Self {
        let platform = MemoryPlatform::with(START, seed, VISIBILITY_TIMEOUT);
        let polling = Polling::from_yaml(section).unwrap();
        let owner = accounts::create(&platform, false).await.unwrap().0;
        let instance = provisioned(&platform, &owner, &polling, settings, secrets).await;
        let provider = Provider { state: Arc::default(), clock: platform.clone() };
        let mut world = Self {
            accounts: remembered(&platform),
            queries: Queries::default(),
            owner,
            platform,
            provider,
            polling,
            instance,
            history: BTreeSet::new(),
        };
        world.restart();
        world
    }

    /// Another instance, of the same owner or of a stranger.
    pub(crate) async fn beside(&self, settings: &[(&str, &str)], stranger: bool) -> InstanceId {
        let owner =
            if stranger { accounts::create(&self.platform, false).await.unwrap().0 } else { self.owner.clone() };
        provisioned(&self.platform, &owner, &self.polling, settings, &[("api.key", "s3cret")]).await
    }

    /// The next process.
    pub(crate) fn restart(&mut self) {
        self.platform = self.platform.restart();
        self.accounts = remembered(&self.platform);
        self.queries = Queries::default();
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.platform.now()
    }

    pub(crate) fn advance(&self, millis: u64) {
        self.platform.advance(Duration::from_millis(millis));
    }

    /// An object is made, or changed, or with `gone` deleted, now.
    pub(crate) fn change(&mut self, resource: &str, id: u32, gone: bool) {
        self.note(resource, id, gone, "");
    }

    /// Objects are made, each so long after the one before; then their second passes.
    pub(crate) fn several(&mut self, ids: std::ops::Range<u32>, millis: u64, resource: impl Fn(u32) -> &'static str) {
        for id in ids {
            self.advance(millis);
            self.change(resource(id), id, false);
        }
        self.advance(2_000);
    }

    /// The last version of each object.
    pub(crate) fn last(&self) -> BTreeSet<Version> {
        self.provider.look(|state| {
            let version = |((kind, id), record): (&(String, u32), &Record)| {
                (kind.clone(), id.to_string(), Some(record.updated), record.gone)
            };
            state.objects.iter().map(version).collect()
        })
    }

    pub(crate) fn note(&mut self, resource: &str, id: u32, gone: bool, note: &str) {
        let now = self.now();
        let made = Record { created: now, updated: now, gone, note: note.to_owned() };
        self.provider.look(|state| {
            let record = state.objects.entry((resource.to_owned(), id)).or_insert(made);
            (record.updated, record.gone) = (now, gone);
        });
        self.history.insert((resource.to_owned(), id.to_string(), Some(now), gone));
    }

    /// A poll in this process that may take five minutes.
    pub(crate) async fn poll(&self) -> Outcome {
        self.poll_until(self.now().plus(5 * MINUTE), self.now().plus(6 * MINUTE)).await
    }

    pub(crate) async fn poll_until(&self, asks_until: Timestamp, claims_until: Timestamp) -> Outcome {
        self.poll_by(self.instance, asks_until, claims_until).await
    }

    /// A poll of another instance in this process.
    pub(crate) async fn poll_of(&self, instance: InstanceId) -> Outcome {
        self.poll_by(instance, self.now().plus(5 * MINUTE), self.now().plus(6 * MINUTE)).await
    }

    /// A poll because its turn has come.
    pub(crate) async fn turn(&self) -> Outcome {
        self.poll_as(self.instance, false, self.now().plus(5 * MINUTE), self.now().plus(6 * MINUTE)).await
    }

    async fn poll_by(&self, instance: InstanceId, asks_until: Timestamp, claims_until: Timestamp) -> Outcome {
        self.poll_as(instance, true, asks_until, claims_until).await
    }

    async fn poll_as(
        &self,
        instance: InstanceId,
        asked: bool,
        asks_until: Timestamp,
        claims_until: Timestamp,
    ) -> Outcome {
        self.poll_at(&Slots::new(1).take().await, (instance, asked), asks_until, claims_until).await
    }

    /// A poll at a place of its worker's.
    pub(crate) async fn poll_at(
        &self,
        slot: &Slot,
        (instance, asked): (InstanceId, bool),
        asks_until: Timestamp,
        claims_until: Timestamp,
    ) -> Outcome {
        let known = |key: &str| (key == "api").then_some(&self.polling);
        let worker = Worker {
            platform: &self.platform,
            fetch: &self.provider,
            polling: &known,
            account_key: &|_, account| account.to_owned(),
            accounts: &self.accounts,
            queries: &self.queries,
            slot,
            asked,
            name: "a test",
            asks_until,
            claims_until,
        };
        poll_instance(&worker, instance).await
    }

    /// The batches that wait to be told, in order.
    pub(crate) async fn batches(&self) -> Vec<Batch> {
        batches(&self.platform).await
    }

    /// The events that wait to be told, in order.
    pub(crate) async fn told(&self) -> Vec<Event> {
        self.batches().await.into_iter().flat_map(|batch| batch.events).collect()
    }

    /// What was told: each version, by one id.
    pub(crate) async fn versions(&self) -> BTreeSet<Version> {
        let mut ids: BTreeMap<Version, EventId> = BTreeMap::new();
        for event in self.told().await {
            let gone = event.event_type == EventType::Deleted;
            let version = (event.object_type, event.object_id, event.date, gone);
            let first = *ids.entry(version.clone()).or_insert(event.id);
            assert_eq!(first, event.id, "{version:?} is told again by another id");
        }
        let distinct: BTreeSet<EventId> = ids.values().copied().collect();
        assert_eq!(distinct.len(), ids.len(), "two versions by one id");
        ids.into_keys().collect()
    }

    /// Where the resources stand, by their names.
    pub(crate) async fn places(&self) -> Vec<String> {
        let read = plans::read(&self.platform, self.instance).await.unwrap().unwrap();
        read.standing.state.places.into_keys().collect()
    }
}

fn remembered(platform: &MemoryPlatform) -> Accounts {
    let clock = platform.clone();
    Accounts::waiting(move |time| {
        clock.advance(time);
        Box::pin(std::future::ready(()))
    })
}

async fn provisioned(
    platform: &MemoryPlatform,
    owner: &Account,
    polling: &Polling,
    settings: &[(&str, &str)],
    secrets: &[(&str, &str)],
) -> InstanceId {
    let secrets = secrets.iter().map(|(key, secret)| ((*key).to_owned(), SecretString::from(*secret))).collect();
    let provision = Provision {
        name: "mine".into(),
        connector: "api".into(),
        hub: "crm".into(),
        tags: Vec::new(),
        configuration: settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        secrets,
    };
    let mut stored = instances::create(platform, owner, provision, &Derived::default()).await.unwrap();
    stored.instance.configuration.insert(events::configuration::ENABLED.into(), "true".into());
    configured(platform, polling, &stored.instance, &stored.secrets).await;
    stored.instance.id
}

/// What the API does with each change of an instance.
async fn configured(platform: &MemoryPlatform, polling: &Polling, instance: &instances::Instance, secrets: &Secrets) {
    let plan = plans::put(platform, instance, secrets, &polling.authentication.value.settings()).await.unwrap();
    platform.table().transact(vec![plan]).await.unwrap();
}

impl World {
    /// The instance is changed by its owner.
    pub(crate) async fn configure(&self, change: impl FnOnce(&mut instances::Instance, &mut Secrets)) {
        let item = self.platform.table().items("INSTANCE#").remove(0);
        let account = serde_json::from_slice::<Value>(&item.body).unwrap()["account"].as_u64().unwrap();
        let account = events::AccountId(u32::try_from(account).unwrap());
        let mut stored = instances::load(&self.platform, account, self.instance).await.unwrap().unwrap();
        stored.instance.configuration.insert(events::configuration::ENABLED.into(), "true".into());
        change(&mut stored.instance, &mut stored.secrets);
        configured(&self.platform, &self.polling, &stored.instance, &stored.secrets).await;
    }
}

/// The batches that wait in a platform's queue.
pub(crate) async fn batches(platform: &MemoryPlatform) -> Vec<Batch> {
    let mut batches = Vec::new();
    for held in platform.batches().messages() {
        let message = match Message::decode(&held.body).unwrap() {
            Message::Stored { body, .. } => {
                let bytes = bodies::get(platform, &body).await.unwrap().unwrap();
                Message::decode(std::str::from_utf8(&bytes).unwrap()).unwrap()
            }
            message => message,
        };
        let Message::Batch(batch) = message else { panic!("{message:?}") };
        batches.push(batch);
    }
    batches
}
