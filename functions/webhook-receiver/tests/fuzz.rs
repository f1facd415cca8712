//! A bounded fuzz over the whole receiver, of every connector: recorded requests, bent and cut and mixed, and bytes of no
//! meaning; as a stranger sends them, and signed, as a provider that has gone wrong would.
//!
//! Held against every request: no panic and no 5xx; a refusal leaves nothing; what is queued can be read, is for an
//! instance of ours, and was proven; what is answered 2xx was proven, or is a handshake, or is counted.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;

use axum::body::Body;
use bytes::Bytes;
use common::{RECORDED_SECRET, connector, connectors, own, refused, spec_of, telling, world};
use connectors::{Example, catalogue};
use events::{InstanceId, Message, configuration};
use http::{HeaderName, HeaderValue, Request, StatusCode};
use platform::Platform as _;
use platform::testing::Held;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use scenarios::{PUBLIC_URL, Webhook, World};

/// Requests made of each connector's: together a few seconds in a debug build.
const CASES: u32 = 400;

/// What is done to a body.
#[derive(Debug, Clone)]
enum Bend {
    Flip(Index, u8),
    Truncate(Index),
    Delete(Index, usize),
    Insert(Index, Vec<u8>),
    /// In place of what begins there, something that means another thing, or nothing.
    Replace(Index, usize, &'static str),
    Repeat(Index, usize, usize),
    /// A piece of another recorded body, of whatever connector.
    Splice(Index, Index, Index, usize),
    Random(Vec<u8>),
}

/// Texts that are something else to a reader of JSON, of XML, of a form, of numbers.
const PIECES: [&str; 24] = [
    "null",
    "true",
    "-0",
    "1e999",
    "-1",
    "18446744073709551616",
    "0.1",
    "\"\"",
    "{}",
    "[]",
    "[[[[[[[[",
    "\"\\u0000\"",
    "\\ud800",
    ",",
    "}",
    "<a>",
    "</a>",
    "&#0;",
    "<![CDATA[",
    "<!DOCTYPE a>",
    "&",
    "%00",
    "\"__proto__\":",
    "\u{FEFF}",
];

fn bends() -> impl Strategy<Value = Bend> {
    let index = any::<Index>;
    prop_oneof![
        4 => (index(), any::<u8>()).prop_map(|(at, bits)| Bend::Flip(at, bits)),
        1 => index().prop_map(Bend::Truncate),
        2 => (index(), 1..20_usize).prop_map(|(at, length)| Bend::Delete(at, length)),
        1 => (index(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Bend::Insert(at, bytes)),
        6 => (index(), 0..12_usize, prop::sample::select(&PIECES)).prop_map(|(at, n, piece)| Bend::Replace(at, n, piece)),
        1 => (index(), 1..60_usize, 1..40_usize).prop_map(|(at, length, times)| Bend::Repeat(at, length, times)),
        2 => (index(), index(), index(), 1..200_usize).prop_map(|(of, from, at, length)| Bend::Splice(of, from, at, length)),
        1 => prop::collection::vec(any::<u8>(), 0..300).prop_map(Bend::Random),
    ]
}

impl Bend {
    fn apply(&self, body: &mut Vec<u8>, all: &[&Example]) {
        let place = |at: &Index, body: &[u8]| at.index(body.len() + 1);
        let replace = |body: &mut Vec<u8>, at: usize, length: usize, by: &[u8]| {
            let end = (at + length).min(body.len());
            body.splice(at..end, by.iter().copied());
        };
        match self {
            Self::Flip(at, bits) => {
                let at = place(at, body);
                if let Some(byte) = body.get_mut(at) {
                    *byte ^= bits;
                }
            }
            Self::Truncate(at) => body.truncate(place(at, body)),
            Self::Delete(at, length) => replace(body, place(at, body), *length, b""),
            Self::Insert(at, bytes) => replace(body, place(at, body), 0, bytes),
            Self::Replace(at, length, piece) => replace(body, place(at, body), *length, piece.as_bytes()),
            Self::Repeat(at, length, times) => {
                let at = place(at, body);
                let piece = body[at..(at + length).min(body.len())].repeat(*times);
                replace(body, at, 0, &piece);
            }
            Self::Splice(of, from, at, length) => {
                let other = all[of.index(all.len())].body.as_bytes();
                let from = place(from, other);
                let piece = &other[from..(from + length).min(other.len())];
                replace(body, place(at, body), *length, piece);
            }
            Self::Random(bytes) => body.clone_from(bytes),
        }
    }
}

/// What is done to the headers.
#[derive(Debug, Clone)]
enum Twist {
    Drop(Index),
    Double(Index),
    Flip(Index, Index, u8),
    Swap(Index, Index),
    Add(&'static str, Vec<u8>),
}

const NAMES: [&str; 8] = [
    "content-type",
    "element-instances",
    "pollhook-hops",
    "x-hook-secret",
    "x-hubspot-signature",
    "x-github-event",
    "webhook-id",
    "x-shopify-shop-domain",
];

/// Bytes that a header's value may hold.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![32..127_u8, 128..=255_u8, Just(b'\t')], 0..40)
}

fn twists() -> impl Strategy<Value = Twist> {
    let index = any::<Index>;
    prop_oneof![
        index().prop_map(Twist::Drop),
        index().prop_map(Twist::Double),
        (index(), index(), any::<u8>()).prop_map(|(header, at, bits)| Twist::Flip(header, at, bits)),
        (index(), index()).prop_map(|(one, other)| Twist::Swap(one, other)),
        (prop::sample::select(&NAMES), value()).prop_map(|(name, value)| Twist::Add(name, value)),
    ]
}

impl Twist {
    fn apply(&self, request: &mut Request<Bytes>) {
        let headers = request.headers_mut();
        let names: Vec<HeaderName> = headers.keys().cloned().collect();
        let pick = |index: &Index| names.get(index.index(names.len().max(1))).cloned();
        match self {
            Self::Drop(which) => {
                pick(which).and_then(|name| headers.remove(name));
            }
            Self::Double(which) => {
                if let Some(name) = pick(which) {
                    let value = headers[&name].clone();
                    headers.append(name, value);
                }
            }
            Self::Flip(which, at, bits) => {
                let Some(name) = pick(which) else { return };
                let mut value = headers[&name].as_bytes().to_vec();
                let at = at.index(value.len().max(1));
                value.get_mut(at).into_iter().for_each(|byte| *byte ^= bits);
                if let Ok(value) = HeaderValue::from_bytes(&value) {
                    headers.insert(name, value);
                }
            }
            Self::Swap(one, other) => {
                if let (Some(one), Some(other)) = (pick(one), pick(other)) {
                    let (first, second) = (headers[&one].clone(), headers[&other].clone());
                    headers.insert(one, second);
                    headers.insert(other, first);
                }
            }
            Self::Add(name, value) => {
                headers.append(*name, HeaderValue::from_bytes(value).unwrap());
            }
        }
    }
}

/// What follows the connector's URL.
#[derive(Debug, Clone)]
enum Route {
    Own,
    Nobody,
    Header(String),
    Path(String),
    Query(String),
}

fn routes() -> impl Strategy<Value = Route> {
    prop_oneof![
        6 => Just(Route::Own),
        1 => Just(Route::Nobody),
        1 => "[0-9, ]{0,12}|[ -~]{0,30}".prop_map(Route::Header),
        1 => "(/[A-Za-z0-9=%._~+*-]{0,12}){0,3}".prop_map(Route::Path),
        1 => "(challenge|validationToken|token|ticket|[a-z]{0,4})(=[A-Za-z0-9%+&=:{}.-]{0,30})?".prop_map(Route::Query),
    ]
}

/// One request.
#[derive(Debug, Clone)]
struct Case {
    example: Index,
    bends: Vec<Bend>,
    twists: Vec<Twist>,
    route: Route,
    /// Whether the provider signs what comes of it.
    signed: bool,
    method: &'static str,
}

fn cases() -> impl Strategy<Value = Case> {
    let methods = prop_oneof![9 => Just("POST"), 1 => prop::sample::select(&["GET", "PUT", "HEAD"][..])];
    let bends = prop::collection::vec(bends(), 0..4);
    let twists = prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(twists(), 1..3)];
    (any::<Index>(), bends, twists, routes(), any::<bool>(), methods).prop_map(
        |(example, bends, twists, route, signed, method)| Case { example, bends, twists, route, signed, method },
    )
}

/// A connector's instances, and all that is recorded of it.
struct Target {
    key: &'static str,
    world: World,
    /// One for each recorded request, then one for each account that they name.
    instances: Vec<InstanceId>,
    secret: &'static str,
    examples: Vec<&'static Example>,
    all: Vec<&'static Example>,
}

impl Target {
    async fn new(key: &'static str, seed: u64) -> Self {
        let example = telling(key);
        let secret = example.secret.as_deref().unwrap_or(RECORDED_SECRET);
        let examples: Vec<&Example> = connector(key).examples().iter().collect();
        let named = |example: &&'static Example| {
            let changes = example.changes.iter().filter_map(|change| change.account.as_deref());
            changes.chain(example.signals.iter().map(String::as_str))
        };
        let accounts: BTreeSet<&str> = examples.iter().flat_map(named).collect();
        let mut world = world(seed).await;
        let spec = |example| {
            let spec = spec_of(key, example).webhook_secret(secret);
            spec.set(configuration::INSTANCE_FINDER, "k|type").set("k", "customer.updated")
        };
        let mut instances = Vec::new();
        for example in &examples {
            instances.push(world.make(spec(example)).await.id);
        }
        for account in accounts {
            instances.push(world.make(spec(example).account(account)).await.id);
        }
        world.restart();
        let all = connectors().iter().flat_map(|key| connector(key).examples()).collect();
        Self { key, world, instances, secret, examples, all }
    }

