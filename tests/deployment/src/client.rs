//! The customer, and the providers.

use connectors::{Connector, Outgoing, catalogue};
use events::{InstanceId, Timestamp};
use http::HeaderMap;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};

use crate::until;

/// The secret that the providers sign with, also as Standard Webhooks writes them.
pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// The key that notifications are signed with.
pub const KEY: &str = "MySecretEventSignatureKey";

/// Calls one deployment.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    /// Where it is reached, without a slash at the end.
    url: String,
    /// What providers believe to call, and sign.
    public_url: String,
    authorization: SecretString,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Client({})", self.url)
    }
}

impl Client {
    /// With the value of the `Authorization` header.
    #[must_use]
    pub fn new(url: &str, authorization: &str) -> Self {
        egress::crypto::provide();
        let http = reqwest::Client::builder().no_proxy().timeout(crate::DEADLINE).build().unwrap();
        Self { http, url: url.to_owned(), public_url: url.to_owned(), authorization: authorization.into() }
    }

    /// Where it calls.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The same client of a deployment whose public URL is not the one that is called.
    #[must_use]
    pub fn known_as(&self, public_url: &str) -> Self {
        Self { public_url: public_url.to_owned(), ..self.clone() }
    }

    /// The same client with other credentials.
    pub fn authorized(&self, authorization: &str) -> Self {
        Self { authorization: authorization.into(), ..self.clone() }
    }

    /// The same client of another server.
    pub fn at(&self, url: &str) -> Self {
        Self { url: url.to_owned(), public_url: url.to_owned(), ..self.clone() }
    }

    /// Calls the API; status and body.
    pub async fn call(&self, method: reqwest::Method, path: &str, body: Option<&Value>) -> (u16, String) {
        let mut request = self.http.request(method, format!("{}{path}", self.url));
        request = request.header("authorization", self.authorization.expose_secret());
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        read(request.send().await.unwrap()).await
    }

    /// GETs a path; status and body.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let request =
            self.http.get(format!("{}{path}", self.url)).header("authorization", self.authorization.expose_secret());
        read(request.send().await.unwrap()).await
    }

    /// Asks for an instance; status and body.
    pub async fn ask(&self, instance: &Value) -> (u16, String) {
        let request = self.http.post(format!("{}/elements/api-v2/instances", self.url));
        let request = request.header("authorization", self.authorization.expose_secret()).body(instance.to_string());
        read(request.send().await.unwrap()).await
    }

    /// Provisions an instance of `connector` with `settings` beside the secrets.
    pub async fn provision(&self, name: &str, connector: &str, settings: &[(&str, &str)]) -> InstanceId {
        let mut configuration = json!({ "webhook.secret": SECRET, "event.notification.signature.key": KEY });
        for (key, value) in settings {
            configuration[*key] = (*value).into();
        }
        let instance = json!({
            "name": name, "tags": ["tested"], "element": { "key": connector }, "configuration": configuration,
        });
        let (status, body) = self.ask(&instance).await;
        assert_eq!(status, 200, "{body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        body["id"].to_string().parse().unwrap()
    }

    /// Provisions a HubSpot instance of `portal` whose notifications go to `callback`.
    pub async fn hubspot(&self, portal: u32, callback: &str) -> InstanceId {
        let portal = portal.to_string();
        let settings = [("event.vendor.account", portal.as_str()), ("event.notification.callback.url", callback)];
        self.provision("Acme", "hubspot", &settings).await
    }

    /// Changes an instance's configuration.
    pub async fn configure(&self, instance: InstanceId, key: &str, value: &str) {
        let request = self.http.patch(format!("{}/elements/api-v2/instances/{instance}", self.url));
        let body = json!({ "configuration": { key: value } }).to_string();
        let response =
            request.header("authorization", self.authorization.expose_secret()).body(body).send().await.unwrap();
        let (status, body) = read(response).await;
        assert_eq!(status, 200, "{body}");
    }

    /// An instance's history, newest first.
    pub async fn history(&self, instance: InstanceId) -> Vec<Value> {
        let (status, body) = self.get(&format!("/elements/api-v2/instances/{instance}/events")).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Waits until the history's only entry says `status`.
    pub async fn stands(&self, instance: InstanceId, status: &str) -> Value {
        let what = format!("a notification that is {status}");
        until(&what, async || {
            let history = self.history(instance).await;
            history.into_iter().find(|entry| entry["status"] == status)
        })
        .await
    }

    /// Posts a webhook as HubSpot signs it; its status, or `None` when there was no answer.
    pub async fn hubspot_sends(&self, body: &str) -> Option<u16> {
        self.sends("hubspot", None, "", body).await
    }

    /// Posts a webhook as the provider signs it.
    pub async fn sends(&self, connector: &str, instance: Option<InstanceId>, id: &str, body: &str) -> Option<u16> {
        self.sends_as(catalogue().get(connector).unwrap(), instance, id, body).await
    }

    /// The same, as a provider that may not be built in.
    pub async fn sends_as(
        &self,
        connector: &Connector,
        instance: Option<InstanceId>,
        id: &str,
        body: &str,
    ) -> Option<u16> {
        let mut path = format!("/elements/api-v2/events/{}", connector.key());
        if let Some(instance) = instance {
            path = format!("{path}/{}", instance.to_path());
        }
        let path = connector.url_with_secret(&path, SECRET);
        let url = format!("{}{path}", self.public_url);
        let at = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let at = Timestamp::from_millis(at.as_millis().try_into().unwrap());
        let outgoing = Outgoing { method: "POST", url: &url, body: body.as_bytes(), id, at };
        let signature = connector.sign(SECRET, &outgoing).unwrap();
        let headers: HeaderMap = signature.into_iter().collect();
        let sent = self.http.post(format!("{}{path}", self.url)).headers(headers).body(body.to_owned()).send().await;
        Some(sent.ok()?.status().as_u16())
    }

    /// Posts a webhook that nothing proves; its status.
    pub async fn sends_unsigned(&self, connector: &str, body: &str) -> u16 {
        let url = format!("{}/elements/api-v2/events/{connector}", self.url);
        self.http.post(url).body(body.to_owned()).send().await.unwrap().status().as_u16()
    }
}

async fn read(response: reqwest::Response) -> (u16, String) {
    (response.status().as_u16(), response.text().await.unwrap())
}

/// HubSpot's webhook of new contacts in `portal`.
pub fn contact(portal: u32, objects: impl IntoIterator<Item = u64>) -> String {
    let change = |object: u64| {
        json!({
            "eventId": object + 1_000_000, "subscriptionId": 25, "portalId": portal, "appId": 1_160_452,
            "occurredAt": 1_731_612_159_499_u64, "subscriptionType": "contact.creation", "attemptNumber": 0,
            "objectId": object, "changeSource": "CRM", "changeFlag": "NEW",
        })
    };
    Value::Array(objects.into_iter().map(change).collect()).to_string()
}
