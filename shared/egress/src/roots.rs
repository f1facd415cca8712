//! Whom callbacks' certificates may be signed by: the system's authorities.
//!
//! *Promise:* they are read once per process, when the first client is built, for all clients: it takes milliseconds to
//! tens of them, and on a function's part of a CPU a good part of a cold start. A process that finds none says so and
//! keeps looking. *Not promised:* that a running process sees authorities that are added or taken away.

use std::sync::OnceLock;

use reqwest::Certificate;
use rustls::RootCertStore;

use crate::Failure;

static ROOTS: OnceLock<Vec<Certificate>> = OnceLock::new();

/// The system's authorities; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
pub(crate) fn all() -> Result<&'static [Certificate], Failure> {
    if let Some(roots) = ROOTS.get() {
        return Ok(roots);
    }
    let read = rustls_native_certs::load_native_certs();
    // A damaged one among many is the system's trouble; to refuse all for it would end all callbacks.
    let usable = |der: &rustls::pki_types::CertificateDer<'static>| RootCertStore::empty().add(der.clone()).is_ok();
    let roots: Vec<_> = read.certs.iter().filter(|der| usable(der)).collect();
    let roots = roots.into_iter().map(|der| Certificate::from_der(der)).collect::<Result<Vec<_>, _>>();
    match roots {
        Ok(roots) if !roots.is_empty() => Ok(ROOTS.get_or_init(|| roots)),
        Ok(_) => Err(Failure::Ours(match read.errors.first() {
            Some(error) => format!("no CA certificates could be read: {error}"),
            None => "no CA certificates were found".to_owned(),
        })),
        Err(error) => Err(Failure::Ours(format!("the CA certificates cannot be used: {error}"))),
    }
}
