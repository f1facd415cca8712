//! What the demo sends, and what must come of it.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use connectors::{Connector, Example, catalogue};
use events::{Source, Timestamp, configuration, signature};
use serde_json::{Value, json};

use crate::demo::ledger::{Change, Expected};
use crate::demo::provider::{Signing, Webhook};

/// Changes of the large webhook: three notifications, the last one not full.
const MANY: usize = 45;

/// An instance to provision.
#[derive(Clone, Debug)]
pub(crate) struct Instance {
    /// Its name, which no other instance of the demo has.
    pub(crate) name: String,
    /// Its connector.
    pub(crate) connector: &'static Connector,
    /// The provider's account, where its webhooks find the instance by it.
    pub(crate) account: Option<String>,
    /// Further configuration.
    pub(crate) configuration: BTreeMap<String, String>,
    /// Whether its callback fails once.
    pub(crate) fails_once: bool,
}

/// A webhook to send.
#[derive(Clone, Debug)]
pub(crate) struct Send {
    /// What.
    pub(crate) webhook: Webhook,
    /// The name of the instance whose own URL it is sent to; else the connector's.
    pub(crate) to: Option<String>,
    /// The name of an instance that must have been told before it is sent.
    pub(crate) after: Option<String>,
    /// What it must be answered.
    pub(crate) status: u16,
}

/// One row of the closing table.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    /// What it shows.
    pub(crate) name: String,
    /// Who takes part.
    pub(crate) instances: Vec<Instance>,
    /// What is sent, in order.
    pub(crate) sends: Vec<Send>,
    /// What must arrive.
    pub(crate) expected: Vec<Expected>,
}

/// All scenarios. `now` dates the changes that are made up.
pub(crate) fn all(now: Timestamp) -> Vec<Scenario> {
    let mut scenarios: Vec<Scenario> = connectors().map(recorded).collect();
    if let Some(hubspot) = catalogue().get("hubspot") {
        let made = HubSpot { connector: hubspot, now };
        scenarios.extend([made.retried(), made.refused(), made.many(), made.redelivered(), made.shared()]);
    }
    scenarios
}

fn connectors() -> impl Iterator<Item = &'static Connector> {
    catalogue().keys().filter_map(|key| catalogue().get(key))
}

impl Instance {
    fn new(name: String, connector: &'static Connector) -> Self {
        Self { name, connector, account: None, configuration: BTreeMap::new(), fails_once: false }
    }

    fn of_account(name: String, connector: &'static Connector, account: &str) -> Self {
        Self { account: Some(account.to_owned()), ..Self::new(name, connector) }
    }

    /// The body that provisions it.
    pub(crate) fn body(&self, callback: &str, signature_key: &str, webhook_secret: &str) -> Value {
        let mut settings = self.configuration.clone();
        let mut set = |key: &str, value: &str| drop(settings.insert(key.to_owned(), value.to_owned()));
        set(configuration::ENABLED, "true");
        set(configuration::CALLBACK_URL, callback);
        set(configuration::SIGNATURE_KEY, signature_key);
        match self.connector.secret_keys().first() {
            Some(key) => set(key, webhook_secret),
            None => set(configuration::VENDOR_VERIFICATION, "none"),
        }
        if let Some(account) = &self.account {
            set(configuration::VENDOR_ACCOUNT, account);
        }
        json!({ "name": self.name, "element": { "key": self.connector.key() }, "configuration": settings })
    }
}

/// The connector's recorded requests: sent to the accounts that they name, or else each to an instance of its own.
fn recorded(connector: &'static Connector) -> Scenario {
    let name = format!("{}: recorded webhooks", connector.name());
    let mut scenario = Scenario { name, instances: Vec::new(), sends: Vec::new(), expected: Vec::new() };
    for example in connector.examples() {
        let accounts = accounts(connector, example);
        let label = example.name.trim_end_matches(".yaml");
        let mut send = send(connector, example, label);
        if accounts.is_empty() && !example.changes.is_empty() {
            let mut instance = Instance::new(format!("{}, {label}", connector.name()), connector);
            instance.configuration.clone_from(&example.configuration);
            scenario
                .expected
                .extend(notifications(&instance.name, &example.changes.iter().map(change).collect::<Vec<_>>()));
            send.to = Some(instance.name.clone());
            scenario.instances.push(instance);
        }
        for account in accounts {
            let name = format!("{} account {account}", connector.name());
            // What names no account concerns nobody who was found by the accounts of other entries.
            let concerns = |of: &Option<String>| of.as_deref() == Some(account);
            let changes: Vec<_> = example.changes.iter().filter(|c| concerns(&c.account)).map(change).collect();
            scenario.expected.extend(notifications(&name, &changes));
            if scenario.instances.iter().all(|instance| instance.name != name) {
                scenario.instances.push(Instance::of_account(name, connector, account));
            }
        }
        scenario.sends.push(send);
    }
    scenario
}

/// The accounts that a request is routed by; none, if it must name its instance.
fn accounts<'e>(connector: &Connector, example: &'e Example) -> Vec<&'e str> {
    let mut accounts = Vec::new();
    if connector.routes_by_account() && connector.verifies() && example.configuration.is_empty() {
        for account in example.changes.iter().filter_map(|change| change.account.as_deref()) {
            if !accounts.contains(&account) {
                accounts.push(account);
            }
        }
    }
    accounts
}

