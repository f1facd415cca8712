//! Messages that nobody can read: set aside, shown, put back.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use embedded::{Embedded, Options};
use platform::{OsRandom, Outgoing, Platform as _, Queue as _, SystemClock};

use super::common::{Server, binary, run, until};

/// A message of nobody's, longer than what is shown.
fn poison() -> String {
    format!("not ours\t{}", "x".repeat(300))
}

async fn send(data: &Path) {
    let options = Options::new(Arc::new(SystemClock), Arc::new(OsRandom), Duration::from_secs(60));
    let platform = Embedded::open(data, options).unwrap();
    let message = Outgoing { body: poison(), delay: Duration::ZERO, group: "g".into() };
    platform.batches().send(vec![message]).await.unwrap();
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
    send(folder.path()).await;
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

#[test]
fn no_store_is_made_where_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("missing");
    let refused = run(&mut binary(&["dead-letters", "--data", data.to_str().unwrap()]));
    assert!(!refused.status.success() && refused.stderr.contains("there is no store in"), "{}", refused.stderr);
    assert!(!data.exists());
}
