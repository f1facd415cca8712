//! What the demo sends, and what must come of it.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, Method};
use connectors::{Catalogue, Connector};
use events::{Timestamp, configuration};
use serde_json::{Value, json};

use crate::demo::ledger::{Change, Expected, Tally};
use crate::demo::provider::{Signing, Webhook};
use crate::demo::recorded::{notifications, recorded};
use crate::demo::reply::Wanted;

/// Changes of the large webhook: three notifications, the last one not full.
const MANY: usize = 45;

/// The connectors whose notifications are shown, before all others; and so many of each.
const SHOWN: [&str; 5] = ["sfdc", "hubspot", "quickbooks", "dropbox", "standard"];
const SHOWN_LINES: usize = 3;

/// An instance to provision.
#[derive(Clone, Debug)]
pub(crate) struct Instance<'c> {
    /// Its name, which no other instance of the demo has.
    pub(crate) name: String,
    /// Its connector.
    pub(crate) connector: &'c Connector,
    /// The provider's account, where its webhooks find the instance by it, or must be of it.
    pub(crate) account: Option<String>,
    /// What its webhooks are verified with.
    pub(crate) secret: Secret,
    /// Further configuration.
    pub(crate) configuration: BTreeMap<String, String>,
    /// Whether its callback fails once.
    pub(crate) fails_once: bool,
}

/// What an instance's webhooks are verified with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Secret {
    /// The demo's.
    Common,
    /// One that a recorded request holds.
    Given(String),
    /// One that is yet to come, in a handshake.
    HandedOver,
}

/// A webhook to send.
#[derive(Clone, Debug)]
pub(crate) struct Send<'c> {
    /// What.
    pub(crate) webhook: Webhook<'c>,
    /// The name of the instance whose own URL it is sent to; else the connector's.
    pub(crate) to: Option<String>,
    /// The name of an instance that must have been told before it is sent.
    pub(crate) after: Option<String>,
    /// What it must be answered.
    pub(crate) wanted: Wanted,
}

/// One row of the closing table.
#[derive(Clone, Debug)]
pub(crate) struct Scenario<'c> {
    /// What it shows.
    pub(crate) name: String,
    /// How many of its notifications are shown as they arrive.
    pub(crate) lines: usize,
    /// Who takes part.
    pub(crate) instances: Vec<Instance<'c>>,
    /// What is sent, in order.
    pub(crate) sends: Vec<Send<'c>>,
    /// How many changes are made that a poll is to find.
    pub(crate) polled: usize,
    /// What must arrive.
    pub(crate) expected: Vec<Expected>,
}

/// All scenarios. `own` is the connector that the demo defines itself, in `file`; `now` dates the changes that are made up.
pub(crate) fn all<'c>(catalogue: &'c Catalogue, own: &str, file: &str, now: Timestamp) -> Vec<Scenario<'c>> {
    let first: Vec<&str> = SHOWN.into_iter().chain([own]).collect();
    let rest = catalogue.keys().filter(|key| !first.contains(key));
    let keys = first.iter().map(|key| (*key, SHOWN_LINES)).chain(rest.map(|key| (key, 0)));
    let one = |(key, lines): (&str, usize)| {
        let connector = catalogue.get(key).filter(|connector| connector.has_webhooks())?;
        let name =
            if key == own { format!("{}, defined in {file}", connector.name()) } else { connector.name().into() };
        Some(recorded(connector, name, lines))
    };
    let mut scenarios: Vec<Scenario<'_>> = keys.filter_map(one).collect();
    if let Some(hubspot) = catalogue.get("hubspot") {
        let made = HubSpot { connector: hubspot, now };
        scenarios.extend([made.retried(), made.refused(), made.many(), made.redelivered(), made.shared()]);
    }
    scenarios
}

impl Scenario<'_> {
    /// What must come of it.
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = Tally { notifications: self.expected.len(), ..Tally::default() };
        self.sends.iter().for_each(|send| tally.count(&send.wanted));
        tally
    }
}

impl<'c> Instance<'c> {
    pub(crate) fn new(name: String, connector: &'c Connector) -> Self {
        let (account, configuration) = (None, BTreeMap::new());
        Self { name, connector, account, secret: Secret::Common, configuration, fails_once: false }
    }

    pub(crate) fn of_account(name: String, connector: &'c Connector, account: &str) -> Self {
        Self { account: Some(account.to_owned()), ..Self::new(name, connector) }
    }

    /// The body that provisions it.
    pub(crate) fn body(&self, callback: &str, signature_key: &str, webhook_secret: &str) -> Value {
        let mut settings = self.configuration.clone();
        let mut set = |key: &str, value: &str| drop(settings.insert(key.to_owned(), value.to_owned()));
        set(configuration::ENABLED, "true");
        set(configuration::CALLBACK_URL, callback);
        set(configuration::SIGNATURE_KEY, signature_key);
        let secret = match &self.secret {
            Secret::Common => Some(webhook_secret),
            Secret::Given(secret) => Some(secret.as_str()),
            Secret::HandedOver => None,
        };
        match (self.connector.secret_keys().first(), secret) {
            (Some(key), Some(secret)) => set(key, secret),
            (Some(_), None) => {}
            (None, _) if self.connector.has_webhooks() => set(configuration::VENDOR_VERIFICATION, "none"),
            (None, _) => {}
        }
        if let Some(account) = &self.account {
            set(configuration::VENDOR_ACCOUNT, account);
        }
        json!({ "name": self.name, "element": { "key": self.connector.key() }, "configuration": settings })
    }
}

