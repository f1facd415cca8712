//! What an instance's requests say of whose they are, and how an access token of OAuth is kept good.
//!
//! *Promise:* a token that ends soon is refreshed before the poll; one that the provider does not take, once, and the request
//! that it refused is repeated. One worker at a time asks for tokens, having written down what it will send (see
//! [`records::grants`]); what comes is stored before anything else is asked, and where that fails tried once more when the
//! poll ends. Where a refresh comes to nothing a token that is still good is used on.
//!
//! *Failure.* Whose it is decides how the poll ends:
//!
//! ```text
//! the provider takes the refresh token no longer ─▶ Revoked, stored: nothing is asked until there is another consent
//! the same, after an answer that was missed      ─▶ tried with care; at last NoCredential, which says that it is unknown
//! the provider does not know the app             ─▶ NoCredential
//! no answer, or another                          ─▶ a trouble of the provider's, tried again later and later
//! another worker is at it                        ─▶ Elsewhere, until its turn ends
//! ```
//!
//! No text holds a token, or anything of a token endpoint's answer.

use std::time::Duration;

use egress::exchange::NoAnswer;
use events::Timestamp;
use platform::Platform;
use polling::definition::{Authentication, Oauth2, Polling};
use polling::oauth::{self, Client, Reply, Shown};
use polling::request::{ACCESS_TOKEN, Credential};
use polling::verdict;
use records::grants::{self, Consent, Decision, Ended, Grant, Lapse, Life, Lock, Need, Outcome, TokenName, Why};
use records::instances::Secrets;
use records::plans::{self, Plan, Read};
use secrecy::{ExposeSecret as _, SecretString};

use super::read::Stop;
use super::{End, Fetch, Lasts, Trouble, Unpolled};

/// Most that a call to a token endpoint takes: [`egress::Limits::fetching`].
const CALL: Duration = Duration::from_secs(30);

/// How long a refresh is one worker's: its call, and the writes around it.
const TURN: Duration = Duration::from_secs(45);

/// How often is looked again what is to be done, in one go: others change what was read, and a first missed answer is
/// followed by another try.
const ROUNDS: usize = 4;

/// Who can ask, and until when.
pub(super) struct Asking<'a, P, F> {
    pub(super) platform: &'a P,
    pub(super) fetch: &'a F,
    pub(super) asks_until: Timestamp,
}

/// Keeps what an instance's requests are made with.
pub(super) struct Keeper<'a> {
    credential: Option<Credential>,
    tokens: Option<Box<Keeping<'a>>>,
}

/// The tokens of a consent, and what they are refreshed with.
struct Keeping<'a> {
    polling: &'a Polling,
    oauth: &'a Oauth2,
    plan: Plan,
    secrets: Secrets,
    grant: Grant,
    /// When the consent ends, where that is known.
    lapse: Option<Lapse>,
    /// Tokens that came, and could not be stored yet.
    unstored: Option<(Lock, Outcome)>,
    /// Whether the token is of this poll, or was refused in it before: another would be refused as well.
    renewed: bool,
}

/// What came of one try to refresh.
enum Tried {
    /// There is another access token.
    Renewed,
    /// Nothing, for this reason; what is stored says what is to be done.
    Not(Stop),
    /// Somebody else changed what was read.
    Outrun,
}

