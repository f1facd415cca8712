//! An account's instances: listing, searching and counting them.
//!
//! A filter is matched against one instance after the other, so a request looks at [`LOOKED_AT`] of them at most; where that
//! does not do, the answer has fewer entries than asked for, even none, and a token to go on with. The contract answers 404
//! where nothing matches: said only where all were looked at and no page came before.
//!
//! *Order:* that of the ids as text, which never changes. What is made or deleted while the pages are read may be missing.
//!
//! *Bounded:* an answer carries at most [`CONFIGURATION_BYTES`] of configurations (Lambda answers at most 6 MB).

use std::sync::Arc;

use axum::extract::{Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use events::InstanceId;
use futures_util::future::try_join_all;
use http::HeaderValue;
use platform::Platform;
use records::accounts::Account;
use records::instances::{self as repository, Instance};
use serde::Serialize;

use crate::answer::{Answer, NEXT_PAGE, Problem, RETURNED_COUNT, TOTAL_COUNT};
use crate::authorization::{Caller, Identity, Target};
use crate::invalid::Invalid;
use crate::query::{MAX_PAGE, Parameters};
use crate::resource::Resource;
use crate::{Api, elements, instances};

/// Most instances that a request looks at: some pages of the table, well within a request's time.
const LOOKED_AT: usize = 1000;
/// Instances read at a time.
const AT_ONCE: usize = 200;
/// Instances whose tokens are opened at a time.
const AT_A_TIME: usize = 10;
/// Most bytes of configurations in an answer: written as JSON text they at worst double.
const CONFIGURATION_BYTES: usize = 2 * 1024 * 1024;

/// Which instances are asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Filter {
    /// All of these tags, exactly.
    tags: Vec<String>,
    /// This text somewhere, lower-case; empty: any.
    text: String,
    /// Of this connector alone.
    connector: Option<String>,
}

impl Filter {
    fn read(query: &Parameters) -> Result<Self, Invalid> {
        // The brackets are the contract's; without them the same is meant.
        let tags = query.all("tags[]").chain(query.all("tags")).map(str::to_owned).collect();
        Ok(Self { tags, text: query.get("searchText")?.unwrap_or_default().to_lowercase(), connector: None })
    }

    fn takes(&self, instance: &Instance) -> bool {
        let holds = |text: &str| text.to_lowercase().contains(&self.text);
        let texts = [instance.name.as_str(), instance.connector.as_str()];
        let tagged = self.tags.iter().all(|tag| instance.tags.contains(tag));
        let found = || {
            let mut tags = instance.tags.iter().map(String::as_str);
            texts.into_iter().any(holds) || tags.any(holds) || instance.id.to_string().contains(&self.text)
        };
        let of_connector = self.connector.as_ref().is_none_or(|key| *key == instance.connector);
        of_connector && tagged && (self.text.is_empty() || found())
    }
}

/// A page in the making.
#[derive(Debug, PartialEq, Eq)]
struct Taken {
    ids: Vec<InstanceId>,
    bytes: usize,
    /// The last one that was looked at, taken or not.
    last: Option<InstanceId>,
}

impl Taken {
    /// Looks at `instances`, those after the last. `false`: one of them was to be taken and is too much for the page.
    fn take(&mut self, instances: &[Instance], filter: &Filter, size: usize) -> bool {
        for instance in instances {
            if filter.takes(instance) {
                let bytes: usize = instance.configuration.iter().map(|(key, value)| key.len() + value.len()).sum();
                let full = self.ids.len() == size || self.bytes + bytes > CONFIGURATION_BYTES;
                if full && !self.ids.is_empty() {
                    return false;
                }
                self.ids.push(instance.id);
                self.bytes += bytes;
            }
            self.last = Some(instance.id);
        }
        true
    }
}

/// `GET /instances`: the account's, or the one of the token that stands among the keys.
pub(crate) async fn list<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    identity: Identity,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    if identity.token_of.is_some() {
        return Ok(instances::read(State(api), Target::of_token(identity)?).await?.into_response());
    }
    answer(&api, &identity.account, &Parameters::read(query.as_deref()), None).await
}

/// `GET /elements/{keyOrId}/instances`: the account's of one connector.
pub(crate) async fn of_element<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    Caller(account): Caller,
    Path(named): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let connector = elements::find(&api.catalogue, &named)?.key().to_owned();
    answer(&api, &account, &Parameters::read(query.as_deref()), Some(connector)).await
}

async fn answer<P: Platform>(
    api: &Api<P>,
    account: &Account,
    query: &Parameters,
    connector: Option<String>,
) -> Result<Response, Problem> {
    let hydrate = query.flag("hydrate", true)?;
    let filter = Filter { connector, ..Filter::read(query)? };
    let (resources, next) = page(api, account, query, &filter).await?;
    let count = HeaderValue::from(resources.len());
    let whole = query.get("nextPage")?.is_none() && next.is_none();
    if whole && resources.is_empty() {
        return Err(Problem::NoneMatch);
    }
    let shown: Vec<Resource> =
        resources.into_iter().map(|resource| if hydrate { resource } else { resource.bare() }).collect();
    let mut response = Answer(shown).into_response();
    if whole {
        response.headers_mut().insert(TOTAL_COUNT, count.clone());
    }
    response.headers_mut().insert(RETURNED_COUNT, count);
    if let Some(next) = next {
        response.headers_mut().insert(NEXT_PAGE, HeaderValue::from(next.number()));
    }
    Ok(response)
}

