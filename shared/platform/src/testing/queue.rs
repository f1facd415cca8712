//! The queue in memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use events::Timestamp;

use super::lock;
use super::process::Process;
use super::surroundings::{ManualClock, splitmix64};
use crate::{Clock, Outgoing, Queue, QueueError, Receipt, Received, SendError, limits};

/// The longest that SQS lets a receive wait:
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-short-and-long-polling.html>.
const MAX_WAIT: Duration = Duration::from_secs(20);

/// A message that the queue holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    /// See [`Outgoing::body`].
    pub body: String,
    /// See [`Outgoing::group`].
    pub group: String,
    /// When it can be handed over (again).
    pub visible_at: Timestamp,
    /// Whether someone has it now: handed over, and neither acknowledged nor timed out.
    pub in_flight: bool,
    /// How often it has been handed over.
    pub receive_count: u32,
}

#[derive(Clone, Debug)]
struct Message {
    id: u64,
    body: String,
    group: String,
    visible_at: Timestamp,
    receive_count: u32,
    /// A second hand-over of another message, which the queue forgot it had made.
    copy: bool,
}

impl Message {
    /// An old receipt acknowledges nothing, as in SQS: each hand-over has its own. Nor does one of another queue.
    fn receipt(&self, queue: &str) -> Receipt {
        Receipt(format!("{queue}:{}:{}", self.id, self.receive_count))
    }

    fn in_flight(&self, now: Timestamp) -> bool {
        self.receive_count > 0 && self.visible_at > now
    }
}

#[derive(Debug, Default)]
struct Stored {
    messages: Vec<Message>,
    last_id: u64,
    duplicate_next: usize,
    duplicate_all: bool,
    shuffle: Option<u64>,
    fail_sends: VecDeque<(Vec<usize>, QueueError)>,
    fail_receives: VecDeque<QueueError>,
    fail_acknowledgements: VecDeque<QueueError>,
    lose_answers: usize,
}

impl Stored {
    fn add(&mut self, message: Message) {
        self.last_id += 1;
        self.messages.push(Message { id: self.last_id, ..message });
    }

    /// The next message to hand over: the one that is due longest, or any due one when shuffling.
    fn next(&mut self, now: Timestamp) -> Option<usize> {
        let mut due: Vec<usize> = (0..self.messages.len()).filter(|i| self.messages[*i].visible_at <= now).collect();
        due.sort_by_key(|i| (self.messages[*i].visible_at, self.messages[*i].id));
        let pick = match (&mut self.shuffle, u64::try_from(due.len())) {
            (Some(state), Ok(count @ 1..)) => usize::try_from(splitmix64(state) % count).unwrap_or(0),
            _ => 0,
        };
        due.get(pick).copied()
    }

    fn hand_over(&mut self, queue: &str, now: Timestamp, visibility_timeout: Duration) -> Option<Received> {
        let index = self.next(now)?;
        let original = self.messages[index].clone();
        if !original.copy && (self.duplicate_all || self.duplicate_next > 0) {
            self.duplicate_next = self.duplicate_next.saturating_sub(1);
            self.add(Message { copy: true, receive_count: original.receive_count + 1, ..original });
        }
        let message = &mut self.messages[index];
        message.receive_count += 1;
        message.visible_at = now.plus(visibility_timeout);
        let (body, receive_count) = (message.body.clone(), message.receive_count);
        Some(Received { body, receipt: message.receipt(queue), receive_count })
    }
}

/// A [`Queue`] in memory. Clones are the same queue.
///
/// Receiving never waits: when nothing is due it lets other tasks run once and returns nothing. Messages are handed over
/// in the order in which they came due, until a test asks for disorder.
#[derive(Clone, Debug)]
pub struct MemoryQueue {
    name: &'static str,
    stored: Arc<Mutex<Stored>>,
    clock: ManualClock,
    visibility_timeout: Duration,
    process: Arc<Process>,
}

impl MemoryQueue {
    /// An empty queue, of a process that does not die.
    #[must_use]
    pub fn new(clock: ManualClock, visibility_timeout: Duration) -> Self {
        Self::named("queue", clock, visibility_timeout)
    }

    /// The same, known by a name to receipts and among a process's acts.
    #[must_use]
    pub fn named(name: &'static str, clock: ManualClock, visibility_timeout: Duration) -> Self {
        Self { name, stored: Arc::default(), clock, visibility_timeout, process: Arc::default() }
    }

    /// The same queue, worked on by `process`.
    pub(super) fn of(&self, process: &Arc<Process>) -> Self {
        Self { process: Arc::clone(process), ..self.clone() }
    }

