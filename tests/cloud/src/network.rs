//! A network between the platform and the emulator, which can be told to lose things.
//!
//! Each request takes the next fault that was asked for, if any. A connection carries one request: "the next request" is
//! then the same for the test and for the wire.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use platform::conformance::Faults;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

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

/// One request and its answer. Returning closes the connection.
async fn serve(mut client: TcpStream, upstream: SocketAddr, state: &Mutex<State>) -> io::Result<()> {
    let Some(request) = message(&mut client).await? else { return Ok(()) };
    let fault = {
        let mut state = lock(state);
        state.requests.push(String::from_utf8_lossy(&request).into_owned());
        state.faults.pop_front()
    };
    let answer = match &fault {
        Some(Fault::Refuse) => return Ok(()),
        Some(Fault::Answer(status, body)) => made(*status, body),
        Some(Fault::LoseAnswer | Fault::HoldAnswer) | None => forward(upstream, &request).await?,
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
    let (head, body) = message.split_at(length);
    let head = String::from_utf8_lossy(head);
    let mut lines: Vec<&str> = head.lines().filter(|line| !line.is_empty() && !named(line, "connection")).collect();
    lines.push("connection: close");
    let mut closing = lines.join("\r\n").into_bytes();
    closing.extend_from_slice(END_OF_HEAD);
    closing.extend_from_slice(body);
    closing
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
