//! The queue under load: fairness, waking, waiting for room, and messages that nobody can take.
#![expect(clippy::unwrap_used, reason = "a test's panic is its report")]

use std::sync::Arc;
use std::time::Duration;

use events::Timestamp;
use platform::testing::{ManualClock, SeededRandom};
use platform::{Clock, OsRandom, Outgoing, Platform as _, Queue, QueueError, Received, SystemClock};
use pollhook_embedded::{
    CROWDED, Commits, Embedded, MAX_IN_FLIGHT_PER_GROUP, Options, POLL_WORKERS, REASON_BYTES, Store, StoreQueue,
    WORKERS,
};

const VISIBILITY: Duration = Duration::from_secs(60);
/// Far beyond what a test takes: who waits this long hangs.
const LONG: Duration = Duration::from_secs(20);

struct Setup {
    _dir: tempfile::TempDir,
    clock: ManualClock,
    store: Store,
    queue: StoreQueue,
}

fn setup(send_wait: Duration) -> Setup {
    let clock = ManualClock::new(Timestamp::from_seconds(1_700_000_000));
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Arc::new(clock.clone()), send_wait);
    let queue = store.queue("batches").unwrap();
    Setup { _dir: dir, clock, store, queue }
}

fn open(dir: &std::path::Path, clock: Arc<dyn Clock>, send_wait: Duration) -> Store {
    let options = Options { send_wait, ..Options::new(clock, Arc::new(SeededRandom::new(1)), VISIBILITY) };
    Store::open(dir, options).unwrap()
}

/// The queue of a store that was closed, with senders that wait long.
fn open_again(dir: &std::path::Path, clock: &ManualClock) -> StoreQueue {
    open(dir, Arc::new(clock.clone()), LONG).queue("batches").unwrap()
}

fn message(group: &str, body: impl Into<String>) -> Outgoing {
    Outgoing { body: body.into(), delay: Duration::ZERO, group: group.into() }
}

async fn fill(queue: &StoreQueue, group: &str, count: usize) {
    let messages: Vec<_> = (0..count).map(|n| message(group, format!("{group} {n}"))).collect();
    for messages in messages.chunks(10) {
        queue.send(messages.to_vec()).await.unwrap();
    }
}

async fn take(queue: &StoreQueue, max: usize) -> Vec<Received> {
    queue.receive(max, Duration::ZERO).await.unwrap()
}

async fn acknowledge(queue: &StoreQueue, received: Vec<Received>) {
    queue.acknowledge(received.into_iter().map(|m| m.receipt).collect()).await.unwrap();
}

#[tokio::test]
async fn a_small_group_is_served_within_the_first_rounds_of_a_large_one() {
    let Setup { _dir, queue, .. } = setup(Duration::ZERO);
    fill(&queue, "large", 1000).await;
    fill(&queue, "small", 5).await;
    let taken = take(&queue, 10).await;
    assert_eq!(taken.iter().filter(|m| m.body.starts_with("small")).count(), 5, "{taken:?}");
}

#[tokio::test]
async fn a_group_that_hangs_holds_only_its_share_of_the_workers() {
    let Setup { _dir, queue, .. } = setup(Duration::ZERO);
    fill(&queue, "hanging", 200).await;
    let mut held = Vec::new();
    loop {
        let taken = take(&queue, 10).await;
        if taken.is_empty() {
            break;
        }
        held.extend(taken);
    }
    assert_eq!(held.len(), MAX_IN_FLIGHT_PER_GROUP as usize);
    fill(&queue, "healthy", 30).await;
    let mut served = 0;
    while served < 30 {
        let taken = take(&queue, 10).await;
        assert!(!taken.is_empty() && taken.iter().all(|m| m.body.starts_with("healthy")), "{taken:?}");
        served += taken.len();
        acknowledge(&queue, taken).await;
    }
    acknowledge(&queue, held.split_off(60)).await;
    assert_eq!(take(&queue, 10).await.len(), 4, "what was acknowledged makes room");
}