    /// What is in flight can be handed over at once.
    pub(super) fn hand_back(&self) {
        let now = self.clock.now();
        for message in lock(&self.stored).messages.iter_mut().filter(|message| message.in_flight(now)) {
            message.visible_at = now;
        }
    }

    /// What the queue holds, in the order in which it was sent.
    #[must_use]
    pub fn messages(&self) -> Vec<Held> {
        let now = self.clock.now();
        let held = |message: &Message| Held {
            body: message.body.clone(),
            group: message.group.clone(),
            visible_at: message.visible_at,
            in_flight: message.in_flight(now),
            receive_count: message.receive_count,
        };
        lock(&self.stored).messages.iter().map(held).collect()
    }

    /// Each of the next `n` messages that are received is handed over once more, in the same call if there is room.
    /// The copy has a receipt of its own.
    pub fn duplicate_next(&self, n: usize) {
        lock(&self.stored).duplicate_next += n;
    }

    /// Whether every message is handed over once more.
    pub fn duplicate_all(&self, on: bool) {
        lock(&self.stored).duplicate_all = on;
    }

    /// From now on, what is due is handed over in an order that `seed` decides.
    pub fn reorder(&self, seed: u64) {
        lock(&self.stored).shuffle = Some(seed);
    }

    /// Of the next send, the messages `which` (counted from 0) are not taken, for the reason `error`; the others are.
    /// Called again, the send after it fails so.
    pub fn fail_next_send(&self, which: impl Into<Vec<usize>>, error: QueueError) {
        lock(&self.stored).fail_sends.push_back((which.into(), error));
    }

    /// The next receive gets this error. Called again, the one after it does.
    pub fn fail_next_receive(&self, error: QueueError) {
        lock(&self.stored).fail_receives.push_back(error);
    }

    /// The next acknowledgement gets this error and acknowledges nothing. Called again, the one after it does.
    pub fn fail_next_acknowledge(&self, error: QueueError) {
        lock(&self.stored).fail_acknowledgements.push_back(error);
    }

    /// The next send takes all its messages, and the caller gets [`QueueError::Unavailable`] for all of them.
    pub fn lose_next_answer(&self) {
        lock(&self.stored).lose_answers += 1;
    }

    fn answer_is_lost(&self) -> bool {
        let mut stored = lock(&self.stored);
        let lost = stored.lose_answers > 0;
        stored.lose_answers -= usize::from(lost);
        lost
    }
}

impl Queue for MemoryQueue {
    async fn send(&self, messages: Vec<Outgoing>) -> Result<(), SendError> {
        let all: Vec<usize> = (0..messages.len()).collect();
        if let Err(error) = limits::check_send(&messages) {
            return Err(SendError { failed: all, error });
        }
        self.process.alive().await;
        let failure = lock(&self.stored).fail_sends.pop_front();
        let fails = |index: &usize| failure.as_ref().is_some_and(|(which, _)| which.contains(index));
        for (index, Outgoing { body, delay, group }) in messages.into_iter().enumerate() {
            if fails(&index) {
                continue;
            }
            let take = || {
                let visible_at = self.clock.now().plus(delay);
                lock(&self.stored).add(Message { id: 0, body, group, visible_at, receive_count: 0, copy: false });
            };
            self.process.act(format!("send message {index} to {}", self.name), take).await;
        }
        if self.answer_is_lost() {
            return Err(SendError { failed: all, error: QueueError::Unavailable("the answer was lost".into()) });
        }
        let failed: Vec<usize> = all.into_iter().filter(fails).collect();
        match failure {
            Some((_, error)) if !failed.is_empty() => Err(SendError { failed, error }),
            _ => Ok(()),
        }
    }

    async fn receive(&self, max: usize, wait: Duration) -> Result<Vec<Received>, QueueError> {
        if !(1..=limits::SEND_MESSAGES).contains(&max) || wait > MAX_WAIT {
            return Err(QueueError::Invalid(format!("a receive of {max} messages within {wait:?}")));
        }
        self.process.alive().await;
        let now = self.clock.now();
        let mut stored = lock(&self.stored);
        if let Some(error) = stored.fail_receives.pop_front() {
            return Err(error);
        }
        Ok((0..max).map_while(|_| stored.hand_over(self.name, now, self.visibility_timeout)).collect())
    }

    async fn acknowledge(&self, receipts: Vec<Receipt>) -> Result<(), QueueError> {
        self.process.alive().await;
        if let Some(error) = lock(&self.stored).fail_acknowledgements.pop_front() {
            return Err(error);
        }
        let done = || lock(&self.stored).messages.retain(|message| !receipts.contains(&message.receipt(self.name)));
        self.process.act(format!("acknowledge {} messages of {}", receipts.len(), self.name), done).await;
        Ok(())
    }
}
