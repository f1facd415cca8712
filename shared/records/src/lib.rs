//! The repositories, written once above the [`Table`](platform::Table): what is kept, under which key, and which writes
//! belong together.
//!
//! | module | partition / sort | note |
//! |---|---|---|
//! | [`accounts`] | `ACCOUNT#id` / `ACCOUNT`, `KEY#hash` / `KEY`, `OPERATOR` / `ACCOUNT` | who may call the API; keys are kept hashed |
//! | [`instances`] | `INSTANCE#id`, `WEBHOOK#id`, `CALLBACK#id`, `TOKEN#id`; `ACCOUNT#id` / `INSTANCE#id`; `ROUTE#connector#provider account` / `account#id` | written in one transaction; a view per role, so that one read serves it and one grant suffices |
//! | [`deliveries`] | `DELIVERY#instance#day#shard` / notification id; `DAYS#instance` / … | one record per notification |
//! | [`bodies`] | `BODY#id#n` / `CHUNK` | what is too large for a message, and what is not yet told |
//! | [`batches`] | | a batch as a message, its body kept where it is large |
//! | [`retries`] | `RETRY#minute#shard` / …; `TICK` / `MARK` | wake-ups further ahead than a message can be delayed |
//! | [`wheel`] | `INTERVALS` / minutes; `WHEEL#minutes#slot#shard` / id; `TICK` / `WHEEL` | who is polled when: written with the instance, never when it is polled |
//! | [`polls`] | `POLL#id` / `CLAIM`, `STATE`, `STATE#version#n` | where an instance's polls stand, and who may move them on |
//! | [`health`] | `POLL#id` / `HEALTH` | how its polls fare, where they fail |
//! | [`plans`] | `POLL#id` / `PLAN` | what the poller needs of an instance |
//! | [`grants`] | `POLL#id` / `GRANT` | the tokens of a consent, as its provider replaced them |
//! | [`tree`] | `TREE#id` / `P#…`, `I#…`, `H#…` | what is at which path at the provider, where that must be known |
//! | [`budgets`] | `BUDGET#connector#provider account` / account; `BUDGET#connector` / account | accounts that their provider wants left alone |
//! | [`signals`] | `SIGNAL#id` / `SIGNAL` | when a poll begins that a provider's signal asked for |
//! | [`refused`] | `REFUSED#connector#day` / reason | webhooks that were not taken, counted, with a few samples |
//! | [`told`] | `TOLD#instance#day` / type`#`id of the object | what webhooks told of it, for instances whose polls tell the rest |
//! | [`markers`] | `SEEN#hash` / `SEEN` | when an occurrence without a date was first seen |
//!
//! There are no scans and no secondary indexes: an index is an item, written in the same transaction as what it points to.
//! Every item carries a schema version; an item written by a newer version of Pollhook is an error that says so, never a
//! guess.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod accounts;
pub mod batches;
pub mod bodies;
pub mod budgets;
pub mod deliveries;
pub mod grants;
pub mod health;
pub mod instances;
pub mod markers;
pub mod payload;
pub mod polls;
pub mod refused;
pub mod retries;
mod schema;
pub mod signals;
pub mod told;
pub mod tree;
pub mod wheel;

pub use instances::plans;
pub use schema::RecordError;

/// How long what is told stays readable, and a redelivery recognised, in days: the old product's event log.
pub const RETENTION_DAYS: i64 = 7;

/// Seconds in a day.
pub const DAY_S: i64 = 24 * 60 * 60;
