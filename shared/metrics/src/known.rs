//! The figures there are: their names, as code and README write them.
//!
//! In code a name has the prefix [`PREFIX`]; on CloudWatch the namespace stands for it, and on a page of Prometheus a
//! counter ends in `_total`.

/// What the names of all figures begin with.
pub const PREFIX: &str = "pollhook_";

/// What kind of figure it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// As it stands.
    Gauge,
    /// Each value counts.
    Histogram,
}

/// A figure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Figure {
    /// Its name, without [`PREFIX`].
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// What it says, in one sentence.
    pub help: &'static str,
}

const fn figure(kind: Kind, name: &'static str, labels: &'static [&'static str], help: &'static str) -> Figure {
    Figure { name, kind, labels, help }
}

/// All of them.
pub const FIGURES: &[Figure] = &[
    figure(Kind::Counter, "received", &["connector"], "Requests that came to a connector's URL."),
    figure(Kind::Counter, "accepted", &["connector"], "Events made durable, one per instance that is told."),
    figure(Kind::Counter, "signalled", &["connector"], "Poll jobs made durable because a provider signalled a change."),
    figure(Kind::Counter, "polls", &["connector"], "Polls of an instance, whatever each came to."),
    figure(Kind::Counter, "polls_failing", &["connector"], "Resources whose polls began to fail again and again."),
    figure(Kind::Counter, "polls_recovered", &["connector"], "Resources, or instances, whose polls are well again."),
    figure(Kind::Counter, "polls_stopped", &["connector"], "Instances whose provider wants a new consent."),
    figure(Kind::Counter, "consents_lapsing", &["connector"], "Instances whose consent ends soon, each told once."),
    figure(
        Kind::Counter,
        "reconciled",
        &["connector", "outcome"],
        "Changes found by polls beside webhooks: told by these, or not.",
    ),
    figure(
        Kind::Counter,
        "webhooks_quiet",
        &["connector"],
        "Instances of whose changes polls tell and webhooks do not.",
    ),
    figure(Kind::Counter, "webhooks_heard", &["connector"], "Those whose webhooks tell again."),
    figure(Kind::Counter, "polls_overdue", &[], "Polls that were sent more than three turns late."),
    figure(Kind::Counter, "ticks_missed", &[], "Minutes in which no tick sent what was due, of gaps that are long."),
    figure(Kind::Counter, "refused", &["connector", "reason"], "Requests, or parts of them, that were not taken."),
    figure(Kind::Counter, "delivered", &[], "Notifications that a callback took."),
    figure(Kind::Counter, "failed", &[], "Attempts at a notification that a callback did not take."),
    figure(Kind::Counter, "retried", &[], "Further attempts that were scheduled."),
    figure(Kind::Counter, "parked", &[], "Notifications that wait for an operator or their callback's return."),
    figure(Kind::Counter, "flows", &[], "Entries published to the event bus."),
    figure(Kind::Histogram, "latency_ms", &[], "From accepted to told, in milliseconds."),
    figure(Kind::Histogram, "callback_ms", &[], "The callback's POST, in milliseconds."),
    figure(Kind::Counter, "wakeups", &[], "Retries whose time had come, sent to the queue."),
    figure(Kind::Counter, "requests", &["class"], "Requests to the instances API, by class of status."),
    figure(Kind::Gauge, "backlog", &["queue", "state"], "Messages in a queue."),
    figure(Kind::Gauge, "dead_letters", &[], "Messages that were set aside because they cannot be read."),
];

/// The name without [`PREFIX`].
#[must_use]
pub fn bare(name: &str) -> &str {
    name.strip_prefix(PREFIX).unwrap_or(name)
}

/// What the figure of this name, with or without [`PREFIX`], says.
#[must_use]
pub fn help(name: &str) -> Option<&'static str> {
    FIGURES.iter().find(|figure| figure.name == bare(name)).map(|figure| figure.help)
}
