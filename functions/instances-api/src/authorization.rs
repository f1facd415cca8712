//! Who calls, and which instance is meant.
//!
//! | `Authorization` | reaches |
//! |---|---|
//! | `User <secret>, Organization <secret>` | everything of the account |
//! | `User <secret>, Element <token>` | the token's instance, and what is no account's (the connectors) |
//! | all three | everything of the account; a path without an id means the token's instance |
//!
//! Order and case of the words do not count. All keys must belong to one account; a token's instance that is deleted is
//! 401, as the contract has it. Where the organisation's secret is missing, any other instance is answered like none.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path};
use events::InstanceId;
use http::header::AUTHORIZATION;
use http::request::Parts;
use platform::Platform;
use records::accounts::{self, Account, Holder, Keys};

use crate::Api;
use crate::answer::Problem;
use crate::resource::element_id;

/// The path parameters that name an instance, and the connector that it must be of.
const INSTANCE: &str = "id";
const ELEMENT: &str = "element";

/// Whoever the request's keys belong to.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) account: Account,
    /// The instance whose token is among the keys.
    pub(crate) token_of: Option<InstanceId>,
    /// Whether the organisation's secret is among the keys: without it the token's instance alone is reached.
    pub(crate) whole_account: bool,
}

impl<P: Platform> FromRequestParts<Arc<Api<P>>> for Identity {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api<P>>) -> Result<Self, Problem> {
        let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
        let (Some(header), None) = (headers.next(), headers.next()) else { return Err(Problem::Unauthorized) };
        let keys = header.to_str().ok().and_then(read).ok_or(Problem::Unauthorized)?;
        let holder = accounts::authenticate(&*api.platform, keys).await?;
        let Holder { account, instance } = holder.ok_or(Problem::Unauthorized)?;
        Ok(Self { account, token_of: instance, whole_account: keys.organization.is_some() })
    }
}

/// The account, for what concerns all of it: the organisation's secret must be among the keys.
#[derive(Debug)]
pub(crate) struct Caller(pub(crate) Account);

impl<P: Platform> FromRequestParts<Arc<Api<P>>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api<P>>) -> Result<Self, Problem> {
        let identity = Identity::from_request_parts(parts, api).await?;
        if identity.whole_account { Ok(Self(identity.account)) } else { Err(Problem::Unauthorized) }
    }
}

/// The instance that is meant: the path's, or the token's where the path names none. Whether the path's is there, and the
/// account's, is for the handler to find out.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) account: Account,
    pub(crate) id: InstanceId,
    by_token: bool,
    /// The connector's key or number, where the path names one.
    element: Option<String>,
}

impl Target {
    /// The instance that `identity`'s token names.
    pub(crate) fn of_token(identity: Identity) -> Result<Self, Problem> {
        let id = identity.token_of.ok_or(Problem::NoToken)?;
        Ok(Self { account: identity.account, id, by_token: true, element: None })
    }

    /// Whether the instance, whose connector is `key`, is one that the path's connector has.
    pub(crate) fn is_of(&self, key: &str) -> bool {
        self.element.as_deref().is_none_or(|element| element == key || element == element_id(key).to_string())
    }

    /// What is answered when the instance is not there.
    pub(crate) fn absent(&self) -> Problem {
        // It was deleted since the token was looked up.
        if self.by_token { Problem::Unauthorized } else { Problem::NoSuch("instance") }
    }
}

impl<P: Platform> FromRequestParts<Arc<Api<P>>> for Target {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Arc<Api<P>>) -> Result<Self, Problem> {
        let identity = Identity::from_request_parts(parts, api).await?;
        let parameters = Path::<HashMap<String, String>>::from_request_parts(parts, api).await;
        let Path(mut parameters) = parameters.map_err(|_| Problem::NoSuch("instance"))?;
        let Some(text) = parameters.get(INSTANCE) else { return Self::of_token(identity) };
        // What is not a number is no instance's.
        let id = text.parse().map_err(|_| Problem::NoSuch("instance"))?;
        if !identity.whole_account && identity.token_of != Some(id) {
            return Err(Problem::NoSuch("instance"));
        }
        Ok(Self { account: identity.account, id, by_token: false, element: parameters.remove(ELEMENT) })
    }
}

/// Reads a header: its parts in any order, each at most once.
fn read(header: &str) -> Option<Keys<'_>> {
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
    let keys = Keys { user: user?, organization, element };
    (keys.organization.is_some() || keys.element.is_some()).then_some(keys)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(header: &str) -> Option<(&str, Option<&str>, Option<&str>)> {
        read(header).map(|keys| (keys.user, keys.organization, keys.element))
    }

    #[test]
    fn parts_come_in_any_order_and_case() {
        for (header, organization, element) in [
            ("User abc+/=, Organization 0f", Some("0f"), None),
            ("Organization 0f,User abc+/=", Some("0f"), None),
            ("user  abc+/= ,ORGANIZATION 0f", Some("0f"), None),
            ("Element tok=, User abc+/=", None, Some("tok=")),
            ("User abc+/=, eLEMENT tok=", None, Some("tok=")),
            ("Element tok=, User abc+/=, Organization 0f", Some("0f"), Some("tok=")),
        ] {
            assert_eq!(words(header), Some(("abc+/=", organization, element)), "{header}");
        }
    }

    #[test]
    fn other_headers_are_nobodys() {
        for header in [
            "",
            "User abc",
            "Organization 0f",
            "Element tok=",
            "Element tok=, Organization 0f",
            "User abc, User abc, Organization 0f",
            "User abc, Element a, Element b",
            "User a b, Organization 0f",
            "Bearer abc",
            "User abc, Organization 0f,",
            "User, Organization 0f",
            "User abc Organization 0f",
        ] {
            assert_eq!(words(header), None, "{header}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_or_refused(header in ".{0,100}", words in "((User|Organization|Element) ?[a-z]*,? ?){0,4}") {
            let _ = read(&header);
            let _ = read(&words);
        }

        #[test]
        fn any_order_of_the_parts_says_the_same(
            parts in Just(["User a", "Organization b", "Element c"]).prop_shuffle(),
            spaces in " {0,3}",
        ) {
            let header = parts.join(&format!(",{spaces}"));
            prop_assert_eq!(super::tests::words(&header), Some(("a", Some("b"), Some("c"))));
        }
    }
}
