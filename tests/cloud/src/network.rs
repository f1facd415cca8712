//! A network between the platform and the emulator, which can be told to lose things.
//!
//! Each request takes the next fault that was asked for, if any. A connection carries one request: "the next request" is
//! then the same for the test and for the wire.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use platform::BusError;
use platform::conformance::Faults;
use platform::conformance::bus_faults::EntryFaults;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::entries::{Doomed, Part};

/// What happens to a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It is done; the connection dies before the answer.
    LoseAnswer,
    /// It is done; the answer does not come, and the connection stays.
    HoldAnswer,
    /// The connection dies before it is done.
    Refuse,
    /// It is not done, and gets this answer: a status and a body of JSON.
    Answer(u16, String),
}

#[derive(Debug, Default)]
struct State {
    faults: VecDeque<Fault>,
    faults_at: BTreeMap<usize, Fault>,
    doomed: Doomed,
    requests: Vec<String>,
}

/// A way to the emulator. It ends when it is dropped.
#[derive(Debug)]
pub struct Network {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    server: JoinHandle<()>,
}

impl Drop for Network {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Network {
    /// A way to `upstream`.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                // What goes wrong here shows at the client, as a connection that died.
                tokio::spawn(async move { serve(client, upstream, &state).await });
            }
        });
        Self { address, state, server }
    }

    /// The next request that has no fault yet gets this one.
    pub fn fault(&self, fault: Fault) {
        lock(&self.state).faults.push_back(fault);
    }

    /// The request `index` (counted from 0) gets this one.
    pub fn fault_at(&self, index: usize, fault: Fault) {
        lock(&self.state).faults_at.insert(index, fault);
    }

    /// No further request gets a fault that was asked for before.
    pub fn forget_faults(&self) {
        let mut state = lock(&self.state);
        state.faults.clear();
        state.faults_at.clear();
    }

    /// The requests that came so far, head and body.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        lock(&self.state).requests.clone()
    }
}

impl Faults for Network {
    fn lose_next_answer(&self) {
        self.fault(Fault::LoseAnswer);
    }

    fn refuse_next_request(&self) {
        self.fault(Fault::Refuse);
    }
}

impl EntryFaults for Network {
    fn fail_entries(&self, detail_type: &str, error: &BusError) {
        lock(&self.state).doomed.add(detail_type, error);
    }

    fn heal(&self) {
        lock(&self.state).doomed.clear();
    }
}

/// One request and its answer. Returning closes the connection.
async fn serve(mut client: TcpStream, upstream: SocketAddr, state: &Mutex<State>) -> io::Result<()> {
    let Some(request) = message(&mut client).await? else { return Ok(()) };
    let (fault, part) = {
        let mut state = lock(state);
        state.requests.push(String::from_utf8_lossy(&request).into_owned());
        let length = head_length(&request).unwrap_or(request.len());
        let part = state.doomed.part(&String::from_utf8_lossy(&request[..length]), &request[length..]);
        let index = state.requests.len() - 1;
        let fault = state.faults_at.remove(&index).or_else(|| state.faults.pop_front());
        (fault, part)
    };
    let answer = match &fault {
        Some(Fault::Refuse) => return Ok(()),
        Some(Fault::Answer(status, body)) => made(*status, body),
        Some(Fault::LoseAnswer | Fault::HoldAnswer) | None => match part {
            Some(part) => in_part(upstream, &request, &part).await?,
            None => forward(upstream, &request).await?,
        },
    };
    match fault {
        Some(Fault::LoseAnswer) => Ok(()),
        // Until the client gives up.
        Some(Fault::HoldAnswer) => client.read_buf(&mut Vec::new()).await.map(|_| ()),
        _ => {
            client.write_all(&closing(&answer)).await?;
            client.shutdown().await
        }
    }
}

async fn forward(upstream: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut upstream = TcpStream::connect(upstream).await?;
    upstream.write_all(&closing(request)).await?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer).await?;
    Ok(answer)
}

/// What is left of a request goes on; the rest fails.
async fn in_part(upstream: SocketAddr, request: &[u8], part: &Part) -> io::Result<Vec<u8>> {
    let Some(body) = &part.body else { return Ok(made(200, &part.answer(None))) };
    let answer = forward(upstream, &with_body(request, body)).await?;
    let length = head_length(&answer).unwrap_or(answer.len());
    Ok(made(200, &part.answer(Some(&answer[length..]))))
}

fn made(status: u16, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} Made\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

const END_OF_HEAD: &[u8] = b"\r\n\r\n";

fn head_length(message: &[u8]) -> Option<usize> {
    message.windows(END_OF_HEAD.len()).position(|at| at == END_OF_HEAD).map(|at| at + END_OF_HEAD.len())
}

/// The same message, the last one of its connection.
fn closing(message: &[u8]) -> Vec<u8> {
    let Some(length) = head_length(message) else { return message.to_vec() };
    with(message, "connection", "close", &message[length..])
}

/// The same message about something else.
fn with_body(message: &[u8], body: &[u8]) -> Vec<u8> {
    with(message, "content-length", &body.len().to_string(), body)
}

/// The message with another body and this header.
fn with(message: &[u8], name: &str, value: &str, body: &[u8]) -> Vec<u8> {
    let head = String::from_utf8_lossy(&message[..head_length(message).unwrap_or(message.len())]);
    let header = format!("{name}: {value}");
    let mut lines: Vec<&str> = head.lines().filter(|line| !line.is_empty() && !named(line, name)).collect();
    lines.push(&header);
    let mut message = lines.join("\r\n").into_bytes();
    message.extend_from_slice(END_OF_HEAD);
    message.extend_from_slice(body);
    message
}

fn named(line: &str, name: &str) -> bool {
    line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name))
}

/// A request with its body, whose length is given; `None` when the connection ended before.
async fn message(client: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut message = Vec::new();
    let mut length = None;
    while length.is_none_or(|length| message.len() < length) {
        if client.read_buf(&mut message).await? == 0 {
            return Ok(None);
        }
        if length.is_none() {
            length = head_length(&message).map(|head| head + body_length(&message[..head]));
        }
    }
    Ok(Some(message))
}

fn body_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head);
    let length = head.lines().find(|line| named(line, "content-length")).and_then(|line| line.split_once(':'));
    length.and_then(|(_, length)| length.trim().parse().ok()).unwrap_or(0)
}
