//! Access tokens end, refresh tokens are replaced, answers are lost, workers die, customers change their minds.

use std::time::Duration;

use events::configuration::POLLER_REFRESH_INTERVAL;
use platform::testing::Moment;
use platform::{Platform as _, TableError};
use pollhook_poller::poll::{End, Outcome, Trouble};
use polling::oauth::{CLIENT_ID, CLIENT_SECRET, GIVEN_AT, LIFETIME, REFRESH_TOKEN};
use polling::request::ACCESS_TOKEN;
use proptest::prelude::*;
use serde_json::json;

use crate::tokens::{LIFE, Mishap, TokenServer};
use crate::world::{MINUTE, SECTION, START, World};

pub(crate) const SECRETS: [(&str, &str); 4] = [
    (ACCESS_TOKEN, "clear-a0"),
    (REFRESH_TOKEN, "clear-r0"),
    (CLIENT_ID, "the-app"),
    (CLIENT_SECRET, "the-app-s3cret"),
];

/// An instance that polls things with the tokens of a consent that was just given.
async fn consented(seed: u64, rotates: bool) -> World {
    with(seed, rotates, &SECRETS).await
}

/// The same, every minute.
pub(crate) async fn every_minute(seed: u64) -> World {
    with_settings(seed, true, &SECRETS, &[(POLLER_REFRESH_INTERVAL, "1")]).await
}

pub(crate) async fn with(seed: u64, rotates: bool, secrets: &[(&str, &str)]) -> World {
    with_settings(seed, rotates, secrets, &[]).await
}

async fn with_settings(seed: u64, rotates: bool, secrets: &[(&str, &str)], further: &[(&str, &str)]) -> World {
    let oauth = "oauth2: { authorize_url: https://login.example/auth, token_url: https://login.example/token, \
                 client_auth: body, keeps: { site: site }, refresh_lifetime: refresh_lives }";
    let section = SECTION.replace("api_key: { header: x-api-key, setting: api.key }", oauth);
    let (lifetime, given) = (LIFE.as_secs().to_string(), START.as_millis().to_string());
    let settings = [("event.objects", "things"), (LIFETIME, lifetime.as_str()), (GIVEN_AT, given.as_str())];
    let settings = [&settings, further].concat();
    let world = World::with_secrets(seed, &section, &settings, secrets).await;
    world.provider.look(|state| state.tokens = Some(TokenServer::new(rotates)));
    world
}

impl World {
    pub(crate) fn server<T>(&self, look: impl FnOnce(&mut TokenServer) -> T) -> T {
        self.provider.look(|state| look(state.tokens.as_mut().unwrap()))
    }

    /// The refresh tokens that the provider was shown since this was asked last.
    pub(crate) fn shown(&self) -> Vec<String> {
        self.server(|server| std::mem::take(&mut server.shown))
    }

    pub(crate) fn expire(&self) {
        self.server(|server| server.expired = true);
    }

    /// How often the item of the tokens was written.
    fn writes(&self) -> usize {
        self.platform.acts().iter().filter(|act| act.contains("GRANT")).count()
    }
}

fn polled(outcome: &Outcome) -> (usize, &End) {
    assert_eq!(outcome.troubles, [].into(), "{outcome:?}");
    (outcome.told, &outcome.end)
}

