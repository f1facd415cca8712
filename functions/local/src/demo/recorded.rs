//! Every connector's recorded requests, sent as its provider would send them.
//!
//! | the example | is sent to |
//! |---|---|
//! | names accounts, and all customers share one URL | the connector's URL; each account has an instance |
//! | hands over a secret | an instance's own URL that has none, which is what signs the others then |
//! | is another handshake | the connector's URL; it is answered before anybody is asked for |
//! | else | the own URL of an instance of its own |

use axum::http::{HeaderName, HeaderValue, Method};
use connectors::{Connector, Example, ExpectedChange, Scope};
use events::{Source, configuration, signature};

use crate::demo::ledger::{Change, Expected};
use crate::demo::provider::{Signing, Webhook};
use crate::demo::reply::Wanted;
use crate::demo::scenarios::{Instance, Scenario, Secret, Send};

/// An account that is in no example.
const STRANGER: &str = "another";

/// The connector's scenario. `lines`: so many of its notifications are shown.
pub(crate) fn recorded<'c>(connector: &'c Connector, name: String, lines: usize) -> Scenario<'c> {
    let scenario = Scenario { name, lines, instances: Vec::new(), sends: Vec::new(), polled: 0, expected: Vec::new() };
    let mut recording = Recording { connector, scenario, handed_over: None };
    let (handshakes, others): (Vec<_>, Vec<_>) =
        connector.examples().iter().enumerate().partition(|(_, example)| example.answer.is_some());
    for (place, example) in handshakes {
        recording.handshake(place, example);
    }
    for (place, example) in &others {
        recording.webhook(*place, example);
    }
    recording.refused(&others);
    recording.scenario
}

struct Recording<'c> {
    connector: &'c Connector,
    scenario: Scenario<'c>,
    /// The instance that was handed a secret, and the secret.
    handed_over: Option<(String, String)>,
}

impl<'c> Recording<'c> {
    fn handshake(&mut self, place: usize, example: &Example) {
        let Some(answer) = &example.answer else { return };
        let mut send = self.send(place, example);
        send.webhook.signing = Signing::None;
        let header = example.headers.iter().find(|(_, value)| *value == answer);
        send.wanted = match header.and_then(|(name, _)| name.parse::<HeaderName>().ok()) {
            Some(name) => Wanted::Header(name, answer.clone()),
            None => Wanted::Text(answer.clone()),
        };
        if matches!(send.wanted, Wanted::Header(..)) && self.connector.keeps_handshake() {
            let name = self.connector.name().to_owned();
            self.add(Instance { secret: Secret::HandedOver, ..Instance::new(name.clone(), self.connector) });
            send.to = Some(name.clone());
            self.handed_over = Some((name, answer.clone()));
        }
        self.scenario.sends.push(send);
    }

    fn webhook(&mut self, place: usize, example: &Example) {
        let mut send = self.send(place, example);
        let changes: Vec<Change> = example.changes.iter().map(change).collect();
        let accounts = accounts(self.connector, example);
        if let Some((instance, secret)) = &self.handed_over {
            send.to = Some(instance.clone());
            send.webhook.secret = Some(secret.clone());
            self.scenario.expected.extend(notifications(instance, &changes));
        } else if !accounts.is_empty() {
            for account in accounts {
                let name = format!("{} {account}", self.connector.name());
                // What names no account concerns nobody who was found by the accounts of other entries.
                let concerns = |change: &&ExpectedChange| change.account.as_deref() == Some(account);
                let changes: Vec<Change> = example.changes.iter().filter(concerns).map(change).collect();
                self.scenario.expected.extend(notifications(&name, &changes));
                self.add(Instance::of_account(name, self.connector, account));
            }
        } else if self.connector.scope() == Some(Scope::Instance) || !changes.is_empty() {
            let instance = self.own_instance(place, example);
            send.to = Some(instance.name.clone());
            self.scenario.expected.extend(notifications(&instance.name, &changes));
            self.add(instance);
        }
        self.scenario.sends.push(send);
    }

    /// What must be refused: another account's message where the account proves who sent it, and wrong signatures where
    /// 200 alone would not tell that anybody was asked for.
    fn refused(&mut self, others: &[(usize, &Example)]) {
        let named = |(_, example): &&(usize, &Example)| example.changes.iter().any(|change| change.account.is_some());
        if self.connector.account_must_match()
            && let Some((place, example)) = others.iter().find(named)
        {
            let name = format!("{}, another account", self.connector.name());
            let to = Some(name.clone());
            self.add(Instance::of_account(name, self.connector, STRANGER));
            let send = self.send(*place, example);
            self.scenario.sends.push(Send { to, wanted: Wanted::Refused, ..send });
        }
        let silent = |(_, example): &&(usize, &Example)| example.changes.is_empty();
        if (self.connector.signals() || self.connector.verifies_without_account())
            && let Some((place, example)) = others.iter().find(silent)
        {
            let mut send = self.send(*place, example);
            send.webhook.signing = Signing::Wrong;
            self.scenario.sends.push(Send { wanted: Wanted::Refused, ..send });
        }
    }

    fn add(&mut self, instance: Instance<'c>) {
        if self.scenario.instances.iter().all(|other| other.name != instance.name) {
            self.scenario.instances.push(instance);
        }
    }

