//! `POST /instances/{id}/ping`: tries the instance's callback now, and says what came of it.
//!
//! *Promise:* what is sent is what a delivery would send: the same envelope, signatures, basic auth and further headers,
//! through the same policy and client, so that a ping reaches nothing that a delivery could not. It is marked
//! (`Pollhook-Ping: true`, one event of the object type `ping`). Nothing is recorded and nothing is tried again: the
//! caller is there to read what happened. A disabled instance is pinged too; to try the callback before enabling it is
//! what a ping is for.
//!
//! *Answers* 200 whenever the callback was tried, also in vain, and also where the address policy refuses it, since that
//! is what a delivery would meet. No secret is in it: of the URL's query only the names are shown, and what the callback
//! repeats of its own credentials is hidden by the client.
//!
//! *Not pinged,* with 400: an instance without a callback, and one whose callback is an events path of our own, where a
//! ping would be told on to other instances as if it were a change. It is 400 and not 409 because the instance's
//! configuration, the caller's, is what must change.
//!
//! *Bounded* for each account, as the module `turns` says; more are 429.

use std::sync::Arc;

use axum::extract::State;
use egress::callback::{self, Credentials, Notice};
use egress::{Answer as Answered, CallbackRequest, CertificateDetails, Failure, Refusal, Stage};
use events::{Batch, Event, EventId, EventType, Notification, NotificationId, Source, Timestamp, configuration};
use platform::Platform;
use records::instances::{self, CallbackCredentials, CallbackView, Instance};
use serde::Serialize;
use url::Url;

use crate::answer::{Answer, Problem};
use crate::authorization::Target;
use crate::turns::Turns;
use crate::{Api, text};

/// The pings at work.
static PINGS: Turns = Turns::of("pings of this account");

/// How much of the callback's answer is shown, in characters: as much as a failed delivery keeps.
const SHOWN_CHARS: usize = 200;

/// The provider's body of a ping.
const RAW: &[u8] = br#"{"ping": true}"#;

/// What came of a ping.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ping {
    notification_id: NotificationId,
    /// The callback, without what may be secret of it.
    url: String,
    /// Whether the callback answered 2xx.
    delivered: bool,
    status: Option<u16>,
    latency_ms: u64,
    /// What the handshake showed; nothing for http, and where it was not come to.
    tls: Option<Tls>,
    body_start: Option<String>,
    /// Why there was no answer.
    error: Option<String>,
    /// What to look at, where it is obvious.
    hint: Option<&'static str>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Tls {
    verified: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<Shown>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    subject: String,
    issuer: String,
    expires: String,
}

/// `POST /instances/{id}/ping`.
pub(crate) async fn ping<P: Platform>(State(api): State<Arc<Api<P>>>, target: Target) -> Result<Answer<Ping>, Problem> {
    let platform = &*api.platform;
    let instance = instances::get(platform, target.account.id, target.id).await?.ok_or_else(|| target.absent())?;
    let view = instances::callback_view(platform, target.id).await?.ok_or_else(|| target.absent())?;
    let Some(text) = &view.url else {
        let key = configuration::CALLBACK_URL;
        return Err(Problem::Invalid(format!("the instance has no callback to ping: set {key} first")));
    };
    let _turn = PINGS.take(target.account.id)?;
    let began = platform.now();
    let (batch, notification_id) = batch(&instance, began, platform.random().bits());
    let outcome = match api.policy.check(text) {
        Ok(url) => {
            if api.policy.own_events_connector(&url).is_some() {
                return Err(Problem::Invalid(
                    "the instance's callback hands its events to connectors here, which a ping would be mistaken for; \
                     ping the instances that get them"
                        .into(),
                ));
            }
            let request = request(&api, &view, &batch, notification_id, url).await?;
            api.callbacks.call(request).await
        }
        Err(refusal) => Err(refusal.into()),
    };
    if let Err(Failure::Ours(cause)) = outcome {
        return Err(Problem::Broken(cause));
    }
    let waited = platform.now().since(began);
    let ping = Ping {
        notification_id,
        url: shown(text),
        delivered: matches!(&outcome, Ok(answer) if (200..300).contains(&answer.status)),
        status: outcome.as_ref().ok().map(|answer| answer.status),
        latency_ms: u64::try_from(outcome.as_ref().map_or(waited, |answer| answer.latency).as_millis())
            .unwrap_or(u64::MAX),
        tls: tls(is_https(text), &outcome),
        body_start: outcome.as_ref().ok().map(|answer| answer.body_start.chars().take(SHOWN_CHARS).collect()),
        error: outcome.as_ref().err().map(ToString::to_string),
        hint: hint(&outcome),
    };
    tracing::info!(
        instance = %target.id, notification = %notification_id, delivered = ping.delivered, status = ping.status,
        error = ping.error, "pinged"
    );
    Ok(Answer(ping))
}

