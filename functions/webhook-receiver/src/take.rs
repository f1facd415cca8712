//! A provider's request, from its bytes to one batch per instance.

use std::borrow::Cow;
use std::collections::BTreeSet;

use bytes::Bytes;
use connectors::{Change, Connector, Normalised, Parsed, Request};
use events::{Batch, Event, EventId, Source};
use http::{HeaderMap, Method};
use platform::Platform;
use records::instances::WebhookView;
use records::refused::Reason;

use crate::follow::{Followed, Told};
use crate::route::{self, Candidate, Found, Reached};
use crate::{Answer, Receiver};

/// Most bytes that one request may become for one instance, all its notifications together.
const POSTED_BYTES: usize = 64 * 1024 * 1024;

/// Entries of a body, by what became of them.
#[derive(Debug)]
struct Entries {
    /// How the instances were found.
    found: Found,
    /// Those that tell of changes.
    telling: BTreeSet<usize>,
    /// Those that concern an instance, whether or not it wants such changes.
    heard: BTreeSet<usize>,
    /// Whom they reached.
    reached: Reached,
    /// Whether what is known of the instances is as of now.
    sure: bool,
}

impl Entries {
    fn unheard(&self, connector: &Connector, parsed: &Parsed) -> usize {
        unheard(self, connector.entry_accounts(parsed))
    }
}

/// The instances that a request is proven to be for.
pub(crate) struct Proven {
    pub(crate) found: Found,
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) reached: Reached,
    /// Whether what is known of them is as of now. Else whoever would be left out is looked at again.
    pub(crate) sure: bool,
}

