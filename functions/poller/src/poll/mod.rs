//! One poll of one instance, from end to end.
//!
//! *Promise:* the position moves only after what was found is durable, so every change that the provider shows is told at
//! least once; and by one worker at a time, so none is told twice unless a worker died in between, and then by the same
//! ids. A poll that finds nothing new writes nothing. One resource's trouble stops none of the others.
//!
//! *Flow.*
//!
//! ```text
//! plan, standing and health (one query) ─▶ each resource: ask ─▶ judge ─▶ take ─▶ next page … ─▶ finish
//!                                        └▶ a step is full, or all were asked: claim ─▶ send ─▶ move the position ─┐
//!                                        ▲                                                                        │
//!                                        └────────────────────────── the same resource again, if there is more ◀──┘
//! ```
//!
//! A *step* gathers the changes of some resources until they are many, and is told as one: one claim and one move a
//! poll, however many resources changed. A large change takes many steps, so neither memory nor what a crash repeats grows
//! with it.
//!
//! *Where a resource begins*, the module `settle` says. What is gone from a tree, of which the provider says only where it was,
//! the module `tree` finds out.
//!
//! *The order* of resources begins at a random one: were it always the same, a slow resource would leave no time for those
//! after it.
//!
//! *Failure:* [`Outcome`] says whose. Whatever is not told stays where it is, and the next poll finds it.

mod credential;
mod fetch;
mod gate;
mod outcome;
mod read;
mod settle;
mod step;
mod tree;
mod vitals;

use std::collections::{BTreeMap, BTreeSet};

use events::{InstanceId, Timestamp};
use metrics::counter;
use platform::Platform;
use polling::configuration::{self, Configuration, Problem};
use polling::definition::Polling;
use polling::request::Query;
use records::plans::{self, Plan, Read};
use records::polls::Standing;

use crate::accounts::Accounts;
use crate::slots::Slot;

pub use fetch::{Answer, Fetch};
pub use outcome::{End, Outcome, Trouble, Unpolled};

use credential::{Asking, Keeper};
use gate::Gate;
use read::{Asker, Reading, Stop};
use settle::{settle, since};
use step::Step;
use vitals::Vitals;

/// Who polls, with what, and for how long.
pub struct Worker<'a, P, F> {
    /// The platform.
    pub platform: &'a P,
    /// How providers are asked.
    pub fetch: &'a F,
    /// How a connector's provider is polled, by the connector's key.
    pub polling: &'a (dyn Fn(&str) -> Option<&'a Polling> + Sync),
    /// What counts of the name of a connector's account, by the connector's key.
    pub account_key: &'a (dyn Fn(&str, &str) -> String + Sync),
    /// What this worker knows of the accounts that it asks.
    pub accounts: &'a Accounts,
    /// The poll's place among those of the worker.
    pub slot: &'a Slot,
    /// Whether somebody asked for it; else its turn has come.
    pub asked: bool,
    /// Named in claims, for people who look.
    pub name: &'a str,
    /// From then on no page is asked for: so long before this process ends that a page which is under way is answered and
    /// told.
    pub asks_until: Timestamp,
    /// When a claim runs out: later than whatever ends this process does.
    pub claims_until: Timestamp,
}

/// Polls an instance once: every resource, and each until nothing more is new.
pub async fn poll_instance<P: Platform, F: Fetch>(worker: &Worker<'_, P, F>, instance: InstanceId) -> Outcome {
    let read = match plans::read(worker.platform, instance).await {
        Ok(Some(read)) => read,
        Ok(None) => return tree::left_behind(worker.platform, instance, worker.asks_until).await,
        Err(error) => return Outcome::ended(End::Ours(error)),
    };
    let configuration = configuration::read(&read.plan.settings);
    let vitals = Vitals::new(&read, &configuration, worker.asked, worker.platform.now());
    if vitals.are_still() {
        return Outcome::ended(End::Resting);
    }
    let outcome = match begin(worker, read, configuration, &vitals).await {
        Ok(poll) => poll.run().await,
        Err(Stop::Account(end)) => Outcome::ended(end),
        // Of all of it, which a blank name stands for.
        Err(Stop::Trouble(trouble)) => {
            Outcome { troubles: [(String::new(), trouble)].into(), ..Outcome::ended(End::Asked) }
        }
    };
    vitals.note(worker.platform, &outcome).await;
    outcome
}

