//! The queue on SQS: what every queue promises, and what only this one can get wrong.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use aws::SqsQueue;
use aws_sdk_sqs::types::MessageSystemAttributeName;
use platform::conformance::{FaultyQueueUnderTest, QueueUnderTest, QueuesUnderTest, RealTime};
use platform::{Outgoing, Queue, QueueError, SendError};
use pollhook_cloud_tests::cloud;
use pollhook_cloud_tests::network::{Fault, Network};

async fn queue() -> QueueUnderTest<SqsQueue, RealTime> {
    let queue = cloud::queue(cloud::address().await, &cloud::queue_url().await).await;
    let visibility_timeout = cloud::VISIBILITY_TIMEOUT;
    QueueUnderTest { queue: Arc::new(queue), time: RealTime, visibility_timeout, keep: Box::new(()) }
}

async fn queue_behind_network() -> (SqsQueue, Network) {
    let network = Network::to(cloud::address().await).await;
    (cloud::queue(network.address, &cloud::queue_url().await).await, network)
}

async fn faulty_queue() -> FaultyQueueUnderTest<SqsQueue, Network> {
    let (queue, network) = queue_behind_network().await;
    FaultyQueueUnderTest { queue: Arc::new(queue), faults: network, keep: Box::new(()) }
}

/// Two queues with a URL each, over one connection.
async fn queues() -> QueuesUnderTest<SqsQueue, RealTime> {
    let connection = cloud::connection(cloud::address().await);
    let batches = Arc::new(SqsQueue::new(&connection, cloud::queue_url().await));
    let polls = Arc::new(SqsQueue::new(&connection, cloud::queue_url().await));
    let visibility_timeout = cloud::VISIBILITY_TIMEOUT;
    QueuesUnderTest { batches, polls, time: RealTime, visibility_timeout, keep: Box::new(()) }
}

mod conformance {
    platform::queue_conformance!(super::queue);
}

mod queues_conformance {
    platform::queues_conformance!(super::queues);
}

mod fault_conformance {
    platform::queue_fault_conformance!(super::faulty_queue);
}

/// As many attempts as one call makes.
const ATTEMPTS: usize = 3;

fn message(body: &str) -> Outgoing {
    Outgoing { body: body.into(), delay: Duration::ZERO, group: "tenant-7".into() }
}

#[tokio::test]
async fn messages_that_sqs_did_not_take_are_named() {
    let (queue, network) = queue_behind_network().await;
    let taken = r#"{"Id":"1","MessageId":"m","MD5OfMessageBody":"92eb5ffee6ae2fec3ad71c777531578f"}"#;
    let failed = r#"{"Id":"0","Code":"InternalError","SenderFault":false},{"Id":"2","Code":"X","SenderFault":true}"#;
    network.fault(Fault::Answer(200, format!(r#"{{"Successful":[{taken}],"Failed":[{failed}]}}"#)));
    let error = queue.send(vec![message("a"), message("b"), message("c")]).await.unwrap_err();
    assert_eq!(error.failed, [0, 2]);
    assert!(matches!(error.error, QueueError::Unavailable(_)), "the first one's reason: {error:?}");
}

#[tokio::test]
async fn a_send_without_any_answer_names_all_its_messages() {
    let (queue, network) = queue_behind_network().await;
    (0..ATTEMPTS).for_each(|_| network.fault(Fault::LoseAnswer));
    let SendError { failed, error } = queue.send(vec![message("a"), message("b")]).await.unwrap_err();
    assert_eq!(failed, [0, 1]);
    assert!(matches!(error, QueueError::Unavailable(_)), "{error:?}");
}

#[tokio::test]
async fn a_throttled_queue_says_so() {
    let (queue, network) = queue_behind_network().await;
    let throttled = || Fault::Answer(400, r#"{"__type":"com.amazonaws.sqs#RequestThrottled","message":""}"#.into());
    (0..ATTEMPTS).for_each(|_| network.fault(throttled()));
    assert_eq!(queue.send(vec![message("a")]).await.unwrap_err().error, QueueError::Throttled);
    (0..ATTEMPTS).for_each(|_| network.fault(throttled()));
    assert_eq!(queue.receive(1, Duration::ZERO).await, Err(QueueError::Throttled));
}

#[tokio::test]
async fn a_queue_that_is_not_there_is_unavailable() {
    let url = cloud::queue_url().await;
    let queue = cloud::queue(cloud::address().await, &format!("{url}-gone")).await;
    assert!(matches!(queue.send(vec![message("a")]).await.unwrap_err().error, QueueError::Unavailable(_)));
    assert!(matches!(queue.receive(1, Duration::ZERO).await, Err(QueueError::Unavailable(_))));
}

/// SQS answers a bad character with an error in the best case and with another character in the worst.
#[tokio::test]
async fn what_is_over_the_limits_is_not_sent() {
    let (queue, network) = queue_behind_network().await;
    for body in ["\u{ffff}", "\u{fffe}", "\0", "\u{1b}", "é", ""] {
        let error = queue.send(vec![message("good"), message(body)]).await.unwrap_err();
        assert!(matches!(error.error, QueueError::Invalid(_)), "{body:?}");
        assert_eq!(error.failed, [0, 1], "{body:?}");
    }
    assert!(matches!(queue.receive(11, Duration::ZERO).await, Err(QueueError::Invalid(_))));
    assert!(matches!(queue.receive(1, Duration::from_secs(21)).await, Err(QueueError::Invalid(_))));
    assert_eq!(queue.acknowledge(Vec::new()).await, Ok(()));
    assert_eq!(network.requests().len(), 0);
}

/// Without it a queue on AWS is not fair.
#[tokio::test]
async fn the_group_is_the_message_group() {
    let url = cloud::queue_url().await;
    let queue = cloud::queue(cloud::address().await, &url).await;
    assert_eq!(queue.send(vec![message("a")]).await, Ok(()));
    let request = cloud::sqs().await.receive_message().queue_url(url).wait_time_seconds(5);
    let request = request.message_system_attribute_names(MessageSystemAttributeName::All);
    let answer = request.send().await.unwrap();
    let attributes = answer.messages()[0].attributes().unwrap();
    assert_eq!(attributes[&MessageSystemAttributeName::MessageGroupId], "tenant-7");
}

/// A wait longer than other requests may take is not cut off and repeated.
#[tokio::test]
async fn a_receive_waits_as_long_as_it_was_told() {
    let (queue, network) = queue_behind_network().await;
    let wait = Duration::from_secs(4);
    let begun = std::time::Instant::now();
    assert_eq!(queue.receive(1, wait).await, Ok(Vec::new()));
    assert!(begun.elapsed() >= wait, "{:?}", begun.elapsed());
    assert_eq!(network.requests().len(), 1);
}