fn send(connector: &'static Connector, example: &Example, label: &str) -> Send {
    let header = |(name, value): (&String, &String)| {
        Some((name.parse::<HeaderName>().ok()?, value.parse::<HeaderValue>().ok()?))
    };
    let id = example.headers.get(signature::WEBHOOK_ID).cloned();
    let webhook = Webhook {
        connector,
        id: id.unwrap_or_else(|| format!("msg_{}_{label}", connector.key())),
        headers: example.headers.iter().filter_map(header).collect(),
        body: example.body.clone(),
        signing: Signing::Right,
    };
    Send { webhook, to: None, after: None, status: 200 }
}

fn change(expected: &connectors::ExpectedChange) -> Change {
    Change {
        event_type: expected.event.clone(),
        object_type: expected.object_type.clone(),
        object_id: expected.id.clone(),
    }
}

/// The notifications that one request's changes make for one instance.
fn notifications(instance: &str, changes: &[Change]) -> Vec<Expected> {
    let chunks = changes.chunks(Source::Webhook.batch_limit());
    chunks.map(|some| Expected { instance: instance.to_owned(), changes: some.to_vec(), attempt: 1 }).collect()
}

/// Makes HubSpot's webhooks up.
struct HubSpot {
    connector: &'static Connector,
    now: Timestamp,
}

impl HubSpot {
    fn scenario(&self, name: &str, instances: Vec<Instance>, sends: Vec<Send>, count: usize) -> Scenario {
        let expected = instances.iter().flat_map(|instance| notifications(&instance.name, &created(count)));
        Scenario { name: name.to_owned(), expected: expected.collect(), instances, sends }
    }

    fn instance(&self, name: &str, portal: u32) -> Instance {
        Instance::of_account(name.to_owned(), self.connector, &portal.to_string())
    }

    /// `count` new contacts in one request; `attempt` is HubSpot's own count of its deliveries, from 0.
    fn contacts(&self, portal: u32, count: usize, attempt: u32) -> Send {
        let contact = |object: usize| {
            json!({
                "eventId": 1000 + object, "subscriptionId": 25, "portalId": portal, "appId": 1_160_452,
                "occurredAt": self.now.as_millis(), "subscriptionType": "contact.creation", "attemptNumber": attempt,
                "objectId": object, "changeSource": "CRM_UI", "changeFlag": "NEW",
            })
        };
        let body = Value::Array((1..=count).map(contact).collect()).to_string();
        let (connector, id, headers) = (self.connector, String::new(), HeaderMap::new());
        Send {
            webhook: Webhook { connector, id, headers, body, signing: Signing::Right },
            to: None,
            after: None,
            status: 200,
        }
    }

    fn retried(&self) -> Scenario {
        let instance = Instance { fails_once: true, ..self.instance("Callback fails once", 900_001) };
        let sends = vec![self.contacts(900_001, 1, 0)];
        let mut scenario = self.scenario("A callback that fails once is tried again", vec![instance], sends, 1);
        for expected in &mut scenario.expected {
            expected.attempt = 2;
        }
        scenario
    }

    fn refused(&self) -> Scenario {
        let signed = |signing| {
            let Send { webhook, .. } = self.contacts(900_002, 1, 0);
            Send { webhook: Webhook { signing, ..webhook }, to: None, after: None, status: 401 }
        };
        let sends = vec![signed(Signing::None), signed(Signing::Wrong)];
        let instances = vec![self.instance("Hears no stranger", 900_002)];
        self.scenario("Unsigned and wrongly signed are refused", instances, sends, 0)
    }

    fn many(&self) -> Scenario {
        let sends = vec![self.contacts(900_003, MANY, 0)];
        let name = format!("{MANY} changes in one webhook");
        self.scenario(&name, vec![self.instance("Many changes", 900_003)], sends, MANY)
    }

    fn redelivered(&self) -> Scenario {
        let name = "Told once";
        // A provider delivers again when it has waited for an answer in vain: seconds later, not at the same time.
        let after = |attempt| (attempt > 0).then(|| name.to_owned());
        let send = |attempt| Send { after: after(attempt), ..self.contacts(900_004, 2, attempt) };
        let sends = (0..3).map(send).collect();
        self.scenario("Delivered three times, told once", vec![self.instance(name, 900_004)], sends, 2)
    }

    fn shared(&self) -> Scenario {
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

    use super::*;

    #[test]
    fn every_connector_has_a_scenario_and_every_instance_its_own_name() {
        let all = all(Timestamp::from_seconds(1_790_000_000));
        assert!(all.len() >= catalogue().keys().count() + 5);
        assert!(all.iter().all(|scenario| !scenario.sends.is_empty()));
        let names: Vec<_> = all.iter().flat_map(|s| s.instances.iter().map(|i| i.name.as_str())).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }

    #[test]
    fn forty_five_changes_make_three_notifications_and_refused_ones_none() {
        let all = all(Timestamp::from_seconds(1_790_000_000));
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
