//! Which instances a request is for: by path, by header, by the provider account that its body names, or by a finder.

use std::collections::BTreeSet;

use connectors::{Connector, Parsed};
use events::InstanceId;
use http::HeaderMap;
use platform::Platform;
use records::instances::{self, WebhookView};
use records::refused::Reason;

use crate::follow::Followed;
use crate::{Answer, Receiver};

/// Names instances, comma-separated: one inbound request for several.
const INSTANCES_HEADER: &str = "element-instances";

/// Most instances that a header may name.
const NAMED_INSTANCES: usize = 100;

/// Most provider accounts, or values for finders, that one request is looked up by: a stranger may name as many as fit the
/// body, and each costs a read. (HubSpot sends at most a hundred changes.)
pub(crate) const LOOKUPS: usize = 100;

/// How the instances were found. An instance that waives verification is reached by name alone: otherwise anyone could
/// claim another's account.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// By path or header.
    ByName,
    /// By the account that the body names.
    ByAccount,
    /// By what their finders look for.
    ByFinder,
    /// The body names nobody, and some instance's secret is to tell whether the provider sent it.
    Anybody,
}

/// An instance that wants the request, before anything is verified.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) view: WebhookView,
    /// The entries of the body that concern it, where it was found by them.
    pub(crate) entries: Option<Vec<usize>>,
}

/// Instances that want the request.
#[derive(Debug)]
pub(crate) struct Candidates {
    pub(crate) found: Found,
    pub(crate) views: Vec<Candidate>,
    pub(crate) reached: Reached,
}

/// Whom the request reached, those among them who are left out, and counted as such.
#[derive(Debug, Default)]
pub(crate) struct Reached {
    /// The entries that somebody was found by, by a finder.
    pub(crate) entries: BTreeSet<usize>,
    /// The accounts of those who were found by name; `None`: of one that takes every account's.
    pub(crate) accounts: Vec<Option<String>>,
}

impl Reached {
    /// An instance was found by name.
    pub(crate) fn named(&mut self, connector: &Connector, view: &WebhookView) {
        let account = view.provider_account.as_deref();
        self.accounts.push(account.map(|account| connector.account_key(account).to_owned()));
    }
}

/// The instances that were found.
struct Ids {
    found: Found,
    ids: Vec<InstanceId>,
}

/// The instance that the last part of a path names.
pub(crate) fn by_path(segment: &str) -> Result<InstanceId, String> {
    InstanceId::from_path(segment)
        .map_err(|_| "the last part of the path is not the base64 of an instance id".to_owned())
}

/// The instances that a path or header names; `None`: neither names any.
pub(crate) fn named(path: Option<&str>, headers: &HeaderMap) -> Result<Option<Vec<InstanceId>>, String> {
    if let Some(segment) = path {
        return Ok(Some(vec![by_path(segment)?]));
    }
    if !headers.contains_key(INSTANCES_HEADER) {
        return Ok(None);
    }
    let form = || "the header Element-Instances holds instance ids, separated by commas".to_owned();
    let mut ids = Vec::new();
    // Several lines are one list: API Gateway joins them before we see them.
    for value in headers.get_all(INSTANCES_HEADER) {
        let text = value.to_str().map_err(|_| form())?;
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let id: InstanceId = part.parse().map_err(|_| form())?;
            if !ids.contains(&id) {
                ids.push(id);
            }
            if ids.len() > NAMED_INSTANCES {
                return Err(format!("the header Element-Instances names more than {NAMED_INSTANCES} instances"));
            }
        }
    }
    if ids.is_empty() { Err(form()) } else { Ok(Some(ids)) }
}

