//! Asking a provider for tokens: the same client, a form of secrets.
//!
//! *Promise:* as of a [fetch](crate::fetch): the form goes to the [`Home`] of its URL and nowhere else, under the address
//! policy. No error and no `Debug` text holds a field of it, or anything of the answer.
//!
//! *Failure:* a token that is shown may be spent by it, so [`NoAnswer`] says whether the provider may have been shown it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;
use url::form_urlencoded::Serializer;

use crate::client::Client;
use crate::failure::{Failure, Stage};
use crate::fetch::{FetchFailure, FetchRequest, Fetched, Secret};
use crate::home::Home;

const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// A form to post.
pub struct ExchangeRequest {
    /// Where to.
    pub url: Url,
    /// The fields.
    pub form: Vec<(&'static str, SecretString)>,
    /// User and password of basic authentication.
    pub basic: Option<(SecretString, SecretString)>,
    /// Whether the operator chose where that is: then it may be at any address.
    pub chosen: bool,
}

/// Only the host: the rest is secret.
impl fmt::Debug for ExchangeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExchangeRequest").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// The provider has seen nothing.
    #[error("{0}")]
    Unsent(String),
    /// The provider may have seen all of it.
    #[error("{0}")]
    Unclear(String),
    /// We could not even try.
    #[error("our own failure: {0}")]
    Ours(String),
}

impl From<FetchFailure> for NoAnswer {
    fn from(failure: FetchFailure) -> Self {
        let text = failure.to_string();
        match failure {
            FetchFailure::Failed(Failure::Ours(reason)) => Self::Ours(reason),
            FetchFailure::Failed(
                Failure::Refused(_)
                | Failure::Resolve { .. }
                | Failure::Connect(_)
                | Failure::Tls(_)
                | Failure::Timeout { during: Stage::Connecting, .. },
            ) => Self::Unsent(text),
            FetchFailure::Failed(Failure::Timeout { during: Stage::Answering, .. } | Failure::Protocol(_))
            | FetchFailure::Elsewhere { .. }
            | FetchFailure::Redirects
            | FetchFailure::TooLarge(_) => Self::Unclear(text),
        }
    }
}

/// Whoever can ask for tokens: the [`Client`], and what tests put in its place.
pub trait Exchange: Send + Sync + 'static {
    /// Posts the form. Any status is an answer.
    ///
    /// # Errors
    /// [`NoAnswer`].
    fn exchange(&self, request: ExchangeRequest) -> impl Future<Output = Result<Fetched, NoAnswer>> + Send;
}

/// An exchange under way.
pub type Exchanging<'a> = Pin<Box<dyn Future<Output = Result<Fetched, NoAnswer>> + Send + 'a>>;

/// [`Exchange`] for those who must not care who asks: whoever can ask can be one.
pub trait Exchanges: Send + Sync + 'static {
    /// As [`Exchange::exchange`].
    fn ask(&self, request: ExchangeRequest) -> Exchanging<'_>;
}

impl<C: Exchange> Exchanges for C {
    fn ask(&self, request: ExchangeRequest) -> Exchanging<'_> {
        Box::pin(self.exchange(request))
    }
}

impl Exchange for Client {
    async fn exchange(&self, request: ExchangeRequest) -> Result<Fetched, NoAnswer> {
        let ExchangeRequest { url, form, basic, chosen } = request;
        let home = Home::of(&url).ok_or_else(|| NoAnswer::Unsent("the URL is not one of HTTP".into()))?;
        let secret = match basic {
            Some((user, password)) => {
                let pair = STANDARD.encode(format!("{}:{}", user.expose_secret(), password.expose_secret()));
                let value = HeaderValue::try_from(format!("Basic {pair}"));
                // Base64 is always header text.
                value.ok().map(|value| Secret::Header(AUTHORIZATION, value))
            }
            None => None,
        };
        let pairs = form.iter().map(|(name, value)| (*name, value.expose_secret()));
        let body = Serializer::new(String::new()).extend_pairs(pairs).finish().into();
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, FORM)]);
        let request = FetchRequest { method: Method::POST, url, home, headers, body, secret, chosen };
        Ok(self.fetch(&request).await?)
    }
}
