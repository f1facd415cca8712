//! Handshakes: what a provider must be answered before it sends anything.
//!
//! An echo is made of the request alone. A secret that is handed over in a header is kept for the instance that the path
//! names: the first one, and no other after it. Whoever comes first could be a stranger who guessed the URL; then the
//! provider itself is refused, and says so to the one who is making the webhook. The secret configured in
//! `webhook.secret` always counts before one that was handed over, and unsetting it there makes room for another.

use connectors::Handshake;
use events::InstanceId;
use platform::Platform;
use records::instances::{self, Kept};
use records::refused::Reason;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use crate::follow::Followed;
use crate::route;
use crate::take::Incoming;
use crate::{Answer, Receiver};

/// Longest secret that is kept, in bytes. Asana's has 64.
const SECRET_BYTES: usize = 512;

impl<P: Platform> Receiver<P> {
    /// Answers a handshake, once its secret is kept where it hands one over.
    pub(crate) async fn shake(
        &self,
        connector: &Followed<'_>,
        incoming: &Incoming<'_>,
        handshake: Handshake,
    ) -> Result<Answer, Answer> {
        if let Handshake::Header { name, value, keep: true } = &handshake {
            let unreadable = |form: &str| {
                self.refuse(connector, Reason::Malformed, format!("a handshake: {form}"));
                Answer::Unreadable(form.to_owned())
            };
            let secret = value.to_str().ok().filter(|text| (1..=SECRET_BYTES).contains(&text.len()));
            let secret = secret.ok_or_else(|| unreadable("the secret in its header is not 1 to 512 bytes of ASCII"))?;
            if incoming.headers.get_all(name).iter().count() > 1 {
                return Err(unreadable("its header is there twice, and which of them is the secret would be a guess"));
            }
            let Some(path) = incoming.instance else {
                return Err(unreadable("it hands over a secret, so its URL must be the instance's own"));
            };
            let id = route::by_path(path).map_err(|form| unreadable(&form))?;
            self.keep(connector, id, &SecretString::from(secret)).await?;
        }
        Ok(Answer::Handshake(handshake))
    }

    async fn keep(&self, connector: &Followed<'_>, id: InstanceId, secret: &SecretString) -> Result<(), Answer> {
        let view = instances::webhook_views(&*self.platform, &[id]).await?.into_iter().flatten().next();
        let Some(view) = view.filter(|view| view.connector == connector.key()) else {
            self.refuse(connector, Reason::UnknownInstance, format!("a handshake for instance {id}"));
            return Err(Answer::Unverified(NOT_KEPT.into()));
        };
        let configured = match view.secret(connector.secret_keys()) {
            Some(sealed) => Some(self.open(sealed).await?),
            None => None,
        };
        let kept = match configured {
            // In the same time whatever the difference is: anyone may ask.
            Some(configured) if same(&configured, secret) => Kept::Same,
            Some(_) => Kept::Other,
            None => instances::keep_handshake(&*self.platform, id, secret).await?,
        };
        match kept {
            Kept::New => {
                tracing::info!(connector = connector.key(), instance = %id, "a webhook secret was handed over and is kept");
                Ok(())
            }
            Kept::Same => Ok(()),
            // Deleted since its view was read.
            Kept::Gone => {
                self.refuse(connector, Reason::UnknownInstance, format!("a handshake for instance {id}"));
                Err(Answer::Unverified(NOT_KEPT.into()))
            }
            Kept::Other => {
                let detail = format!(
                    "a handshake for instance {id}, which has another secret; unset webhook.secret to take a new one"
                );
                self.refuse(connector, Reason::SignatureMismatch, detail);
                Err(Answer::Unverified(NOT_KEPT.into()))
            }
        }
    }
}

fn same(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret().as_bytes().ct_eq(other.expose_secret().as_bytes()).into()
}

/// The same for an instance that there is not and for one that has a secret.
const NOT_KEPT: &str = "the secret is not taken: there is no such instance, or it has another one";
