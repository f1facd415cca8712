//! What fails again and again is asked less often, and is told.
//!
//! *Promise:* never silent. A resource that fails is tried again within an hour, or at the instance's next turn where turns
//! are rarer; the pause grows to an hour and no further, and the first good poll ends it. Its operator is told once: when it
//! has failed [`MANY`] times or for [`LONG`], and when it is well again. Nothing but a consent that the provider does not know
//! any more stops an instance's polls, and a change of the instance starts them again.
//!
//! *A consent that is about to end* is noted and told once, however often its end is told anew by some seconds more or less; a
//! later end takes the note away.
//!
//! *Who does not wait:* a poll that somebody asked for (a signal, a new instance), and one of an instance that was changed
//! since.
//!
//! *Cost:* a poll that comes meanwhile is the one query that says so. A write for the first failure, one for each further
//! step, one for the recovery, one for a consent's near end and one for each change of the instance while it is near; what fails between two steps, because it was asked for, is no write.
//!
//! Our own failures are none of the instance's: they are not noted, and slow nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use events::{InstanceId, Timestamp};
use metrics::counter;
use platform::{Platform, Version};
use records::health::{self, Failing, Health, Stored};
use records::plans::Read;
use records::wheel::Minutes;

use super::quiet::Webhooks;
use super::{End, Lasts, Outcome, Trouble};

/// The pause after the first failure; each further one doubles it.
const FIRST: Duration = Duration::from_secs(60);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// After so many failures the operator is told.
const MANY: u32 = 3;
/// Or when failures last so long.
const LONG: Duration = Duration::from_secs(5 * 60);
/// Characters of a reason that are kept: what a provider answers is not in it, what a customer configured is.
const REASON: usize = 300;
/// Ends of a consent that are no further apart are one: each answer counts from its own moment.
const SAME_END: Duration = Duration::from_secs(5 * 60);
/// The name of all resources together.
const ALL: &str = "";

/// How an instance's polls fared before this one.
pub(super) struct Vitals {
    instance: InstanceId,
    connector: String,
    stored: Stored,
    plan: Version,
    interval: Option<Minutes>,
    /// What is known of its webhooks, where its polls tell what these missed.
    webhooks: Webhooks,
    /// What is configured, usable or not.
    resources: BTreeSet<String>,
    /// What is left out of this poll.
    resting: BTreeSet<String>,
}

/// What the operator is told.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Tidings {
    Fails(String, Failing),
    Recovered(String, Failing),
    Revoked,
    Consented,
    Lapses(Timestamp),
}

impl Vitals {
    /// `resources` are the names of what is configured, usable or not.
    pub(super) fn new(read: &Read, resources: &BTreeSet<String>, asked: bool, now: Timestamp) -> Self {
        if let Some(error) = &read.health.unreadable {
            tracing::warn!(instance = %read.plan.instance, error, "how its polls fare cannot be read, and is noted anew");
        }
        let interval = read.plan.interval();
        let heeds = !asked && read.health.health.is_of(read.version);
        let rests = |name: &&String| heeds && rests(&read.health.health, name, interval, now);
        Self {
            instance: read.plan.instance,
            connector: read.plan.connector.clone(),
            resting: resources.iter().filter(rests).cloned().collect(),
            webhooks: Webhooks { noted: read.plan.reconciles, quiet: read.health.health.webhooks_quiet },
            stored: read.health.clone(),
            plan: read.version,
            interval,
            resources: resources.clone(),
        }
    }

    /// Whether there is nothing to be asked for in this poll.
    pub(super) fn are_still(&self) -> bool {
        let health = &self.stored.health;
        let all_rest = !self.resources.is_empty() && self.resting.len() == self.resources.len();
        all_rest || (health.revoked.is_some() && health.is_of(self.plan))
    }

    /// Whether a resource is left out of this poll.
    pub(super) fn rest(&self, resource: &str) -> bool {
        self.resting.contains(resource)
    }

