//! The tokens of a consent, as its provider replaced them.
//!
//! | partition | sort | what |
//! |---|---|---|
//! | `POLL#id` | `GRANT` | the tokens, sealed for the poller; how they fare; the refresh that is under way |
//!
//! *Whence:* a consent begins in the instance's configuration, whose [plan](crate::plans) brings its tokens. The first
//! refresh makes the item; from then on it counts, for as long as the configuration has the tokens that it began with. So a
//! new consent counts at once, whatever was refreshed of the one before, and lifts its end; so does any change of the instance,
//! for one more try: the app's secret may have been the wrong one. Nobody writes here but the poller. A poll whose token is fresh writes nothing, and reads the item with its plan.
//!
//! *Flow:*
//!
//! ```text
//! open ─▶ decide ─▶ begin (lock and journal: what is sent, by its name) ─▶ ask the provider ─▶ finish (compare, store)
//! ```
//!
//! *Promise:* one worker at a time asks, for as long as its lock stands. What comes is stored where the token that was *sent*
//! is still the one that is there, even by a worker whose lock ran out; until it is stored the item holds the old one. A new
//! consent, a changed plan and a deletion between reading and [`begin`] make it fail.
//!
//! *Failure:* a worker that dies in between leaves a lock that runs out, and a journal by which the next one knows that an
//! answer was missed: its refusal is not taken for the customer's word (see [`Course`]). A provider that replaces tokens and
//! does not take the one before even for a moment makes of such a death a consent that has to be given again.

mod course;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use events::{InstanceId, Timestamp};
use platform::{Condition, Item, Key, Platform, Purpose, Table as _, TableError, Version, Write};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::instances::sealed::{Sealed, open as unseal, seal};
use crate::{RecordError, plans, polls, schema};

pub use course::{Course, Decision, Ended, Lapse, Life, Need, TokenName, Why};

use course::Came;

/// How often a write is tried whose answer does not come: what it would keep cannot be had again.
const TRIES: usize = 5;

pub(crate) const GRANT: &str = "GRANT";

/// The names that tokens are sealed under: no configuration key has them.
const ACCESS: &str = "#access";
const REFRESH: &str = "#refresh";

#[derive(Clone, Serialize, Deserialize)]
struct Record {
    course: Course,
    /// Which write made the plan that it was last refreshed by.
    plan: u64,
    /// The settings that came with the tokens.
    settings: BTreeMap<String, String>,
    sealed: Sealed,
}

/// What is kept of an instance's tokens, as read with its plan.
#[derive(Clone)]
pub struct Kept {
    instance: InstanceId,
    plan: Version,
    item: Option<(Version, Record)>,
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let course = self.item.as_ref().map(|(_, record)| &record.course);
        f.debug_struct("Kept").field("instance", &self.instance).field("course", &course).finish_non_exhaustive()
    }
}

impl Kept {
    /// What the items of a partition `POLL#id` keep, whose plan is of this version.
    pub(crate) fn of(instance: InstanceId, plan: Version, items: &[Item]) -> Result<Self, RecordError> {
        let item = items.iter().find(|item| item.key.sort == GRANT);
        let item = item.map(|item| Ok::<_, RecordError>((item.version, schema::decode(item)?))).transpose()?;
        Ok(Self { instance, plan, item })
    }
}

/// What an instance's configuration says of a consent.
#[derive(Debug, Default)]
pub struct Consent {
    /// The access token.
    pub access: Option<SecretString>,
    /// The refresh token.
    pub refresh: Option<SecretString>,
    /// How long the access token is good, where that is known.
    pub life: Option<Life>,
    /// When it ends, where that is known.
    pub lapse: Option<Lapse>,
}

/// The tokens of a consent, in clear. Cannot be printed.
#[derive(Debug)]
pub struct Grant {
    /// How they fare.
    pub course: Course,
    /// The access token.
    pub access: Option<SecretString>,
    /// The refresh token.
    pub refresh: Option<SecretString>,
    /// The settings that came with them.
    pub settings: BTreeMap<String, String>,
    instance: InstanceId,
    plan: Version,
    found: Option<Version>,
}