#[tokio::test]
async fn a_hundred_groups_that_hang_leave_workers_for_everyone_else() {
    let Setup { _dir, queue, .. } = setup(Duration::ZERO);
    for group in 0..100 {
        fill(&queue, &format!("hanging-{group}"), 30).await;
    }
    let mut held = 0;
    loop {
        match take(&queue, 10).await.len() {
            0 => break,
            some => held += some,
        }
    }
    assert!(held > 800 && held < WORKERS as usize - 64, "{held}");
    fill(&queue, "healthy", 1).await;
    assert_eq!(take(&queue, 10).await[0].body, "healthy 0");
}

#[tokio::test]
async fn delayed_messages_come_when_due_in_the_order_of_their_times() {
    let Setup { _dir, clock, queue, .. } = setup(Duration::ZERO);
    for delay in [30, 10, 20] {
        let delayed = Outgoing { delay: Duration::from_secs(delay), ..message("g", delay.to_string()) };
        queue.send(vec![delayed]).await.unwrap();
    }
    assert!(take(&queue, 10).await.is_empty());
    clock.advance(Duration::from_secs(20));
    let bodies: Vec<_> = take(&queue, 10).await.into_iter().map(|m| m.body).collect();
    assert_eq!(bodies, ["10", "20"]);
    clock.advance(Duration::from_secs(10));
    assert_eq!(take(&queue, 10).await[0].body, "30");
}

#[tokio::test]
async fn a_delay_outlives_a_restart() {
    let Setup { _dir, clock, store, queue } = setup(Duration::ZERO);
    let delayed = Outgoing { delay: Duration::from_secs(30), ..message("g", "later") };
    queue.send(vec![delayed, message("g", "now")]).await.unwrap();
    drop((queue, store));
    let queue = open(_dir.path(), Arc::new(clock.clone()), Duration::ZERO).queue("batches").unwrap();
    assert_eq!(take(&queue, 10).await.into_iter().map(|m| m.body).collect::<Vec<_>>(), ["now"]);
    // A number is never used twice while its message lives, so both get their own receipts.
    queue.send(vec![message("g", "new")]).await.unwrap();
    clock.advance(Duration::from_secs(30));
    assert_eq!(take(&queue, 10).await.len(), 2);
}

/// Each receiver waits; each message wakes one; none is overlooked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_receivers_are_woken_and_no_wake_up_is_lost() {
    let Setup { _dir, queue, .. } = setup(Duration::ZERO);
    let total = 400;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let receivers: Vec<_> = (0..16)
        .map(|_| {
            let (queue, tell) = (queue.clone(), tell.clone());
            tokio::spawn(async move {
                loop {
                    let received = queue.receive(3, LONG).await.unwrap();
                    let count = received.len();
                    acknowledge(&queue, received).await;
                    if tell.send(count).is_err() {
                        return;
                    }
                }
            })
        })
        .collect();
    for n in 0..total {
        queue.send(vec![message(&format!("g{}", n % 2), n.to_string())]).await.unwrap();
        if n % 7 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let mut count = 0;
    while count < total {
        let some = tokio::time::timeout(LONG / 2, told.recv()).await.expect("a message that nobody was woken for");
        count += some.unwrap();
    }
    assert_eq!(queue.backlog(), Default::default());
    receivers.iter().for_each(tokio::task::JoinHandle::abort);
}

/// The receiver that was woken for a delayed message goes away before it is due: another takes over.
#[tokio::test]
async fn a_receiver_that_goes_away_passes_its_wake_up_on() {
    let Setup { _dir, queue, .. } = setup(Duration::ZERO);
    let staying = tokio::spawn({
        let queue = queue.clone();
        async move { queue.receive(1, LONG).await.unwrap() }
    });
    tokio::task::yield_now().await;
    for _ in 0..5 {
        let mut leaving = Box::pin(queue.receive(1, LONG));
        let _ = std::future::poll_fn(|cx| std::task::Poll::Ready(leaving.as_mut().poll(cx))).await;
        drop(leaving);
    }
    queue.send(vec![message("g", "1")]).await.unwrap();
    let received = tokio::time::timeout(LONG / 2, staying).await.expect("nobody was woken").unwrap();
    assert_eq!(received.len(), 1);
}

