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
//! *Where a resource begins*, the module `settle` says; what is left out where webhooks tell as well, `reconcile`; what is gone
//! from a tree, of which the provider says only where it was, `tree`.
//!
//! *The order* of resources begins at a random one: were it always the same, a slow resource would leave no time for those
//! after it.
//!
//! *Failure:* [`Outcome`] says whose. Whatever is not told stays where it is, and the next poll finds it.
//!
//! *Memory:* hundreds of polls wait for their providers at the same time, nearly all of them with nothing new. What such a
//! poll does not come to has a place of its own (`Box::pin`) when another does.

mod credential;
mod fetch;
mod gate;
mod outcome;
mod quiet;
mod read;
mod reconcile;
mod settle;
mod step;
mod tree;
mod vitals;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use events::{InstanceId, Timestamp};
use metrics::counter;
use platform::Platform;
use polling::configuration::Problem;
use polling::definition::Polling;
use polling::request::Query;
use records::plans::{self, Plan, Read};
use records::polls::Standing;

use crate::accounts::Accounts;
use crate::queries::{Asked, Queries};
use crate::slots::Slot;

pub use fetch::{Answer, Fetch};
pub use outcome::{End, Lasts, Outcome, Trouble, Unpolled};

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
    /// What this worker knows of what instances ask for.
    pub queries: &'a Queries,
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
        Ok(None) => return Box::pin(tree::left_behind(worker.platform, instance, worker.asks_until)).await,
        Err(error) => return Outcome::ended(End::Ours(error)),
    };
    let polling = (worker.polling)(&read.plan.connector);
    let asked = worker.queries.asked(&read.plan.connector, polling, &read.plan.settings);
    let vitals = Vitals::new(&read, &asked.names, worker.asked, worker.platform.now());
    if vitals.are_still() {
        return Outcome::ended(End::Resting);
    }
    let outcome = match begin(worker, read, polling, asked, &vitals).await {
        Ok(mut poll) => {
            let end = poll.run().await;
            poll.close(end).await
        }
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
    polling: Option<&'a Polling>,
    asked: Arc<Asked>,
    vitals: &'w Vitals,
) -> Result<InstancePoll<'w, 'a, P, F>, Stop> {
    if plan.disabled || !plan.events_on {
        return Err(End::Unpolled(Unpolled::Disabled).into());
    }
    let Some(polling) = polling else {
        return Err(End::Unpolled(Unpolled::Connector).into());
    };
    let key = |name: &str| (worker.account_key)(&plan.connector, name);
    let gate = Gate::new(&plan, key, polling.budget, (worker.accounts, worker.slot), worker.asks_until);
    gate.open(worker.platform).await?;
    let keeper = Keeper::begin(&worker.asking(), polling, &mut plan, grant).await?;
    let stored = reconcile::noted(&plan, &standing.state);
    // A date to come would have nothing told until then.
    let since = since(&plan.settings).map(|since| since.min(worker.platform.now()));
    let settled = settle(&stored, &asked, reconcile::beginning(&plan), since);
    let step = Step::begin(settled, &standing.state);
    Ok(InstancePoll {
        worker,
        plan,
        polling,
        gate,
        keeper,
        asked,
        vitals,
        standing,
        step,
        told: 0,
        told_before: 0,
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
    asked: Arc<Asked>,
    vitals: &'w Vitals,
    /// Where the polls stand, as stored.
    standing: Standing,
    /// What is not told yet, and where it leads.
    step: Step,
    told: usize,
    /// What was found and webhooks told.
    told_before: usize,
    left_out: usize,
    finished: BTreeSet<String>,
    troubles: BTreeMap<String, Trouble>,
}

impl<P: Platform, F: Fetch> InstancePoll<'_, '_, P, F> {
    async fn run(&mut self) -> End {
        match self.ask_all().await {
            Ok(end) => self.tell().await.err().unwrap_or(end),
            Err(end) => end,
        }
    }

    async fn close(self, end: End) -> Outcome {
        let lasts = Some(self.keeper.lasts());
        self.keeper.end(self.worker.platform).await;
        self.gate.share(self.worker.platform).await;
        reconcile::count(&self.plan, self.told_before, self.told);
        counter!("pollhook_polls", "connector" => self.plan.connector.clone()).increment(1);
        counter!("pollhook_accepted", "connector" => self.plan.connector).increment(self.told as u64);
        let Self { told, left_out, finished, troubles, .. } = self;
        Outcome { told, left_out, finished, troubles, lasts, end }
    }

    /// Asks for every resource. `Err`: telling a step came to an end.
    async fn ask_all(&mut self) -> Result<End, End> {
        let (asked, vitals) = (Arc::clone(&self.asked), self.vitals);
        for problem in asked.problems.iter().filter(|problem| !vitals.rest(&problem.resource)) {
            self.misconfigured(problem);
        }
        let first = match asked.queries.len() {
            0 | 1 => 0,
            count => usize::try_from(self.worker.platform.random().bits() % count as u64).unwrap_or(0),
        };
        let (before, from) = asked.queries.split_at(first);
        for query in from.iter().chain(before).filter(|query| !vitals.rest(&query.name)) {
            let query = reconcile::query(&self.plan, query);
            if let Some(end) = self.ask(&query).await? {
                return Ok(end);
            }
        }
        Ok(End::Asked)
    }

    fn misconfigured(&mut self, problem: &Problem) {
        self.troubles.insert(problem.resource.clone(), Trouble::Configuration(problem.to_string()));
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
            let Reading { mut found, stop, more, left_out } =
                asker.read(query, self.step.place(&query.name), self.step.room()).await;
            self.left_out += left_out;
            let (platform, changes) = (self.worker.platform, &mut found.changes);
            self.told_before += reconcile::leave_out(platform, &self.plan, self.polling, query, changes).await;
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
        if !self.step.worth_storing() {
            return Ok(());
        }
        let telling = self.step.tell(self.worker, &self.plan.group, &mut self.standing);
        let (told, outcome) = Box::pin(telling).await;
        self.told += told;
        outcome
    }
}