/// A refresh that is ours to make, until its lock runs out.
#[derive(Debug)]
pub struct Lock {
    instance: InstanceId,
    version: Version,
    until: Timestamp,
    fence: u64,
    sent: TokenName,
    record: Record,
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.course.fmt(f)
    }
}

/// What came of a refresh.
#[derive(Debug)]
pub enum Outcome {
    /// Tokens.
    Tokens {
        /// The access token.
        access: SecretString,
        /// The refresh token; `None`: the one before stays.
        refresh: Option<SecretString>,
        /// How long the access token is good, where the provider says so.
        life: Option<Life>,
        /// When the refresh token ends, where the provider says so.
        lapse: Option<Lapse>,
        /// The settings that came with them.
        settings: BTreeMap<String, String>,
    },
    /// The provider does not take the refresh token.
    Refused,
    /// No answer, or one that leaves open whether the refresh token is spent.
    Unclear,
    /// Nothing was done, for another reason than the token.
    Failed {
        /// How long to wait, where the provider says so.
        after: Option<Duration>,
    },
}

impl Lock {
    /// Whether a call that takes `call` may still be made: it is over before another worker takes over.
    #[must_use]
    pub fn stands(&self, now: Timestamp, call: Duration) -> bool {
        now.plus(call) <= self.until
    }
}

fn key(instance: InstanceId) -> Key {
    Key::new(polls::partition(instance), GRANT)
}

/// The write that takes an instance's tokens away, for the transaction that deletes the instance.
pub(crate) fn delete(instance: InstanceId) -> Write {
    Write::delete(key(instance))
}

/// The tokens that count: those that are kept, where they are of this consent, else its own.
///
/// # Errors
/// The vault's.
pub async fn open<P: Platform>(platform: &P, kept: Kept, consent: Consent) -> Result<Grant, RecordError> {
    let Kept { instance, plan, item } = kept;
    let Consent { access, refresh, life, lapse } = consent;
    let found = item.as_ref().map(|(version, _)| *version);
    let begun = Course::new(access.as_ref(), refresh.as_ref(), (life, lapse));
    match item.map(|(_, record)| record).filter(|record| record.course.consent == begun.consent) {
        Some(Record { course, plan: of, settings, sealed }) => {
            let (access, refresh) = tokens(platform, instance, &sealed).await?;
            let course = if of == plan.0 { course } else { course.lifted() };
            Ok(Grant { course, access, refresh, settings, instance, plan, found })
        }
        None => Ok(Grant { course: begun, access, refresh, settings: BTreeMap::new(), instance, plan, found }),
    }
}

async fn tokens<P: Platform>(
    platform: &P,
    instance: InstanceId,
    sealed: &Sealed,
) -> Result<(Option<SecretString>, Option<SecretString>), RecordError> {
    let token = async |name: &str| match sealed.get(name) {
        Some(sealed) => unseal(platform, Purpose::Poll, &key(instance), name, sealed).await.map(Some),
        None => Ok(None),
    };
    Ok((token(ACCESS).await?, token(REFRESH).await?))
}

async fn sealed<P: Platform>(
    platform: &P,
    instance: InstanceId,
    access: Option<&SecretString>,
    refresh: Option<&SecretString>,
) -> Result<Sealed, RecordError> {
    let both = [(ACCESS, access), (REFRESH, refresh)];
    let there = both.into_iter().filter_map(|(name, token)| Some((name, token?))).collect();
    seal(platform, Purpose::Poll, &key(instance), there).await
}