/// A request to a connector's URL.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    /// The last part of the path, where it names an instance.
    pub(crate) instance: Option<&'a str>,
    pub(crate) method: Method,
    /// Path and query exactly as received.
    pub(crate) path_and_query: &'a str,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl<P: Platform> Receiver<P> {
    /// Takes a request, or says why not.
    pub(crate) async fn take(&self, connector: &Followed<'_>, incoming: Incoming<'_>) -> Answer {
        if incoming.body.len() > crate::MAX_BODY_BYTES {
            self.refuse(connector, Reason::TooLarge, format!("{} bytes", incoming.body.len()));
            return Answer::TooLarge;
        }
        if incoming.method == Method::POST && incoming.headers.contains_key(crate::returned::HOPS) {
            return self.take_returned(connector, &incoming).await.unwrap_or_else(|answer| answer);
        }
        self.take_webhook(connector, &incoming).await.unwrap_or_else(|answer| answer)
    }

    /// Counts a request whose body could not be read whole.
    pub(crate) fn refuse_unread(&self, connector: &Followed<'_>, answer: &Answer) {
        let reason = match answer {
            // For want of room, which is no fault of the request.
            Answer::TryAgain => return,
            Answer::TooLarge => Reason::TooLarge,
            _ => Reason::Malformed,
        };
        self.refuse(connector, reason, answer.message().unwrap_or_default());
    }

    async fn take_webhook(&self, connector: &Followed<'_>, incoming: &Incoming<'_>) -> Result<Answer, Answer> {
        let url = format!("{}{}", self.public_url, incoming.path_and_query);
        let request =
            Request { method: incoming.method.as_str(), url: &url, headers: &incoming.headers, body: &incoming.body };
        if let Some(handshake) = connector.handshake(&request, None) {
            return self.shake(connector, incoming, handshake).await;
        }
        if !connector.takes(incoming.method.as_str()) {
            return Err(Answer::Method(if connector.takes("GET") { "GET, POST" } else { "POST" }));
        }
        let named = route::named(incoming.instance, &incoming.headers).map_err(|form| {
            self.refuse(connector, Reason::UnknownInstance, form.clone());
            Answer::Unreadable(form)
        })?;
        let parsed = connector.parse(&request).map_err(|error| {
            self.refuse(connector, Reason::Malformed, error.to_string());
            Answer::Unreadable(error.to_string())
        })?;
        if let Some(handshake) = connector.handshake(&request, Some(&parsed)) {
            return self.shake(connector, incoming, handshake).await;
        }
        if let Some(glimpsed) = self.glimpse(connector, &request, &parsed, named.as_deref()).await?
            && let Some(answer) = self.tell(connector, &request, &parsed, &incoming.body, glimpsed).await?
        {
            return Ok(answer);
        }
        let mut candidates = self.candidates(connector, &parsed, named).await?;
        if candidates.views.is_empty() {
            return Ok(Answer::Taken);
        }
        let found = candidates.found;
        let reached = std::mem::take(&mut candidates.reached);
        let candidates = self.verified(connector, &request, &parsed, candidates).await?;
        if found == Found::Anybody {
            return Ok(Answer::Taken);
        }
        let proven = Proven { found, candidates, reached, sure: true };
        Ok(self.tell(connector, &request, &parsed, &incoming.body, proven).await?.unwrap_or(Answer::Taken))
    }

    /// Tells them. `None`: they were not read surely, somebody would be left out, and nothing was done.
    async fn tell(
        &self,
        connector: &Followed<'_>,
        request: &Request<'_>,
        parsed: &Parsed,
        body: &Bytes,
        proven: Proven,
    ) -> Result<Option<Answer>, Answer> {
        let Proven { found, candidates, reached, sure } = proven;
        if connector.signals() {
            let (signalled, others): (Vec<&WebhookView>, Vec<&WebhookView>) =
                candidates.iter().map(|c| &c.view).partition(|view| is_signalled(connector, parsed, view));
            let entries = Entries {
                found,
                telling: (0..parsed.len()).collect(),
                heard: heard_signals(connector, parsed, &signalled),
                reached,
                sure,
            };
            if !(sure || others.is_empty() && entries.unheard(connector, parsed) == 0) {
                return Ok(None);
            }
            for view in others {
                let detail = format!("instance {}: the signal is of other accounts", view.instance);
                self.refuse(connector, Reason::Filtered, detail);
            }
            let (first, instances) = (signalled.first().map(|view| view.instance), signalled.len());
            let jobs = self.enqueue_polls(&signalled).await?;
            connector.signalled(first, instances, jobs);
            self.count_unheard(connector, parsed, &entries);
            return Ok(Some(Answer::Taken));
        }
        let mut entries = Entries { found, telling: BTreeSet::new(), heard: BTreeSet::new(), reached, sure };
        let Some(batches) = self.batches(connector, request, parsed, body, &candidates, &mut entries)? else {
            return Ok(None);
        };
        if !sure && entries.unheard(connector, parsed) > 0 {
            return Ok(None);
        }
        let told = Told::of(&batches);
        self.enqueue(batches).await?;
        connector.accepted(told);
        self.count_unheard(connector, parsed, &entries);
        Ok(Some(Answer::Taken))
    }

    /// What each instance is to be told: normalised once, unless the mapping reads the instance's configuration. Notes in
    /// `told` which entries tell of changes, and which of them concern somebody. `None`: not sure, and somebody would be told
    /// less than all.
    fn batches(
        &self,
        connector: &Followed<'_>,
        request: &Request<'_>,
        parsed: &Parsed,
        body: &Bytes,
        candidates: &[Candidate],
        told: &mut Entries,
    ) -> Result<Option<Vec<(Batch, String)>>, Answer> {
        let accepted_at = self.platform.now();
        // A request may tell of several customers' accounts. None is shown another's part of it.
        let mixed = connector.accounts(parsed).len() > 1;
        let mut shared: Option<Normalised> = None;
        // Instances of one account come one after the other, and share their part: it is cut out once.
        let mut part: Option<(Vec<usize>, Bytes)> = None;
        let mut whole: Option<Bytes> = None;
        let mut batches = Vec::with_capacity(candidates.len());
        for Candidate { view, entries } in candidates {
            let first = shared.is_none();
            let normalised = match &mut shared {
                Some(shared) if !connector.reads_configuration() => &*shared,
                shared => shared.insert(connector.normalise(request, parsed, &view.mapping)),
            };
            if !told.sure && (normalised.too_many || !normalised.skipped.is_empty()) {
                return Ok(None);
            }
            if first || connector.reads_configuration() {
                self.note(connector, parsed, view, normalised);
            }
            self.check_size(connector, normalised, body)?;
            told.telling.extend(normalised.changes.iter().map(|change| change.entry));
            let concerning: Vec<&Change> = normalised
                .changes
                .iter()
                .filter(|change| concerns(connector, view, told.found, entries.as_deref(), change))
                .collect();
            told.heard.extend(concerning.iter().map(|change| change.entry));
            let events = self.events(view, &concerning);
            let told_all = events.len() == concerning.len() && concerning.is_empty() == normalised.changes.is_empty();
            if !(told.sure || told_all) {
                return Ok(None);
            }
            if events.is_empty() {
                if !normalised.changes.is_empty() {
                    let (all, ours) = (normalised.changes.len(), concerning.len());
                    let detail = format!(
                        "instance {}: of {all} changes, {ours} concern it, none of an object or event type it wants",
                        view.instance
                    );
                    self.refuse(connector, Reason::Filtered, detail);
                }
                continue;
            }
            let raw = if mixed || entries.is_some() {
                let places: Vec<usize> = concerning.iter().map(|change| change.entry).collect();
                match &part {
                    Some((same, part)) if *same == places => part.clone(),
                    _ => {
                        let shown = shown(connector, parsed, body, Some(&places));
                        part.insert((places, shown)).1.clone()
                    }
                }
            } else {
                whole.get_or_insert_with(|| shown(connector, parsed, body, None)).clone()
            };
            let batch = Batch {
                instance: view.instance,
                connector: connector.key().to_owned(),
                hub: connector.hub().to_owned(),
                source: Source::Webhook,
                accepted_at,
                hops: 0,
                events,
                raw,
            };
            batches.push((batch, view.group.clone()));
        }
        Ok(Some(batches))
    }

    /// Counts, once per request, that some of it concerns nobody. The provider sees its request taken, and would never tell.
    fn count_unheard(&self, connector: &Followed<'_>, parsed: &Parsed, entries: &Entries) {
        let unheard = entries.unheard(connector, parsed);
        if unheard > 0 {
            let why = why_unheard(entries.found);
            let detail = format!("{unheard} of {} entries concern no instance: {why}", parsed.len());
            self.refuse(connector, Reason::Skipped, detail);
        }
    }

    /// Each notification carries the whole body: many changes in a large one would be posted, and kept while the callback
    /// is down, as many times the body. No provider sends anything near this.
    fn check_size(&self, connector: &Followed<'_>, normalised: &Normalised, body: &Bytes) -> Result<(), Answer> {
        let notifications = normalised.changes.len().div_ceil(Source::Webhook.batch_limit());
        if !normalised.too_many && notifications * body.len() <= POSTED_BYTES {
            return Ok(());
        }
        let detail = format!("{} changes or more in {} bytes", normalised.changes.len(), body.len());
        self.refuse(connector, Reason::TooMany, detail);
        Err(Answer::TooMany)
    }

    /// Tells what became no change.
    fn note(&self, connector: &Followed<'_>, parsed: &Parsed, view: &WebhookView, normalised: &Normalised) {
        for skipped in &normalised.skipped {
            // The change may matter to somebody: it is not passed over in silence.
            tracing::warn!(connector = connector.key(), instance = %view.instance, %skipped, "part of a webhook was skipped");
            self.refuse(connector, Reason::Skipped, format!("instance {}: {skipped}", view.instance));
        }
        if normalised.changes.is_empty() && normalised.skipped.is_empty() {
            // The definition says so, of a provider's ping for instance: nothing is lost.
            tracing::debug!(
                connector = connector.key(),
                instance = %view.instance,
                entries = parsed.len(),
                "a webhook tells of no change"
            );
        }
    }

    /// The changes that the instance wants, as its events.
    fn events(&self, view: &WebhookView, concerning: &[&Change]) -> Vec<Event> {
        let of_view = concerning.iter().filter(|change| view.wants(&change.object_type, change.event_type));
        of_view
            .map(|change| {
                let drawn;
                let occurrence = match &change.occurrence {
                    Some(named) => named.as_slice(),
                    // The provider names no occurrence: better told twice than lost.
                    None => {
                        let mut bits = [0; 16];
                        self.platform.random().fill(&mut bits);
                        drawn = bits;
                        &drawn
                    }
                };
                // An instance that is told of several accounts must not take one's object for another's.
                let account = change.account.as_deref().unwrap_or_default();
                let parts = [b"webhook", change.event_type.as_str().as_bytes(), account.as_bytes(), occurrence];
                Event {
                    id: EventId::of(view.instance, &change.object_type, &change.object_id, &parts),
                    object_type: change.object_type.clone(),
                    object_id: change.object_id.clone(),
                    event_type: change.event_type,
                    date: change.date,
                }
            })
            .collect()
    }
}

