//! What the four Lambda functions share: their `main` reads its settings, makes its role and hands it to one of these.
//!
//! | module | serves |
//! |---|---|
//! | [`http`] | a role's router, behind API Gateway |
//! | [`batch`] | a queue's records, each for itself |
//! | [`schedule`] | the schedule's ticks, and a queue's records |
//!
//! *Promise.* A request is answered, and a record is reported, before Lambda ends the invocation: what is not done by
//! then is given up and said to be not done, so its sender or its queue repeats it. One record's trouble (a panic, too)
//! is not its neighbours'. A function that cannot start says which setting is wrong and ends; it never serves halfway.
//!
//! *Flow.*
//!
//! ```text
//! main ─▶ settings ─▶ log ─▶ the role is made (nothing is sent yet) ─▶ serve ─┬▶ event ─▶ the work, until shortly before
//!                                                                             │           the invocation's end
//!                                                                             │         ─▶ what is done after each
//!                                                                             └─────────── answer
//! ```
//!
//! Between two invocations the process is frozen, perhaps for good: nothing may be left for later, so what a server does
//! now and then is done here after each piece of work, before its answer; and what was counted is written into the log.
//!
//! *Failure modes.* A panic outside of a record fails the invocation, and the process goes on. When the Runtime API cannot
//! be reached the process ends, and Lambda starts another.
//!
//! With feature `testing`, `testing::RuntimeApi` stands in for Lambda and runs the real binaries.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod batch;
mod figures;
pub mod http;
mod invocation;
pub mod logs;
pub mod schedule;
pub mod settings;
#[cfg(feature = "testing")]
pub mod testing;

use std::process::ExitCode;

pub use settings::{SettingError, Settings};

/// Why a function could not start, or what it came to: whatever there is to say.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The `main` of the function that is `role`: starts the log and the figures, and has `function` make the role and serve it,
/// on one thread: functions have at most about one CPU, and work on one event at a time.
pub fn main(role: &'static str, function: impl AsyncFnOnce(&Settings) -> Result<(), Error>) -> ExitCode {
    let settings = Settings::from_environment();
    let filter = settings.log();
    logs::to_stdout(filter.as_ref().cloned().unwrap_or_else(|_| logs::default_filter()));
    let ended = match filter.and_then(|_| settings.runtime_api()) {
        // Before the role is made: what it counts with is made with it.
        Ok(()) if figures::start(role).is_err() => Err("something counts already".into()),
        Ok(()) => run(Box::pin(function(&settings))),
        Err(error) => Err(error.into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error, "the function ends");
            ExitCode::FAILURE
        }
    }
}

fn run(function: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(function)
}