    fn own_instance(&self, place: usize, example: &Example) -> Instance<'c> {
        let mut instance =
            Instance::new(format!("{} {}", self.connector.name(), label(place, example)), self.connector);
        instance.configuration.clone_from(&example.configuration);
        if let Some(secret) = &example.secret {
            instance.secret = Secret::Given(secret.clone());
        }
        if self.connector.required().iter().any(|key| key == configuration::VENDOR_ACCOUNT) {
            let account = example.changes.iter().find_map(|change| change.account.clone());
            instance.account = Some(account.unwrap_or_else(|| STRANGER.into()));
        }
        instance
    }

    fn send(&self, place: usize, example: &Example) -> Send<'c> {
        let header = |(name, value): (&String, &String)| {
            Some((name.parse::<HeaderName>().ok()?, value.parse::<HeaderValue>().ok()?))
        };
        let id = example.headers.get(signature::WEBHOOK_ID).cloned();
        let webhook = Webhook {
            connector: self.connector,
            method: if example.method == "GET" { Method::GET } else { Method::POST },
            query: example.query.clone(),
            id: id.unwrap_or_else(|| format!("msg_{}_{}", self.connector.key(), label(place, example))),
            headers: example.headers.iter().filter_map(header).collect(),
            body: example.body.clone(),
            secret: None,
            // What holds its secret needs no other proof.
            signing: if example.secret.is_some() { Signing::None } else { Signing::Right },
        };
        let wanted = if self.connector.signals() { Wanted::Signal } else { Wanted::Taken };
        Send { webhook, to: None, after: None, wanted }
    }
}

/// An example's name, or its number.
fn label(place: usize, example: &Example) -> String {
    match example.name.trim_end_matches(".yaml") {
        "" => (place + 1).to_string(),
        name => name.to_owned(),
    }
}

/// The accounts that a request is routed by; none, if it must name its instance.
fn accounts<'e>(connector: &Connector, example: &'e Example) -> Vec<&'e str> {
    let mut accounts: Vec<&str> = Vec::new();
    let own = example.secret.is_some() || !example.configuration.is_empty();
    if connector.scope() == Some(Scope::App) && connector.verifies() && !own {
        let told = example.changes.iter().filter_map(|change| change.account.as_deref());
        for account in told.chain(example.signals.iter().map(String::as_str)) {
            if !accounts.contains(&account) {
                accounts.push(account);
            }
        }
    }
    accounts
}

fn change(expected: &ExpectedChange) -> Change {
    Change {
        event_type: expected.event.clone(),
        object_type: expected.object_type.clone(),
        object_id: expected.id.clone(),
    }
}

/// The notifications that one request's changes make for one instance.
pub(crate) fn notifications(instance: &str, changes: &[Change]) -> Vec<Expected> {
    let chunks = changes.chunks(Source::Webhook.batch_limit());
    chunks.map(|some| Expected { instance: instance.to_owned(), changes: some.to_vec(), attempt: 1 }).collect()
}

#[cfg(test)]
mod tests {
    use connectors::catalogue;

    use super::*;

    fn scenario(key: &str) -> Scenario<'static> {
        recorded(catalogue().get(key).unwrap(), key.to_owned(), 0)
    }

    fn wanted(key: &str) -> Vec<Wanted> {
        scenario(key).sends.into_iter().map(|send| send.wanted).collect()
    }

    #[test]
    fn every_example_of_every_connector_is_sent_and_every_change_of_it_expected() {
        for key in catalogue().keys() {
            let (connector, scenario) = (catalogue().get(key).unwrap(), scenario(key));
            let refused = scenario.sends.iter().filter(|send| send.wanted == Wanted::Refused).count();
            assert_eq!(scenario.sends.len() - refused, connector.examples().len(), "{key}");
            let told: usize = scenario.expected.iter().map(|expected| expected.changes.len()).sum();
            let unaddressed = |e: &Example| !accounts(connector, e).is_empty();
            let lost = |e: &Example| e.changes.iter().filter(|c| c.account.is_none()).count();
            let lost: usize = connector.examples().iter().filter(|e| unaddressed(e)).map(lost).sum();
            let changes: usize = connector.examples().iter().map(|example| example.changes.len()).sum();
            assert_eq!(told, changes - lost, "{key}");
        }
    }

    #[test]
    fn a_secret_that_is_handed_over_comes_first_and_signs_the_rest_at_the_instances_own_url() {
        let Scenario { instances, sends, .. } = scenario("asana");
        assert!(matches!(&instances[..], [only] if only.secret == Secret::HandedOver));
        let Wanted::Header(_, secret) = &sends[0].wanted else { panic!("{:?}", sends[0]) };
        assert!(sends.iter().all(|send| send.to.as_ref() == Some(&instances[0].name)));
        assert!(sends[1..].iter().all(|send| send.webhook.secret.as_ref() == Some(secret)));
    }

    #[test]
    fn signals_tests_and_accounts_that_must_match_are_proven_by_a_refusal_too() {
        assert!(wanted("dropbox").contains(&Wanted::Text("abc 123".into())));
        assert!(wanted("dropbox").contains(&Wanted::Signal) && scenario("dropbox").expected.is_empty());
        for key in ["dropbox", "xero", "sfdc"] {
            assert_eq!(wanted(key).iter().filter(|wanted| **wanted == Wanted::Refused).count(), 1, "{key}");
        }
        assert!(!wanted("stripe").contains(&Wanted::Refused));
        assert!(scenario("sfdc").instances.iter().all(|instance| instance.account.is_some()));
    }
}
