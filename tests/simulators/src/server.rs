//! A provider on a socket.
//!
//! *Flow:* read the request whole → what is due goes wrong → the provider answers → the request is recorded → the answer is
//! sent, dated by the provider's clock. One request is answered at a time, so a test sees a world between two requests and
//! never within one.
//!
//! *Failure modes:* an error of a connection ends that connection only. A simulator ends when it is dropped.

use std::fmt;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use events::Timestamp;
use http::header;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::exchange::{Answer, Request};
use crate::faults::{Fault, Gate, Plans, Refusal, RetryAfter, When};
use crate::oauth::Grants;
use crate::requests::{Outcome, Served};

/// What a simulator is of: a provider's world, and its API.
pub trait Provider: Send + 'static {
    /// Answers one request.
    fn answer(&mut self, request: &Request) -> Answer;

    /// The provider's words for a refusal that a test planned, without the header `Retry-After`.
    fn refuse(&mut self, refusal: Refusal, request: &Request) -> Answer;

    /// Who may ask.
    fn grants(&mut self) -> &mut Grants;
}

/// A provider that is served on a socket of this computer, until it is dropped.
pub struct Simulator<P> {
    shared: Arc<Shared<P>>,
    clock: Clock,
    url: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared<P> {
    clock: Clock,
    state: Mutex<State<P>>,
}

struct State<P> {
    provider: P,
    plans: Plans<P>,
    served: Vec<Served>,
}

/// The connection closes without an answer: what hyper does when a service fails.
#[derive(Debug, thiserror::Error)]
#[error("hung up, as planned")]
struct HangUp;

impl<P: Provider> Simulator<P> {
    /// Serves what `make` makes for a clock that stands at `now` and the URL it is served at.
    ///
    /// # Panics
    /// When there is no socket to be had.
    #[must_use]
    pub fn start(now: Timestamp, make: impl FnOnce(&Clock, &str) -> P) -> Self {
        let clock = Clock::new(now);
        // Bound here, so that the URL is known and connections wait for the thread.
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket of this computer");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let url = format!("http://{}", listener.local_addr().expect("the socket's address"));
        let state = State { provider: make(&clock, &url), plans: Plans::default(), served: Vec::new() };
        let shared = Arc::new(Shared { clock: clock.clone(), state: Mutex::new(state) });
        let (stop, stopped) = oneshot::channel();
        // A thread of its own: tests may block on a client, and need no runtime.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, serving) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { shared, clock, url, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it is served, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The provider's clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Looks at the world, or changes it; no request is answered meanwhile.
    pub fn world<T>(&self, look: impl FnOnce(&mut P) -> T) -> T {
        look(&mut self.shared.state().provider)
    }

    /// Answers a request as the socket would, without it: for tests that ask more than sockets are quick enough for. What was
    /// planned happens. `None`: the connection closes before the answer has ended.
    ///
    /// # Panics
    /// When the answer is to be slow or held back: here nobody waits.
    #[must_use]
    pub fn ask(&self, request: Request) -> Option<Answer> {
        let Verdict { slow, gates, answer, cut } = self.shared.handle(request);
        assert!(slow.is_zero() && gates.is_empty(), "only a socket's answer can wait");
        let whole = |answer: &Answer| cut.is_none_or(|cut| cut >= answer.body.len());
        answer.filter(whole).map(|answer| answer.with(header::DATE.as_str(), &http_date(self.clock.now())))
    }

    /// Plans a fault.
    pub fn plan(&self, when: When, fault: Fault<P>) {
        self.shared.state().plans.add(when, fault);
    }

    /// From now on nothing goes wrong.
    pub fn heal(&self) {
        self.shared.state().plans.clear();
    }

    /// The requests since the start or the last [`Simulator::forget`], in order.
    #[must_use]
    pub fn served(&self) -> Vec<Served> {
        self.shared.state().served.clone()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.shared.state().served.clear();
    }
}

impl<P> Drop for Simulator<P> {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It panicked only if serving did, which the test has seen as an error of its client.
            let _ = thread.join();
        }
    }
}

impl<P> fmt::Debug for Simulator<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Simulator({})", self.url)
    }
}

/// What happens to one request.
struct Verdict {
    slow: Duration,
    gates: Vec<Gate>,
    /// `None`: the connection closes.
    answer: Option<Answer>,
    /// How much of the body is sent before the connection closes.
    cut: Option<usize>,
}

