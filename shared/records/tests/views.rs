//! What each role reads of an instance; handshakes; listing.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;

use common::{make, owner, platform, provision, write};
use events::configuration::{
    BASIC_PASSWORD, BASIC_USERNAME, CALLBACK_HEADERS, METADATA, OBJECTS, SIGNATURE_KEY, VENDOR_ACCOUNT,
};
use events::{EventType, InstanceId};
use platform::testing::{MemoryPlatform, Moment};
use platform::{Platform as _, Table as _, TableError, Write};
use pollhook_records::RecordError;
use pollhook_records::accounts::Account;
use pollhook_records::instances::{self, Derived, Kept, Stored};
use proptest::prelude::*;
use secrecy::{ExposeSecret as _, SecretString};

#[tokio::test]
async fn an_instance_is_told_of_the_objects_and_event_types_it_wants() {
    let platform = platform(1);
    let account = owner(&platform).await;
    let metadata = r#"{"webhook":{"Contact":{"eventTypes":["CREATED"]},"{objectName}":{"eventTypes":["deleted"]}}}"#;
    let view = async |plain: &[(&str, &str)]| {
        let id = make(&platform, &account, plain).await.instance.id;
        instances::webhook_views(&platform, &[id]).await.unwrap().remove(0).unwrap()
    };
    let both = view(&[(OBJECTS, "contact, Deal"), (METADATA, metadata)]).await;
    for (object, event_type, told) in [
        ("Contact", EventType::Created, true),
        ("contact", EventType::Updated, false),
        ("contact", EventType::Unknown, true),
        ("deal", EventType::Deleted, true),
        ("deal", EventType::Created, false),
        ("note", EventType::Deleted, false),
        ("note", EventType::Unknown, false),
    ] {
        assert_eq!(both.wants(object, event_type), told, "{object} {event_type:?}");
    }
    assert!(view(&[]).await.wants("anything", EventType::Deleted));
    let unreadable = view(&[(METADATA, "not JSON, kept by a version that did not read it")]).await;
    assert!(unreadable.wants("anything", EventType::Deleted), "when in doubt it is told");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_instance_wants_what_both_its_filters_let_through(
        objects in proptest::collection::vec("[A-Ca-c]", 0..3),
        listed in proptest::option::of("[A-Ca-c]"),
        object in "[A-Da-d]",
        created: bool,
    ) {
        let listing = listed.as_ref().map(|name| serde_json::json!({"webhook": {name: {"eventTypes": ["created"]}}}));
        let (texts, listing) = (objects.join(" ,"), listing.map(|listing| listing.to_string()));
        let plain = [(OBJECTS, Some(texts.as_str())), (METADATA, listing.as_deref())];
        let plain: Vec<(&str, &str)> = plain.into_iter().filter_map(|(key, text)| Some((key, text?))).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let view = runtime.block_on(async {
            let platform = platform(12);
            let account = owner(&platform).await;
            let id = make(&platform, &account, &plain).await.instance.id;
            instances::webhook_views(&platform, &[id]).await.unwrap().remove(0).unwrap()
        });
        let by_object = objects.is_empty() || objects.iter().any(|wanted| wanted.eq_ignore_ascii_case(&object));
        let by_type = created || !listed.is_some_and(|name| name.eq_ignore_ascii_case(&object));
        let event_type = if created { EventType::Created } else { EventType::Deleted };
        prop_assert_eq!(view.wants(&object, event_type), by_object && by_type);
    }
}

#[tokio::test]
async fn a_callback_is_posted_with_key_password_and_headers_all_of_them_sealed() {
    let platform = platform(2);
    let account = owner(&platform).await;
    let secrets = [
        (SIGNATURE_KEY, "clear-key"),
        (BASIC_PASSWORD, "clear-password"),
        (CALLBACK_HEADERS, "X-Key: clear-value\nAuthorization: Bearer clear-token"),
    ];
    let credentials = async |plain: &[(&str, &str)], secrets: &[(&str, &str)]| {
        let provision = provision("github", plain, secrets);
        let made = instances::create(&platform, &account, provision, &Derived::default()).await.unwrap();
        let view = instances::callback_view(&platform, made.instance.id).await.unwrap().unwrap();
        view.credentials(&platform).await.unwrap()
    };
    let all = credentials(&[(BASIC_USERNAME, " me ")], &secrets).await;
    assert_eq!(all.signature_key.as_ref().unwrap().expose_secret(), "clear-key");
    let (name, password) = all.basic.as_ref().unwrap();
    assert_eq!((name.as_str(), password.expose_secret()), ("me", "clear-password"));
    let headers: Vec<_> = all.headers.iter().map(|(name, value)| (name.as_str(), value.expose_secret())).collect();
    assert_eq!(headers, [("x-key", "clear-value"), ("authorization", "Bearer clear-token")]);
    assert!(!format!("{all:?}").contains("clear"));
    for item in platform.table().items("") {
        assert!(!String::from_utf8_lossy(&item.body).contains("clear"), "{:?}", item.key);
    }
    let none = credentials(&[], &[]).await;
    assert!(none.signature_key.is_none() && none.basic.is_none() && none.headers.is_empty());
    let alone = credentials(&[(BASIC_USERNAME, "me")], &[(CALLBACK_HEADERS, "not a header")]).await;
    assert_eq!(alone.basic.unwrap().1.expose_secret(), "");
    assert!(alone.headers.is_empty(), "what cannot be sent is not");
    assert!(credentials(&[], &[(BASIC_PASSWORD, "x")]).await.basic.is_none());
    let no_username = credentials(&[(BASIC_USERNAME, "a:b")], &[(BASIC_PASSWORD, "x")]).await;
    assert!(no_username.basic.is_none(), "a colon would end the user name, and begin the password, elsewhere");
}

