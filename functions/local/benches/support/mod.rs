//! What the benches share: the server as a process, and HTTP over sockets without a client's work in the figures.

#![allow(dead_code, reason = "each bench uses its part")]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The server, at work on data of its own.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    authorization: String,
    /// Removed with the server.
    data: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_pollhook"))
            .args(["--listen", "127.0.0.1:0", "--allow-callbacks-to", "127.0.0.0/8", "--log", "error", "--data"])
            .arg(data.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().unwrap().unwrap();
        let address = first.split("http://").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        let authorization = std::fs::read_to_string(data.path().join("credentials")).unwrap();
        Self { child, address, authorization, data }
    }

    /// Highest resident memory so far, in MB.
    pub(crate) fn peak_mb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1024
    }

    /// Processor seconds used so far.
    pub(crate) fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let after = stat.rsplit(')').next().unwrap_or_default();
        let ticks: u64 = after.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
        ticks as f64 / 100.0
    }

    /// Provisions an instance, and says what the API answered.
    pub(crate) async fn provision(&self, instance: &str) -> serde_json::Value {
        let request = format!(
            "POST /elements/api-v2/instances HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{instance}",
            self.authorization,
            instance.len()
        );
        let mut connection = Connection::open(self.address).await;
        let (status, body) = connection.exchange(request.as_bytes()).await;
        assert_eq!(status, 200, "provisioning");
        serde_json::from_slice(&body).unwrap()
    }
}

impl Server {
    /// Ends the server, and returns its data.
    pub(crate) fn end(mut self) -> tempfile::TempDir {
        let data = std::mem::replace(&mut self.data, tempfile::tempdir().unwrap());
        drop(self);
        data
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One keep-alive connection of a client.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::with_capacity(4096) }
    }

    pub(crate) async fn exchange(&mut self, request: &[u8]) -> (u16, Vec<u8>) {
        self.stream.write_all(request).await.unwrap();
        let (head, body) = read_message(&mut self.stream, &mut self.buffer).await.expect("an answer");
        (std::str::from_utf8(&head[9..12]).unwrap().parse().unwrap(), body)
    }
}

/// Reads one HTTP/1.1 message with a content-length: head and body.
async fn read_message(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<(Vec<u8>, Vec<u8>)> {
    loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            let head = std::str::from_utf8(&buffer[..end]).unwrap().to_ascii_lowercase();
            let length = head.split("content-length:").nth(1).and_then(|r| r.split("\r\n").next()).unwrap_or("0");
            let total = end + 4 + length.trim().parse::<usize>().unwrap();
            while buffer.len() < total {
                if stream.read_buf(buffer).await.ok()? == 0 {
                    return None;
                }
            }
            let rest = buffer.split_off(total);
            let body = buffer.split_off(end + 4);
            let head = std::mem::replace(buffer, rest);
            return Some((head, body));
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// A server that gives the same answer to every request at once, and then notes its head and body.
pub(crate) async fn answering(
    answer: &'static [u8],
    note: impl Fn(&[u8], &[u8]) + Clone + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.set_nodelay(true);
            let note = note.clone();
            tokio::spawn(async move {
                let mut buffer = Vec::with_capacity(4096);
                while let Some((head, body)) = read_message(&mut stream, &mut buffer).await {
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                    note(&head, &body);
                }
            });
        }
    });
    address
}

/// A part of what is sorted, in milliseconds.
pub(crate) fn percentile(sorted: &[u64], part: f64) -> f64 {
    let index = ((sorted.len() as f64 * part) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(index).map_or(0.0, |ns| *ns as f64 / 1e6)
}
