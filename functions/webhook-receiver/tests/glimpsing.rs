//! Reads that lag leave nobody out: what was just made or changed counts at once.

#![allow(clippy::unwrap_used)]

mod common;

use common::{SECRET, counts, hubspot, one, polls, refused, taken, told, world};
use events::configuration;
use http::StatusCode;
use platform::Platform as _;
use platform::testing::MemoryTable;
use records::refused::Reason;
use scenarios::{Made, Webhook, World};
use secrecy::SecretString;

fn table(world: &World) -> &MemoryTable {
    world.platform().memory.table()
}

async fn set(world: &World, made: &mut Made, key: &str, value: &str) {
    made.change(world.platform(), |configuration, _| drop(configuration.insert(key.into(), value.into()))).await;
}

#[tokio::test]
async fn a_webhook_right_after_its_instance_was_made_is_told_though_reads_lag() {
    let world = world(311).await;
    table(&world).fall_behind();
    let made = world.make(hubspot("62515")).await.id;
    taken(&world, &one(&world, "62515", 7)).await;
    taken(&world, &one(&world, "62515", 8).header("Element-Instances", &made.to_string())).await;
    assert_eq!(told(&world), [(made, vec!["7".into()]), (made, vec!["8".into()])]);
    assert_eq!(refused(&world, "hubspot").await, counts(&[]));
}

#[tokio::test]
async fn a_change_that_only_the_old_configuration_leaves_out_is_told() {
    let world = world(312).await;
    let mut made = world.make(hubspot("62515").set(configuration::OBJECTS, "companies")).await;
    let mut off = world.make(hubspot("7").set(configuration::ENABLED, "false")).await;
    table(&world).fall_behind();
    set(&world, &mut made, configuration::OBJECTS, "contacts").await;
    set(&world, &mut off, configuration::ENABLED, "true").await;
    taken(&world, &one(&world, "62515", 7)).await;
    taken(&world, &one(&world, "7", 8)).await;
    let mut expected = vec![(made.id, vec!["7".to_owned()]), (off.id, vec!["8".to_owned()])];
    expected.sort();
    assert_eq!(told(&world), expected);
    assert_eq!(refused(&world, "hubspot").await, counts(&[]));
}

#[tokio::test]
async fn a_secret_that_was_just_set_verifies_at_once_and_a_wrong_one_is_counted_once() {
    let world = world(313).await;
    let mut made = world.make(hubspot("62515")).await;
    table(&world).fall_behind();
    let secret = SecretString::from("another");
    made.change(world.platform(), |_, secrets| drop(secrets.insert(configuration::WEBHOOK_SECRET.into(), secret)))
        .await;
    taken(&world, &Webhook::hubspot("another", &[("62515", 7)], world.now())).await;
    let forged = Webhook::hubspot("a guess", &[("62515", 8)], world.now());
    assert_eq!(world.send(&forged).await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(told(&world), [(made.id, vec!["7".into()])]);
    assert_eq!(refused(&world, "hubspot").await, counts(&[(Reason::SignatureMismatch, 1)]));
}

#[tokio::test]
async fn of_a_request_for_several_accounts_one_that_is_not_seen_yet_has_all_looked_up_anew() {
    let world = world(314).await;
    let old = world.make(hubspot("1")).await.id;
    table(&world).fall_behind();
    let new = world.make(hubspot("2")).await.id;
    taken(&world, &Webhook::hubspot(SECRET, &[("1", 7), ("2", 8)], world.now())).await;
    let mut expected = vec![(old, vec!["7".to_owned()]), (new, vec!["8".to_owned()])];
    expected.sort();
    assert_eq!(told(&world), expected);
}

/// As the module says: reads that lag show the first instance, and nothing tells that there is another.
#[tokio::test]
async fn a_further_instance_of_an_account_is_told_as_soon_as_reads_show_it() {
    let world = world(315).await;
    let first = world.make(hubspot("62515")).await.id;
    table(&world).fall_behind();
    let second = world.make(hubspot("62515")).await.id;
    taken(&world, &one(&world, "62515", 7)).await;
    assert_eq!(told(&world), [(first, vec!["7".to_owned()])]);
    table(&world).catch_up();
    taken(&world, &one(&world, "62515", 8)).await;
    assert_eq!(told(&world).iter().filter(|(id, _)| *id == second).count(), 1);
}

#[tokio::test]
async fn a_signal_for_an_account_that_was_just_given_reaches_its_instance() {
    let world = world(316).await;
    let old = world.make(common::of("dropbox").account("dbid:1")).await.id;
    table(&world).fall_behind();
    let new = world.make(common::of("dropbox").account("dbid:2")).await.id;
    let body = r#"{"list_folder":{"accounts":["dbid:1","dbid:2"]},"delta":{"users":[1,2]}}"#;
    taken(&world, &Webhook::new("dropbox", SECRET, body)).await;
    let mut expected = vec![old, new];
    expected.sort();
    assert_eq!(polls(&world), expected);
}
