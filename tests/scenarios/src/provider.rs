//! The provider: signed requests, sent again until they are answered 2xx.

use axum::body::Body;
use connectors::{Outgoing, catalogue};
use events::{InstanceId, Timestamp};
use http::{Request, header};

use crate::PUBLIC_URL;

/// A webhook that a provider sends.
#[derive(Clone, Debug)]
pub struct Webhook {
    connector: &'static str,
    path: String,
    secret: String,
    body: String,
    id: String,
    headers: Vec<(String, String)>,
    /// The changes that it tells: of which instance, of which object.
    pub expected: Vec<(InstanceId, String)>,
    /// How often it was sent.
    pub sent: u32,
    /// Whether the provider has seen a 2xx.
    pub answered: bool,
}

/// One entry of a HubSpot body.
#[must_use]
pub fn hubspot_change(portal: &str, object: u64, at: Timestamp) -> String {
    format!(
        r#"{{"objectId":{object},"propertyName":"stage","propertyValue":"x","changeSource":"CRM","eventId":{object},"subscriptionId":25,"portalId":{portal},"appId":1,"occurredAt":{},"subscriptionType":"contact.propertyChange","attemptNumber":0}}"#,
        at.as_millis()
    )
}

impl Webhook {
    /// A request of `connector` with this body, signed with `secret`.
    #[must_use]
    pub fn new(connector: &'static str, secret: &str, body: impl Into<String>) -> Self {
        Self {
            connector,
            path: format!("/elements/api-v2/events/{connector}"),
            secret: secret.to_owned(),
            body: body.into(),
            id: "msg_1".into(),
            headers: Vec::new(),
            expected: Vec::new(),
            sent: 0,
            answered: false,
        }
    }

    /// A HubSpot request of these changes, (portal, object), all of which happened `at` this time.
    #[must_use]
    pub fn hubspot(secret: &str, changes: &[(&str, u64)], at: Timestamp) -> Self {
        let entries: Vec<String> = changes.iter().map(|(portal, object)| hubspot_change(portal, *object, at)).collect();
        Self::new("hubspot", secret, format!("[{}]", entries.join(",")))
    }

    /// The same, and `instance` is to be told of `objects`.
    #[must_use]
    pub fn expect(mut self, instance: InstanceId, objects: impl IntoIterator<Item = impl ToString>) -> Self {
        self.expected.extend(objects.into_iter().map(|object| (instance, object.to_string())));
        self
    }

    /// The same, sent to what follows the connector's URL.
    #[must_use]
    pub fn path(mut self, rest: &str) -> Self {
        self.path.push_str(rest);
        self
    }

    /// The same, with the provider's own id of the delivery.
    #[must_use]
    pub fn id(mut self, id: &str) -> Self {
        self.id = id.to_owned();
        self
    }

    /// The same, with one more header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The request as the provider would send it at `at`; a HubSpot body counts its attempts.
    #[must_use]
    pub fn request(&self, at: Timestamp) -> Request<Body> {
        let counted = format!("\"attemptNumber\":{}", self.sent);
        let body = self.body.replace("\"attemptNumber\":0", &counted);
        let url = format!("{PUBLIC_URL}{}", self.path);
        let outgoing = Outgoing { method: "POST", url: &url, body: body.as_bytes(), id: &self.id, at };
        let signed = catalogue().get(self.connector).unwrap().sign(&self.secret, &outgoing).unwrap();
        let mut request = Request::post(&self.path).header(header::CONTENT_TYPE, "application/json");
        for (name, value) in signed {
            request = request.header(name, value);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(Body::from(body)).unwrap()
    }
}