    /// The request, and whether its body is one that the provider never signed.
    fn request(&self, case: &Case) -> (Request<Bytes>, bool) {
        let place = case.example.index(self.examples.len());
        let (example, own) = (self.examples[place], own(self.instances[place]));
        let mut body = example.body.clone().into_bytes();
        case.bends.iter().for_each(|bend| bend.apply(&mut body, &self.all));
        let mut webhook = Webhook::recorded(self.key, example, self.secret);
        webhook = match &case.route {
            Route::Own => webhook.path(&own),
            Route::Nobody => webhook,
            Route::Header(value) => webhook.header("element-instances", value),
            Route::Path(path) => webhook.path(path),
            Route::Query(query) => webhook.path(&own).query(query),
        };
        let bent = body != example.body.as_bytes();
        let now = self.world.now();
        let mut request =
            if case.signed { webhook.body(body).bytes(now) } else { webhook.bytes(now).map(|_| Bytes::from(body)) };
        case.twists.iter().for_each(|twist| twist.apply(&mut request));
        if case.method != "POST" {
            *request.method_mut() = case.method.parse().unwrap();
        }
        (request, bent && !case.signed)
    }

    async fn holds(&self, case: &Case) {
        let (request, never_signed) = self.request(case);
        let connector = catalogue().get(self.key).unwrap();
        let url = format!("{PUBLIC_URL}{}", request.uri());
        let seen = connectors::Request {
            method: request.method().as_str(),
            url: &url,
            headers: request.headers(),
            body: request.body(),
        };
        let parsed = connector.parse(&seen).ok();
        let shaken = connector.handshake(&seen, None).or(connector.handshake(&seen, parsed.as_ref())).is_some();
        let now = self.world.now();
        let proven = parsed.is_some() && connector.verify(&seen, parsed.as_ref(), &[self.secret], now).is_ok();

        let memory = &self.world.platform().memory;
        let counted = self.counted().await;
        let (acts, held) = (memory.acts().len(), self.held().len());
        let answer = self.world.answer(request.clone().map(Body::from)).await;
        let status = answer.status();
        let taken = status == StatusCode::OK;
        assert!(taken || [400, 401, 404, 405, 413].contains(&status.as_u16()), "{status}: {}", answer.body());
        assert!(!answer.body().contains(self.secret) || shaken, "{}", answer.body());
        assert!(taken || answer.body().len() < 500, "{}", answer.body());
        let queued = memory.acts().len() - acts;
        assert!(taken || queued == 0, "{status}, and something is left behind: {:?}", &memory.acts()[acts..]);
        if queued > 0 {
            assert!(proven, "queued, and not proven");
            assert!(!never_signed || !signs_its_body(self.key), "queued, and nobody signed that body");
            self.readable(held);
        } else if taken {
            assert!(shaken || proven || self.counted().await > counted, "passed over in silence");
        }
        if connector.signals() {
            // The next one is no other's of the same moments.
            memory.advance(common::SETTLES);
        }
    }

