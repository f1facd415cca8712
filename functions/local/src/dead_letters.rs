//! `pollhook dead-letters`: what was set aside, of batches and of poll jobs, shown or put back. The server must be stopped:
//! a store has one user.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use embedded::{DATA_FILE, DeadLetter, Embedded, OpenError, Options};
use platform::{OsRandom, Platform as _, QueueError, SystemClock};

use crate::config::DeadLetters;
use crate::paint::legible_start;
use crate::run::failed;
use crate::say;
use crate::serve::VISIBILITY;

/// Most that are shown. Who has more has one cause, or a disaster.
const SHOWN: usize = 1000;

/// Most characters of a body that are shown.
const BODY_SHOWN: usize = 200;

/// Why it did not work.
#[derive(Debug, thiserror::Error)]
enum DeadLettersError {
    #[error("there is no store in {}; name the server's folder with --data", .0.display())]
    NoStore(PathBuf),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// Shows them, or puts them back.
pub(crate) async fn run(settings: &DeadLetters) -> ExitCode {
    let done = match settings.requeue {
        true => requeue(&settings.data).await,
        false => show(&settings.data),
    };
    done.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS)
}

fn open(data: &Path) -> Result<Embedded, DeadLettersError> {
    // Opening would make one.
    if !data.join(DATA_FILE).is_file() {
        return Err(DeadLettersError::NoStore(data.to_owned()));
    }
    Ok(Embedded::open(data, Options::new(Arc::new(SystemClock), Arc::new(OsRandom), VISIBILITY))?)
}

async fn requeue(data: &Path) -> Result<(), DeadLettersError> {
    let platform = open(data)?;
    let (batches, polls) = (platform.batches(), platform.polls());
    let of_batches = batches.requeue_dead_letters().await?;
    let of_polls = polls.requeue_dead_letters().await?;
    say!(
        "{} put back ({of_batches} into {}, {of_polls} into {}); they are worked on when the server starts.",
        of_batches + of_polls,
        batches.name(),
        polls.name()
    );
    Ok(())
}

fn show(data: &Path) -> Result<(), DeadLettersError> {
    let platform = open(data)?;
    let count = platform.store().dead_letter_count()?;
    let letters = platform.store().dead_letters(SHOWN)?;
    for letter in &letters {
        say!("{}", line(letter));
    }
    match count.saturating_sub(letters.len() as u64) {
        0 if count == 0 => say!("There are none."),
        0 => {}
        more => say!("… and {more} older ones."),
    }
    Ok(())
}

fn line(letter: &DeadLetter) -> String {
    let (reason, body) = (legible_start(&letter.reason, BODY_SHOWN), legible_start(&letter.body, BODY_SHOWN));
    // A queue's name is ours, of letters and hyphens.
    format!("{}  {}  {reason}\n    {body}", letter.at.iso_seconds(), letter.queue)
}