async fn keep(platform: &MemoryPlatform, id: InstanceId, secret: &str) -> Result<Kept, RecordError> {
    instances::keep_handshake(platform, id, &SecretString::from(secret)).await
}

async fn kept(platform: &MemoryPlatform, id: InstanceId) -> Option<String> {
    let secret = instances::handshake(platform, id).await.unwrap();
    secret.map(|secret| secret.expose_secret().to_owned())
}

#[tokio::test]
async fn the_first_handshake_s_secret_stays_until_it_is_to_be_forgotten() {
    let platform = platform(4);
    let account = owner(&platform).await;
    let made = make(&platform, &account, &[]).await;
    let id = made.instance.id;
    assert_eq!(kept(&platform, id).await, None);
    assert_eq!(keep(&platform, id, "first-secret").await, Ok(Kept::New));
    assert_eq!(keep(&platform, id, "first-secret").await, Ok(Kept::Same));
    assert_eq!(keep(&platform, id, "other").await, Ok(Kept::Other));
    assert_eq!(kept(&platform, id).await.as_deref(), Some("first-secret"));
    for item in platform.table().items("") {
        assert!(!String::from_utf8_lossy(&item.body).contains("first-secret"), "{:?}", item.key);
    }
    let update = async |before: &Stored, forget_handshake: bool| {
        let derived = Derived { forget_handshake, ..Derived::default() };
        let (instance, secrets) = (before.instance.clone(), before.secrets.clone());
        instances::update(&platform, before, instance, secrets, &derived).await.unwrap()
    };
    let made = update(&made, false).await;
    assert_eq!(kept(&platform, id).await.as_deref(), Some("first-secret"));
    let made = update(&made, true).await;
    assert_eq!(kept(&platform, id).await, None);
    assert_eq!(keep(&platform, id, "second").await, Ok(Kept::New));
    instances::delete(&platform, &made).await.unwrap();
    assert_eq!(kept(&platform, id).await, None);
    assert_eq!(keep(&platform, id, "third").await, Ok(Kept::Gone));
    assert_eq!(platform.table().items("WEBHOOK#").len(), 0);
}

#[tokio::test]
async fn of_handshakes_at_once_one_is_kept() {
    let platform = platform(5);
    let account = owner(&platform).await;
    let id = make(&platform, &account, &[]).await.instance.id;
    let secrets: Vec<String> = (0..8).map(|n| format!("secret {n}")).collect();
    let outcomes = futures_util::future::join_all(secrets.iter().map(|secret| keep(&platform, id, secret))).await;
    let winners: Vec<&String> = (secrets.iter().zip(&outcomes))
        .filter(|(_, outcome)| **outcome == Ok(Kept::New))
        .map(|(secret, _)| secret)
        .collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    assert_eq!(kept(&platform, id).await.as_ref(), Some(winners[0]));
}

#[tokio::test]
async fn a_handshake_survives_crashes_and_lost_answers_and_outlives_no_instance() {
    let make_one = async |platform: &MemoryPlatform| {
        let account = owner(platform).await;
        make(platform, &account, &[]).await
    };
    let steps = {
        let platform = platform(6);
        let id = make_one(&platform).await.instance.id;
        let before = platform.steps();
        keep(&platform, id, "s").await.unwrap();
        before..platform.steps()
    };
    assert!(!steps.is_empty());
    for step in steps {
        for (moment, again) in [(Moment::Before, Kept::New), (Moment::After, Kept::Same)] {
            let platform = platform(6);
            let made = make_one(&platform).await;
            let id = made.instance.id;
            platform.crash_at(step, moment);
            platform.run_until_crash(keep(&platform, id, "s")).await.unwrap_err();
            let platform = platform.restart();
            assert_eq!(keep(&platform, id, "s").await, Ok(again));
            instances::delete(&platform, &made).await.unwrap();
            assert_eq!(platform.table().items("WEBHOOK#").len(), 0);
        }
    }
    let platform = platform(7);
    let id = make_one(&platform).await.instance.id;
    platform.table().lose_next_answer();
    assert!(matches!(keep(&platform, id, "s").await, Err(RecordError::Table(TableError::OutcomeUnknown(_)))));
    assert_eq!(keep(&platform, id, "s").await, Ok(Kept::Same));
    let read = TableError::Throttled;
    platform.table().fail_next_read(read.clone());
    assert_eq!(keep(&platform, id, "s").await, Err(read.into()), "what cannot be read is not taken for gone");
}

