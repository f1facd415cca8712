//! Which instances a request is for: by path, by header, or by the provider account that its body names.

use connectors::{Connector, Parsed};
use events::InstanceId;
use http::HeaderMap;
use platform::Platform;
use records::instances::{self, WebhookView};
use records::refused::Reason;

use crate::{Answer, Receiver};

/// Names instances, comma-separated: one inbound request for several.
const INSTANCES_HEADER: &str = "element-instances";

/// Most instances that a header may name.
const NAMED_INSTANCES: usize = 100;

/// Most provider accounts in one request: a stranger may name as many as fit the body, and each costs a read.
/// (HubSpot sends at most a hundred changes.)
const ACCOUNTS: usize = 100;

/// How the instances were found. An instance that waives verification is reached by name alone: by account, anyone could
/// claim another's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    ByName,
    ByAccount,
}

/// Instances that want the request, before anything is verified.
#[derive(Debug)]
pub(crate) struct Candidates {
    pub(crate) found: Found,
    pub(crate) views: Vec<WebhookView>,
}

/// The instances that a path or header names; `None`: neither names any.
pub(crate) fn named(path: Option<&str>, headers: &HeaderMap) -> Result<Option<Vec<InstanceId>>, String> {
    if let Some(segment) = path {
        let id = InstanceId::from_path(segment)
            .map_err(|_| "the last part of the path is not the base64 of an instance id".to_owned())?;
        return Ok(Some(vec![id]));
    }
    let Some(value) = headers.get(INSTANCES_HEADER) else { return Ok(None) };
    let form = || "the header Element-Instances holds instance ids, separated by commas".to_owned();
    let text = value.to_str().map_err(|_| form())?;
    let mut ids = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let id: InstanceId = part.parse().map_err(|_| form())?;
        if !ids.contains(&id) {
            ids.push(id);
        }
        if ids.len() > NAMED_INSTANCES {
            return Err(format!("the header Element-Instances names more than {NAMED_INSTANCES} instances"));
        }
    }
    if ids.is_empty() { Err(form()) } else { Ok(Some(ids)) }
}

impl<P: Platform> Receiver<P> {
    /// Finds the instances, and counts why others are left out. No candidates: there is nobody to tell.
    pub(crate) async fn candidates(
        &self,
        connector: &Connector,
        parsed: &Parsed,
        named: Option<Vec<InstanceId>>,
    ) -> Result<Candidates, Answer> {
        let (found, ids) = match named {
            Some(ids) => (Found::ByName, ids),
            None => (Found::ByAccount, self.routed(connector, parsed).await?),
        };
        let mut wanted = Vec::with_capacity(ids.len());
        for (id, view) in ids.iter().zip(instances::webhook_views(&*self.platform, &ids).await?) {
            match view {
                Some(view) if view.connector != connector.key() => {
                    self.refuse(connector, Reason::UnknownInstance, format!("instance {id} is of another connector"));
                }
                Some(view) if view.disabled => {
                    self.refuse(connector, Reason::InstanceDisabled, format!("instance {id}"));
                }
                Some(view) if !view.events_on => {
                    self.refuse(connector, Reason::EventsOff, format!("instance {id}"));
                }
                Some(view) => wanted.push(view),
                None => self.refuse(connector, Reason::UnknownInstance, format!("instance {id}")),
            }
        }
        Ok(Candidates { found, views: wanted })
    }

    async fn routed(&self, connector: &Connector, parsed: &Parsed) -> Result<Vec<InstanceId>, Answer> {
        if !connector.routes_by_account() {
            let form =
                "the request names no instance: use the instance's own webhook URL, or the header Element-Instances";
            self.refuse(connector, Reason::NoInstanceNamed, form.to_owned());
            return Err(Answer::Unreadable(form.to_owned()));
        }
        let accounts = connector.accounts(parsed);
        if accounts.is_empty() {
            self.refuse(connector, Reason::NoInstanceNamed, "the body names no provider account".to_owned());
        }
        if accounts.len() > ACCOUNTS {
            self.refuse(connector, Reason::TooMany, format!("{} accounts in one request", accounts.len()));
            return Err(Answer::Unreadable(format!("the body names more than {ACCOUNTS} provider accounts")));
        }
        let mut ids = Vec::new();
        for account in accounts {
            let (routed, more) = instances::routed(&*self.platform, connector.key(), account).await?;
            if routed.is_empty() {
                self.refuse(connector, Reason::UnknownAccount, format!("account {account}"));
            }
            if more {
                let limit = instances::INSTANCES_PER_ACCOUNT;
                self.refuse(connector, Reason::TooMany, format!("account {account} has more than {limit} instances"));
            }
            ids.extend(routed.into_iter().filter(|id| !ids.contains(id)).collect::<Vec<_>>());
        }
        Ok(ids)
    }

    pub(crate) fn refuse(&self, connector: &Connector, reason: Reason, detail: String) {
        self.refusals.add(connector.key(), self.platform.now(), reason, detail);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(INSTANCES_HEADER, value.parse().unwrap());
        headers
    }

    #[test]
    fn the_path_wins_over_the_header_and_a_header_may_name_several() {
        let id = |n: u32| InstanceId::try_from(n).unwrap();
        assert_eq!(named(Some("MjA5MzE="), &headers("1")), Ok(Some(vec![id(20931)])));
        assert_eq!(named(None, &headers("1, 2,1,")), Ok(Some(vec![id(1), id(2)])));
        assert_eq!(named(None, &HeaderMap::new()), Ok(None));
        for bad in ["", ",", "x", "0", "-1", "1;2", "99999999999"] {
            assert!(named(None, &headers(bad)).is_err(), "{bad}");
        }
        let many: Vec<String> = (1..=101).map(|n| n.to_string()).collect();
        assert!(named(None, &headers(&many.join(","))).is_err());
    }

    proptest! {
        #[test]
        fn no_path_and_no_header_panics(path in ".*", header in proptest::collection::vec(32u8..127, 0..50)) {
            let _ = named(Some(&path), &HeaderMap::new());
            let _ = named(None, &headers(std::str::from_utf8(&header).unwrap()));
        }
    }
}