impl<P> Shared<P> {
    fn state(&self) -> MutexGuard<'_, State<P>> {
        // A test that panicked while it looked at the world leaves the world as it is.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Provider> Shared<P> {
    fn handle(&self, request: Request) -> Verdict {
        let mut state = self.state();
        let state = &mut *state;
        let due = state.plans.due(&request);
        let (mut slow, mut gates, mut planned) = (Duration::ZERO, Vec::new(), None);
        let (mut after, mut hang_up, mut cut) = (Vec::new(), false, None);
        for fault in due {
            match fault {
                Fault::Slow(duration) => slow += duration,
                Fault::Held(gate) => gates.push(gate),
                Fault::ExpireTokens => state.provider.grants().expire_all(),
                Fault::Revoke => state.provider.grants().revoke_all(),
                Fault::Before(change) => change(&mut state.provider),
                Fault::After(change) => after.push(change),
                Fault::HangUpAfter => hang_up = true,
                Fault::CutAfter(bytes) => cut = Some(bytes),
                first if planned.is_none() => planned = Some(first),
                // Only one can answer.
                Fault::Refuse(_) | Fault::Answer(_) | Fault::HangUpBefore => {}
            }
        }
        let answer = match planned {
            Some(Fault::Refuse(refusal)) => Some(self.refused(&mut state.provider, refusal, &request)),
            Some(Fault::Answer(answer)) => Some(answer),
            Some(Fault::HangUpBefore) => None,
            _ => Some(state.provider.answer(&request)),
        };
        let answer = if hang_up { None } else { answer };
        for change in after {
            change(&mut state.provider);
        }
        let outcome = answer.as_ref().map_or(Outcome::HungUp, |answer| Outcome::Answered(answer.status.as_u16()));
        state.served.push(Served {
            at: self.clock.now(),
            method: request.method.clone(),
            path: request.path.clone(),
            authorization: request.authorization(),
            request,
            outcome,
        });
        Verdict { slow, gates, answer, cut }
    }

    fn refused(&self, provider: &mut P, refusal: Refusal, request: &Request) -> Answer {
        let answer = provider.refuse(refusal, request);
        match refusal {
            Refusal::TooMany(RetryAfter::Seconds(seconds)) => answer.with("retry-after", &seconds.to_string()),
            Refusal::TooMany(RetryAfter::Date(seconds)) => {
                let date = http_date(self.clock.now().plus(Duration::from_secs(seconds.into())));
                answer.with("retry-after", &date)
            }
            Refusal::TooMany(RetryAfter::Unsaid) | Refusal::Broken(_) => answer,
        }
    }
}

fn http_date(at: Timestamp) -> String {
    let millis = u64::try_from(at.as_millis()).unwrap_or(0);
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_millis(millis))
}

/// A body, or its beginning.
enum Sent {
    Whole(Full<Bytes>),
    Cut(Option<Bytes>),
}

impl Body for Sent {
    type Data = Bytes;
    type Error = HangUp;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, HangUp>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Self::Cut(part) => Poll::Ready(Some(part.take().map(Frame::data).ok_or(HangUp))),
        }
    }
}

async fn serve<P: Provider>(listener: std::net::TcpListener, shared: Arc<Shared<P>>) {
    let listener = TcpListener::from_std(listener).expect("the socket, in the runtime");
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // No more sockets to be had: some will be given back.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(|request| respond(&shared, request));
            // An error here is a client that went away, or a connection that was closed as planned.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn respond<P: Provider>(
    shared: &Shared<P>,
    request: http::Request<Incoming>,
) -> Result<http::Response<Sent>, HangUp> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| HangUp)?.to_bytes();
    let query = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let path = parts.uri.path().to_owned();
    let request = Request { method: parts.method, path, query, headers: parts.headers, body };
    let Verdict { slow, gates, answer, cut } = shared.handle(request);
    if !slow.is_zero() {
        tokio::time::sleep(slow).await;
    }
    for gate in gates {
        gate.passed().await;
    }
    let answer = answer.ok_or(HangUp)?;
    let length = answer.body.len();
    let rest = cut.filter(|cut| *cut < length);
    let mut response = http::Response::new(match rest {
        None => Sent::Whole(Full::new(answer.body)),
        Some(cut) => Sent::Cut(Some(answer.body.slice(..cut))),
    });
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    if let Ok(date) = http_date(shared.clock.now()).parse() {
        response.headers_mut().insert(header::DATE, date);
    }
    Ok(response)
}