/// The change that a ping tells of. Its ids are new each time: it is never told again.
fn batch(instance: &Instance, now: Timestamp, random: u64) -> (Batch, NotificationId) {
    let event_id = EventId::of(instance.id, "ping", "", &[random.to_be_bytes()]);
    let id = NotificationId::of(now, [&event_id]);
    let event = Event {
        id: event_id,
        object_type: "ping".into(),
        object_id: id.to_string(),
        event_type: EventType::Unknown,
        date: Some(now),
    };
    let batch = Batch {
        instance: instance.id,
        connector: instance.connector.clone(),
        hub: instance.hub.clone(),
        source: Source::Webhook,
        accepted_at: now,
        hops: 0,
        events: vec![event],
        raw: RAW.into(),
    };
    (batch, id)
}

async fn request<P: Platform>(
    api: &Api<P>,
    view: &CallbackView,
    batch: &Batch,
    id: NotificationId,
    url: Url,
) -> Result<CallbackRequest, Problem> {
    let CallbackCredentials { signature_key, basic, headers } = view.credentials(&*api.platform).await?;
    let credentials = Credentials { signature_key, basic, headers };
    let notification = Notification { id, events: &batch.events };
    let notice = Notice { recipient: view.recipient(), batch, notification, at: batch.accepted_at, ping: true };
    callback::request(&api.policy, url, &notice, credentials).map_err(|broken| Problem::Broken(broken.to_string()))
}

/// The callback without credentials, fragment and the values of its query. A path is shown: people find the right
/// endpoint by it, and the caller reads it in the configuration as well.
fn shown(callback: &str) -> String {
    let Ok(mut url) = Url::parse(callback) else { return text::quoted_url(callback) };
    let query = url.query().map(|query| {
        let names =
            query.split('&').map(|pair| pair.split_once('=').map_or("…".into(), |(name, _)| format!("{name}=…")));
        names.collect::<Vec<_>>().join("&")
    });
    url.set_query(None);
    url.set_fragment(None);
    // A URL that cannot have them has none.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    query.map_or_else(|| url.to_string(), |query| format!("{url}?{query}"))
}

fn is_https(callback: &str) -> bool {
    Url::parse(callback).is_ok_and(|url| url.scheme() == "https")
}

/// What is known of the handshake.
fn tls(https: bool, outcome: &Result<Answered, Failure>) -> Option<Tls> {
    match outcome {
        Ok(answer) if https => {
            let details = answer.certificate.as_ref().and_then(egress::Certificate::details);
            let certificate = details.map(|CertificateDetails { subject, issuer, expires_at }| Shown {
                subject,
                issuer,
                expires: expires_at.iso_seconds(),
            });
            Some(Tls { verified: true, certificate, reason: None })
        }
        Err(Failure::Tls(reason)) => Some(Tls { verified: false, certificate: None, reason: Some(reason.clone()) }),
        _ => None,
    }
}

