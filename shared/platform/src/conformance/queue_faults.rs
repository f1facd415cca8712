//! Lost answers and refused requests of a queue: what is not known to be taken is reported, so that the caller can send it
//! again; a copy is allowed, a loss is not.

use super::Faults;
use super::queue::{bodies, message, receive};
use crate::{Queue, QueueError, SendError};

/// A test for each scenario with a network that loses things. `$setup` is an async function without arguments that gives
/// a [`FaultyQueueUnderTest`](crate::conformance::FaultyQueueUnderTest).
#[macro_export]
macro_rules! queue_fault_conformance {
    ($setup:path) => {
        $crate::__scenarios! {
            __queue_fault_scenario, $setup,
            queue_faults::{
                a_send_whose_answer_was_lost_is_sent_or_reported,
                a_refused_send_is_repeated_or_reported,
                a_refused_acknowledgement_is_repeated_or_reported,
            },
        }
    };
}

/// Sends what an answer reported as not sent, once more.
async fn send_the_rest<Q: Queue>(queue: &Q, answer: Result<(), SendError>, sent: &[&str]) {
    let Err(SendError { failed, error }) = answer else { return };
    assert!(matches!(error, QueueError::Unavailable(_) | QueueError::Throttled), "{error:?}");
    let rest = failed.into_iter().map(|index| message(sent[index])).collect();
    assert_eq!(queue.send(rest).await, Ok(()));
}

/// Nothing is lost, whatever the answer.
pub async fn a_send_whose_answer_was_lost_is_sent_or_reported<Q: Queue>(queue: &Q, faults: &impl Faults) {
    let sent = ["one", "two"];
    faults.lose_next_answer();
    let answer = queue.send(sent.map(message).to_vec()).await;
    send_the_rest(queue, answer, &sent).await;
    let received = receive(queue, sent.len()).await;
    assert_eq!(bodies(&received), sent);
}

/// Nothing is lost, whatever the answer.
pub async fn a_refused_send_is_repeated_or_reported<Q: Queue>(queue: &Q, faults: &impl Faults) {
    let sent = ["one", "two"];
    faults.refuse_next_request();
    let answer = queue.send(sent.map(message).to_vec()).await;
    send_the_rest(queue, answer, &sent).await;
    let received = receive(queue, sent.len()).await;
    assert_eq!(bodies(&received), sent);
}

/// The caller may repeat it.
pub async fn a_refused_acknowledgement_is_repeated_or_reported<Q: Queue>(queue: &Q, faults: &impl Faults) {
    assert_eq!(queue.send(vec![message("one")]).await, Ok(()));
    let receipts: Vec<_> = receive(queue, 1).await.into_iter().map(|message| message.receipt).collect();
    faults.refuse_next_request();
    match queue.acknowledge(receipts.clone()).await {
        Ok(()) => {}
        Err(QueueError::Unavailable(_) | QueueError::Throttled) => {
            assert_eq!(queue.acknowledge(receipts).await, Ok(()));
        }
        Err(error) => panic!("after a refused request: {error:?}"),
    }
}
