//! One attempt at one notification, on each leg that is due, and what is written of it.

use egress::Post;
use events::message::{Attempt, Message, To};
use events::{Batch, Event};
use futures_util::future::join;
use platform::{Bus, Outgoing, Platform, Queue as _, TableError, Write, limits};
use records::RecordError;
use records::deliveries::{self, Delivery, Leg, State, Stored};
use records::instances::CallbackView;
use records::retries::{self, Wake};

use crate::outcome::{Came, Made, Step, unmade};
use crate::{Dispatcher, Fault, Next, count};

/// How often a record is written anew on top of what somebody else wrote meanwhile.
const REWRITES: usize = 5;

/// What is told, and to whom.
#[derive(Clone, Copy)]
pub(crate) struct Telling<'a> {
    /// `None`: the instance was deleted.
    pub(crate) view: Option<&'a CallbackView>,
    /// What the events are a part of.
    pub(crate) batch: &'a Batch,
    /// The notification's events.
    pub(crate) events: &'a [Event],
}

/// The attempts to make now.
#[derive(Clone, Copy, Default)]
pub(crate) struct Due {
    /// At the callback.
    pub(crate) callback: Option<Attempt>,
    /// At the bus.
    pub(crate) flows: Option<Attempt>,
}

impl Due {
    /// One attempt.
    pub(crate) fn only(attempt: Attempt) -> Self {
        match attempt.to {
            To::Callback => Self { callback: Some(attempt), flows: None },
            To::Flows => Self { callback: None, flows: Some(attempt) },
        }
    }
}

/// What is to be written of attempts, and what is to wake the next ones up.
#[derive(Default)]
struct Plan {
    steps: Vec<Step>,
    /// The message that wakes up the next attempt of the step at that index.
    messages: Vec<(usize, Outgoing)>,
    /// Written with the record.
    buckets: Vec<Write>,
}

impl<P: Platform, C: Post, B: Bus> Dispatcher<P, C, B> {
    /// Makes the attempts that are due, all at the same time, and writes one record of them. `leftover`: there is no record,
    /// and a payload is kept all the same.
    pub(crate) async fn deliver(
        &self,
        telling: Telling<'_>,
        due: Due,
        before: Option<Stored>,
        leftover: bool,
    ) -> Result<(), Fault> {
        let Some(Attempt { notification, .. }) = due.callback.or(due.flows) else { return Ok(()) };
        let mut base = match &before {
            Some(stored) => stored.delivery.clone(),
            None => Delivery { body: leftover, ..Delivery::new(notification, telling.batch, telling.events) },
        };
        // Without a record nobody knows what became of the other leg: its process died. The record is to say that something
        // is owed there, for the message that comes again.
        if due.flows.is_some() || before.is_none() && telling.view.is_some_and(|view| view.flows) {
            base.leg_mut(To::Flows);
        }
        let callback = async {
            match due.callback {
                Some(attempt) => self.call(telling, attempt).await.map(Some),
                None => Ok(None),
            }
        };
        let flows = async {
            match due.flows {
                Some(attempt) => Some(self.publish(telling, attempt, base.flows.as_ref()).await),
                None => None,
            }
        };
        let (callback, flows) = join(callback, flows).await;
        // A fault of ours on the one leg is not to have the other repeated: what happened there is written down.
        let (callback, fault) = match callback {
            Ok(callback) => (callback, Ok(())),
            Err(fault) => (None, Err(fault)),
        };
        let made: Vec<Made> = callback.into_iter().chain(flows).collect();
        if !made.is_empty() {
            self.settle(telling, made, before, base).await?;
        }
        fault
    }

    /// Writes what attempts came to. After a failure: the payload, then the wake-up, then the record.
    async fn settle(
        &self,
        telling: Telling<'_>,
        made: Vec<Made>,
        before: Option<Stored>,
        mut base: Delivery,
    ) -> Result<(), Fault> {
        let platform = &*self.platform;
        let Plan { mut steps, messages, buckets } = self.plan(made);
        let mut after = base.clone();
        for step in &steps {
            step.onto(&mut after);
        }
        let mut sent = Ok(());
        if !after.ended() {
            if !base.body {
                deliveries::keep_payload(platform, base.id, telling.batch, telling.events).await?;
                base.body = true;
            }
            if !buckets.is_empty() {
                retries::begin(platform).await?;
            }
            if !messages.is_empty() {
                let (steps_of, messages): (Vec<usize>, Vec<Outgoing>) = messages.into_iter().unzip();
                sent = platform.batches().send(messages).await.map_err(RecordError::from);
                if sent.is_err() {
                    // Their attempts are as good as not made; what ended on another leg is written all the same.
                    let mut index = 0;
                    steps.retain(|_| {
                        index += 1;
                        !steps_of.contains(&(index - 1))
                    });
                }
            }
        }
        if !steps.is_empty() {
            self.write(telling, &steps, &buckets, before, base).await?;
            count::attempts(&steps, telling, platform.now());
        }
        Ok(sent?)
    }

