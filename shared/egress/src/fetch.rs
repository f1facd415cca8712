//! Asking a provider: the same client, another trust.
//!
//! *Promise:* an instance's credentials travel to its [`Home`] and nowhere else, whatever a page or a redirect says: a
//! request that is not for there is not sent at all. What the address policy refuses to callbacks it refuses here, at every
//! redirect anew; but for a home that the operator chose, which may be at any address. All of a fetch, redirects and the whole body, ends within [`Limits::total`](crate::Limits), and what is
//! kept of it is at most [`Limits::body_cap`](crate::Limits) bytes. No error and no `Debug` text holds a path, a query or
//! a credential.
//!
//! *What is returned.* Any status is a [`Fetched`] answer, with its whole body: judging it is the poller's. A body that is
//! too large, too slow or cut short is a failure, for a part of a page is no page.
//!
//! *Redirects* are followed at home alone, and only where the request stays the same: a GET's, and a POST's by 307 and 308
//! (RFC 9110, section 15.4). Any other is an answer, or, where it leads elsewhere, [`FetchFailure::Elsewhere`].
//!
//! *Not promised:* that a provider was not asked twice; fetches only read.

use std::fmt;

use bytes::Bytes;
use http::header::{ACCEPT, HeaderName, LOCATION};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::client::{Client, sendable};
use crate::failure::{Failure, Stage, classify};
use crate::home::Home;
use crate::policy::Policy;

/// Redirects that are followed: from a path to the same with a slash, and once more.
const REDIRECTS: usize = 3;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A request to a provider.
pub struct FetchRequest {
    /// GET or POST.
    pub method: Method,
    /// The whole URL, without the secret.
    pub url: Url,
    /// Where the secret may go, and so the request.
    pub home: Home,
    /// Sent as given, but for those that [`CallbackRequest::headers`](crate::CallbackRequest::headers) leaves out too.
    pub headers: HeaderMap,
    /// Sent as given.
    pub body: Bytes,
    /// What says whose request it is.
    pub secret: Option<Secret>,
    /// Whether the operator chose its [home](Self::home): then it may be at any address.
    pub chosen: bool,
}

/// What says whose request it is, and its place. Cannot be printed.
#[derive(Clone)]
pub enum Secret {
    /// The value of a header.
    Header(HeaderName, HeaderValue),
    /// The value of a parameter of the query.
    Query(String, SecretString),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name, _) => write!(f, "Secret({name})"),
            Self::Query(name, _) => write!(f, "Secret({name})"),
        }
    }
}

/// Only the home and sizes: the rest may hold secrets.
impl fmt::Debug for FetchRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FetchRequest")
            .field("method", &self.method)
            .field("home", &self.home.to_string())
            .field("headers", &self.headers.len())
            .field("body_bytes", &self.body.len())
            .finish()
    }
}

/// A provider's answer, whole.
#[derive(Clone)]
pub struct Fetched {
    /// The status code, of whatever class.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body: the customer's data.
    pub body: Bytes,
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fetched({}, {} bytes)", self.status, self.body.len())
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchFailure {
    /// As of a callback.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The page, or a redirect, is elsewhere. Nothing was sent there.
    #[error("it is at {to}, not at {home}; credentials are not sent there")]
    Elsewhere {
        /// Where that is, without path and query.
        to: String,
        /// Where the request was to go.
        home: String,
    },
    /// It redirects on and on.
    #[error("it redirects more than {REDIRECTS} times")]
    Redirects,
    /// More bytes than are read.
    #[error("the answer has more than {0} bytes; ask for smaller pages")]
    TooLarge(usize),
}

impl From<crate::Refusal> for FetchFailure {
    fn from(refusal: crate::Refusal) -> Self {
        Self::Failed(refusal.into())
    }
}

impl Client {
    /// Asks a provider, and reads its answer whole.
    ///
    /// # Errors
    /// [`FetchFailure`].
    pub async fn fetch(&self, request: &FetchRequest) -> Result<Fetched, FetchFailure> {
        let start = Instant::now();
        let mut url = request.url.clone();
        for _ in 0..=REDIRECTS {
            if !request.home.holds(&url) {
                return Err(elsewhere(&request.home, &url));
            }
            let answer = self.ask(request, &url, start).await?;
            match redirected(&request.method, &answer, &url) {
                Some(next) => url = next,
                None => return self.whole(answer, start).await,
            }
        }
        Err(FetchFailure::Redirects)
    }

    async fn ask(&self, request: &FetchRequest, url: &Url, start: Instant) -> Result<reqwest::Response, FetchFailure> {
        let route = if request.chosen { Policy::vet_chosen(url)? } else { self.policy().vet_fetch(url)? };
        let client = self.inner(route)?;
        let mut headers = sendable(request.headers.clone());
        headers.entry(ACCEPT).or_insert(JSON);
        let mut url = url.clone();
        match &request.secret {
            Some(Secret::Header(name, value)) => {
                let mut value = value.clone();
                value.set_sensitive(true);
                headers.insert(name, value);
            }
            Some(Secret::Query(name, value)) => set_parameter(&mut url, name, value),
            None => {}
        }
        let mut ask = reqwest::Request::new(request.method.clone(), url);
        *ask.headers_mut() = headers;
        if !request.body.is_empty() {
            *ask.body_mut() = Some(request.body.clone().into());
        }
        match timeout_at(start + self.limits().total, client.execute(ask)).await {
            Ok(answer) => answer.map_err(|error| classify(error, start.elapsed()).into()),
            Err(_) => Err(self.late()),
        }
    }

