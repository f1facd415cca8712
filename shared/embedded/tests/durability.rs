//! What returned `Ok` is there after the process is gone, and nobody else gets in.
#![expect(clippy::unwrap_used, reason = "a test's panic is its report")]

use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use platform::{
    Consistency, Key, OsRandom, Outgoing, Platform, Purpose, Queue, SystemClock, Table, Vault, Version, Write,
};
use pollhook_embedded::{Backlog, Embedded, OpenError, Options, Store, StoreQueue, fsync_probe};

/// Tells the child process of [`what_was_answered_survives_kill_9`] where to write.
const CHILD_DIR: &str = "EMBEDDED_TEST_CHILD_DIR";

fn options() -> Options {
    Options::new(Arc::new(SystemClock), Arc::new(OsRandom), Duration::from_secs(60))
}

fn message(n: usize) -> Outgoing {
    Outgoing { body: format!("message {n}"), delay: Duration::ZERO, group: format!("g{}", n % 3) }
}

fn item(n: usize) -> Write {
    Write::put(Key::new("P", format!("{n:08}")), Version(n as u64), format!("item {n}"))
}

async fn drain(store: &Store) -> Vec<String> {
    drain_queue(&store.queue("batches").unwrap()).await
}

async fn drain_queue(queue: &StoreQueue) -> Vec<String> {
    let mut bodies = Vec::new();
    loop {
        let received = queue.receive(10, Duration::ZERO).await.unwrap();
        if received.is_empty() {
            return bodies;
        }
        bodies.extend(received.iter().map(|m| m.body.clone()));
        queue.acknowledge(received.into_iter().map(|m| m.receipt).collect()).await.unwrap();
    }
}

#[tokio::test]
async fn items_messages_and_secrets_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let platform = Embedded::open(dir.path(), options()).unwrap();
    platform.table().write(item(1)).await.unwrap();
    platform.batches().send((0..3).map(message).collect()).await.unwrap();
    let handed_over = platform.batches().receive(1, Duration::ZERO).await.unwrap();
    assert_eq!(handed_over.len(), 1, "it is not acknowledged, so it comes again");
    let acknowledged = platform.batches().receive(1, Duration::ZERO).await.unwrap().pop().unwrap();
    platform.batches().acknowledge(vec![acknowledged.receipt]).await.unwrap();
    let sealed = platform.vault().seal(Purpose::Api, "X#1/X", b"secret").await.unwrap();
    drop(platform);

    let platform = Embedded::open(dir.path(), options()).unwrap();
    assert!(platform.table().get(&item(1).key, Consistency::Strong).await.unwrap().is_some());
    let mut bodies = drain(platform.store()).await;
    bodies.push(acknowledged.body);
    bodies.sort();
    assert_eq!(bodies, ["message 0", "message 1", "message 2"]);
    assert_eq!(platform.vault().open(Purpose::Api, "X#1/X", &sealed).await.unwrap(), b"secret");
}

#[tokio::test]
async fn poll_jobs_survive_a_restart_unless_they_were_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let platform = Embedded::open(dir.path(), options()).unwrap();
    platform.batches().send(vec![message(9)]).await.unwrap();
    platform.polls().send((0..3).map(message).collect()).await.unwrap();
    let done = platform.polls().receive(1, Duration::ZERO).await.unwrap().pop().unwrap();
    platform.polls().acknowledge(vec![done.receipt]).await.unwrap();
    let at_work = platform.polls().receive(1, Duration::ZERO).await.unwrap();
    assert_eq!(at_work.len(), 1, "it is not acknowledged, so it comes again");
    drop(platform);

    let platform = Embedded::open(dir.path(), options()).unwrap();
    let mut bodies = drain_queue(platform.polls()).await;
    bodies.push(done.body);
    bodies.sort();
    assert_eq!(bodies, ["message 0", "message 1", "message 2"]);
    assert_eq!(drain(platform.store()).await, ["message 9"]);
}

/// Such a store differs from today's in that nothing of the poll jobs' queue is in it.
#[tokio::test]
async fn a_store_of_a_version_without_poll_jobs_opens_with_none_and_that_version_opens_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options()).unwrap();
    store.write(item(1)).await.unwrap();
    store.queue("batches").unwrap().send(vec![message(1)]).await.unwrap();
    drop(store);

    let platform = Embedded::open(dir.path(), options()).unwrap();
    assert_eq!(platform.polls().backlog(), Backlog::default());
    assert!(platform.table().get(&item(1).key, Consistency::Strong).await.unwrap().is_some());
    platform.polls().send(vec![message(2)]).await.unwrap();
    drop(platform);

    let store = Store::open(dir.path(), options()).unwrap();
    assert_eq!(drain(&store).await, ["message 1"]);
    drop(store);
    let platform = Embedded::open(dir.path(), options()).unwrap();
    assert_eq!(drain_queue(platform.polls()).await, ["message 2"]);
}

