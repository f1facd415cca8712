//! Dropbox: a webhook says whose files changed, and makes each of those instances a poll job.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use axum::body::Body;
use common::{SECRET, SETTLES, counts, of, own, polls, refused, sorted, taken, world};
use events::{Timestamp, configuration};
use http::{Method, Request, StatusCode, header};
use platform::Platform as _;
use platform::testing::Moment;
use records::refused::Reason;
use records::signals;
use scenarios::{Spec, Trouble, Webhook, World};

const PATH: &str = "/elements/api-v2/events/dropbox";

fn dropbox(account: &str) -> Spec {
    of("dropbox").account(account)
}

fn signal(accounts: &[&str]) -> Webhook {
    let accounts = serde_json::to_string(accounts).unwrap();
    Webhook::new("dropbox", SECRET, format!(r#"{{"list_folder":{{"accounts":{accounts}}},"delta":{{"users":[1]}}}}"#))
}

fn challenge(method: Method, rest: &str) -> Request<Body> {
    Request::builder().method(method).uri(format!("{PATH}{rest}")).body(Body::empty()).unwrap()
}

/// No batch is queued, and nothing is written but when polls begin.
fn nothing_but_polls(world: &World) {
    assert_eq!(world.platform().memory.batches().messages(), []);
    let acts = world.platform().memory.acts();
    assert!(acts.iter().all(|act| act.starts_with("send message") || act.contains("SIGNAL#")), "{acts:?}");
}

#[tokio::test]
async fn a_challenge_is_echoed_as_text_that_no_browser_takes_for_anything_else() {
    let mut world = world(6_001).await;
    let instance = world.make(dropbox("dbid:A")).await.id;
    world.restart();
    let own = format!("{}?challenge=abc", own(instance));
    let script = "<script>alert(1)</script>";
    for (rest, echo) in [
        ("?challenge=abc", "abc"),
        ("/?x=1&challenge=a%20b%2Bc%26d", "a b+c&d"),
        ("?challenge=first&challenge=second", "first"),
        ("?challenge=%3Cscript%3Ealert(1)%3C/script%3E", script),
        ("?challenge=%F0%9F%A6%80", "🦀"),
        (&own, "abc"),
    ] {
        let answer = world.answer(challenge(Method::GET, rest)).await;
        assert_eq!((answer.status(), answer.body().as_str()), (StatusCode::OK, echo), "{rest}");
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/plain", "{rest}");
        assert_eq!(answer.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{rest}");
    }
    let acts = world.platform().memory.acts();
    assert_eq!(acts, Vec::<String>::new(), "an echo costs nothing");
    assert_eq!(refused(&world, "dropbox").await, counts(&[]));
}

#[tokio::test]
async fn what_is_no_challenge_is_not_echoed() {
    let world = world(6_002).await;
    let long = format!("?challenge={}", "x".repeat(4_097));
    for rest in ["", "?challenge=", "?Challenge=abc", "?x=challenge", "?challenge", &long] {
        let answer = world.answer(challenge(Method::GET, rest)).await;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{rest}");
        assert_eq!(answer.headers()[header::ALLOW], "POST");
    }
    let just_fits = format!("?challenge={}", "x".repeat(4_096));
    assert_eq!(world.call(challenge(Method::GET, &just_fits)).await, (StatusCode::OK, "x".repeat(4_096)));
    for method in [Method::POST, Method::PUT, Method::HEAD, Method::DELETE] {
        let (status, text) = world.call(challenge(method.clone(), "?challenge=abc")).await;
        assert!(status.is_client_error() && !text.contains("abc"), "{method}: {status} {text}");
    }
    let signed = signal(&["dbid:A"]).query("challenge=abc");
    let (status, text) = world.send(&signed).await;
    assert_eq!((status, text.as_str()), (StatusCode::OK, "{}"), "a POST is a notification, whatever its query says");
}

#[tokio::test]
async fn a_signal_makes_one_poll_job_for_each_instance_of_each_account_and_nothing_else() {
    let mut world = world(6_003).await;
    let a = world.make(dropbox("dbid:A")).await.id;
    let also_a = world.make(dropbox("dbid:A")).await.id;
    let b = world.make(dropbox("dbid:B")).await.id;
    world.make(dropbox("dbid:D")).await;
    world.make(dropbox("dbid:E").set(configuration::ENABLED, "false")).await;
    let strangers = common::hubspot("dbid:A");
    world.make(strangers).await;
    world.restart();
    taken(&world, &signal(&["dbid:A", "dbid:B", "dbid:A", "dbid:unknown", "dbid:E", "DBID:B"])).await;
    assert_eq!(polls(&world), sorted(vec![a, also_a, b]), "one each, however often the account is listed");
    nothing_but_polls(&world);
    let expected = counts(&[(Reason::UnknownAccount, 2), (Reason::EventsOff, 1)]);
    assert_eq!(refused(&world, "dropbox").await, expected);
}

#[tokio::test]
async fn accounts_of_a_signal_that_nobody_who_is_named_has_are_counted_once() {
    let world = world(6_020).await;
    let a = world.make(dropbox("dbid:A")).await.id;
    let b = world.make(dropbox("dbid:B")).await.id;
    let both = format!("{a},{b}");
    taken(&world, &signal(&["dbid:A", "dbid:B"]).header("Element-Instances", &both)).await;
    assert_eq!(refused(&world, "dropbox").await, counts(&[]));
    taken(&world, &signal(&["dbid:A", "dbid:B", "dbid:C", "dbid:D"]).header("Element-Instances", &both)).await;
    assert_eq!(polls(&world), sorted(vec![a, b]), "those jobs do");
    assert_eq!(refused(&world, "dropbox").await, counts(&[(Reason::Skipped, 1)]));
    assert!(common::skipped(&world, "dropbox").await[0].starts_with("2 of 4 entries"));
}

#[tokio::test]
async fn each_poll_job_waits_for_nobody_s_else() {
    let world = world(6_004).await;
    let accounts: Vec<String> = (0..60).map(|n| format!("dbid:{n}")).collect();
    for account in &accounts {
        world.make(dropbox(account)).await;
    }
    taken(&world, &signal(&accounts.iter().map(String::as_str).collect::<Vec<_>>())).await;
    let held = world.platform().memory.polls().messages();
    let groups: BTreeSet<&str> = held.iter().map(|held| held.group.as_str()).collect();
    assert_eq!((held.len(), groups.len()), (60, 60), "of one callback, and yet each a group of its own");
    assert!(held.iter().all(|held| held.visible_at == world.now().plus(SETTLES)), "all at the same time");
}

#[tokio::test]
async fn a_signal_that_is_not_proven_is_refused_and_polls_nobody() {
    let mut world = world(6_005).await;
    world.make(dropbox("dbid:A")).await;
    world.make(Spec::of("dropbox").callback(common::APP).account("dbid:B")).await;
    world.restart();
    let signed = signal(&["dbid:A"]).bytes(world.now());
    let mut tampered = signed.clone().map(Body::from);
    *tampered.body_mut() = Body::from(r#"{"list_folder":{"accounts":["dbid:A","dbid:A"]}}"#);
    let mut empty_signature = signed.map(Body::from);
    empty_signature.headers_mut().insert("x-dropbox-signature", "".parse().unwrap());
    let stranger = Webhook::new("dropbox", "another app's", r#"{"list_folder":{"accounts":["dbid:A"]}}"#);
    let requests = [
        signal(&["dbid:A"]).unsigned().request(world.now()),
        stranger.request(world.now()),
        tampered,
        empty_signature,
        signal(&["dbid:B"]).request(world.now()),
    ];
    for (index, request) in requests.into_iter().enumerate() {
        let (status, text) = world.call(request).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{index}: {text}");
    }
    assert_eq!(polls(&world), []);
    assert_eq!(world.platform().memory.acts(), Vec::<String>::new());
    let expected = [(Reason::NoSecret, 1), (Reason::SignatureMissing, 2), (Reason::SignatureMismatch, 2)];
    assert_eq!(refused(&world, "dropbox").await, counts(&expected));
}

#[tokio::test]
async fn only_instances_whose_own_secret_signed_are_polled() {
    let world = world(6_006).await;
    let ours = world.make(dropbox("dbid:A")).await.id;
    let by_client_secret = Spec::of("dropbox").callback(common::APP).account("dbid:A");
    let by_client_secret = world.make(by_client_secret.secret("oauth.api.secret", SECRET)).await.id;
    world.make(dropbox("dbid:A").webhook_secret("another app's")).await;
    taken(&world, &signal(&["dbid:A"])).await;
    assert_eq!(polls(&world), sorted(vec![ours, by_client_secret]));
    assert_eq!(refused(&world, "dropbox").await, counts(&[(Reason::SignatureMismatch, 1)]));
}

#[tokio::test]
async fn an_instance_named_by_path_is_polled_for_its_own_account_alone() {
    let mut world = world(6_007).await;
    let a = world.make(dropbox("dbid:A")).await.id;
    world.make(dropbox("dbid:B")).await;
    let any = world.make(of("dropbox")).await.id;
    world.restart();
    taken(&world, &signal(&["dbid:B", "dbid:A"]).path(&own(a))).await;
    assert_eq!(polls(&world), [a]);
    taken(&world, &signal(&["dbid:B"]).path(&own(a))).await;
    assert_eq!(polls(&world), [a], "what changed is somebody else's");
    taken(&world, &signal(&["dbid:B"]).path(&own(any))).await;
    assert_eq!(polls(&world), sorted(vec![a, any]), "who has no account takes what is sent to its own URL");
    nothing_but_polls(&world);
    let expected = counts(&[(Reason::Skipped, 1), (Reason::Filtered, 1)]);
    assert_eq!(refused(&world, "dropbox").await, expected, "each signal that somebody else's account is in, once");
}

#[tokio::test]
async fn a_signal_that_could_not_be_queued_is_sent_again() {
    for trouble in Trouble::ALL {
        let world = world(6_010 + trouble as u64).await;
        let instances: Vec<_> = [world.make(dropbox("dbid:A")).await.id, world.make(dropbox("dbid:A")).await.id].into();
        world.platform().fail(0, trouble);
        let (status, text) = world.send(&signal(&["dbid:A"])).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{trouble:?}: {text}");
        taken(&world, &signal(&["dbid:A"])).await;
        let polled: BTreeSet<_> = polls(&world).into_iter().collect();
        assert_eq!(polled, instances.into_iter().collect(), "{trouble:?}");
    }
}

/// The jobs for polls that are in the queue: when each is handed over.
fn jobs(world: &World) -> Vec<Timestamp> {
    world.platform().memory.polls().messages().iter().map(|held| held.visible_at).collect()
}

fn pass(world: &World, millis: u64) {
    world.platform().memory.advance(Duration::from_millis(millis));
}

#[tokio::test]
async fn a_burst_of_signals_makes_few_jobs_and_each_signal_one_that_begins_after_it() {
    let world = world(6_030).await;
    world.make(dropbox("dbid:A")).await;
    let mut last = world.now();
    for _ in 0..100 {
        taken(&world, &signal(&["dbid:A"])).await;
        last = world.now();
        assert!(jobs(&world).iter().any(|begins| *begins > last), "{last:?}");
        pass(&world, 20);
    }
    assert_eq!(jobs(&world).len(), 1);
    pass(&world, 1_000);
    taken(&world, &signal(&["dbid:A"])).await;
    let begins = jobs(&world);
    assert_eq!(begins.len(), 2, "the first may begin at any moment");
    assert!(begins[1] > world.now());
    assert!(last < begins[0]);
}

#[tokio::test]
async fn what_is_covered_costs_one_read_and_no_write() {
    let world = world(6_031).await;
    for account in ["dbid:A", "dbid:B"] {
        world.make(dropbox(account)).await;
    }
    taken(&world, &signal(&["dbid:A"])).await;
    taken(&world, &signal(&["dbid:A", "dbid:B"])).await;
    assert_eq!(jobs(&world).len(), 2, "one for each");
    let (acts, reads) = (world.platform().acts(), world.platform().reads());
    taken(&world, &signal(&["dbid:B"])).await;
    let one = world.platform().reads() - reads;
    taken(&world, &signal(&["dbid:A", "dbid:B"])).await;
    assert_eq!(world.platform().acts(), acts);
    assert_eq!(
        world.platform().reads() - reads - one,
        one + 1,
        "one more account to look up, and one read of both notes"
    );
}

#[tokio::test]
async fn whatever_is_in_doubt_is_polled() {
    for trouble in [Trouble::NotDone, Trouble::Throttled, Trouble::Conflict] {
        let world = world(6_040 + trouble as u64).await;
        world.make(dropbox("dbid:A")).await;
        world.platform().fail(1, trouble);
        taken(&world, &signal(&["dbid:A"])).await;
        taken(&world, &signal(&["dbid:A"])).await;
        assert_eq!(jobs(&world).len(), 2, "{trouble:?}: the note could not be written");
        taken(&world, &signal(&["dbid:A"])).await;
        assert_eq!(jobs(&world).len(), 2, "{trouble:?}: the second was");
    }
    let world = world(6_050).await;
    let instance = world.make(dropbox("dbid:A")).await.id;
    taken(&world, &signal(&["dbid:A"])).await;
    let reads = world.platform().reads();
    taken(&world, &signal(&["dbid:A"])).await;
    // The note is what is read last.
    world.platform().fail_read(world.platform().reads() - reads - 1);
    taken(&world, &signal(&["dbid:A"])).await;
    assert_eq!(jobs(&world).len(), 2, "it could not be read");
    for begins in [world.now().minus(SETTLES), world.now(), world.now().plus(60 * SETTLES)] {
        let before = jobs(&world).len();
        signals::note(world.platform(), [instance].into_iter(), begins).await.unwrap();
        taken(&world, &signal(&["dbid:A"])).await;
        assert_eq!(jobs(&world).len(), before + 1, "{begins:?} is none that a job has which waits");
    }
}

#[tokio::test]
async fn a_death_between_a_job_and_its_note_costs_a_job_more() {
    for (moment, expected) in [(Moment::Before, 1), (Moment::After, 2)] {
        let mut world = world(6_060).await;
        world.make(dropbox("dbid:A")).await;
        world.restart();
        world.crash_at(0, moment);
        let died = world.platform().memory.clone().run_until_crash(world.send(&signal(&["dbid:A"]))).await;
        assert!(died.is_err(), "{moment:?}");
        world.restart();
        taken(&world, &signal(&["dbid:A"])).await;
        assert_eq!(jobs(&world).len(), expected, "{moment:?}: the provider sends it again");
    }
}
