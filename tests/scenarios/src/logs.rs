//! What the roles log, for tests that search it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::subscriber::{DefaultGuard, NoSubscriber};
use tracing::{Dispatch, Level};
use tracing_subscriber::fmt::MakeWriter;

/// What this thread logs, at every level.
#[derive(Clone, Debug, Default)]
pub struct Logs(Arc<Mutex<Vec<u8>>>);

/// Ends the capture when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Capture {
    _this: DefaultGuard,
    _second: Dispatch,
}

impl Logs {
    /// Begins to capture.
    pub fn capture() -> (Self, Capture) {
        // As long as a process has one subscriber only, a line that another thread reaches first, where nobody listens,
        // is switched off for good. With a second one all are asked.
        let second = Dispatch::new(NoSubscriber::default());
        let logs = Self::default();
        let subscriber = tracing_subscriber::fmt().with_max_level(Level::TRACE).with_writer(logs.clone()).finish();
        (logs, Capture { _this: tracing::subscriber::set_default(subscriber), _second: second })
    }

    /// All of it so far.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl io::Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Logs {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
