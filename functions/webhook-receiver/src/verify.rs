//! Whom a request is proven to be for: each instance has its own secret.

use connectors::{Connector, Parsed, Request, VerifyError};
use platform::{Platform, VaultError};
use records::RecordError;
use records::instances::{self, WebhookView};
use records::refused::Reason;
use secrecy::{ExposeSecret as _, SecretString};

use crate::follow::Followed;
use crate::route::{Candidate, Candidates, Found};
use crate::{Answer, Receiver};

/// Secrets that were tried on a request, and what came of it. Instances of one app share its secret: the body is hashed once
/// for each secret, not once for each instance.
#[derive(Default)]
pub(crate) struct Tried(Vec<(SecretString, Result<(), VerifyError>)>);

impl<P: Platform> Receiver<P> {
    /// The candidates that the request is proven to be for. A secret that does not match leaves out its own instance, and
    /// none matching refuses the request.
    pub(crate) async fn verified(
        &self,
        connector: &Followed<'_>,
        request: &Request<'_>,
        parsed: &Parsed,
        candidates: Candidates,
    ) -> Result<Vec<Candidate>, Answer> {
        let mut verified = Vec::with_capacity(candidates.views.len());
        let mut tried = Tried::default();
        let mut refused = None;
        let mut damaged = None;
        for candidate in candidates.views {
            let view = &candidate.view;
            match self.proof(connector, request, parsed, view, candidates.found, &mut tried).await {
                // No redelivery mends it, so its neighbours do not wait for it.
                Err(error @ (RecordError::Vault(VaultError::Refused(_)) | RecordError::Damaged(..))) => {
                    tracing::error!(instance = %view.instance, %error, "an instance's webhook secret cannot be opened");
                    let detail = format!("instance {}: its secret cannot be opened", view.instance);
                    self.refuse(connector, Reason::NoSecret, detail);
                    damaged = Some(error);
                }
                Err(error) => return Err(error.into()),
                Ok(Ok(())) => verified.push(candidate),
                Ok(Err(error)) => {
                    // Of those who are asked only for their secrets one suffices, and the others are not at fault.
                    if candidates.found != Found::Anybody {
                        self.refuse(connector, reason(&error), format!("instance {}: {error}", view.instance));
                    }
                    // What is wrong with the request says more than that some instance has no secret.
                    if refused.is_none() || error != VerifyError::NoSecret {
                        refused = Some(error);
                    }
                }
            }
        }
        if verified.is_empty()
            && let Some(error) = damaged
        {
            // It may well be the provider's, and the fault is ours.
            return Err(error.into());
        }
        match refused {
            Some(error) if verified.is_empty() => {
                if candidates.found == Found::Anybody {
                    self.refuse(connector, reason(&error), format!("a test of the signature: {error}"));
                }
                Err(Answer::Unverified(told(&error)))
            }
            _ => Ok(verified),
        }
    }

    /// Whether the request is proven to be for an instance.
    ///
    /// # Errors
    /// Its secret could not be had.
    pub(crate) async fn proof(
        &self,
        connector: &Followed<'_>,
        request: &Request<'_>,
        parsed: &Parsed,
        view: &WebhookView,
        found: Found,
        Tried(tried): &mut Tried,
    ) -> Result<Result<(), VerifyError>, RecordError> {
        let waived = view.unverified && found == Found::ByName;
        let outcome = if waived {
            Ok(())
        } else {
            match self.secret(connector, view).await? {
                None => Err(VerifyError::NoSecret),
                Some(secret) => match tried.iter().find(|(s, _)| s.expose_secret() == secret.expose_secret()) {
                    Some((_, outcome)) => outcome.clone(),
                    None => {
                        let (secrets, now) = ([secret.expose_secret()], self.platform.now());
                        let outcome = connector.verify(request, Some(parsed), &secrets, now).map(|_| ());
                        tried.push((secret, outcome.clone()));
                        outcome
                    }
                },
            }
        };
        Ok(outcome.and_then(|()| own_account(connector, parsed, view)))
    }

    /// What the instance's webhooks are verified with: what is configured, or else what was handed over.
    async fn secret(&self, connector: &Connector, view: &WebhookView) -> Result<Option<SecretString>, RecordError> {
        match view.secret(connector.secret_keys()) {
            Some(sealed) => self.open(sealed).await.map(Some),
            None if connector.keeps_handshake() => instances::handshake(&*self.platform, view.instance).await,
            None => Ok(None),
        }
    }
}

/// Where nothing is signed, a body that names accounts must name the instance's own and no other. One that names none is
/// taken as JSON only: what is converted (Salesforce's XML) always names the account that it is of, while the JSON of
/// triggers that a customer wrote never does.
fn own_account(connector: &Connector, parsed: &Parsed, view: &WebhookView) -> Result<(), VerifyError> {
    if !connector.account_must_match() {
        return Ok(());
    }
    let ours = view.provider_account.as_deref().map(|account| connector.account_key(account));
    let accounts = connector.accounts(parsed);
    let named = !accounts.is_empty() || !parsed.converted();
    if named && accounts.into_iter().all(|theirs| Some(theirs) == ours) {
        Ok(())
    } else {
        Err(VerifyError::OtherAccount)
    }
}

fn reason(error: &VerifyError) -> Reason {
    match error {
        VerifyError::Unsigned | VerifyError::NoSecret | VerifyError::UnusableSecret => Reason::NoSecret,
        VerifyError::Missing(_) | VerifyError::MissingHeader(_) | VerifyError::Malformed(_) => Reason::SignatureMissing,
        VerifyError::Stale(_) => Reason::Stale,
        VerifyError::Mismatch => Reason::SignatureMismatch,
        VerifyError::OtherAccount => Reason::UnknownAccount,
    }
}

/// What the sender is told. Whether a secret is configured is not the sender's business; the operator reads it among the
/// refusals.
fn told(error: &VerifyError) -> String {
    match error {
        VerifyError::Missing(_)
        | VerifyError::MissingHeader(_)
        | VerifyError::Malformed(_)
        | VerifyError::Stale(_)
        | VerifyError::OtherAccount => error.to_string(),
        VerifyError::Unsigned | VerifyError::NoSecret | VerifyError::UnusableSecret | VerifyError::Mismatch => {
            "the request is not signed with a secret that is configured here".into()
        }
    }
}
