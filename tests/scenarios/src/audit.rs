//! What is promised, held against what happened.

use std::collections::{BTreeMap, BTreeSet};

use events::InstanceId;
use platform::Platform as _;
use records::deliveries::State;
use records::instances;

use crate::World;

impl World {
    /// Fails the test unless everything taken was told (or a record says why not), under ids that never change, and
    /// nothing is left behind. To be called when the world has come to rest.
    pub async fn audit(&self, context: &str) {
        self.audit_posts(context).await;
        self.audit_entries(context).await;
        self.audit_leftovers(context).await;
    }

    async fn audit_posts(&self, context: &str) {
        let posted = self.callbacks.posted();
        let mut bodies: BTreeMap<String, BTreeSet<Vec<u8>>> = BTreeMap::new();
        let mut event_ids: BTreeMap<(u64, String), BTreeSet<String>> = BTreeMap::new();
        let mut notification_ids: BTreeMap<(u64, String), BTreeSet<String>> = BTreeMap::new();
        let mut told = BTreeSet::new();
        for post in &posted {
            let instance = post.json()["message"]["instanceId"].as_u64().unwrap();
            bodies.entry(post.id.clone()).or_default().insert(post.body.to_vec());
            for (event, object) in post.events() {
                let change = (instance, object);
                event_ids.entry(change.clone()).or_default().insert(event);
                notification_ids.entry(change.clone()).or_default().insert(post.id.clone());
                if post.taken {
                    told.insert(change);
                }
            }
        }
        let webhooks = self.webhooks().clone();
        let polled = self.polled();
        for webhook in webhooks.iter().filter(|webhook| webhook.answered) {
            for instance in &webhook.signals {
                assert!(polled.contains(instance), "{context}: instance {instance} was signalled and never polled");
            }
            for (instance, object) in &webhook.expected {
                let change = (u64::from(instance.number()), object.clone());
                if !self.has_callback(*instance).await {
                    continue;
                }
                assert!(told.contains(&change), "{context}: instance {instance} was not told of {object}");
                assert_eq!(event_ids[&change].len(), 1, "{context}: {object} has more than one event id");
                assert_eq!(notification_ids[&change].len(), 1, "{context}: {object} is in more than one notification");
                if webhook.sent == 1 {
                    let id = notification_ids[&change].first().unwrap();
                    assert_eq!(bodies[id].len(), 1, "{context}: {id} was posted with different bodies");
                }
            }
        }
        let signalled: BTreeSet<_> = webhooks.iter().flat_map(|webhook| &webhook.signals).copied().collect();
        let polled: BTreeSet<_> = polled.into_iter().collect();
        assert!(polled.is_subset(&signalled), "{context}: somebody was polled whom no signal concerns");
        let expected: BTreeSet<(u64, String)> = webhooks
            .iter()
            .flat_map(|webhook| &webhook.expected)
            .map(|(instance, object)| (u64::from(instance.number()), object.clone()))
            .collect();
        let posted: BTreeSet<_> = event_ids.into_keys().collect();
        assert!(posted.is_subset(&expected), "{context}: somebody was told what does not concern them");
    }

    async fn has_callback(&self, instance: InstanceId) -> bool {
        let view = instances::callback_view(&self.platform().memory, instance).await.unwrap();
        view.is_none_or(|view| view.url.is_some())
    }

    /// Each change of an instance with flows on was published, under the id that its callback was told.
    async fn audit_entries(&self, context: &str) {
        let mut events: BTreeMap<(InstanceId, String), BTreeSet<(String, String)>> = BTreeMap::new();
        for entry in self.platform().bus().published() {
            events.entry((entry.instance, entry.object)).or_default().insert((entry.event, entry.notification));
        }
        for post in self.callbacks.posted() {
            let instance: InstanceId = post.json()["message"]["instanceId"].to_string().parse().unwrap();
            for (event, object) in post.events() {
                if let Some(ids) = events.get(&(instance, object)) {
                    assert_eq!(*ids, [(event, post.id.clone())].into(), "{context}: the bus was told another id");
                }
            }
        }
        let webhooks = self.webhooks().clone();
        let mut published: BTreeSet<_> = events.keys().cloned().collect();
        for webhook in webhooks {
            for change in &webhook.expected {
                let view = instances::callback_view(&self.platform().memory, change.0).await.unwrap();
                if view.is_some_and(|view| view.flows) {
                    assert!(!webhook.answered || events.contains_key(change), "{context}: {change:?} is not published");
                    assert!(events.get(change).is_none_or(|ids| ids.len() == 1), "{context}: {change:?} has two ids");
                    published.remove(change);
                }
            }
        }
        assert_eq!(published, BTreeSet::new(), "{context}: published what was not to be");
    }

    async fn audit_leftovers(&self, context: &str) {
        let memory = &self.platform().memory;
        assert_eq!(memory.batches().messages(), [], "{context}: the queue is not empty");
        assert_eq!(memory.polls().messages(), [], "{context}: a poll job is left");
        assert_eq!(memory.table().items("RETRY#"), [], "{context}: a wake-up is left");
        let instances: BTreeSet<_> =
            self.webhooks().iter().flat_map(|webhook| &webhook.expected).map(|(instance, _)| *instance).collect();
        let mut open = BTreeSet::new();
        let mut parked = BTreeSet::new();
        for instance in instances {
            for delivery in self.records(instance).await {
                for (to, leg) in delivery.legs() {
                    match leg.state {
                        State::Waiting { .. } => {
                            panic!("{context}: {} waits for an attempt at {to:?} that nobody makes", delivery.id)
                        }
                        State::Parked { .. } => {
                            parked.insert(delivery.id.to_string());
                            open.insert(format!("N{}", delivery.id));
                        }
                        State::Told { .. } | State::Kept | State::Dropped { .. } => {}
                    }
                }
            }
        }
        let pending: BTreeSet<_> = memory.table().items("PENDING#").into_iter().map(|item| item.key.sort).collect();
        assert_eq!(pending, parked, "{context}: what is pending is what is parked");
        for item in memory.table().items("BODY#") {
            let name = item.key.partition.split('#').nth(1).unwrap();
            let kept_for_ever = item.expires_at_s.is_none();
            assert!(!kept_for_ever || open.contains(name), "{context}: the body {name} is left behind for ever");
        }
    }
}
