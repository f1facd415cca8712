//! A provider, an instance that polls it, and what was seen of both.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use egress::Client;
use events::{InstanceId, Message, Timestamp};
use platform::testing::{MemoryPlatform, Moment, VISIBILITY_TIMEOUT};
use platform::{Platform as _, QueueError, Table as _, TableError};
use poller::poll::{End, Outcome, Worker, poll_instance};
use poller::{Accounts, Queries, Slots};
use polling::definition::Polling;
use polling::oauth::{CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN};
use polling::request::ACCESS_TOKEN;
use records::accounts::{self, Account};
use records::instances::{self, Derived, Instance, Provision, Secrets};
use records::plans;
use secrecy::SecretString;
use serde_json::Value;
use simulators::{Clock, Fault, Provider as _, Rotation, Simulator, Tokens, When};

use crate::bugs::{Bug, Planted};
use crate::dice::Dice;
use crate::subject::{Change, Poll, Subject, Telling, What};
use crate::way::Way;

/// When a history begins.
const START: Timestamp = Timestamp::from_seconds(1_790_000_017);
/// How long a poll may ask, and how long its claim lasts.
const ASKS: Duration = Duration::from_secs(300);
const CLAIMS: Duration = Duration::from_secs(360);
/// The secrets among the settings.
const SECRETS: [&str; 5] = [ACCESS_TOKEN, REFRESH_TOKEN, CLIENT_ID, CLIENT_SECRET, "api.key"];
/// How far the provider's clock may be from ours, in milliseconds.
const SKEWS: [i64; 9] = [0, 0, 0, 700, -700, 40_000, -40_000, 3_600_000, -3_600_000];

/// What goes wrong during a poll.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trouble {
    /// The worker dies at this step from now.
    pub(crate) crash: Option<(usize, Moment)>,
    /// The provider fails after so many requests.
    pub(crate) fault: Option<usize>,
    /// So many changes happen between pages.
    pub(crate) between: usize,
    /// All of this kind.
    pub(crate) only: Option<What>,
    /// Another worker polls at the same time.
    pub(crate) two: bool,
    /// The table or the queue fails, in one of four ways.
    pub(crate) fails: Option<u64>,
    /// All access tokens end before the request after so many.
    pub(crate) expires: Option<usize>,
    /// How long a request takes.
    pub(crate) pace: Duration,
}

impl Trouble {
    /// Whether an answer may be lost that is not asked for again.
    fn loses(&self) -> bool {
        self.crash.is_some() || self.fault.is_some() || self.two || self.fails.is_some()
    }
}

/// A provider, an instance that polls it, and what was seen of both.
pub(crate) struct World<'p, S: Subject> {
    pub(crate) simulator: Simulator<S::Provider>,
    memory: MemoryPlatform,
    /// What the poller remembers of the accounts that it asks.
    accounts: Accounts,
    queries: Queries,
    polling: &'p Polling,
    bug: Option<Bug>,
    client: Option<Client>,
    pub(crate) dice: Dice,
    instance: InstanceId,
    owner: Option<Account>,
    /// Whether a customer consented.
    consents: bool,
    /// How the provider replaces refresh tokens.
    rotation: Rotation,
    /// Whether an answer with tokens may have been lost since the customer consented.
    may_have_lost: bool,
    pub(crate) provisioned: Timestamp,
    pub(crate) history: Arc<Mutex<S::History>>,
    pub(crate) polls: Vec<Poll>,
    pub(crate) told: Vec<Telling>,
    /// The objects that were told of.
    objects: BTreeSet<String>,
    /// Messages of the queue that were read.
    read: usize,
    pub(crate) log: Vec<String>,
}

