//! Tokens that a provider replaced: none is lost that came, none counts that is another consent's.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use common::{owner, platform, provision};
use events::InstanceId;
use platform::testing::MemoryPlatform;
use platform::{Platform as _, TableError};
use pollhook_records::grants::{self, Consent, Decision, Ended, Grant, Life, Lock, Need, Outcome, TokenName, Why};
use pollhook_records::instances::{self, Derived, Secrets, Stored};
use pollhook_records::{RecordError, plans};
use polling::definition::Polling;
use secrecy::{ExposeSecret as _, SecretString};

const CALL: Duration = Duration::from_secs(45);

fn polling() -> Polling {
    let oauth = "{ authorize_url: https://a.example/a, token_url: https://a.example/t, client_auth: body }";
    Polling::from_yaml(&format!("base_url: https://a.example\nauthentication: {{ oauth2: {oauth} }}")).unwrap()
}

struct World {
    platform: MemoryPlatform,
    stored: Stored,
}

impl World {
    async fn new(seed: u64) -> Self {
        let platform = platform(seed);
        let owner = owner(&platform).await;
        let secrets = [("oauth.user.token", "clear-a0"), ("oauth.user.refresh_token", "clear-r0")];
        let polling = polling();
        let polled = Derived { polling: Some(&polling), ..Derived::default() };
        let provision = provision("http", &[], &secrets);
        let stored = instances::create(&platform, &owner, provision, &polled).await.unwrap();
        Self { platform, stored }
    }

    fn id(&self) -> InstanceId {
        self.stored.instance.id
    }

    /// The grant as a poll that begins now reads it.
    async fn grant(&self) -> Grant {
        let plans::Read { plan, grant, .. } = plans::read(&self.platform, self.id()).await.unwrap().unwrap();
        let mut secrets = plan.secrets(&self.platform).await.unwrap();
        let life = Some(Life::of(common::NOW, Duration::from_secs(3600)));
        let (access, refresh) = (secrets.remove("oauth.user.token"), secrets.remove("oauth.user.refresh_token"));
        grants::open(&self.platform, grant, Consent { access, refresh, life, lapse: None }).await.unwrap()
    }

    async fn decide(&self) -> Decision {
        self.grant().await.course.decide(&Need::Token, true, self.platform.now())
    }

    async fn begin(&self) -> Option<Lock> {
        grants::begin(&self.platform, &self.grant().await, self.platform.now().plus(CALL)).await.unwrap()
    }

    async fn finish(&self, lock: &Lock, outcome: &Outcome) -> bool {
        grants::finish(&self.platform, lock, outcome).await.unwrap()
    }

    /// The access and the refresh token that count.
    async fn tokens(&self) -> (String, String) {
        let grant = self.grant().await;
        let text = |token: Option<SecretString>| token.unwrap().expose_secret().to_owned();
        (text(grant.access), text(grant.refresh))
    }

    /// The customer consents once more.
    async fn consent(&mut self, token: &str) {
        let secrets = Secrets::from([
            ("oauth.user.token".to_owned(), token.into()),
            ("oauth.user.refresh_token".to_owned(), "clear-r9".into()),
        ]);
        let polling = polling();
        let polled = Derived { polling: Some(&polling), ..Derived::default() };
        let instance = self.stored.instance.clone();
        self.stored = instances::update(&self.platform, &self.stored, instance, secrets, &polled).await.unwrap();
    }
}

fn tokens(access: &str, refresh: Option<&str>) -> Outcome {
    let settings = BTreeMap::from([("instance_url".to_owned(), "https://new.example".to_owned())]);
    let refresh = refresh.map(SecretString::from);
    Outcome::Tokens { access: access.into(), refresh, life: None, lapse: None, settings }
}

#[tokio::test]
async fn what_the_provider_replaced_counts_and_is_nowhere_in_clear() {
    let world = World::new(601).await;
    assert_eq!(world.decide().await, Decision::Use);
    world.platform.advance(Duration::from_secs(3500));
    assert_eq!(world.decide().await, Decision::Refresh { spare: true });
    assert_eq!(world.platform.table().items("POLL#").len(), 1, "to look writes nothing");
    let lock = world.begin().await.unwrap();
    assert_eq!(world.decide().await, Decision::Use, "it is good for a while");
    assert!(world.finish(&lock, &tokens("clear-a1", Some("clear-r1"))).await);
    assert_eq!(world.tokens().await, ("clear-a1".into(), "clear-r1".into()));
    assert_eq!(world.grant().await.settings["instance_url"], "https://new.example");
    for item in world.platform.table().items("POLL#") {
        assert!(!String::from_utf8_lossy(&item.body).contains("clear"), "{:?}", item.key);
    }
    let grant = world.grant().await;
    assert!(!format!("{grant:?} {lock:?}").contains("clear"));
    // A refresh that brings no refresh token keeps the one there was.
    let lock = world.begin().await.unwrap();
    assert!(world.finish(&lock, &tokens("clear-a2", None)).await);
    assert_eq!(world.tokens().await, ("clear-a2".into(), "clear-r1".into()));
}