/// Whether the change is of the instance's account, and of an entry that it was found by. What names no account concerns
/// whoever the request names itself, and nobody that was found by the accounts of its other entries.
fn concerns(
    connector: &Connector,
    view: &WebhookView,
    found: Found,
    entries: Option<&[usize]>,
    change: &Change,
) -> bool {
    if let Some(entries) = entries {
        return entries.binary_search(&change.entry).is_ok();
    }
    match (&change.account, &view.provider_account) {
        (Some(theirs), Some(ours)) => theirs == connector.account_key(ours),
        (Some(_), None) => true,
        (None, _) => found == Found::ByName,
    }
}

/// Whether what the request signals concerns the instance's account. One that is named by path or header may be of another
/// account than those that the request lists.
fn is_signalled(connector: &Connector, parsed: &Parsed, view: &WebhookView) -> bool {
    let ours = view.provider_account.as_deref().map(|account| connector.account_key(account));
    ours.is_none_or(|ours| connector.accounts(parsed).contains(&ours))
}

/// The entries that concern an instance which is signalled.
fn heard_signals(connector: &Connector, parsed: &Parsed, signalled: &[&WebhookView]) -> BTreeSet<usize> {
    let accounts: Option<BTreeSet<&str>> =
        signalled.iter().map(|view| view.provider_account.as_deref().map(|ours| connector.account_key(ours))).collect();
    let concerns = |theirs: &Option<String>| match (&accounts, theirs) {
        // An instance of no account takes all that comes to its own URL.
        (None, _) => true,
        (Some(accounts), Some(theirs)) => accounts.contains(theirs.as_str()),
        (Some(_), None) => false,
    };
    let numbered = connector.entry_accounts(parsed).iter().enumerate();
    numbered.filter(|(_, theirs)| concerns(theirs)).map(|(entry, _)| entry).collect()
}