/// What to look at first.
fn hint(outcome: &Result<Answered, Failure>) -> Option<&'static str> {
    match outcome {
        Ok(answer) => match answer.status {
            300..=399 => {
                Some("redirects are not followed: set event.notification.callback.url to where this one leads")
            }
            401 | 403 => Some(
                "the receiver does not know the sender: compare event.notification.signature.key, and \
                 event.notification.basic.* and event.notification.callback.headers if set, with what it checks",
            ),
            404 | 410 => {
                Some("nobody receives at this path: compare event.notification.callback.url with the receiver's")
            }
            405 => Some("the receiver takes no POST at this path"),
            _ => None,
        },
        Err(Failure::Refused(Refusal::Address(forbidden))) if forbidden.rule.internal => {
            Some("an operator can allow the address with --allow-callbacks-to")
        }
        Err(Failure::Resolve { .. }) => Some("compare the host in event.notification.callback.url with the receiver's"),
        Err(Failure::Tls(_)) => Some(
            "the receiver must speak TLS at this port, with a certificate for this host from an authority that is trusted \
             here",
        ),
        Err(Failure::Connect(_) | Failure::Timeout { during: Stage::Connecting, .. }) => {
            Some("nobody listens at this host and port, or a firewall is in between")
        }
        Err(Failure::Timeout { during: Stage::Answering, .. }) => {
            Some("a receiver should answer 2xx at once and do its work afterwards")
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn answered(status: u16) -> Result<Answered, Failure> {
        let latency = Duration::ZERO;
        Ok(Answered { status, retry_after: None, body_start: String::new(), latency, certificate: None })
    }

    #[test]
    fn what_is_obvious_is_hinted_at() {
        for (status, word) in [(301, "redirects"), (401, "signature.key"), (404, "path"), (405, "POST")] {
            assert!(hint(&answered(status)).unwrap().contains(word), "{status}");
        }
        let refused = |url: &str| Err(Failure::from(egress::Policy::default().check(url).unwrap_err()));
        assert!(hint(&refused("http://127.0.0.1/")).unwrap().contains("--allow-callbacks-to"));
        assert_eq!(hint(&refused("http://169.254.169.254/")), None, "no operator should");
        assert_eq!(hint(&refused("ftp://example.com/")), None);
        let late = |during| Err(Failure::Timeout { during, after: Duration::ZERO });
        assert!(hint(&Err(Failure::Tls("expired".into()))).unwrap().contains("certificate"));
        assert!(hint(&late(Stage::Connecting)).unwrap().contains("firewall"));
        assert!(hint(&late(Stage::Answering)).unwrap().contains("at once"));
    }

    #[test]
    fn a_shown_callback_holds_no_credentials_and_no_values() {
        for (url, expected) in [
            ("https://host/a", "https://host/a"),
            ("https://host:8443/a?key=s3cret&b=s3cret=x&s3cret", "https://host:8443/a?key=…&b=…&…"),
            ("https://me:s3cret@host/a#s3cret", "https://host/a"),
            ("//me:s3cret@host/a?s3cret", "\"…@host/a…\""),
        ] {
            assert_eq!(shown(url), expected, "{url}");
        }
    }

    proptest! {
        #[test]
        fn no_secret_part_of_a_callback_is_shown(secret in "[a-z]{12}", place in 0..4_usize) {
            let url = ["https://u:{}@h/p", "https://h/p?a={}", "https://h/p?{}", "http://{}@h/#{}"][place];
            let shown = shown(&url.replace("{}", &secret));
            prop_assert!(!shown.contains(&secret));
        }

        #[test]
        fn a_2xx_needs_no_hint_and_only_https_shows_a_handshake(status in 100_u16..600, https: bool) {
            let outcome = answered(status);
            prop_assert!(!(200..300).contains(&status) || hint(&outcome).is_none());
            prop_assert_eq!(tls(https, &outcome).is_some(), https);
        }
    }
}