#[tokio::test]
async fn of_two_that_read_the_same_one_begins_and_who_comes_later_waits() {
    let world = World::new(602).await;
    world.platform.advance(Duration::from_secs(3600));
    let (first, second) = (world.grant().await, world.grant().await);
    let until = world.platform.now().plus(CALL);
    let lock = grants::begin(&world.platform, &first, until).await.unwrap().unwrap();
    assert!(grants::begin(&world.platform, &second, until).await.unwrap().is_none());
    assert_eq!(world.decide().await, Decision::Wait { until });
    assert!(lock.stands(world.platform.now(), CALL) && !lock.stands(world.platform.now(), 2 * CALL));
    assert_eq!(world.tokens().await, ("clear-a0".into(), "clear-r0".into()), "the old one is kept until then");
}

#[tokio::test]
async fn a_late_answer_is_kept_where_what_was_sent_is_still_there_and_a_late_refusal_is_not() {
    for late in [true, false] {
        let world = World::new(603).await;
        world.platform.advance(Duration::from_secs(3600));
        let first = world.begin().await.unwrap();
        world.platform.advance(CALL);
        let second = world.begin().await.unwrap();
        let (early, later) = if late { (&first, &second) } else { (&second, &first) };
        assert!(world.finish(early, &tokens("clear-a1", Some("clear-r1"))).await);
        assert!(!world.finish(later, &Outcome::Refused).await);
        assert_eq!(world.decide().await, Decision::Use);
        assert_eq!(world.tokens().await, ("clear-a1".into(), "clear-r1".into()));
    }
}

#[tokio::test]
async fn a_refusal_is_the_end_until_the_customer_consents_once_more() {
    let mut world = World::new(604).await;
    let grant = world.grant().await;
    let lock = grants::begin(&world.platform, &grant, world.platform.now().plus(CALL)).await.unwrap().unwrap();
    assert!(world.finish(&lock, &Outcome::Refused).await);
    let at = world.platform.now();
    assert_eq!(world.decide().await, Decision::Ended(Ended { at, why: Why::Refused }));
    world.consent("clear-a9").await;
    assert_eq!(world.decide().await, Decision::Use);
    assert_eq!(world.tokens().await, ("clear-a9".into(), "clear-r9".into()));
    let lock = world.begin().await.unwrap();
    assert!(world.finish(&lock, &tokens("clear-a10", None)).await);
    assert_eq!(world.tokens().await, ("clear-a10".into(), "clear-r9".into()));
}

#[tokio::test]
async fn what_was_begun_for_a_consent_before_or_an_instance_that_is_gone_is_kept_nowhere() {
    let mut world = World::new(605).await;
    let before = world.grant().await;
    let lock = world.begin().await.unwrap();
    world.consent("clear-a9").await;
    let until = world.platform.now().plus(CALL);
    assert!(grants::begin(&world.platform, &before, until).await.unwrap().is_none());
    // Nobody has replaced it in the item yet, and it is not what counts.
    world.finish(&lock, &tokens("clear-a1", Some("clear-r1"))).await;
    assert_eq!(world.tokens().await, ("clear-a9".into(), "clear-r9".into()));
    let lock = world.begin().await.unwrap();
    assert!(world.finish(&lock, &tokens("clear-a10", None)).await);

    let grant = world.grant().await;
    let lock = world.begin().await.unwrap();
    instances::delete(&world.platform, &world.stored).await.unwrap();
    assert!(!world.finish(&lock, &tokens("clear-a11", None)).await);
    assert!(grants::begin(&world.platform, &grant, until).await.unwrap().is_none());
    assert_eq!(world.platform.table().items("POLL#"), []);
}

#[tokio::test]
async fn a_table_that_fails_or_loses_its_answer_loses_no_token() {
    let errors = [TableError::Throttled, TableError::Unavailable("x".into()), TableError::Conflict];
    for (seed, error) in (610..).zip(errors.into_iter().map(Some).chain([None])) {
        let world = World::new(seed).await;
        let lock = world.begin().await.unwrap();
        match error {
            Some(error) => world.platform.table().fail_next_write(error),
            None => world.platform.table().lose_next_answer(),
        }
        assert!(world.finish(&lock, &tokens("clear-a1", Some("clear-r1"))).await);
        assert_eq!(world.tokens().await, ("clear-a1".into(), "clear-r1".into()));
        assert!(world.finish(&lock, &tokens("clear-a1", Some("clear-r1"))).await, "said twice it is still so");
    }
    let world = World::new(620).await;
    let lock = world.begin().await.unwrap();
    world.platform.table().fail_next_write(TableError::Invalid("x".into()));
    let error = grants::finish(&world.platform, &lock, &tokens("clear-a1", None)).await.unwrap_err();
    assert!(matches!(error, RecordError::Table(_)) && !error.to_string().contains("clear"));
}

#[tokio::test]
async fn a_token_is_named_without_being_told() {
    let name = format!("{:?}", TokenName::of(&"clear-a0".into()));
    assert!(!name.contains("clear") && name != format!("{:?}", TokenName::of(&"clear-a1".into())));
}
