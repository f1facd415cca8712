//! How long, how much, how many.

use std::time::Duration;

/// What one post, and the connections kept between posts, may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// For resolving, connecting and the TLS handshake together. A receiver that is up answers a SYN within a second
    /// anywhere on earth; 3 s leaves room for one lost packet (the kernel resends after 1 s) and no more.
    pub connect: Duration,
    /// From the call to the status. 15 s is what the slowest receivers worth waiting for need (a cold serverless
    /// function), and short enough that a dead one gives its place back.
    pub total: Duration,
    /// For the body once the status is in, and never beyond `total`. All that is left to gain is an excerpt and a
    /// connection to reuse; 2 s is ample for 64 KB, and a body that dribbles holds its place no longer.
    pub body: Duration,
    /// Bytes of body read before the connection is dropped instead of drained. Error pages fit into 64 KB; beyond it,
    /// reading on costs more than a new connection.
    pub body_cap: usize,
    /// How long an unused connection is kept. There is no cap over all hosts, so this is what bounds open files:
    /// 15 s × 60 new hosts a second stays under the 1,024 of a Lambda function. Busy hosts are posted to more often.
    pub idle: Duration,
    /// Unused connections kept per host: at least as many as posts run at once towards one busy host, or the rest
    /// would connect anew each time.
    pub idle_per_host: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            total: Duration::from_secs(15),
            body: Duration::from_secs(2),
            body_cap: 64 * 1024,
            idle: Duration::from_secs(15),
            idle_per_host: 128,
        }
    }
}

impl Limits {
    /// What a client that [fetches](crate::Client::fetch) has: the answer is wanted whole, so a page has 30 s in all, its
    /// body included (reports of some providers take 20), and 8 MB, the contract's limit of a payload (its §9). Parsed, that
    /// is some ten times as much memory. [`Limits::body`] does not count. All customers of a provider are at one host, and
    /// sixteen jobs of twenty polls may ask there at once.
    #[must_use]
    pub fn fetching() -> Self {
        Self { total: Duration::from_secs(30), body_cap: 8 * 1024 * 1024, idle_per_host: 400, ..Self::default() }
    }
}

impl Limits {
    /// What a client that [asks for tokens](crate::exchange) has, while somebody waits for it: API Gateway gives up after 30 s,
    /// and what came by then must be stored. 8 s are left for that.
    #[must_use]
    pub fn exchanging() -> Self {
        Self { total: Duration::from_secs(20), body_cap: 256 * 1024, ..Self::default() }
    }
}

/// Limits under which no post could succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLimits {
    /// A deadline of zero.
    #[error("a deadline of zero leaves no time for a post")]
    Zero,
    /// `connect` is longer than `total`.
    #[error("the deadline for connecting ({connect:?}) is longer than the one for the whole post ({total:?})")]
    Order {
        /// [`Limits::connect`].
        connect: Duration,
        /// [`Limits::total`].
        total: Duration,
    },
}

impl Limits {
    pub(crate) fn validate(&self) -> Result<(), InvalidLimits> {
        if self.connect.is_zero() || self.total.is_zero() {
            Err(InvalidLimits::Zero)
        } else if self.connect > self.total {
            Err(InvalidLimits::Order { connect: self.connect, total: self.total })
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_leave_no_time_are_told_at_once() {
        assert_eq!(Limits::default().validate(), Ok(()));
        let zero = Limits { total: Duration::ZERO, ..Limits::default() };
        assert_eq!(zero.validate(), Err(InvalidLimits::Zero));
        let reversed = Limits { total: Duration::from_secs(1), ..Limits::default() };
        assert!(matches!(reversed.validate(), Err(InvalidLimits::Order { .. })));
    }
}
