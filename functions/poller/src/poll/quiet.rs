//! Webhooks that stay quiet while polls beside them find changes.
//!
//! *Promise:* told once when it begins and once when it ends, by a line of the log and a figure; in between it is seen at the
//! instance. It begins where a poll told something while no webhook told anything on this day (UTC) nor on the one before,
//! and what they tell has been noted for a day at least: so a subscription that an administrator removed is known a day or
//! two later, and one that is only rarely told of anything is not taken for it. It ends with the next turn after a webhook,
//! whatever that told.
//!
//! *Not promised:* to see a webhook that tells some changes and not others.
//!
//! *Cost:* a read of each of the two days where a poll told something, or while webhooks are quiet; else nothing.
//!
//! *Failure:* what cannot be read leaves it as it was.

use std::time::Duration;

use events::{InstanceId, Timestamp};
use metrics::counter;
use platform::Platform;
use records::health::Health;
use records::told;

/// For so long what webhooks tell has been noted before they can be quiet.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// What is new of an instance's webhooks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum News {
    /// They are quiet from now on.
    Quiet { now: Timestamp },
    /// They are heard again.
    Heard {
        /// Since when they were quiet.
        quiet: Timestamp,
    },
}

/// What is known of an instance's webhooks before a poll is noted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Webhooks {
    /// Since when what they tell is noted; `None`: it is not.
    pub(super) noted: Option<Timestamp>,
    /// Since when they are quiet, as it was noted last.
    pub(super) quiet: Option<Timestamp>,
}

impl Webhooks {
    /// Since when they are quiet, as far as that counts.
    fn quiet(self) -> Option<Timestamp> {
        Health::quiet_since(self.quiet, self.noted)
    }

    /// Whether it is to be looked up if any webhook came, after a poll that told so many changes.
    fn ask(self, told: usize, now: Timestamp) -> bool {
        let long = self.noted.is_some_and(|noted| now.since(noted) >= LONG);
        self.quiet().is_some() || told > 0 && long
    }

    /// What is new; `any`: whether a webhook came lately.
    fn news(self, any: bool, now: Timestamp) -> Option<News> {
        match (self.quiet(), any) {
            (None, false) => Some(News::Quiet { now }),
            (Some(quiet), true) => Some(News::Heard { quiet }),
            _ => None,
        }
    }

    /// What is new after a poll that told so many changes.
    pub(super) async fn listen<P: Platform>(self, platform: &P, instance: InstanceId, told: usize) -> Option<News> {
        let now = platform.now();
        if !self.ask(told, now) {
            return None;
        }
        match told::any_lately(platform, instance, now).await {
            Ok(any) => self.news(any, now),
            Err(error) => {
                tracing::warn!(%instance, %error, "whether its webhooks are quiet cannot be read");
                None
            }
        }
    }
}

impl News {
    /// Since when webhooks are quiet by now.
    pub(super) fn since(self) -> Option<Timestamp> {
        match self {
            Self::Quiet { now } => Some(now),
            Self::Heard { .. } => None,
        }
    }

    /// Tells the operator.
    pub(super) fn tell(self, instance: InstanceId, connector: &str) {
        let (instance, named) = (instance.number(), connector.to_owned());
        match self {
            Self::Quiet { .. } => {
                counter!("pollhook_webhooks_quiet", "connector" => named).increment(1);
                tracing::warn!(instance, connector, "polls find changes and no webhook comes: is it still registered?");
            }
            Self::Heard { quiet } => {
                counter!("pollhook_webhooks_heard", "connector" => named).increment(1);
                tracing::info!(instance, connector, since = quiet.iso_seconds(), "webhooks come again");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hour(n: u64) -> Timestamp {
        Timestamp::from_seconds(1_790_000_000).plus(Duration::from_secs(n * 3600))
    }

    proptest! {
        #[test]
        fn it_is_told_once_when_it_begins_and_once_when_it_ends_and_only_of_whom_it_is_noted(
            turns in proptest::collection::vec((0..3_usize, any::<bool>(), 1..30_u64), 1..40),
            noted in proptest::option::of(0..60_u64),
        ) {
            let mut webhooks = Webhooks { noted: noted.map(hour), quiet: None };
            let mut now = 0;
            for (told, any, hours) in turns {
                now += hours;
                let news = if webhooks.ask(told, hour(now)) { webhooks.news(any, hour(now)) } else { None };
                match news {
                    Some(News::Quiet { now: at }) => {
                        prop_assert!(webhooks.quiet.is_none() && told > 0 && !any && at == hour(now));
                        prop_assert!(noted.is_some_and(|noted| noted + 24 <= now));
                    }
                    Some(News::Heard { quiet }) => prop_assert!(any && webhooks.quiet == Some(quiet)),
                    None => {
                        let silent = told > 0 && !any && noted.is_some_and(|noted| noted + 24 <= now);
                        prop_assert!(!silent || webhooks.quiet.is_some());
                        prop_assert!(!any || webhooks.quiet.is_none());
                    }
                }
                if let Some(news) = news {
                    webhooks.quiet = news.since();
                }
            }
        }
    }

    #[test]
    fn what_was_noted_of_polls_that_were_taken_away_meanwhile_begins_anew() {
        let (before, after) = (hour(1), hour(30));
        let gone = Webhooks { noted: None, quiet: Some(before) };
        assert!(!gone.ask(5, after), "nobody notes what webhooks tell");
        let back = Webhooks { noted: Some(hour(2)), quiet: Some(before) };
        assert_eq!(back.news(false, after), Some(News::Quiet { now: after }));
        assert_eq!(back.news(true, after), None);
    }
}
