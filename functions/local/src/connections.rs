//! Connections of strangers: taken, bounded, and ended in order.
//!
//! *Promises:* who sends slowly, or nothing, holds a connection for `head_deadline` and nothing else. At most
//! [`most`] are open; further ones wait in the kernel's line until one ends. No error of accepting ends the server, and
//! none makes it spin. When it is stopped, requests under way are answered, and idle connections are closed.
//!
//! *Not promised:* what a request may take after its head; that is for its [deadline](crate::edge::deadline).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// How long the head of a request may take, from the connection or from the answer before; so an idle connection is
/// closed after it too. Longer than the 60 s for which common proxies keep an idle connection: it is then they who close
/// it, and none sends a request into a connection that is just being closed.
pub(crate) const HEAD_DEADLINE: Duration = Duration::from_secs(75);

/// Most open connections, where the system allows more files. One takes some 20 KB.
const MOST: usize = 4096;

/// Fewest: with less, a handful of idle ones would shut others out.
const FEWEST: usize = 64;

/// How long to wait after accepting failed. It fails for want of files or memory, and those come back when something ends.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// What the process may open where the system does not say: POSIX systems' usual soft limit.
const USUAL_FILES: usize = 1024;

/// The process's soft limit of open files.
pub(crate) fn open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    soft_limit(&limits).unwrap_or(USUAL_FILES)
}

fn soft_limit(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    match line.split_whitespace().next()? {
        "unlimited" => Some(usize::MAX),
        number => number.parse().ok(),
    }
}

/// How many connections may be open: half of the files, for callbacks need as many, and the store some.
pub(crate) fn most(open_files: usize) -> usize {
    (open_files / 2).clamp(FEWEST, MOST)
}

/// Serves until `stop`, then waits for the requests under way.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    most: usize,
    head_deadline: Duration,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(most));
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(head_deadline).keep_alive(true);
    let service = TowerToHyperService::new(router);
    let open = GracefulShutdown::new();
    loop {
        let (stream, place) = tokio::select! {
            biased;
            _ = stop.wait_for(|stopped| *stopped) => break,
            accepted = accept(&listener, &places) => accepted,
        };
        // Answers are small: waiting to fill a packet would only delay them.
        let _ = stream.set_nodelay(true);
        let connection = open.watch(server.serve_connection(TokioIo::new(stream), service.clone()));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(place);
        });
    }
    drop(listener);
    open.shutdown().await;
}

/// The next connection, once there is a place for it.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
    loop {
        let Ok(place) = Arc::clone(places).acquire_owned().await else {
            // Never closed; and if it were, nobody could be let in.
            return std::future::pending().await;
        };
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
            Err(error) if gone(&error) => {}
            Err(error) => {
                tracing::error!(%error, "connections cannot be taken at the moment");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}

/// Whether it is about the one connection, which its peer gave up before it was taken.
fn gone(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::task::JoinHandle;

    use super::*;

    /// Far beyond what a test takes.
    const LONG: Duration = Duration::from_secs(20);

    async fn started(most: usize) -> (SocketAddr, watch::Sender<bool>, JoinHandle<()>) {
        started_with(most, HEAD_DEADLINE).await
    }

    async fn started_with(most: usize, head: Duration) -> (SocketAddr, watch::Sender<bool>, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let router = Router::new().route("/", get(async || "hello"));
        (address, stop, tokio::spawn(serve(listener, router, most, head, stopped)))
    }

    async fn ask(stream: &mut TcpStream) -> String {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        read(stream).await
    }

    /// Reads until the answer's body is there.
    async fn read(stream: &mut TcpStream) -> String {
        let (mut text, mut some) = (String::new(), [0; 1024]);
        while !text.ends_with("hello") {
            let count = tokio::time::timeout(LONG, stream.read(&mut some)).await.expect("an answer").unwrap();
            assert!(count > 0, "closed after {text:?}");
            text.push_str(std::str::from_utf8(&some[..count]).unwrap());
        }
        text
    }

    #[tokio::test]
    async fn a_connection_is_kept_and_one_beyond_the_cap_waits_for_an_end() {
        let (address, _stop, _server) = started(2).await;
        let mut first = TcpStream::connect(address).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        for _ in 0..3 {
            assert!(ask(&mut first).await.starts_with("HTTP/1.1 200 "));
            ask(&mut second).await;
        }
        let mut third = TcpStream::connect(address).await.unwrap();
        third.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        // The others are still served, so the server has had every chance to answer the third.
        for _ in 0..50 {
            ask(&mut first).await;
        }
        assert!(third.try_read(&mut [0; 1]).is_err(), "it would block");
        drop(second);
        read(&mut third).await;
    }

    #[tokio::test]
    async fn a_head_that_does_not_end_ends_the_connection() {
        let (address, _stop, _server) = started_with(1, Duration::from_millis(200)).await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nhost: ").await.unwrap();
        let mut next = TcpStream::connect(address).await.unwrap();
        ask(&mut next).await;
        let ended = slow.read(&mut [0; 1024]).await;
        assert!(ended.is_err() || ended.is_ok_and(|count| count == 0), "closed without an answer");
    }

    #[tokio::test]
    async fn a_stop_closes_idle_connections_and_takes_no_others() {
        let (address, stop, server) = started(8).await;
        let mut idle = TcpStream::connect(address).await.unwrap();
        ask(&mut idle).await;
        stop.send(true).unwrap();
        tokio::time::timeout(LONG, server).await.expect("it ends").unwrap();
        assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0);
        TcpStream::connect(address).await.unwrap_err();
    }

    #[test]
    fn connections_take_half_of_the_files_within_bounds() {
        assert_eq!([1024, 20_000, 10, usize::MAX].map(most), [512, 4096, 64, 4096]);
        let line =
            |soft: &str| format!("Max processes  1  2  processes\nMax open files            {soft}     4096  files\n");
        assert_eq!(soft_limit(&line("1024")), Some(1024));
        assert_eq!(soft_limit(&line("unlimited")), Some(usize::MAX));
        assert_eq!(soft_limit("Max cpu time unlimited"), None);
        assert!(open_files() > 0);
    }
}
