//! The event bus of one process: each entry is a POST to the operator's URL, as a target of EventBridge would be given it
//! (<https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-events-structure.html>).
//!
//! *Promise:* an entry was taken when it was answered 2xx. The URL is the operator's, so it may be anywhere; nothing else
//! is exempt from what holds for callbacks ([`egress`]): deadlines, sizes, no redirects.
//!
//! *Bounded:* at most [`AT_ONCE`] entries are under way at the same time, whatever is published.
//!
//! *Without a URL* an entry can never be taken. So says the bus, and the dispatcher records that nothing was published and
//! why, instead of trying for three days.

use std::sync::Arc;

use bytes::Bytes;
use egress::{CallbackRequest, Client, InvalidLimits, Limits, Policy, Post as _};
use futures_util::future::join_all;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use platform::{Bus, BusError, Entry, OsRandom, PublishError, Random, limits};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use url::Url;

/// Entries under way at the same time. A laptop's rule engine is not to be flooded, and a slow one holds up no callback.
const AT_ONCE: usize = 32;

/// What events there say of where they come from, in place of an AWS account and region.
const ACCOUNT: &str = "000000000000";
const REGION: &str = "local";

const NOWHERE: &str = "the server was started without --flows-to (POLLHOOK_FLOWS_TO)";

/// See the module.
pub(crate) struct Flows {
    to: Option<Target>,
}

struct Target {
    url: Url,
    client: Client,
    room: Arc<Semaphore>,
}

impl Flows {
    /// A bus that posts to `url`.
    pub(crate) fn to(url: Option<Url>) -> Result<Self, InvalidLimits> {
        let target = |url: Url| {
            let client = Client::new(Policy::only(url.clone()), Limits::default())?;
            Ok(Target { url, client, room: Arc::new(Semaphore::new(AT_ONCE)) })
        };
        Ok(Self { to: url.map(target).transpose()? })
    }
}

impl Bus for Flows {
    async fn publish(&self, entries: Vec<Entry>) -> Result<(), PublishError> {
        let all = (0..entries.len()).collect();
        if let Err(error) = limits::check_publish(&entries) {
            return Err(PublishError { failed: all, error });
        }
        let Some(target) = &self.to else {
            return Err(PublishError { failed: all, error: BusError::Invalid(NOWHERE.into()) });
        };
        let (mut failed, mut first) = (Vec::new(), None);
        let posted = join_all(entries.iter().map(|entry| target.post(entry))).await;
        for (index, error) in posted.into_iter().enumerate().filter_map(|(i, posted)| Some((i, posted.err()?))) {
            failed.push(index);
            first.get_or_insert(error);
        }
        first.map_or(Ok(()), |error| Err(PublishError { failed, error }))
    }
}

impl Target {
    async fn post(&self, entry: &Entry) -> Result<(), BusError> {
        let body = event(entry, &id(&OsRandom))?;
        // It is never closed; and if it were, nobody would wait.
        let _room = self.room.acquire().await;
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let request = CallbackRequest { url: self.url.clone(), headers, body };
        match self.client.post(request).await {
            Ok(answer) if (200..300).contains(&answer.status) => Ok(()),
            Ok(answer) => Err(BusError::Unavailable(format!("answered {}", answer.status))),
            Err(failure) => Err(BusError::Unavailable(failure.to_string())),
        }
    }
}