impl<'a> Keeper<'a> {
    /// What the instance's requests are made with, refreshed where it ends soon. The plan gets the settings that came with the
    /// tokens.
    pub(super) async fn begin<P: Platform, F: Fetch>(
        asking: &Asking<'_, P, F>,
        polling: &'a Polling,
        plan: &mut Plan,
        kept: grants::Kept,
    ) -> Result<Self, Stop> {
        let secrets = plan.secrets(asking.platform).await.map_err(End::Ours)?;
        let chosen = polling.authentication.value.chosen(|key| value(plan, &secrets, key));
        let mut tokens = match chosen {
            Ok(Authentication::Oauth2(oauth)) => {
                let consent = consent(plan, &secrets);
                let grant = grants::open(asking.platform, kept, consent).await.map_err(End::Ours)?;
                let (plan, secrets, lapse) = (plan.clone(), secrets.clone(), grant.course.lapse());
                Some(Box::new(Keeping { polling, oauth, plan, secrets, grant, lapse, unstored: None, renewed: false }))
            }
            _ => None,
        };
        if let Some(tokens) = &mut tokens {
            let settled = match tokens.decide(&Need::Token, asking.platform.now()) {
                Decision::Use => Ok(()),
                _ => Box::pin(tokens.settle(asking, &Need::Token)).await,
            };
            plan.settings.extend(tokens.grant.settings.clone());
            settled?;
        }
        let mut keeper = Self { credential: None, tokens };
        let access = keeper.access();
        let get = |key: &str| match access {
            Some(access) if key == ACCESS_TOKEN => Some(access.expose_secret()),
            _ => value(plan, &secrets, key),
        };
        let credential = polling.credential(get).map_err(|error| End::NoCredential(error.to_string()))?;
        keeper.credential = credential;
        Ok(keeper)
    }

    /// What requests are made with.
    pub(super) fn credential(&self) -> Option<&Credential> {
        self.credential.as_ref()
    }

    /// Refreshes the access token, which the provider did not take. `false`: there is nothing to be done about it.
    pub(super) async fn renew<P: Platform, F: Fetch>(&mut self, asking: &Asking<'_, P, F>) -> Result<bool, Stop> {
        let Some(tokens) = self.tokens.as_mut().filter(|tokens| !tokens.renewed) else { return Ok(false) };
        let Some(refused) = tokens.grant.access.as_ref().map(TokenName::of) else { return Ok(false) };
        tokens.renewed = true;
        match tokens.settle(asking, &Need::Other(refused)).await {
            Err(Stop::Trouble(Trouble::Unauthorised)) => Ok(false),
            Err(stop) => Err(stop),
            Ok(()) => {
                let Some(access) = self.access() else { return Ok(false) };
                self.credential = Some(Credential::bearer(access.expose_secret()));
                Ok(true)
            }
        }
    }

    /// How long what requests are made with is good for new ones as well.
    pub(super) fn lasts(&self) -> Lasts {
        self.tokens.as_ref().and_then(|tokens| tokens.lapse).map_or(Lasts::On, Lasts::Until)
    }

    /// Stores what could not be stored when it came.
    pub(super) async fn end<P: Platform>(self, platform: &P) {
        let Some(Keeping { plan, unstored: Some((lock, outcome)), .. }) = self.tokens.map(|tokens| *tokens) else {
            return;
        };
        if let Err(error) = grants::finish(platform, &lock, &outcome).await {
            let instance = plan.instance;
            tracing::error!(%instance, %error, "new tokens of a provider could not be stored");
        }
    }

    fn access(&self) -> Option<&SecretString> {
        self.tokens.as_ref()?.grant.access.as_ref()
    }
}

