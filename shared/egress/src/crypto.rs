//! The cryptography of TLS: ring.
//!
//! *Why not aws-lc*, the libraries' default: linked, it is two megabytes more, and a function that starts cold loads
//! all of it. Whoever links both by accident still gets this one.

/// Makes ring what TLS is done with in this process. To be called before an HTTP client is made; [`Client`](crate::Client)
/// does it itself. Where something else was chosen before, that stays.
pub fn provide() {
    // An error says that there is one.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
