//! Pauses between the rounds of a batch of which DynamoDB or EventBridge left a part undone.

use std::time::Duration;

/// As many rounds in a row may bring nothing; with the pauses below about 3 s, the time of one attempt.
const ROUNDS: u32 = 8;
/// A partition's budget refills each second and bursts are short; DynamoDB's own guidance for unprocessed items is to begin
/// around here and to double.
const FIRST_MS: u64 = 25;
/// Longest pause: no longer than the budget takes to refill.
const LONGEST_MS: u64 = 1000;

/// How long to wait before the next round, when `fruitless` rounds in a row (0: the last one did something) brought
/// nothing; `None`: give up. `bits` are random: the whole range is used, so that callers throttled together part.
pub(crate) fn pause(fruitless: u32, bits: u64) -> Option<Duration> {
    if fruitless >= ROUNDS {
        return None;
    }
    let most = (FIRST_MS << fruitless).min(LONGEST_MS);
    Some(Duration::from_millis(bits % (most + 1)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pauses_are_bounded_and_end(fruitless: u32, bits: u64) {
            match pause(fruitless, bits) {
                Some(pause) => prop_assert!(pause.as_millis() <= u128::from(LONGEST_MS) && fruitless < ROUNDS),
                None => prop_assert!(fruitless >= ROUNDS),
            }
        }
    }
}