    /// Notes what the poll came to, and tells the operator of what is new.
    pub(super) async fn note<P: Platform>(&self, platform: &P, outcome: &Outcome) {
        let heard = self.webhooks.listen(platform, self.instance, outcome.told).await;
        let (mut health, tidings) = match self.after(outcome, platform.now()) {
            Some(noted) => noted,
            None if heard.is_some() => (self.stored.health.clone(), Vec::new()),
            None => return,
        };
        if let Some(heard) = heard {
            health.webhooks_quiet = heard.since();
        }
        match health::put(platform, self.instance, &self.stored, &health).await {
            Ok(true) => {
                tidings.iter().for_each(|tidings| self.tell(tidings));
                if let Some(heard) = heard {
                    heard.tell(self.instance, &self.connector);
                }
            }
            // Another poll's note stands, and has told.
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(instance = %self.instance, %error, "how its polls fare could not be noted");
            }
        }
    }

    /// How the polls fare after this one, and what is to be told; `None`: as before.
    fn after(&self, outcome: &Outcome, now: Timestamp) -> Option<(Health, Vec<Tidings>)> {
        let before = &self.stored.health;
        let changed = !before.is_of(self.plan);
        let (recovered, webhooks_quiet) = (before.recovered, before.webhooks_quiet);
        let mut after = Health { failing: before.failing.clone(), recovered, webhooks_quiet, ..Health::of(self.plan) };
        after.failing.retain(|name, _| name == ALL || self.resources.contains(name));
        let mut tidings = Vec::new();
        for (name, error, slowed) in failures(outcome) {
            let earlier = before.failing.get(name);
            let noted = |earlier: &Failing| earlier.slowed == slowed && now.plus(slack(self.interval)) < earlier.next;
            if !changed && earlier.is_some_and(noted) {
                continue;
            }
            let mut failing = failing(earlier, error, slowed, self.interval, now);
            if let (ALL, End::PutOff { until }) = (name, &outcome.end) {
                failing.next = *until;
            }
            if failing.told && !earlier.is_some_and(|earlier| earlier.told) {
                tidings.push(Tidings::Fails(name.to_owned(), failing.clone()));
            }
            after.failing.insert(name.to_owned(), failing);
        }
        let all_fail = failures(outcome).any(|(name, ..)| name == ALL);
        let well = |name: &String| outcome.finished.contains(name);
        if outcome.end == End::Revoked {
            after.revoked = Some(before.revoked.unwrap_or(now));
            tidings.push(Tidings::Revoked);
        } else if before.revoked.is_some() && self.resources.iter().any(well) {
            tidings.push(Tidings::Consented);
        } else if before.revoked.is_some() && failures(outcome).next().is_none() {
            // Nobody knows yet: the next poll tries as this one did.
            return None;
        }
        let ended = |name: &String, _: &mut Failing| match name.as_str() {
            ALL => !outcome.finished.is_empty() && !all_fail,
            _ => well(name),
        };
        for (name, failing) in after.failing.extract_if(.., ended) {
            after.recovered = Some(now);
            if failing.told {
                tidings.push(Tidings::Recovered(name, failing));
            }
        }
        after.lapses = lapses(before.lapses, outcome.lasts, now);
        if let Some(at) = after.lapses.filter(|at| before.lapses != Some(*at)) {
            tidings.push(Tidings::Lapses(at));
        }
        // A note of another plan is shown to nobody: it may be of the consent before.
        let noted = after.lapses == before.lapses && (!changed || after.lapses.is_none());
        let same = after.failing == before.failing && after.revoked == before.revoked && noted && tidings.is_empty();
        (!same).then_some((after, tidings))
    }

    fn tell(&self, tidings: &Tidings) {
        let (instance, connector) = (self.instance.number(), self.connector.clone());
        match tidings {
            Tidings::Fails(resource, Failing { since, failures, error, next, .. }) => {
                counter!("pollhook_polls_failing", "connector" => connector.clone()).increment(1);
                let (since, next) = (since.iso_seconds(), next.iso_seconds());
                tracing::error!(instance, connector, resource, since, failures, error, next, "polls fail");
            }
            Tidings::Recovered(resource, Failing { since, .. }) => {
                counter!("pollhook_polls_recovered", "connector" => connector.clone()).increment(1);
                tracing::warn!(instance, connector, resource, since = since.iso_seconds(), "polls are well again");
            }
            Tidings::Revoked => {
                counter!("pollhook_polls_stopped", "connector" => connector.clone()).increment(1);
                tracing::error!(instance, connector, "polls stop: the provider wants a new consent of the customer");
            }
            Tidings::Lapses(at) => {
                counter!("pollhook_consents_lapsing", "connector" => connector.clone()).increment(1);
                let lapses = at.iso_seconds();
                tracing::warn!(instance, connector, lapses, "a consent ends soon: the customer is to consent again");
            }
            Tidings::Consented => {
                counter!("pollhook_polls_recovered", "connector" => connector.clone()).increment(1);
                tracing::warn!(instance, connector, "polls go on: the provider takes the consent");
            }
        }
    }
}

