//! How often an instance is polled, and that it is polled at once when that changes.
//!
//! *Promise:* what an instance's configuration says counts from its change on: its place in the timing wheel is written with
//! it (see [`records::instances`]), and its first poll does not wait for its turn.
//!
//! *Who is polled:* who says so, by webhooks alone or beside them ([`beside`]).
//!
//! *Failure:* a poll at once that could not be sent is logged. The change is made, and the instance's turn comes.

use std::collections::BTreeMap;
use std::time::Duration;

use connectors::Connector;
use events::configuration::VENDOR_TYPE;
use events::message::PollJob;
use events::{InstanceId, Message};
use platform::{Outgoing, Platform, Queue as _, SendError, limits};
use polling::definition::Polling;
use records::instances::Instance;
use records::polls;
use records::wheel::{Minutes, Place};

/// What [`VENDOR_TYPE`] says of an instance that polls in turns.
pub(crate) const POLLING: &str = "polling";

/// Those of [`VENDOR_TYPE`]'s words that name a way in which the connector learns of changes.
pub(crate) fn ways(connector: &Connector, words: &[&'static str]) -> Vec<&'static str> {
    let has = |word: &&'static str| match *word {
        POLLING => connector.polling().is_some(),
        _ => connector.has_webhooks(),
    };
    words.iter().copied().filter(has).collect()
}

/// Whether a configuration asks for polls, whatever its connector can.
pub(crate) fn wants(configuration: &BTreeMap<String, String>) -> bool {
    configuration.get(VENDOR_TYPE).is_some_and(|word| word.trim().eq_ignore_ascii_case(POLLING))
}

/// Whether an instance with this configuration polls in turns: as it says itself; where it does not, as its connector's only
/// way, because one that has webhooks as well learnt by these before it could be polled.
pub(crate) fn in_turns(connector: &Connector, configuration: &BTreeMap<String, String>) -> bool {
    let set = configuration.get(VENDOR_TYPE).map(|word| word.trim()).filter(|word| !word.is_empty());
    let said = set.map_or(!connector.has_webhooks(), |word| word.eq_ignore_ascii_case(POLLING));
    said && connector.polling().is_some()
}

/// Whether a connector's webhooks can be checked by polls.
pub(crate) fn can_reconcile(connector: &Connector) -> bool {
    connector.has_webhooks() && connector.polling().is_some()
}

/// How often an instance with this configuration is polled beside its webhooks; `None`: it is not, or polls in turns anyway.
pub(crate) fn beside(connector: &Connector, configuration: &BTreeMap<String, String>) -> Option<Minutes> {
    let by_webhooks = can_reconcile(connector) && !in_turns(connector, configuration);
    Minutes::reconciling(configuration).filter(|_| by_webhooks)
}

/// Whether an instance's polls tell what its webhooks missed. Those that only signal a change tell nothing that there were to
/// miss: polls beside them tell all.
pub(crate) fn reconciles(connector: &Connector, configuration: &BTreeMap<String, String>) -> bool {
    !connector.signals() && beside(connector, configuration).is_some()
}

/// How often an instance with this configuration is polled, for whatever reason; `None`: never in turns.
pub(crate) fn turn(connector: &Connector, configuration: &BTreeMap<String, String>) -> Option<Minutes> {
    interval(in_turns(connector, configuration), configuration).or_else(|| beside(connector, configuration))
}

/// How an instance's provider is asked, where it is polled: in turns, beside its webhooks, or when these signal a change.
pub(crate) fn polling<'c>(connector: &'c Connector, configuration: &BTreeMap<String, String>) -> Option<&'c Polling> {
    connector.polling().filter(|_| connector.signals() || by_itself(connector, configuration))
}

/// Whether an instance with this configuration is polled without being signalled: in turns, or beside its webhooks.
pub(crate) fn by_itself(connector: &Connector, configuration: &BTreeMap<String, String>) -> bool {
    in_turns(connector, configuration) || beside(connector, configuration).is_some()
}

/// How often an instance with this configuration is polled; `None`: never.
fn interval(in_turns: bool, configuration: &BTreeMap<String, String>) -> Option<Minutes> {
    Minutes::configured(configuration).filter(|_| in_turns)
}

/// Has an instance polled at once that was just written and is polled from now on, or otherwise than `before`; and one that is
/// `signalled`: where a provider keeps the cursor, nothing is told of before the first poll, and where tokens are new, polls
/// may have waited for them.
pub(crate) async fn begin<P: Platform>(platform: &P, before: Option<Place>, instance: &Instance, signalled: bool) {
    if !signalled && (instance.place.is_none() || instance.place == before) {
        return;
    }
    let id = instance.id;
    if let Err(error) = send(platform, id, Duration::ZERO).await {
        tracing::warn!(%id, %error, "an instance is polled in its turn: its first poll could not be sent");
    }
}

/// Sends a job that polls an instance.
async fn send<P: Platform>(platform: &P, instance: InstanceId, delay: Duration) -> Result<(), SendError> {
    let body = Message::Poll(PollJob { instance, at: platform.now() }).encode();
    platform.polls().send(vec![Outgoing { body, delay, group: instance.to_string() }]).await
}

