//! What one invocation counted, as lines of the log that CloudWatch makes metrics of: its embedded metric format
//! (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>).
//!
//! *Promise.* [`Emf::flush`] writes what was counted since the flush before, and nothing when that is nothing. Almost
//! always it is one line, of some 200 bytes for a webhook: lines are billed by size. Each metric has the dimension `Role`,
//! and what says why (a reason, a class of status codes) a second set with that: the number of metrics, billed each, is
//! some dozens. Connectors are no dimension; the log's lines name them.
//!
//! *Format.* Counters are sums. Of a histogram each value is there, with how often it came. No `Unit`: the names say it. A
//! root can hold one value of a dimension, so an invocation that refused for two reasons writes two lines. Gauges are not
//! written: what stands still is not one invocation's.
//!
//! *To know.* Lambda takes a line of JSON without `level` for one of level INFO: with `ApplicationLogLevel` above that it
//! drops these.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{HistogramFn, Key, Recorder};
use serde_json::{Map, Value, json};

use crate::Installed;
use crate::known::bare;
use crate::registry::Registry;

/// The namespace of the metrics.
pub const NAMESPACE: &str = "Pollhook";

/// Labels that are dimensions. A metric has at most one of them; over all other labels it is summed.
const DIMENSIONS: [(&str, &str); 2] = [("reason", "Reason"), ("class", "Class")];

/// Most values of a metric in one line, by the format's specification.
const MOST_VALUES: usize = 100;

/// What a histogram was told since the last flush: values and how often they came. By their bits, which for what is not
/// negative sort as the numbers.
#[derive(Debug, Default)]
struct Values(Mutex<BTreeMap<u64, u64>>);

impl Values {
    fn take(&self) -> BTreeMap<u64, u64> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl HistogramFn for Values {
    fn record(&self, value: f64) {
        if value.is_finite() {
            let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *values.entry(value.max(0.0).to_bits()).or_default() += 1;
        }
    }
}

/// The figures of this process, which is one function's.
#[derive(Debug, Clone)]
pub struct Emf {
    role: &'static str,
    registry: Arc<Registry<Values>>,
}

/// Makes the facade count here from now on, for the function that is `role`. Before anything counts: handles made earlier
/// count nowhere.
///
/// # Errors
/// [`Installed`]: another recorder came first.
pub fn install(role: &'static str) -> Result<Emf, Installed> {
    let emf = Emf::new(role);
    metrics::set_global_recorder(Arc::clone(&emf.registry)).map_err(|_| Installed)?;
    Ok(emf)
}

impl Emf {
    fn new(role: &'static str) -> Self {
        Self { role, registry: Arc::default() }
    }

    /// The recorder alone, for one thread of a test.
    #[must_use]
    pub fn recorder(&self) -> Arc<impl Recorder + use<>> {
        Arc::clone(&self.registry)
    }

    /// Writes what was counted since the last time to standard output. To be called at the end of each invocation, before
    /// its answer is given: after it the process is frozen.
    ///
    /// # Errors
    /// Standard output's; what was to be written is lost.
    pub fn flush(&self) -> io::Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut text = self.lines(u64::try_from(now.as_millis()).unwrap_or(u64::MAX)).join("\n");
        if text.is_empty() {
            return Ok(());
        }
        text.push('\n');
        // In one piece: another thread's line must not come in between.
        io::stdout().lock().write_all(text.as_bytes())
    }

    /// The lines of what was counted since the last time, `now` in milliseconds since the epoch.
    #[must_use]
    pub fn lines(&self, now: u64) -> Vec<String> {
        let (counters, histograms) = (self.registry.counters(), self.registry.histograms());
        let mut sums: BTreeMap<Place<'_>, u64> = BTreeMap::new();
        for (key, number) in &counters {
            let counted = number.swap(0, Ordering::Relaxed);
            if counted > 0 {
                *sums.entry(Place::of(key)).or_default() += counted;
            }
        }
        let mut values: BTreeMap<Place<'_>, BTreeMap<u64, u64>> = BTreeMap::new();
        for (key, recorded) in &histograms {
            for (bits, count) in recorded.take() {
                *values.entry(Place::of(key)).or_default().entry(bits).or_default() += count;
            }
        }
        let mut documents = Documents::default();
        for (place, sum) in sums {
            documents.put(place, json!(sum));
        }
        for (place, values) in values {
            let values: Vec<(u64, u64)> = values.into_iter().collect();
            for some in values.chunks(MOST_VALUES) {
                documents.put(place, spread(some));
            }
        }
        documents.0.iter().map(|document| document.line(self.role, now)).collect()
    }
}

/// Where a number belongs: which metric, and what says why.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place<'a> {
    /// The second dimension and its value.
    why: Option<(&'static str, &'a str)>,
    name: &'a str,
}

