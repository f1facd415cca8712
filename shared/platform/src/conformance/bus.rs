//! Buses: what a publish may be, and that it arrives as given.

use std::future::Future;

use events::Timestamp;

use crate::{Bus, BusError, Entry, limits};

/// A test for each scenario. `$setup` is an async function without arguments that gives a
/// [`BusUnderTest`](crate::conformance::BusUnderTest).
#[macro_export]
macro_rules! bus_conformance {
    ($setup:path) => {
        $crate::__scenarios! {
            __bus_scenario, $setup,
            bus::{
                what_was_published_is_handed_over_as_given,
                any_text_of_json_comes_through,
                ten_entries_are_published_at_once_and_no_more,
                a_publish_of_the_largest_size_is_taken_and_no_larger,
                a_bad_entry_is_refused_with_its_neighbours,
            },
        }
    };
}

/// Who a rule's target is: sees what the bus hands over.
pub trait Subscriber: Send + Sync {
    /// Everything handed over since the bus was made, in no order, copies included. Returns when it is `count` or more,
    /// or when no more comes.
    fn handed_over(&self, count: usize) -> impl Future<Output = Vec<Entry>> + Send;
}

const TIME: Timestamp = Timestamp::from_seconds(1_700_000_000);

/// An entry that is told from others by `name`.
pub(super) fn entry(name: &str) -> Entry {
    let detail = format!(r#"{{"name":"{name}"}}"#);
    Entry { source: "pollhook".into(), detail_type: "Change".into(), detail, time: TIME }
}

/// A detail is the same when its JSON says the same: a bus may write it anew.
fn same(a: &Entry, b: &Entry) -> bool {
    let json = |entry: &Entry| serde_json::from_str::<serde_json::Value>(&entry.detail).ok();
    (&a.source, &a.detail_type, a.time) == (&b.source, &b.detail_type, b.time) && json(a) == json(b)
}

/// Each of `published` was handed over, and nothing else.
pub(super) async fn assert_handed_over(subscriber: &impl Subscriber, published: &[Entry]) {
    let handed_over = subscriber.handed_over(published.len()).await;
    for entry in published {
        assert!(handed_over.iter().any(|found| same(found, entry)), "{entry:?} was not handed over");
    }
    for found in &handed_over {
        assert!(published.iter().any(|entry| same(found, entry)), "{found:?} was handed over");
    }
}

/// The whole publish is refused for what it is.
async fn assert_refused<B: Bus>(bus: &B, entries: Vec<Entry>, why: &str) {
    let all: Vec<usize> = (0..entries.len()).collect();
    let error = bus.publish(entries).await.expect_err(why);
    assert!(matches!(error.error, BusError::Invalid(_)), "{why}: {error:?}");
    assert_eq!(error.failed, all, "{why}: none of them was published");
}

/// Source, detail type, detail and time.
pub async fn what_was_published_is_handed_over_as_given<B: Bus>(bus: &B, subscriber: &impl Subscriber) {
    let longest = "t".repeat(limits::DETAIL_TYPE_CHARACTERS);
    let entries = vec![
        entry("plain"),
        Entry { source: "com.example/other source".into(), ..entry("source") },
        Entry { detail_type: longest, ..entry("detail type") },
        Entry { detail_type: "ÜÄ 字 😀".into(), ..entry("not only ASCII") },
        Entry { time: Timestamp::from_seconds(1_600_000_001), ..entry("earlier") },
    ];
    assert_eq!(bus.publish(entries.clone()).await, Ok(()));
    assert_handed_over(subscriber, &entries).await;
}

/// Nested, long, foreign, escaped.
pub async fn any_text_of_json_comes_through<B: Bus>(bus: &B, subscriber: &impl Subscriber) {
    let details = [
        "{}",
        " {\n\t\"spaced\" : [ 1 , 2 ] }\r\n",
        r#"{"é":"字 😀","escaped":"\" \\ \/ \b \f \n \r \t é 😀"}"#,
        r#"{"numbers":[0,-1,1.5,9007199254740991,2147483648],"others":[true,false,null,{},[]]}"#,
        r#"{"a":{"b":{"c":{"d":{"e":{"f":{"g":[[[[1]]]]}}}}}}}"#,
        r#"{"markup":"<a href='x'>&amp;</a>","detail":"{\"detail\":{}}","source":"pollhook"}"#,
    ];
    let entries: Vec<Entry> = details.map(|detail| Entry { detail: detail.into(), ..entry("") }).into();
    assert_eq!(bus.publish(entries.clone()).await, Ok(()));
    assert_handed_over(subscriber, &entries).await;
}

/// [`limits::PUBLISH_ENTRIES`].
pub async fn ten_entries_are_published_at_once_and_no_more<B: Bus>(bus: &B, subscriber: &impl Subscriber) {
    let entries = |count: usize| (0..count).map(|n| entry(&format!("{n:02}"))).collect::<Vec<_>>();
    assert_refused(bus, entries(limits::PUBLISH_ENTRIES + 1), "eleven entries").await;
    assert_refused(bus, Vec::new(), "no entry").await;
    assert_handed_over(subscriber, &[]).await;
    let ten = entries(limits::PUBLISH_ENTRIES);
    assert_eq!(bus.publish(ten.clone()).await, Ok(()));
    assert_handed_over(subscriber, &ten).await;
}

/// [`limits::PUBLISH_BYTES`], counted over all entries.
pub async fn a_publish_of_the_largest_size_is_taken_and_no_larger<B: Bus>(bus: &B, subscriber: &impl Subscriber) {
    let of_size = |name: &str, bytes: usize| {
        let padding = "x".repeat(bytes - limits::entry_bytes(&entry(name)));
        entry(&format!("{name}{padding}"))
    };
    let quarter = limits::PUBLISH_BYTES / 4;
    let quarters = ["1", "2", "3"].map(|name| of_size(name, quarter));
    let publish = |last: Entry| quarters.iter().cloned().chain([last]).collect::<Vec<_>>();
    assert_refused(bus, vec![of_size("one", limits::PUBLISH_BYTES + 1)], "one entry too large").await;
    assert_refused(bus, publish(of_size("4", quarter + 1)), "four entries, together too large").await;
    assert_handed_over(subscriber, &[]).await;
    let largest = publish(of_size("4", quarter));
    assert_eq!(bus.publish(largest.clone()).await, Ok(()));
    let handed_over = subscriber.handed_over(largest.len()).await;
    for entry in &largest {
        assert!(handed_over.iter().any(|found| same(found, entry)), "a large entry was not handed over, or changed");
    }
}

/// Nothing of that publish is taken, so that it can be repeated without the bad one.
pub async fn a_bad_entry_is_refused_with_its_neighbours<B: Bus>(bus: &B, subscriber: &impl Subscriber) {
    let bad = |change: fn(&mut Entry)| {
        let mut entry = entry("bad");
        change(&mut entry);
        entry
    };
    let entries = [
        bad(|entry| entry.source.clear()),
        bad(|entry| entry.source = "aws.ec2".into()),
        bad(|entry| entry.detail_type.clear()),
        bad(|entry| entry.detail_type = "t".repeat(limits::DETAIL_TYPE_CHARACTERS + 1)),
        bad(|entry| entry.detail.clear()),
        bad(|entry| entry.detail = "text".into()),
        bad(|entry| entry.detail = r#""text""#.into()),
        bad(|entry| entry.detail = "[{}]".into()),
        bad(|entry| entry.detail = "17".into()),
        bad(|entry| entry.detail = "null".into()),
        bad(|entry| entry.detail = "{".into()),
        bad(|entry| entry.detail = "{} {}".into()),
        bad(|entry| entry.detail = "{'name':1}".into()),
        bad(|entry| entry.detail = r#"{"number":NaN}"#.into()),
    ];
    for bad in entries {
        let why = format!("{bad:?}");
        assert_refused(bus, vec![entry("good"), bad, entry("good")], &why).await;
    }
    assert_handed_over(subscriber, &[]).await;
}
