//! A receiver on a real socket that answers by script.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::egress::{Lookup, Lookups};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the receiver does with each request.
#[derive(Clone)]
pub(crate) enum Script {
    /// Writes this and keeps the connection.
    Answer(Vec<u8>),
    /// Writes this, then nothing more, keeping the connection open.
    Stall(Vec<u8>),
    /// Writes this and closes.
    Close(Vec<u8>),
    /// Writes this, then the second part again and again until the client goes away.
    Endless(&'static [u8], Vec<u8>),
}

/// A receiver that runs until it is dropped.
pub(crate) struct Sink {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Sink {
    pub(crate) async fn new(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (count, seen) = (Arc::clone(&connections), Arc::clone(&requests));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, script.clone(), Arc::clone(&seen)));
            }
        });
        Self { address, connections, requests, task }
    }

    pub(crate) async fn answering(head: &str, body: &str) -> Self {
        let length = body.len();
        Self::new(Script::Answer(format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\n\r\n{body}").into())).await
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, script: Script, seen: Arc<Mutex<Vec<String>>>) {
    while let Some(request) = read_request(&mut stream).await {
        seen.lock().unwrap().push(request);
        match &script {
            Script::Answer(bytes) => {
                let _ = stream.write_all(bytes).await;
            }
            Script::Stall(bytes) => {
                let _ = stream.write_all(bytes).await;
                std::future::pending::<()>().await;
            }
            Script::Close(bytes) => {
                let _ = stream.write_all(bytes).await;
                return;
            }
            Script::Endless(head, piece) => {
                let _ = stream.write_all(head).await;
                while stream.write_all(piece).await.is_ok() {}
                return;
            }
        }
    }
}

/// One request with its body; `None` once the client is gone. What is no HTTP (a TLS greeting) counts as a request.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if bytes[0] == 0x16 {
            return Some(String::from("TLS"));
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok())
                .unwrap_or(0);
            if body.len() >= length {
                return Some(text.into_owned());
            }
        }
    }
}

/// Names from a table; any other does not exist, and `slow.test` is never told.
pub(crate) struct Names(HashMap<String, Vec<IpAddr>>);

impl Names {
    pub(crate) fn new(names: &[(&str, &[&str])]) -> Self {
        let parse = |addresses: &[&str]| addresses.iter().map(|text| text.parse().unwrap()).collect();
        Self(names.iter().map(|(name, addresses)| ((*name).to_owned(), parse(addresses))).collect())
    }
}

impl Lookup for Names {
    fn lookup(&self, name: &str) -> Lookups {
        if name == "slow.test" {
            return Box::pin(std::future::pending());
        }
        let found = self.0.get(name).cloned();
        Box::pin(async move { found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such name")) })
    }
}