#[tokio::test]
async fn with_a_real_clock_a_waiting_receiver_wakes_when_a_message_becomes_due() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(Arc::new(SystemClock), Arc::new(OsRandom), VISIBILITY);
    let queue = Store::open(dir.path(), options).unwrap().queue("batches").unwrap();
    let delayed = Outgoing { delay: Duration::from_secs(1), ..message("g", "1") };
    let sent = std::time::Instant::now();
    queue.send(vec![delayed]).await.unwrap();
    let received = queue.receive(1, LONG).await.unwrap();
    assert_eq!(received.len(), 1);
    let waited = sent.elapsed();
    assert!(waited >= Duration::from_millis(995) && waited < LONG / 2, "{waited:?}");
}

#[tokio::test]
async fn only_the_senders_of_a_crowded_group_wait_and_only_until_there_is_room() {
    let Setup { _dir, queue, .. } = setup(LONG);
    fill(&queue, "crowded", CROWDED).await;
    let mut waiting = tokio::spawn({
        let queue = queue.clone();
        async move { queue.send(vec![message("crowded", "one more")]).await }
    });
    // It is durable already, and may be handed over while its sender waits.
    while queue.backlog().ready <= CROWDED {
        tokio::task::yield_now().await;
    }
    tokio::time::timeout(LONG / 2, queue.send(vec![message("other", "1")]))
        .await
        .expect("another group waits")
        .unwrap();
    assert!(!waiting.is_finished());
    assert_eq!(take(&queue, 2).await.len(), 2);
    tokio::time::timeout(LONG / 2, &mut waiting).await.expect("there is room").unwrap().unwrap();
}

#[tokio::test]
async fn a_sender_does_not_wait_for_ever() {
    let Setup { _dir, queue, .. } = setup(Duration::from_millis(20));
    fill(&queue, "crowded", CROWDED + 10).await;
    assert_eq!(queue.backlog().ready, CROWDED + 10);
}

/// The waits of one send share their end, and a group that nothing is taken of makes nobody wait.
#[tokio::test]
async fn one_send_to_many_crowded_groups_waits_once_and_never_for_a_dead_one() {
    let Setup { _dir, clock, store, queue } = setup(Duration::ZERO);
    for group in 0..5 {
        fill(&queue, &group.to_string(), CROWDED + 3).await;
    }
    drop((store, queue));
    let waiting = |queue: &StoreQueue| {
        let (queue, messages) = (queue.clone(), (0..5).map(|group| message(&group.to_string(), "one more")).collect());
        tokio::spawn(async move { queue.send(messages).await })
    };
    let patient = open_again(_dir.path(), &clock);
    let before = patient.backlog().ready;
    let mut sending = waiting(&patient);
    while patient.backlog().ready < before + 5 {
        tokio::task::yield_now().await;
    }
    assert!(!sending.is_finished());
    // Room in each makes it end: fairly taken, so they get it at about the same time.
    for _ in 0..5 {
        for _ in 0..5 {
            let taken = take(&patient, 10).await;
            acknowledge(&patient, taken).await;
        }
    }
    tokio::time::timeout(LONG / 2, &mut sending).await.expect("there is room in all").unwrap().unwrap();

    for group in 0..5 {
        clock.advance(Duration::from_secs(2));
        let many = (0..10).map(|n| message(&group.to_string(), n.to_string())).collect();
        tokio::time::timeout(LONG / 2, patient.send(many)).await.expect("nothing lands: no wait helps").unwrap();
    }
    let sending = waiting(&patient);
    tokio::time::timeout(LONG / 2, sending).await.expect("nothing lands: no wait helps").unwrap().unwrap();
}

#[tokio::test]
async fn a_message_that_nobody_acknowledges_comes_back_for_as_long_as_it_takes() {
    let Setup { _dir, clock, store, queue } = setup(Duration::ZERO);
    queue.send(vec![message("g", "accepted")]).await.unwrap();
    for round in 1..=50 {
        let taken = take(&queue, 10).await;
        assert_eq!((taken.len(), taken[0].receive_count), (1, round));
        clock.advance(VISIBILITY);
    }
    assert_eq!((store.dead_letter_count().unwrap(), queue.backlog().in_flight), (0, 1));
}

