//! Who calls: `Authorization: User <secret>, Organization <secret>`.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::header::AUTHORIZATION;
use http::request::Parts;
use platform::Platform;
use records::accounts::{self, Account};

use crate::Api;
use crate::answer::Problem;

/// The account that both keys of the request belong to.
#[derive(Debug)]
pub(crate) struct Caller(pub(crate) Account);

impl<P: Platform> FromRequestParts<Arc<Api<P>>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api<P>>) -> Result<Self, Problem> {
        let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
        let (Some(header), None) = (headers.next(), headers.next()) else { return Err(Problem::Unauthorized) };
        let keys = header.to_str().ok().and_then(Keys::read).ok_or(Problem::Unauthorized)?;
        let account = accounts::authenticate(&*api.platform, keys.user, keys.organization).await?;
        account.map(Self).ok_or(Problem::Unauthorized)
    }
}

/// The keys of a header. Without `Debug`: they are secrets.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Keys<'a> {
    user: &'a str,
    organization: &'a str,
}

impl<'a> Keys<'a> {
    /// Reads a header: its parts in any order, each at most once. The `Element` part, an instance's token, is allowed
    /// beside the others, as the contract has it, and says nothing: every path names its instance.
    fn read(header: &'a str) -> Option<Self> {
        let (mut user, mut organization, mut element) = (None, None, None);
        for part in header.split(',') {
            let (word, secret) = part.trim().split_once(char::is_whitespace)?;
            let place = match () {
                () if word.eq_ignore_ascii_case("user") => &mut user,
                () if word.eq_ignore_ascii_case("organization") => &mut organization,
                () if word.eq_ignore_ascii_case("element") => &mut element,
                () => return None,
            };
            let secret = secret.trim_start();
            if secret.contains(char::is_whitespace) || place.replace(secret).is_some() {
                return None;
            }
        }
        Some(Self { user: user?, organization: organization? })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(header: &str) -> Option<(&str, &str)> {
        Keys::read(header).map(|keys| (keys.user, keys.organization))
    }

    #[test]
    fn parts_come_in_any_order_and_case_with_or_without_an_element() {
        for header in [
            "User abc+/=, Organization 0f",
            "Organization 0f,User abc+/=",
            "user  abc+/= ,ORGANIZATION 0f",
            "Element tok=, User abc+/=, Organization 0f",
        ] {
            assert_eq!(read(header), Some(("abc+/=", "0f")), "{header}");
        }
    }

    #[test]
    fn other_headers_are_nobodys() {
        for header in [
            "",
            "User abc",
            "Organization 0f",
            "User abc, Element 0f",
            "User abc, User abc, Organization 0f",
            "User a b, Organization 0f",
            "Bearer abc",
            "User abc, Organization 0f,",
            "User, Organization 0f",
            "User abc Organization 0f",
        ] {
            assert_eq!(read(header), None, "{header}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_refused(header in ".{0,100}", words in "((User|Organization|Element) ?[a-z]*,? ?){0,4}") {
            let _ = read(&header);
            let _ = read(&words);
        }
    }
}
