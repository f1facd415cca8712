//! Posts per second from one core to a sink on another: the upper bound of what a dispatcher can deliver.

use std::net::SocketAddr;

use bytes::Bytes;
use divan::Bencher;
use divan::counter::ItemsCount;
use egress::{CallbackRequest, Client, Limits, Policy, Post};
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue};
use pollhook_egress as egress;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use url::Url;

/// A webhook notification of a few events.
const BODY_BYTES: usize = 1500;
const POSTS: usize = 2048;

fn main() {
    divan::main();
}

#[divan::bench(args = [1, 64], sample_count = 20)]
fn post(bencher: Bencher, concurrency: usize) {
    let runtime = runtime();
    let client = client();
    let url = url(sink());
    bencher.counter(ItemsCount::new(POSTS)).bench_local(|| {
        runtime.block_on(async {
            let mut under_way = FuturesUnordered::new();
            for _ in 0..POSTS {
                if under_way.len() == concurrency {
                    assert_eq!(under_way.next().await, Some(200));
                }
                let post = client.post(CallbackRequest { url: url.clone(), headers: headers(), body: body() });
                under_way.push(async { post.await.map_or(0, |answer| answer.status) });
            }
            while let Some(status) = under_way.next().await {
                assert_eq!(status, 200);
            }
        });
    });
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn client() -> Client {
    let loopback = "127.0.0.0/8".parse().expect("a range");
    Client::new(Policy::new(vec![loopback], None), Limits::default()).expect("valid limits")
}

fn url(address: SocketAddr) -> Url {
    format!("http://{address}/callback").parse().expect("a URL")
}

fn body() -> Bytes {
    Bytes::from_static(&[b'x'; BODY_BYTES])
}

/// As many headers as a signed notification has.
fn headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json;charset=UTF-8"));
    for name in ["elements-webhook-id", "elements-webhook-signature", "webhook-id", "webhook-timestamp"] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static("0123456789abcdef0123456789abcdef"));
    }
    headers
}

/// A receiver on a thread of its own that reads each post and answers 200.
fn sink() -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            tell.send(listener.local_addr().expect("an address")).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(receive(stream));
            }
        });
    });
    told.recv().expect("the sink's address")
}

async fn receive(mut stream: TcpStream) {
    let mut bytes = Vec::with_capacity(2 * BODY_BYTES);
    loop {
        match stream.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if end.is_some_and(|end| bytes.len() >= end + 4 + BODY_BYTES) {
            bytes.clear();
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.is_err() {
                return;
            }
        }
    }
}
