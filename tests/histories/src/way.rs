//! The way to a provider: what would go over a socket, in this process, or the house's client over a socket.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use egress::Client;
use egress::exchange::NoAnswer;
use events::Timestamp;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use platform::Platform as _;
use platform::testing::MemoryPlatform;
use poller::poll::{Answer, Fetch, Trouble};
use polling::definition;
use polling::oauth::TokenRequest;
use polling::request::{Credential, Request};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use simulators::Simulator;

use crate::bugs::Bug;
use crate::subject::Subject;

/// What the ids of records are called: without one a record tells nothing.
const IDS: [&str; 3] = ["Id", "id", "path_lower"];

/// How often a page that fails is asked for again by a poller that skips it.
const AGAIN: usize = 9;

/// The way of one poll. Each request is an act of its process.
pub struct Way<'s, S: Subject> {
    pub(crate) simulator: &'s Simulator<S::Provider>,
    pub(crate) memory: &'s MemoryPlatform,
    pub(crate) bug: Option<Bug>,
    /// Asks over a socket.
    pub(crate) client: Option<&'s Client>,
    /// The objects that were told of.
    pub(crate) told: &'s BTreeSet<String>,
    /// How long each request takes.
    pub(crate) pace: Duration,
    /// How often each request lets another worker go first, in turn.
    pub(crate) yields: [usize; 4],
    pub(crate) requests: AtomicUsize,
}

impl<S: Subject> Way<'_, S> {
    /// Time passes.
    fn passes(&self) {
        self.memory.advance(self.pace);
        self.simulator.clock().set(self.memory.now());
    }

    fn ask(&self, request: &simulators::Request) -> Option<simulators::Answer> {
        self.passes();
        self.simulator.ask(request.clone())
    }

    /// Asks over a socket, wherever the provider is in truth.
    async fn ask_over(
        &self,
        client: &Client,
        request: &Request,
        credential: Option<&Credential>,
    ) -> Result<Answer, Trouble> {
        self.memory.act_with("a request", || self.passes()).await;
        let host = request.base.split('/').take(3).collect::<Vec<_>>().join("/");
        let there = |url: &str| url.replacen(&host, self.simulator.url(), 1);
        let request = Request { base: there(&request.base), url: there(&request.url), ..request.clone() };
        Fetch::fetch(client, &request, credential).await
    }

    /// What a wrong poller makes of an answer.
    fn misread(&self, body: &mut Value) {
        let lists = S::RECORDS.iter().filter_map(|place| body.pointer(place)?.is_array().then_some(*place));
        let Some(place) = lists.collect::<Vec<_>>().pop() else { return };
        let Some(records) = body.pointer_mut(place).and_then(Value::as_array_mut) else { return };
        // A page of which not one record is understood is no page without records, and is not taken for one.
        let first = records.first().filter(|_| self.bug == Some(Bug::SkipsPage));
        let older = first.filter(|record| record.get("Id").is_some()).map(|record| aged(record.clone()));
        for record in records.iter_mut() {
            let id = IDS.iter().find_map(|name| record.get(*name)).map(id).unwrap_or_default();
            let hidden = match self.bug {
                Some(Bug::IdAlone) => self.told.contains(&id),
                Some(Bug::IgnoresDeletions) => S::is_gone(record),
                Some(Bug::SkipsPage) => true,
                _ => false,
            };
            // Its date and its place in the page stay: nothing else is to go wrong.
            if let Some(fields) = record.as_object_mut().filter(|_| hidden) {
                fields.retain(|name, _| !IDS.contains(&name.as_str()));
            }
        }
        records.splice(0..0, older);
    }
}

/// A record as it was long ago.
fn aged(mut record: Value) -> Value {
    match &mut record {
        Value::String(text) if Timestamp::parse_rfc3339(text).is_some() => "2000-01-01T00:00:00Z".clone_into(text),
        Value::Object(fields) => fields.values_mut().for_each(|value| *value = aged(value.take())),
        _ => {}
    }
    record
}