#[tokio::test]
async fn what_is_set_aside_is_kept_with_time_and_reason_and_can_be_put_back() {
    let Setup { _dir, clock, store, queue } = setup(Duration::ZERO);
    let bodies: Vec<_> = (0..40).map(|n| format!("poison {n}")).collect();
    for body in &bodies {
        queue.send(vec![message("g", body.clone())]).await.unwrap();
        let taken = take(&queue, 10).await.remove(0);
        queue.set_aside(&taken.receipt, &format!("{body} has no ä{}", "ä".repeat(REASON_BYTES))).await.unwrap();
        queue.set_aside(&taken.receipt, "twice is no error").await.unwrap();
    }
    assert_eq!((store.dead_letter_count().unwrap(), queue.backlog()), (40, Default::default()));
    let letters = store.dead_letters(10).unwrap();
    let newest = &letters[0];
    assert_eq!((letters.len(), newest.queue.as_str(), newest.group.as_str()), (10, "batches", "g"));
    assert_eq!((newest.body.as_str(), newest.receives, newest.at), ("poison 39", 1, clock.now()));
    assert!(newest.reason.starts_with("poison 39 has no ä") && newest.reason.len() <= REASON_BYTES);
    clock.advance(VISIBILITY * 10);
    assert!(take(&queue, 10).await.is_empty(), "never handed over again");

    drop((queue, store));
    let store = open(_dir.path(), Arc::new(clock.clone()), Duration::ZERO);
    let (queue, other) = (store.queue("batches").unwrap(), store.queue("other").unwrap());
    assert_eq!(other.requeue_dead_letters().await.unwrap(), 0, "they are not its");
    assert_eq!(queue.requeue_dead_letters().await.unwrap(), 40);
    assert_eq!((store.dead_letter_count().unwrap(), store.dead_letters(10).unwrap()), (0, vec![]));
    let mut back = Vec::new();
    while back.len() < 40 {
        let taken = take(&queue, 10).await;
        assert!(!taken.is_empty());
        back.extend(taken.iter().map(|m| m.body.clone()));
        acknowledge(&queue, taken).await;
    }
    assert_eq!(back, bodies, "in their order");
}

#[tokio::test]
async fn a_late_acknowledgement_ends_a_message_that_came_back() {
    let Setup { _dir, clock, queue, .. } = setup(Duration::ZERO);
    queue.send(vec![message("g", "slow")]).await.unwrap();
    let first = take(&queue, 1).await;
    queue.send(vec![message("h", "other")]).await.unwrap();
    clock.advance(VISIBILITY);
    // This look brings the slow one back into the line, behind the other one.
    assert_eq!(take(&queue, 1).await[0].body, "other");
    assert_eq!(queue.backlog().ready, 1);
    acknowledge(&queue, first).await;
    assert!(take(&queue, 1).await.is_empty());
    let backlog = queue.backlog();
    assert_eq!((backlog.ready, backlog.in_flight), (0, 1));
}

#[tokio::test]
async fn queues_are_apart() {
    let Setup { _dir, store, queue, .. } = setup(Duration::ZERO);
    let polls = store.queue("polls").unwrap();
    queue.send(vec![message("g", "1")]).await.unwrap();
    assert!(take(&polls, 1).await.is_empty());
    assert_eq!(take(&store.queue("batches").unwrap(), 1).await.len(), 1, "two handles are one queue");
    assert!(take(&queue, 1).await.is_empty());
    assert!(store.queue("Not a name").is_err());
}

