//! The instances API: provision and configure instances, read what became of each notification, release parked ones.
//!
//! *Promise:* an account sees and changes its own instances alone; another's is answered exactly like one that does not
//! exist. A secret goes in and never comes out: it is sealed by the repository, shown as a mask, and in no error and no
//! log. What is refused is refused with the field's name, what was given and what is accepted. A released notification is
//! attempted: its wake-up is durable before its record says so.
//!
//! *Flow* of a request: `answer` (request id, errors as JSON, log) around `authorization` (who calls) around a handler,
//! which reads (`wire`, `query`), decides (`settings`, `release`; pure) and asks the repositories. The routes, all
//! under `/elements/api-v2`, with or without a slash at the end:
//!
//! | route | does |
//! |---|---|
//! | `POST`, `GET /instances`, `GET /instances/count` | `instances::provision`, `listing` |
//! | `GET`, `PUT`, `PATCH`, `DELETE /instances/{id}` | `instances` |
//! | `PUT`, `DELETE /instances/{id}/enabled` | `instances` |
//! | `GET /instances/{id}/configuration`, `GET`, `PATCH …/configuration/{configurationId}` | `items` |
//! | `POST /instances/{id}/ping` | `ping` |
//! | `GET /instances/{id}/events[/{eventId}]` | `history` |
//! | `GET /instances/{id}/event-poller-records`, `GET /instances/polling-disabled` | `pollers` |
//! | `GET /elements`, `/elements/keys`, `/elements/{keyOrId}[/metadata]` | `elements` |
//! | `GET /elements/{keyOrId}/oauth/url` | `consent` |
//! | `POST`, `GET /elements/{keyOrId}/instances`, `GET`, `PUT`, `PATCH`, `DELETE …/{id}` | as `/instances`, of one connector |
//! | `GET`, `PUT /notifications/subscriptions/deliveries` | `release` |
//! | `GET /refused` | `refused`, for operators |
//! | `POST /accounts`, `POST`, `DELETE /accounts/{account}/keys` | `accounts`, for who has the admin key, where one is configured |
//!
//! Every route of an instance is there without `{id}` too, and means the instance whose token stands among the keys.
//!
//! *Failure:* storage that cannot be reached is 503 and may be tried again; the message says so where a change may have
//! been made all the same. Anything that should not happen is 500. Neither shows its cause, which is logged with the
//! request id that the caller was given.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod accounts;
mod answer;
mod authorization;
mod consent;
mod elements;
mod history;
mod instances;
mod invalid;
mod items;
mod listing;
mod ping;
mod polled;
mod pollers;
mod query;
mod refused;
mod release;
mod resource;
mod settings;
mod text;
mod turns;
mod where_clause;
mod wire;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post, put};
use connectors::Catalogue;
use platform::Platform;
use url::Url;

pub use accounts::{AdminKeySha256, NoSha256};

/// Where every route begins.
const BASE: &str = "/elements/api-v2";

/// The largest request body in bytes: an instance's whole configuration fits several times.
pub const BODY_BYTES: usize = 256 * 1024;

/// What the role works with.
pub struct Api<P> {
    /// The ports.
    pub platform: Arc<P>,
    /// Where callbacks may go.
    pub policy: Arc<egress::Policy>,
    /// Where this installation is reached, up to and without `/elements`; without it no webhook URL can be shown.
    pub public_url: Option<Url>,
    /// The connectors there are.
    pub catalogue: Arc<Catalogue>,
    /// Who posts what is asked for at once.
    pub callbacks: Arc<dyn egress::Callbacks>,
    /// Who asks providers for tokens.
    pub tokens: Arc<dyn egress::exchange::Exchanges>,
    /// Of the key that makes accounts; without it there is no path for it.
    pub admin_key_sha256: Option<AdminKeySha256>,
}

impl<P> fmt::Debug for Api<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("public_url", &self.public_url).finish_non_exhaustive()
    }
}

/// The role as a router, to be served by a socket or by Lambda. It sets no fallback of its own, so that it merges with
/// other roles' routers.
pub fn router<P: Platform>(api: Arc<Api<P>>) -> Router {
    let routes = [
        ("/instances/count", get(listing::count::<P>)),
        ("/instances/polling-disabled", get(pollers::disabled::<P>)),
        ("/instances/event-poller-records", get(pollers::records_of_all::<P>)),
        ("/instances/{id}/event-poller-records", get(pollers::records_of_one::<P>)),
        ("/elements", get(elements::list::<P>)),
        ("/elements/keys", get(elements::keys::<P>)),
        ("/elements/{element}", get(elements::one::<P>)),
        ("/elements/{element}/metadata", get(elements::metadata::<P>)),
        ("/elements/{element}/oauth/url", get(consent::url::<P>)),
        ("/elements/{element}/instances", get(listing::of_element::<P>).post(instances::provision_of_element::<P>)),
        ("/elements/{element}/instances/{id}", instance().get(instances::read::<P>)),
        ("/notifications/subscriptions/deliveries", get(release::queued::<P>).put(release::release::<P>)),
        ("/refused", get(refused::list::<P>)),
    ];
    let by_token = instance().get(listing::list::<P>).post(instances::provision::<P>);
    let router = of_instance(Router::new(), "/instances", by_token);
    let router = of_instance(router, "/instances/{id}", instance().get(instances::read::<P>));
    let accounts = [
        ("/accounts", post(accounts::make::<P>)),
        ("/accounts/{account}/keys", post(accounts::add_keys::<P>).delete(accounts::void_keys::<P>)),
    ];
    let accounts = api.admin_key_sha256.is_some().then_some(accounts);
    routes
        .into_iter()
        .chain(accounts.into_iter().flatten())
        .fold(router, |router, (path, methods)| route(router, path, methods))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(from_fn_with_state(Arc::clone(&api), answer::finish::<P>))
        .with_state(api)
}

fn instance<P: Platform>() -> MethodRouter<Arc<Api<P>>> {
    put(instances::replace::<P>).patch(instances::change::<P>).delete(instances::delete::<P>)
}

/// The routes of one instance: `itself`, and what belongs to it.
fn of_instance<P: Platform>(
    router: Router<Arc<Api<P>>>,
    path: &str,
    itself: MethodRouter<Arc<Api<P>>>,
) -> Router<Arc<Api<P>>> {
    let routes = [
        ("", itself),
        ("/enabled", put(instances::enable::<P>).delete(instances::disable::<P>)),
        ("/configuration", get(items::list::<P>)),
        ("/configuration/{item}", get(items::one::<P>).patch(items::change::<P>)),
        ("/ping", post(ping::ping::<P>)),
        ("/events", get(history::list::<P>)),
        ("/events/{event}", get(history::one::<P>)),
    ];
    routes.into_iter().fold(router, |router, (below, methods)| route(router, &format!("{path}{below}"), methods))
}

fn route<P: Platform>(
    router: Router<Arc<Api<P>>>,
    path: &str,
    methods: MethodRouter<Arc<Api<P>>>,
) -> Router<Arc<Api<P>>> {
    let path = format!("{BASE}{path}");
    router.route(&format!("{path}/"), methods.clone()).route(&path, methods)
}