/// An id as events have it.
fn id(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

impl<S: Subject> Fetch for Way<'_, S> {
    async fn exchange(&self, request: &TokenRequest) -> Result<Answer, NoAnswer> {
        if let Some(client) = self.client {
            self.memory.act_with("a request for tokens", || self.passes()).await;
            let host = request.url.split('/').take(3).collect::<Vec<_>>().join("/");
            let url = request.url.replacen(&host, self.simulator.url(), 1);
            return Fetch::exchange(client, &TokenRequest { url, ..request.clone() }).await;
        }
        let asked = sent_for_tokens(request)?;
        let answer = self.memory.act_with("a request for tokens", || self.ask(&asked)).await;
        // Whether it was read before the connection was closed nobody knows.
        let answer = answer.ok_or_else(|| NoAnswer::Unclear("the connection was closed".into()))?;
        let body = serde_json::from_slice(&answer.body).ok();
        Ok(Answer { status: answer.status, headers: answer.headers, body, bytes: answer.body.len() })
    }

    async fn fetch(&self, request: &Request, credential: Option<&Credential>) -> Result<Answer, Trouble> {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        for _ in 0..self.yields[number % self.yields.len()] {
            tokio::task::yield_now().await;
        }
        if let Some(client) = self.client {
            return self.ask_over(client, request, credential).await;
        }
        let mut asked = sent(request, credential)?;
        if self.bug == Some(Bug::AsksStrictly) {
            S::ask_strictly(&mut asked);
        }
        let mut answer = self.memory.act_with("a request", || self.ask(&asked)).await;
        let failed =
            |answer: &Option<simulators::Answer>| answer.as_ref().is_none_or(|answer| !answer.status.is_success());
        let mut skipped = false;
        for _ in 0..AGAIN {
            if self.bug == Some(Bug::SkipsPage) && failed(&answer) {
                (answer, skipped) = (self.ask(&asked), true);
            }
        }
        let answer = answer.ok_or_else(|| Trouble::Theirs("the connection was closed".into()))?;
        let mut body = serde_json::from_slice(&answer.body).ok();
        if let Some(body) = body.as_mut().filter(|_| skipped || self.bug != Some(Bug::SkipsPage)) {
            self.misread(body);
        }
        Ok(Answer { status: answer.status, headers: answer.headers, body, bytes: answer.body.len() })
    }
}

/// A request for tokens as the provider gets it.
fn sent_for_tokens(request: &TokenRequest) -> Result<simulators::Request, NoAnswer> {
    let unsendable = || NoAnswer::Unsent("it cannot be sent".into());
    let url: url::Url = request.url.parse().map_err(|_| unsendable())?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    if let Some((user, password)) = &request.basic {
        let both = STANDARD.encode(format!("{}:{}", user.expose_secret(), password.expose_secret()));
        headers.insert(AUTHORIZATION, HeaderValue::try_from(format!("Basic {both}")).map_err(|_| unsendable())?);
    }
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(request.form.iter().map(|(name, value)| (*name, value.expose_secret())));
    let body = Bytes::from(form.finish());
    Ok(simulators::Request { method: Method::POST, path: url.path().to_owned(), query: Vec::new(), headers, body })
}

/// A planned request as the provider gets it.
fn sent(request: &Request, credential: Option<&Credential>) -> Result<simulators::Request, Trouble> {
    let unsendable = |what: &str| Trouble::Configuration(format!("{what} cannot be sent"));
    let url: url::Url = request.url.parse().map_err(|_| unsendable("the URL"))?;
    let mut headers = HeaderMap::new();
    let mut add = |name: &str, value: &str| {
        let name = HeaderName::try_from(name).map_err(|_| unsendable("a header"))?;
        headers.insert(name, HeaderValue::try_from(value).map_err(|_| unsendable("a header"))?);
        Ok(())
    };
    for (name, value) in &request.headers {
        add(name, value)?;
    }
    let mut query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    match credential {
        Some(Credential::Header(name, value)) => add(name, value)?,
        Some(Credential::Query(name, value)) => query.push((name.clone(), value.clone())),
        None => {}
    }
    let method = match request.method {
        definition::Method::Get => Method::GET,
        definition::Method::Post => Method::POST,
    };
    let body = request.body.as_ref().map(|body| Bytes::from(body.to_string())).unwrap_or_default();
    Ok(simulators::Request { method, path: url.path().to_owned(), query, headers, body })
}