    async fn whole(&self, mut answer: reqwest::Response, start: Instant) -> Result<Fetched, FetchFailure> {
        let cap = self.limits().body_cap;
        // What is announced is refused before it is read.
        let announced = answer.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        if announced > cap {
            return Err(FetchFailure::TooLarge(cap));
        }
        let (status, headers) = (answer.status(), std::mem::take(answer.headers_mut()));
        let mut body = Vec::with_capacity(announced);
        let reading = async {
            while let Some(chunk) = answer.chunk().await.map_err(|error| classify(error, start.elapsed()))? {
                if body.len() + chunk.len() > cap {
                    return Err(FetchFailure::TooLarge(cap));
                }
                body.extend_from_slice(&chunk);
            }
            Ok(())
        };
        timeout_at(start + self.limits().total, reading).await.map_err(|_| self.late())??;
        Ok(Fetched { status, headers, body: body.into() })
    }

    fn late(&self) -> FetchFailure {
        Failure::Timeout { during: Stage::Answering, after: self.limits().total }.into()
    }
}

fn elsewhere(home: &Home, url: &Url) -> FetchFailure {
    FetchFailure::Elsewhere { to: url.origin().ascii_serialization(), home: home.to_string() }
}

/// Where an answer leads that is to be followed.
fn redirected(method: &Method, answer: &reqwest::Response, from: &Url) -> Option<Url> {
    let followed = match answer.status().as_u16() {
        307 | 308 => true,
        301..=303 => method == Method::GET,
        _ => false,
    };
    let to = answer.headers().get(LOCATION).filter(|_| followed)?.to_str().ok()?;
    let mut to = from.join(to).ok()?;
    to.set_fragment(None);
    Some(to)
}

/// Sets a parameter of a URL's query; a value that an answer repeated is replaced.
fn set_parameter(url: &mut Url, name: &str, value: &SecretString) {
    let pair = url::form_urlencoded::Serializer::new(String::new()).append_pair(name, value.expose_secret()).finish();
    let others = url.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let is_it = |pair: &&str| url::form_urlencoded::parse(pair.as_bytes()).any(|(key, _)| key == name);
    let pairs: Vec<&str> = others.filter(|pair| !is_it(pair)).chain([pair.as_str()]).collect();
    let query = pairs.join("&");
    url.set_query(Some(&query));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with(url: &str, name: &str, value: &str) -> Url {
        let mut url: Url = url.parse().unwrap();
        set_parameter(&mut url, name, &value.into());
        url
    }

    #[test]
    fn a_secret_stands_once_in_a_query_whose_other_parameters_stay_as_they_are_written() {
        for (url, expected) in [
            ("https://a.test/x", "https://a.test/x?key=s%2F1"),
            ("https://a.test/x?a=%20b&c", "https://a.test/x?a=%20b&c&key=s%2F1"),
            ("https://a.test/x?key=old&a=1&k%65y=older", "https://a.test/x?a=1&key=s%2F1"),
        ] {
            assert_eq!(with(url, "key", "s/1").as_str(), expected);
        }
    }

    #[test]
    fn nothing_secret_is_printed() {
        let secrets = [
            Secret::Header(ACCEPT, HeaderValue::from_static("hunter2")),
            Secret::Query("key".into(), SecretString::from("hunter2")),
        ];
        for secret in secrets {
            let url: Url = "https://a.test/hunter2?hunter2".parse().unwrap();
            let home = Home::of(&url).unwrap();
            let body = Bytes::from_static(b"hunter2");
            let (method, headers) = (Method::GET, HeaderMap::new());
            let secret_too = Some(secret.clone());
            let request =
                FetchRequest { method, url, home, headers, body: body.clone(), secret: secret_too, chosen: false };
            let fetched = Fetched { status: StatusCode::OK, headers: HeaderMap::new(), body };
            assert!(!format!("{secret:?} {request:?} {fetched:?}").contains("hunter2"));
        }
    }

    proptest! {
        #[test]
        fn a_secret_is_read_as_it_was_set_and_once(
            url in "https://a\\.test/[a-z]{0,3}(\\?[a-c=&%2]{0,9})?",
            name in "[a-c]{1,2}",
            value in "[ -~é]{1,9}",
        ) {
            let url = with(&url, &name, &value);
            let read: Vec<String> =
                url.query_pairs().filter(|(key, _)| *key == name).map(|(_, value)| value.into_owned()).collect();
            prop_assert_eq!(read, [value.as_str()]);
            let again = with(url.as_str(), &name, &value);
            prop_assert_eq!(again, url);
        }
    }
}
