//! Why no status came back, and whose fault that was.

use std::error::Error;
use std::io;
use std::time::Duration;

use rustls::{CertificateError, Error as TlsError};

use crate::policy::{Refusal, UNSENDABLE};
use crate::resolve::Unresolved;

/// A post without an answer. Texts name hosts and addresses, never a URL's path, query or credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The URL, or an address of its name, is not for callbacks. Nothing was sent.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// The name has no address, or its servers did not tell. Nothing was sent.
    #[error("{name} could not be resolved: {reason}")]
    Resolve {
        /// The URL's host.
        name: String,
        /// As the system put it.
        reason: String,
    },
    /// No connection. Nothing was sent.
    #[error("could not connect: {0}")]
    Connect(String),
    /// The other side speaks no TLS, or its certificate does not prove the host. Nothing was sent.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// Not in time.
    #[error("timed out after {after:?} while {during}")]
    Timeout {
        /// In what; before [`Stage::Answering`] nothing was sent.
        during: Stage,
        /// From the call.
        after: Duration,
    },
    /// The connection broke, or what came back was not HTTP. The request may have been received.
    #[error("no valid answer: {0}")]
    Protocol(String),
    /// We could not even try: out of files or memory, no trusted certificates. Says nothing about the receiver, and no
    /// URL brings it about.
    #[error("our own failure: {0}")]
    Ours(String),
}

/// How far a post had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Resolving, connecting, the TLS handshake.
    Connecting,
    /// Sending the request, or waiting for the status. The request may have been received.
    Answering,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connecting => "connecting",
            Self::Answering => "waiting for the answer",
        })
    }
}

impl Failure {
    /// Whether this is no fault of the receiver's, so that it must not count against its health.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Ours(_))
    }
}

/// What went wrong, by the types in the chain of causes; a text is only ever shown.
pub(crate) fn classify(error: reqwest::Error, after: Duration) -> Failure {
    let error = error.without_url();
    let mut tls = None;
    for cause in causes(&error) {
        if let Some(refusal) = cause.downcast_ref::<Refusal>() {
            return Failure::Refused(refusal.clone());
        }
        if let Some(unresolved) = cause.downcast_ref::<Unresolved>() {
            if is_shortage(&unresolved.source) {
                return Failure::Ours(last(&unresolved.source));
            }
            return Failure::Resolve { name: unresolved.name.clone(), reason: last(&unresolved.source) };
        }
        if let Some(io) = cause.downcast_ref::<io::Error>()
            && is_shortage(io)
        {
            return Failure::Ours(last(io));
        }
        tls = tls.or(cause.downcast_ref::<TlsError>());
    }
    let connecting = error.is_connect();
    if error.is_timeout() {
        let during = if connecting { Stage::Connecting } else { Stage::Answering };
        Failure::Timeout { during, after }
    } else if error.is_builder() {
        // The only thing that can be wrong with a request as we build it is a URL that [`Policy::check`] never saw.
        //
        // [`Policy::check`]: crate::Policy::check
        Failure::Refused(UNSENDABLE)
    } else if let Some(tls) = tls.filter(|_| connecting) {
        Failure::Tls(tls_reason(tls))
    } else if connecting {
        Failure::Connect(last(&error))
    } else {
        Failure::Protocol(last(&error))
    }
}

/// Why a handshake failed. What goes wrong with certificates is said in words that tell their owner what to do.
fn tls_reason(error: &TlsError) -> String {
    let TlsError::InvalidCertificate(wrong) = error else { return error.to_string() };
    match wrong {
        CertificateError::UnknownIssuer => {
            "the certificate's issuer is unknown: it is signed by itself or by a private \
                                            authority, or the server does not send its intermediate certificates"
                .into()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "the certificate has expired".into(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the certificate is not for this host".into()
        }
        CertificateError::Revoked => "the certificate was revoked".into(),
        other => format!("the certificate is not valid: {other}"),
    }
}

/// Whether the machine, and not the receiver, is at its end. By number where Rust has no stable name. It must hold
/// nothing that a URL can bring about: `EADDRNOTAVAIL`, which tells of ports used up, also comes of port 0 and of an
/// IPv6 address where there is no IPv6.
fn is_shortage(error: &io::Error) -> bool {
    // ENFILE, EMFILE, ENOBUFS on Linux: no more files in the system, in the process; no more socket memory.
    matches!(error.raw_os_error(), Some(23 | 24 | 105)) || error.kind() == io::ErrorKind::OutOfMemory
}

/// The chain of causes, outermost first, with what an [`io::Error`] holds: its own `source` skips that.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn Error + 'static) = *error;
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.get_ref().map(|inner| inner as &(dyn Error + 'static));
        }
        error.source()
    })
}

/// The innermost cause: what happened, without the layers that it passed through.
fn last(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map_or_else(String::new, ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_files_is_not_held_against_the_receiver() {
        for number in [23, 24, 105, 12] {
            assert!(is_shortage(&io::Error::from_raw_os_error(number)), "{number}");
        }
        for number in [99, 104, 110, 111, 113] {
            assert!(!is_shortage(&io::Error::from_raw_os_error(number)), "{number}");
        }
        assert!(Failure::Ours(String::new()).is_ours());
        assert!(!Failure::Connect(String::new()).is_ours());
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_told_in_words() {
        let reason = |wrong| tls_reason(&TlsError::InvalidCertificate(wrong));
        for (wrong, word) in [
            (CertificateError::UnknownIssuer, "issuer"),
            (CertificateError::Expired, "expired"),
            (CertificateError::NotValidYet, "yet"),
            (CertificateError::NotValidForName, "host"),
            (CertificateError::Revoked, "revoked"),
            (CertificateError::BadSignature, "not valid"),
        ] {
            assert!(reason(wrong.clone()).contains(word), "{}", reason(wrong));
        }
        assert_eq!(tls_reason(&TlsError::DecryptError), TlsError::DecryptError.to_string());
    }

    #[test]
    fn the_cause_is_found_inside_an_io_error() {
        let inner = TlsError::DecryptError;
        let outer = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, inner.clone()));
        assert!(causes(&outer).any(|cause| cause.is::<TlsError>()));
        assert_eq!(last(&outer), inner.to_string());
    }
}