/// A fresh id of an event, as EventBridge gives each that it takes: a random UUID (version 4).
fn id(random: &impl Random) -> String {
    let mut bytes = [0; 16];
    random.fill(&mut bytes);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// The event as a target is given it.
fn event(entry: &Entry, id: &str) -> Result<Bytes, BusError> {
    #[derive(Serialize)]
    #[serde(rename_all = "kebab-case")]
    struct Event<'a> {
        version: &'a str,
        id: &'a str,
        detail_type: &'a str,
        source: &'a str,
        account: &'a str,
        time: String,
        region: &'a str,
        resources: [&'a str; 0],
        detail: &'a RawValue,
    }
    let invalid = |error: serde_json::Error| BusError::Invalid(format!("a detail that is no JSON: {error}"));
    let event = Event {
        version: "0",
        id,
        detail_type: &entry.detail_type,
        source: &entry.source,
        account: ACCOUNT,
        time: entry.time.iso_seconds(),
        region: REGION,
        resources: [],
        detail: serde_json::from_str(&entry.detail).map_err(invalid)?,
    };
    Ok(serde_json::to_vec(&event).map_err(invalid)?.into())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;

    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::post;
    use events::Timestamp;
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    use super::*;

    fn entry(number: u64) -> Entry {
        Entry {
            source: "pollhook".into(),
            detail_type: "Change".into(),
            detail: format!("{{\"n\":{number},\"x\":1.10}}"),
            time: Timestamp::from_millis(1_464_754_150_999),
        }
    }

    /// Where a rule engine answers `status(detail)`, what it got, and how many requests it had at most at a time.
    async fn engine(status: fn(u64) -> u16) -> (Url, Arc<Mutex<Vec<Value>>>, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/rules", listener.local_addr().unwrap())).unwrap();
        let (got, most, now) = (Arc::<Mutex<Vec<Value>>>::default(), Arc::default(), Arc::new(AtomicUsize::new(0)));
        let (kept, peak) = (Arc::clone(&got), Arc::<AtomicUsize>::clone(&most));
        let take = move |body: String| async move {
            peak.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            let event: Value = serde_json::from_str(&body).unwrap();
            assert!(body.contains("1.10"), "the detail as it was published: {body}");
            let number = event["detail"]["n"].as_u64().unwrap();
            kept.lock().unwrap().push(event);
            tokio::time::sleep(Duration::from_millis(20)).await;
            now.fetch_sub(1, SeqCst);
            StatusCode::from_u16(status(number)).unwrap()
        };
        let router = Router::new().route("/rules", post(take));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (url, got, most)
    }

    #[tokio::test]
    async fn each_entry_is_posted_by_itself_as_a_target_of_eventbridge_is_given_it() {
        let (url, got, _) = engine(|number| if number == 2 { 503 } else { 202 }).await;
        let flows = Flows::to(Some(url)).unwrap();
        let error = flows.publish((0..4).map(entry).collect()).await.unwrap_err();
        assert_eq!(error, PublishError { failed: vec![2], error: BusError::Unavailable("answered 503".into()) });
        let mut got = got.lock().unwrap().clone();
        got.sort_by_key(|event| event["detail"]["n"].as_u64());
        assert_eq!(got.len(), 4);
        for (number, event) in got.iter_mut().enumerate() {
            let id = event["id"].take();
            assert_eq!(id.as_str().unwrap().len(), 36, "{id}");
            let expected = json!({
                "version": "0", "id": null, "detail-type": "Change", "source": "pollhook", "account": ACCOUNT,
                "time": "2016-06-01T04:09:10Z", "region": REGION, "resources": [], "detail": {"n": number, "x": 1.1},
            });
            assert_eq!(*event, expected);
        }
    }

    #[tokio::test]
    async fn a_bounded_number_is_under_way_however_many_are_published() {
        let (url, got, most) = engine(|_| 200).await;
        let flows = Flows::to(Some(url)).unwrap();
        let publishes = (0..20).map(|n| flows.publish((n * 10..n * 10 + 10).map(entry).collect()));
        assert!(join_all(publishes).await.into_iter().all(|published| published.is_ok()));
        assert_eq!(got.lock().unwrap().len(), 200);
        let most = most.load(SeqCst);
        assert!((2..=AT_ONCE).contains(&most), "{most} at a time");
    }

    #[tokio::test]
    async fn without_a_url_an_entry_can_never_be_taken_and_the_flag_is_named() {
        let error = Flows::to(None).unwrap().publish(vec![entry(1)]).await.unwrap_err();
        let BusError::Invalid(reason) = error.error else { panic!("{error}") };
        assert!(reason.contains("--flows-to"), "{reason}");
    }

    #[test]
    fn an_event_s_id_is_a_random_uuid() {
        let (one, other) = (id(&OsRandom), id(&OsRandom));
        assert_ne!(one, other);
        assert_eq!((one.len(), &one[14..15]), (36, "4"), "{one}");
        assert!("89ab".contains(&one[19..20]), "{one}");
    }
}
