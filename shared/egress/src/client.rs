//! The client itself.

use std::sync::{Arc, OnceLock};

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, PROXY_AUTHORIZATION, REFERER, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE, USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Method};
use reqwest::tls::TlsInfo;
use tokio::time::{Instant, timeout_at};

use crate::answer::{Answer, BODY_START_BYTES, RetryAfter, excerpt};
use crate::certificate::Certificate;
use crate::confidential::Confidential;
use crate::failure::{Failure, Stage, classify};
use crate::limits::{InvalidLimits, Limits};
use crate::policy::{Policy, Route};
use crate::resolve::{Lookup, Resolver, SystemLookup};
use crate::{CallbackRequest, Post, crypto, roots};

const AGENT: HeaderValue = HeaderValue::from_static(concat!("Pollhook/", env!("CARGO_PKG_VERSION")));

/// How often an HTTP/2 connection with posts under way is asked whether it is alive, and how long it may take to say
/// so: together within the default deadline. All posts to a host share that connection; one whose peer vanished (a
/// frozen function wakes to such) would swallow every post until TCP gives up after many minutes.
const PING_EVERY: std::time::Duration = std::time::Duration::from_secs(5);

/// Posts callbacks. Cheap to make: what costs (reading the system's certificates) waits for the first post or [`warm`].
/// Connections are kept between posts, so there should be one client per process.
///
/// [`warm`]: Client::warm
pub struct Client {
    policy: Arc<Policy>,
    limits: Limits,
    lookup: Arc<dyn Lookup>,
    guarded: OnceLock<reqwest::Client>,
    /// For our own events paths, and for providers where the operator chose. A client of its own, because kept connections belong to a client: one that was opened
    /// past the policy must not be found by a URL that is subject to it.
    own: OnceLock<reqwest::Client>,
}

impl Client {
    /// A client that asks the operating system for addresses.
    ///
    /// # Errors
    /// [`InvalidLimits`].
    pub fn new(policy: Policy, limits: Limits) -> Result<Self, InvalidLimits> {
        Self::with_lookup(policy, limits, SystemLookup::default())
    }

    /// A client that asks `lookup` for addresses; the policy judges them all the same.
    ///
    /// # Errors
    /// [`InvalidLimits`].
    pub fn with_lookup(policy: Policy, limits: Limits, lookup: impl Lookup) -> Result<Self, InvalidLimits> {
        limits.validate()?;
        Ok(Self {
            policy: Arc::new(policy),
            limits,
            lookup: Arc::new(lookup),
            guarded: OnceLock::new(),
            own: OnceLock::new(),
        })
    }

    /// Does now what the first post would wait for: reads and parses the system's certificates, which blocks for tens
    /// of milliseconds.
    ///
    /// # Errors
    /// [`Failure::Ours`] when there are none.
    pub fn warm(&self) -> Result<(), Failure> {
        self.inner(Route::Guarded).map(drop)
    }

    /// The policy that this client keeps to.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn inner(&self, route: Route) -> Result<&reqwest::Client, Failure> {
        let (cell, policy) = match route {
            Route::Guarded => (&self.guarded, Some(Arc::clone(&self.policy))),
            Route::Own => (&self.own, None),
        };
        if let Some(built) = cell.get() {
            return Ok(built);
        }
        // Two first posts may both build; one result is dropped. A failure is not kept: certificates may yet appear.
        let built = build(&self.limits, Resolver { lookup: Arc::clone(&self.lookup), policy })?;
        Ok(cell.get_or_init(|| built))
    }
}

fn build(limits: &Limits, resolver: Resolver) -> Result<reqwest::Client, Failure> {
    crypto::provide();
    reqwest::Client::builder()
        .tls_certs_only(roots::all()?.iter().cloned())
        .dns_resolver(resolver)
        // A proxy would resolve and connect in our place, past the policy.
        .no_proxy()
        // A redirect is the receiver's choice of URL, not the customer's.
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .tls_version_min(reqwest::tls::Version::TLS_1_2)
        // What a ping shows of the certificate; it costs a delivery a copy of one or two kilobytes.
        .tls_info(true)
        .connect_timeout(limits.connect)
        .tcp_user_timeout(limits.total)
        .pool_idle_timeout(limits.idle)
        .pool_max_idle_per_host(limits.idle_per_host)
        .http2_keep_alive_interval(PING_EVERY)
        .http2_keep_alive_timeout(PING_EVERY)
        .build()
        .map_err(|error| Failure::Ours(format!("the HTTP client could not be set up: {}", error.without_url())))
}

impl Post for Client {
    async fn post(&self, request: CallbackRequest) -> Result<Answer, Failure> {
        let CallbackRequest { url, headers, body } = request;
        let client = self.inner(self.policy.vet(&url)?)?;
        let confidential = Confidential::of(&headers, &url);
        let mut post = reqwest::Request::new(Method::POST, url);
        *post.headers_mut() = sendable(headers);
        *post.body_mut() = Some(body.into());

        let start = Instant::now();
        let deadline = start + self.limits.total;
        let response = match timeout_at(deadline, client.execute(post)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(classify(error, start.elapsed())),
            Err(_) => return Err(Failure::Timeout { during: Stage::Answering, after: self.limits.total }),
        };
        let latency = start.elapsed();
        let certificate = response.extensions().get::<TlsInfo>().and_then(TlsInfo::peer_certificate);
        let certificate = certificate.map(Certificate::new);
        Ok(Answer {
            status: response.status().as_u16(),
            retry_after: RetryAfter::of(response.headers()),
            body_start: if response.content_length() == Some(0) {
                String::new()
            } else {
                let deadline = deadline.min(start + latency + self.limits.body);
                confidential.hide(body_start(response, &self.limits, deadline).await)
            },
            latency,
            certificate,
        })
    }
}

/// Reads a body to its end, so that its connection can serve again, and keeps its beginning. A body that is too long,
/// too slow or cut short is given up, and its connection with it.
async fn body_start(mut response: reqwest::Response, limits: &Limits, deadline: Instant) -> String {
    // A body that is announced to be too long is read only for its beginning.
    let announced = response.content_length().unwrap_or(0);
    let cap = if announced > limits.body_cap as u64 { BODY_START_BYTES.min(limits.body_cap) } else { limits.body_cap };
    let mut kept = Vec::new();
    let mut length = 0_usize;
    let reading = async {
        while length <= cap
            && let Ok(Some(chunk)) = response.chunk().await
        {
            length += chunk.len();
            let wanted = BODY_START_BYTES.saturating_sub(kept.len()).min(chunk.len());
            kept.extend_from_slice(&chunk[..wanted]);
        }
    };
    let whole = timeout_at(deadline, reading).await.is_ok();
    excerpt(&kept, !whole || length > kept.len())
}

/// Headers that frame a message or name its destination (see [`CallbackRequest::headers`]).
pub(crate) static FRAMING: [HeaderName; 12] = [
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    HOST,
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    REFERER,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The caller's headers without those that are not theirs to set (see [`CallbackRequest::headers`]), and our name.
pub(crate) fn sendable(mut headers: HeaderMap) -> HeaderMap {
    if headers.keys().any(|name| FRAMING.contains(name)) {
        for name in &FRAMING {
            headers.remove(name);
        }
    }
    headers.insert(USER_AGENT, AGENT);
    headers
}
