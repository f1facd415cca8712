//! What a notification costs beside its POST: `cargo bench -p pollhook-events`.

#![allow(clippy::unwrap_used, missing_docs)]

use bytes::Bytes;
use divan::{Bencher, black_box};
use pollhook_events::envelope::{self, Recipient};
use pollhook_events::{
    AccountId, Batch, Event, EventId, EventType, InstanceId, Message, SignatureKey, Source, Timestamp,
};

fn main() {
    divan::main();
}

const AT: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn batch(events: usize) -> Batch {
    let instance = InstanceId::from_random(31);
    let change = r#"{"eventId":3816279340,"subscriptionId":25,"portalId":33,"appId":1160452,"occurredAt":1462216307945,"subscriptionType":"contact.propertyChange","attemptNumber":0,"objectId":1246965,"propertyName":"lifecyclestage","propertyValue":"subscriber","changeSource":"ACADEMY"}"#;
    Batch {
        instance,
        connector: "hubspot".into(),
        hub: "crm".into(),
        source: Source::Webhook,
        accepted_at: AT,
        hops: 0,
        events: (0..events)
            .map(|n| Event {
                id: EventId::of(instance, "contacts", &n.to_string(), &["occurrence"]),
                object_type: "contacts".into(),
                object_id: n.to_string(),
                event_type: EventType::Updated,
                date: Some(AT),
            })
            .collect(),
        raw: Bytes::from(format!("[{}]", vec![change; events].join(","))),
    }
}

fn recipient() -> Recipient<'static> {
    Recipient { name: "Acme", tags: &[], account: AccountId(1), company: 2, user: 3, strict: false }
}

#[divan::bench(args = [1, 20])]
fn envelope(bencher: Bencher<'_, '_>, events: usize) {
    let (batch, recipient) = (batch(events), recipient());
    let notification = batch.notifications(AT).next().unwrap();
    bencher.bench_local(|| envelope::body(black_box(&recipient), black_box(&batch), black_box(&notification)));
}

#[divan::bench(args = [1, 20])]
fn sign(bencher: Bencher<'_, '_>, events: usize) {
    let (batch, recipient) = (batch(events), recipient());
    let notification = batch.notifications(AT).next().unwrap();
    let body = envelope::body(&recipient, &batch, &notification).unwrap();
    let key = SignatureKey::new("MySecretEventSignatureKey".into()).unwrap();
    bencher
        .bench_local(|| (key.elements(black_box(&body)), key.standard(notification.id.as_str(), AT, black_box(&body))));
}

#[divan::bench(args = [1, 20])]
fn through_the_queue(bencher: Bencher<'_, '_>, events: usize) {
    let message = Message::Batch(batch(events));
    bencher.bench_local(|| Message::decode(&black_box(&message).encode()));
}
