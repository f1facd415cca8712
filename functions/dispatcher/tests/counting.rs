//! What is counted of deliveries.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use events::Message;
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use pollhook_dispatcher::RetryPolicy;
use scenarios::{Behaviour, Reply, Spec, World, batch};

const URL: &str = "https://app.example/hook";

#[derive(Default)]
struct Values(Mutex<Vec<f64>>);

impl HistogramFn for Values {
    fn record(&self, value: f64) {
        self.0.lock().unwrap().push(value);
    }
}

/// Keeps what this thread counts.
#[derive(Default)]
struct Figures {
    counters: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    histograms: Mutex<BTreeMap<String, Arc<Values>>>,
}

impl Recorder for Figures {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        // Other roles count by connector and reason; the dispatcher's figures have no labels.
        if key.labels().count() > 0 {
            return Counter::noop();
        }
        Counter::from_arc(Arc::clone(self.counters.lock().unwrap().entry(key.name().to_owned()).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::clone(self.histograms.lock().unwrap().entry(key.name().to_owned()).or_default()))
    }
}

impl Figures {
    fn counted(&self) -> Vec<(String, u64)> {
        let counters = self.counters.lock().unwrap();
        let counted =
            counters.iter().map(|(name, count)| (name.replace("pollhook_", ""), count.load(Ordering::Relaxed)));
        // What the sweep sent in between is the poller's to count.
        counted.filter(|(name, _)| name != "wakeups").collect()
    }

    fn measured(&self, name: &str) -> Vec<f64> {
        self.histograms.lock().unwrap().get(name).map(|values| values.0.lock().unwrap().clone()).unwrap_or_default()
    }
}

#[tokio::test]
async fn what_is_told_fails_is_tried_again_parked_and_published_is_counted() {
    let figures = Figures::default();
    let _guard = metrics::set_default_local_recorder(&figures);
    let world = World::new(601, RetryPolicy::new(&[5])).await;
    let fails = Reply::Status(500);
    world.callbacks.behave(URL, Behaviour { key: None, first: vec![fails.clone()], then: Reply::Status(200) });
    let down = "https://down.example/hook";
    world.callbacks.behave(down, Behaviour { key: None, first: Vec::new(), then: fails });
    let told = world.make(Spec::of("hubspot").callback(URL).flows()).await.id;
    let parked = world.make(Spec::of("hubspot").callback(down)).await.id;
    world.platform().refuse(told, 2, 1);
    for instance in [told, parked] {
        world.handle(&Message::Batch(batch(instance, 0..3, "[]")).encode()).await.unwrap();
    }
    world.settle().await;
    // The one fails once and is told; the other fails twice and is parked; the bus takes one event at once, two later.
    let expected = [("delivered", 1), ("failed", 3), ("flows", 3), ("parked", 1), ("retried", 3)];
    assert_eq!(figures.counted(), expected.map(|(name, count)| (name.to_owned(), count)));
    assert_eq!(figures.measured("pollhook_callback_ms"), [7.0; 4]);
    let latency = figures.measured("pollhook_latency_ms");
    assert!(latency.len() == 1 && (4_000.0..60_000.0).contains(&latency[0]), "{latency:?}");
}