    /// What was refused so far.
    async fn counted(&self) -> u64 {
        refused(&self.world, self.key).await.values().sum()
    }

    /// What is in both queues; in one of them, of any connector, there is nothing.
    fn held(&self) -> Vec<Held> {
        let memory = &self.world.platform().memory;
        memory.batches().messages().into_iter().chain(memory.polls().messages()).collect()
    }

    /// What is queued beyond the first messages can be read, and is one of the instances'.
    fn readable(&self, first: usize) {
        for held in &self.held()[first..] {
            match Message::decode(&held.body).unwrap() {
                Message::Batch(batch) => {
                    assert!(self.instances.contains(&batch.instance));
                    assert!(!batch.events.is_empty());
                    serde_json::from_slice::<serde_json::Value>(&batch.raw).unwrap();
                    assert!(
                        batch.events.iter().all(|event| !event.object_id.is_empty() && !event.object_type.is_empty())
                    );
                }
                Message::Poll(job) => assert!(self.instances.contains(&job.instance)),
                Message::Stored { instance, .. } => assert!(self.instances.contains(&instance)),
                other => panic!("{other:?}"),
            }
        }
    }
}

/// The two others have a secret repeated to them: in the URL, and in the body.
fn signs_its_body(key: &str) -> bool {
    key != "sfdc" && key != "microsoftgraph" && key != "zendesk"
}

#[test]
fn no_request_to_any_connector_panics_gets_a_5xx_or_is_taken_without_proof() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (mut seed, mut queued) = (13_000, 0);
    for key in connectors() {
        seed += 1;
        let target = runtime.block_on(Target::new(key, seed));
        let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let checked = TestRunner::new_with_rng(config, rng).run(&cases(), |case| {
            runtime.block_on(target.holds(&case));
            Ok(())
        });
        if let Err(error) = checked {
            panic!("{key}: {error}");
        }
        let of_key = target.held().len();
        assert!(of_key > 25, "{key}: the fuzz must reach what is taken, too; {of_key}");
        queued += of_key;
    }
    assert!(queued > 700, "{queued}");
}
