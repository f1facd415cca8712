//! Part of a body, byte for byte: what an instance is shown of a request that also tells of other customers' accounts.

use serde_json::value::RawValue;

/// The JSON array of the body's entries at `places` (from 0): each entry's bytes exactly as received, each once and in
/// the body's order, in whichever order and however often it is named. Never longer than the body, then.
///
/// `None`: the body is not an array (an object is its one entry, and is handed on whole), or has no entry at one of the
/// places.
#[must_use]
pub fn select(body: &[u8], places: &[usize]) -> Option<Vec<u8>> {
    let entries: Vec<&RawValue> = serde_json::from_slice(body).ok()?;
    let mut chosen = vec![false; entries.len()];
    for place in places {
        *chosen.get_mut(*place)? = true;
    }
    let mut json = Vec::with_capacity(body.len());
    json.push(b'[');
    for (entry, _) in entries.iter().zip(chosen).filter(|(_, chosen)| *chosen) {
        if json.len() > 1 {
            json.push(b',');
        }
        json.extend_from_slice(entry.get().as_bytes());
    }
    json.push(b']');
    Some(json)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn selected(body: &str, places: &[usize]) -> Option<String> {
        select(body.as_bytes(), places).map(|json| String::from_utf8(json).unwrap())
    }

    #[test]
    fn an_entry_is_handed_on_byte_for_byte() {
        let body = " [ {\"b\" : 1.0e2,\"a\":\"\\u00eb\\/\",\"a\":9007199254740993.0} ,\n[ 1 ], \"x,]\" , null]\n";
        assert_eq!(
            selected(body, &[0]).as_deref(),
            Some("[{\"b\" : 1.0e2,\"a\":\"\\u00eb\\/\",\"a\":9007199254740993.0}]")
        );
        assert_eq!(selected(body, &[1, 2]).as_deref(), Some("[[ 1 ],\"x,]\"]"));
        assert_eq!(selected(body, &[3, 1, 3, 3]).as_deref(), Some("[[ 1 ],null]"), "each once, in the body's order");
        assert_eq!(selected(body, &[]).as_deref(), Some("[]"));
    }

    #[test]
    fn what_is_no_array_or_not_in_it_is_none() {
        for (body, places) in [
            ("{\"0\":1}", &[0][..]),
            ("null", &[]),
            ("\"[1]\"", &[0]),
            ("[1", &[0]),
            ("[1] [2]", &[0]),
            ("[1,2]", &[0, 2]),
            ("[1]", &[usize::MAX]),
            ("[]", &[0]),
        ] {
            assert_eq!(selected(body, places), None, "{body} {places:?}");
        }
        assert_eq!(select(b"[\"\xff\"]", &[0]), None);
    }

    proptest! {
        #[test]
        fn a_selection_reads_as_the_entries_named_and_is_no_longer_than_the_body(
            entries in prop::collection::vec("[ -~]{0,12}", 0..20), places in prop::collection::vec(0_usize..20, 0..200),
        ) {
            let body = serde_json::to_vec(&entries).unwrap();
            let Some(json) = select(&body, &places) else {
                prop_assert!(places.iter().any(|place| *place >= entries.len()));
                return Ok(());
            };
            prop_assert!(json.len() <= body.len());
            let chosen: Vec<_> =
                entries.iter().enumerate().filter(|(i, _)| places.contains(i)).map(|(_, entry)| entry.clone()).collect();
            prop_assert_eq!(serde_json::from_slice::<Vec<String>>(&json).unwrap(), chosen);
        }
    }
}
