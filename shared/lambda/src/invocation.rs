//! One event after the other, each with its deadline.

use std::time::{Duration, SystemTime};

use lambda_runtime::{Context, LambdaEvent, Runtime, service_fn};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use crate::{Error, figures, logs};

/// Kept back at the end of an invocation, for what is done after the work and for the answer: a write to the table and a
/// request to the Runtime API on a slow CPU, with room to spare.
const MARGIN: Duration = Duration::from_secs(1);

/// What is done after the work may delay the answer this long. It is no part of what the sender asked for, and the
/// strictest provider waits 3 s.
const AFTER: Duration = Duration::from_millis(500);

/// One event's circumstances.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) context: Context,
    end: Instant,
}

impl Invocation {
    fn new(context: Context) -> Self {
        let remaining = context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
        Self { context, end: Instant::now() + remaining }
    }

    /// How long the work may take from now.
    pub(crate) fn for_work(&self) -> Duration {
        for_work(self.end.saturating_duration_since(Instant::now()))
    }
}

/// A function with little time gives most of it to the work.
fn for_work(remaining: Duration) -> Duration {
    remaining - MARGIN.min(remaining / 4)
}

/// Takes events until the process ends. `after` is done after each, before it is answered.
pub(crate) async fn serve<E, A>(
    work: impl AsyncFn(E, Invocation) -> Result<A, Error>,
    after: impl AsyncFn(),
) -> Result<(), Error>
where
    E: for<'de> Deserialize<'de>,
    A: Serialize,
{
    let (work, after) = (&work, &after);
    let function = service_fn(|LambdaEvent { payload, context }: LambdaEvent<E>| async move {
        logs::begin(&context.request_id);
        // On the heap, here and where the roles' work begins: what AWS's clients await is nested so deep that the compiler
        // would not lay it out in one piece.
        let answer = Box::pin(work(payload, Invocation::new(context))).await;
        if timeout(AFTER, Box::pin(after())).await.is_err() {
            tracing::warn!("what is done after each event took too long, and is done after the next one");
        }
        figures::write();
        answer
    });
    Runtime::new(function).run().await
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_second_is_kept_back_of_much_time_and_a_quarter_of_little() {
        assert_eq!(for_work(Duration::from_secs(30)), Duration::from_secs(29));
        assert_eq!(for_work(Duration::from_secs(2)), Duration::from_millis(1500));
        assert_eq!(for_work(Duration::ZERO), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn something_is_always_kept_back(remaining in 4_u64..900_000) {
            let remaining = Duration::from_millis(remaining);
            let work = for_work(remaining);
            prop_assert!(work < remaining && work >= remaining / 2);
        }
    }
}
