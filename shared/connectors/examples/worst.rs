//! temp
#![allow(clippy::all)]
use http::{HeaderMap, HeaderName};
use pollhook_connectors::*;
use std::collections::BTreeMap;
use std::time::Instant;
fn status(k: &str) -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .unwrap()
        .lines()
        .find(|l| l.starts_with(k))
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}
fn main() {
    const N: usize = 4_000_000;
    let fill = |pre: &str, unit: &str, post: &str| {
        let n = (N - pre.len() - post.len()) / unit.len();
        format!("{pre}{}{post}", unit.repeat(n))
    };
    let m = r#"{"eventId":1,"portalId":1,"occurredAt":1700000000000,"subscriptionType":"contact.merge","objectId":1,"#;
    let list =
        |n: usize, sz: usize| (0..n).map(|i| format!("\"{}{i:05}\"", "x".repeat(sz))).collect::<Vec<_>>().join(",");
    let each =
        |n: usize, e: &dyn Fn(usize) -> String| format!("[{}]", (0..n).map(|i| e(i)).collect::<Vec<_>>().join(","));
    let cases: Vec<(&str, &str, String)> = vec![
        (
            "hubspot",
            "10k ids",
            format!("[{m}\"mergedObjectIds\":[{}]}}]", (0..10000).map(|i| i.to_string()).collect::<Vec<_>>().join(",")),
        ),
        ("hubspot", "2M ids", fill(&format!("[{m}\"mergedObjectIds\":[1"), ",1", "]}]")),
        ("hubspot", "nulls", fill(&format!("[{m}\"mergedObjectIds\":[null"), ",null", "]}]")),
        ("hubspot", "lists", fill(&format!("[{m}\"mergedObjectIds\":[1"), ",[]", "]}]")),
        ("hubspot", "999 long ids", format!("[{m}\"mergedObjectIds\":[{}]}}]", list(999, 3900))),
        ("hubspot", "999 ids of 1000", format!("[{m}\"mergedObjectIds\":[{}]}}]", list(999, 1000))),
        (
            "hubspot",
            "999 ids, long eventId",
            format!(
                "[{{\"mergedObjectIds\":[{}],\"subscriptionType\":\"contact.merge\",\"objectId\":1,\"occurredAt\":1,\"eventId\":\"{}\"}}]",
                list(999, 5),
                "y".repeat(3_900_000)
            ),
        ),
        (
            "hubspot",
            "999 ids, long portal+type",
            format!(
                "[{{\"mergedObjectIds\":[{}],\"subscriptionType\":\"object.merge\",\"objectTypeId\":\"{}\",\"objectId\":1,\"occurredAt\":1,\"portalId\":\"{}\"}}]",
                list(999, 5),
                "y".repeat(1_900_000),
                "y".repeat(1_900_000)
            ),
        ),
        (
            "hubspot",
            "999 ids, long primary",
            format!(
                "[{{\"mergedObjectIds\":[{}],\"subscriptionType\":\"object.merge\",\"objectTypeId\":\"1\",\"objectId\":\"{}\",\"occurredAt\":\"{}\"}}]",
                list(999, 5),
                "y".repeat(1_900_000),
                "2".repeat(1_900_000)
            ),
        ),
        ("hubspot", "dots", fill("[{\"objectId\":1,\"subscriptionType\":\"", ".", "\"}]")),
        (
            "hubspot",
            "dots x1000",
            each(1000, &|_| format!("{{\"objectId\":1,\"subscriptionType\":\"{}\"}}", ".".repeat(3900))),
        ),
        (
            "hubspot",
            "merges x1000 of null",
            each(999, &|_| {
                format!(
                    "{{\"objectId\":1,\"subscriptionType\":\"a.merge\",\"mergedObjectIds\":[1{}]}}",
                    ",1".repeat(950)
                )
            }),
        ),
        (
            "hubspot",
            "1000 changes 3.9K",
            each(1000, &|i| {
                format!(
                    "{{\"eventId\":{i},\"portalId\":1,\"objectId\":1,\"subscriptionType\":\"a.propertyChange\",\"occurredAt\":1,\"propertyName\":\"{}\"}}",
                    "p".repeat(3800)
                )
            }),
        ),
        ("hubspot", "2M zeros", fill("[0", ",0", "]")),
        ("hubspot", "objects", fill("{\"a\":[{}", ",{}", "]}")),
        (
            "hubspot",
            "occurrence of objects",
            fill("[{\"objectId\":1,\"subscriptionType\":\"a.merge\",\"eventId\":[{\"a\":1}", ",{\"a\":1}", "]}]"),
        ),
        (
            "hubspot",
            "occurrence big object",
            format!(
                "[{{\"objectId\":1,\"subscriptionType\":\"a.merge\",\"eventId\":{{{}}}}}]",
                (0..350000).map(|i| format!("\"{i:x}\":1")).collect::<Vec<_>>().join(",")
            ),
        ),
        ("standard", "dots", fill("[{\"id\":1,\"type\":\"", ".", "\"}]")),
        ("standard", "a.dots", fill("[{\"id\":1,\"type\":\"a", ".a", "\"}]")),
        ("standard", "dots x1000", each(1000, &|_| format!("{{\"id\":1,\"type\":\"{}\"}}", "a.".repeat(1950)))),
        ("standard", "type object", fill("[{\"id\":1,\"type\":[1.5", ",1.5", "]}]")),
        ("standard", "digits", fill("[{\"id\":1,\"type\":\"a.b\",\"timestamp\":1", "1", "}]")),
        ("standard", "data", fill("{\"id\":1,\"type\":\"a.b\",\"data\":[1", ",1", "]}")),
    ];
    for (k, name, body) in &cases {
        let headers: HeaderMap = [(HeaderName::from_static("webhook-id"), "m".parse().unwrap())].into_iter().collect();
        let r = Request { method: "POST", url: "https://a/", headers: &headers, body: body.as_bytes() };
        let c = catalogue().get(k).unwrap();
        std::fs::write("/proc/self/clear_refs", "5").ok();
        let before = status("VmRSS");
        let t = Instant::now();
        let p = c.parse(&r);
        let tp = t.elapsed();
        match p {
            Err(e) => println!(
                "{k:9}{name:28} {:8} B parse {tp:?} {e} peak {} MB",
                body.len(),
                (status("VmHWM") - before) / 1024
            ),
            Ok(p) => {
                let t = Instant::now();
                let a = c.accounts(&p).len();
                let n = c.normalise(&r, &p, &BTreeMap::new());
                let tn = t.elapsed();
                let t = Instant::now();
                let _s = select(body.as_bytes(), &[0]);
                let ts = t.elapsed();
                println!(
                    "{k:9}{name:28} {:8} B parse {tp:?} normalise {tn:?} select {ts:?} acc {a} changes {} skipped {} {} peak {} MB",
                    body.len(),
                    n.changes.len(),
                    n.skipped.len(),
                    n.too_many,
                    (status("VmHWM") - before) / 1024
                );
            }
        }
    }
}
