//! The connectors there are: the contract's elements. A connector is named by its key or its number.

use std::sync::Arc;

use axum::extract::{Path, State};
use connectors::{Catalogue, Connector};
use platform::Platform;
use polling::definition::Polling;
use serde::Serialize;

use crate::Api;
use crate::answer::{Answer, Problem};
use crate::authorization::Identity;
use crate::resource::{Element, element_id};

/// `GET /elements`: all of them, by key.
pub(crate) async fn list<P: Platform>(State(api): State<Arc<Api<P>>>, _: Identity) -> Answer<Vec<Element>> {
    Answer(api.catalogue.keys().filter_map(|key| api.catalogue.get(key)).map(Element::of).collect())
}

/// `GET /elements/keys`.
pub(crate) async fn keys<P: Platform>(State(api): State<Arc<Api<P>>>, _: Identity) -> Answer<Vec<String>> {
    Answer(api.catalogue.keys().map(str::to_owned).collect())
}

/// `GET /elements/{keyOrId}`.
pub(crate) async fn one<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    _: Identity,
    Path(named): Path<String>,
) -> Result<Answer<Element>, Problem> {
    Ok(Answer(Element::of(find(&api.catalogue, &named)?)))
}

/// What a connector can do.
#[derive(Debug, Serialize)]
pub(crate) struct Metadata {
    id: u32,
    key: String,
    name: String,
    description: String,
    events: Methods,
}

/// How a connector learns of changes.
#[derive(Debug, Serialize)]
struct Methods {
    supported: bool,
    methods: Vec<&'static str>,
    /// What can be polled without saying how. An addition.
    #[serde(skip_serializing_if = "Option::is_none")]
    polling: Option<Polled>,
}

/// What of a connector can be polled.
#[derive(Debug, Serialize)]
struct Polled {
    /// By name; `{objectName}` stands for any. None: an instance configures all of it.
    resources: Vec<String>,
}

impl Methods {
    fn of(connector: &Connector) -> Self {
        let polled = |polling: &Polling| Polled { resources: polling.resources.keys().cloned().collect() };
        let methods = [("webhook", connector.has_webhooks()), ("polling", connector.polling().is_some())];
        Self {
            supported: true,
            methods: methods.into_iter().filter(|(_, has)| *has).map(|(method, _)| method).collect(),
            polling: connector.polling().map(polled),
        }
    }
}

/// `GET /elements/{keyOrId}/metadata`.
pub(crate) async fn metadata<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    _: Identity,
    Path(named): Path<String>,
) -> Result<Answer<Metadata>, Problem> {
    let connector = find(&api.catalogue, &named)?;
    let Element { id, key, name, description, .. } = Element::of(connector);
    Ok(Answer(Metadata { id, key, name, description, events: Methods::of(connector) }))
}

/// The connector of a key or a number.
pub(crate) fn find<'c>(catalogue: &'c Catalogue, named: &str) -> Result<&'c Connector, Problem> {
    let numbered = || named.parse().ok().and_then(|number| by_number(catalogue, number));
    catalogue
        .get(named)
        .or_else(numbered)
        .ok_or(Problem::NoSuch("element; GET /elements lists those there are, by key and id"))
}

/// The connector of a number.
pub(crate) fn by_number(catalogue: &Catalogue, number: u32) -> Option<&Connector> {
    catalogue.get(catalogue.keys().find(|key| element_id(key) == number)?)
}
