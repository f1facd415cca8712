//! Instances and accounts: what is kept, who finds it, and what nobody can read.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use events::{InstanceId, Timestamp, configuration};
use platform::testing::{MemoryPlatform, VISIBILITY_TIMEOUT};
use platform::{Key, Platform as _, Table as _, TableError, Version, Write};
use pollhook_records::accounts::{self, Account, Credentials, Holder, Keys};
use pollhook_records::instances::{self, Derived, Instance, Provision, Secrets, Stored};
use pollhook_records::{RecordError, bodies, deliveries, markers, refused, retries};
use secrecy::{ExposeSecret as _, SecretString};

const NOW: Timestamp = Timestamp::from_seconds(1_790_000_000);
const WEBHOOK_SECRETS: [&str; 2] = ["webhook.secret", "oauth.api.secret"];

fn platform(seed: u64) -> MemoryPlatform {
    MemoryPlatform::with(NOW, seed, VISIBILITY_TIMEOUT)
}

/// Does `act` with what a connector makes of an account.
async fn with_derived<T>(account: Option<&str>, act: impl AsyncFnOnce(&Derived<'_>) -> T) -> T {
    let secret_keys = WEBHOOK_SECRETS.map(str::to_owned);
    act(&Derived { secret_keys: &secret_keys, account, ..Derived::default() }).await
}

fn provision(plain: &[(&str, &str)], secrets: &[(&str, &str)]) -> Provision {
    Provision {
        name: "mine".into(),
        connector: "hubspot".into(),
        hub: "crm".into(),
        tags: vec!["a".into()],
        configuration: plain.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        secrets: secrets.iter().map(|(key, value)| ((*key).to_owned(), SecretString::from(*value))).collect(),
    }
}

async fn owner(platform: &MemoryPlatform) -> (Account, Credentials) {
    accounts::create(platform, false).await.unwrap()
}

async fn make(platform: &MemoryPlatform, owner: &Account, plain: &[(&str, &str)], secrets: &[(&str, &str)]) -> Stored {
    let account = plain.iter().find(|(key, _)| *key == configuration::VENDOR_ACCOUNT).map(|(_, account)| *account);
    let provision = provision(plain, secrets);
    with_derived(account, async |derived| instances::create(platform, owner, provision, derived).await.unwrap()).await
}

async fn change(
    platform: &MemoryPlatform,
    before: &Stored,
    instance: Instance,
    secrets: Secrets,
) -> Result<Stored, RecordError> {
    let account = instance.configuration.get(configuration::VENDOR_ACCOUNT).cloned();
    let update = async |derived: &Derived<'_>| instances::update(platform, before, instance, secrets, derived).await;
    with_derived(account.as_deref(), update).await
}

fn clear(secrets: &Secrets) -> BTreeMap<&str, &str> {
    secrets.iter().map(|(key, secret)| (key.as_str(), secret.expose_secret())).collect()
}

#[tokio::test]
async fn what_is_made_is_loaded_whole_and_each_role_sees_its_part() {
    let platform = platform(1);
    let (account, _) = owner(&platform).await;
    let plain = [
        (configuration::CALLBACK_URL, " https://app.example/ "),
        (configuration::VENDOR_ACCOUNT, "42"),
        (configuration::OBJECTS, "Contacts, Deals"),
        (configuration::CONTRACT, "strict"),
        ("event.mapping.date", "at"),
        ("unheard.of", "kept"),
    ];
    let secrets = [(configuration::SIGNATURE_KEY, "sign"), ("oauth.api.secret", "app"), ("oauth.user.token", "user")];
    let made = make(&platform, &account, &plain, &secrets).await;
    let id = made.instance.id;
    assert_eq!(instances::get(&platform, account.id, id).await.unwrap().as_ref(), Some(&made.instance));
    let loaded = instances::load(&platform, account.id, id).await.unwrap().unwrap();
    assert_eq!(loaded.instance, made.instance);
    assert_eq!(clear(&loaded.secrets), secrets.into_iter().collect());
    assert_eq!(loaded.token.expose_secret(), made.token.expose_secret());
    let webhook = instances::webhook_views(&platform, &[id]).await.unwrap().remove(0).unwrap();
    assert!(webhook.events_on && !webhook.disabled && !webhook.unverified);
    assert_eq!(webhook.objects, ["contacts", "deals"]);
    assert_eq!(webhook.mapping, BTreeMap::from([("event.mapping.date".to_owned(), "at".to_owned())]));
    let secret = webhook.secret(&WEBHOOK_SECRETS).unwrap().open(&platform).await.unwrap();
    assert_eq!(secret.expose_secret(), "app");
    assert!(webhook.secret(&["oauth.user.token"]).is_none(), "the receiver does not get what it does not need");
    let callback = instances::callback_view(&platform, id).await.unwrap().unwrap();
    assert_eq!((callback.url.as_deref(), callback.strict), (Some("https://app.example/"), true));
    assert_eq!(callback.credentials(&platform).await.unwrap().signature_key.unwrap().expose_secret(), "sign");
    assert_eq!(callback.group, webhook.group);
    assert_eq!(instances::routed(&platform, "hubspot", "42").await.unwrap(), (vec![id], false));
    assert_eq!(instances::of_account(&platform, account.id).await.unwrap(), [id]);
}

#[tokio::test]
async fn no_secret_is_in_the_table_in_clear() {
    let platform = platform(2);
    let (account, credentials) = owner(&platform).await;
    let secrets = [
        (configuration::SIGNATURE_KEY, "clear-signature-key"),
        ("webhook.secret", "clear-webhook-secret"),
        ("my.password", "clear-password"),
    ];
    let made = make(&platform, &account, &[(configuration::CALLBACK_URL, "https://app.example/")], &secrets).await;
    let mut words: Vec<String> = secrets.iter().map(|(_, secret)| (*secret).to_owned()).collect();
    words.push(made.token.expose_secret().to_owned());
    words.push(credentials.user.expose_secret().to_owned());
    words.push(credentials.organization.expose_secret().to_owned());
    for item in platform.table().items("") {
        let text = format!("{:?} {}", item.key, String::from_utf8_lossy(&item.body));
        assert!(words.iter().all(|word| !text.contains(word.as_str())), "{text}");
    }
    let shown = format!("{made:?} {credentials:?}");
    assert!(words.iter().all(|word| !shown.contains(word.as_str())), "{shown}");
}

#[tokio::test]
async fn another_account_s_instance_is_as_good_as_none() {
    let platform = platform(3);
    let ((ours, _), (theirs, _)) = (owner(&platform).await, owner(&platform).await);
    let id = make(&platform, &theirs, &[], &[]).await.instance.id;
    assert_eq!(instances::get(&platform, ours.id, id).await.unwrap(), None);
    assert!(instances::load(&platform, ours.id, id).await.unwrap().is_none());
    assert_eq!(instances::of_account(&platform, ours.id).await.unwrap(), []);
}

#[tokio::test]
async fn of_two_changes_made_on_the_same_state_one_fails_and_changes_nothing() {
    let platform = platform(4);
    let (account, _) = owner(&platform).await;
    let made = make(&platform, &account, &[(configuration::VENDOR_ACCOUNT, "1")], &[("webhook.secret", "old")]).await;
    let id = made.instance.id;
    let (first, second) = (
        instances::load(&platform, account.id, id).await.unwrap().unwrap(),
        instances::load(&platform, account.id, id).await.unwrap().unwrap(),
    );
    let changed = |stored: &Stored, name: &str, account: &str| {
        let mut instance = stored.instance.clone();
        instance.name = name.into();
        instance.configuration.insert(configuration::VENDOR_ACCOUNT.into(), account.into());
        instance
    };
    let secrets = Secrets::from([("webhook.secret".to_owned(), SecretString::from("new"))]);
    let won = change(&platform, &first, changed(&first, "first", "2"), secrets).await;
    let lost = change(&platform, &second, changed(&second, "second", "3"), Secrets::new()).await;
    assert!(matches!(lost, Err(RecordError::Table(TableError::ConditionFailed(_)))));
    assert!(matches!(
        instances::delete(&platform, &second).await,
        Err(RecordError::Table(TableError::ConditionFailed(_)))
    ));
    let now = instances::load(&platform, account.id, id).await.unwrap().unwrap();
    assert_eq!((now.instance.name.as_str(), clear(&now.secrets)["webhook.secret"]), ("first", "new"));
    for (route, routed) in [("1", vec![]), ("2", vec![id]), ("3", vec![])] {
        assert_eq!(instances::routed(&platform, "hubspot", route).await.unwrap().0, routed, "account {route}");
    }
    // What the winner got back can be changed on.
    let won = won.unwrap();
    change(&platform, &won, changed(&won, "third", "2"), Secrets::new()).await.unwrap();
    let view = instances::webhook_views(&platform, &[id]).await.unwrap().remove(0).unwrap();
    assert!(view.secret(&WEBHOOK_SECRETS).is_none(), "a secret that was removed is gone from every view");
}

#[tokio::test]
async fn a_deleted_instance_is_gone_from_everywhere_and_its_number_stays_taken() {
    let platform = platform(5);
    let (account, _) = owner(&platform).await;
    let made = make(&platform, &account, &[(configuration::VENDOR_ACCOUNT, "1")], &[]).await;
    let id = made.instance.id;
    let grants = platform.table().items("KEY#").len();
    instances::delete(&platform, &made).await.unwrap();
    assert_eq!(instances::get(&platform, account.id, id).await.unwrap(), None);
    assert!(instances::load(&platform, account.id, id).await.unwrap().is_none());
    assert_eq!(instances::webhook_views(&platform, &[id]).await.unwrap(), [None]);
    assert_eq!(instances::callback_view(&platform, id).await.unwrap(), None);
    assert_eq!(instances::routed(&platform, "hubspot", "1").await.unwrap(), (vec![], false));
    assert_eq!(instances::of_account(&platform, account.id).await.unwrap(), []);
    assert_eq!(platform.table().items("KEY#").len(), grants - 1, "its token opens nothing any more");
    assert_eq!(platform.table().items(&format!("INSTANCE#{id}")).len(), 1, "the tombstone");
}

#[tokio::test]
async fn a_number_that_is_taken_is_not_given_again() {
    let drawn = async |taken: Option<InstanceId>| {
        let platform = platform(6);
        let (account, _) = owner(&platform).await;
        if let Some(id) = taken {
            let tombstone =
                Write::put(Key::new(format!("INSTANCE#{id}"), "INSTANCE"), Version(1), r#"{"v":1,"deleted_at":1}"#);
            platform.table().write(tombstone).await.unwrap();
        }
        let id = make(&platform, &account, &[], &[]).await.instance.id;
        assert_eq!(platform.table().items("WEBHOOK#").len(), 1);
        id
    };
    let first = drawn(None).await;
    assert_eq!(drawn(None).await, first, "the same seed draws the same number");
    assert_ne!(drawn(Some(first)).await, first);
}

#[tokio::test]
async fn the_events_of_an_instance_are_on_when_it_says_so_or_has_a_callback_or_flows() {
    let platform = platform(7);
    let (account, _) = owner(&platform).await;
    let callback = (configuration::CALLBACK_URL, "https://app.example/");
    let flows = (configuration::FLOW_ENABLED, "True");
    let cases: [(&[(&str, &str)], bool); 8] = [
        (&[], false),
        (&[flows], true),
        (&[(configuration::FLOW_ENABLED, "false")], false),
        (&[flows, (configuration::ENABLED, "false")], false),
        (&[callback], true),
        (&[callback, (configuration::ENABLED, "false")], false),
        (&[callback, (configuration::ENABLED, "")], false),
        (&[(configuration::ENABLED, "TRUE")], true),
    ];
    for (plain, on) in cases {
        let id = make(&platform, &account, plain, &[]).await.instance.id;
        let view = instances::webhook_views(&platform, &[id]).await.unwrap().remove(0).unwrap();
        assert_eq!(view.events_on, on, "{plain:?}");
        let view = instances::callback_view(&platform, id).await.unwrap().unwrap();
        assert_eq!(view.flows, plain.contains(&flows), "{plain:?}");
    }
}

fn keys<'a>(user: &'a str, organization: &'a str) -> Keys<'a> {
    Keys { user, organization: Some(organization), element: None }
}

#[tokio::test]
async fn a_key_opens_only_beside_its_own_account_s_other_key() {
    let platform = platform(8);
    let ((a, of_a), (_, of_b)) = (owner(&platform).await, owner(&platform).await);
    let made = make(&platform, &a, &[], &[]).await;
    let token = made.token.expose_secret();
    let (user, organization) = (of_a.user.expose_secret(), of_a.organization.expose_secret());
    let (other_user, other_organization) = (of_b.user.expose_secret(), of_b.organization.expose_secret());
    let holder = |instance| Some(Holder { account: a.clone(), instance });
    let of_instance = holder(Some(made.instance.id));
    assert_eq!(accounts::authenticate(&platform, keys(user, organization)).await.unwrap(), holder(None));
    let by_token = |organization| Keys { user, organization, element: Some(token) };
    for organization in [None, Some(organization)] {
        assert_eq!(accounts::authenticate(&platform, by_token(organization)).await.unwrap(), of_instance);
    }
    let alone = Keys { user, organization: None, element: None };
    let strangers = [
        (organization, user),
        (user, user),
        (organization, organization),
        (user, other_organization),
        (other_user, organization),
        (user, ""),
        ("", organization),
        ("", ""),
        (user, "0123456789abcdef0123456789abcdef"),
        (token, organization),
        (user, token),
    ];
    let strangers = strangers.map(|(user, organization)| keys(user, organization)).into_iter().chain([
        alone,
        Keys { user: other_user, ..by_token(None) },
        by_token(Some(other_organization)),
        Keys { user: token, ..by_token(None) },
        Keys { element: Some(user), ..alone },
        Keys { element: Some(organization), ..alone },
        Keys { element: Some(""), ..alone },
    ]);
    for (index, keys) in strangers.enumerate() {
        assert_eq!(accounts::authenticate(&platform, keys).await.unwrap(), None, "{index}");
    }
    instances::delete(&platform, &made).await.unwrap();
    for organization in [None, Some(organization)] {
        assert_eq!(accounts::authenticate(&platform, by_token(organization)).await.unwrap(), None, "of a deleted one");
    }
    assert_eq!(organization.len(), 32);
    assert_eq!(of_a.header().expose_secret(), format!("User {user}, Organization {organization}"));
}

#[tokio::test]
async fn the_operator_is_one_account_however_often_keys_are_lost_and_lost_keys_are_void() {
    let platform = platform(9);
    let (first, lost) = accounts::operator(&platform).await.unwrap();
    let (second, found) = accounts::operator(&platform).await.unwrap();
    assert!(first.operator);
    assert_eq!(first, second);
    for (issued, opens) in [(lost, None), (found, Some(Holder { account: first, instance: None }))] {
        let keys = keys(issued.user.expose_secret(), issued.organization.expose_secret());
        assert_eq!(accounts::authenticate(&platform, keys).await.unwrap(), opens);
    }
}

#[tokio::test]
async fn an_account_that_names_another_s_provider_account_many_times_does_not_crowd_it_out() {
    let platform = platform(31);
    let (victim, _) = accounts::create(&platform, false).await.unwrap();
    let (other, _) = accounts::create(&platform, false).await.unwrap();
    let mut theirs = Vec::new();
    for owner in std::iter::repeat_n(&other, instances::INSTANCES_PER_ACCOUNT + 20).chain([&victim]) {
        let provision = Provision {
            name: "crowd".into(),
            connector: "hubspot".into(),
            hub: "crm".into(),
            tags: Vec::new(),
            configuration: [("event.vendor.account".to_owned(), "33".to_owned())].into(),
            secrets: instances::Secrets::new(),
        };
        let derived = Derived { account: Some("33"), ..Derived::default() };
        theirs.push(instances::create(&platform, owner, provision, &derived).await.unwrap().instance.id);
    }
    let (routed, more) = instances::routed(&platform, "hubspot", "33").await.unwrap();
    assert!(more, "the surplus is told of");
    assert_eq!(routed.len(), instances::INSTANCES_PER_ACCOUNT + 1);
    assert!(routed.contains(theirs.last().unwrap()));
}

/// The same error, wherever a newer version's item is met.
fn newer<T: std::fmt::Debug>(result: Result<T, RecordError>) {
    let error = result.unwrap_err();
    assert!(matches!(error, RecordError::Newer(_, 4)), "{error}");
}

#[tokio::test]
async fn what_a_newer_version_wrote_is_told_so_and_never_guessed_at() {
    let platform = platform(10);
    let (account, issued) = owner(&platform).await;
    let made = make(&platform, &account, &[(configuration::VENDOR_ACCOUNT, "1")], &[]).await;
    let id = made.instance.id;
    let batch = scenarios::batch(id, 0..1, "[]");
    let notification = batch.notifications(batch.accepted_at).next().unwrap();
    let delivery = deliveries::Delivery::new(notification.id, &batch, notification.events);
    deliveries::keep_payload(&platform, notification.id, &batch, notification.events).await.unwrap();
    deliveries::proceed(&platform, None, delivery, Vec::new()).await.unwrap();
    markers::first_seen(&platform, &batch).await.unwrap();
    retries::set_low_water(&platform, 1).await.unwrap();
    let mut counted = refused::Refusals::none();
    counted.add(refused::Sample { at: NOW, detail: "x".into() });
    let day = NOW.day();
    refused::add(&platform, "hubspot", day, refused::Reason::Stale, &counted).await.unwrap();
    let kinds: BTreeSet<String> = (platform.table().items("").into_iter())
        .map(|item| item.key.partition.split('#').next().unwrap().to_owned())
        .collect();
    for item in platform.table().items("") {
        let text = String::from_utf8_lossy(&item.body);
        let (first, rest) = text.split_at("{\"v\":1".len());
        assert_eq!(first, "{\"v\":1", "every kind of item says its version: {kinds:?}");
        let body = [b"{\"v\":4".as_slice(), &item.body[first.len()..]].concat();
        assert!(!rest.is_empty());
        platform.table().write(Write::put(item.key, Version(2), body)).await.unwrap();
    }
    newer(instances::get(&platform, account.id, id).await);
    newer(instances::load(&platform, account.id, id).await);
    newer(instances::webhook_views(&platform, &[id]).await);
    newer(instances::callback_view(&platform, id).await);
    newer(accounts::get(&platform, account.id).await);
    let keys = self::keys(issued.user.expose_secret(), issued.organization.expose_secret());
    newer(accounts::authenticate(&platform, keys).await);
    newer(deliveries::get(&platform, id, notification.id).await);
    newer(deliveries::get_or_leftover(&platform, id, notification.id).await);
    newer(deliveries::load_unrecorded(&platform, notification.id).await);
    newer(deliveries::list(&platform, id, None, 10).await);
    newer(bodies::delete(&platform, &format!("N{}", notification.id)).await);
    newer(markers::first_seen(&platform, &batch).await);
    newer(retries::low_water(&platform).await);
    newer(refused::list(&platform, "hubspot").await);
    newer(refused::add(&platform, "hubspot", day, refused::Reason::Stale, &counted).await);
}
