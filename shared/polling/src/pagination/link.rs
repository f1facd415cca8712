//! The header `Link` of RFC 8288.

use http::HeaderMap;
use http::header::LINK;

/// Where the link of relation `next` leads; the first, where there are several.
pub(super) fn next(headers: &HeaderMap) -> Option<String> {
    headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).find_map(of_value)
}

/// `<url>; rel="next"; title="a, b", <url>; rel=prev`
fn of_value(mut rest: &str) -> Option<String> {
    while let Some(begin) = rest.find('<') {
        let (target, after) = rest[begin + 1..].split_once('>')?;
        let (parameters, remainder) = split_unquoted(after, ',');
        if is_next(parameters) {
            return Some(target.trim().to_owned());
        }
        rest = remainder;
    }
    None
}

fn is_next(mut parameters: &str) -> bool {
    while !parameters.is_empty() {
        let (parameter, rest) = split_unquoted(parameters, ';');
        if let Some((name, value)) = parameter.split_once('=')
            && name.trim().eq_ignore_ascii_case("rel")
        {
            let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
            return relations.any(|relation| relation.eq_ignore_ascii_case("next"));
        }
        parameters = rest;
    }
    false
}

/// Splits at the first separator outside of quotes.
fn split_unquoted(text: &str, separator: char) -> (&str, &str) {
    let (mut quoted, mut escaped) = (false, false);
    for (place, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if character == separator && !quoted => return (&text[..place], &text[place + 1..]),
            _ => {}
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_next_link_is_found_among_others_however_it_is_written() {
        for (value, expected) in [
            (
                r#"<https://a.example/?page=2>; rel="next", <https://a.example/?page=9>; rel="last""#,
                Some("https://a.example/?page=2"),
            ),
            (
                r#"<https://a.example/?page=1>; rel="prev", <https://a.example/?a=1,2&b=x;y>;rel=next"#,
                Some("https://a.example/?a=1,2&b=x;y"),
            ),
            (r#"</p?c=1>; title="a, <b>; rel=\"x"; REL="first NEXT""#, Some("/p?c=1")),
            (r#"<a>; rel="nextish", <b>; rev="next", <c>; title="rel=next""#, None),
            (r#"<a>; rel="prev"; rel="next""#, None),
            ("", None),
            ("<a", None),
            ("rel=next", None),
        ] {
            assert_eq!(of_value(value).as_deref(), expected, "{value}");
        }
    }

    #[test]
    fn each_of_several_headers_counts() {
        let mut headers = HeaderMap::new();
        headers.append(LINK, "<a>; rel=prev".parse().unwrap());
        headers.append(LINK, "<b>; rel=next".parse().unwrap());
        assert_eq!(next(&headers).as_deref(), Some("b"));
    }

    proptest! {
        #[test]
        fn any_value_is_read(value in "[<>;,=\"\\\\ a-z]{0,40}") {
            let _ = of_value(&value);
        }
    }
}
