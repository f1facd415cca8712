//! What all tests start, call and wait for.

mod server;

use std::path::Path;

pub(crate) use deployment::{Client, DEADLINE, KEY, SECRET, Sink, contact, until};
pub(crate) use server::{Finished, Server, binary, run};

/// A client without any credentials.
pub(crate) fn http() -> reqwest::Client {
    egress::crypto::provide();
    reqwest::Client::new()
}

/// A client with the credentials that the server wrote into its data folder, word for word.
pub(crate) fn customer(url: &str, data: &Path) -> Client {
    Client::new(url, &std::fs::read_to_string(data.join("credentials")).unwrap())
}
