//! The provider: signed requests, sent again until they are answered 2xx.

use axum::body::{Body, Bytes};
use connectors::{Connector, Example, Outgoing, catalogue};
use events::{InstanceId, Timestamp};
use http::{Request, header};

use crate::PUBLIC_URL;

/// A webhook that a provider sends.
#[derive(Clone, Debug)]
pub struct Webhook {
    connector: &'static Connector,
    method: String,
    path: String,
    query: String,
    /// `None`: nothing proves who sends it.
    secret: Option<String>,
    body: Bytes,
    id: String,
    headers: Vec<(String, String)>,
    /// The changes that it tells: of which instance, of which object.
    pub expected: Vec<(InstanceId, String)>,
    /// The instances that it signals a change of.
    pub signals: Vec<InstanceId>,
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
    pub fn new(connector: &'static str, secret: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            connector: catalogue().get(connector).unwrap(),
            method: "POST".into(),
            path: format!("/elements/api-v2/events/{connector}"),
            query: String::new(),
            secret: Some(secret.to_owned()),
            body: body.into().into(),
            id: "msg_1".into(),
            headers: Vec::new(),
            expected: Vec::new(),
            signals: Vec::new(),
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

    /// A recorded request of `connector`, as its provider sends it: with `secret`, unless the recorded body holds another.
    #[must_use]
    pub fn recorded(connector: &'static str, example: &Example, secret: &str) -> Self {
        let mut webhook = Self::new(connector, example.secret.as_deref().unwrap_or(secret), &*example.body);
        webhook.method.clone_from(&example.method);
        webhook.query.clone_from(&example.query);
        for (name, value) in &example.headers {
            if webhook.clone().id(value).proof(crate::START).iter().any(|(n, v)| n == name && v == value) {
                // A delivery's id that the signature covers is signed anew, not only sent along.
                webhook.id.clone_from(value);
            } else {
                webhook.headers.push((name.clone(), value.clone()));
            }
        }
        if example.answer.is_some() || example.method != "POST" {
            webhook.secret = None;
        }
        webhook
    }

    /// The same as a GET of this query, which nothing else proves.
    #[must_use]
    pub fn get(mut self, query: &str) -> Self {
        self.method = "GET".into();
        self.query = query.to_owned();
        self.body = Bytes::new();
        self.secret = None;
        self
    }

    /// The same, not signed, and without the secret in its URL.
    #[must_use]
    pub fn unsigned(mut self) -> Self {
        self.secret = None;
        self
    }

    /// The same, with this query.
    #[must_use]
    pub fn query(mut self, query: &str) -> Self {
        self.query = query.to_owned();
        self
    }

    /// The same, and `instance` is to be polled.
    #[must_use]
    pub fn signal(mut self, instance: InstanceId) -> Self {
        self.signals.push(instance);
        self
    }

    /// The same, and `instance` is to be told of `objects`.
    #[must_use]
    pub fn expect(mut self, instance: InstanceId, objects: impl IntoIterator<Item = impl ToString>) -> Self {
        self.expected.extend(objects.into_iter().map(|object| (instance, object.to_string())));
        self
    }

    /// The same, with another body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into().into();
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

    /// What the request's path and query are.
    fn target(&self) -> String {
        let mut url = format!("{PUBLIC_URL}{}", self.path);
        if !self.query.is_empty() {
            url = format!("{url}?{}", self.query);
        }
        if let Some(secret) = &self.secret {
            url = self.connector.url_with_secret(&url, secret).into_owned();
        }
        url.split_off(PUBLIC_URL.len())
    }

    /// The body as it is sent this time; a HubSpot body counts its attempts.
    fn counted_body(&self) -> Bytes {
        match std::str::from_utf8(&self.body) {
            Ok(text) if self.sent > 0 => {
                text.replace("\"attemptNumber\":0", &format!("\"attemptNumber\":{}", self.sent)).into()
            }
            _ => self.body.clone(),
        }
    }

    /// The headers that prove who sends it at `at`.
    fn proof(&self, at: Timestamp) -> Vec<(String, String)> {
        let Some(secret) = &self.secret else { return Vec::new() };
        let (url, body) = (format!("{PUBLIC_URL}{}", self.target()), self.counted_body());
        let outgoing = Outgoing { method: &self.method, url: &url, body: &body, id: &self.id, at };
        let signed = self.connector.sign(secret, &outgoing).unwrap();
        signed.into_iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
    }

    /// The request as the provider would send it at `at`.
    #[must_use]
    pub fn request(&self, at: Timestamp) -> Request<Body> {
        self.bytes(at).map(Body::from)
    }

    /// The same, its body still to be looked at.
    #[must_use]
    pub fn bytes(&self, at: Timestamp) -> Request<Bytes> {
        let mut request = Request::builder().method(&*self.method).uri(self.target());
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(header::CONTENT_TYPE.as_str())) {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in self.proof(at).iter().chain(&self.headers) {
            request = request.header(name, value);
        }
        request.body(self.counted_body()).unwrap()
    }
}
