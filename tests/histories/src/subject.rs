//! What is polled: a provider, and what must be told of its history.

use std::fmt::Debug;
use std::time::Duration;

use events::{Event, Timestamp};
use serde_json::Value;
use simulators::{Fault, Request, Rotation, Simulator, Tokens};

use crate::bugs::Bug;
use crate::dice::Dice;

/// What happens at a provider.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// What.
    pub what: What,
    /// To which of those that it can happen to.
    pub pick: u64,
    /// How late the provider shows it, where it may.
    pub late: Duration,
}

/// A kind of change; where nothing is there that it could happen to, something is made instead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// Something is made.
    Create,
    /// Something is changed.
    Update,
    /// Something is deleted.
    Delete,
    /// Something that was deleted is brought back; or something is moved.
    Restore,
    /// Two become one, where the provider has that.
    Merge,
}

/// A poll, or two at a time, as it was seen from outside.
#[derive(Clone, Debug)]
pub struct Poll {
    /// The provider's clock as it began.
    pub began: Timestamp,
    /// The provider's clock as it ended.
    pub ended: Timestamp,
    /// How many changes there had been as it began.
    pub changes_before: usize,
    /// How many there had been as it ended.
    pub changes_after: usize,
    /// Whether everything was asked for, and every answer was a page.
    pub complete: bool,
    /// Whether the worker died, its own table or queue failed, or its claim ran out: the position may not have moved.
    pub broken: bool,
    /// The paths that were asked for, and the status of each answer that came.
    pub asked: Vec<(String, Option<u16>)>,
    /// Whether the customer has to consent again.
    pub ended_consent: bool,
    /// What the polls came to, for people.
    pub outcome: String,
}

impl Poll {
    /// Whether it saw the provider as it was at one moment, and everything of it.
    #[must_use]
    pub fn saw_all(&self) -> bool {
        self.complete && self.changes_before == self.changes_after
    }
}

/// An event that was made durable.
#[derive(Clone, Debug)]
pub struct Telling {
    /// By which poll.
    pub poll: usize,
    /// The event.
    pub event: Event,
    /// Its record.
    pub record: Value,
}

/// Everything that is judged.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// When the instance was made.
    pub provisioned: Timestamp,
    /// The polls, in order.
    pub polls: &'a [Poll],
    /// What was told, in order.
    pub told: &'a [Telling],
}

/// A provider, as far as its polls are judged.
pub trait Subject: 'static {
    /// The provider's world.
    type Provider: simulators::Provider;
    /// What happened there, as the test knows it.
    type History: Default + Debug + Send + 'static;

    /// The connector's key.
    const CONNECTOR: &'static str;
    /// The connector's definition.
    const DEFINITION: &'static str;
    /// Numbers of the definition, and what they are made here so that few objects are many pages.
    const SCALED: &'static [(&'static str, &'static str)];
    /// Where the records of an answer may stand, as JSON pointers.
    const RECORDS: &'static [&'static str];
    /// How late after its date a change may be shown and is told.
    const LATEST: Duration;
    /// How coarse dates are.
    const GRAIN: Duration;

    /// The provider, which nothing has happened to yet.
    fn start(now: Timestamp, dice: &mut Dice) -> Simulator<Self::Provider>;

    /// The instance's configuration, secrets included, but for what a consent brings.
    fn settings(simulator: &Simulator<Self::Provider>, dice: &mut Dice) -> Vec<(&'static str, String)>;

    /// A consent of the customer's; `None`: there are none, or no test is about them.
    fn consent(_: &mut Self::Provider) -> Option<Tokens> {
        None
    }

    /// How refresh tokens may be replaced.
    const ROTATIONS: &'static [Rotation] = &[Rotation::Never];

    /// Makes a change, and writes it down.
    fn change(provider: &mut Self::Provider, history: &mut Self::History, change: Change, now: Timestamp);

    /// How many changes there were.
    fn changes(history: &Self::History) -> usize;

    /// Something that goes wrong at the provider.
    fn fault(dice: &mut Dice) -> Fault<Self::Provider>;

    /// How a bug that is one of the definition is written there: each text, and what it becomes.
    #[must_use]
    fn mistaken(_: Bug) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// The request of a poller that asks for what is strictly later, where the definition does not say how it asks.
    fn ask_strictly(_: &mut Request) {}

    /// Whether a record says that its object is gone.
    fn is_gone(record: &Value) -> bool;

    /// Holds what was told against what happened.
    ///
    /// # Errors
    /// What was promised and is not so.
    fn judge(history: &Self::History, evidence: &Evidence<'_>) -> Result<(), String>;
}