impl<'a> Place<'a> {
    fn of(key: &'a Key) -> Self {
        let why = key.labels().find_map(|label| {
            let (_, dimension) = DIMENSIONS.into_iter().find(|(name, _)| *name == label.key())?;
            Some((dimension, label.value()))
        });
        Self { why, name: bare(key.name()) }
    }
}

/// One line to be.
#[derive(Default)]
struct Document<'a> {
    /// The metrics, by their second dimension.
    metrics: BTreeMap<Option<&'static str>, Vec<&'a str>>,
    /// What stands in the root: dimensions' values and metrics'.
    members: BTreeMap<&'a str, Value>,
}

impl Document<'_> {
    fn line(&self, role: &str, now: u64) -> String {
        let directive = |(why, names): (&Option<&str>, &Vec<&str>)| {
            let names: Vec<Value> = names.iter().map(|name| json!({ "Name": name })).collect();
            let sets = match why {
                Some(why) => json!([["Role"], ["Role", why]]),
                None => json!([["Role"]]),
            };
            json!({ "Namespace": NAMESPACE, "Dimensions": sets, "Metrics": names })
        };
        let directives: Vec<Value> = self.metrics.iter().map(directive).collect();
        let mut root: Map<String, Value> =
            self.members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        root.insert("Role".into(), role.into());
        root.insert("_aws".into(), json!({ "Timestamp": now, "CloudWatchMetrics": directives }));
        Value::Object(root).to_string()
    }
}

#[derive(Default)]
struct Documents<'a>(Vec<Document<'a>>);

impl<'a> Documents<'a> {
    /// Puts a number into the first line that has room: a name, and a dimension, has one value in it.
    fn put(&mut self, place: Place<'a>, value: Value) {
        let fits = |document: &Document<'a>| {
            let why_fits = |(dimension, why): (&str, &str)| document.members.get(dimension).is_none_or(|v| v == why);
            !document.members.contains_key(place.name) && place.why.is_none_or(why_fits)
        };
        let index = self.0.iter().position(fits).unwrap_or_else(|| {
            self.0.push(Document::default());
            self.0.len() - 1
        });
        let document = &mut self.0[index];
        document.members.insert(place.name, value);
        if let Some((dimension, why)) = place.why {
            document.members.insert(dimension, why.into());
        }
        document.metrics.entry(place.why.map(|(dimension, _)| dimension)).or_default().push(place.name);
    }
}

