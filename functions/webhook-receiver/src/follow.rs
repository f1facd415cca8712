//! What one request comes to: counted, and told in one line of the log.
//!
//! *Promise.* Each request to a connector's URL is one line, `taken`, `refused` or `handshake`, by which what the provider
//! sent is followed to its events and from there, by their ids, to the callback. It names the connector, the first of the
//! instances and events and how many there are, or why nobody is told, and the request's id, which the provider was
//! answered with where it was refused. As JSON it has at most 250 bytes: on AWS the log is billed by size. Nothing that
//! the sender chose is in it.
//!
//! *Cost.* A request that is taken adds to two numbers whose places are known. Where nobody listens to [`FOLLOW`] no line
//! is made, and no id for it.
//!
//! Refusals are counted as they are written down (the module `refusals`): once for each instance, or part of a body, that
//! is left out, so one request can count several times, and count as `received` and `accepted` too.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::{Mutex, PoisonError};

use connectors::{Catalogue, Connector};
use events::{Batch, EventId, InstanceId};
use metrics::{Counter, counter};
use records::refused::Reason;
use tracing::{Level, enabled, info};

use crate::Answer;

/// The target of these lines. One process may take thousands of webhooks a second: who does not want a line for each
/// filters by it.
pub const FOLLOW: &str = "pollhook::follow";

/// What counts as a connector where a URL names none.
const UNKNOWN: &str = "unknown";

/// What is counted of each request to a connector.
#[derive(Debug)]
pub(crate) struct Figures {
    received: Counter,
    accepted: Counter,
    signalled: Counter,
}

impl Figures {
    /// Those of every connector. A connector that nothing comes to counts zero from the start.
    pub(crate) fn of(catalogue: &Catalogue) -> HashMap<String, Self> {
        let figures = |connector: &str| Self {
            received: counter!("pollhook_received", "connector" => connector.to_owned()),
            accepted: counter!("pollhook_accepted", "connector" => connector.to_owned()),
            signalled: counter!("pollhook_signalled", "connector" => connector.to_owned()),
        };
        catalogue.keys().map(|key| (key.to_owned(), figures(key))).collect()
    }
}

/// Who is told, and of what.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Told {
    instance: Option<InstanceId>,
    instances: usize,
    event: Option<EventId>,
    events: usize,
}

impl Told {
    /// What these batches tell.
    pub(crate) fn of(batches: &[(Batch, String)]) -> Self {
        let first = batches.first().map(|(batch, _)| batch);
        Self {
            instance: first.map(|batch| batch.instance),
            instances: batches.len(),
            event: first.and_then(|batch| batch.events.first()).map(|event| event.id),
            events: batches.iter().map(|(batch, _)| batch.events.len()).sum(),
        }
    }
}

/// The connector that a request came to, and what became of the request so far.
pub(crate) struct Followed<'a> {
    connector: &'a Connector,
    figures: Option<&'a Figures>,
    became: Mutex<Became>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Became {
    told: Told,
    /// Why the last that was left out was: where all of it is refused, that is why.
    refused: Option<Reason>,
}

impl Deref for Followed<'_> {
    type Target = Connector;

    fn deref(&self) -> &Connector {
        self.connector
    }
}

impl<'a> Followed<'a> {
    /// A request has come.
    pub(crate) fn new(connector: &'a Connector, figures: Option<&'a Figures>) -> Self {
        if let Some(figures) = figures {
            figures.received.increment(1);
        }
        Self { connector, figures, became: Mutex::default() }
    }

    /// Events were made durable.
    pub(crate) fn accepted(&self, told: Told) {
        if let Some(figures) = self.figures {
            figures.accepted.increment(told.events as u64);
        }
        self.became(|became| became.told = told);
    }

    /// Polls of instances are to come, for which so many jobs were made durable.
    pub(crate) fn signalled(&self, first: Option<InstanceId>, instances: usize, jobs: usize) {
        if let Some(figures) = self.figures {
            figures.signalled.increment(jobs as u64);
        }
        self.became(|became| became.told = Told { instance: first, instances, ..Told::default() });
    }

    /// The request, or a part of it, was left out.
    pub(crate) fn refused(&self, reason: Reason) {
        count_refused(self.key(), reason.name());
        self.became(|became| became.refused = Some(reason));
    }

    /// The request is answered. `request_id` is asked for where somebody reads it.
    pub(crate) fn answered(&self, answer: &Answer, request_id: impl FnOnce() -> String) {
        let without_reason = match answer {
            Answer::Method(_) => Some("method"),
            Answer::TryAgain => Some("unavailable"),
            _ => None,
        };
        if let Some(reason) = without_reason {
            count_refused(self.key(), reason.to_owned());
        }
        if !enabled!(target: FOLLOW, Level::INFO) {
            return;
        }
        let (connector, request_id) = (self.key(), request_id());
        let Became { told, refused } = self.became(|became| *became);
        let reason = without_reason.map(str::to_owned).or_else(|| refused.map(Reason::name));
        match answer {
            Answer::Taken => {
                let instance = told.instance.map(InstanceId::number);
                let event = told.event.as_ref().map(ToString::to_string);
                // The usual is left out: a line is billed by size.
                let instances = (told.instances != 1).then_some(told.instances);
                let reason = reason.filter(|_| told.instances == 0);
                let events = (told.events != 1).then_some(told.events);
                info!(target: FOLLOW, connector, instance, instances, events, event, reason, request_id, "taken");
            }
            Answer::Handshake(_) => info!(target: FOLLOW, connector, request_id, "handshake"),
            _ => info!(target: FOLLOW, connector, reason, request_id, "refused"),
        }
    }

    fn became<T>(&self, look: impl FnOnce(&mut Became) -> T) -> T {
        look(&mut self.became.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A request to a URL of no connector was answered. What the URL says is a stranger's text, and not repeated.
pub(crate) fn answered_unknown(request_id: impl FnOnce() -> String) {
    let reason = "unknown_connector";
    count_refused(UNKNOWN, reason.to_owned());
    if enabled!(target: FOLLOW, Level::INFO) {
        info!(target: FOLLOW, connector = UNKNOWN, reason, request_id = request_id(), "refused");
    }
}

fn count_refused(connector: &str, reason: String) {
    counter!("pollhook_refused", "connector" => connector.to_owned(), "reason" => reason).increment(1);
}
