//! The short way: what most requests need to know of their instances, by reads that may lag by a moment and cost half.
//!
//! *Promise:* by what was, a request is only ever taken, and told to everyone that was found. Where anything speaks against
//! it (an account that nobody has, an instance that is off, a secret that does not match, a change that a filter leaves
//! out), it has not been looked at, nothing was counted, and it is judged by reads that are up to date. So what was just
//! made or changed is not taken for what was before.
//!
//! *To know:* where an account has an instance already, a further one is told of what comes from a second or so after it
//! was made; and one that was just switched off may be told of what came in that time.

use connectors::{Parsed, Request};
use events::InstanceId;
use platform::{Platform, VaultError};
use records::RecordError;
use records::instances::{self, WebhookView};

use crate::follow::Followed;
use crate::route::{Candidate, Found, LOOKUPS, Reached};
use crate::take::Proven;
use crate::verify::Tried;
use crate::{Answer, Receiver};

impl<P: Platform> Receiver<P> {
    /// Whom the request is proven to be for, at a glance; `None`: that takes a closer look.
    pub(crate) async fn glimpse(
        &self,
        connector: &Followed<'_>,
        request: &Request<'_>,
        parsed: &Parsed,
        named: Option<&[InstanceId]>,
    ) -> Result<Option<Proven>, Answer> {
        if parsed.is_empty() {
            return Ok(None);
        }
        let (found, views) = match named {
            Some([id]) => (Found::ByName, instances::glimpsed_view(&*self.platform, *id).await?.into_iter().collect()),
            // Rare, and not worth a way of its own.
            Some(_) => return Ok(None),
            None => {
                let accounts = connector.accounts(parsed);
                if accounts.len() > LOOKUPS {
                    return Ok(None);
                }
                let mut views = Vec::new();
                for account in accounts {
                    match instances::glimpsed(&*self.platform, connector.key(), account).await? {
                        Some(of_account) => views.extend(of_account),
                        None => return Ok(None),
                    }
                }
                (Found::ByAccount, views)
            }
        };
        let on = |view: &WebhookView| view.connector == connector.key() && !view.disabled && view.events_on;
        if views.is_empty() || !views.iter().all(on) {
            return Ok(None);
        }
        let mut reached = Reached::default();
        let mut candidates = Vec::with_capacity(views.len());
        let mut tried = Tried::default();
        for view in views {
            match self.proof(connector, request, parsed, &view, found, &mut tried).await {
                Ok(Ok(())) => {}
                // The secret may be another by now.
                Ok(Err(_)) | Err(RecordError::Vault(VaultError::Refused(_)) | RecordError::Damaged(..)) => {
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            }
            if found == Found::ByName {
                reached.named(connector, &view);
            }
            candidates.push(Candidate { view, entries: None });
        }
        Ok(Some(Proven { found, candidates, reached, sure: false }))
    }
}
