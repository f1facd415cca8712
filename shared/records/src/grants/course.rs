//! How a consent fares, and what is to be done about it. Pure.
//!
//! *Promise:* a token is refreshed by one worker at a time; a consent counts as ended by the provider's own word alone. A
//! refusal that follows an answer which was missed may only mean that the provider had replaced the token, and has then to be
//! repeated over more than an hour before it counts, and it is told apart.

use std::fmt;
use std::time::Duration;

use events::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Bytes of a hash that name a token: tokens are long and random, so that many tell two apart and tell nothing of them.
const NAME_BYTES: usize = 16;

/// How long before its end an access token is refreshed: longer than a poll lasts.
const MARGIN: Duration = Duration::from_secs(120);

/// How long before a consent's end its operator is told: time to have the customer consent again.
const LEAD: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Refusals after a missed answer before they count: with [`wait`] between, over more than an hour.
const REFUSALS: u32 = 5;

/// Longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// Names a token without telling it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenName(String);

impl TokenName {
    /// The name of a token.
    #[must_use]
    pub fn of(token: &SecretString) -> Self {
        Self::of_all([Some(token)])
    }

    /// The name of several, in order, of which some may lack.
    #[must_use]
    pub(super) fn of_all<'t>(tokens: impl IntoIterator<Item = Option<&'t SecretString>>) -> Self {
        let mut hash = Sha256::new();
        for token in tokens {
            let text = token.map(|token| token.expose_secret());
            hash.update(text.map_or(0, |text| text.len() as u64 + 1).to_be_bytes());
            hash.update(text.unwrap_or_default());
        }
        Self(hash.finalize()[..NAME_BYTES].iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

impl fmt::Debug for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How long an access token is good.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Life {
    /// From when on it is to be refreshed.
    stale: Timestamp,
    /// From when on it is no good.
    ends: Timestamp,
}

impl Life {
    /// Of a token that was given at `given`, for so long.
    #[must_use]
    pub fn of(given: Timestamp, lifetime: Duration) -> Self {
        let ends = given.plus(lifetime);
        Self { stale: ends.minus(MARGIN.min(lifetime / 4)), ends }
    }
}

/// When a consent ends whose end is known: the refresh token's, or where nothing can be refreshed the access token's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Lapse {
    /// When it ends.
    pub at: Timestamp,
    /// How many seconds before it is near.
    lead: u64,
}

impl Lapse {
    /// Of a token that was given at `given`, for so long: near in its last week, or its last quarter where that is less.
    #[must_use]
    pub fn of(given: Timestamp, lifetime: Duration) -> Self {
        Self { at: given.plus(lifetime), lead: LEAD.min(lifetime / 4).as_secs() }
    }

    /// Whether it is near or over `now`: nothing but a new consent may help in time.
    #[must_use]
    pub fn is_near(self, now: Timestamp) -> bool {
        now >= self.at.minus(Duration::from_secs(self.lead))
    }

    /// The same, after another of the same consent. An end that stays where it is comes with ever shorter lives: a lead by the
    /// last of them would never be reached.
    fn following(self, earlier: Option<Self>) -> Self {
        Self { lead: self.lead.max(earlier.map_or(0, |earlier| earlier.lead)), ..self }
    }
}

/// A refresh that was begun: written before the provider is asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct UnderWay {
    fence: u64,
    sent: TokenName,
    began: Timestamp,
    until: Timestamp,
}

/// An answer that never came: the token that was sent may be spent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Missed {
    since: Timestamp,
    refusals: u32,
}

/// That a consent ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ended {
    /// When that was found.
    pub at: Timestamp,
    /// By what.
    pub why: Why,
}

/// Why a consent counts as ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The provider says so.
    Refused,
    /// The provider takes the token no longer, and an answer that may have replaced it was missed: whether the customer took
    /// anything back is unknown.
    Missed,
}

/// How a consent fares: all of it but the tokens.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Course {
    /// Names the tokens that the consent brought: by others, another consent began.
    pub(super) consent: TokenName,
    access: Option<TokenName>,
    refresh: Option<TokenName>,
    life: Option<Life>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lapse: Option<Lapse>,
    /// How many refreshes were begun.
    fence: u64,
    under_way: Option<UnderWay>,
    missed: Option<Missed>,
    /// Tries that came to nothing since the last that did not.
    failures: u32,
    not_before: Option<Timestamp>,
    ended: Option<Ended>,
}

