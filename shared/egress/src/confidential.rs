//! What a receiver was sent in confidence, taken out of what it answers.
//!
//! Many a receiver that fails answers with the request it got, and the beginning of an answer is kept, shown and logged.
//! So the values of sensitive headers are taken out of it: whole, without their scheme (`Bearer …`), and for Basic
//! authentication the password too. And the URL's query, whole and value by value: it is where those put a token whose
//! sender could not set headers. A path is left in, because it is what a receiver's error is about.
//!
//! *Not promised:* that a receiver cannot tell its own secret in another form, such as escaped or reversed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use url::Url;

/// What stands in the answer instead.
const HIDDEN: &str = "[hidden]";

/// Shorter texts are left in: taking them out would garble every answer, and tell more than it hides.
const SHORTEST: usize = 4;

/// Shorter values of a query are left in, for they are words: `format=json`.
const SHORTEST_IN_QUERY: usize = 8;

/// The secrets of one request, the longest first, so that none is hidden only in part by a shorter one within it.
pub(crate) struct Confidential(Vec<String>);

impl Confidential {
    /// Those of a request's sensitive headers and of its URL. Costs nothing where there are none.
    pub(crate) fn of(headers: &HeaderMap, url: &Url) -> Self {
        let mut secrets = Vec::new();
        if let Some(query) = url.query() {
            let as_sent = query.split('&').filter_map(|pair| pair.split_once('=')).map(|(_, value)| value.to_owned());
            let meant = url.query_pairs().map(|(_, value)| value.into_owned());
            secrets.extend(as_sent.chain(meant).filter(|value| value.len() >= SHORTEST_IN_QUERY));
            secrets.push(query.to_owned());
        }
        for value in headers.values().filter(|value| value.is_sensitive()) {
            // As an excerpt would show it.
            let text = String::from_utf8_lossy(value.as_bytes()).replace('\t', " ");
            if let Some((scheme, rest)) = text.split_once(' ') {
                if scheme.eq_ignore_ascii_case("basic")
                    && let Ok(pair) = STANDARD.decode(rest)
                    && let Some((_, password)) = String::from_utf8_lossy(&pair).split_once(':')
                {
                    secrets.push(password.to_owned());
                }
                secrets.push(rest.to_owned());
            }
            secrets.push(text);
        }
        secrets.retain(|secret| secret.len() >= SHORTEST);
        secrets.sort_unstable_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self(secrets)
    }

    /// `excerpt` without them, nor with the beginning of one at its end, where it may have been cut.
    pub(crate) fn hide(&self, mut excerpt: String) -> String {
        for secret in &self.0 {
            let cut = (SHORTEST..secret.len()).rev().find(|n| secret.get(..*n).is_some_and(|s| excerpt.ends_with(s)));
            if let Some(cut) = cut {
                excerpt.truncate(excerpt.len() - cut);
            }
            if excerpt.contains(secret) {
                excerpt = excerpt.replace(secret, HIDDEN);
            }
        }
        excerpt
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[&str]) -> Confidential {
        let mut headers = HeaderMap::new();
        headers.insert("x-open", HeaderValue::from_static("open-value"));
        for value in values {
            let mut value = HeaderValue::from_str(value).unwrap();
            value.set_sensitive(true);
            headers.append(HeaderName::from_static("x-secret"), value);
        }
        Confidential::of(&headers, &"https://app.example/a-long-path".parse().unwrap())
    }

    #[test]
    fn a_request_that_is_answered_with_is_kept_without_its_secrets() {
        let basic = format!("Basic {}", STANDARD.encode("ann:hunter2"));
        let confidential = of(&[&basic, "Bearer tok-123", "plain-secret"]);
        let answer = format!("x-open: open-value {basic} tok-123 ann's hunter2 is wrong, plain-secret too");
        let expected = "x-open: open-value [hidden] [hidden] ann's [hidden] is wrong, [hidden] too";
        assert_eq!(confidential.hide(answer), expected);
        assert_eq!(confidential.hide("cut in plain-sec".into()), "cut in ");
    }

    #[test]
    fn an_answer_without_secrets_stays_as_it_is() {
        assert_eq!(of(&["abc", ""]).hide("abc open-value".into()), "abc open-value");
        assert_eq!(of(&[]).hide("open-value".into()), "open-value");
    }

    #[test]
    fn a_query_is_hidden_whole_and_by_its_values_and_a_path_is_not() {
        let url = "https://app.example/a-long-path?format=json&token=a%2Bb%2Bsecret&flag".parse().unwrap();
        let confidential = Confidential::of(&HeaderMap::new(), &url);
        for (answer, kept) in [
            (
                "no route POST /a-long-path?format=json&token=a%2Bb%2Bsecret&flag here",
                "no route POST /a-long-path?[hidden] here",
            ),
            ("a+b+secret is not known", "[hidden] is not known"),
            ("{\"token\":\"a%2Bb%2Bsecret\"}", "{\"token\":\"[hidden]\"}"),
            ("the format is not json", "the format is not json"),
        ] {
            assert_eq!(confidential.hide(answer.into()), kept);
        }
    }

    proptest! {
        #[test]
        fn no_secret_of_a_header_is_left_wherever_it_stands(
            secrets in proptest::collection::vec("[a-d]{4,9}", 1..4),
            before in "[a-d .]{0,9}",
            after in "[a-d .]{0,9}",
        ) {
            let values: Vec<_> = secrets.iter().map(String::as_str).collect();
            let hidden = of(&values).hide(format!("{before}{}{after}", secrets.concat()));
            for secret in &secrets {
                prop_assert!(!hidden.contains(secret.as_str()), "{}", hidden);
            }
        }
    }
}