/// Which end of a consent is noted from `now` on, after a poll that saw how long it lasts.
fn lapses(noted: Option<Timestamp>, lasts: Option<Lasts>, now: Timestamp) -> Option<Timestamp> {
    let lapse = match lasts {
        None => return noted,
        Some(Lasts::Until(lapse)) if lapse.is_near(now) => lapse,
        Some(_) => return None,
    };
    let same = |noted: &Timestamp| noted.since(lapse.at).max(lapse.at.since(*noted)) <= SAME_END;
    Some(noted.filter(same).unwrap_or(lapse.at))
}

/// What failed in a poll, by resource, with the reason, and whether it is to be asked less often. A limit has its own pause.
fn failures(outcome: &Outcome) -> impl Iterator<Item = (&str, String, bool)> {
    let all = match &outcome.end {
        End::NoCredential(reason) => Some((ALL, reason.clone(), true)),
        End::PutOff { .. } => Some((ALL, "the provider wants to be left alone for a while".to_owned(), false)),
        _ => None,
    };
    let theirs = outcome.troubles.iter().filter(|(_, trouble)| !matches!(trouble, Trouble::Ours(_)));
    let all = all.into_iter().chain(theirs.map(|(name, trouble)| (name.as_str(), trouble.to_string(), true)));
    all.map(|(name, reason, slowed)| (name, reason.chars().take(REASON).collect(), slowed))
}

/// A resource that failed `now`, and `earlier` as well.
fn failing(
    earlier: Option<&Failing>,
    error: String,
    slowed: bool,
    interval: Option<Minutes>,
    now: Timestamp,
) -> Failing {
    let since = earlier.map_or(now, |earlier| earlier.since);
    let failures = earlier.map_or(0, |earlier| earlier.failures).saturating_add(1);
    let told = earlier.is_some_and(|earlier| earlier.told) || failures >= MANY || now.since(since) >= LONG;
    Failing { since, last: now, failures, error, next: now.plus(pause(failures, interval)), slowed, told }
}

/// How long after so many failures the next try is: some of the instance's turns, and one at least.
fn pause(failures: u32, interval: Option<Minutes>) -> Duration {
    let doubled = FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST);
    let Some(turn) = interval.map(Minutes::turn) else { return doubled };
    let turns = doubled.as_secs() / turn.as_secs();
    turn.saturating_mul(u32::try_from(turns).unwrap_or(u32::MAX).max(1))
}

/// How much before its time a try counts as that one: turns come some seconds early or late.
fn slack(interval: Option<Minutes>) -> Duration {
    interval.map(Minutes::turn).unwrap_or_default() / 2
}

