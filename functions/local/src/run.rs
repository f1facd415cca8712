//! What the command line asks for.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use secrecy::ExposeSecret as _;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::config::{Cli, Command, Serve};
use crate::serve::{self, Running};
use crate::{credentials, dead_letters, definitions, demo, listen, say};

/// Does it, and says how it ended.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match cli.command {
        None => runtime.block_on(serve(&cli.serve)),
        Some(Command::Demo) => runtime.block_on(demo::run()),
        Some(Command::Listen(settings)) => runtime.block_on(listen::run(&settings)),
        Some(Command::Connectors(settings)) => definitions::run(&settings),
        Some(Command::DeadLetters(settings)) => runtime.block_on(dead_letters::run(&settings)),
    }
}

/// Says on standard error why it did not work.
pub(crate) fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "pollhook: {error}");
    ExitCode::FAILURE
}

/// Reads `--log`. A lone word that is no level would be taken for a module's name, and all other logs would be off.
fn log_filter(text: &str) -> Result<EnvFilter, String> {
    let is_level = |word: &str| word.trim().parse::<LevelFilter>().is_ok();
    if let Some(word) = text.split(',').find(|part| !part.contains(['=', '[', '{', '"', '}']) && !is_level(part)) {
        return Err(format!(
            "--log: {word:?} is no level: error, warn, info, debug, trace or off (a module: name=level)"
        ));
    }
    EnvFilter::try_new(text).map_err(|error| format!("--log: {error}"))
}

/// Sends the log to standard error.
pub(crate) fn log_to_stderr(filter: &str) -> Result<(), String> {
    let filter = log_filter(filter)?;
    // In a file or a journal colours are noise, and hide what is searched for.
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    log.try_init().map_err(|error| error.to_string())
}

/// Catches SIGINT and SIGTERM from now on; what is returned waits for the first of them.
pub(crate) fn stop_signals() -> Result<impl Future<Output = ()>, String> {
    let unheard = |error| format!("cannot listen for signals: {error}");
    let mut interrupt = signal(SignalKind::interrupt()).map_err(unheard)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(unheard)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

async fn serve(config: &Serve) -> ExitCode {
    if let Err(error) = log_to_stderr(&config.log) {
        return failed(&error);
    }
    let stop = match stop_signals() {
        Ok(stop) => stop,
        Err(error) => return failed(&error),
    };
    let running = match serve::start(config).await {
        Ok(running) => running,
        Err(error) => return failed(&error),
    };
    greet(config, &running);
    stop.await;
    say!("Stopping: waiting for what is at work.");
    running.stop().await;
    ExitCode::SUCCESS
}

fn greet(config: &Serve, running: &Running) {
    let (url, data) = (&running.public_url, config.data.display());
    let file = config.data.join(credentials::FILE);
    let file = file.display();
    say!("Pollhook listens on http://{} (data in {data}).", running.address);
    if running.first_start {
        say!("\nAn account was made. Its credentials, shown this once and kept in {file}:");
        say!("  {}", running.authorization.expose_secret());
    }
    say!("\nProvision an instance:");
    say!("  curl -X POST {url}/elements/api-v2/instances -H \"Authorization: $(cat {file})\" \\");
    say!("    -d '{{\"name\": \"Acme\", \"element\": {{\"key\": \"hubspot\"}}, \"configuration\": {{");
    say!("      \"event.vendor.account\": \"<HubSpot portal id>\", \"webhook.secret\": \"<app client secret>\",");
    say!("      \"event.notification.callback.url\": \"https://example.com/callback\"}}}}'");
    say!("Then have HubSpot post its webhooks to {url}/elements/api-v2/events/hubspot");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_filter_that_would_silence_everything_by_mistake_is_refused() {
        for good in ["info", "WARN", "info,pollhook_dispatcher=debug", "off", "pollhook=trace"] {
            assert!(log_filter(good).is_ok(), "{good}");
        }
        for bad in ["verbose", "info,all", "bogus=bogus"] {
            assert!(log_filter(bad).is_err(), "{bad}");
        }
    }
}