/// Removes what its polls left of an instance of a connector that was just deleted, or has it removed.
pub(crate) async fn forget<P: Platform>(platform: &P, connector: Option<&Connector>, id: InstanceId) {
    // The instance is gone whatever becomes of this, and what is left does no harm but take room.
    let indexed = match polls::forget(platform, id).await {
        // Of a resource that was taken out of the configuration before, or is polled for the first time, the state says nothing.
        Ok(indexed) => indexed || connector.and_then(Connector::polling).is_some_and(Polling::may_index),
        Err(error) => {
            tracing::error!(%id, %error, "where a deleted instance's polls stood could not be removed");
            true
        }
    };
    if !indexed {
        return;
    }
    // An index may be large: the poller clears it, once no poll that was under way writes to it any more.
    if let Err(error) = send(platform, id, limits::MAX_DELAY).await {
        tracing::error!(%id, %error, "what was at which path of a deleted instance stays: its removal could not be sent");
    }
}

#[cfg(test)]
mod tests {
    use events::configuration::POLLER_REFRESH_INTERVAL;
    use events::{AccountId, Timestamp};
    use platform::QueueError;
    use platform::testing::MemoryPlatform;
    use proptest::prelude::*;

    use super::*;

    fn set(minutes: Option<&str>) -> BTreeMap<String, String> {
        minutes.map(|minutes| (POLLER_REFRESH_INTERVAL.to_owned(), minutes.to_owned())).into_iter().collect()
    }

    #[test]
    fn fifteen_minutes_unless_it_is_said_and_a_long_time_is_off() {
        for (minutes, expected) in [
            (None, Some(15)),
            (Some(" "), Some(15)),
            (Some("soon"), Some(15)),
            (Some("1"), Some(1)),
            (Some(" 1440 "), Some(1440)),
            (Some("1441"), None),
            (Some("999999999"), None),
            (Some("0"), None),
        ] {
            let found = interval(true, &set(minutes)).map(|minutes| minutes.number());
            assert_eq!(found, expected, "{minutes:?}");
        }
    }

    #[test]
    fn an_instance_polls_in_turns_where_it_says_so_or_its_connector_has_no_other_way() {
        let catalogue = connectors::catalogue();
        let of = |connector, word: Option<&str>| {
            let connector = catalogue.get(connector).unwrap();
            let configuration = word.map(|word| (VENDOR_TYPE.to_owned(), word.to_owned())).into_iter().collect();
            (in_turns(connector, &configuration), polling(connector, &configuration).is_some())
        };
        assert_eq!([of("http", None), of("http", Some(" ")), of("http", Some("polling"))], [(true, true); 3]);
        assert_eq!([of("hubspot", None), of("hubspot", Some("webhook"))], [(false, false); 2]);
        assert_eq!(of("hubspot", Some(" Polling ")), (true, true));
        assert_eq!(of("dropbox", None), (false, true), "it polls when Dropbox signals a change");
        assert_eq!(of("dropbox", Some("polling")), (true, true));
        assert_eq!([of("github", None), of("github", Some("polling"))], [(false, false); 2], "it cannot");
    }

    proptest! {
        #[test]
        fn who_cannot_be_polled_is_not_and_no_text_is_trouble(text: String, minutes in 1_u32..=1440) {
            prop_assert_eq!(interval(false, &set(Some(&text))), None);
            let _ = interval(true, &set(Some(&text)));
            prop_assert_eq!(interval(true, &set(Some(&minutes.to_string()))), Minutes::new(minutes));
        }
    }

    fn instance(place: Option<Place>) -> Instance {
        Instance {
            id: InstanceId::from_random(7),
            account: AccountId(1),
            company: 1,
            user: 1,
            name: "polled".into(),
            connector: "hubspot".into(),
            hub: "crm".into(),
            tags: Vec::new(),
            created_at: Timestamp::from_seconds(0),
            updated_at: Timestamp::from_seconds(0),
            disabled: false,
            configuration: BTreeMap::new(),
            routes: Vec::new(),
            place,
            reconciles: None,
        }
    }

    #[tokio::test]
    async fn a_place_that_is_new_is_polled_at_once_and_who_is_signalled_and_nobody_else() {
        let at = |minutes| Minutes::new(minutes).map(|minutes| Place::of(InstanceId::from_random(7), minutes, 1));
        for (before, after, signalled, polled) in [
            (None, at(5), false, true),
            (at(15), at(5), false, true),
            (at(5), at(5), false, false),
            (at(5), None, false, false),
            (None, None, false, false),
            (None, None, true, true),
        ] {
            let platform = MemoryPlatform::new(Timestamp::from_seconds(1_790_000_000));
            begin(&platform, before, &instance(after), signalled).await;
            let held: Vec<_> =
                platform.polls().messages().into_iter().map(|held| Message::decode(&held.body)).collect();
            let job = Message::Poll(PollJob { instance: InstanceId::from_random(7), at: platform.now() });
            assert_eq!(held, if polled { vec![Ok(job)] } else { vec![] }, "{before:?} {after:?}");
        }
    }

    #[tokio::test]
    async fn an_index_that_there_may_be_is_cleared_also_of_a_resource_that_was_taken_out_before() {
        for (connector, cleared) in [("dropbox", true), ("hubspot", false), ("github", false), ("unknown", false)] {
            let platform = MemoryPlatform::new(Timestamp::from_seconds(1_790_000_000));
            forget(&platform, connectors::catalogue().get(connector), InstanceId::from_random(7)).await;
            let held = platform.polls().messages();
            assert_eq!(held.len(), usize::from(cleared), "{connector} {held:?}");
        }
    }

    #[tokio::test]
    async fn a_queue_that_is_away_is_not_the_callers_trouble() {
        let platform = MemoryPlatform::new(Timestamp::from_seconds(1_790_000_000));
        platform.polls().fail_next_send([0], QueueError::Throttled);
        begin(&platform, None, &instance(Some(Place::of(InstanceId::from_random(7), Minutes::LONGEST, 1))), false)
            .await;
    }
}
