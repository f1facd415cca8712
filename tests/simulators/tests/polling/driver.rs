//! A poller without its store and its queue: it asks, judges, tells and moves the place.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ::http::{HeaderMap, StatusCode};
use connectors::catalogue;
use events::{EventId, EventType, InstanceId, Timestamp};
use polling::definition::{Method, Polling};
use polling::poll::{Change, Finished, Poll, Step};
use polling::position::{Place, Position, State};
use polling::request::{Asking, Credential, Query, Request};
use polling::verdict::{Answer, Verdict, verdict};
use polling::{configuration, pagination};
use serde_json::Value;
use simulators::{Provider, Simulator, Tokens};

/// Most changes of one step, as the product has it.
const STEP: usize = 2000;
/// Steps of one poll are enough.
const STEPS: usize = 50;

/// A point in time, as RFC 3339 writes it.
pub(crate) fn at(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

/// An instance that is polled.
pub(crate) struct Poller<'s, P> {
    simulator: &'s Simulator<P>,
    polling: &'static Polling,
    queries: Vec<Query>,
    settings: BTreeMap<String, String>,
    /// What its requests say whose they are with.
    secrets: BTreeMap<String, String>,
    /// Where a token that has expired is replaced, and how.
    renewal: Option<Renewal<P>>,
    places: BTreeMap<String, Place>,
    told: BTreeSet<EventId>,
    client: reqwest::Client,
    limit: usize,
    /// How far our clock is before the provider's, in milliseconds.
    before: i64,
}