/// Whether a resource is left out of a turn that comes `now`.
fn rests(health: &Health, resource: &str, interval: Option<Minutes>, now: Timestamp) -> bool {
    let waits = |failing: &Failing| failing.slowed && now.plus(slack(interval)) < failing.next;
    [resource, ALL].into_iter().filter_map(|name| health.failing.get(name)).any(waits)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use records::grants::Lapse;

    use super::*;

    const PLAN: Version = Version(7);

    fn second(n: u64) -> Timestamp {
        Timestamp::from_seconds(1_790_000_000).plus(Duration::from_secs(n))
    }

    /// The vitals of an instance with the resources `a` and `b`, at a turn of its wheel or asked for.
    fn vitals(health: Health, plan: Version, minutes: u32, asked: bool, now: Timestamp) -> Vitals {
        let interval = Minutes::new(minutes);
        let mut stored = Stored::default();
        let resources = ["a", "b"].map(str::to_owned);
        let heeds = !asked && health.is_of(plan);
        let resting = resources.iter().filter(|name| heeds && rests(&health, name, interval, now)).cloned().collect();
        stored.health = health;
        let (instance, connector) = (InstanceId::from_random(7), "api".into());
        let webhooks = Webhooks { noted: None, quiet: None };
        Vitals { instance, connector, stored, plan, interval, webhooks, resources: resources.into(), resting }
    }

    fn outcome(end: End, troubles: &[(&str, Trouble)]) -> Outcome {
        let failed = |name: &str| troubles.iter().any(|(failed, _)| *failed == name || failed.is_empty());
        let finished = ["a", "b"].into_iter().filter(|name| end == End::Asked && !failed(name)).map(str::to_owned);
        let finished = finished.collect();
        let troubles = troubles.iter().map(|(name, trouble)| ((*name).to_owned(), trouble.clone()));
        Outcome { told: 0, left_out: 0, finished, troubles: troubles.collect(), lasts: None, end }
    }

    fn theirs() -> Trouble {
        Trouble::Theirs("status 500".into())
    }

    #[derive(Clone, Debug)]
    struct Turn {
        fails: bool,
        asked: bool,
        early_s: u64,
    }

    fn turns() -> impl Strategy<Value = Vec<Turn>> {
        let turn = (prop::bool::weighted(0.8), prop::bool::weighted(0.1), 0_u64..40);
        proptest::collection::vec(turn.prop_map(|(fails, asked, early_s)| Turn { fails, asked, early_s }), 1..200)
    }

    proptest! {
        #[test]
        fn who_fails_is_tried_within_an_hour_and_told_once_and_a_success_ends_it(
            turns in turns(),
            minutes in prop_oneof![1_u32..10, 1_u32..=1440],
        ) {
            let mut health = Health::of(PLAN);
            let (mut last, mut told, mut since) = (second(0), false, None);
            for (Turn { fails, asked, early_s }, index) in turns.into_iter().zip(1..) {
                let now = second(index * u64::from(minutes) * 60 + 40 - early_s);
                let vitals = vitals(health.clone(), PLAN, minutes, asked, now);
                prop_assert!(!vitals.rest("b"), "its neighbour is well");
                if vitals.rest("a") {
                    let longest = LONGEST.max(Duration::from_secs(u64::from(minutes) * 60));
                    prop_assert!(now.since(last) < longest, "silent for {:?}", now.since(last));
                    continue;
                }
                last = now;
                let troubles: &[_] = if fails { &[("a", theirs())] } else { &[] };
                let after = vitals.after(&outcome(End::Asked, troubles), now);
                let tidings = after.as_ref().map(|(_, tidings)| tidings.clone()).unwrap_or_default();
                if let Some((after, _)) = after {
                    prop_assert_ne!(&after, &health, "a write for nothing");
                    health = after;
                }
                if !fails {
                    prop_assert!(health.failing.is_empty());
                    prop_assert_eq!(matches!(&tidings[..], [Tidings::Recovered(name, _)] if name == "a"), told);
                    (told, since) = (false, None);
                    continue;
                }
                let failing = &health.failing["a"];
                prop_assert_eq!(failing.since, *since.get_or_insert(now));
                let tells = matches!(&tidings[..], [Tidings::Fails(name, _)] if name == "a");
                prop_assert!(tidings.is_empty() || (tells && !told), "{tidings:?}");
                told |= tells;
                prop_assert_eq!(told, failing.told);
                prop_assert_eq!(told, failing.failures >= MANY || failing.last.since(failing.since) >= LONG);
            }
        }

        #[test]
        fn a_pause_grows_to_an_hour_and_is_some_turns(failures in 0_u32.., minutes in proptest::option::of(1_u32..=1440)) {
            let interval = minutes.and_then(Minutes::new);
            let (this, next) = (pause(failures, interval), pause(failures.saturating_add(1), interval));
            prop_assert!(this <= next && this >= FIRST);
            match interval.map(Minutes::turn) {
                Some(turn) => {
                    prop_assert!(this <= LONGEST.max(turn) && this.as_secs() % turn.as_secs() == 0);
                }
                None => prop_assert!(this <= LONGEST),
            }
        }

        #[test]
        fn an_end_that_is_near_is_noted_and_told_with_each_note_and_a_later_one_takes_it_away(
            polls in proptest::collection::vec((0_u64..400, prop::option::weighted(0.8, 0_u64..4), 0_u64..250), 1..60),
        ) {
            // Consents of a thousand minutes each, by number: the last quarter of each is near.
            let minutes = |n: u64| Duration::from_secs(60 * n);
            let (mut health, mut now) = (Health::of(PLAN), 0);
            for (passes, consent, jitter_s) in polls {
                now += passes;
                let at = second(now * 60);
                let given = |consent: u64| second(consent * 60_000 + jitter_s);
                let lasts = consent.map(|consent| Lasts::Until(Lapse::of(given(consent), minutes(1000))));
                let vitals = vitals(health.clone(), PLAN, 15, false, at);
                let before = health.clone();
                let (after, tidings) = match vitals.after(&Outcome { lasts, ..outcome(End::More, &[]) }, at) {
                    Some((after, tidings)) => {
                        prop_assert_ne!(&after, &before, "a write for nothing");
                        (after, tidings)
                    }
                    None => (before.clone(), vec![]),
                };
                match lasts {
                    None => prop_assert_eq!(after.lapses, before.lapses, "nobody knows"),
                    Some(Lasts::Until(lapse)) if lapse.is_near(at) => {
                        let noted = after.lapses.unwrap();
                        prop_assert!(noted.since(lapse.at).max(lapse.at.since(noted)) <= SAME_END);
                    }
                    Some(_) => prop_assert_eq!(after.lapses, None),
                }
                let new = after.lapses.filter(|at| before.lapses != Some(*at));
                prop_assert_eq!(tidings, new.map(Tidings::Lapses).into_iter().collect::<Vec<_>>());
                health = after;
            }
        }

        #[test]
        fn what_is_not_due_is_noted_at_its_next_step(asked in proptest::collection::vec(1_u64..20, 1..100)) {
            // Signals make an instance of a daily wheel fail as often as they like.
            let (mut health, mut now, mut writes) = (Health::of(PLAN), 0, 0);
            for passes in asked {
                now += passes;
                let vitals = vitals(health.clone(), PLAN, 60, true, second(now));
                if let Some((after, _)) = vitals.after(&outcome(End::Asked, &[("a", theirs())]), second(now)) {
                    (health, writes) = (after, writes + 1);
                }
            }
            prop_assert!(writes <= 1 + now / (30 * 60));
        }
    }

    fn noted(vitals: &Vitals, outcome: &Outcome, now: Timestamp) -> (Health, Vec<Tidings>) {
        vitals.after(outcome, now).unwrap()
    }

    #[test]
    fn a_revoked_consent_stops_the_polls_until_the_instance_is_changed_and_is_told_once() {
        let first = vitals(Health::of(PLAN), PLAN, 15, false, second(0));
        let (health, tidings) = noted(&first, &outcome(End::Revoked, &[]), second(0));
        assert_eq!((health.revoked, tidings), (Some(second(0)), vec![Tidings::Revoked]));
        for asked in [false, true] {
            assert!(vitals(health.clone(), PLAN, 15, asked, second(900)).are_still());
        }
        let changed = vitals(health, Version(8), 15, false, second(900));
        assert!(!changed.are_still());
        let (again, tidings) = noted(&changed, &outcome(End::Revoked, &[]), second(900));
        assert_eq!((again.revoked, tidings), (Some(second(0)), vec![Tidings::Revoked]));
        assert!(vitals(again, Version(8), 15, false, second(1800)).are_still());
        let (well, tidings) = noted(&changed, &outcome(End::Asked, &[]), second(900));
        assert_eq!((well.revoked, tidings), (None, vec![Tidings::Consented]));
        let unclear = outcome(End::Asked, &[("a", theirs()), ("b", Trouble::Unauthorised)]);
        let (health, _) = noted(&changed, &unclear, second(900));
        assert!(!vitals(health.clone(), Version(8), 15, false, second(1800)).are_still());
        assert!(health.is_of(Version(8)) && health.failing.len() == 2, "what fails is slowed from now on");
        assert_eq!(changed.after(&outcome(End::More, &[]), second(900)), None, "nobody knows yet");
    }

    #[test]
    fn what_was_read_to_its_end_is_well_whatever_ended_the_poll_after_it() {
        let failing = [("a", theirs()), ("b", theirs())];
        let mut health = Health::of(PLAN);
        for minute in 0..4 {
            let now = second(3600 * minute);
            health = noted(&vitals(health, PLAN, 1, false, now), &outcome(End::Asked, &failing), now).0;
        }
        let limited = Outcome { finished: ["a".into()].into(), ..outcome(End::PutOff { until: second(9) }, &[]) };
        let (health, tidings) = noted(&vitals(health, PLAN, 1, true, second(20_000)), &limited, second(20_000));
        assert!(matches!(&tidings[..], [Tidings::Recovered(name, _)] if name == "a"));
        assert!(health.failing.keys().eq(["", "b"]), "{health:?}");
    }

    #[test]
    fn a_missing_credential_is_noted_though_a_limit_was_noted_before() {
        let limited = outcome(End::PutOff { until: second(9) }, &[]);
        let mut health = Health::of(PLAN);
        for hour in 0..7 {
            let now = second(3600 * hour);
            health = noted(&vitals(health, PLAN, 1, false, now), &limited, now).0;
        }
        let none = outcome(End::NoCredential("api.key is missing".into()), &[]);
        let soon = second(6 * 3600 + 60);
        let (health, _) = noted(&vitals(health, PLAN, 1, false, soon), &none, soon);
        assert!(health.failing[""].error.contains("api.key") && health.failing[""].slowed);
    }

    #[test]
    fn without_anything_to_ask_with_all_of_it_rests_and_a_changed_instance_is_tried_at_once() {
        let none = outcome(End::NoCredential("api.key is missing".into()), &[]);
        let mut health = Health::of(PLAN);
        for index in 0..7 {
            let now = second(index * 3600);
            health = noted(&vitals(health, PLAN, 1, false, now), &none, now).0;
        }
        let soon = second(6 * 3600 + 60);
        assert!(vitals(health.clone(), PLAN, 1, false, soon).are_still());
        assert!(!vitals(health.clone(), PLAN, 1, true, soon).are_still(), "somebody asked");
        let changed = vitals(health, Version(8), 1, false, soon);
        assert!(!changed.are_still());
        let (health, tidings) = noted(&changed, &outcome(End::Asked, &[]), soon);
        assert!(health.failing.is_empty() && matches!(&tidings[..], [Tidings::Recovered(name, _)] if name.is_empty()));
    }

    #[test]
    fn a_limit_is_told_and_slows_nothing_by_itself() {
        let limited = outcome(End::PutOff { until: second(9) }, &[]);
        let (mut health, mut tidings) = (Health::of(PLAN), Vec::new());
        for minute in 0..6 {
            let vitals = vitals(health.clone(), PLAN, 1, false, second(60 * minute));
            assert!(!vitals.are_still());
            if let Some((after, told)) = vitals.after(&limited, second(60 * minute)) {
                health = after;
                tidings.extend(told);
            }
        }
        assert!(matches!(&tidings[..], [Tidings::Fails(name, _)] if name.is_empty()));
        assert_eq!(health.failing[""].since, second(0));
    }

    #[test]
    fn our_own_failures_and_polls_that_did_not_come_to_their_end_say_nothing() {
        let failing = noted(
            &vitals(Health::of(PLAN), PLAN, 1, false, second(0)),
            &outcome(End::Asked, &[("a", theirs())]),
            second(0),
        );
        let ours = Trouble::Ours("the table is away".into());
        let elsewhere = End::Elsewhere { until: second(9) };
        let ours_ended = End::Ours(records::RecordError::Damaged("POLL".into(), "x".into()));
        for (end, troubles) in [
            (End::Asked, vec![("a", ours)]),
            (End::More, vec![]),
            (elsewhere, vec![]),
            (ours_ended, vec![]),
            (End::Unpolled(super::super::Unpolled::Connector), vec![]),
        ] {
            let vitals = vitals(failing.0.clone(), PLAN, 1, false, second(60));
            assert_eq!(vitals.after(&outcome(end.clone(), &troubles), second(60)), None, "{end:?}");
        }
    }

    #[test]
    fn what_is_no_longer_configured_is_no_longer_kept() {
        let mut health = Health::of(PLAN);
        let vitals = |health: &Health| vitals(health.clone(), PLAN, 1, false, second(60));
        health = noted(&vitals(&health), &outcome(End::Asked, &[("a", theirs())]), second(0)).0;
        let gone = health.failing.remove("a").unwrap();
        health.failing.insert("gone".into(), gone);
        let (after, tidings) = noted(&vitals(&health), &outcome(End::Asked, &[]), second(60));
        assert_eq!((after.failing, tidings), (BTreeMap::new(), vec![]));
    }
}
