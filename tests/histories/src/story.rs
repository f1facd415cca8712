//! A history of a provider and of the polls of one instance, as a seed decides it.

use std::time::Duration;

use connectors::Connector;
use egress::{Client, Limits, Policy};
use platform::testing::Moment;

use crate::bugs::Bug;
use crate::subject::{Change, Evidence, Subject, What};
use crate::world::{Trouble, World, lock};

/// So long after the last change nothing is late, no claim stands, and no provider wants to be left alone.
const LONG: Duration = Duration::from_secs(7_200);
/// So many polls in a row that find everything are rest.
const RESTS: usize = 3;
/// As often at most a lost answer's token is refused before the customer is asked to consent again.
const REFUSALS: usize = 6;
/// Acts of a history.
const ACTS: u64 = 30;

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
        let (mut world, settings) = World::<S>::new(seed, bug, connector.polling().unwrap(), client);
        world.begin(&settings).await;
        for _ in 0..world.dice.below(ACTS) + 5 {
            world.act().await;
            world.consented_again().await?;
        }
        world.settle().await
    })
}

impl<S: Subject> World<'_, S> {
    /// Something happens before the instance is made, and at once after it.
    async fn begin(&mut self, settings: &[(&'static str, String)]) {
        self.pass(Duration::from_secs(5));
        self.burst();
        let before = self.dice.pick(&[0, 300, 700, 1_500, 90_000]);
        self.pass(Duration::from_millis(before));
        self.provision(settings).await;
        let after = self.dice.pick(&[0, 1, 250, 600, 1_000]);
        self.pass(Duration::from_millis(after));
        self.burst();
    }

    /// To the next whole second.
    fn pass_to_second(&mut self) {
        let over = self.simulator.clock().now().as_millis().rem_euclid(1_000).unsigned_abs();
        self.pass(Duration::from_millis((1_000 - over) % 1_000));
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
            expires: dice.chance(30).then(|| dice.count(5)),
            pace: Duration::from_millis(dice.pick(&[0, 0, 0, 1, 700, 100_000])),
        }
    }

    /// Lets everything come to rest, and judges.
    async fn settle(mut self) -> Result<(), String> {
        self.simulator.heal();
        // What was to fail and was not asked for yet fails here.
        let (most, mut whole) = (self.polls.len() + RESTS + REFUSALS, 0);
        while whole < RESTS && self.polls.len() < most * 2 {
            self.pass(LONG);
            self.poll(Trouble::default()).await;
            self.consented_again().await?;
            whole = if self.polls.last().is_some_and(|poll| poll.complete) { whole + 1 } else { 0 };
        }
        let evidence = Evidence { provisioned: self.provisioned, polls: &self.polls, told: &self.told };
        let history = lock(&self.history);
        let judged =
            if whole < RESTS { Err("it does not come to rest".to_owned()) } else { S::judge(&history, &evidence) };
        judged.map_err(|broken| self.told_of(&broken))
    }

    async fn consented_again(&mut self) -> Result<(), String> {
        self.consent_again().await.map_err(|broken| self.told_of(&broken))
    }

    /// What is broken, with the history.
    fn told_of(&self, broken: &str) -> String {
        format!("{broken}\n{}", self.log.join("\n"))
    }
}