#[tokio::test]
async fn what_is_queued_is_finished_when_the_last_handle_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), options()).unwrap();
    let queue = store.queue("batches").unwrap();
    // Polled once, so the command is queued; nobody waits for its answer.
    let mut sending = Box::pin(queue.send(vec![message(1)]));
    let _ = std::future::poll_fn(|cx| std::task::Poll::Ready(sending.as_mut().poll(cx))).await;
    drop(sending);
    drop((queue, store));
    let store = Store::open(dir.path(), options()).unwrap();
    assert_eq!(drain(&store).await, ["message 1"]);
}

/// Not a test of its own: the child of [`what_was_answered_survives_kill_9`], which kills it.
#[test]
fn child_writes_until_it_is_killed() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let store = Store::open(Path::new(&dir), options()).unwrap();
    let queue = store.queue("batches").unwrap();
    let workers = 8;
    let tasks: Vec<_> = (0..workers)
        .map(|worker| {
            let (store, queue) = (store.clone(), queue.clone());
            runtime.spawn(async move {
                for n in (worker..).step_by(workers) {
                    queue.send(vec![message(n)]).await.unwrap();
                    store.write(item(n)).await.unwrap();
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "\nanswered {n}").unwrap();
                    out.flush().unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        runtime.block_on(task).unwrap();
    }
}

#[tokio::test]
async fn what_was_answered_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_writes_until_it_is_killed", "--nocapture"])
        .env(CHILD_DIR, dir.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let answered = |line: String| line.strip_prefix("answered ").and_then(|n| n.parse::<usize>().ok());
    let mut numbers: Vec<usize> = lines.by_ref().filter_map(answered).take(300).collect();
    child.kill().unwrap();
    // What it had still written before it died counts too; the last line may be cut, and then lacks its end.
    numbers.extend(lines.filter_map(answered));
    child.wait().unwrap();
    numbers.pop();
    assert!(numbers.len() >= 299, "the child answered {} times", numbers.len());

    let store = Store::open(dir.path(), Options { send_wait: Duration::ZERO, ..options() }).unwrap();
    let bodies: std::collections::HashSet<String> = drain(&store).await.into_iter().collect();
    for n in numbers {
        assert!(bodies.contains(&message(n).body), "message {n} was lost");
        assert!(store.get(&item(n).key, Consistency::Strong).await.unwrap().is_some(), "item {n} was lost");
    }
}

#[test]
fn a_directory_in_use_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = Store::open(dir.path(), options()).unwrap();
    let error = Store::open(dir.path(), options()).err().unwrap();
    assert!(matches!(error, OpenError::InUse(_)), "{error}");
    assert!(error.to_string().contains("another pollhook is using"), "{error}");
    drop(first);
    Store::open(dir.path(), options()).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn only_the_owner_gets_at_the_files() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("new/data");
    drop(Store::open(&dir, options()).unwrap());
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("pollhook.redb")), 0o600);
    assert_eq!(mode(&dir.join("vault.key")), 0o600);

    fs::set_permissions(dir.join("vault.key"), fs::Permissions::from_mode(0o640)).unwrap();
    let error = Store::open(&dir, options()).err().unwrap();
    assert!(matches!(error, OpenError::KeyExposed { mode: 0o640, .. }), "{error}");
    assert!(error.to_string().contains("chmod 600"), "{error}");
}

#[test]
fn data_without_its_key_is_refused_rather_than_given_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path(), options()).unwrap());
    let key = dir.path().join("vault.key");
    let bytes = fs::read(&key).unwrap();
    assert_eq!(bytes.len(), 32);
    fs::remove_file(&key).unwrap();
    let error = Store::open(dir.path(), options()).err().unwrap();
    assert!(matches!(error, OpenError::KeyMissing(_)), "{error}");
    assert!(!key.exists());
    fs::write(&key, &bytes[..31]).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(Store::open(dir.path(), options()), Err(OpenError::KeyDamaged { found: 31, .. })));
}

#[test]
fn the_probe_measures_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    assert!(fsync_probe(dir.path()).unwrap() > Duration::ZERO);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    assert!(fsync_probe(&dir.path().join("absent")).is_err());
}