impl<P: Platform> Receiver<P> {
    /// Finds the instances, and counts why others are left out. No candidates: there is nobody to tell.
    pub(crate) async fn candidates(
        &self,
        connector: &Followed<'_>,
        parsed: &Parsed,
        named: Option<Vec<InstanceId>>,
    ) -> Result<Candidates, Answer> {
        let Ids { found, ids } = match named {
            Some(ids) => Ids { found: Found::ByName, ids },
            None => self.routed(connector, parsed).await?,
        };
        // Nobody is told anything of such a test, and whoever made it is to see that signatures are checked.
        let tests = connector.verifies_without_account() && parsed.is_empty();
        let views = instances::webhook_views(&*self.platform, &ids).await?;
        let mut wanted = Vec::with_capacity(ids.len());
        let mut reached = Reached::default();
        for (id, view) in ids.into_iter().zip(views) {
            let ours = view.as_ref().filter(|view| view.connector == connector.key());
            let sought = ours.filter(|_| found == Found::ByFinder).and_then(|view| sought(parsed, view));
            reached.entries.extend(sought.iter().flatten());
            if let (Found::ByName, Some(view)) = (found, ours) {
                reached.named(connector, view);
            }
            match view {
                Some(view) if view.connector != connector.key() => {
                    self.refuse(connector, Reason::UnknownInstance, format!("instance {id} is of another connector"));
                }
                // Their secrets count, whether or not they are to be told of anything.
                Some(view) if tests => wanted.push(Candidate { view, entries: None }),
                Some(view) if view.disabled => {
                    self.refuse(connector, Reason::InstanceDisabled, format!("instance {id}"));
                }
                Some(view) if !view.events_on => {
                    self.refuse(connector, Reason::EventsOff, format!("instance {id}"));
                }
                Some(view) if found == Found::ByFinder => match sought {
                    Some(entries) => wanted.push(Candidate { view, entries: Some(entries) }),
                    // Its finder was changed since the index was read.
                    None => self.refuse(
                        connector,
                        Reason::UnknownInstance,
                        format!("instance {id} looks for something else"),
                    ),
                },
                Some(view) => wanted.push(Candidate { view, entries: None }),
                None => self.refuse(connector, Reason::UnknownInstance, format!("instance {id}")),
            }
        }
        Ok(Candidates { found, views: wanted, reached })
    }

    async fn routed(&self, connector: &Followed<'_>, parsed: &Parsed) -> Result<Ids, Answer> {
        let accounts = connector.accounts(parsed);
        let (ids, unknown) = self.by_account(connector, &accounts).await?;
        if !ids.is_empty() {
            self.refuse_accounts(connector, &unknown);
            return Ok(Ids { found: Found::ByAccount, ids });
        }
        if connector.verifies_without_account() && parsed.is_empty() {
            let ids = instances::accountless(&*self.platform, connector.key()).await?;
            if ids.is_empty() {
                self.refuse(
                    connector,
                    Reason::NoSecret,
                    "a test of the signature, and no instance has a secret".into(),
                );
                return Err(Answer::Unverified(
                    "the request is not signed with a secret that is configured here".into(),
                ));
            }
            return Ok(Ids { found: Found::Anybody, ids });
        }
        let paths = instances::finder_paths(&*self.platform, connector.key()).await?;
        let ids = self.by_finders(connector, parsed, &paths).await?;
        if !ids.is_empty() {
            return Ok(Ids { found: Found::ByFinder, ids });
        }
        let nobody = Ids { found: Found::ByAccount, ids };
        if !accounts.is_empty() {
            self.refuse_accounts(connector, &unknown);
            return Ok(nobody);
        }
        if !paths.is_empty() {
            let detail = format!("no instance finder matches (looked at {})", paths.join(", "));
            self.refuse(connector, Reason::UnknownAccount, detail);
            return Ok(nobody);
        }
        if connector.routes_by_account() {
            self.refuse(connector, Reason::NoInstanceNamed, "the body names no provider account".to_owned());
            return Ok(nobody);
        }
        let form = "the request names no instance: use the instance's own webhook URL, or the header Element-Instances";
        self.refuse(connector, Reason::NoInstanceNamed, form.to_owned());
        Err(Answer::Unreadable(form.to_owned()))
    }