async fn begin<'w, 'a, P: Platform, F: Fetch>(
    worker: &'w Worker<'a, P, F>,
    Read { mut plan, standing, grant, .. }: Read,
    configuration: Configuration,
    vitals: &'w Vitals,
) -> Result<InstancePoll<'w, 'a, P, F>, Stop> {
    if plan.disabled || !plan.events_on {
        return Err(End::Unpolled(Unpolled::Disabled).into());
    }
    let Some(polling) = (worker.polling)(&plan.connector) else {
        return Err(End::Unpolled(Unpolled::Connector).into());
    };
    let key = |name: &str| (worker.account_key)(&plan.connector, name);
    let gate = Gate::new(&plan, key, polling.budget, (worker.accounts, worker.slot), worker.asks_until);
    gate.open(worker.platform).await?;
    let keeper = Keeper::begin(&worker.asking(), polling, &mut plan, grant).await?;
    let settled = settle(&standing.state, &configuration, polling, plan.created_at, since(&plan.settings));
    let step = Step::begin(settled, &standing.state);
    Ok(InstancePoll {
        worker,
        plan,
        polling,
        gate,
        keeper,
        configuration,
        vitals,
        standing,
        step,
        told: 0,
        left_out: 0,
        finished: BTreeSet::new(),
        troubles: BTreeMap::new(),
    })
}

impl<P, F> Worker<'_, P, F> {
    fn asking(&self) -> Asking<'_, P, F> {
        Asking { platform: self.platform, fetch: self.fetch, asks_until: self.asks_until }
    }
}

/// A poll of an instance that is under way.
struct InstancePoll<'w, 'a, P, F> {
    worker: &'w Worker<'a, P, F>,
    plan: Plan,
    polling: &'a Polling,
    gate: Gate<'a>,
    keeper: Keeper<'a>,
    configuration: Configuration,
    vitals: &'w Vitals,
    /// Where the polls stand, as stored.
    standing: Standing,
    /// What is not told yet, and where it leads.
    step: Step,
    told: usize,
    left_out: usize,
    finished: BTreeSet<String>,
    troubles: BTreeMap<String, Trouble>,
}

impl<P: Platform, F: Fetch> InstancePoll<'_, '_, P, F> {
    async fn run(mut self) -> Outcome {
        let end = match self.ask_all().await {
            Ok(end) => self.tell().await.err().unwrap_or(end),
            Err(end) => end,
        };
        self.keeper.end(self.worker.platform).await;
        self.gate.share(self.worker.platform).await;
        counter!("pollhook_polls", "connector" => self.plan.connector.clone()).increment(1);
        counter!("pollhook_accepted", "connector" => self.plan.connector).increment(self.told as u64);
        Outcome { told: self.told, left_out: self.left_out, finished: self.finished, troubles: self.troubles, end }
    }

    /// Asks for every resource. `Err`: telling a step came to an end.
    async fn ask_all(&mut self) -> Result<End, End> {
        let Configuration { mut resources, problems } = std::mem::take(&mut self.configuration);
        let vitals = self.vitals;
        for problem in problems.into_iter().filter(|problem| !vitals.rest(&problem.resource)) {
            self.misconfigured(problem);
        }
        let first = usize::try_from(self.worker.platform.random().bits() % resources.len().max(1) as u64).unwrap_or(0);
        resources.rotate_left(first);
        for resource in resources.iter().filter(|resource| !vitals.rest(&resource.name)) {
            match Query::resolve(self.polling, resource) {
                Ok(query) => {
                    if let Some(end) = self.ask(&query).await? {
                        return Ok(end);
                    }
                }
                Err(problem) => self.misconfigured(problem),
            }
        }
        Ok(End::Asked)
    }

    fn misconfigured(&mut self, problem: Problem) {
        let text = problem.to_string();
        self.troubles.insert(problem.resource, Trouble::Configuration(text));
    }

    /// Asks for one resource until nothing more is new. `Some`: the others are not to be asked for now.
    async fn ask(&mut self, query: &Query) -> Result<Option<End>, End> {
        loop {
            let mut asker = Asker {
                asking: self.worker.asking(),
                instance: self.plan.instance,
                tried: self.standing.tried(),
                polling: self.polling,
                keeper: &mut self.keeper,
                settings: &self.plan.settings,
                gate: &self.gate,
            };
            let Reading { found, stop, more, left_out } =
                asker.read(query, self.step.place(&query.name), self.step.room()).await;
            self.left_out += left_out;
            self.step.add(&self.plan, query, found).map_err(End::Ours)?;
            if self.step.is_full() {
                self.tell().await?;
            }
            match stop {
                None if more => {}
                None => {
                    self.finished.insert(query.name.clone());
                    return Ok(None);
                }
                Some(Stop::Trouble(trouble)) => {
                    self.troubles.insert(query.name.clone(), trouble);
                    return Ok(None);
                }
                Some(Stop::Account(end)) => return Ok(Some(end)),
            }
        }
    }

    /// Makes the step durable, and moves the position after it.
    async fn tell(&mut self) -> Result<(), End> {
        let (told, outcome) = self.step.tell(self.worker, &self.plan.group, &mut self.standing).await;
        self.told += told;
        outcome
    }
}
