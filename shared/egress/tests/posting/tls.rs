//! Posts over TLS. The certificates beside this file are for `hooks.test`, signed by an authority that nobody but these
//! tests trusts: `server.pem` until 2124, `expired.pem` until 2024.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::egress::{CertificateDetails, Client, Failure, Limits};
use crate::sink::{Names, Sink};
use crate::{local, post};

const AUTHORITY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/posting/tls/authority.pem");
const SERVER: &[u8] = include_bytes!("tls/server.pem");
const EXPIRED: &[u8] = include_bytes!("tls/expired.pem");
const KEY: &[u8] = include_bytes!("tls/server.key");

/// A receiver that shows `certificate` and answers every request 200.
async fn receiver(certificate: &[u8]) -> SocketAddr {
    let chain = vec![CertificateDer::from_pem_slice(certificate).unwrap()];
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(KEY).unwrap())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut bytes = Vec::new();
                while stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                    if bytes.ends_with(b"{\"a\":1}") {
                        bytes.clear();
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                    }
                }
            });
        }
    });
    address
}

fn client() -> Client {
    let names = Names::new(&[("hooks.test", &["127.0.0.1"]), ("other.test", &["127.0.0.1"])]);
    Client::with_lookup(local(), Limits::default(), names).unwrap()
}

async fn reason(client: &Client, name: &str, address: SocketAddr) -> String {
    match post(client, &format!("https://{name}:{}/", address.port())).await {
        Err(Failure::Tls(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

/// Whether this process trusts the authority. If not, the test of this name is run again in one that does: which
/// authorities are trusted is the environment's to say, and a process must not change its own.
fn trusting(test: &str) -> bool {
    if std::env::var_os("SSL_CERT_FILE").is_some_and(|file| file == AUTHORITY) {
        return true;
    }
    let again = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("tls::{test}")])
        .env("SSL_CERT_FILE", AUTHORITY)
        .env_remove("SSL_CERT_DIR")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&again.stdout);
    assert!(again.status.success() && said.contains("1 passed"), "{said}");
    false
}

#[tokio::test]
async fn an_answer_over_tls_comes_with_the_certificate_on_new_and_on_kept_connections() {
    if !trusting("an_answer_over_tls_comes_with_the_certificate_on_new_and_on_kept_connections") {
        return;
    }
    let url = format!("https://hooks.test:{}/", receiver(SERVER).await.port());
    let client = client();
    for _ in 0..2 {
        let answer = post(&client, &url).await.unwrap();
        assert_eq!(answer.status, 200);
        let details = answer.certificate.unwrap().details().unwrap();
        let expected = CertificateDetails {
            subject: "CN=hooks.test,O=Example".into(),
            issuer: "CN=Test authority".into(),
            expires_at: events::Timestamp::parse_rfc3339("2124-01-01T00:00:00Z").unwrap(),
        };
        assert_eq!(details, expected);
    }
    let plain = Sink::answering("200 OK", "").await;
    assert_eq!(post(&client, &plain.url("/")).await.unwrap().certificate, None);
}

#[tokio::test]
async fn a_certificate_that_has_expired_or_is_another_hosts_is_told_as_such() {
    if !trusting("a_certificate_that_has_expired_or_is_another_hosts_is_told_as_such") {
        return;
    }
    let client = client();
    assert_eq!(reason(&client, "hooks.test", receiver(EXPIRED).await).await, "the certificate has expired");
    assert_eq!(reason(&client, "other.test", receiver(SERVER).await).await, "the certificate is not for this host");
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_told_as_such() {
    let reason = reason(&client(), "hooks.test", receiver(SERVER).await).await;
    assert!(reason.contains("issuer is unknown"), "{reason}");
}