#[tokio::test]
async fn a_handshake_and_a_deletion_at_once_leave_nothing_behind() {
    let platform = platform(8);
    let account = owner(&platform).await;
    for round in 0..20 {
        let made = make(&platform, &account, &[]).await;
        let id = made.instance.id;
        let (kept, deleted) = tokio::join!(keep(&platform, id, "s"), instances::delete(&platform, &made));
        deleted.unwrap();
        assert!(matches!(kept, Ok(Kept::New | Kept::Gone)), "round {round}: {kept:?}");
        assert_eq!(platform.table().items("WEBHOOK#").len(), 0, "round {round}: {kept:?}");
    }
}

async fn all_pages(platform: &MemoryPlatform, account: &Account, limit: usize) -> Vec<InstanceId> {
    let mut ids = Vec::new();
    let mut after = None;
    loop {
        let page = instances::page(platform, account.id, after, limit).await.unwrap();
        assert!(page.instances.len() <= limit.max(1));
        assert!(page.next.is_none() || page.next == page.instances.last().map(|instance| instance.id));
        ids.extend(page.instances.iter().map(|instance| instance.id));
        match page.next {
            Some(next) => after = Some(next),
            None => return ids,
        }
    }
}

#[tokio::test]
async fn an_account_s_instances_are_listed_whole_in_one_order_whatever_the_page() {
    let platform = platform(9);
    let (account, other) = (owner(&platform).await, owner(&platform).await);
    assert_eq!(all_pages(&platform, &account, 10).await, []);
    let mut made = Vec::new();
    for _ in 0..13 {
        make(&platform, &other, &[]).await;
        made.push(make(&platform, &account, &[(VENDOR_ACCOUNT, "1")]).await);
    }
    let all = all_pages(&platform, &account, 100).await;
    let texts: Vec<String> = all.iter().map(ToString::to_string).collect();
    assert!(texts.is_sorted());
    let wanted: BTreeSet<String> = made.iter().map(|stored| stored.instance.id.to_string()).collect();
    assert_eq!(texts.iter().cloned().collect::<BTreeSet<_>>(), wanted);
    for limit in [0, 1, 2, 5, 12, 13, 14] {
        assert_eq!(all_pages(&platform, &account, limit).await, all, "pages of {limit}");
    }
    let exact = instances::page(&platform, account.id, None, 13).await.unwrap();
    assert_eq!(exact.next, None, "a page that holds the last one says so");
    let first = instances::page(&platform, account.id, None, 5).await.unwrap();
    assert!(first.instances.iter().all(|instance| instance.configuration[VENDOR_ACCOUNT] == "1"));
    // The instance that a page ended with is deleted, another is changed: the next page is the same.
    let at = |id: InstanceId| made.iter().find(|stored| stored.instance.id == id).unwrap();
    instances::delete(&platform, at(all[4])).await.unwrap();
    let changed = at(all[5]);
    write(&platform, changed, changed.instance.clone(), changed.secrets.clone()).await.unwrap();
    let second = instances::page(&platform, account.id, first.next, 5).await.unwrap();
    assert_eq!(second.instances.iter().map(|instance| instance.id).collect::<Vec<_>>(), all[5..10]);
}

#[tokio::test]
async fn an_id_that_begins_as_another_is_on_the_next_page() {
    let platform = platform(10);
    let account = owner(&platform).await;
    let made = make(&platform, &account, &[]).await;
    let text = String::from_utf8(platform.table().items("INSTANCE#")[0].body.to_vec()).unwrap();
    let ids: Vec<InstanceId> = [12, 123, 13].map(|n: u32| n.try_into().unwrap()).to_vec();
    for id in &ids {
        let number = format!("\"id\":{}", made.instance.id);
        assert!(text.contains(&number));
        let item = text.replace(&number, &format!("\"id\":{id}"));
        let link = platform::Key::new(format!("ACCOUNT#{}", account.id), format!("INSTANCE#{id}"));
        let key = platform::Key::new(format!("INSTANCE#{id}"), "INSTANCE");
        let version = platform.version();
        let writes = vec![Write::put(key, version, item), Write::put(link, version, r#"{"v":1}"#)];
        platform.table().write_many(writes).await.unwrap();
    }
    instances::delete(&platform, &made).await.unwrap();
    assert_eq!(all_pages(&platform, &account, 1).await, ids);
    assert_eq!(instances::of_account(&platform, account.id).await.unwrap(), ids);
}

#[tokio::test]
async fn a_link_whose_instance_is_gone_is_passed_over() {
    let platform = platform(11);
    let account = owner(&platform).await;
    for _ in 0..3 {
        make(&platform, &account, &[]).await;
    }
    let all = all_pages(&platform, &account, 10).await;
    let gone = platform::Key::new(format!("INSTANCE#{}", all[1]), "INSTANCE");
    platform.table().write(Write::delete(gone)).await.unwrap();
    assert_eq!(all_pages(&platform, &account, 10).await, [all[0], all[2]]);
}