/// Values with how often they came; a single one as it is.
fn spread(values: &[(u64, u64)]) -> Value {
    let number = |bits: u64| {
        let value = f64::from_bits(bits);
        // Most are whole, and `.0` would only make the line longer.
        if value.fract() == 0.0 && value < 2_f64.powi(53) { json!(value as u64) } else { json!(value) }
    };
    match values {
        [(bits, 1)] => number(*bits),
        _ => {
            let (values, counts): (Vec<Value>, Vec<u64>) =
                values.iter().map(|(bits, count)| (number(*bits), *count)).unzip();
            json!({ "Values": values, "Counts": counts })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use metrics::{counter, gauge, histogram, with_local_recorder};
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_790_000_000_000;

    fn counted(role: &'static str, count: impl FnOnce()) -> Emf {
        let emf = Emf::new(role);
        with_local_recorder(&emf.recorder(), count);
        emf
    }

    fn parsed(lines: &[String]) -> Vec<Value> {
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_webhook_is_one_short_line_and_the_next_flush_is_silent() {
        let emf = counted("webhook-receiver", || {
            counter!("pollhook_received", "connector" => "hubspot").increment(1);
            counter!("pollhook_accepted", "connector" => "hubspot").increment(1);
        });
        let lines = emf.lines(NOW);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].len() <= 230, "{}: {}", lines[0].len(), lines[0]);
        let expected = json!({
            "_aws": { "Timestamp": NOW, "CloudWatchMetrics": [{
                "Namespace": "Pollhook", "Dimensions": [["Role"]],
                "Metrics": [{ "Name": "accepted" }, { "Name": "received" }],
            }] },
            "Role": "webhook-receiver", "accepted": 1, "received": 1,
        });
        assert_eq!(parsed(&lines), [expected]);
        assert_eq!(emf.lines(NOW), Vec::<String>::new());
    }

    #[test]
    fn nothing_counted_is_no_line() {
        let emf = counted("poller", || {
            counter!("pollhook_wakeups").increment(0);
            gauge!("pollhook_backlog").set(1.0);
            let _ = histogram!("latency_ms");
        });
        assert_eq!(emf.lines(NOW), Vec::<String>::new());
    }

    #[test]
    fn a_refused_webhook_is_one_line_that_sums_by_role_and_by_reason() {
        let emf = counted("webhook-receiver", || {
            counter!("pollhook_received", "connector" => "hubspot").increment(1);
            counter!("pollhook_refused", "connector" => "hubspot", "reason" => "signature_mismatch").increment(1);
        });
        let lines = emf.lines(NOW);
        assert!(lines.len() == 1 && lines[0].len() <= 340, "{}: {lines:?}", lines[0].len());
        let line = &parsed(&lines)[0];
        assert_eq!((&line["Reason"], &line["refused"]), (&json!("signature_mismatch"), &json!(1)));
        let directives = &line["_aws"]["CloudWatchMetrics"];
        assert_eq!(directives[1]["Dimensions"], json!([["Role"], ["Role", "Reason"]]));
        assert_eq!(directives[1]["Metrics"], json!([{ "Name": "refused" }]));
    }

    #[test]
    fn connectors_are_summed_and_a_second_reason_is_a_second_line() {
        let refused = |connector: &'static str, reason: &'static str| {
            counter!("refused", "connector" => connector, "reason" => reason).increment(1);
        };
        let emf = counted("webhook-receiver", || {
            refused("hubspot", "stale");
            refused("asana", "stale");
            refused("hubspot", "malformed");
            counter!("received", "connector" => "hubspot").increment(2);
            counter!("received", "connector" => "asana").increment(1);
        });
        let lines = parsed(&emf.lines(NOW));
        let told: Vec<_> =
            lines.iter().map(|l| (l["Reason"].clone(), l["refused"].clone(), l["received"].clone())).collect();
        assert_eq!(told, [(json!("malformed"), json!(1), json!(3)), (json!("stale"), json!(2), Value::Null)]);
    }

    #[test]
    fn a_batch_of_deliveries_tells_every_latency_with_its_count() {
        let emf = counted("dispatcher", || {
            for ms in [80.0, 80.0, 31.0, f64::NAN, f64::INFINITY, -1.0] {
                histogram!("pollhook_latency_ms").record(ms);
            }
            histogram!("pollhook_callback_ms").record(12.5);
        });
        let line = parsed(&emf.lines(NOW)).remove(0);
        assert_eq!(line["latency_ms"], json!({ "Values": [0, 31, 80], "Counts": [1, 1, 2] }));
        assert_eq!(line["callback_ms"], json!(12.5));
    }

    proptest! {
        /// Whatever is counted is told, once, in lines that CloudWatch takes: each name and dimension that is spoken of is
        /// there, and no more values than it reads.
        #[test]
        fn everything_counted_is_told_once(
            counts in prop::collection::vec((0_usize..4, 0_usize..3, 1_u64..100), 0..60),
            values in prop::collection::vec(0_u32..400, 0..300),
        ) {
            const NAMES: [&str; 4] = ["a", "b", "c", "d"];
            const WHYS: [&str; 3] = ["x", "y", "z"];
            let emf = counted("role", || {
                for (name, why, count) in &counts {
                    match name {
                        0 => counter!(NAMES[*name]).increment(*count),
                        1 => counter!(NAMES[*name], "class" => WHYS[*why]).increment(*count),
                        // The same name with a reason and without.
                        _ if *why == 0 => counter!(NAMES[*name], "connector" => "c").increment(*count),
                        _ => counter!(NAMES[*name], "connector" => "c", "reason" => WHYS[*why]).increment(*count),
                    }
                }
                for value in &values {
                    histogram!("h").record(f64::from(*value));
                }
            });
            let mut sums: BTreeMap<String, u64> = BTreeMap::new();
            let mut told = 0;
            for line in parsed(&emf.lines(NOW)) {
                let mut named = BTreeSet::new();
                for directive in line["_aws"]["CloudWatchMetrics"].as_array().unwrap() {
                    for dimension in directive["Dimensions"].as_array().unwrap().iter().flat_map(|set| set.as_array().unwrap()) {
                        prop_assert!(line[dimension.as_str().unwrap()].is_string());
                    }
                    for metric in directive["Metrics"].as_array().unwrap() {
                        let name = metric["Name"].as_str().unwrap();
                        prop_assert!(named.insert(name.to_owned()), "a name in two directives of one line");
                        match &line[name] {
                            Value::Object(spread) => {
                                let counts = spread["Counts"].as_array().unwrap();
                                prop_assert!(counts.len() <= MOST_VALUES);
                                prop_assert_eq!(counts.len(), spread["Values"].as_array().unwrap().len());
                                told += counts.iter().map(|count| count.as_u64().unwrap()).sum::<u64>();
                            }
                            _ if name == "h" => told += 1,
                            number => *sums.entry(name.to_owned()).or_default() += number.as_u64().unwrap(),
                        }
                    }
                }
            }
            let mut expected: BTreeMap<String, u64> = BTreeMap::new();
            for (name, _, count) in &counts {
                *expected.entry(NAMES[*name].to_owned()).or_default() += count;
            }
            prop_assert_eq!(sums, expected);
            prop_assert_eq!(told, values.len() as u64);
        }
    }
}