/// Makes HubSpot's webhooks up.
struct HubSpot<'c> {
    connector: &'c Connector,
    now: Timestamp,
}

impl<'c> HubSpot<'c> {
    fn scenario(&self, name: &str, instances: Vec<Instance<'c>>, sends: Vec<Send<'c>>, count: usize) -> Scenario<'c> {
        let expected = instances.iter().flat_map(|instance| notifications(&instance.name, &created(count)));
        Scenario { name: name.to_owned(), lines: usize::MAX, expected: expected.collect(), instances, sends, polled: 0 }
    }

    fn instance(&self, name: &str, portal: u32) -> Instance<'c> {
        Instance::of_account(name.to_owned(), self.connector, &portal.to_string())
    }

    /// `count` new contacts in one request; `attempt` is HubSpot's own count of its deliveries, from 0.
    fn contacts(&self, portal: u32, count: usize, attempt: u32) -> Send<'c> {
        let contact = |object: usize| {
            json!({
                "eventId": 1000 + object, "subscriptionId": 25, "portalId": portal, "appId": 1_160_452,
                "occurredAt": self.now.as_millis(), "subscriptionType": "contact.creation", "attemptNumber": attempt,
                "objectId": object, "changeSource": "CRM_UI", "changeFlag": "NEW",
            })
        };
        let body = Value::Array((1..=count).map(contact).collect()).to_string();
        let webhook = Webhook {
            connector: self.connector,
            method: Method::POST,
            query: String::new(),
            id: String::new(),
            headers: HeaderMap::new(),
            body,
            secret: None,
            signing: Signing::Right,
        };
        Send { webhook, to: None, after: None, wanted: Wanted::Taken }
    }

    fn retried(&self) -> Scenario<'c> {
        let instance = Instance { fails_once: true, ..self.instance("Callback fails once", 900_001) };
        let sends = vec![self.contacts(900_001, 1, 0)];
        let mut scenario = self.scenario("A callback that fails once is tried again", vec![instance], sends, 1);
        for expected in &mut scenario.expected {
            expected.attempt = 2;
        }
        scenario
    }

    fn refused(&self) -> Scenario<'c> {
        let signed = |signing| {
            let Send { webhook, .. } = self.contacts(900_002, 1, 0);
            Send { webhook: Webhook { signing, ..webhook }, to: None, after: None, wanted: Wanted::Refused }
        };
        let sends = vec![signed(Signing::None), signed(Signing::Wrong)];
        let instances = vec![self.instance("Hears no stranger", 900_002)];
        self.scenario("Unsigned and wrongly signed are refused", instances, sends, 0)
    }

    fn many(&self) -> Scenario<'c> {
        let sends = vec![self.contacts(900_003, MANY, 0)];
        let name = format!("{MANY} changes in one webhook");
        self.scenario(&name, vec![self.instance("Many changes", 900_003)], sends, MANY)
    }

    fn redelivered(&self) -> Scenario<'c> {
        let name = "Told once";
        // A provider delivers again when it has waited for an answer in vain: seconds later, not at the same time.
        let after = |attempt| (attempt > 0).then(|| name.to_owned());
        let send = |attempt| Send { after: after(attempt), ..self.contacts(900_004, 2, attempt) };
        let sends = (0..3).map(send).collect();
        self.scenario("Delivered three times, told once", vec![self.instance(name, 900_004)], sends, 2)
    }

    fn shared(&self) -> Scenario<'c> {
        let instances = ["Shared account, first", "Shared account, second"].map(|name| self.instance(name, 900_005));
        let sends = vec![self.contacts(900_005, 1, 0)];
        self.scenario("Two instances share a HubSpot account", instances.into(), sends, 1)
    }
}

fn created(count: usize) -> Vec<Change> {
    let contact =
        |id: usize| Change { event_type: "CREATED".into(), object_type: "contacts".into(), object_id: id.to_string() };
    (1..=count).map(contact).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use connectors::catalogue;

    use super::{SHOWN, SHOWN_LINES, Scenario, Timestamp};

    fn all() -> Vec<Scenario<'static>> {
        super::all(catalogue(), "none", "none.yaml", Timestamp::from_seconds(1_790_000_000))
    }

    #[test]
    fn every_connector_with_webhooks_has_a_scenario_and_every_instance_its_own_name() {
        let all = all();
        let connectors = catalogue().keys().filter(|key| catalogue().get(key).unwrap().has_webhooks()).count();
        assert_eq!(all.len(), connectors + 5);
        assert_eq!([0, 1, 2, 3, 4].map(|place| all[place].lines), [SHOWN_LINES; SHOWN.len()]);
        assert!(all.iter().all(|scenario| !scenario.sends.is_empty()));
        let names: Vec<_> = all.iter().flat_map(|s| s.instances.iter().map(|i| i.name.as_str())).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }

    #[test]
    fn forty_five_changes_make_three_notifications_and_refused_ones_none() {
        let all = all();
        let expected = |name: &str| {
            let scenario = all.iter().find(|scenario| scenario.name.contains(name)).unwrap();
            scenario.expected.iter().map(|e| e.changes.len()).collect::<Vec<_>>()
        };
        assert_eq!(expected("45 changes"), [20, 20, 5]);
        assert_eq!(expected("refused"), [0_usize; 0]);
        assert_eq!(expected("share"), [1, 1]);
        assert_eq!(expected("told once"), [2]);
    }
}