impl Keeping<'_> {
    /// The app that tokens are asked for as.
    fn client(&self) -> Option<Client> {
        Client::of(|key| value(&self.plan, &self.secrets, key))
    }

    fn decide(&self, need: &Need, now: Timestamp) -> Decision {
        self.grant.course.decide(need, self.client().is_some(), now)
    }

    /// Does what is to be done until there is an access token to use.
    async fn settle<P: Platform, F: Fetch>(&mut self, asking: &Asking<'_, P, F>, need: &Need) -> Result<(), Stop> {
        let mut reason = None;
        for _ in 0..ROUNDS {
            let client = self.client();
            let (client, spare) = match (self.decide(need, asking.platform.now()), client) {
                (Decision::Use, _) => return Ok(()),
                (Decision::Refresh { spare }, Some(client)) => (client, spare),
                (Decision::Wait { until }, _) => return Err(End::Elsewhere { until }.into()),
                (Decision::Later { at }, _) => return Err(reason.unwrap_or_else(|| later(at))),
                (Decision::Ended(ended), _) => return Err(over(ended).into()),
                // Without a token there is nothing that the provider could have refused: the credential says what lacks.
                (Decision::Unrefreshable | Decision::Refresh { .. }, _) if self.grant.access.is_none() => return Ok(()),
                (Decision::Unrefreshable | Decision::Refresh { .. }, _) => return Err(Trouble::Unauthorised.into()),
            };
            if asking.platform.now() >= asking.asks_until {
                return if spare { Ok(()) } else { Err(End::More.into()) };
            }
            match self.refresh(asking, &client).await {
                Ok(Tried::Renewed) => return Ok(()),
                Ok(Tried::Outrun) => {}
                Ok(Tried::Not(stop)) if !is_ours(&stop) => reason = Some(stop),
                Ok(Tried::Not(stop)) | Err(stop) if spare && is_ours(&stop) => {
                    let instance = self.plan.instance;
                    tracing::warn!(%instance, ?stop, "an access token that ends soon could not be refreshed");
                    return Ok(());
                }
                Ok(Tried::Not(stop)) | Err(stop) => return Err(stop),
            }
            self.read_again(asking.platform).await?;
        }
        Err(End::Elsewhere { until: asking.platform.now() }.into())
    }

    /// Asks for tokens, with all that is written before and after.
    async fn refresh<P: Platform, F: Fetch>(
        &mut self,
        asking: &Asking<'_, P, F>,
        client: &Client,
    ) -> Result<Tried, Stop> {
        let Asking { platform, fetch, .. } = asking;
        let Some(token) = &self.grant.refresh else { return Ok(Tried::Outrun) };
        let request = self.oauth.token_request(self.polling, &self.plan.settings, client, Shown::Refresh(token));
        let request = request.map_err(|error| Trouble::Configuration(error.to_string()))?;
        let until = platform.now().plus(TURN);
        let begun = grants::begin(*platform, &self.grant, until).await.map_err(End::Ours)?;
        let Some(lock) = begun else { return Ok(Tried::Outrun) };
        // A process that was frozen meanwhile leaves it to whoever takes over.
        let (outcome, stop) = if lock.stands(platform.now(), CALL) {
            let answer = fetch.exchange(&request).await;
            came(self.oauth, answer, platform.now())
        } else {
            let stop = Trouble::Ours("there was no time left to ask for tokens".into());
            (Outcome::Failed { after: Some(Duration::ZERO) }, Some(stop.into()))
        };
        let stored = grants::finish(*platform, &lock, &outcome).await;
        match (stored, stop) {
            (Ok(false), _) => Ok(Tried::Outrun),
            (Ok(true), Some(stop)) => Ok(Tried::Not(stop)),
            (Ok(true), None) => {
                self.take(&outcome);
                Ok(Tried::Renewed)
            }
            (Err(error), None) => {
                let instance = self.plan.instance;
                tracing::warn!(%instance, %error, "new tokens of a provider are stored at the poll's end");
                self.take(&outcome);
                self.unstored = Some((lock, outcome));
                Ok(Tried::Renewed)
            }
            (Err(error), Some(_)) => Err(End::Ours(error).into()),
        }
    }

    fn take(&mut self, outcome: &Outcome) {
        if let Outcome::Tokens { access, refresh, lapse, settings, .. } = outcome {
            self.lapse = self.grant.course.lapse_after(refresh.is_some(), *lapse);
            self.grant.access = Some(access.clone());
            if let Some(refresh) = refresh {
                self.grant.refresh = Some(refresh.clone());
            }
            self.grant.settings.extend(settings.clone());
            self.renewed = true;
        }
    }

    /// Reads again what others may have changed.
    async fn read_again<P: Platform>(&mut self, platform: &P) -> Result<(), Stop> {
        let read = plans::read(platform, self.plan.instance).await.map_err(End::Ours)?;
        let Some(Read { plan, grant, .. }) = read else { return Err(End::Unpolled(Unpolled::Deleted).into()) };
        self.secrets = plan.secrets(platform).await.map_err(End::Ours)?;
        self.grant = grants::open(platform, grant, consent(&plan, &self.secrets)).await.map_err(End::Ours)?;
        self.lapse = self.grant.course.lapse();
        self.plan = plan;
        Ok(())
    }
}

