//! The providers.

mod dropbox;
mod http;
mod hubspot;
mod quickbooks;
mod salesforce;

pub use dropbox::Dropbox;
pub use http::{Http, Listed};
pub use hubspot::HubSpot;
pub use quickbooks::QuickBooks;
pub use salesforce::Salesforce;

use std::time::Duration;

use events::Timestamp;
use simulators::{Fault, Refusal, RetryAfter};

use crate::dice::Dice;
use crate::objects::{Object, Objects, Version};

/// So long an access token lasts that no test is about tokens.
const FOR_EVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How long an access token lasts that histories outlive.
const ACCESS: Duration = Duration::from_secs(3_600);

/// What any provider may do.
fn any_fault<P>(dice: &mut Dice) -> Fault<P> {
    match dice.below(7) {
        0 => Fault::too_many(RetryAfter::Seconds(30)),
        1 => Fault::too_many(RetryAfter::Unsaid),
        2 => Fault::broken(500),
        3 => Fault::Refuse(Refusal::Broken(503)),
        4 => Fault::HangUpBefore,
        5 => Fault::HangUpAfter,
        _ => Fault::CutAfter(10),
    }
}

/// A date without what is smaller than `grain`.
fn floor(at: Timestamp, grain: Duration) -> Timestamp {
    let unit = i64::try_from(grain.as_millis()).unwrap_or(1).max(1);
    Timestamp::from_millis(at.as_millis().div_euclid(unit) * unit)
}

/// One of several, by a number.
fn picked<T>(all: &[T], pick: u64) -> Option<&T> {
    all.get(usize::try_from(pick % (all.len().max(1) as u64)).unwrap_or(0))
}

impl Objects {
    /// Writes down a version that is named by its date.
    fn dated(&mut self, object: Object, at: Timestamp, grain: Duration, late: Duration, state: State) {
        let date = floor(at, grain);
        self.versions.push(Version {
            object,
            key: date.as_millis().to_string(),
            date,
            at,
            shown: at.plus(late),
            over: date.plus(grain),
            deleted: state == State::Gone,
            first: state == State::New,
            hidden: state == State::Hidden,
        });
    }
}

/// What an object is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Changed,
    Gone,
    /// No API shows it any more, nor that it is gone.
    Hidden,
}
