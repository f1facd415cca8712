//! Salesforce's ids: a prefix that names the object, a number, and three characters that make them safe where case is lost.
//!
//! providers.md §5.1: the last three of 18 are a checksum, the first 15 are the id, and their case counts.

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const CHECK: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";

/// The id of 18 characters of the object's record `number`.
#[must_use]
pub(crate) fn make(prefix: &str, mut number: u64) -> String {
    let mut digits = [b'0'; 12];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[usize::try_from(number % 62).unwrap_or(0)];
        number /= 62;
    }
    // As real ones do, it names the instance that made it; letters of both cases, so that a lost case is noticed.
    digits[0] = b'x';
    digits[1] = b'X';
    let short = format!("{prefix:0<3}{}", String::from_utf8_lossy(&digits));
    long(&short)
}

/// The form of 18 characters; anything that is no id of 15 is left as it is.
#[must_use]
pub(crate) fn long(id: &str) -> String {
    if id.len() != 15 || !id.is_ascii() {
        return id.to_owned();
    }
    let check = id.as_bytes().chunks(5).map(|five| {
        let upper = five.iter().enumerate().filter(|(_, byte)| byte.is_ascii_uppercase());
        char::from(CHECK[upper.map(|(bit, _)| 1 << bit).sum::<usize>()])
    });
    id.chars().chain(check).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_published_ids() {
        // providers.md §5.1 and §5.3, Salesforce's documentation.
        for id in ["0019000001KwyWtAAJ", "001RO000003nQ6DYAU", "04l9000001olR84AAE"] {
            assert_eq!(long(&id[..15]), id);
        }
    }

    #[test]
    fn ids_begin_with_their_object_and_sort_by_number() {
        let ids: Vec<_> = [1, 2, 61, 62, 4000].map(|number| make("001", number)).into();
        assert!(ids.iter().all(|id| id.len() == 18 && id.starts_with("001")));
        assert!(ids.is_sorted());
    }
}
