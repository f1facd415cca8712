//! Messages that nobody can read: set aside, shown, put back.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use embedded::{Embedded, Options, StoreQueue};
use platform::{OsRandom, Outgoing, Platform as _, Queue as _, SystemClock};

use super::common::{Server, binary, run, until};

/// A message of nobody's, longer than what is shown.
fn poison() -> String {
    format!("not ours\t{}", "x".repeat(300))
}

fn open(data: &Path) -> Embedded {
    Embedded::open(data, Options::new(Arc::new(SystemClock), Arc::new(OsRandom), Duration::from_secs(60))).unwrap()
}

async fn send(queue: &StoreQueue, body: String) {
    let message = Outgoing { body, delay: Duration::ZERO, group: "g".into() };
    queue.send(vec![message]).await.unwrap();
}

async fn sets_aside(data: &Path) -> Server {
    let server = Server::start(data).await;
    until("a message set aside", async || server.stderr().contains("a message was set aside").then_some(())).await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_read_is_set_aside_told_at_each_start_and_can_be_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap();
    send(open(folder.path()).batches(), poison()).await;
    let server = sets_aside(folder.path()).await;
    assert!(!server.stderr().contains("there are dead letters"));
    let refused = run(&mut binary(&["dead-letters", "--data", data]));
    assert!(!refused.status.success() && refused.stderr.contains("another pollhook is using"), "{}", refused.stderr);
    server.stop().await;

    let shown = run(&mut binary(&["dead-letters", "--data", data]));
    assert!(shown.status.success(), "{}", shown.stderr);
    assert_eq!(shown.stdout.lines().count(), 2, "{}", shown.stdout);
    assert!(shown.stdout.contains("not ours\u{fffd}xxx") && shown.stdout.contains("xxx…"), "{}", shown.stdout);
    assert!(!shown.stdout.contains(&"x".repeat(200)));

    let server = Server::start(folder.path()).await;
    until("a warning", async || server.stderr().contains("there are dead letters").then_some(())).await;
    assert!(server.stderr().contains("count=1"), "{}", server.stderr());
    server.stop().await;

    let back = run(&mut binary(&["dead-letters", "--data", data, "--requeue"]));
    assert!(back.status.success() && back.stdout.starts_with("1 put back"), "{}{}", back.stdout, back.stderr);
    assert_eq!(run(&mut binary(&["dead-letters", "--data", data])).stdout, "There are none.\n");
    sets_aside(folder.path()).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_shown_and_put_back_with_their_queue() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["dead-letters", "--data", folder.path().to_str().unwrap()];
    {
        let platform = open(folder.path());
        send(platform.batches(), "no batch".into()).await;
        send(platform.polls(), "no job".into()).await;
    }
    let set_aside = async || {
        let server = Server::start(folder.path()).await;
        let both = |log: String| log.matches("a message was set aside").count() == 2;
        until("two messages set aside", async || both(server.stderr()).then_some(())).await;
        server.stop().await;
        let shown = run(&mut binary(&arguments)).stdout;
        let lines: Vec<_> = shown.lines().collect();
        let queue_of = |body: &str| {
            let at = lines.iter().position(|line| line.trim() == body).unwrap();
            lines[at - 1].split("  ").nth(1).unwrap().to_owned()
        };
        assert_eq!((queue_of("no batch"), queue_of("no job")), ("batches".into(), "polls".into()), "{shown}");
    };
    set_aside().await;
    let back = run(&mut binary(&[&arguments[..], &["--requeue"]].concat()));
    assert!(back.stdout.starts_with("2 put back (1 into batches, 1 into polls)"), "{}{}", back.stdout, back.stderr);
    assert_eq!(run(&mut binary(&arguments)).stdout, "There are none.\n");
    set_aside().await;
}

#[test]
fn no_store_is_made_where_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("missing");
    let refused = run(&mut binary(&["dead-letters", "--data", data.to_str().unwrap()]));
    assert!(!refused.status.success() && refused.stderr.contains("there is no store in"), "{}", refused.stderr);
    assert!(!data.exists());
}
