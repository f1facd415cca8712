//! The numbers behind the facade, by name and labels.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use crate::known::bare;

/// Most series of a kind. All of ours, with every connector and reason, are some hundreds.
pub const MOST_SERIES: usize = 2000;

/// One kind's numbers. Looked up where a role does not keep the handle, so a read lock is all that usually takes.
#[derive(Debug)]
struct Series<T>(RwLock<HashMap<Key, Arc<T>>>);

impl<T> Default for Series<T> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T: Default> Series<T> {
    /// The number of this key; `None`: there are too many already.
    fn of(&self, key: &Key) -> Option<Arc<T>> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
        if known.is_some() {
            return known;
        }
        let mut series = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if series.len() >= MOST_SERIES && !series.contains_key(key) {
            return None;
        }
        Some(Arc::clone(series.entry(key.clone()).or_default()))
    }

    /// All of them, by name (the prefix does not count) and labels.
    fn sorted(&self) -> Vec<(Key, Arc<T>)> {
        let series = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = series.iter().map(|(key, number)| (key.clone(), Arc::clone(number))).collect();
        all.sort_by(|(one, _), (other, _)| (bare(one.name()), one).cmp(&(bare(other.name()), other)));
        all
    }
}

/// All numbers. `H` keeps what a histogram is told.
#[derive(Debug)]
pub(crate) struct Registry<H> {
    counters: Series<AtomicU64>,
    /// The bits of an `f64`.
    gauges: Series<AtomicU64>,
    histograms: Series<H>,
}

impl<H> Default for Registry<H> {
    fn default() -> Self {
        Self { counters: Series::default(), gauges: Series::default(), histograms: Series::default() }
    }
}

impl<H: Default> Registry<H> {
    pub(crate) fn counters(&self) -> Vec<(Key, Arc<AtomicU64>)> {
        self.counters.sorted()
    }

    pub(crate) fn gauges(&self) -> Vec<(Key, Arc<AtomicU64>)> {
        self.gauges.sorted()
    }

    pub(crate) fn histograms(&self) -> Vec<(Key, Arc<H>)> {
        self.histograms.sorted()
    }
}

impl<H: HistogramFn + Default + Send + Sync + 'static> Recorder for Registry<H> {
    // What a figure says is in `known`.
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.counters.of(key).map_or_else(Counter::noop, Counter::from_arc)
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.gauges.of(key).map_or_else(Gauge::noop, Gauge::from_arc)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.histograms.of(key).map_or_else(Histogram::noop, Histogram::from_arc)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::prometheus::Buckets;

    const METADATA: Metadata<'static> = Metadata::new("", metrics::Level::INFO, None);

    #[test]
    fn one_key_is_one_number_and_labels_tell_numbers_apart() {
        let registry: Registry<Buckets> = Registry::default();
        let key = |reason: &str| Key::from_parts("refused", vec![metrics::Label::new("reason", reason.to_owned())]);
        registry.register_counter(&key("stale"), &METADATA).increment(1);
        registry.register_counter(&key("stale"), &METADATA).increment(2);
        registry.register_counter(&key("loop"), &METADATA).increment(4);
        let numbers: Vec<u64> = registry.counters().iter().map(|(_, n)| n.load(Ordering::Relaxed)).collect();
        assert_eq!(numbers, [4, 3], "sorted by label");
    }

    #[test]
    fn beyond_the_most_nothing_new_is_counted_and_what_is_known_still_is() {
        let registry: Registry<Buckets> = Registry::default();
        let key = |n: usize| Key::from_name(format!("{n:05}"));
        for n in 0..MOST_SERIES + 10 {
            registry.register_counter(&key(n), &METADATA).increment(1);
        }
        registry.register_counter(&key(0), &METADATA).increment(1);
        let counters = registry.counters();
        assert_eq!(counters.len(), MOST_SERIES);
        assert_eq!(counters[0].1.load(Ordering::Relaxed), 2);
    }
}
