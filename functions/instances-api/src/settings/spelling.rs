//! Keys that are almost those we know.
//!
//! A misspelt key would be kept as one that nobody reads: the callback, the filter or the signature that it was to set
//! would be missing, and nothing would say so. So what is nearly a known key is refused with the one that was meant.

/// Most changes that make one key of another and are still taken for a slip.
const SLIPS: usize = 2;

/// Shortest known key that two slips are forgiven in; in a shorter one, two are a different word.
const LONG: usize = 12;

/// The one of `known` that `key` seems to be meant for, where it is none of them.
pub(crate) fn meant<'k>(key: &str, known: impl Iterator<Item = &'k str> + Clone) -> Option<&'k str> {
    if known.clone().any(|known| known == key) {
        return None;
    }
    let key: Vec<char> = key.trim().to_lowercase().chars().collect();
    let near = known.filter_map(|known| {
        let allowed = if known.len() < LONG { 1 } else { SLIPS };
        let distance = distance(&key, &known.to_lowercase().chars().collect::<Vec<_>>(), allowed)?;
        Some((distance, known))
    });
    near.min().map(|(_, known)| known)
}

/// How many insertions, deletions, substitutions and swaps of neighbours turn `a` into `b` (the optimal string alignment
/// distance); `None`: more than `most`.
fn distance(a: &[char], b: &[char], most: usize) -> Option<usize> {
    if a.len().abs_diff(b.len()) > most {
        return None;
    }
    // Of the whole table, a row needs the two rows above it.
    let (mut above, mut last): (Vec<usize>, Vec<usize>) = (Vec::new(), (0..=b.len()).collect());
    for (i, x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push(i + 1);
        for (j, y) in b.iter().enumerate() {
            let mut best = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(above[j - 1] + 1);
            }
            row.push(best);
        }
        above = std::mem::replace(&mut last, row);
    }
    last.last().copied().filter(|distance| *distance <= most)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::known::KNOWN;
    use super::*;

    fn known() -> impl Iterator<Item = &'static str> + Clone {
        KNOWN.iter().map(|known| known.key)
    }

    #[test]
    fn a_slip_is_found_and_another_key_is_let_be() {
        for (slip, key) in [
            ("event.notification.calback.url", "event.notification.callback.url"),
            ("event.notification.callback.ulr", "event.notification.callback.url"),
            ("event.notification.callback_url", "event.notification.callback.url"),
            ("Event.Notification.Callback.URL", "event.notification.callback.url"),
            (" event.objects ", "event.objects"),
            ("event.object", "event.objects"),
            ("event.mapping.objectid", "event.mapping.objectId"),
            ("event.mapping.objecttypes", "event.mapping.objectType"),
            ("webhook.secrets", "webhook.secret"),
        ] {
            assert_eq!(meant(slip, known()), Some(key), "{slip}");
        }
        for other in ["event.notification.url", "event.mapping.owner", "oauth.api.key", "x", "", "event.vendor.app"] {
            assert_eq!(meant(other, known()), None, "{other}");
        }
        assert_eq!(meant("tokens", ["token"].into_iter()), Some("token"));
        assert_eq!(meant("taken s", ["token"].into_iter()), None);
    }

    #[test]
    fn no_known_key_is_a_slip_of_another() {
        for known_key in known() {
            assert_eq!(meant(known_key, known()), None, "{known_key}");
        }
    }

    proptest! {
        #[test]
        fn one_slip_in_any_known_key_is_found(
            which in 0..KNOWN.len(),
            at in any::<prop::sample::Index>(),
            with in "[a-z.]",
            kind in 0..4_usize,
        ) {
            let key = KNOWN[which].key;
            let mut slip: Vec<char> = key.chars().collect();
            let at = at.index(slip.len());
            match kind {
                0 => drop(slip.remove(at)),
                1 => slip.splice(at..at, with.chars()).for_each(drop),
                2 => slip.splice(at..=at, with.chars()).for_each(drop),
                _ => slip.swap(at, (at + 1) % key.len()),
            }
            let slip: String = slip.into_iter().collect();
            if known().all(|known| known != slip) && !(kind == 3 && at + 1 == key.len()) {
                prop_assert!(meant(&slip, known()).is_some(), "{}", slip);
            }
        }

        #[test]
        fn the_distance_is_the_same_both_ways_and_nothing_from_oneself(a in "[ab]{0,8}", b in "[ab]{0,8}") {
            let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
            prop_assert_eq!(distance(&a, &b, 9), distance(&b, &a, 9));
            prop_assert_eq!(distance(&a, &a, 0), Some(0));
            prop_assert_eq!(distance(&a, &b, 1).is_some(), distance(&a, &b, 9).is_some_and(|distance| distance <= 1));
        }
    }
}