/// How many entries tell of changes, concern nobody, and are not counted elsewhere: an account that nobody has, an instance
/// that was found and is left out, and instances that nothing at all concerns have counts of their own.
fn unheard(entries: &Entries, accounts: &[Option<String>]) -> usize {
    if entries.heard.is_empty() {
        return 0;
    }
    let reached = &entries.reached;
    let counts = |entry: &&usize| {
        let account = accounts.get(**entry).and_then(Option::as_ref);
        match entries.found {
            Found::ByName => !reached.accounts.iter().any(|ours| ours.is_none() || ours.as_ref() == account),
            Found::ByAccount => account.is_none(),
            Found::ByFinder => !reached.entries.contains(entry),
            Found::Anybody => false,
        }
    };
    entries.telling.difference(&entries.heard).filter(counts).count()
}

/// Why entries concern nobody, in words.
fn why_unheard(found: Found) -> &'static str {
    match found {
        Found::ByName => "their accounts are not those of the instances that the URL or header names",
        Found::ByAccount => "they name no provider account, and others do",
        Found::ByFinder => "no instance finder matches them",
        Found::Anybody => "the request is a test",
    }
}

/// What an instance is shown of the body. Shared where that is all of it, as it came.
fn shown(connector: &Connector, parsed: &Parsed, body: &Bytes, places: Option<&[usize]>) -> Bytes {
    match connector.shown(parsed, body, places) {
        Cow::Borrowed(all) if std::ptr::eq(all, &**body) => body.clone(),
        shown => Bytes::from(shown.into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found() -> impl Strategy<Value = Found> {
        prop::sample::select(vec![Found::ByName, Found::ByAccount, Found::ByFinder, Found::Anybody])
    }

    fn some() -> impl Strategy<Value = BTreeSet<usize>> {
        prop::collection::btree_set(0_usize..8, 0..8)
    }

    proptest! {
        #[test]
        fn what_is_heard_or_counted_elsewhere_is_not_counted_as_unheard(
            found in found(),
            telling in some(),
            heard in some(),
            reached in some(),
            named in prop::collection::vec(prop::option::weighted(0.9, "[ab]"), 0..3),
            accounts in prop::collection::vec(prop::option::of("[ab]"), 8),
        ) {
            let reached = Reached { entries: reached, accounts: named };
            let entries = Entries { found, telling, heard, reached, sure: true };
            let named = &entries.reached.accounts;
            let of_named = |n: usize| named.contains(&None) || accounts[n].is_some() && named.contains(&accounts[n]);
            let expected = (0..8_usize)
                .filter(|n| !entries.heard.is_empty() && entries.telling.contains(n) && !entries.heard.contains(n))
                .filter(|n| found != Found::ByName || !of_named(*n))
                .filter(|n| found != Found::ByAccount || accounts[*n].is_none())
                .filter(|n| found != Found::ByFinder || !entries.reached.entries.contains(n))
                .filter(|_| found != Found::Anybody)
                .count();
            prop_assert_eq!(unheard(&entries, &accounts), expected);
        }
    }
}