/// The settings that a consent brings.
fn of_consent(Tokens { access, refresh, .. }: Tokens) -> impl Iterator<Item = (&'static str, String)> {
    [(ACCESS_TOKEN, access), (REFRESH_TOKEN, refresh)].into_iter()
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Nothing yet. Whoever waits lets time pass.
fn remembered(memory: &MemoryPlatform, clock: &Clock) -> Accounts {
    let (memory, clock) = (memory.clone(), clock.clone());
    Accounts::waiting(move |time| {
        memory.advance(time);
        clock.set(memory.now());
        Box::pin(std::future::ready(()))
    })
}

impl<'p, S: Subject> World<'p, S> {
    /// A world in which nothing has happened yet, and the settings of an instance.
    pub(crate) fn new(
        seed: u64,
        bug: Option<Bug>,
        polling: &'p Polling,
        client: Option<Client>,
    ) -> (Self, Vec<(&'static str, String)>) {
        let mut dice = Dice::new(seed);
        let memory = MemoryPlatform::with(START, dice.bits(), VISIBILITY_TIMEOUT);
        let simulator = S::start(START, &mut dice);
        simulator.clock().skew(dice.pick(&SKEWS));
        let mut settings = S::settings(&simulator, &mut dice);
        let rotation = dice.pick(S::ROTATIONS);
        let consent = simulator.world(|provider| {
            let grants = provider.grants();
            grants.rules.rotation = rotation;
            let app = [(CLIENT_ID, grants.client_id.clone()), (CLIENT_SECRET, grants.client_secret.clone())];
            S::consent(provider).map(|tokens| app.into_iter().chain(of_consent(tokens)))
        });
        let world = Self {
            accounts: remembered(&memory, simulator.clock()),
            queries: Queries::default(),
            simulator,
            memory,
            polling,
            bug,
            client,
            dice,
            instance: InstanceId::from_random(0),
            owner: None,
            consents: consent.is_some(),
            rotation,
            may_have_lost: false,
            provisioned: START,
            history: Arc::default(),
            polls: Vec::new(),
            told: Vec::new(),
            objects: BTreeSet::new(),
            read: 0,
            log: Vec::new(),
        };
        settings.extend(consent.into_iter().flatten());
        (world, settings)
    }

    pub(crate) async fn provision(&mut self, settings: &[(&'static str, String)]) {
        let owner = accounts::create(&self.memory, false).await.unwrap().0;
        let (secret, plain): (Vec<_>, Vec<_>) = settings.iter().cloned().partition(|(name, _)| SECRETS.contains(name));
        let provision = Provision {
            name: "polled".into(),
            connector: S::CONNECTOR.into(),
            hub: "general".into(),
            tags: Vec::new(),
            configuration: plain.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            secrets: secret.into_iter().map(|(name, value)| (name.to_owned(), SecretString::from(value))).collect(),
        };
        let stored = instances::create(&self.memory, &owner, provision, &Derived::default()).await.unwrap();
        (self.instance, self.provisioned) = (stored.instance.id, stored.instance.created_at);
        self.owner = Some(owner);
        self.write(stored.instance, &stored.secrets).await;
        self.note("the instance is made");
        self.restart();
    }

    /// What the API does with each change of an instance.
    async fn write(&self, mut instance: Instance, secrets: &Secrets) {
        instance.configuration.insert(events::configuration::ENABLED.into(), "true".into());
        let needed = self.polling.authentication.value.settings();
        let plan = plans::put(&self.memory, &instance, secrets, &needed).await.unwrap();
        self.memory.table().transact(vec![plan]).await.unwrap();
    }

    /// The customer consents again, where that is asked for.
    ///
    /// # Errors
    /// It is asked for, and nothing came of the consent there was.
    pub(crate) async fn consent_again(&mut self) -> Result<(), String> {
        let asks = self.polls.last_mut().map(|poll| std::mem::take(&mut poll.ended_consent));
        if asks != Some(true) {
            return Ok(());
        }
        if self.rotation == Rotation::Never || !self.may_have_lost {
            return Err("a consent ended that nobody ended".into());
        }
        self.note("the customer consents again");
        let account = self.owner.as_ref().unwrap().id;
        let stored = instances::load(&self.memory, account, self.instance).await.unwrap().unwrap();
        let tokens = self.simulator.world(S::consent).into_iter().flat_map(of_consent);
        let mut secrets = stored.secrets.clone();
        secrets.extend(tokens.map(|(key, token)| (key.to_owned(), SecretString::from(token))));
        self.write(stored.instance, &secrets).await;
        self.may_have_lost = false;
        Ok(())
    }

    /// Another process, which remembers nothing.
    fn restart(&mut self) {
        self.memory = self.memory.restart();
        self.accounts = remembered(&self.memory, self.simulator.clock());
        self.queries = Queries::default();
    }

    pub(crate) fn note(&mut self, what: &str) {
        self.log.push(format!("{} {what}", self.memory.now().iso_millis()));
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.memory.advance(time);
        self.simulator.clock().set(self.memory.now());
    }

    /// Something that happens, or does not if too little is there.
    pub(crate) fn change(&mut self) -> Change {
        let late = match self.dice.below(10) {
            0..7 => Duration::ZERO,
            7 => Duration::from_millis(self.dice.below(5_000)),
            8 => Duration::from_millis(self.dice.below(300_000)),
            _ => S::LATEST,
        };
        let what = self.dice.pick(&[
            What::Create,
            What::Create,
            What::Create,
            What::Update,
            What::Update,
            What::Update,
            What::Delete,
            What::Restore,
            What::Merge,
        ]);
        Change { what, pick: self.dice.bits() >> 8, late }
    }

    pub(crate) fn happens(&mut self, change: Change) {
        let now = self.simulator.clock().now();
        self.note(&format!("{change:?}"));
        let history = Arc::clone(&self.history);
        self.simulator.world(|provider| S::change(provider, &mut lock(&history), change, now));
    }

    /// Plans what goes wrong during a poll.
    fn plan(&mut self, trouble: &Trouble) {
        if let Some((step, moment)) = trouble.crash {
            self.memory.crash_at(self.memory.steps() + step, moment);
        }
        if let Some(skip) = trouble.fault {
            let times = 1 + self.dice.count(2);
            self.simulator.plan(When::next().skip(skip).times(times), S::fault(&mut self.dice));
        }
        for _ in 0..trouble.between {
            let (skip, change) = (self.dice.count(4), self.change());
            let change = Change { what: trouble.only.unwrap_or(change.what), ..change };
            let (history, clock) = (Arc::clone(&self.history), self.simulator.clock().clone());
            let happens =
                move |provider: &mut S::Provider| S::change(provider, &mut lock(&history), change, clock.now());
            self.note(&format!("after {skip} requests {change:?}"));
            self.simulator.plan(When::next().skip(skip), Fault::after(happens));
        }
        if let Some(skip) = trouble.expires.filter(|_| self.consents) {
            let expire = |provider: &mut S::Provider| provider.grants().expire_all();
            self.simulator.plan(When::next().skip(skip), Fault::before(expire));
        }
        match trouble.fails {
            Some(0) => self.memory.table().fail_next_write(TableError::Throttled),
            Some(1) => self.memory.table().lose_next_answer(),
            Some(2) => self.memory.batches().fail_next_send([0], QueueError::Throttled),
            Some(_) => self.memory.batches().lose_next_answer(),
            None => {}
        }
    }

    pub(crate) async fn poll(&mut self, trouble: Trouble) {
        self.plan(&trouble);
        self.may_have_lost |= trouble.loses();
        let (began, changes_before) = (self.simulator.clock().now(), S::changes(&lock(&self.history)));
        self.simulator.forget();
        let yields = [(); 4].map(|()| self.dice.count(4));
        let more = [(); 4].map(|()| self.dice.count(4));
        // Over sockets two at once have no order, and the clock would be turned while a request is under way.
        let outcomes = if trouble.two && self.client.is_none() {
            let both = async { tokio::join!(self.poll_once(yields, trouble.pace), self.poll_once(more, trouble.pace)) };
            self.memory.run_until_crash(both).await.map(|(one, other)| vec![one, other])
        } else {
            self.memory.run_until_crash(self.poll_once(yields, trouble.pace)).await.map(|one| vec![one])
        };
        let crashed = outcomes.is_err();
        let text = format!("{outcomes:?}");
        let outcomes = outcomes.unwrap_or_default();
        self.restart();
        self.simulator.heal();
        let all = |outcome: &Outcome| outcome.end == End::Asked && outcome.troubles.is_empty();
        // Who told something and was overtaken left the position where it was.
        let gave_up = |outcome: &Outcome| match outcome.end {
            End::Ours(_) => true,
            End::Elsewhere { .. } => outcome.told > 0,
            _ => false,
        };
        let poll = Poll {
            began,
            ended: self.simulator.clock().now(),
            changes_before,
            changes_after: S::changes(&lock(&self.history)),
            complete: outcomes.iter().any(all),
            broken: crashed || outcomes.iter().any(gave_up),
            ended_consent: outcomes.iter().any(|outcome| matches!(outcome.end, End::Revoked | End::NoCredential(_))),
            asked: self.simulator.served().into_iter().map(|served| (served.path.clone(), served.status())).collect(),
            outcome: text,
        };
        self.note(&format!("poll {} {trouble:?}: {}", self.polls.len(), poll.outcome));
        self.polls.push(poll);
        self.take();
    }

    async fn poll_once(&self, yields: [usize; 4], pace: Duration) -> Outcome {
        let known = |_: &str| Some(self.polling);
        let way = Way::<S> {
            simulator: &self.simulator,
            memory: &self.memory,
            bug: self.bug,
            client: self.client.as_ref(),
            told: &self.objects,
            pace,
            yields,
            requests: AtomicUsize::new(0),
        };
        let now = self.memory.now();
        let platform = Planted::new(&self.memory, self.bug);
        let (asks_until, claims_until) = (now.plus(ASKS), now.plus(CLAIMS));
        let worker = Worker {
            platform: &platform,
            fetch: &way,
            polling: &known,
            account_key: &|_, name| name.to_owned(),
            accounts: &self.accounts,
            queries: &self.queries,
            slot: &Slots::new(1).take().await,
            // Whoever is asked for leaves no resource out, so what a poll found is all that there was.
            asked: true,
            name: "a",
            asks_until,
            claims_until,
        };
        poll_instance(&worker, self.instance).await
    }

    /// Takes what the queue holds since the last time.
    fn take(&mut self) {
        let messages = self.memory.batches().messages();
        for held in &messages[self.read..] {
            let Message::Batch(batch) = Message::decode(&held.body).unwrap() else { panic!("no batch: {}", held.body) };
            let raw: Value = serde_json::from_slice(&batch.raw).unwrap();
            for (number, event) in batch.events.into_iter().enumerate() {
                let record = raw[&event.object_type][number].clone();
                self.objects.insert(event.object_id.clone());
                self.log.push(format!(
                    "    tells {} {} {} {record}",
                    event.event_type.as_str(),
                    event.object_type,
                    event.object_id
                ));
                self.told.push(Telling { poll: self.polls.len() - 1, event, record });
            }
        }
        self.read = messages.len();
    }
}
