//! Whether an attempt of a request may have happened without our knowing.
//!
//! The SDK repeats an attempt whose answer was lost, and tells only how the last one ended. "A condition did not hold"
//! then has two meanings: it never held, or the first attempt did it. [`Doubt`] watches the attempts of one call.

use std::error::Error;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_sdk_dynamodb::config::interceptors::{BeforeTransmitInterceptorContextRef, FinalizerInterceptorContextRef};
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};

/// Watches the attempts of one call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doubt(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// The present attempt has been sent and its end is not known. Stays so should the SDK cut an attempt off without
    /// telling, as it did in earlier versions when a deadline passed.
    sent: AtomicBool,
    /// An attempt ended without a definite answer.
    lost: AtomicBool,
}

impl Doubt {
    /// Whether an attempt may have happened without a definite answer.
    pub(crate) fn stands(&self) -> bool {
        self.0.lost.load(Ordering::SeqCst) || self.0.sent.load(Ordering::SeqCst)
    }

    fn sending(&self) {
        if self.0.sent.swap(true, Ordering::SeqCst) {
            self.0.lost.store(true, Ordering::SeqCst);
        }
    }

    fn ended(&self, definite: bool) {
        let sent = self.0.sent.swap(false, Ordering::SeqCst);
        if sent && !definite {
            self.0.lost.store(true, Ordering::SeqCst);
        }
    }
}

type BoxError = Box<dyn Error + Send + Sync + 'static>;

impl Intercept for Doubt {
    fn name(&self) -> &'static str {
        "Doubt"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.sending();
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let status = context.response().map(|r| r.status().as_u16());
        let definite = match context.output_or_error() {
            Some(Ok(_)) => true,
            Some(Err(error)) => definite(status, error.as_connector_error().map(|e| e as &(dyn Error + 'static))),
            None => false,
        };
        self.ended(definite);
        Ok(())
    }
}

/// Whether a failed attempt certainly did nothing. A 5xx is not certain: AWS says that the operation may have succeeded
/// (<https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html>).
fn definite(status: Option<u16>, connector: Option<&(dyn Error + 'static)>) -> bool {
    match status {
        Some(status) => (400..500).contains(&status),
        None => connector.is_some_and(never_sent),
    }
}

/// Whether the cause is one that arises only before anything is sent. Others (names that do not resolve, connections that
/// time out) are not told apart from a lost answer, which is the safe side.
fn never_sent(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            return matches!(
                io.kind(),
                ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
            );
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_answer_stays_in_doubt_whatever_the_next_attempt_says() {
        let doubt = Doubt::default();
        assert!(!doubt.stands());
        doubt.sending();
        assert!(doubt.stands(), "as long as no answer is there");
        doubt.ended(false);
        doubt.sending();
        doubt.ended(true);
        assert!(doubt.stands());
    }

    #[test]
    fn definite_answers_leave_no_doubt() {
        let doubt = Doubt::default();
        doubt.ended(false); // ended before it was sent
        doubt.sending();
        doubt.ended(true);
        assert!(!doubt.stands());
    }

    #[test]
    fn an_attempt_whose_end_is_not_told_is_in_doubt() {
        let doubt = Doubt::default();
        doubt.sending();
        doubt.sending();
        doubt.ended(true);
        assert!(doubt.stands());
    }

    #[test]
    fn only_a_4xx_or_a_refused_connection_is_definite() {
        let refused = std::io::Error::from(ErrorKind::ConnectionRefused);
        let reset = std::io::Error::from(ErrorKind::ConnectionReset);
        assert!(definite(Some(400), None));
        assert!(!definite(Some(500), None) && !definite(Some(503), None) && !definite(Some(200), None));
        assert!(definite(None, Some(&refused)));
        assert!(!definite(None, Some(&reset)));
        assert!(!definite(None, None));
    }
}
