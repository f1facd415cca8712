//! A history of a provider and of the polls of one instance, as a seed decides it.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use connectors::Connector;
use egress::{Client, Limits, Policy};
use events::{InstanceId, Message, Timestamp};
use platform::testing::{MemoryPlatform, Moment, VISIBILITY_TIMEOUT};
use platform::{Platform as _, QueueError, Table as _, TableError};
use poller::poll::{End, Outcome, Worker, poll_instance};
use polling::definition::Polling;
use records::instances::{self, Provision, Secrets, Webhooks};
use records::{accounts, plans};
use secrecy::SecretString;
use serde_json::Value;
use simulators::{Fault, Simulator, When};

use crate::bugs::{Bug, Planted};
use crate::dice::Dice;
use crate::subject::{Change, Evidence, Poll, Subject, Telling, What};
use crate::way::Way;

/// When a history begins.
const START: Timestamp = Timestamp::from_seconds(1_790_000_017);
/// How long a poll may ask, and how long its claim lasts.
const ASKS: Duration = Duration::from_secs(300);
const CLAIMS: Duration = Duration::from_secs(360);
/// So long after the last change nothing is late, no claim stands, and no provider wants to be left alone.
const LONG: Duration = Duration::from_secs(7_200);
/// So many polls in a row that find everything are rest.
const RESTS: usize = 3;
/// Acts of a history.
const ACTS: u64 = 30;
/// The secrets among the settings.
const SECRETS: [&str; 2] = ["oauth.user.token", "api.key"];

/// A connector as its definition has it, but for numbers that are scaled, and for a bug.
///
/// # Panics
/// When the definition no longer says what is to be altered.
#[must_use]
pub fn connector<S: Subject>(bug: Option<Bug>) -> Connector {
    let mistaken = bug.map(S::mistaken).unwrap_or_default();
    let altered = S::SCALED.iter().chain(mistaken).fold(S::DEFINITION.to_owned(), |text, (from, to)| {
        assert!(text.contains(from), "{} does not say {from}", S::CONNECTOR);
        text.replace(from, to)
    });
    Connector::from_yaml(&altered).unwrap()
}

/// Lets a seed's history happen, and judges what was told.
///
/// # Errors
/// What was promised and is not so, with the history.
pub fn history<S: Subject>(seed: u64, bug: Option<Bug>, connector: &Connector) -> Result<(), String> {
    happen::<S>(seed, bug, connector, None)
}

/// The same over sockets, by the house's client.
///
/// # Errors
/// The same.
pub fn history_over_sockets<S: Subject>(seed: u64, connector: &Connector) -> Result<(), String> {
    let policy = Policy::new(vec!["127.0.0.0/8".parse().unwrap()], None);
    happen::<S>(seed, None, connector, Some(Client::new(policy, Limits::fetching()).unwrap()))
}

fn happen<S: Subject>(
    seed: u64,
    bug: Option<Bug>,
    connector: &Connector,
    client: Option<Client>,
) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::<S>::start(seed, bug, connector.polling().unwrap(), client).await;
        for _ in 0..world.dice.below(ACTS) + 5 {
            world.act().await;
        }
        world.settle().await
    })
}

