//! A step: what is told at once, and where the polls stand after it.
//!
//! *Promise:* a step's events are durable before the position moves to where they lead, and in between what an index is to know
//! of them; the claim is asked before each send and write. Whatever goes wrong in between, the position stays, and the same
//! events are told by the next poll.

use events::{Batch, Timestamp};
use platform::{Platform, Queue as _, limits};
use polling::batches::{self, Origin};
use polling::position::{Place, State};
use polling::request::Query;
use records::plans::Plan;
use records::polls::{self, Advanced, Claim, Claimed, Standing};
use records::tree::Index;
use records::{RecordError, batches as messages};

use super::read::Found;
use super::tree::Edits;
use super::{End, Fetch, Worker};

/// Events of a step: it ends with the page that brings it there, so it holds up to a page more. As many are told again
/// after a crash, and held in memory at a time.
pub(super) const EVENTS: usize = 2_000;
/// Bytes of a step, where its records are large.
const BYTES: usize = 16 * 1024 * 1024;

/// What is not told yet, and where it leads.
pub(super) struct Step {
    state: State,
    batches: Vec<Batch>,
    events: usize,
    bytes: usize,
    /// What is written to a resource's index once all is sent.
    edits: Option<(String, Edits)>,
    /// Whether where it leads is worth a write.
    worth_storing: bool,
}

impl Step {
    /// Nothing yet, from what is `stored` on. Where a resource has a place for the first time, that is worth a write: so it
    /// can be seen to be polled.
    pub(super) fn begin(state: State, stored: &State) -> Self {
        let worth_storing = state.places.keys().any(|name| !stored.places.contains_key(name));
        Self { worth_storing, ..Self::new(state) }
    }

    fn new(state: State) -> Self {
        Self { state, batches: Vec::new(), events: 0, bytes: 0, edits: None, worth_storing: false }
    }

    /// Where a resource stands once the step is told.
    pub(super) fn place(&self, resource: &str) -> Option<&Place> {
        self.state.places.get(resource)
    }

    /// How many events more make it full.
    pub(super) fn room(&self) -> usize {
        EVENTS.saturating_sub(self.events).max(1)
    }

    /// Whether it is to be told before more is read.
    pub(super) fn is_full(&self) -> bool {
        self.events >= EVENTS || self.bytes >= BYTES || self.edits.is_some()
    }

    /// Adds what a reading found, as far as the instance wants to be told of it.
    pub(super) fn add(&mut self, plan: &Plan, query: &Query, found: Found) -> Result<(), RecordError> {
        let Found { mut changes, place, worth_storing, start, edits } = found;
        changes.retain(|change| plan.wants(&query.name, &change.told.object_type, change.told.event_type));
        let (connector, hub) = (plan.connector.as_str(), plan.hub.as_str());
        let origin = Origin { instance: plan.instance, connector, hub, start, keep_nulls: plan.keep_nulls };
        self.events += changes.len();
        let batches = batches::batches(&origin, changes);
        let batches = batches.map_err(|error| RecordError::Damaged("a poll's events".into(), error.to_string()))?;
        self.bytes += batches.iter().map(|batch| batch.raw.len()).sum::<usize>();
        self.batches.extend(batches);
        self.worth_storing |= worth_storing || self.events > 0;
        self.edits = edits.map(|edits| (query.name.clone(), edits));
        if let Some(place) = place {
            self.state.places.insert(query.name.clone(), place);
        }
        Ok(())
    }

    /// Whether there is anything to be told or to be written.
    pub(super) fn worth_storing(&self) -> bool {
        self.worth_storing
    }

    /// Makes the events durable and then moves the position, by a claim on it as it was read. Returns how many events were
    /// made durable too.
    pub(super) async fn tell<P: Platform, F: Fetch>(
        &mut self,
        worker: &Worker<'_, P, F>,
        group: &str,
        standing: &mut Standing,
    ) -> (usize, Result<(), End>) {
        let platform = worker.platform;
        let claim = match polls::claim(platform, standing, worker.name, worker.claims_until).await {
            Ok(Claimed::Ours(claim)) => claim,
            Ok(Claimed::Taken { until }) => return (0, Err(End::Elsewhere { until })),
            Ok(Claimed::Outrun) => return (0, Err(elsewhere(platform.now()))),
            Err(error) => return (0, Err(End::Ours(error))),
        };
        let batches = std::mem::take(&mut self.batches);
        let (told, sent) = send(platform, &claim, batches, group).await;
        let moved = match sent {
            Ok(()) => self.index(platform, &claim).await,
            Err(end) => Err(end),
        };
        let moved = match moved {
            Ok(()) => self.advance(platform, &claim, standing).await,
            Err(end) => Err(end),
        };
        if moved.is_err() {
            // Others need not wait for a claim that nothing comes of. If this fails as well, they wait until it runs out.
            let _ = polls::release(platform, &claim).await;
        }
        (told, moved)
    }

    /// Writes to the index what is told by now: where it is written first, a death would leave what is never told.
    async fn index<P: Platform>(&mut self, platform: &P, claim: &Claim) -> Result<(), End> {
        let Some((resource, edits)) = self.edits.take() else { return Ok(()) };
        let index = Index { instance: claim.instance(), resource: &resource };
        match index.write(platform, claim, edits).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(elsewhere(platform.now())),
            Err(error) => Err(End::Ours(error)),
        }
    }

    async fn advance<P: Platform>(&mut self, platform: &P, claim: &Claim, standing: &mut Standing) -> Result<(), End> {
        match polls::advance(platform, claim, self.state.clone()).await {
            Ok(Advanced::Moved(moved)) => {
                *standing = moved;
                *self = Self::new(std::mem::take(&mut self.state));
                Ok(())
            }
            Ok(Advanced::Lost) => Err(elsewhere(platform.now())),
            Err(error) => Err(End::Ours(error)),
        }
    }
}

/// Another worker has had the polls, and may have ended.
fn elsewhere(now: Timestamp) -> End {
    End::Elsewhere { until: now }
}

/// Sends batches while the claim stands. Returns how many events were sent.
async fn send<P: Platform>(platform: &P, claim: &Claim, batches: Vec<Batch>, group: &str) -> (usize, Result<(), End>) {
    let mut told = 0;
    let mut batches = batches.into_iter().peekable();
    while batches.peek().is_some() {
        let (mut some, mut events) = (Vec::with_capacity(limits::SEND_MESSAGES), 0);
        for batch in batches.by_ref().take(limits::SEND_MESSAGES) {
            events += batch.events.len();
            match messages::message(platform, batch, group).await {
                Ok(message) => some.push(message),
                Err(error) => return (told, Err(End::Ours(error))),
            }
        }
        if !claim.stands(platform.now()) {
            return (told, Err(elsewhere(platform.now())));
        }
        if let Err(error) = platform.batches().send(some).await {
            return (told, Err(End::Ours(error.into())));
        }
        told += events;
    }
    (told, Ok(()))
}