/// The setting that holds a token, and how a user agrees once more.
pub(crate) type Renewal<P> = (&'static str, fn(&mut P) -> Tokens);

/// What is told of a change.
pub(crate) type Told = (String, String, EventType);

/// A poll of one resource.
pub(crate) struct Polled {
    /// What it came to.
    pub(crate) finished: Finished,
    /// What its last answer meant.
    pub(crate) verdict: Verdict,
}

impl<'s, P: Provider> Poller<'s, P> {
    /// An instance of a built-in connector that begins to be polled now.
    pub(crate) async fn start(
        connector: &str,
        simulator: &'s Simulator<P>,
        settings: &[(&str, &str)],
        secrets: &[(&str, &str)],
    ) -> Self {
        let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let polling = catalogue().get(connector).unwrap().polling().unwrap();
        let settings: BTreeMap<String, String> = owned(settings);
        let read = configuration::read(&settings);
        assert_eq!(read.problems, []);
        let queries = read.resources.iter().map(|resource| Query::resolve(polling, resource).unwrap()).collect();
        egress::crypto::provide();
        let client = reqwest::Client::builder().timeout(Duration::from_secs(60)).no_proxy().build().unwrap();
        let (secrets, places, told) = (owned(secrets), BTreeMap::new(), BTreeSet::new());
        let (renewal, limit, before) = (None, STEP, 0);
        let mut poller =
            Self { simulator, polling, queries, settings, secrets, renewal, places, told, client, limit, before };
        poller.begin_all().await;
        poller
    }

    /// The same of a connector whose requests hold a token, which is replaced when it has expired.
    pub(crate) async fn connected(
        connector: &str,
        simulator: &'s Simulator<P>,
        settings: &[(&str, &str)],
        (key, connect): Renewal<P>,
    ) -> Self {
        let token = simulator.world(connect).access;
        let mut poller = Self::start(connector, simulator, settings, &[(key, &token)]).await;
        poller.renewal = Some((key, connect));
        poller
    }

    async fn begin_all(&mut self) {
        for place in 0..self.queries.len() {
            self.begin(place).await;
        }
    }

    /// The same in smaller steps.
    pub(crate) fn in_steps_of(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// The same with a clock so many milliseconds before the provider's.
    pub(crate) async fn with_a_clock_before_by(mut self, millis: i64) -> Self {
        self.before = millis;
        self.begin_all().await;
        self
    }

    /// What we take for now.
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.simulator.clock().now().as_millis() + self.before)
    }

    /// Begins a resource now; also after its cursor has died.
    pub(crate) async fn begin(&mut self, resource: usize) {
        let query = self.queries[resource].clone();
        let now = self.now();
        let progress = pagination::Progress::new(now, 1);
        let asking = Asking { progress: &progress, now, settings: &self.settings };
        let place = match query.plan_start(self.polling, &asking).unwrap() {
            None => Place::Position(Position::beginning(now)),
            Some(request) => {
                let (status, headers, body) = self.send(&request).await;
                assert_eq!(self.judged(status, &headers, body.as_ref()), Verdict::Ok, "{body:?}");
                Place::Cursor(query.cursor(&body.unwrap()).unwrap())
            }
        };
        self.places.insert(query.name.clone(), place);
    }

    /// Polls all resources until nothing is left to read, and says what was told.
    pub(crate) async fn poll(&mut self) -> Vec<Told> {
        let mut told = Vec::new();
        for resource in 0..self.queries.len() {
            for step in 0.. {
                assert!(step < STEPS, "{} has no end", self.queries[resource].name);
                let Polled { finished, verdict } = self.step(resource).await;
                told.extend(finished.changes.iter().map(of));
                if verdict == Verdict::TokenExpired && self.renewed() {
                    continue;
                }
                assert_eq!((verdict, &finished.stopped), (Verdict::Ok, &None));
                if finished.complete {
                    break;
                }
            }
        }
        told
    }

    /// Whether there is a fresh token.
    pub(crate) fn renewed(&mut self) -> bool {
        let Some((key, connect)) = self.renewal else { return false };
        self.secrets.insert(key.to_owned(), self.simulator.world(connect).access);
        true
    }

    /// One poll of one resource, to its end or to the first answer that is no page.
    pub(crate) async fn step(&mut self, resource: usize) -> Polled {
        let query = &self.queries[resource];
        let place = self.places[&query.name].clone();
        let start = self.now();
        let mut poll = Poll::begin(self.polling, query, &self.settings, &place, start, self.limit);
        let verdict = loop {
            let request = poll.request().unwrap();
            let (status, headers, body) = self.send(&request).await;
            let verdict = self.judged(status, &headers, body.as_ref());
            if verdict != Verdict::Ok {
                break verdict;
            }
            if poll.take(&request, &headers, body.as_ref().unwrap()).unwrap() == Step::Done {
                break Verdict::Ok;
            }
        };
        let finished = poll.finish();
        let instance = InstanceId::from_random(7);
        for change in &finished.changes {
            assert!(self.told.insert(change.told.id(instance)), "told twice: {change:?}");
        }
        if finished.worth_storing {
            let name = query.name.clone();
            let place = stored(&name, &finished.place);
            self.places.insert(name, place);
        }
        Polled { finished, verdict }
    }

    fn judged(&self, status: StatusCode, headers: &HeaderMap, body: Option<&Value>) -> Verdict {
        verdict(&self.polling.signs, &Answer { status, headers, body }, self.now())
    }

    /// Sends to the simulator what would go to the provider.
    async fn send(&self, request: &Request) -> (StatusCode, HeaderMap, Option<Value>) {
        let secret = |key: &str| self.secrets.get(key).or(self.settings.get(key)).map(String::as_str);
        let host = request.url.split('/').take(3).collect::<Vec<_>>().join("/");
        let mut url = request.url.replacen(&host, self.simulator.url(), 1);
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            headers.insert(name.parse::<::http::HeaderName>().unwrap(), value.parse().unwrap());
        }
        match self.polling.credential(secret).unwrap() {
            Some(Credential::Header(name, value)) => {
                headers.insert(name.parse::<::http::HeaderName>().unwrap(), value.parse().unwrap());
            }
            Some(Credential::Query(name, value)) => {
                let separator = if url.contains('?') { '&' } else { '?' };
                url = format!("{url}{separator}{name}={value}");
            }
            None => {}
        }
        let method = if request.method == Method::Post { ::http::Method::POST } else { ::http::Method::GET };
        let mut builder = self.client.request(method, url).headers(headers);
        if let Some(body) = &request.body {
            builder = builder.body(body.to_string());
        }
        let response = builder.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.bytes().await.unwrap();
        (status, headers, serde_json::from_slice(&body).ok())
    }
}

/// A place as it comes back from where it was stored.
fn stored(name: &str, place: &Place) -> Place {
    let state = State { places: [(name.to_owned(), place.clone())].into() };
    let encoded = state.encode(1).unwrap();
    let decoded = State::decode(&encoded.head, encoded.buckets.iter().map(String::as_str)).unwrap();
    decoded.state.places[name].clone()
}

/// What a change tells.
pub(crate) fn of(change: &Change) -> Told {
    (change.told.object_type.clone(), change.told.object_id.clone(), change.told.event_type)
}

/// What is told of one type, in the order of ids.
pub(crate) fn sorted(mut told: Vec<Told>) -> Vec<Told> {
    told.sort_by(|one, other| (&one.0, one.1.len(), &one.1).cmp(&(&other.0, other.1.len(), &other.1)));
    told
}

/// Changes of one type and kind.
pub(crate) fn all(object_type: &str, ids: &[String], event: EventType) -> Vec<Told> {
    sorted(ids.iter().map(|id| (object_type.to_owned(), id.clone(), event)).collect())
}

/// The milliseconds of a wait, where that is the verdict.
pub(crate) fn limited(seconds: u64) -> Verdict {
    Verdict::RateLimited { after: Duration::from_secs(seconds) }
}