struct World<'p, S: Subject> {
    simulator: Simulator<S::Provider>,
    memory: MemoryPlatform,
    polling: &'p Polling,
    bug: Option<Bug>,
    client: Option<Client>,
    dice: Dice,
    instance: InstanceId,
    provisioned: Timestamp,
    history: Arc<Mutex<S::History>>,
    polls: Vec<Poll>,
    told: Vec<Telling>,
    /// The objects that were told of.
    objects: BTreeSet<String>,
    /// Messages of the queue that were read.
    read: usize,
    log: Vec<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'p, S: Subject> World<'p, S> {
    async fn start(seed: u64, bug: Option<Bug>, polling: &'p Polling, client: Option<Client>) -> Self {
        let mut dice = Dice::new(seed);
        let memory = MemoryPlatform::with(START, dice.bits(), VISIBILITY_TIMEOUT);
        let simulator = S::start(START, &mut dice);
        let settings = S::settings(&simulator, &mut dice);
        let mut world = Self {
            simulator,
            memory,
            polling,
            bug,
            client,
            dice,
            instance: InstanceId::from_random(0),
            provisioned: START,
            history: Arc::default(),
            polls: Vec::new(),
            told: Vec::new(),
            objects: BTreeSet::new(),
            read: 0,
            log: Vec::new(),
        };
        world.pass(Duration::from_secs(5));
        world.burst();
        let before = world.dice.pick(&[0, 300, 700, 1_500, 90_000]);
        world.pass(Duration::from_millis(before));
        world.provision(&settings).await;
        let after = world.dice.pick(&[0, 1, 250, 600, 1_000]);
        world.pass(Duration::from_millis(after));
        world.burst();
        world
    }

    async fn provision(&mut self, settings: &[(&'static str, String)]) {
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
        let mut stored = instances::create(&self.memory, &owner, provision, &Webhooks::default()).await.unwrap();
        stored.instance.configuration.insert(events::configuration::ENABLED.into(), "true".into());
        let needed = self.polling.authentication.value.settings();
        let secrets: &Secrets = &stored.secrets;
        let plan = plans::put(&self.memory, &stored.instance, secrets, &needed).await.unwrap();
        self.memory.table().transact(vec![plan]).await.unwrap();
        (self.instance, self.provisioned) = (stored.instance.id, stored.instance.created_at);
        self.note("the instance is made");
        self.memory = self.memory.restart();
    }

    fn note(&mut self, what: &str) {
        self.log.push(format!("{} {what}", self.memory.now().iso_millis()));
    }

    fn pass(&mut self, time: Duration) {
        self.memory.advance(time);
        self.simulator.clock().set(self.memory.now());
    }

    /// To the next whole second.
    fn pass_to_second(&mut self) {
        let over = self.memory.now().as_millis().rem_euclid(1_000).unsigned_abs();
        self.pass(Duration::from_millis((1_000 - over) % 1_000));
    }

    /// Something that happens, or does not if too little is there.
    fn change(&mut self) -> Change {
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
        ]);
        Change { what, pick: self.dice.bits() >> 8, late }
    }

    fn happens(&mut self, change: Change) {
        let now = self.simulator.clock().now();
        self.note(&format!("{change:?}"));
        let history = Arc::clone(&self.history);
        self.simulator.world(|provider| S::change(provider, &mut lock(&history), change, now));
    }

    /// Several changes at one moment, some of them late.
    fn burst(&mut self) {
        for _ in 0..=self.dice.below(6) {
            let change = self.change();
            self.happens(change);
        }
    }

    async fn act(&mut self) {
        match self.dice.below(20) {
            0..6 => self.burst(),
            6..8 => {
                // Several bursts that no poll comes between, and which a window does not hold.
                for _ in 0..4 {
                    self.burst();
                    let time = self.dice.pick(&[1, 999, 60_000, 900_000]);
                    self.pass(Duration::from_millis(time));
                }
            }
            8..11 => {
                let time = self.dice.pick(&[1, 400, 1_000, 2_500, 60_000, 900_000, 3 * 3_600_000]);
                self.pass(Duration::from_millis(time));
            }
            11 => self.at_the_edge().await,
            12 => self.shrinks().await,
            13..15 => self.poll(Trouble::default()).await,
            _ => {
                let trouble = self.trouble();
                self.poll(trouble).await;
            }
        }
    }

    /// A change that is shown as late as may be, behind another that was told.
    async fn at_the_edge(&mut self) {
        self.pass_to_second();
        self.pass(Duration::from_secs(1) - S::GRAIN);
        self.note("at the edge");
        let (late, pick) = (S::LATEST, self.dice.bits() >> 8);
        self.happens(Change { what: What::Create, pick, late });
        self.pass(late.saturating_sub(S::GRAIN * 2));
        // Of the same type.
        self.happens(Change { what: What::Create, pick, late: Duration::ZERO });
        self.pass(S::GRAIN);
        self.poll(Trouble::default()).await;
        self.pass(S::GRAIN);
        let trouble = if self.dice.chance(50) { self.trouble() } else { Trouble::default() };
        self.poll(trouble).await;
    }

    /// Long after all was told, things are deleted while a poll reads.
    async fn shrinks(&mut self) {
        self.pass(LONG);
        self.poll(Trouble::default()).await;
        self.pass(LONG);
        let between = 1 + self.dice.count(3);
        self.poll(Trouble { between, only: Some(What::Delete), ..Trouble::default() }).await;
    }

    fn trouble(&mut self) -> Trouble {
        let dice = &mut self.dice;
        let moments = [Moment::Before, Moment::After];
        Trouble {
            crash: dice.chance(35).then(|| (dice.count(14), dice.pick(&moments))),
            fault: dice.chance(40).then(|| dice.count(5)),
            between: if dice.chance(40) { dice.count(4) } else { 0 },
            only: None,
            two: dice.chance(20),
            fails: dice.chance(15).then(|| dice.below(4)),
            pace: Duration::from_millis(dice.pick(&[0, 0, 1, 700])),
        }
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
        match trouble.fails {
            Some(0) => self.memory.table().fail_next_write(TableError::Throttled),
            Some(1) => self.memory.table().lose_next_answer(),
            Some(2) => self.memory.batches().fail_next_send([0], QueueError::Throttled),
            Some(_) => self.memory.batches().lose_next_answer(),
            None => {}
        }
    }

    async fn poll(&mut self, trouble: Trouble) {
        self.plan(&trouble);
        let (began, changes_before) = (self.simulator.clock().now(), S::changes(&lock(&self.history)));
        self.simulator.forget();
        let yields = [(); 4].map(|()| self.dice.count(4));
        let more = [(); 4].map(|()| self.dice.count(4));
        let outcomes = if trouble.two {
            let both = async { tokio::join!(self.poll_once(yields, trouble.pace), self.poll_once(more, trouble.pace)) };
            self.memory.run_until_crash(both).await.map(|(one, other)| vec![one, other])
        } else {
            self.memory.run_until_crash(self.poll_once(yields, trouble.pace)).await.map(|one| vec![one])
        };
        let crashed = outcomes.is_err();
        let text = format!("{outcomes:?}");
        let outcomes = outcomes.unwrap_or_default();
        self.memory = self.memory.restart();
        self.simulator.heal();
        let all = |outcome: &Outcome| outcome.end == End::Asked && outcome.troubles.is_empty();
        let poll = Poll {
            began,
            ended: self.simulator.clock().now(),
            changes_before,
            changes_after: S::changes(&lock(&self.history)),
            complete: outcomes.iter().any(all),
            broken: crashed || outcomes.iter().any(|outcome| matches!(outcome.end, End::Ours(_))),
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
        let worker = Worker { platform: &platform, fetch: &way, polling: &known, name: "a", asks_until, claims_until };
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

    /// Lets everything come to rest, and judges.
    async fn settle(mut self) -> Result<(), String> {
        self.simulator.heal();
        // What was to fail and was not asked for yet fails here.
        let (most, mut whole) = (self.polls.len() + RESTS, 0);
        while whole < RESTS && self.polls.len() < most * 2 {
            self.pass(LONG);
            self.poll(Trouble::default()).await;
            whole = if self.polls.last().is_some_and(|poll| poll.complete) { whole + 1 } else { 0 };
        }
        let evidence = Evidence { provisioned: self.provisioned, polls: &self.polls, told: &self.told };
        let history = lock(&self.history);
        let judged =
            if whole < RESTS { Err("it does not come to rest".to_owned()) } else { S::judge(&history, &evidence) };
        judged.map_err(|broken| format!("{broken}\n{}", self.log.join("\n")))
    }
}

/// What goes wrong during a poll.
#[derive(Clone, Copy, Debug, Default)]
struct Trouble {
    /// The worker dies at this step from now.
    crash: Option<(usize, Moment)>,
    /// The provider fails after so many requests.
    fault: Option<usize>,
    /// So many changes happen between pages.
    between: usize,
    /// All of this kind.
    only: Option<What>,
    /// Another worker polls at the same time.
    two: bool,
    /// The table or the queue fails, in one of four ways.
    fails: Option<u64>,
    /// How long a request takes.
    pace: Duration,
}
