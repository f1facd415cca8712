//! All figures as a page that Prometheus reads: its text format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! Counters count from the start of the process, so two looks at the page lose nothing of what lies between them.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use metrics::{HistogramFn, Key, Label, Recorder};

use crate::Installed;
use crate::known::{PREFIX, bare, help};
use crate::registry::Registry;

/// What the page is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of the buckets, in milliseconds: what a callback takes, up to its deadline of 15 s, and beyond, up to an
/// hour, what a retry makes of it.
const BOUNDS: [f64; 14] = [5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 15e3, 60e3, 600e3, 3600e3];

/// What a histogram was told, by size.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    /// One more than there are bounds: what is beyond the last.
    counts: [AtomicU64; BOUNDS.len() + 1],
    sum: Mutex<f64>,
}

impl HistogramFn for Buckets {
    fn record(&self, value: f64) {
        if !value.is_finite() {
            return;
        }
        let bucket = BOUNDS.iter().position(|bound| value <= *bound).unwrap_or(BOUNDS.len());
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        *self.sum.lock().unwrap_or_else(PoisonError::into_inner) += value;
    }
}

/// The figures of this process.
#[derive(Debug, Clone, Default)]
pub struct Prometheus(Arc<Registry<Buckets>>);

static INSTALLED: OnceLock<Result<Prometheus, ()>> = OnceLock::new();

/// Makes the facade count here from now on. A second call gives what the first one gave.
///
/// # Errors
/// [`Installed`]: another recorder came first.
pub fn install() -> Result<Prometheus, Installed> {
    let install = || {
        let prometheus = Prometheus::default();
        metrics::set_global_recorder(Arc::clone(&prometheus.0)).map(|()| prometheus).map_err(|_| ())
    };
    INSTALLED.get_or_init(install).clone().map_err(|()| Installed)
}

impl Prometheus {
    /// The recorder alone, for one thread of a test.
    #[must_use]
    pub fn recorder(&self) -> Arc<impl Recorder + use<>> {
        Arc::clone(&self.0)
    }

    /// The page.
    #[must_use]
    pub fn render(&self) -> String {
        let mut page = Page::default();
        for (key, number) in self.0.counters() {
            let name = page.head(key.name(), "_total", "counter");
            page.line(&name, "", labels(&key), None, number.load(Ordering::Relaxed) as f64);
        }
        for (key, bits) in self.0.gauges() {
            let name = page.head(key.name(), "", "gauge");
            page.line(&name, "", labels(&key), None, f64::from_bits(bits.load(Ordering::Relaxed)));
        }
        for (key, buckets) in self.0.histograms() {
            let name = page.head(key.name(), "", "histogram");
            let mut so_far = 0;
            for (bound, count) in BOUNDS.iter().copied().chain([f64::INFINITY]).zip(&buckets.counts) {
                so_far += count.load(Ordering::Relaxed);
                let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
                page.line(&name, "_bucket", labels(&key), Some(("le", &bound)), so_far as f64);
            }
            let sum = *buckets.sum.lock().unwrap_or_else(PoisonError::into_inner);
            page.line(&name, "_sum", labels(&key), None, sum);
            page.line(&name, "_count", labels(&key), None, so_far as f64);
        }
        page.text
    }
}

fn labels(key: &Key) -> impl Iterator<Item = (&str, &str)> {
    key.labels().map(|label: &Label| (label.key(), label.value()))
}

/// The page as it grows: series of one name come one after the other.
#[derive(Default)]
struct Page {
    text: String,
    /// The name whose head was written last.
    headed: String,
}

impl Page {
    /// Writes what comes once for all series of a name, and gives the name.
    fn head(&mut self, name: &str, suffix: &str, kind: &str) -> String {
        let full = format!("{PREFIX}{}{suffix}", bare(name));
        if self.headed != full {
            if let Some(help) = help(name) {
                let _ = writeln!(self.text, "# HELP {full} {help}");
            }
            let _ = writeln!(self.text, "# TYPE {full} {kind}");
            self.headed.clone_from(&full);
        }
        full
    }

    fn line<'a>(
        &mut self,
        name: &str,
        part: &str,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        bound: Option<(&'a str, &'a str)>,
        value: f64,
    ) {
        let labels: Vec<String> =
            labels.chain(bound).map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.text, "{name}{part}{labels} {value}");
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use metrics::{counter, gauge, histogram, with_local_recorder};

    use super::*;

    fn page(count: impl FnOnce()) -> String {
        let prometheus = Prometheus::default();
        with_local_recorder(&prometheus.recorder(), count);
        prometheus.render()
    }

    #[test]
    fn a_page_is_as_the_format_says() {
        let page = page(|| {
            counter!("pollhook_received", "connector" => "hubspot").increment(2);
            counter!("received", "connector" => "asana").increment(1);
            gauge!("pollhook_dead_letters").set(3.0);
            for ms in [4.0, 5.0, 70.5, 4e6] {
                histogram!("latency_ms").record(ms);
            }
        });
        let expected = "\
# HELP pollhook_received_total Requests that came to a connector's URL.
# TYPE pollhook_received_total counter
pollhook_received_total{connector=\"hubspot\"} 2
pollhook_received_total{connector=\"asana\"} 1
";
        assert!(page.contains(expected), "with the prefix or without: {page}");
        assert!(page.contains("# TYPE pollhook_dead_letters gauge\npollhook_dead_letters 3\n"), "{page}");
        let histogram = |le: &str, n: u64| format!("pollhook_latency_ms_bucket{{le=\"{le}\"}} {n}\n");
        for (le, n) in [("5", 2), ("50", 2), ("100", 3), ("3600000", 3), ("+Inf", 4)] {
            assert!(page.contains(&histogram(le, n)), "{le}: {page}");
        }
        assert!(page.ends_with("pollhook_latency_ms_sum 4000079.5\npollhook_latency_ms_count 4\n"), "{page}");
    }

    #[test]
    fn a_label_cannot_break_out_of_its_line() {
        let page = page(|| counter!("x", "l" => "a\"} 1\nb\\").increment(1));
        assert!(page.ends_with("pollhook_x_total{l=\"a\\\"} 1\\nb\\\\\"} 1\n"), "{page}");
    }

    #[test]
    fn what_is_no_number_spoils_no_sum() {
        let page = page(|| {
            for value in [f64::NAN, f64::INFINITY, 1.0] {
                histogram!("callback_ms").record(value);
            }
        });
        assert!(page.contains("pollhook_callback_ms_sum 1\npollhook_callback_ms_count 1\n"), "{page}");
    }
}