    /// What comes after attempts: pure but for the schedule's randomness.
    fn plan(&self, made: Vec<Made>) -> Plan {
        let platform = &*self.platform;
        let now = platform.now();
        let mut plan = Plan::default();
        for (index, Made { attempt, attempted, came, owed, group }) in made.into_iter().enumerate() {
            let next = match came {
                Came::Ended(state) => Err(state),
                Came::Waits => Ok(Next::Park),
                Came::Failed { retry_after } => {
                    Ok(self.retry.next(attempt.attempt, retry_after, platform.random().bits(), now))
                }
            };
            let state = match next {
                Err(state) => state,
                Ok(Next::Park) => State::Parked { at: now },
                Ok(Next::After(wait)) => {
                    let wake = Wake { attempt: Attempt { attempt: attempt.attempt + 1, ..attempt }, group };
                    if wait <= limits::MAX_DELAY {
                        let body = Message::Attempt(wake.attempt).encode();
                        plan.messages.push((index, Outgoing { body, delay: wait, group: wake.group }));
                    } else {
                        plan.buckets.push(retries::wake(platform, now.plus(wait), &wake));
                    }
                    State::Waiting { next_at: now.plus(wait) }
                }
            };
            plan.steps.push(Step { attempt, attempted, state, owed });
        }
        plan
    }

    /// Writes the steps into the record, also on top of what somebody else wrote meanwhile ([`Step::onto`]).
    async fn write(
        &self,
        Telling { batch, events, .. }: Telling<'_>,
        steps: &[Step],
        buckets: &[Write],
        mut before: Option<Stored>,
        base: Delivery,
    ) -> Result<(), Fault> {
        let platform = &*self.platform;
        let mut trouble = TableError::Conflict;
        for round in 0..=REWRITES {
            let mut delivery = match &before {
                // As it was read before the attempts: the base is that, and says what of its payload is kept by now.
                _ if round == 0 => base.clone(),
                Some(stored) => stored.delivery.clone(),
                None => base.clone(),
            };
            let mut news = false;
            for step in steps {
                news |= step.onto(&mut delivery);
            }
            if !news {
                // If nothing more is owed, the payload kept for these attempts is nobody's.
                return match &before {
                    Some(stored) => Ok(deliveries::tidy(platform, stored).await?),
                    None => Ok(()),
                };
            }
            let written = if delivery.ended() {
                deliveries::end(platform, before.as_ref(), delivery, batch, events).await
            } else {
                deliveries::proceed(platform, before.as_ref(), delivery, buckets.to_vec()).await
            };
            match written {
                Ok(()) => return Ok(()),
                Err(RecordError::Table(
                    e @ (TableError::ConditionFailed(_) | TableError::Conflict | TableError::OutcomeUnknown(_)),
                )) => trouble = e,
                Err(e) => return Err(e.into()),
            }
            before = deliveries::get(platform, base.instance, base.id).await?;
        }
        Err(RecordError::Table(trouble).into())
    }

    /// The payload is not where the record says. Cannot happen unless the store lost it; it must not go unnoticed.
    pub(crate) async fn payload_gone(&self, attempt: &Attempt, before: Option<Stored>) -> Result<(), Fault> {
        tracing::error!(%attempt, "the payload of a notification is gone, nothing can be told");
        let Some(stored) = before else { return Ok(()) };
        let mut delivery = stored.delivery.clone();
        let now = self.platform.now();
        let leg: &mut Leg = delivery.leg_mut(attempt.to);
        leg.note(unmade(attempt, now, "the payload is gone"));
        leg.state = State::Parked { at: now };
        // Whoever wrote it meanwhile, and had the payload, is right.
        match deliveries::proceed(&*self.platform, Some(&stored), delivery, Vec::new()).await {
            Err(RecordError::Table(TableError::ConditionFailed(_))) => Ok(()),
            other => Ok(other?),
        }
    }
}
