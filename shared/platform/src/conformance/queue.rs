//! Queues: hand-over, delays, what a message may be.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Time;
use crate::{Outgoing, Queue, QueueError, Receipt, Received, limits};

/// A test for each scenario. `$setup` is an async function without arguments that gives a
/// [`QueueUnderTest`](crate::conformance::QueueUnderTest).
#[macro_export]
macro_rules! queue_conformance {
    ($setup:path) => {
        $crate::__scenarios! {
            __queue_scenario, $setup,
            queue::{
                what_was_sent_is_received_and_acknowledged_for_good,
                what_is_not_acknowledged_comes_back_counted,
                what_is_in_flight_is_hidden,
                acknowledging_twice_is_no_error,
                a_delayed_message_comes_when_it_is_due,
                the_longest_delay_is_taken_and_no_longer,
                ten_messages_are_sent_at_once_and_no_more,
                a_receive_gives_no_more_than_asked,
                a_send_of_the_largest_size_is_taken_and_no_larger,
                every_allowed_character_comes_back,
                other_characters_are_refused_and_nothing_is_sent,
                groups_are_one_to_128_characters,
                an_empty_queue_gives_nothing,
            },
        }
    };
}

/// How long a receive may look: a queue spread over machines may need a moment to find what it holds.
const WAIT: Duration = Duration::from_secs(1);
/// How often a receive finds nothing before a scenario believes it.
const LOOKS: usize = 3;
/// More than a queue's idea of "due" may be late.
const SLACK: Duration = Duration::from_secs(1);

/// A message without delay.
pub(super) fn message(body: impl Into<String>) -> Outgoing {
    Outgoing { body: body.into(), delay: Duration::ZERO, group: "group".into() }
}

/// What is handed over until `count` different bodies have come, or none comes any more.
pub(super) async fn receive<Q: Queue>(queue: &Q, count: usize) -> Vec<Received> {
    let mut received: Vec<Received> = Vec::new();
    let mut bodies = BTreeSet::new();
    let mut empty = 0;
    while bodies.len() < count && empty < LOOKS {
        let some = queue.receive(limits::SEND_MESSAGES, WAIT).await.expect("a receive");
        empty = if some.is_empty() { empty + 1 } else { 0 };
        bodies.extend(some.iter().map(|message| message.body.clone()));
        received.extend(some);
    }
    received
}

/// The bodies of what was received, each once.
pub(super) fn bodies(received: &[Received]) -> Vec<&str> {
    received.iter().map(|message| message.body.as_str()).collect::<BTreeSet<_>>().into_iter().collect()
}

pub(super) fn receipts(received: &[Received]) -> Vec<Receipt> {
    received.iter().map(|message| message.receipt.clone()).collect()
}

pub(super) async fn assert_empty<Q: Queue>(queue: &Q, why: &str) {
    let received = queue.receive(limits::SEND_MESSAGES, WAIT).await;
    assert_eq!(received, Ok(Vec::new()), "{why}");
}

/// The whole send is refused for what it is.
async fn assert_refused<Q: Queue>(queue: &Q, messages: Vec<Outgoing>, why: &str) {
    let all: Vec<usize> = (0..messages.len()).collect();
    let error = queue.send(messages).await.expect_err(why);
    assert!(matches!(error.error, QueueError::Invalid(_)), "{why}: {error:?}");
    assert_eq!(error.failed, all, "{why}: none of them was sent");
}

/// Also after the visibility timeout.
pub async fn what_was_sent_is_received_and_acknowledged_for_good<Q: Queue>(
    queue: &Q,
    time: &impl Time,
    visibility_timeout: Duration,
) {
    assert_eq!(queue.send(vec![message("one")]).await, Ok(()));
    let received = receive(queue, 1).await;
    assert_eq!(bodies(&received), ["one"]);
    assert_eq!(received[0].receive_count, 1);
    assert_eq!(queue.acknowledge(receipts(&received)).await, Ok(()));
    time.pass(visibility_timeout + SLACK).await;
    assert_empty(queue, "it was acknowledged").await;
}