/// What of a refresh is to be written down, and why there are no tokens.
fn came(oauth: &Oauth2, answer: Result<super::Answer, NoAnswer>, now: Timestamp) -> (Outcome, Option<Stop>) {
    let trouble =
        |reason: String| Stop::from(Trouble::Theirs(format!("the provider gives no new access token: {reason}")));
    let failed = |after, stop: Stop| (Outcome::Failed { after }, Some(stop));
    let unclear = |reason: String| (Outcome::Unclear, Some(trouble(reason)));
    let answer = match answer {
        Ok(answer) => answer,
        Err(NoAnswer::Unsent(reason)) => return failed(None, trouble(reason)),
        Err(NoAnswer::Unclear(reason)) => return unclear(reason),
        Err(NoAnswer::Ours(reason)) => return failed(Some(Duration::ZERO), Trouble::Ours(reason).into()),
    };
    let judged = verdict::Answer { status: answer.status, headers: &answer.headers, body: answer.body.as_ref() };
    match oauth.judge(&judged, now) {
        Reply::Tokens(tokens) => {
            let life = tokens.lifetime.map(|lifetime| Life::of(now, lifetime));
            let lapse = tokens.refresh_lifetime.map(|lifetime| Lapse::of(now, lifetime));
            let oauth::Tokens { access, refresh, settings, .. } = tokens;
            (Outcome::Tokens { access, refresh, life, lapse, settings }, None)
        }
        Reply::Refused => (Outcome::Refused, Some(trouble("it takes the refresh token no longer".into()))),
        Reply::UnknownClient => {
            let (id, secret) = (oauth::CLIENT_ID, oauth::CLIENT_SECRET);
            let text = format!("the provider does not know the app by the instance's {id} and {secret}");
            failed(None, End::NoCredential(text).into())
        }
        Reply::Limited { after } => failed(Some(after), End::PutOff { until: now.plus(after) }.into()),
        Reply::Failed { reason } => failed(None, trouble(reason)),
        Reply::Unclear { reason } => unclear(reason),
    }
}

fn is_ours(stop: &Stop) -> bool {
    matches!(stop, Stop::Account(End::Ours(_)) | Stop::Trouble(Trouble::Ours(_)))
}

fn later(at: Timestamp) -> Stop {
    let text = format!("the provider gave no new access token; it is asked again at {}", at.iso_seconds());
    Trouble::Theirs(text).into()
}

fn over(ended: Ended) -> End {
    match ended.why {
        Why::Refused => End::Revoked,
        Why::Missed => End::NoCredential(
            "an answer of the provider's with new tokens was missed, and it takes the old ones no longer: whether the \
             customer took anything back is unknown, but it needs a new consent"
                .into(),
        ),
    }
}

fn consent(plan: &Plan, secrets: &Secrets) -> Consent {
    let token = |key: &str| value(plan, secrets, key).map(str::trim).filter(|text| !text.is_empty()).map(Into::into);
    let setting = |key: &str| plan.settings.get(key).map(String::as_str);
    let (access, refresh) = (token(ACCESS_TOKEN), token(oauth::REFRESH_TOKEN));
    let life = oauth::life(setting);
    let refreshable = refresh.is_some() && Client::of(|key| value(plan, secrets, key)).is_some();
    let lapse = if refreshable { oauth::refresh_life(setting) } else { life };
    Consent {
        access,
        refresh,
        life: life.map(|(given, lifetime)| Life::of(given, lifetime)),
        lapse: lapse.map(|(given, lifetime)| Lapse::of(given, lifetime)),
    }
}

fn value<'s>(plan: &'s Plan, secrets: &'s Secrets, key: &str) -> Option<&'s str> {
    let secret = secrets.get(key).map(|secret| secret.expose_secret());
    secret.or_else(|| plan.settings.get(key).map(String::as_str))
}

impl From<End> for Stop {
    fn from(end: End) -> Self {
        Self::Account(end)
    }
}