/// Why is asked what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Need {
    /// A poll begins.
    Token,
    /// The provider does not take this access token.
    Other(TokenName),
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// Use the access token.
    Use,
    /// Refresh it.
    Refresh {
        /// Whether the present one will do where that comes to nothing.
        spare: bool,
    },
    /// Another worker is at it: nothing helps before.
    Wait {
        /// When its turn ends.
        until: Timestamp,
    },
    /// The last tries came to nothing: not yet again.
    Later {
        /// When to try again.
        at: Timestamp,
    },
    /// There is nothing to refresh it with.
    Unrefreshable,
    /// Nothing helps but a new consent.
    Ended(Ended),
}

/// What came of a refresh.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Came {
    /// Tokens.
    Tokens { access: TokenName, refresh: Option<TokenName>, life: Option<Life>, lapse: Option<Lapse> },
    /// The provider's refusal.
    Refused,
    /// No answer, or one that leaves it open.
    Unclear,
    /// Nothing was done, and not because of the token; `after`: how long to wait, where that was said.
    Failed { after: Option<Duration> },
}

impl Course {
    /// The course of a consent that just began, or was not refreshed yet.
    pub(super) fn new(
        access: Option<&SecretString>,
        refresh: Option<&SecretString>,
        (life, lapse): (Option<Life>, Option<Lapse>),
    ) -> Self {
        Self {
            consent: TokenName::of_all([access, refresh]),
            access: access.map(TokenName::of),
            refresh: refresh.map(TokenName::of),
            life,
            lapse,
            fence: 0,
            under_way: None,
            missed: None,
            failures: 0,
            not_before: None,
            ended: None,
        }
    }

    /// What is to be done `now`; `can`: whether the app's id and secret are there.
    #[must_use]
    pub fn decide(&self, need: &Need, can: bool, now: Timestamp) -> Decision {
        if let Some(ended) = self.ended {
            return Decision::Ended(ended);
        }
        let refused = matches!(need, Need::Other(refused) if self.access.as_ref() == Some(refused));
        let useless = refused || self.access.is_none();
        let over = useless || self.life.is_some_and(|life| life.ends <= now);
        if !over && self.life.is_none_or(|life| now < life.stale) {
            return Decision::Use;
        }
        if !can || self.refresh.is_none() {
            // Whether it is over is the provider's to say: clocks differ.
            return if useless { Decision::Unrefreshable } else { Decision::Use };
        }
        let others = self.under_way.as_ref().map(|refresh| refresh.until).filter(|until| now < *until);
        let early = self.not_before.filter(|at| now < *at);
        match (others, early) {
            (None, None) => Decision::Refresh { spare: !over },
            _ if !over => Decision::Use,
            (Some(until), _) => Decision::Wait { until },
            (None, Some(at)) => Decision::Later { at },
        }
    }

    /// The course once a refresh has begun that is another's to take over from `until` on, and its fence and what it sends.
    /// `None`: there is nothing to send.
    pub(super) fn begin(&self, now: Timestamp, until: Timestamp) -> Option<(Self, u64, TokenName)> {
        let sent = self.refresh.clone()?;
        // Whoever began the last one died, or could not write what came of it.
        let unanswered = self.under_way.as_ref().filter(|refresh| refresh.sent == sent);
        let missed = unanswered.map(|refresh| Missed { since: refresh.began, refusals: 0 });
        let fence = self.fence + 1;
        let under_way = Some(UnderWay { fence, sent: sent.clone(), began: now, until });
        Some((Self { fence, under_way, missed: self.missed.or(missed), ..self.clone() }, fence, sent))
    }

    /// The course after what came of the refresh `fence`, which had sent `sent`. `None`: nothing of it is to be kept, as
    /// another answer came before, or another worker waits for one.
    pub(super) fn after(&self, fence: u64, sent: &TokenName, came: Came, now: Timestamp) -> Option<Self> {
        if self.refresh.as_ref() != Some(sent) || self.ended.is_some() {
            return None;
        }
        let ours = self.under_way.as_ref().is_some_and(|refresh| refresh.fence == fence);
        let under_way = if ours { None } else { self.under_way.clone() };
        let again = Self { under_way: under_way.clone(), failures: self.failures.saturating_add(1), ..self.clone() };
        match came {
            // However late: it is the answer to the token that is still there.
            Came::Tokens { access, refresh, life, lapse } => Some(Self {
                consent: self.consent.clone(),
                lapse: self.lapse_after(refresh.is_some(), lapse),
                access: Some(access),
                refresh: refresh.or_else(|| self.refresh.clone()),
                life,
                fence: self.fence,
                under_way,
                missed: None,
                failures: 0,
                not_before: None,
                ended: None,
            }),
            _ if !ours => None,
            Came::Refused => match self.missed {
                Some(missed) if missed.refusals + 1 < REFUSALS => Some(Self {
                    missed: Some(Missed { refusals: missed.refusals + 1, ..missed }),
                    not_before: Some(now.plus(wait(missed.refusals + 1))),
                    ..again
                }),
                missed => {
                    let why = if missed.is_some() { Why::Missed } else { Why::Refused };
                    Some(Self { ended: Some(Ended { at: now, why }), ..again })
                }
            },
            Came::Unclear => {
                // The first is repeated at once: some providers take a token that they replaced for some seconds more.
                let not_before = (again.failures > 1).then(|| now.plus(wait(again.failures - 1)));
                let missed = self.missed.or(Some(Missed { since: now, refusals: 0 }));
                Some(Self { missed, not_before, ..again })
            }
            Came::Failed { after } => {
                Some(Self { not_before: Some(now.plus(after.unwrap_or_else(|| wait(again.failures)))), ..again })
            }
        }
    }