/// By its receive count.
pub async fn what_is_not_acknowledged_comes_back_counted<Q: Queue>(
    queue: &Q,
    time: &impl Time,
    visibility_timeout: Duration,
) {
    assert_eq!(queue.send(vec![message("kept"), message("done")]).await, Ok(()));
    let (done, kept): (Vec<_>, Vec<_>) = receive(queue, 2).await.into_iter().partition(|m| m.body == "done");
    assert_eq!((bodies(&done), bodies(&kept)), (vec!["done"], vec!["kept"]));
    assert_eq!(queue.acknowledge(receipts(&done)).await, Ok(()));
    time.pass(visibility_timeout + SLACK).await;
    let again = receive(queue, 1).await;
    assert_eq!(bodies(&again), ["kept"]);
    assert!(again[0].receive_count >= 2, "{again:?}");
    assert_eq!(queue.acknowledge(receipts(&again)).await, Ok(()));
    time.pass(visibility_timeout + SLACK).await;
    assert_empty(queue, "the second hand-over was acknowledged").await;
}

/// Until the visibility timeout.
pub async fn what_is_in_flight_is_hidden<Q: Queue>(queue: &Q, _: &impl Time, _: Duration) {
    assert_eq!(queue.send(vec![message("one")]).await, Ok(()));
    assert_eq!(bodies(&receive(queue, 1).await), ["one"]);
    assert_eq!(queue.receive(1, Duration::ZERO).await, Ok(Vec::new()));
}

/// In one call or in two; more than one request's worth at once, none at all.
pub async fn acknowledging_twice_is_no_error<Q: Queue>(queue: &Q, _: &impl Time, _: Duration) {
    let sent: Vec<String> = (0..12).map(|n| format!("{n:02}")).collect();
    for messages in sent.chunks(limits::SEND_MESSAGES) {
        assert_eq!(queue.send(messages.iter().map(message).collect()).await, Ok(()));
    }
    let received = receive(queue, sent.len()).await;
    assert_eq!(bodies(&received), sent);
    let once = receipts(&received);
    let twice = [once.clone(), once.clone()].concat();
    assert_eq!(queue.acknowledge(twice).await, Ok(()));
    assert_eq!(queue.acknowledge(once).await, Ok(()));
    assert_eq!(queue.acknowledge(Vec::new()).await, Ok(()));
}

/// Not before, and without holding back others.
pub async fn a_delayed_message_comes_when_it_is_due<Q: Queue>(queue: &Q, time: &impl Time, _: Duration) {
    let delay = Duration::from_secs(2);
    let delayed = Outgoing { delay, ..message("later") };
    let begun = time.now();
    assert_eq!(queue.send(vec![delayed, message("now")]).await, Ok(()));
    let received = receive(queue, 1).await;
    if time.now() < begun.plus(delay) {
        assert_eq!(bodies(&received), ["now"]);
    }
    assert_eq!(queue.acknowledge(receipts(&received)).await, Ok(()));
    time.pass(delay + SLACK).await;
    assert_eq!(bodies(&receive(queue, 1).await), ["later"]);
}

/// [`limits::MAX_DELAY`], in whole seconds.
pub async fn the_longest_delay_is_taken_and_no_longer<Q: Queue>(queue: &Q, _: &impl Time, _: Duration) {
    let delayed = |delay| Outgoing { delay, ..message("later") };
    for delay in [limits::MAX_DELAY + Duration::from_secs(1), Duration::from_millis(1500), Duration::MAX] {
        assert_refused(queue, vec![message("good"), delayed(delay)], "a delay that SQS does not know").await;
    }
    assert_eq!(queue.send(vec![delayed(limits::MAX_DELAY)]).await, Ok(()));
    assert_empty(queue, "nothing is due").await;
}

/// [`limits::SEND_MESSAGES`].
pub async fn ten_messages_are_sent_at_once_and_no_more<Q: Queue>(queue: &Q, _: &impl Time, _: Duration) {
    let messages = |count: usize| (0..count).map(|n| message(format!("{n:02}"))).collect::<Vec<_>>();
    assert_refused(queue, messages(limits::SEND_MESSAGES + 1), "eleven messages").await;
    assert_refused(queue, Vec::new(), "no message").await;
    assert_empty(queue, "nothing was sent").await;
    assert_eq!(queue.send(messages(limits::SEND_MESSAGES)).await, Ok(()));
    let sent: Vec<String> = messages(limits::SEND_MESSAGES).into_iter().map(|message| message.body).collect();
    assert_eq!(bodies(&receive(queue, sent.len()).await), sent);
}

