//! The log: one line of JSON for each event, on standard output, from where Lambda takes it to CloudWatch.
//!
//! *Promise:* a line is one JSON object whatever is logged, and it is written whole. `timestamp` and `level` are the names
//! by which Lambda filters; `requestId` is the invocation's. Lines of level `INFO`, one for each webhook and each delivery,
//! have none of the three: each byte is paid for, CloudWatch notes when a line came, and what they are about has ids of its
//! own. *Not promised:* spans. They would repeat on every line what its fields say.
//!
//! <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html>: a line without a level or
//! with an invalid timestamp counts as `INFO`.

use std::fmt::{Debug, Write as _};
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use events::Timestamp;
use platform::{Clock as _, SystemClock};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// The invocation at work. There is one at a time in a process.
static REQUEST: Mutex<String> = Mutex::new(String::new());

/// What is logged where nothing else is said.
pub(crate) fn default_filter() -> Targets {
    Targets::new().with_default(LevelFilter::INFO)
}

/// Reads a filter: a level, or levels by module. A lone word that is no level would be taken for a module's name, and
/// all other logs would be off: `None`. `FATAL` is a level of Lambda's, above `ERROR`.
pub(crate) fn filter(text: &str) -> Option<Targets> {
    let text = text.to_ascii_lowercase().replace("fatal", "error");
    let mut parts = text.split(',').map(str::trim);
    let clear = parts.all(|part| part.contains('=') || (!part.is_empty() && part.parse::<LevelFilter>().is_ok()));
    if clear { text.parse().ok() } else { None }
}

/// Sends the log to standard output, and panics into the log.
pub(crate) fn to_stdout(filter: Targets) {
    // Fails where there is a log already, and then that is where it goes.
    let _ = tracing_subscriber::registry().with(Lines.with_filter(filter)).try_init();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let reason = panic.payload_as_str().unwrap_or_default();
        tracing::error!(place, reason, "panicked");
    }));
}

/// From now on lines are about this invocation.
pub(crate) fn begin(request: &str) {
    let mut current = REQUEST.lock().unwrap_or_else(PoisonError::into_inner);
    current.clear();
    current.push_str(request);
}

struct Lines;

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let request = REQUEST.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let line = line(event, SystemClock.now(), &request);
        // There is nowhere to say that it could not be written.
        let _ = std::io::stdout().lock().write_all(line.as_bytes());
    }
}

fn line(event: &Event<'_>, now: Timestamp, request: &str) -> String {
    let mut line = Line(String::with_capacity(256));
    let level = *event.metadata().level();
    if level != Level::INFO {
        line.text("timestamp", &now.iso_millis());
        line.text("level", level.as_str());
        if !request.is_empty() {
            line.text("requestId", request);
        }
    }
    event.record(&mut line);
    line.0.push_str(if line.0.is_empty() { "{}\n" } else { "}\n" });
    line.0
}

/// A line in the making.
struct Line(String);

impl Line {
    fn text(&mut self, name: &str, value: &str) {
        self.json(name, value);
    }

    fn json(&mut self, name: &str, value: impl Into<Value>) {
        let before = if self.0.is_empty() { '{' } else { ',' };
        let _ = write!(self.0, "{before}{}:{}", Value::from(name), value.into());
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field.name(), &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.json(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.json(field.name(), value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.json(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.json(field.name(), value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.text(field.name(), &value.to_string());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use tracing::subscriber::with_default;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_123);

    /// Keeps the lines instead of writing them.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            self.0.lock().unwrap().push(line(event, NOW, "r-1"));
        }
    }

    fn logged(filter: Targets, log: impl FnOnce()) -> Vec<String> {
        let kept = Kept::default();
        with_default(tracing_subscriber::registry().with(kept.clone().with_filter(filter)), log);
        kept.0.lock().unwrap().clone()
    }

    #[test]
    fn a_line_is_one_json_object_whatever_is_logged() {
        let lines = logged(default_filter(), || {
            let _span = tracing::info_span!("noise", secret = "no").entered();
            tracing::warn!(
                text = "a \"quoted\"\nline\u{1}",
                debug = ?Some(1),
                display = %"x",
                signed = -1,
                flag = true,
                ratio = 0.5,
                nan = f64::NAN,
                "not told"
            );
        });
        assert_eq!(lines.len(), 1);
        let line = lines[0].strip_suffix('\n').unwrap();
        assert!(!line.contains('\n'), "{line}");
        let expected = json!({
            "timestamp": "2026-09-21T14:13:20.123Z", "level": "WARN", "requestId": "r-1", "message": "not told",
            "text": "a \"quoted\"\nline\u{1}", "debug": "Some(1)", "display": "x", "signed": -1, "flag": true,
            "ratio": 0.5, "nan": null,
        });
        assert_eq!(serde_json::from_str::<Value>(line).unwrap(), expected);
    }

    #[test]
    fn of_what_is_usual_only_what_it_says_is_written() {
        let lines = logged(default_filter(), || {
            tracing::info!(instance = 7, "told");
            tracing::info!({}, "");
            tracing::info!(instance = 8);
        });
        assert_eq!(lines, ["{\"message\":\"told\",\"instance\":7}\n", "{\"message\":\"\"}\n", "{\"instance\":8}\n"]);
    }

    #[test]
    fn levels_are_kept_also_by_module_and_lambdas_own_are_known() {
        let count = |text: &str| {
            logged(filter(text).unwrap(), || {
                tracing::error!("a");
                tracing::info!("b");
                tracing::debug!(target: "pollhook_dispatcher", "c");
                tracing::debug!("d");
            })
            .len()
        };
        assert_eq!(["FATAL", "info", "info,pollhook_dispatcher=debug", "TRACE", "off"].map(count), [1, 2, 3, 4, 0]);
    }

    #[test]
    fn a_filter_that_would_silence_everything_by_mistake_is_refused() {
        for bad in ["verbose", "info,all", "bogus=bogus", "info,"] {
            assert!(filter(bad).is_none(), "{bad}");
        }
    }
}