#[tokio::test]
async fn an_instance_with_many_poll_jobs_leaves_workers_for_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(Arc::new(SystemClock), Arc::new(OsRandom), VISIBILITY);
    let platform = Embedded::open(dir.path(), options).unwrap();
    let polls = platform.polls();
    fill(polls, "busy", 100).await;
    let mut busy = take(polls, 10).await.len();
    assert!((1..=4).contains(&busy), "{busy} of one group at work");
    busy += take(polls, 10).await.len();
    for other in busy..POLL_WORKERS as usize {
        polls.send(vec![message(&other.to_string(), other.to_string())]).await.unwrap();
        assert_eq!(take(polls, 10).await[0].body, other.to_string());
    }
    polls.send(vec![message("late", "late")]).await.unwrap();
    assert!(take(polls, 10).await.is_empty(), "no more than there are workers");
    fill(platform.batches(), "busy", 100).await;
    assert_eq!(take(platform.batches(), 10).await.len(), 10, "the other queue's workers are its own");
}

#[tokio::test]
async fn a_wheel_in_eight_lanes_has_half_of_the_poll_workers_and_leaves_half_to_others() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(Arc::new(SystemClock), Arc::new(OsRandom), VISIBILITY);
    let platform = Embedded::open(dir.path(), options).unwrap();
    let polls = platform.polls();
    for lane in 0..8 {
        fill(polls, &format!("wheel-{lane}"), 20).await;
    }
    let mut wheel = 0;
    loop {
        match take(polls, 10).await.len() {
            0 => break,
            taken => wheel += taken,
        }
    }
    assert_eq!(wheel, POLL_WORKERS as usize / 2);
    for other in wheel..POLL_WORKERS as usize {
        polls.send(vec![message(&other.to_string(), other.to_string())]).await.unwrap();
        assert_eq!(take(polls, 10).await[0].body, other.to_string());
    }
}

#[tokio::test]
async fn dead_letters_are_known_by_their_queue_and_go_back_to_it() {
    let Setup { _dir, store, queue, .. } = setup(Duration::ZERO);
    let polls = store.queue("polls").unwrap();
    for (queue, body) in [(&queue, "batch"), (&polls, "job")] {
        queue.send(vec![message("g", body)]).await.unwrap();
        let taken = take(queue, 10).await.remove(0);
        queue.set_aside(&taken.receipt, "not ours").await.unwrap();
    }
    let letters = store.dead_letters(10).unwrap();
    let of: Vec<_> = letters.iter().map(|letter| (letter.queue.as_str(), letter.body.as_str())).collect();
    assert_eq!(of, [(polls.name(), "job"), (queue.name(), "batch")]);
    assert_eq!(polls.requeue_dead_letters().await.unwrap(), 1);
    assert_eq!((take(&polls, 10).await[0].body.as_str(), take(&queue, 10).await.len()), ("job", 0));
    assert_eq!(queue.requeue_dead_letters().await.unwrap(), 1);
    assert_eq!((take(&queue, 10).await[0].body.as_str(), take(&polls, 10).await.len()), ("batch", 0));
}

/// Both hold their first message, sent in the same millisecond.
#[tokio::test]
async fn a_receipt_of_one_queue_sets_nothing_aside_in_another() {
    let Setup { _dir, store, queue, .. } = setup(Duration::ZERO);
    let polls = store.queue("polls").unwrap();
    queue.send(vec![message("g", "batch")]).await.unwrap();
    polls.send(vec![message("g", "job")]).await.unwrap();
    let receipt = take(&queue, 1).await.remove(0).receipt;
    assert!(matches!(polls.set_aside(&receipt, "not ours").await, Err(QueueError::Invalid(_))));
    assert_eq!((store.dead_letter_count().unwrap(), take(&polls, 1).await.len()), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_senders_share_commits_whichever_queue_they_send_to() {
    let Setup { _dir, store, queue, .. } = setup(Duration::ZERO);
    let queues = [queue, store.queue("polls").unwrap()];
    let senders: Vec<_> = (0..64)
        .map(|sender| {
            let queue = queues[sender % queues.len()].clone();
            tokio::spawn(async move {
                for n in 0..20 {
                    queue.send(vec![message(&format!("g{sender}"), n.to_string())]).await.unwrap();
                }
            })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    let Commits { commits, commands } = store.commits();
    assert_eq!(commands, 64 * 20);
    assert!(commits < commands / 2, "{commits} commits for {commands} commands");
}
