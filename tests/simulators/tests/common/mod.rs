//! A plain client, for what the providers' libraries do not reach.

#![allow(dead_code, reason = "no test binary needs all of it")]

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::Value;

/// A point in time, as RFC 3339 writes it.
#[must_use]
pub(crate) fn at(text: &str) -> events::Timestamp {
    events::Timestamp::parse_rfc3339(text).unwrap()
}

/// One answer, read whole.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Reply {
    /// The body.
    #[must_use]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The body of a success.
    #[must_use]
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()
    }

    /// A header's text.
    #[must_use]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// A client of a simulator, and its token.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    client: reqwest::Client,
    url: String,
    pub(crate) token: String,
}

impl Caller {
    #[must_use]
    pub(crate) fn new(url: &str, token: &str) -> Self {
        egress::crypto::provide();
        let redirects = reqwest::redirect::Policy::none();
        let client =
            reqwest::Client::builder().timeout(Duration::from_secs(60)).no_proxy().redirect(redirects).build().unwrap();
        Self { client, url: url.to_owned(), token: token.to_owned() }
    }

    /// A path's URL; a whole URL is taken as it is.
    fn at(&self, path: &str) -> String {
        if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.url) }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Reply, reqwest::Error> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Reply { status, headers, body: response.bytes().await? })
    }

    /// GET, or why there was no answer.
    pub(crate) async fn try_get(&self, path: &str) -> Result<Reply, reqwest::Error> {
        self.send(self.client.get(self.at(path)).header("authorization", format!("Bearer {}", self.token))).await
    }

    /// GET.
    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.try_get(path).await.unwrap()
    }

    /// GET of a path and a query that is still to be encoded.
    pub(crate) async fn ask(&self, path: &str, query: &[(&str, &str)]) -> Reply {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        self.get(&format!("{path}?{query}")).await
    }

    /// GET with one more header.
    pub(crate) async fn get_with(&self, path: &str, name: &str, value: &str) -> Reply {
        let request = self.client.get(self.at(path)).header("authorization", format!("Bearer {}", self.token));
        self.send(request.header(name, value)).await.unwrap()
    }

    /// POST of JSON.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Reply {
        let request = self.client.post(self.at(path)).header("authorization", format!("Bearer {}", self.token));
        self.send(request.header("content-type", "application/json").body(body.to_string())).await.unwrap()
    }

    /// POST of a form without a token.
    pub(crate) async fn form(&self, path: &str, form: &[(&str, &str)]) -> Result<Reply, reqwest::Error> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.client.post(self.at(path)).header("content-type", "application/x-www-form-urlencoded");
        self.send(request.body(body)).await
    }

    /// A token request of the app.
    pub(crate) async fn token(&self, path: &str, form: &[(&str, &str)]) -> Reply {
        let app = [("client_id", "client-id"), ("client_secret", "client-secret")];
        self.form(path, &[&app, form].concat()).await.unwrap()
    }

    /// A token request of the app, which says who it is by HTTP Basic.
    pub(crate) async fn basic(&self, path: &str, form: &[(&str, &str)]) -> Reply {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.client.post(self.at(path)).basic_auth("client-id", Some("client-secret"));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        self.send(request).await.unwrap()
    }
}