fn theirs(outcome: &Outcome) -> String {
    assert!(!format!("{outcome:?}").contains("clear"), "{outcome:?}");
    match &outcome.troubles[""] {
        Trouble::Theirs(text) => text.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_token_is_refreshed_before_it_ends_and_a_poll_with_a_fresh_one_writes_nothing() {
    for rotates in [false, true] {
        let mut world = consented(500, rotates).await;
        assert_eq!((polled(&world.poll().await), world.shown().len()), ((0, &End::Asked), 0));
        let (mut expected, mut refresh) = (Vec::new(), 0);
        for id in 0..4 {
            world.change("things", id, false);
            world.platform.advance(LIFE - MINUTE);
            assert_eq!(polled(&world.poll().await), (1, &End::Asked), "{rotates}");
            expected.push(format!("clear-r{refresh}"));
            refresh += usize::from(rotates);
            world.platform.advance(MINUTE);
            assert_eq!(polled(&world.poll().await), (0, &End::Asked));
        }
        assert_eq!(world.shown(), expected);
        assert_eq!(world.versions().await, world.history);
        world.restart();
        world.poll().await;
        assert_eq!(world.platform.steps(), 0, "{:?}", world.platform.acts());
    }
}

#[tokio::test]
async fn a_token_that_the_provider_does_not_take_is_refreshed_once_and_the_page_asked_for_again() {
    for rotates in [false, true] {
        let mut world = consented(501, rotates).await;
        world.server(|server| server.says_life = false);
        world.several(0..8, 1_000, |_| "things");
        world.expire();
        assert_eq!(polled(&world.poll().await), (8, &End::Asked));
        world.platform.advance(100 * LIFE);
        assert_eq!(
            (polled(&world.poll().await), world.shown().len()),
            ((0, &End::Asked), 1),
            "nobody said that it ended"
        );
        world.expire();
        world.change("things", 9, false);
        world.advance(2_000);
        assert_eq!((polled(&world.poll().await), world.shown().len()), ((1, &End::Asked), 1));
        assert_eq!(world.versions().await, world.history);
    }
}

#[tokio::test]
async fn a_fresh_token_that_is_refused_as_well_is_no_reason_to_go_on_refreshing() {
    let world = consented(502, true).await;
    world.provider.instead("things", 0, (401, vec![], Some(json!({}))));
    let outcome = world.poll().await;
    assert_eq!(outcome.troubles["things"], Trouble::Unauthorised);
    assert_eq!((outcome.end, world.shown().len()), (End::Asked, 1));
}

#[tokio::test]
async fn a_consent_that_was_taken_back_ends_the_polls_until_there_is_another() {
    let mut world = consented(503, true).await;
    world.change("things", 1, false);
    world.advance(2_000);
    world.server(|server| server.revoked = true);
    assert_eq!(world.poll().await.end, End::Revoked);
    assert_eq!(world.shown(), ["clear-r0"]);
    world.provider.asked();
    for _ in 0..3 {
        world.platform.advance(LIFE);
        assert_eq!(world.poll().await.end, End::Resting);
    }
    assert_eq!((world.shown().len(), world.provider.asked().len()), (0, 0), "nobody is asked any more");

    world.server(|server| {
        *server = TokenServer { access: 7, refresh: 7, ..TokenServer::new(true) };
    });
    world
        .configure(|instance, secrets| {
            secrets.insert(ACCESS_TOKEN.into(), "clear-a7".into());
            secrets.insert(REFRESH_TOKEN.into(), "clear-r7".into());
            instance.configuration.insert(GIVEN_AT.into(), START.plus(4 * LIFE).as_millis().to_string());
        })
        .await;
    assert_eq!(polled(&world.poll().await), (1, &End::Asked));
    world.platform.advance(2 * LIFE);
    assert_eq!((polled(&world.poll().await), world.shown()), ((0, &End::Asked), vec!["clear-r7".to_owned()]));
}

#[tokio::test]
async fn who_put_the_wrong_app_in_needs_no_new_consent_once_the_right_one_is_there() {
    let mut world = consented(571, true).await;
    world.change("things", 1, false);
    world.platform.advance(LIFE);
    // Some providers say so of a token that was issued to another app.
    let refusal = Mishap::Instead(400, json!({"error": "invalid_grant"}));
    world.server(|server| server.mishaps = vec![refusal]);
    assert_eq!(world.poll().await.end, End::Revoked);
    assert_eq!((world.poll().await.end, world.shown().len()), (End::Resting, 1));
    world.configure(|_, secrets| drop(secrets.insert(CLIENT_SECRET.into(), "the-app-s3cret".into()))).await;
    assert_eq!(polled(&world.poll().await), (1, &End::Asked));
    assert_eq!(world.shown(), ["clear-r0"], "the change is worth one try");
}

#[tokio::test]
async fn a_lost_answer_is_made_up_for_where_the_token_is_not_replaced_and_unknown_where_it_was() {
    let world = consented(504, false).await;
    world.platform.advance(LIFE);
    world.server(|server| server.mishaps = vec![Mishap::Lost]);
    assert_eq!(polled(&world.poll().await), (0, &End::Asked), "it is tried again at once");
    assert_eq!(world.shown(), ["clear-r0", "clear-r0"]);

    let world = consented(505, true).await;
    world.platform.advance(LIFE);
    world.server(|server| server.mishaps = vec![Mishap::Lost]);
    assert!(theirs(&world.poll().await).contains("takes the refresh token no longer"));
    assert_eq!(world.shown(), ["clear-r0", "clear-r0"]);
    // A minute, four, sixteen and an hour, and in between nobody is asked.
    for minutes in [1, 4, 16, 60] {
        world.platform.advance(MINUTE * minutes - Duration::from_secs(1));
        assert!(theirs(&world.poll().await).contains("asked again at"));
        assert_eq!(world.shown().len(), 0);
        world.platform.advance(Duration::from_secs(1));
        let outcome = world.poll().await;
        assert_eq!(world.shown(), ["clear-r0"]);
        assert_ne!(outcome.end, End::Revoked, "the customer took nothing back, as far as anybody knows");
    }
    let End::NoCredential(text) = world.poll().await.end else { panic!() };
    assert!(text.contains("unknown") && text.contains("new consent") && !text.contains("clear"), "{text}");
    assert_eq!(world.shown().len(), 0);
}

#[tokio::test]
async fn a_token_endpoint_that_fails_is_asked_later_and_later_and_a_token_that_is_still_good_used_meanwhile() {
    let mut world = consented(506, true).await;
    world.change("things", 1, false);
    world.platform.advance(LIFE - MINUTE);
    world.server(|server| server.mishaps = vec![Mishap::Unsent; 2]);
    assert_eq!(polled(&world.poll().await), (1, &End::Asked), "it is good for a minute more");
    world.platform.advance(MINUTE);
    assert!(theirs(&world.poll().await).contains("could not connect"));
    world.platform.advance(MINUTE);
    assert!(theirs(&world.poll().await).contains("asked again at"));
    world.platform.advance(3 * MINUTE);
    assert_eq!(polled(&world.poll().await), (0, &End::Asked));
    assert_eq!(world.shown(), ["clear-r0"], "before, nothing was sent");
}

#[tokio::test]
async fn whose_trouble_it_is_that_there_are_no_tokens_is_said() {
    let wrong = SECRETS.map(|(key, secret)| (key, if key == CLIENT_SECRET { "other" } else { secret }));
    let world = with(507, true, &wrong).await;
    world.platform.advance(LIFE);
    let End::NoCredential(text) = world.poll().await.end else { panic!() };
    assert!(text.contains(CLIENT_ID) && text.contains(CLIENT_SECRET) && !text.contains("other"), "{text}");

    let none = [SECRETS[0], SECRETS[1]];
    let world = with(508, true, &none).await;
    world.platform.advance(LIFE);
    world.expire();
    assert_eq!(world.poll().await.troubles["things"], Trouble::Unauthorised, "nobody can refresh it");
    let world = with(509, true, &SECRETS[2..]).await;
    let End::NoCredential(text) = world.poll().await.end else { panic!() };
    assert!(text.contains(ACCESS_TOKEN), "{text}");

    let world = consented(510, true).await;
    world.platform.advance(LIFE);
    world.server(|server| server.mishaps = vec![Mishap::Instead(429, json!({}))]);
    assert!(matches!(world.poll().await.end, End::PutOff { .. }));
    let world = consented(511, true).await;
    world.platform.advance(LIFE);
    world.server(|server| server.mishaps = vec![Mishap::Instead(400, json!({"error": "invalid_request"}))]);
    assert!(theirs(&world.poll().await).contains("status 400"));
}

#[tokio::test]
async fn a_consent_of_a_refresh_token_alone_brings_the_access_token_itself() {
    let mut world = with(512, true, &SECRETS[1..]).await;
    world.change("things", 1, false);
    world.advance(2_000);
    assert_eq!((polled(&world.poll().await), world.shown()), ((1, &End::Asked), vec!["clear-r0".to_owned()]));
}

#[tokio::test]
async fn of_many_polls_at_once_one_refreshes() {
    for seed in 520..560 {
        let mut world = consented(seed, true).await;
        world.change("things", 1, false);
        world.platform.advance(LIFE);
        world.provider.look(|state| state.pauses = (0..12).map(|n| (n * 7 + seed as usize) % 5).collect());
        let outcomes = futures_util::future::join_all((0..5).map(|_| world.poll())).await;
        assert_eq!(world.shown(), ["clear-r0"], "{seed}");
        let said = |outcome: &Outcome| match outcome.end {
            End::Asked => assert!(outcome.troubles.is_empty(), "{outcome:?}"),
            End::Elsewhere { until } => assert!(until >= world.now()),
            _ => panic!("{outcome:?}"),
        };
        outcomes.iter().for_each(said);
        world.platform.advance(MINUTE * 10);
        world.poll().await;
        assert_eq!(world.versions().await, world.history);
    }
}

#[tokio::test]
async fn tokens_that_cannot_be_stored_when_they_come_are_used_and_stored_when_the_poll_ends() {
    for error in [Some(TableError::Throttled), Some(TableError::Invalid("a broken store".into())), None] {
        let world = consented(570, true).await;
        world.platform.advance(LIFE);
        world.server(|server| server.mishaps = Vec::new());
        // The journal is written, and what comes is not.
        let platform = world.platform.clone();
        let provider = world.provider.clone();
        let poll = async { world.poll().await };
        provider.look(|state| state.pauses = vec![3]);
        let trouble = async {
            while !platform.acts().iter().any(|act| act.contains("GRANT")) {
                tokio::task::yield_now().await;
            }
            match error {
                Some(error) => platform.table().fail_next_write(error),
                None => platform.table().lose_next_answer(),
            }
        };
        let (outcome, ()) = futures_util::future::join(poll, trouble).await;
        assert_eq!(polled(&outcome), (0, &End::Asked));
        world.platform.advance(LIFE);
        assert_eq!(
            (polled(&world.poll().await), world.shown()),
            ((0, &End::Asked), vec!["clear-r0".into(), "clear-r1".into()])
        );
    }
}

/// After any death a provider that does not replace tokens is polled on. One that does may need another consent, where the
/// process died between its answer and the store; and then nobody says that the customer took anything back.
#[tokio::test]
async fn a_death_between_any_two_acts_never_makes_a_customer_s_word_of_what_nobody_said() {
    for rotates in [false, true] {
        let ready = async |seed| {
            let mut world = consented(seed, rotates).await;
            world.change("things", 1, false);
            world.platform.advance(LIFE);
            world
        };
        let whole = ready(580).await;
        whole.poll().await;
        let (steps, writes) = (whole.platform.steps(), whole.writes());
        assert!(writes >= 2, "{:?}", whole.platform.acts());
        let mut lost = 0;
        for step in 0..steps {
            for moment in [Moment::Before, Moment::After] {
                let mut world = ready(580).await;
                world.platform.crash_at(step, moment);
                world.platform.run_until_crash(world.poll()).await.unwrap_err();
                world.restart();
                let answered = world.shown().len();
                let mut outcome = world.poll().await;
                if let End::Elsewhere { until } = outcome.end {
                    assert!(until <= world.now().plus(6 * MINUTE));
                    assert_eq!(world.shown().len(), 0, "who died may still ask");
                    world.platform.advance(6 * MINUTE);
                    outcome = world.poll().await;
                }
                assert_ne!(outcome.end, End::Revoked, "{step} {moment:?}");
                if outcome.troubles.is_empty() {
                    world.platform.advance(6 * MINUTE);
                    world.poll().await;
                    assert_eq!(world.versions().await, world.history, "{step} {moment:?}");
                } else {
                    assert!(rotates && answered == 1, "{step} {moment:?} {outcome:?}");
                    lost += 1;
                }
            }
        }
        assert_eq!(lost, usize::from(rotates), "only between the answer and the store");
    }
}

#[derive(Clone, Debug)]
enum Act {
    Pass(u64),
    Poll(Option<(usize, bool)>),
    Both,
    Unsent,
    Broken,
    Expire,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (0..5_000_u64).prop_map(Act::Pass),
        3 => proptest::option::weighted(0.4, (0..6_usize, any::<bool>())).prop_map(Act::Poll),
        2 => Just(Act::Both),
        1 => Just(Act::Unsent),
        1 => Just(Act::Broken),
        1 => Just(Act::Expire),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn over_any_history_a_token_that_is_not_replaced_is_kept_and_no_consent_ends_that_nobody_ended(
        seed: u64,
        acts in proptest::collection::vec(act(), 1..30),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (outcome, versions, history) = runtime.block_on(async {
            let mut world = consented(seed, false).await;
            world.change("things", 1, false);
            for act in acts {
                match act {
                    Act::Pass(seconds) => world.platform.advance(Duration::from_secs(seconds)),
                    Act::Poll(death) => {
                        if let Some((after, before)) = death {
                            let moment = if before { Moment::Before } else { Moment::After };
                            world.platform.crash_at(world.platform.steps() + after, moment);
                        }
                        let _ = world.platform.run_until_crash(world.poll()).await;
                        world.restart();
                    }
                    Act::Both => {
                        futures_util::future::join(world.poll(), world.poll()).await;
                    }
                    Act::Unsent => world.server(|server| server.mishaps.push(Mishap::Unsent)),
                    Act::Broken => world.server(|server| server.mishaps.push(Mishap::Instead(502, json!(null)))),
                    Act::Expire => world.expire(),
                }
            }
            world.server(|server| server.mishaps.clear());
            world.platform.advance(2 * LIFE);
            (world.poll().await, world.versions().await, world.history)
        });
        prop_assert_eq!((outcome.end, outcome.troubles), (End::Asked, [].into()));
        prop_assert_eq!(versions, history);
    }
}
