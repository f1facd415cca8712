//! Text that comes from callers: made harmless, or fit to be shown in a message.

/// Most characters of a caller's text that a message repeats.
const SHOWN_CHARS: usize = 100;

/// `text` without its HTML tags, their content kept, as the contract asks of names and tags.
///
/// A tag is `<` followed by what begins one (a letter, `/`, `!`, `?`), up to the next `>` or the end; `1 < 2` stays. What
/// is left when a tag is taken out of another one is looked at again, so the result never holds a tag.
pub(crate) fn without_tags(text: &str) -> String {
    let mut text = text.to_owned();
    while let Some(start) = tag(&text) {
        let end = text[start..].find('>').map_or(text.len(), |length| start + length + 1);
        text.replace_range(start..end, "");
    }
    text
}

/// Where the first tag begins.
fn tag(text: &str) -> Option<usize> {
    let begins = |next: u8| next.is_ascii_alphabetic() || matches!(next, b'/' | b'!' | b'?');
    text.as_bytes().windows(2).position(|pair| pair[0] == b'<' && begins(pair[1]))
}

/// The beginning of `text`.
pub(crate) fn start(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The beginning of `text`, quoted.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", start(text))
}

/// A URL as a message may repeat it, quoted: without what could be credentials, without query and fragment. Works on the
/// text, because a URL that cannot be read holds credentials as well as one that can.
pub(crate) fn quoted_url(text: &str) -> String {
    let (hidden, rest) = match text.rsplit_once('@') {
        Some((_, rest)) => ("…@", rest),
        None => ("", text),
    };
    let (rest, cut) = match rest.find(['?', '#']) {
        Some(end) => (&rest[..end], "…"),
        None => (rest, ""),
    };
    format!("\"{hidden}{}{cut}\"", start(rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tags_go_and_their_text_stays() {
        for (given, expected) in [
            ("<b onclick=\"x()\">Acme</b> & Co", "Acme & Co"),
            ("<script>alert(1)</script>", "alert(1)"),
            ("1 < 2 > 0 <3", "1 < 2 > 0 <3"),
            ("a<!-- c -->b<?x?>c", "abc"),
            ("open <img src=x", "open "),
            ("<<b>script>x<<i>/script>", "x"),
            ("<a title=\"<b\">x</a>", "x"),
            ("<", "<"),
        ] {
            assert_eq!(without_tags(given), expected, "{given}");
        }
    }

    #[test]
    fn a_shown_url_holds_no_credentials_and_no_query() {
        assert_eq!(quoted_url("https://me:s3cret@host/path?key=s3cret#x"), "\"…@host/path…\"");
        assert_eq!(quoted_url("htp//me:s3?cret@host"), "\"…@host\"");
        assert_eq!(quoted_url("https://host/a"), "\"https://host/a\"");
    }

    proptest! {
        #[test]
        fn no_tag_survives_and_text_without_one_is_unchanged(text in "[<>/!a-c \"é]{0,60}") {
            let clean = without_tags(&text);
            prop_assert!(tag(&clean).is_none());
            prop_assert_eq!(without_tags(&clean), clean);
        }

        #[test]
        fn what_is_shown_is_short_whatever_was_given(text in ".{0,300}", secret in "[a-z]{12}") {
            prop_assert!(start(&text).chars().count() <= SHOWN_CHARS + 1);
            let url = format!("https://user:{secret}@host/{text}?k={secret}");
            prop_assert!(!quoted_url(&url).contains(&secret) || text.contains(&secret));
        }
    }
}