/// Begins a refresh that is another's to take over from `until` on: writes down what will be sent. `None`: the instance, its
/// plan or its tokens changed since they were read; read again.
///
/// # Errors
/// The table's or the vault's. Where an answer was lost the lock may stand: nothing was sent, and it runs out.
pub async fn begin<P: Platform>(platform: &P, grant: &Grant, until: Timestamp) -> Result<Option<Lock>, RecordError> {
    let Grant { instance, plan, found, .. } = *grant;
    let Some((course, fence, sent)) = grant.course.begin(platform.now(), until) else { return Ok(None) };
    let sealed = sealed(platform, instance, grant.access.as_ref(), grant.refresh.as_ref()).await?;
    let record = Record { course, plan: plan.0, settings: grant.settings.clone(), sealed };
    let version = platform.version();
    let condition = found.map_or(Condition::Absent, Condition::Version);
    let writes = vec![
        // An instance that is gone leaves no tokens behind.
        Write::check(plans::key(instance), Condition::Version(plan)),
        Write::put(key(instance), version, schema::encode(&record)).when(condition),
    ];
    match platform.table().transact(writes).await {
        Ok(()) => Ok(Some(Lock { instance, version, until, fence, sent, record })),
        Err(TableError::ConditionFailed(_) | TableError::Conflict) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Writes down what came of a refresh. `false`: it counts no longer, because another consent or another's answer came in
/// between.
///
/// # Errors
/// The table's or the vault's: to be repeated as soon as may be, as long as this process has the tokens.
pub async fn finish<P: Platform>(platform: &P, lock: &Lock, outcome: &Outcome) -> Result<bool, RecordError> {
    let came = match outcome {
        Outcome::Tokens { access, refresh, life, lapse, .. } => {
            let (access, refresh) = (TokenName::of(access), refresh.as_ref().map(TokenName::of));
            Came::Tokens { access, refresh, life: *life, lapse: *lapse }
        }
        Outcome::Refused => Came::Refused,
        Outcome::Unclear => Came::Unclear,
        Outcome::Failed { after } => Came::Failed { after: *after },
    };
    let (mut base, mut on) = (lock.record.clone(), lock.version);
    let mut write: Option<Write> = None;
    for attempt in 1.. {
        let put = match &write {
            // The same once more: where it had happened it recognises itself.
            Some(put) => put.clone(),
            None => {
                let Some(after) = base.course.after(lock.fence, &lock.sent, came.clone(), platform.now()) else {
                    return Ok(false);
                };
                let record = renewed(platform, lock.instance, &base, after, outcome).await?;
                let put = Write::put(key(lock.instance), platform.version(), schema::encode(&record));
                put.when(Condition::Version(on))
            }
        };
        match platform.table().write(put.clone()).await {
            Ok(()) => return Ok(true),
            Err(error) => match error.clone().existing() {
                Some(Some(item)) => {
                    let existing: Record = schema::decode(&item)?;
                    let stored = matches!(&came, Came::Tokens { access, .. } if existing.course.has(access));
                    if stored {
                        return Ok(true);
                    }
                    if existing.course.consent != base.course.consent {
                        return Ok(false);
                    }
                    (base, on, write) = (existing, item.version, None);
                }
                Some(None) => return Ok(false),
                None if attempt < TRIES && passes(&error) => write = Some(put),
                None => return Err(error.into()),
            },
        }
        if attempt >= TRIES {
            break;
        }
    }
    Err(TableError::Conflict.into())
}

/// The record with what came.
async fn renewed<P: Platform>(
    platform: &P,
    instance: InstanceId,
    base: &Record,
    course: Course,
    outcome: &Outcome,
) -> Result<Record, RecordError> {
    let mut record = Record { course, ..base.clone() };
    if let Outcome::Tokens { access, refresh, settings, .. } = outcome {
        record.sealed.extend(sealed(platform, instance, Some(access), refresh.as_ref()).await?);
        record.settings.extend(settings.clone());
    }
    Ok(record)
}

/// Whether a write that failed so may do better at once.
fn passes(error: &TableError) -> bool {
    match error {
        TableError::Conflict | TableError::Throttled | TableError::OutcomeUnknown(_) | TableError::Unavailable(_) => {
            true
        }
        TableError::ConditionFailed(_) | TableError::Invalid(_) => false,
    }
}