/// The others wait their turn.
pub async fn a_receive_gives_no_more_than_asked<Q: Queue>(queue: &Q, _: &impl Time, _: Duration) {
    assert_eq!(queue.send((0..7).map(|n| message(n.to_string())).collect()).await, Ok(()));
    let mut received = Vec::new();
    for max in [1, 2, 3] {
        let some = queue.receive(max, WAIT).await.expect("a receive");
        assert!(some.len() <= max, "{} messages of {max}", some.len());
        received.extend(some);
    }
    let missing = 7 - bodies(&received).len();
    received.extend(receive(queue, missing).await);
    assert_eq!(bodies(&received), ["0", "1", "2", "3", "4", "5", "6"]);
}

/// [`limits::SEND_BYTES`], in one message or in several.
pub async fn a_send_of_the_largest_size_is_taken_and_no_larger<Q: Queue>(queue: &Q, _: &impl Time, _: Duration) {
    let text = |first: char, bytes: usize| format!("{first}{}", "x".repeat(bytes - 1));
    let half = limits::SEND_BYTES / 2;
    assert_refused(queue, vec![message(text('a', limits::SEND_BYTES + 1))], "a body too large").await;
    let two = vec![message(text('a', half)), message(text('b', half + 1))];
    assert_refused(queue, two, "two bodies, together too large").await;
    assert_empty(queue, "nothing was sent").await;
    let sends = [vec![text('a', limits::SEND_BYTES)], vec![text('b', half), text('c', half)]];
    for sent in sends {
        assert_eq!(queue.send(sent.iter().map(message).collect()).await, Ok(()));
        let received = receive(queue, sent.len()).await;
        assert!(bodies(&received) == sent, "large bodies came back changed, or not");
        assert_eq!(queue.acknowledge(receipts(&received)).await, Ok(()));
    }
}

/// At the ends of a body too.
pub async fn every_allowed_character_comes_back<Q: Queue>(queue: &Q, _: &impl Time, _: Duration) {
    let all: String = ['\t', '\n', '\r'].into_iter().chain(' '..='~').collect();
    let mut sent = [format!("\t\n\r {all} \r\n\t"), all, " ".into(), "\r".into(), "&amp;&#13;<a>]]>".into()];
    sent.sort();
    assert_eq!(queue.send(sent.iter().map(message).collect()).await, Ok(()));
    assert_eq!(bodies(&receive(queue, sent.len()).await), sent);
}

/// With the messages beside them.
pub async fn other_characters_are_refused_and_nothing_is_sent<Q: Queue>(queue: &Q, _: &impl Time, _: Duration) {
    for bad in ["", "\0", "\u{8}", "\u{b}", "\u{1b}[0m", "\u{7f}", "\u{80}", "é", "字", "\u{fffd}", "\u{ffff}", "😀"]
    {
        assert_refused(queue, vec![message("good"), message(bad)], &format!("the body {bad:?}")).await;
    }
    assert_empty(queue, "nothing was sent").await;
}

/// [`limits::GROUP_BYTES`]; printable, no spaces.
pub async fn groups_are_one_to_128_characters<Q: Queue>(queue: &Q, _: &impl Time, _: Duration) {
    let of = |group: String| Outgoing { group, ..message("body") };
    for bad in [String::new(), "g".repeat(limits::GROUP_BYTES + 1), "a group".into(), "é".into(), "a\n".into()] {
        assert_refused(queue, vec![message("good"), of(bad.clone())], &format!("the group {bad:?}")).await;
    }
    assert_empty(queue, "nothing was sent").await;
    let all: String = ('!'..='~').collect();
    assert_eq!(queue.send(vec![of("g".repeat(limits::GROUP_BYTES)), of(all)]).await, Ok(()));
}

/// Rather than an error, or a receive that never returns.
pub async fn an_empty_queue_gives_nothing<Q: Queue>(queue: &Q, _: &impl Time, _: Duration) {
    for wait in [Duration::ZERO, WAIT] {
        let received = tokio::time::timeout(wait + Duration::from_secs(10), queue.receive(10, wait)).await;
        assert_eq!(received.expect("a receive returns after its wait"), Ok(Vec::new()));
    }
}
