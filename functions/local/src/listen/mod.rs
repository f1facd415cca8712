//! `pollhook listen`: a callback alone, to try things with.
//!
//! *Promise.* What is signed as it should be is answered 200 `{}`; what is not is answered 401, saying which check failed.
//! Everything that arrives is shown. *Not promised:* anything durable; a listener that is stopped has forgotten.
//!
//! *Flow.* [`receiver`] takes the request, asks [`arrival`] what it is and [`verdict`] whether it is signed, hands it over
//! to be shown ([`show`]) and answers. Whoever shows slowly slows down the sender, so nothing piles up.

pub(crate) mod arrival;
pub(crate) mod receiver;
pub(crate) mod show;
mod verdict;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use events::SignatureKey;
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::config::Listen;
use crate::listen::receiver::Behaviour;
use crate::paint::Paint;
use crate::run::{failed, stop_signals};
use crate::say;

/// Arrivals that wait to be shown before their senders wait too.
pub(crate) const WAITING: usize = 64;

/// Listens until it is told to stop.
pub(crate) async fn run(settings: &Listen) -> ExitCode {
    // A key of no bytes would make everybody's signature good.
    if settings.secret.as_ref().is_some_and(|secret| secret.expose_secret().trim().is_empty()) {
        return failed(&"--secret: the key is blank");
    }
    let key = match settings.secret.clone().map(SignatureKey::new).transpose() {
        Ok(key) => key,
        Err(error) => return failed(&format_args!("--secret: {error}")),
    };
    let stop = match stop_signals() {
        Ok(stop) => stop,
        Err(error) => return failed(&error),
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, settings.port));
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => return failed(&format_args!("cannot listen on {address}: {error}; choose another with --port")),
    };
    let address = listener.local_addr().unwrap_or(address);
    say!("Listening on http://{address} (any path). Stop with Ctrl-C.");
    match key {
        Some(_) => say!("Both signatures are checked with the given key."),
        None => say!("Signatures are not checked: give the key with --secret."),
    }
    if settings.fail_first > 0 {
        say!("The first {} requests of each notification are answered 503.", settings.fail_first);
    }
    let (tell, mut arrivals) = mpsc::channel(WAITING);
    let behaviour = Behaviour { key, fail_first: settings.fail_first };
    let showing = async {
        let paint = Paint::of_stdout();
        while let Some(arrival) = arrivals.recv().await {
            say!("\n{}", show::whole(&arrival, paint));
            if settings.bodies {
                say!("{}", show::body(&arrival));
            }
        }
    };
    tokio::select! {
        ended = receiver::serve(listener, behaviour, tell) => match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&format_args!("the listener stopped: {error}")),
        },
        () = showing => ExitCode::SUCCESS,
        () = stop => ExitCode::SUCCESS,
    }
}
