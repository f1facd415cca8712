//! What plays the customer and the providers: an ordinary HTTP client, towards our own server.
//!
//! Not [`egress::Client`]: that one exists to be pointed at strangers' URLs, follows rules made for callbacks, and keeps
//! no more of an answer than an excerpt.

use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue, Method};
use connectors::{Connector, Outgoing};
use events::InstanceId;
use platform::{Clock as _, SystemClock};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::demo::DemoError;
use crate::demo::reply::Answered;

/// Longer than any request to a server on the same machine takes, shorter than the demo.
const DEADLINE: Duration = Duration::from_secs(10);

/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(10);

/// The client.
pub(crate) struct Provider {
    http: reqwest::Client,
    public_url: String,
    authorization: SecretString,
}

/// Whether a webhook is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Signing {
    /// With the app's secret, as the provider does it.
    Right,
    /// With another secret.
    Wrong,
    /// Not at all.
    None,
}

/// A webhook to post.
#[derive(Clone, Debug)]
pub(crate) struct Webhook<'c> {
    /// Whose.
    pub(crate) connector: &'c Connector,
    /// How: POST, or GET.
    pub(crate) method: Method,
    /// The query beside the secret, without its `?`.
    pub(crate) query: String,
    /// The delivery's id, where the provider sends one.
    pub(crate) id: String,
    /// Headers beside the signature.
    pub(crate) headers: HeaderMap,
    /// The body.
    pub(crate) body: String,
    /// The secret, where it is not the demo's.
    pub(crate) secret: Option<String>,
    /// How it is signed.
    pub(crate) signing: Signing,
}

#[derive(Deserialize)]
struct Provisioned {
    id: InstanceId,
}

impl Provider {
    /// A client of the server at `public_url`.
    pub(crate) fn new(public_url: &str, authorization: &SecretString) -> Result<Self, DemoError> {
        egress::crypto::provide();
        let http = reqwest::Client::builder().no_proxy().timeout(DEADLINE).build()?;
        Ok(Self { http, public_url: public_url.to_owned(), authorization: authorization.clone() })
    }

    /// Provisions an instance over the API.
    pub(crate) async fn provision(&self, instance: &Value) -> Result<InstanceId, DemoError> {
        let request = self
            .http
            .post(format!("{}/elements/api-v2/instances", self.public_url))
            .header("authorization", self.authorization.expose_secret())
            .header("content-type", "application/json")
            .body(instance.to_string());
        let response = request.send().await?;
        let (status, body) = (response.status(), response.text().await?);
        if !status.is_success() {
            return Err(DemoError::Provision(format!("{status}: {body}")));
        }
        let provisioned: Provisioned =
            serde_json::from_str(&body).map_err(|error| DemoError::Provision(error.to_string()))?;
        Ok(provisioned.id)
    }

    /// Changes a setting of an instance over the API.
    pub(crate) async fn change(&self, instance: InstanceId, setting: &str, value: &str) -> Result<(), DemoError> {
        let request = self
            .http
            .patch(format!("{}/elements/api-v2/instances/{instance}", self.public_url))
            .header("authorization", self.authorization.expose_secret())
            .header("content-type", "application/json")
            .body(json!({ "configuration": { setting: value } }).to_string());
        let response = request.send().await?;
        let (status, body) = (response.status(), response.text().await?);
        if status.is_success() { Ok(()) } else { Err(DemoError::Change(format!("{status}: {body}"))) }
    }

    /// Waits until the history says that `instance`'s latest notification was told, or the deadline.
    pub(crate) async fn told(&self, instance: InstanceId) -> Result<(), DemoError> {
        let url = format!("{}/elements/api-v2/instances/{instance}/events?pageSize=1", self.public_url);
        let began = Instant::now();
        loop {
            let request = self.http.get(&url).header("authorization", self.authorization.expose_secret());
            let history = request.send().await?.text().await?;
            if history.contains("\"NOTIFIED\"") {
                return Ok(());
            }
            if began.elapsed() > DEADLINE {
                return Err(DemoError::Untold);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Sends a webhook, to `instance`'s own URL or else the connector's; returns the answer. `secret` is the demo's.
    pub(crate) async fn send(
        &self,
        webhook: &Webhook<'_>,
        instance: Option<InstanceId>,
        secret: &str,
    ) -> Result<Answered, DemoError> {
        let connector = webhook.connector;
        let mut url = format!("{}{}/{}", self.public_url, webhook_receiver::EVENTS_PATH, connector.key());
        if let Some(instance) = instance {
            url = format!("{url}/{}", instance.to_path());
        }
        if !webhook.query.is_empty() {
            url = format!("{url}?{}", webhook.query);
        }
        let mut headers = webhook.headers.clone();
        if webhook.method == Method::POST {
            headers.entry("content-type").or_insert(HeaderValue::from_static("application/json"));
        }
        let secret = match webhook.signing {
            Signing::Right => Some(webhook.secret.as_deref().unwrap_or(secret)),
            Signing::Wrong => Some("d3Jvbmc="),
            Signing::None => None,
        };
        if let Some(secret) = secret.filter(|_| connector.verifies()) {
            url = connector.url_with_secret(&url, secret).into_owned();
            let (method, body) = (webhook.method.as_str(), webhook.body.as_bytes());
            let outgoing = Outgoing { method, url: &url, body, id: &webhook.id, at: SystemClock.now() };
            for (name, value) in connector.sign(secret, &outgoing).map_err(DemoError::Sign)? {
                headers.insert(name, value);
            }
        }
        let request = self.http.request(webhook.method.clone(), &url).headers(headers).body(webhook.body.clone());
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Answered { status, headers, body: response.text().await? })
    }
}