async fn page<P: Platform>(
    api: &Api<P>,
    account: &Account,
    query: &Parameters,
    filter: &Filter,
) -> Result<(Vec<Resource>, Option<InstanceId>), Problem> {
    let size = query.page_size(MAX_PAGE)?;
    let mut taken = Taken { ids: Vec::new(), bytes: 0, last: query.next_page()? };
    let at_once = if *filter == Filter::default() { size } else { AT_ONCE };
    let mut looked_at = 0;
    let next = loop {
        let page = repository::page(&*api.platform, account.id, taken.last, at_once).await?;
        looked_at += at_once;
        if !taken.take(&page.instances, filter, size) {
            break taken.last;
        }
        match page.next {
            None => break None,
            next if taken.ids.len() == size || looked_at >= LOOKED_AT => break next,
            next => taken.last = next,
        }
    };
    let mut resources = Vec::with_capacity(taken.ids.len());
    for ids in taken.ids.chunks(AT_A_TIME) {
        let loaded = ids.iter().map(|id| repository::load(&*api.platform, account.id, *id));
        // One that was deleted since is left out.
        resources.extend(try_join_all(loaded).await?.iter().flatten().map(|stored| api.resource(stored)));
    }
    Ok((resources, next))
}

/// How many instances an account has.
#[derive(Debug, Serialize)]
pub(crate) struct Count {
    count: usize,
}

/// `GET /instances/count`: of all of them.
pub(crate) async fn count<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    Caller(account): Caller,
    RawQuery(query): RawQuery,
) -> Result<Answer<Count>, Problem> {
    // A filter that is not heeded would count what is not meant.
    if Filter::read(&Parameters::read(query.as_deref()))? != Filter::default() {
        let accepted = "no filter; GET /instances lists what a filter matches";
        return Err(Invalid::new("tags[] or searchText", "a filter", accepted).into());
    }
    Ok(Answer(Count { count: repository::of_account(&*api.platform, account.id).await?.len() }))
}

#[cfg(test)]
mod tests {
    use events::{AccountId, Timestamp};
    use proptest::prelude::*;

    use super::*;

    fn instance(id: u32, name: &str, tags: &[String], bytes: usize) -> Instance {
        Instance {
            id: InstanceId::from_random(id),
            account: AccountId(1),
            company: 1,
            user: 1,
            name: name.into(),
            connector: "hubspot".into(),
            hub: "crm".into(),
            tags: tags.to_vec(),
            created_at: Timestamp::from_seconds(0),
            updated_at: Timestamp::from_seconds(0),
            disabled: false,
            configuration: [("k".to_owned(), "x".repeat(bytes))].into(),
            routes: Vec::new(),
            place: None,
            reconciles: None,
        }
    }

    fn read(query: &str) -> Filter {
        Filter::read(&Parameters::read(Some(query))).unwrap()
    }

    proptest! {
        #[test]
        fn pages_together_are_what_matches_in_order_however_they_are_cut(
            tagged in proptest::collection::vec((any::<bool>(), prop_oneof![Just(10), Just(700_000_usize)]), 0..30),
            size in 1..6_usize,
            at_once in 1..8_usize,
        ) {
            let all: Vec<Instance> = tagged.iter().zip(1..).map(|((tagged, bytes), id)| {
                instance(id, "n", &if *tagged { vec!["t".to_owned()] } else { Vec::new() }, *bytes)
            }).collect();
            let filter = read("tags[]=t");
            let (mut found, mut last) = (Vec::new(), None);
            loop {
                let mut taken = Taken { ids: Vec::new(), bytes: 0, last };
                let from = all.iter().position(|instance| Some(instance.id) == last).map_or(0, |at| at + 1);
                let whole = all[from..].chunks(at_once).all(|chunk| taken.take(chunk, &filter, size));
                prop_assert!(taken.ids.len() <= size);
                prop_assert!(taken.bytes <= CONFIGURATION_BYTES || taken.ids.len() == 1);
                prop_assert!(whole || !taken.ids.is_empty(), "no progress");
                found.extend(taken.ids);
                last = taken.last;
                if whole {
                    break;
                }
            }
            let expected: Vec<InstanceId> = all.iter().filter(|i| !i.tags.is_empty()).map(|i| i.id).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn more_filters_never_take_more(
            name in "[a-cA-C ]{0,6}",
            tags in proptest::collection::vec("[ab]{1,2}", 0..3),
            wanted in proptest::collection::vec("[ab]{1,2}", 0..3),
            text in "[a-c]{0,2}",
        ) {
            let instance = instance(7, &name, &tags, 1);
            let (by_tags, by_text) = (Filter { tags: wanted, ..Filter::default() }, read(&format!("searchText={text}")));
            let both = Filter { tags: by_tags.tags.clone(), text: by_text.text.clone(), connector: None };
            prop_assert_eq!(both.takes(&instance), by_tags.takes(&instance) && by_text.takes(&instance));
            prop_assert!(Filter::default().takes(&instance));
        }
    }
}
