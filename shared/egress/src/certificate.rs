//! What a server's certificate says of itself, for people.
//!
//! It is read only when somebody asks: a delivery carries the bytes and nothing more. That it is valid for the host was
//! decided in the handshake, before this; nothing here decides anything.

use std::fmt;
use std::time::Duration;

use events::Timestamp;
use x509_cert::der::Decode as _;
use x509_cert::time::Time;

/// A server's certificate as it came in a handshake that succeeded.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate(Vec<u8>);

/// What people look for in a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateDetails {
    /// Whose it is, e.g. `CN=hooks.example.com,O=Example`. May be empty: names that count are elsewhere in it.
    pub subject: String,
    /// Who vouches for it.
    pub issuer: String,
    /// The first moment at which it is no longer valid, to the second.
    pub expires_at: Timestamp,
}

impl Certificate {
    /// A certificate in DER.
    pub(crate) fn new(der: &[u8]) -> Self {
        Self(der.to_owned())
    }

    /// What it says; `None` if it cannot be read, which does not make it invalid.
    #[must_use]
    pub fn details(&self) -> Option<CertificateDetails> {
        let certificate = x509_cert::Certificate::from_der(&self.0).ok()?;
        let certificate = certificate.tbs_certificate();
        Some(CertificateDetails {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            expires_at: timestamp(&certificate.validity().not_after),
        })
    }
}

fn timestamp(time: &Time) -> Timestamp {
    let since_1970: Duration = time.to_unix_duration();
    Timestamp::from_seconds(i64::try_from(since_1970.as_secs()).unwrap_or(i64::MAX))
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({} bytes)", self.0.len())
    }
}
