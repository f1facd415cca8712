//! What an attempt came to, and what the record says of it: pure.

use egress::RetryAfter;
use events::Timestamp;
use events::message::Attempt;
use records::deliveries::{Attempted, Delivery, State};

/// What an attempt came to.
pub(crate) enum Came {
    /// Nothing more is owed on this leg.
    Ended(State),
    /// It failed; the other side may have said when to come again.
    Failed {
        /// What it said.
        retry_after: Option<RetryAfter>,
    },
    /// It could not be made, and none can before somebody acts: it waits for its release.
    Waits,
}

/// An attempt that was made.
pub(crate) struct Made {
    /// Which.
    pub(crate) attempt: Attempt,
    /// What the record is to keep of it; `None`: nothing was done.
    pub(crate) attempted: Option<Attempted>,
    /// What it came to.
    pub(crate) came: Came,
    /// As [`Leg::owed`](records::deliveries::Leg::owed).
    pub(crate) owed: Vec<usize>,
    /// Whom a further attempt concerns.
    pub(crate) group: String,
}

impl Made {
    /// For whoever is told of no more because they are gone.
    pub(crate) fn deleted(attempt: Attempt) -> Self {
        let came = Came::Ended(State::Dropped { reason: "the instance was deleted".into() });
        Self { attempt, attempted: None, came, owed: Vec::new(), group: String::new() }
    }
}

/// An attempt that could not be made.
pub(crate) fn unmade(attempt: &Attempt, at: Timestamp, why: &str) -> Attempted {
    let Attempt { round, attempt, .. } = *attempt;
    Attempted { at, round, attempt, status: None, latency_ms: 0, error: Some(why.to_owned()) }
}

/// What an attempt changes in the record.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// Which attempt.
    pub(crate) attempt: Attempt,
    /// What the record is to keep of it.
    pub(crate) attempted: Option<Attempted>,
    /// How its leg stands now.
    pub(crate) state: State,
    /// As [`Leg::owed`](records::deliveries::Leg::owed).
    pub(crate) owed: Vec<usize>,
}

impl Step {
    /// Whether nothing more is owed.
    pub(crate) fn ends(&self) -> bool {
        !matches!(self.state, State::Waiting { .. } | State::Parked { .. })
    }

    /// Writes it onto the record as it stands by now, which somebody else may have written meanwhile; whether that changes
    /// anything. Who was told was told, whatever the record counts. That more is owed counts only while this very attempt
    /// is still to be made by the record, as when a release was recorded after its wake-up had come; else they have made
    /// it, and a wake-up too many dies out.
    pub(crate) fn onto(&self, delivery: &mut Delivery) -> bool {
        let leg = delivery.leg_mut(self.attempt.to);
        let awaited = leg.awaits(&self.attempt);
        if !leg.is_open() || !(awaited || self.ends()) {
            return false;
        }
        match &self.attempted {
            Some(made) if awaited => leg.note(made.clone()),
            Some(made) if !leg.attempts.contains(made) => leg.keep(made.clone()),
            _ => {}
        }
        leg.state = self.state.clone();
        leg.owed.clone_from(&self.owed);
        true
    }
}

#[cfg(test)]
mod tests {
    use events::message::To;
    use events::{EventId, EventType, InstanceId, NotificationId, Source};
    use proptest::prelude::*;
    use records::deliveries::Leg;

    use super::*;

    const AT: Timestamp = Timestamp::from_seconds(1_790_000_000);

    fn delivery() -> Delivery {
        let instance = InstanceId::from_random(1);
        let event = events::Event {
            id: EventId::of(instance, "contacts", "1", &["x"]),
            object_type: "contacts".into(),
            object_id: "1".into(),
            event_type: EventType::Updated,
            date: None,
        };
        let (connector, hub, raw) = ("hubspot".into(), "crm".into(), "{}".into());
        let batch = events::Batch {
            instance,
            connector,
            hub,
            source: Source::Webhook,
            accepted_at: AT,
            hops: 0,
            events: vec![event],
            raw,
        };
        Delivery::new(NotificationId::of(AT, [&batch.events[0].id]), &batch, &batch.events)
    }

    fn state() -> impl Strategy<Value = State> {
        prop_oneof![
            Just(State::Waiting { next_at: AT }),
            Just(State::Parked { at: AT }),
            Just(State::Told { at: AT }),
            Just(State::Kept),
            Just(State::Dropped { reason: "r".into() }),
        ]
    }

    fn leg() -> impl Strategy<Value = Leg> {
        (0_u32..3, 0_u32..4, state()).prop_map(|(round, attempt, state)| Leg { round, attempt, state, ..Leg::due(AT) })
    }

    proptest! {
        #[test]
        fn a_step_ends_a_leg_once_sets_it_back_never_and_leaves_the_other_alone(
            callback in leg(), flows in proptest::option::of(leg()), to_bus: bool,
            round in 0_u32..3, number in 1_u32..4, state in state()
        ) {
            let before = Delivery { callback, flows, ..delivery() };
            let to = if to_bus { To::Flows } else { To::Callback };
            let attempt = Attempt { instance: before.instance, notification: before.id, to, round, attempt: number };
            let attempted = Some(unmade(&attempt, AT, "x"));
            let step = Step { attempt, attempted, state, owed: vec![0] };
            let mut after = before.clone();
            let news = step.onto(&mut after);
            let (was, is) = (before.leg(to), after.leg(to).unwrap());
            let other = if to_bus { To::Callback } else { To::Flows };
            prop_assert_eq!(before.leg(other), after.leg(other));
            let was_open = was.is_none_or(Leg::is_open);
            prop_assert_eq!(news, was_open && (step.ends() || before.awaits(&attempt)));
            if news {
                prop_assert_eq!(&is.state, &step.state);
                prop_assert!(!is.awaits(&attempt), "it is not made again");
                let counted = was.map_or((0, 0), |leg| (leg.round, leg.attempt));
                prop_assert!((is.round, is.attempt) >= counted);
            } else if let Some(was) = was {
                prop_assert_eq!(was, is);
            }
            // What is written twice is written once.
            let mut twice = after.clone();
            prop_assert!(!step.onto(&mut twice));
            prop_assert_eq!(twice, after);
        }
    }
}
