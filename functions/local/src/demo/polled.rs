//! What the demo polls: an API of a booking service, and what is to come of its bookings.
//!
//! The server asks it as any customer's instance of `http` has it asked: by a URL with the date since when, and a key. It is
//! asked in its turn, once a minute, and at once when its configuration changes, which is what the demo does.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use connectors::Connector;
use events::Timestamp;
use events::configuration::{POLLER_CONFIGURATION, POLLER_REFRESH_INTERVAL};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::demo::DemoError;
use crate::demo::ledger::{Change, Expected};
use crate::demo::scenarios::{Instance, Scenario, Secret};

/// Bookings that are made: two notifications.
const BOOKINGS: usize = 12;
/// Events of a poll that travel in one notification.
const BATCH: usize = 10;
/// The polled instance's name.
pub(crate) const NAME: &str = "Asks for bookings";
/// How dates are asked for and answered.
const DATES: &str = "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'";

/// The service, as far as it can be asked.
pub(crate) struct Bookings {
    address: SocketAddr,
    key: String,
    made: Arc<Mutex<Vec<Value>>>,
    task: JoinHandle<std::io::Result<()>>,
}

#[derive(Clone)]
struct Service {
    authorization: String,
    made: Arc<Mutex<Vec<Value>>>,
}

impl Bookings {
    /// Starts it, without a booking; `key` is what it is to be asked with.
    pub(crate) async fn start(key: String) -> Result<Self, DemoError> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(DemoError::Port)?;
        let address = socket.local_addr().map_err(DemoError::Port)?;
        let made = Arc::default();
        let service = Service { authorization: format!("Bearer {key}"), made: Arc::clone(&made) };
        let router = Router::new().route("/bookings", get(answer)).with_state(service);
        let task = tokio::spawn(async move { axum::serve(socket, router).await });
        Ok(Self { address, key, made, task })
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes all bookings at once, so that a poll sees none or all of them.
    pub(crate) fn make(&self, now: Timestamp) {
        let date = now.iso_millis();
        let booking = |number| json!({ "id": number, "made": date, "changed": date, "guests": 1 + number % 4 });
        self.made.lock().unwrap_or_else(PoisonError::into_inner).extend((1..=BOOKINGS).map(booking));
    }

    /// What must come of it.
    pub(crate) fn scenario<'c>(&self, http: &'c Connector) -> Scenario<'c> {
        let bookings = json!({ "bookings": {
            "url": format!("/bookings?changed_since=${{gmtDate:{DATES}}}"),
            "recordsField": "data",
            "idField": "id",
            "datesConfiguration": {
                "updatedDateField": "changed", "updatedDateFormat": DATES,
                "createdDateField": "made", "createdDateFormat": DATES,
            },
        }});
        let configuration = [
            ("base.url", self.url()),
            ("api.key", self.key.clone()),
            (POLLER_REFRESH_INTERVAL, "1".to_owned()),
            (POLLER_CONFIGURATION, bookings.to_string()),
        ];
        let configuration = configuration.map(|(key, value)| (key.to_owned(), value)).into();
        let instance = Instance { configuration, secret: Secret::HandedOver, ..Instance::new(NAME.to_owned(), http) };
        let change = |number: usize| Change {
            event_type: "CREATED".to_owned(),
            object_type: "bookings".to_owned(),
            object_id: number.to_string(),
        };
        let changes: Vec<Change> = (1..=BOOKINGS).map(change).collect();
        let expected = changes.chunks(BATCH).map(|changes| Expected {
            instance: NAME.to_owned(),
            changes: changes.to_vec(),
            attempt: 1,
        });
        Scenario {
            name: "Any JSON API, polled".to_owned(),
            lines: usize::MAX,
            expected: expected.collect(),
            instances: vec![instance],
            sends: Vec::new(),
            polled: BOOKINGS,
        }
    }
}

impl Drop for Bookings {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The bookings that were changed since then.
async fn answer(
    State(Service { authorization, made }): State<Service>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<impl IntoResponse, StatusCode> {
    if headers.get("authorization").is_none_or(|given| given.as_bytes() != authorization.as_bytes()) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    let query = query.unwrap_or_default();
    let since = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "changed_since");
    let (_, since) = since.ok_or(StatusCode::BAD_REQUEST)?;
    let made = made.lock().unwrap_or_else(PoisonError::into_inner);
    // Dates of one form sort as texts.
    let changed = |booking: &&Value| booking["changed"].as_str().is_some_and(|at| at >= &*since);
    let answer = json!({ "data": made.iter().filter(changed).collect::<Vec<_>>() });
    Ok(([(CONTENT_TYPE, "application/json")], answer.to_string()))
}