    /// When the consent ends, where that is known.
    #[must_use]
    pub fn lapse(&self) -> Option<Lapse> {
        self.lapse
    }

    /// The same after an answer with tokens: `came` is what it says, and `replaced` whether a refresh token is in it.
    #[must_use]
    pub fn lapse_after(&self, replaced: bool, came: Option<Lapse>) -> Option<Lapse> {
        let stays = self.lapse.filter(|_| !replaced);
        came.map(|came| came.following(self.lapse)).or(stays)
    }

    /// The course once the instance was changed: what was to wait, or had ended, is tried once more.
    pub(super) fn lifted(self) -> Self {
        Self { ended: None, not_before: None, ..self }
    }

    /// Whether its access token is this one.
    pub(super) fn has(&self, access: &TokenName) -> bool {
        self.access.as_ref() == Some(access)
    }
}

/// How long to wait after so many failures: 1, 4, 16 minutes, then an hour.
fn wait(failures: u32) -> Duration {
    let minutes = 4_u64.saturating_pow(failures.saturating_sub(1));
    Duration::from_secs(60).saturating_mul(u32::try_from(minutes).unwrap_or(u32::MAX)).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_790_000_000 + seconds)
    }

    fn name(n: u32) -> TokenName {
        TokenName::of(&format!("token {n}").into())
    }

    fn tokens(access: u32, refresh: Option<u32>, given: Timestamp) -> Came {
        let life = Some(Life::of(given, Duration::from_secs(3600)));
        Came::Tokens { access: name(access), refresh: refresh.map(name), life, lapse: None }
    }

    fn begun(life: Option<Life>) -> Course {
        Course::new(Some(&"token 0".into()), Some(&"token 1".into()), (life, None))
    }

    const CALL: Duration = Duration::from_secs(45);

    #[test]
    fn a_token_is_used_until_shortly_before_its_end_and_then_refreshed() {
        let course = begun(Some(Life::of(at(0), Duration::from_secs(3600))));
        let decide = |now| course.decide(&Need::Token, true, at(now));
        assert_eq!((decide(0), decide(3479)), (Decision::Use, Decision::Use));
        assert_eq!(
            (decide(3480), decide(3600)),
            (Decision::Refresh { spare: true }, Decision::Refresh { spare: false })
        );
        assert_eq!(course.decide(&Need::Token, false, at(9999)), Decision::Use, "the provider says that it is over");
        let unsaid = begun(None);
        assert_eq!(unsaid.decide(&Need::Token, true, at(99_999)), Decision::Use);
        let refused = Need::Other(name(0));
        assert_eq!(unsaid.decide(&refused, true, at(0)), Decision::Refresh { spare: false });
        assert_eq!(unsaid.decide(&refused, false, at(0)), Decision::Unrefreshable);
        assert_eq!(
            unsaid.decide(&Need::Other(name(9)), true, at(0)),
            Decision::Use,
            "another was refused than is there"
        );
        let brief = begun(Some(Life::of(at(0), Duration::from_secs(40))));
        assert_eq!(brief.decide(&Need::Token, true, at(29)), Decision::Use, "a brief life is not all margin");
        let no_access = Course::new(None, Some(&"token 1".into()), (None, None));
        assert_eq!(no_access.decide(&Need::Token, true, at(0)), Decision::Refresh { spare: false });
    }

    #[test]
    fn while_one_refreshes_the_others_use_what_is_good_or_wait_and_then_take_over() {
        let course = begun(Some(Life::of(at(0), Duration::from_secs(3600))));
        let (locked, fence, sent) = course.begin(at(3500), at(3500).plus(CALL)).unwrap();
        assert_eq!((fence, &sent), (1, &name(1)));
        assert_eq!(locked.decide(&Need::Token, true, at(3501)), Decision::Use);
        assert_eq!(locked.decide(&Need::Other(name(0)), true, at(3501)), Decision::Wait { until: at(3545) });
        assert_eq!(locked.decide(&Need::Token, true, at(3545)), Decision::Refresh { spare: true });
        let (taken, second, _) = locked.begin(at(3545), at(3590)).unwrap();
        assert_eq!(second, 2);
        // The first one's late answer counts, as its token is still there; the second one's refusal does not then.
        let late = taken.after(1, &sent, tokens(2, Some(3), at(3550)), at(3550)).unwrap();
        assert_eq!(late.decide(&Need::Token, true, at(3560)), Decision::Use);
        assert_eq!(late.after(2, &sent, Came::Refused, at(3560)), None);
        // And a late refusal is nothing while another waits for an answer to the same token.
        assert_eq!(taken.after(1, &sent, Came::Refused, at(3550)), None);
    }

    #[test]
    fn a_refusal_ends_a_consent_and_one_after_a_missed_answer_only_when_it_stays() {
        let refused = |course: &Course, now: i64| {
            let (locked, fence, sent) = course.begin(at(now), at(now).plus(CALL)).unwrap();
            locked.after(fence, &sent, Came::Refused, at(now)).unwrap()
        };
        let ended = refused(&begun(None), 5);
        let why = |why, now| Decision::Ended(Ended { at: at(now), why });
        assert_eq!(ended.decide(&Need::Token, true, at(99)), why(Why::Refused, 5));

        let (locked, fence, sent) = begun(None).begin(at(0), at(45)).unwrap();
        let mut course = locked.after(fence, &sent, Came::Unclear, at(30)).unwrap();
        let need = Need::Other(name(0));
        assert_eq!(course.decide(&need, true, at(30)), Decision::Refresh { spare: false }, "at once, once");
        let mut now = 30;
        for wait in [60, 240, 960, 3600] {
            course = refused(&course, now);
            assert_eq!(course.decide(&need, true, at(now)), Decision::Later { at: at(now + wait) });
            assert_eq!(course.decide(&Need::Token, true, at(now)), Decision::Use, "it may still be good");
            now += wait;
        }
        assert!(now > 3600, "over more than an hour");
        let ended = refused(&course, now);
        assert_eq!(ended.decide(&need, true, at(now)), why(Why::Missed, now));
        assert_eq!(ended.lifted().decide(&need, true, at(now)), Decision::Refresh { spare: false });
    }

    #[test]
    fn a_refresh_that_nobody_answered_for_counts_as_missed() {
        let (died, _, _) = begun(None).begin(at(0), at(45)).unwrap();
        let (locked, fence, sent) = died.begin(at(60), at(105)).unwrap();
        let course = locked.after(fence, &sent, Came::Refused, at(61)).unwrap();
        assert!(!matches!(course.decide(&Need::Other(name(0)), true, at(61)), Decision::Ended(_)), "{course:?}");
        // Not where the token that was sent is another by now.
        let renewed = died.after(1, &name(1), tokens(2, Some(3), at(60)), at(60)).unwrap();
        let (locked, fence, sent) = renewed.begin(at(4000), at(4045)).unwrap();
        let course = locked.after(fence, &sent, Came::Refused, at(4001)).unwrap();
        assert!(matches!(
            course.decide(&Need::Token, true, at(4002)),
            Decision::Ended(Ended { why: Why::Refused, .. })
        ));
    }

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[test]
    fn an_end_is_the_last_answer_s_and_stays_with_a_token_that_stays() {
        let lapse = |days: i64, lives: u32| Lapse::of(at(days * 86_400), DAY * lives);
        let consent = Course::new(None, Some(&"token 1".into()), (None, Some(lapse(0, 100))));
        assert_eq!(consent.lapse_after(false, None).unwrap().at, at(100 * 86_400));
        assert_eq!(consent.lapse_after(true, Some(lapse(1, 100))).unwrap().at, at(101 * 86_400));
        assert_eq!(consent.lapse_after(true, None), None, "nobody says how long the new one is good");
    }

    proptest! {
        #[test]
        fn an_end_that_no_refresh_moves_is_near_in_time_and_one_that_moves_on_never(
            lives_s in 60_u64..200 * 86_400,
            steps in proptest::collection::vec(1_u64..100, 1..60),
            moves: bool,
        ) {
            let mut course = Course::new(None, Some(&"token 1".into()), (None, None));
            let (end, mut now) = (at(0).plus(Duration::from_secs(lives_s)), at(0));
            for step in steps {
                let life = if moves { Duration::from_secs(lives_s) } else { end.since(now) };
                course.lapse = course.lapse_after(true, Some(Lapse::of(now, life)));
                let lapse = course.lapse.unwrap();
                let lead = (7 * DAY).min(Duration::from_secs(lives_s) / 4);
                prop_assert_eq!(lapse.at, now.plus(life));
                prop_assert_eq!(lapse.is_near(now), life.as_secs() <= lead.as_secs());
                prop_assert!(lapse.is_near(lapse.at) && lapse.is_near(lapse.at.plus(DAY)));
                // Refreshes come oftener than a quarter of what a token lives for.
                now = now.plus(Duration::from_secs(lives_s * step / 800));
            }
        }
    }

    /// One of some workers acts.
    #[derive(Clone, Debug)]
    enum Act {
        Pass(u16),
        Begin,
        /// Which of the refreshes under way ends, and how.
        End(usize, u8),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            2 => (0..2_000_u16).prop_map(Act::Pass),
            3 => Just(Act::Begin),
            3 => (any::<usize>(), 0..5_u8).prop_map(|(which, how)| Act::End(which, how)),
        ]
    }

    proptest! {
        #[test]
        fn one_refreshes_at_a_time_and_a_consent_ends_by_the_provider_s_word_alone(
            acts in proptest::collection::vec(act(), 1..60),
        ) {
            let (mut course, mut now) = (begun(None), 0_i64);
            let mut workers: Vec<(u64, TokenName, i64)> = Vec::new();
            let (mut refusals, mut missed, mut next) = (0_u32, false, 10_u32);
            for act in acts {
                match act {
                    Act::Pass(seconds) => now += i64::from(seconds),
                    Act::Begin => {
                        let need = course.access.clone().map_or(Need::Token, Need::Other);
                        let decision = course.decide(&need, true, at(now));
                        let in_time = workers.iter().any(|(_, _, until)| now < *until);
                        if let Decision::Refresh { .. } = decision {
                            prop_assert!(!in_time, "two at a time");
                            missed |= course.under_way.is_some();
                            let until = now + 45;
                            let (locked, fence, sent) = course.begin(at(now), at(until)).unwrap();
                            course = locked;
                            workers.push((fence, sent, until));
                        }
                    }
                    Act::End(which, how) if !workers.is_empty() => {
                        let index = which % workers.len();
                        let (fence, sent, _) = workers.remove(index);
                        let current = course.refresh.as_ref() == Some(&sent);
                        let came = match how {
                            0 => { next += 2; tokens(next, Some(next + 1), at(now)) }
                            1 => { next += 2; tokens(next, None, at(now)) }
                            2 => Came::Refused,
                            3 => Came::Unclear,
                            _ => Came::Failed { after: None },
                        };
                        let after = course.after(fence, &sent, came.clone(), at(now));
                        if let Came::Tokens { access, .. } = &came && course.ended.is_none() {
                            prop_assert_eq!(after.is_some(), current, "tokens are kept exactly where what was sent is there");
                            prop_assert!(after.as_ref().is_none_or(|after| after.has(access)));
                        }
                        if let Some(after) = after {
                            match how {
                                0 | 1 => { refusals = 0; missed = false; }
                                2 => refusals += 1,
                                3 => missed = true,
                                _ => {}
                            }
                            course = after;
                        }
                    }
                    Act::End(..) => {}
                }
                if let Some(ended) = course.ended {
                    prop_assert!(refusals > 0);
                    prop_assert_eq!(ended.why == Why::Missed, course.missed.is_some());
                    prop_assert!(ended.why == Why::Refused || refusals >= REFUSALS, "{} refusals", refusals);
                    prop_assert!(course.missed.is_none() || missed);
                }
            }
        }

        #[test]
        fn who_is_to_wait_is_told_a_time_to_come_and_a_wait_is_at_most_an_hour(failures: u32, now in 0..10_000_i64, life in 0..5_000_u64) {
            prop_assert!(wait(failures) <= LONGEST_WAIT && wait(failures) >= Duration::from_secs(60));
            let course = begun(Some(Life::of(at(0), Duration::from_secs(life))));
            let (locked, fence, sent) = course.begin(at(0), at(45)).unwrap();
            let failed = locked.after(fence, &sent, Came::Failed { after: None }, at(10)).unwrap();
            for course in [locked, failed] {
                match course.decide(&Need::Token, true, at(now)) {
                    Decision::Wait { until } => prop_assert!(until > at(now)),
                    Decision::Later { at: later } => prop_assert!(later > at(now)),
                    _ => {}
                }
            }
        }
    }
}
