//! Poll jobs: taken by the server that finds them, and logged as long as nothing polls.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use embedded::{Backlog, Embedded, Options};
use events::message::{Message, PollJob};
use events::{InstanceId, Timestamp};
use platform::{OsRandom, Outgoing, Platform as _, Queue as _, SystemClock};

use super::common::{Server, until};

fn open(data: &Path) -> Embedded {
    Embedded::open(data, Options::new(Arc::new(SystemClock), Arc::new(OsRandom), Duration::from_secs(60))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_job_that_waited_for_a_server_is_logged_and_done_with() {
    let folder = tempfile::tempdir().unwrap();
    let at = Timestamp::from_millis(1_790_000_000_002);
    let job = Message::Poll(PollJob { instance: InstanceId::from_random(4711), at });
    let message = Outgoing { body: job.encode(), delay: Duration::ZERO, group: "g".into() };
    open(folder.path()).polls().send(vec![message]).await.unwrap();

    let server = Server::start(folder.path()).await;
    let told = async || server.stderr().lines().find(|line| line.contains("nothing polls yet")).map(str::to_owned);
    let line = until("a line about the job", told).await;
    let expected = ["INFO", "instance=4711", &format!("at=\"{}\"", at.iso_millis())];
    assert!(expected.iter().all(|part| line.contains(part)), "{line}");
    server.stop().await;

    let platform = open(folder.path());
    assert_eq!(platform.polls().backlog(), Backlog::default(), "acknowledged before the stop was over");
    assert_eq!(platform.store().dead_letter_count().unwrap(), 0);
}
