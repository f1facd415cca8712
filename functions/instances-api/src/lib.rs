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
//! | `POST /instances` | `instances::provision` |
//! | `GET`, `PATCH`, `DELETE /instances/{id}` | `instances` |
//! | `GET /instances/{id}/events[/{eventId}]` | `history` |
//! | `GET`, `PUT /notifications/subscriptions/deliveries` | `release` |
//! | `GET /refused` | `refused`, for operators |
//!
//! *Failure:* storage that cannot be reached is 503 and may be tried again; the message says so where a change may have
//! been made all the same. Anything that should not happen is 500. Neither shows its cause, which is logged with the
//! request id that the caller was given.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod answer;
mod authorization;
mod history;
mod instances;
mod invalid;
mod query;
mod refused;
mod release;
mod settings;
mod text;
mod where_clause;
mod wire;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post, put};
use platform::Platform;
use url::Url;

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
}

impl<P> fmt::Debug for Api<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Api").field("public_url", &self.public_url).finish_non_exhaustive()
    }
}

/// The role as a router, to be served by a socket or by Lambda. It sets no fallback of its own, so that it merges with
/// other roles' routers.
pub fn router<P: Platform>(api: Arc<Api<P>>) -> Router {
    let instance = get(instances::read::<P>).patch(instances::change::<P>).delete(instances::delete::<P>);
    let routes = [
        ("/instances", post(instances::provision::<P>)),
        ("/instances/{id}", instance),
        ("/instances/{id}/enabled", put(instances::enable::<P>).delete(instances::disable::<P>)),
        ("/instances/{id}/events", get(history::list::<P>)),
        ("/instances/{id}/events/{event}", get(history::one::<P>)),
        ("/notifications/subscriptions/deliveries", get(release::queued::<P>).put(release::release::<P>)),
        ("/refused", get(refused::list::<P>)),
    ];
    routes
        .into_iter()
        .fold(Router::new(), |router, (path, methods)| route(router, path, methods))
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(from_fn_with_state(Arc::clone(&api), answer::finish::<P>))
        .with_state(api)
}

fn route<P: Platform>(
    router: Router<Arc<Api<P>>>,
    path: &str,
    methods: MethodRouter<Arc<Api<P>>>,
) -> Router<Arc<Api<P>>> {
    let path = format!("{BASE}{path}");
    router.route(&format!("{path}/"), methods.clone()).route(&path, methods)
}
