//! Where an instance's credentials may go.
//!
//! *Promise:* pure, and strict: the same scheme, host and port, or not at all. A provider's answer may name any URL as its
//! next page, or redirect to any; whatever it names, the credentials stay at home. So does the whole request: to ask a
//! stranger without them would only get a stranger's answer.

use std::fmt;

use url::{Origin, Url};

/// A place that an instance's credentials may be sent to: a scheme, a host and a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Home(Origin);

impl Home {
    /// The home of a connector whose base URL is `base`; `None` where that is no URL of HTTP.
    #[must_use]
    pub fn of(base: &Url) -> Option<Self> {
        is_web(base).then(|| Self(base.origin()))
    }

    /// Whether `url` is at home. One that names a user never is: that would be credentials of its author's.
    #[must_use]
    pub fn holds(&self, url: &Url) -> bool {
        // The origin of `blob:https://…` is that of what follows.
        is_web(url) && url.origin() == self.0 && url.username().is_empty() && url.password().is_none()
    }
}

fn is_web(url: &Url) -> bool {
    matches!(url.scheme(), "https" | "http") && url.has_host()
}

/// `https://api.example.com`
impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.ascii_serialization())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn home(base: &str) -> Home {
        Home::of(&base.parse().unwrap()).unwrap()
    }

    #[test]
    fn only_the_same_scheme_host_and_port_are_home_however_the_rest_is_written() {
        let home = home("https://api.example.com/v3");
        for at_home in ["https://api.example.com", "https://API.example.com:443/other?x=@evil.test#f"] {
            assert!(home.holds(&at_home.parse().unwrap()), "{at_home}");
        }
        for elsewhere in [
            "http://api.example.com/",
            "https://api.example.com:8443/",
            "https://api.example.com./",
            "https://example.com/",
            "https://api.example.com.evil.test/",
            "https://evil.test/api.example.com",
            "https://api.example.com@evil.test/",
            r"https://evil.test\@api.example.com/",
            "https://user@api.example.com/",
            "https://:password@api.example.com/",
            "wss://api.example.com/",
            "data:text/plain,api.example.com",
            "blob:https://api.example.com/x",
        ] {
            assert!(!home.holds(&elsewhere.parse().unwrap()), "{elsewhere}");
        }
        for none in ["data:text/plain,x", "ftp://api.example.com/", "file:///etc/passwd"] {
            assert_eq!(Home::of(&none.parse().unwrap()), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn what_is_at_home_has_its_scheme_host_and_port(
            scheme in "https?|HTTPS",
            host in "(a|b)\\.(test|example)",
            port in proptest::option::of(prop_oneof![Just(80_u16), Just(443), Just(8080)]),
            user in prop_oneof![4 => Just(""), 1 => Just("a.test@"), 1 => Just("a.test:443@")],
            rest in "[/?#@:a-z.\\\\]{0,12}",
        ) {
            let port = port.map(|port| format!(":{port}")).unwrap_or_default();
            let Ok(url) = format!("{scheme}://{user}{host}{port}{rest}").parse::<Url>() else { return Ok(()) };
            for base in ["https://a.test/base", "http://a.test", "https://a.test:8080"] {
                let base: Url = base.parse().unwrap();
                let parts = |url: &Url| (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default());
                let same = parts(&base) == parts(&url) && url.username().is_empty() && url.password().is_none();
                prop_assert_eq!(home(base.as_str()).holds(&url), same, "{} at {}", url, base);
            }
        }
    }
}
