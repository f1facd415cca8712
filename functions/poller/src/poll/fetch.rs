//! How a provider is asked.

use std::future::Future;

use bytes::Bytes;
use egress::exchange::{Exchange, ExchangeRequest, NoAnswer};
use egress::fetch::{FetchFailure, FetchRequest, Fetched, Secret};
use egress::{Client, Failure, Home};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use polling::definition::Method;
use polling::oauth::TokenRequest;
use polling::request::{Credential, Request};
use serde_json::Value;
use url::Url;

use super::Trouble;

/// A provider's answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, where it is JSON.
    pub body: Option<Value>,
    /// The body's length.
    pub bytes: usize,
}

/// Whoever can ask a provider: the only way out, the house's HTTP client, and what tests put in its place.
pub trait Fetch: Send + Sync {
    /// Asks. The credential goes to the [base](Request::base) of the request and nowhere else.
    ///
    /// # Errors
    /// Why there is no answer.
    fn fetch(
        &self,
        request: &Request,
        credential: Option<&Credential>,
    ) -> impl Future<Output = Result<Answer, Trouble>> + Send;

    /// Asks for tokens. The form goes to its URL and nowhere else.
    ///
    /// # Errors
    /// Why there is no answer, and whether the provider may have seen the form.
    fn exchange(&self, request: &TokenRequest) -> impl Future<Output = Result<Answer, NoAnswer>> + Send;
}

impl Fetch for Client {
    async fn fetch(&self, request: &Request, credential: Option<&Credential>) -> Result<Answer, Trouble> {
        let fetched = Self::fetch(self, &outgoing(request, credential)?).await.map_err(|failure| match failure {
            FetchFailure::Failed(Failure::Ours(reason)) => Trouble::Ours(reason),
            FetchFailure::Failed(Failure::Refused(refusal)) => Trouble::Configuration(refusal.to_string()),
            other => Trouble::Theirs(other.to_string()),
        })?;
        Ok(fetched.into())
    }

    async fn exchange(&self, request: &TokenRequest) -> Result<Answer, NoAnswer> {
        let TokenRequest { url, form, basic, chosen } = request.clone();
        let url = Url::parse(&url).map_err(|_| NoAnswer::Unsent("where tokens come from is no URL".into()))?;
        Exchange::exchange(self, ExchangeRequest { url, form, basic, chosen }).await.map(Answer::from)
    }
}

impl From<Fetched> for Answer {
    fn from(fetched: Fetched) -> Self {
        let body = serde_json::from_slice(&fetched.body).ok();
        Self { status: fetched.status, headers: fetched.headers, body, bytes: fetched.body.len() }
    }
}

/// A planned request as it is sent.
fn outgoing(request: &Request, credential: Option<&Credential>) -> Result<FetchRequest, Trouble> {
    let parse = |url: &str| Url::parse(url).map_err(|_| Trouble::Configuration("what is to be asked is no URL".into()));
    let url = parse(&request.url)?;
    // What begins as the base does, up to a path or a query, is where the base is.
    let rest = request.url.strip_prefix(&request.base);
    let at_base = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']));
    let home = if at_base { Home::of(&url) } else { Home::of(&parse(&request.base)?) };
    let home = home.ok_or_else(|| Trouble::Configuration("the base URL is not one of HTTP".into()))?;
    let headers = request.headers.iter().map(|(name, value)| header(name, value)).collect::<Result<HeaderMap, _>>()?;
    let secret = match credential {
        Some(Credential::Header(name, value)) => {
            header(name, value).map(|(name, value)| Secret::Header(name, value)).map(Some)?
        }
        Some(Credential::Query(name, value)) => Some(Secret::Query(name.clone(), value.as_str().into())),
        None => None,
    };
    let method = match request.method {
        Method::Get => http::Method::GET,
        Method::Post => http::Method::POST,
    };
    let body = request.body.as_ref().map(|body| Bytes::from(body.to_string())).unwrap_or_default();
    let chosen = request.chosen;
    Ok(FetchRequest { method, url, home, headers, body, secret, chosen })
}

/// A header; what cannot stand in one is not repeated: it may be a secret.
fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Trouble> {
    let unsendable = || Trouble::Configuration(format!("the value of the header {name} cannot stand in one"));
    let value = HeaderValue::try_from(value).map_err(|_| unsendable())?;
    Ok((HeaderName::try_from(name).map_err(|_| unsendable())?, value))
}
