//! Two queues of one platform: neither knows of the other. Each scenario is run both ways round.

use std::time::Duration;

use super::Time;
use super::queue::{assert_empty, bodies, message, receipts, receive};
use crate::{Outgoing, Queue, QueueError, limits};

/// A test for each scenario. `$setup` is an async function without arguments that gives a
/// [`QueuesUnderTest`](crate::conformance::QueuesUnderTest).
#[macro_export]
macro_rules! queues_conformance {
    ($setup:path) => {
        $crate::__scenarios! {
            __queues_scenario, $setup,
            queues::{
                a_message_of_one_queue_is_never_received_from_the_other,
                a_receipt_of_one_queue_acknowledges_nothing_in_the_other,
                a_backlog_of_one_queue_holds_up_nothing_in_the_other,
            },
        }
    };
}

/// More than a queue's idea of "due" may be late.
const SLACK: Duration = Duration::from_secs(1);

/// Neither when it is new, nor when it is delayed or comes back.
pub async fn a_message_of_one_queue_is_never_received_from_the_other<Q: Queue>(
    one: &Q,
    other: &Q,
    time: &impl Time,
    visibility_timeout: Duration,
) {
    let delayed = Outgoing { delay: Duration::from_secs(1), group: "another".into(), ..message("delayed") };
    assert_eq!(one.send(vec![message("sent"), delayed]).await, Ok(()));
    assert_empty(other, "it was sent to one").await;
    time.pass(Duration::from_secs(1) + SLACK).await;
    assert_eq!(bodies(&receive(one, 2).await), ["delayed", "sent"]);
    time.pass(visibility_timeout + SLACK).await;
    assert_empty(other, "it comes back to one").await;
    let again = receive(one, 2).await;
    assert_eq!(bodies(&again), ["delayed", "sent"]);
    assert_eq!(one.acknowledge(receipts(&again)).await, Ok(()));
}

/// Also when each holds its first message, sent at the same time: whatever a receipt counts, it counts alike in both.
pub async fn a_receipt_of_one_queue_acknowledges_nothing_in_the_other<Q: Queue>(
    one: &Q,
    other: &Q,
    time: &impl Time,
    visibility_timeout: Duration,
) {
    assert_eq!(one.send(vec![message("one")]).await, Ok(()));
    assert_eq!(other.send(vec![message("other")]).await, Ok(()));
    let (of_one, of_other) = (receive(one, 1).await, receive(other, 1).await);
    // Whether it is refused or ignored is the queue's choice.
    let answer = other.acknowledge(receipts(&of_one)).await;
    assert!(matches!(answer, Ok(()) | Err(QueueError::Invalid(_))), "{answer:?}");
    assert_eq!(one.acknowledge(receipts(&of_one)).await, Ok(()));
    time.pass(visibility_timeout + SLACK).await;
    let again = receive(other, 1).await;
    assert_eq!((bodies(&of_other), bodies(&again)), (vec!["other"], vec!["other"]));
    assert_eq!(other.acknowledge(receipts(&again)).await, Ok(()));
    assert_empty(one, "it was acknowledged by its own receipt").await;
}

/// Nor do its messages in flight.
pub async fn a_backlog_of_one_queue_holds_up_nothing_in_the_other<Q: Queue>(
    one: &Q,
    other: &Q,
    _: &impl Time,
    _: Duration,
) {
    let backlog: Vec<String> = (0..limits::SEND_MESSAGES).map(|n| n.to_string()).collect();
    // A group each, so that no queue's fairness holds one back.
    let of = |body: &String| Outgoing { group: format!("group-{body}"), ..message(body) };
    assert_eq!(one.send(backlog.iter().map(of).collect()).await, Ok(()));
    let in_flight = one.receive(1, Duration::ZERO).await.expect("a receive");
    assert_eq!(other.send(vec![message("urgent")]).await, Ok(()));
    let urgent = receive(other, 1).await;
    assert_eq!(bodies(&urgent), ["urgent"]);
    assert_eq!(other.acknowledge(receipts(&urgent)).await, Ok(()));
    let rest = receive(one, backlog.len() - in_flight.len()).await;
    let all = [in_flight, rest].concat();
    assert_eq!(bodies(&all), backlog);
    assert_eq!(one.acknowledge(receipts(&all)).await, Ok(()));
}