    fn refuse_accounts(&self, connector: &Followed<'_>, accounts: &[&str]) {
        for account in accounts {
            self.refuse(connector, Reason::UnknownAccount, format!("account {account}"));
        }
    }

    /// The instances of the accounts, and the accounts that have none.
    async fn by_account<'a>(
        &self,
        connector: &Followed<'_>,
        accounts: &[&'a str],
    ) -> Result<(Vec<InstanceId>, Vec<&'a str>), Answer> {
        if accounts.len() > LOOKUPS {
            self.refuse(connector, Reason::TooMany, format!("{} accounts in one request", accounts.len()));
            return Err(Answer::Unreadable(format!("the body names more than {LOOKUPS} provider accounts")));
        }
        let (mut ids, mut unknown) = (Vec::new(), Vec::new());
        for account in accounts {
            let (routed, more) = instances::routed(&*self.platform, connector.key(), account).await?;
            if routed.is_empty() {
                unknown.push(*account);
            }
            if more {
                let limit = instances::INSTANCES_PER_ACCOUNT;
                self.refuse(connector, Reason::TooMany, format!("account {account} has more than {limit} instances"));
            }
            // An instance has one account, so no id comes twice.
            ids.extend(routed);
        }
        Ok((ids, unknown))
    }

    /// Looks at each path that a finder of this connector's instances names, and for what it holds asks who looks for that.
    ///
    /// Anybody's finder may look at what differs in every entry. So paths with fewer values go first, and such a one costs
    /// its owner alone.
    async fn by_finders(
        &self,
        connector: &Followed<'_>,
        parsed: &Parsed,
        paths: &[String],
    ) -> Result<Vec<InstanceId>, Answer> {
        let mut held: Vec<(&str, BTreeSet<String>)> =
            paths.iter().map(|path| (path.as_str(), parsed.at(path).into_iter().flatten().collect())).collect();
        held.sort_by_key(|(_, values)| values.len());
        let mut ids = BTreeSet::new();
        let mut room = LOOKUPS;
        let mut left_out = 0;
        for (path, values) in held {
            if values.len() > room {
                self.refuse(connector, Reason::TooMany, format!("{} values at {path} in one request", values.len()));
                left_out += 1;
                continue;
            }
            room -= values.len();
            for value in values {
                let (found, more) = instances::found(&*self.platform, connector.key(), path, &value).await?;
                if more {
                    let limit = instances::INSTANCES_PER_ACCOUNT;
                    self.refuse(connector, Reason::TooMany, format!("more than {limit} instances look for one {path}"));
                }
                ids.extend(found);
            }
        }
        if ids.is_empty() && left_out > 0 {
            return Err(Answer::Unreadable(format!("the body holds more than {LOOKUPS} values that finders look at")));
        }
        Ok(ids.into_iter().collect())
    }

    pub(crate) fn refuse(&self, connector: &Followed<'_>, reason: Reason, detail: String) {
        connector.refused(reason);
        self.refusals.add(connector.key(), self.platform.now(), reason, detail);
    }
}

/// The entries that the instance's finder finds it by, if any.
fn sought(parsed: &Parsed, view: &WebhookView) -> Option<Vec<usize>> {
    let finder = view.finder.as_ref()?;
    let values = parsed.at(&finder.path).into_iter().enumerate();
    let entries: Vec<usize> =
        values.filter(|(_, value)| value.as_ref() == Some(&finder.value)).map(|(n, _)| n).collect();
    (!entries.is_empty()).then_some(entries)
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
        let mut lines = headers("1,2");
        lines.append(INSTANCES_HEADER, "3".parse().unwrap());
        assert_eq!(named(None, &lines), Ok(Some(vec![id(1), id(2), id(3)])), "several lines are one list");
        lines.append(INSTANCES_HEADER, "x".parse().unwrap());
        assert!(named(None, &lines).is_err());
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
