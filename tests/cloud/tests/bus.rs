//! The event bus on EventBridge: what every bus promises, and what only this one can get wrong.

#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;

use aws::EventBus;
use events::Timestamp;
use platform::conformance::bus::Subscriber;
use platform::conformance::{BusUnderTest, FaultyBusUnderTest};
use platform::{Bus, BusError, Entry, PublishError};
use pollhook_cloud_tests::cloud;
use pollhook_cloud_tests::network::{Fault, Network};
use pollhook_cloud_tests::target::Target;

async fn bus() -> BusUnderTest<EventBus, Target> {
    let (name, subscriber) = cloud::bus().await;
    let bus = Arc::new(cloud::event_bus(cloud::address().await, &name));
    BusUnderTest { bus, subscriber, keep: Box::new(()) }
}

async fn bus_behind_network() -> (EventBus, Target, Network) {
    let (name, subscriber) = cloud::bus().await;
    let network = Network::to(cloud::address().await).await;
    (cloud::event_bus(network.address, &name), subscriber, network)
}

async fn faulty_bus() -> FaultyBusUnderTest<EventBus, Target, Network> {
    let (bus, subscriber, faults) = bus_behind_network().await;
    FaultyBusUnderTest { bus: Arc::new(bus), subscriber, faults, keep: Box::new(()) }
}

mod conformance {
    platform::bus_conformance!(super::bus);
}

mod fault_conformance {
    platform::bus_fault_conformance!(super::faulty_bus);
}

/// As many attempts as one request makes.
const ATTEMPTS: usize = 3;

fn entry(name: &str) -> Entry {
    let detail = format!(r#"{{"name":"{name}"}}"#);
    Entry { source: "pollhook".into(), detail_type: "Change".into(), detail, time: Timestamp::from_seconds(1) }
}

fn error(code: &str) -> Fault {
    Fault::Answer(400, format!(r#"{{"__type":"com.amazonaws.events#{code}","message":"made up"}}"#))
}

#[tokio::test]
async fn what_failed_is_sent_again_without_the_others() {
    let (bus, target, network) = bus_behind_network().await;
    let failed = r#"{"ErrorCode":"ThrottlingException","ErrorMessage":"made up"}"#;
    network.fault(Fault::Answer(200, format!(r#"{{"FailedEntryCount":1,"Entries":[{{"EventId":"1"}},{failed}]}}"#)));
    assert_eq!(bus.publish(vec![entry("first"), entry("second")]).await, Ok(()));
    let requests = network.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests[0].contains("first") && requests[0].contains("second"));
    assert!(!requests[1].contains("first") && requests[1].contains("second"));
    assert_eq!(target.handed_over(1).await, [entry("second")]);
}

#[tokio::test]
async fn what_can_never_be_taken_is_not_sent_again() {
    let (bus, target, network) = bus_behind_network().await;
    let (malformed, failed) = (r#"{"ErrorCode":"MalformedDetail"}"#, r#"{"ErrorCode":"InternalFailure"}"#);
    network.fault(Fault::Answer(200, format!(r#"{{"FailedEntryCount":2,"Entries":[{malformed},{failed}]}}"#)));
    let PublishError { failed, error } = bus.publish(vec![entry("bad"), entry("good")]).await.unwrap_err();
    assert_eq!(failed, [0]);
    assert!(matches!(error, BusError::Invalid(_)), "{error:?}");
    assert_eq!(target.handed_over(1).await, [entry("good")]);
    assert_eq!(network.requests().len(), 2);
}

#[tokio::test]
async fn an_answer_that_does_not_name_each_entry_leaves_the_others_open() {
    let (bus, target, network) = bus_behind_network().await;
    network.fault(Fault::Answer(200, r#"{"FailedEntryCount":0,"Entries":[{"EventId":"1"}]}"#.into()));
    assert_eq!(bus.publish(vec![entry("named"), entry("unnamed")]).await, Ok(()));
    assert_eq!(target.handed_over(1).await, [entry("unnamed")]);
}

/// After some of it was taken, the rest is named.
#[tokio::test]
async fn a_publish_that_is_cut_off_names_what_was_left() {
    let (bus, _target, network) = bus_behind_network().await;
    let failed = r#"{"ErrorCode":"InternalFailure"}"#;
    network.fault(Fault::Answer(200, format!(r#"{{"FailedEntryCount":1,"Entries":[{{"EventId":"1"}},{failed}]}}"#)));
    (0..ATTEMPTS).for_each(|_| network.fault(Fault::LoseAnswer));
    let PublishError { failed, error } = bus.publish(vec![entry("taken"), entry("lost")]).await.unwrap_err();
    assert_eq!(failed, [1]);
    assert!(matches!(error, BusError::Unavailable(_)), "{error:?}");
    assert_eq!(network.requests().len(), 1 + ATTEMPTS);
}

#[tokio::test]
async fn errors_of_the_service_have_their_names() {
    let (bus, target, network) = bus_behind_network().await;
    (0..ATTEMPTS).for_each(|_| network.fault(error("ThrottlingException")));
    let told = bus.publish(vec![entry("0"), entry("1")]).await.unwrap_err();
    assert_eq!((told.failed, told.error), (vec![0, 1], BusError::Throttled));
    network.fault(error("AccessDeniedException"));
    let told = bus.publish(vec![entry("0")]).await.unwrap_err();
    assert!(matches!(&told.error, BusError::Unavailable(text) if text.contains("AccessDenied")), "{told:?}");
    (0..ATTEMPTS).for_each(|_| network.fault(Fault::Answer(500, r#"{"__type":"InternalException"}"#.into())));
    let told = bus.publish(vec![entry("0")]).await.unwrap_err();
    assert!(matches!(told.error, BusError::Unavailable(_)), "{told:?}");
    assert_eq!(target.handed_over(0).await, []);
}

#[tokio::test]
async fn where_nobody_listens_a_bus_is_not_available() {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap(); // closed again
    let told = cloud::event_bus(address, "bus").publish(vec![entry("0")]).await.unwrap_err();
    assert!(matches!(told.error, BusError::Unavailable(_)), "{told:?}");
}

#[tokio::test]
async fn what_is_over_the_limits_is_not_sent() {
    let (bus, _target, network) = bus_behind_network().await;
    let bad = Entry { detail: "[]".into(), ..entry("bad") };
    assert!(matches!(bus.publish(vec![entry("good"), bad]).await.unwrap_err().error, BusError::Invalid(_)));
    assert!(matches!(bus.publish(Vec::new()).await.unwrap_err().error, BusError::Invalid(_)));
    assert_eq!(network.requests().len(), 0);
}
