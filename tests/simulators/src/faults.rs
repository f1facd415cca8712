//! What goes wrong, and when: faults that a test plans.
//!
//! A plan is a [`When`] and a [`Fault`]. Every plan counts the requests that it concerns by itself; of the plans that are
//! due at one request, all that only disturb (time, tokens, data) do so, and the first that answers answers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::sync::Semaphore;

use crate::exchange::{Answer, Request};

/// Which requests a fault concerns: of those that match, after the first `skip`, the next `times`.
#[derive(Clone, Debug)]
pub struct When {
    method: Option<Method>,
    path: Option<String>,
    skip: usize,
    times: usize,
}

impl When {
    /// The next request, whatever it is.
    #[must_use]
    pub fn next() -> Self {
        Self { method: None, path: None, skip: 0, times: 1 }
    }

    /// The next request whose path has `part` in it.
    #[must_use]
    pub fn path(part: &str) -> Self {
        Self { path: Some(part.to_owned()), ..Self::next() }
    }

    /// The same, of this method only.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = Some(method);
        self
    }

    /// The same, after `skip` that match.
    #[must_use]
    pub fn skip(mut self, skip: usize) -> Self {
        self.skip = skip;
        self
    }

    /// The same, `times` times.
    #[must_use]
    pub fn times(mut self, times: usize) -> Self {
        self.times = times;
        self
    }

    /// The same, from then on.
    #[must_use]
    pub fn forever(self) -> Self {
        self.times(usize::MAX)
    }

    fn matches(&self, request: &Request) -> bool {
        self.method.as_ref().is_none_or(|method| *method == request.method)
            && self.path.as_ref().is_none_or(|part| request.path.contains(part.as_str()))
    }

    /// Whether it is due at this request, which is counted.
    fn due(&mut self, request: &Request) -> bool {
        if !self.matches(request) || self.times == 0 {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times -= if self.times == usize::MAX { 0 } else { 1 };
        true
    }
}

/// How a provider that asks for patience says for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RetryAfter {
    /// It does not.
    Unsaid,
    /// In seconds.
    Seconds(u32),
    /// By a date of the provider's clock, this many seconds from its now.
    Date(u32),
}

/// A refusal that every provider words in its own way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Too many requests.
    TooMany(RetryAfter),
    /// Its own fault, with this status of 500 and above.
    Broken(u16),
}

/// A change that a test makes to a provider's world.
pub type Change<P> = Arc<dyn Fn(&mut P) + Send + Sync>;

/// Holds answers back until a test lets them go.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Semaphore>);

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }
}

impl Gate {
    /// A gate that is closed.
    #[must_use]
    pub fn closed() -> Self {
        Self::default()
    }

    /// Lets everybody through from now on.
    pub fn open(&self) {
        self.0.close();
    }

    /// Waits until it is open.
    pub(crate) async fn passed(&self) {
        // A closed semaphore is an open gate; it never has a permit.
        let _ = self.0.acquire().await;
    }
}

/// What goes wrong.
pub enum Fault<P> {
    /// The provider refuses, in its own words.
    Refuse(Refusal),
    /// This is the answer, whatever was asked.
    Answer(Answer),
    /// The connection closes; nothing was done.
    HangUpBefore,
    /// The connection closes after the work was done: tokens were rotated, codes spent.
    HangUpAfter,
    /// The connection closes after so many bytes of the answer's body; the work was done.
    CutAfter(usize),
    /// The answer takes this long, on the wall clock.
    Slow(Duration),
    /// The work is done at once, and its answer comes when the gate is open.
    Held(Gate),
    /// All access tokens have expired by then.
    ExpireTokens,
    /// The user has taken back every grant by then.
    Revoke,
    /// The world changes before the request is looked at.
    Before(Change<P>),
    /// The world changes as soon as the request is answered: between two pages.
    After(Change<P>),
}

impl<P> Fault<P> {
    /// Too many requests.
    #[must_use]
    pub fn too_many(retry_after: RetryAfter) -> Self {
        Self::Refuse(Refusal::TooMany(retry_after))
    }

    /// The provider's own fault.
    #[must_use]
    pub fn broken(status: u16) -> Self {
        Self::Refuse(Refusal::Broken(status))
    }

    /// The world changes before the request is looked at.
    pub fn before(change: impl Fn(&mut P) + Send + Sync + 'static) -> Self {
        Self::Before(Arc::new(change))
    }

    /// The world changes as soon as the request is answered.
    pub fn after(change: impl Fn(&mut P) + Send + Sync + 'static) -> Self {
        Self::After(Arc::new(change))
    }
}

impl<P> Clone for Fault<P> {
    fn clone(&self) -> Self {
        match self {
            Self::Refuse(refusal) => Self::Refuse(*refusal),
            Self::Answer(answer) => Self::Answer(answer.clone()),
            Self::HangUpBefore => Self::HangUpBefore,
            Self::HangUpAfter => Self::HangUpAfter,
            Self::CutAfter(bytes) => Self::CutAfter(*bytes),
            Self::Slow(duration) => Self::Slow(*duration),
            Self::Held(gate) => Self::Held(gate.clone()),
            Self::ExpireTokens => Self::ExpireTokens,
            Self::Revoke => Self::Revoke,
            Self::Before(change) => Self::Before(Arc::clone(change)),
            Self::After(change) => Self::After(Arc::clone(change)),
        }
    }
}

impl<P> fmt::Debug for Fault<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refuse(refusal) => write!(f, "Refuse({refusal:?})"),
            Self::Answer(answer) => write!(f, "Answer({})", answer.status),
            Self::HangUpBefore => f.write_str("HangUpBefore"),
            Self::HangUpAfter => f.write_str("HangUpAfter"),
            Self::CutAfter(bytes) => write!(f, "CutAfter({bytes})"),
            Self::Slow(duration) => write!(f, "Slow({duration:?})"),
            Self::Held(_) => f.write_str("Held"),
            Self::ExpireTokens => f.write_str("ExpireTokens"),
            Self::Revoke => f.write_str("Revoke"),
            Self::Before(_) => f.write_str("Before(…)"),
            Self::After(_) => f.write_str("After(…)"),
        }
    }
}

/// All plans of a simulator.
#[derive(Debug)]
pub(crate) struct Plans<P>(Vec<(When, Fault<P>)>);

impl<P> Default for Plans<P> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<P> Plans<P> {
    pub(crate) fn add(&mut self, when: When, fault: Fault<P>) {
        self.0.push((when, fault));
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// What is due at this request, in the order of planning.
    pub(crate) fn due(&mut self, request: &Request) -> Vec<Fault<P>> {
        let due = self.0.iter_mut().filter_map(|(when, fault)| when.due(request).then(|| fault.clone())).collect();
        self.0.retain(|(when, _)| when.times > 0);
        due
    }
}
