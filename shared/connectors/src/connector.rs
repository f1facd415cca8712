//! One provider's definition, compiled: what reads its requests.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use events::Timestamp;
use http::{HeaderName, HeaderValue};
use jaq_core::Vars;
use jaq_json::{Map, Val};
use serde_saphyr::Spanned;

use crate::definition::{Definition, Rule, Scope};
use crate::program::Program;
use crate::row::{self, Occurrences, SkipReason, Skipped};
use crate::signature::{self, Outgoing, SignError, Verified, VerifyError};
use crate::{Change, DefinitionError, Example, Malformed, Request};

const DELIVERY: &str = "$delivery";
const CONFIG: &str = "$config";
const INDEX: &str = "$index";

/// A provider, as its definition describes it.
#[derive(Debug)]
pub struct Connector {
    key: String,
    name: String,
    hub: String,
    scope: Scope,
    secret: Vec<String>,
    signatures: Vec<Rule>,
    account: Option<Program>,
    mapping: Program,
    /// Which of the variables the mapping mentions: the others are not made.
    uses: Uses,
    /// The mapping's tables, in the order of its variables.
    tables: Vec<Val>,
    pub(crate) examples: Vec<Example>,
}

#[derive(Debug, Clone, Copy)]
struct Uses {
    delivery: bool,
    config: bool,
    index: bool,
}

/// A request's body, read once for everything that asks about it.
#[derive(Debug)]
pub struct Parsed {
    entries: Vec<Val>,
    /// Each entry's account; found when first asked for, since a request routed by path needs none before it is verified.
    accounts: OnceLock<Vec<Option<String>>>,
}

/// What a request tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Normalised {
    /// The changes, in the provider's order.
    pub changes: Vec<Change>,
    /// What became no change.
    pub skipped: Vec<Skipped>,
    /// Whether the request tells more than [`Connector::MAX_CHANGES`]. What is here then are the first of them only:
    /// refuse the request whole.
    pub too_many: bool,
}

impl Connector {
    /// Most entries that a body may hold. Each costs microseconds before the signature is known to be right, so there
    /// must be a bound; HubSpot, the most talkative, sends at most 100.
    pub const MAX_ENTRIES: usize = 1_000;

    /// Most changes that a request may tell, what is skipped counted in. An entry may make several, and one small merge
    /// can list thousands of ids: a short text must not become a long work. HubSpot's at most 100 entries make about 200
    /// changes when all are merges, of two records each as its interface has it; so this is five times the most that is
    /// to be expected, and whatever came of it still fits a process's memory many times over.
    pub const MAX_CHANGES: usize = 1_000;

    /// Reads and compiles a definition.
    ///
    /// # Errors
    /// What is wrong with it, and at which line.
    pub fn from_yaml(text: &str) -> Result<Self, DefinitionError> {
        let Definition { key, name, hub, webhook } = Definition::read(text)?;
        let variables: Vec<String> = webhook.tables.keys().map(|table| format!("${table}")).collect();
        let mut variables: Vec<&str> = variables.iter().map(String::as_str).collect();
        if let Some(taken) = variables.iter().find(|name| [DELIVERY, CONFIG, INDEX].contains(name)) {
            return Err(DefinitionError { line: 0, message: format!("a table cannot be called {}", &taken[1..]) });
        }
        variables.splice(0..0, [DELIVERY, CONFIG, INDEX]);
        let account = webhook.account.as_ref().map(|code| compile(code, text, &[])).transpose()?;
        let mapping = compile(&webhook.mapping, text, &variables)?;
        // By mention, so that a word in a comment costs time and nothing else.
        let mentions = |variable| webhook.mapping.value.contains(variable);
        let uses = Uses { delivery: mentions(DELIVERY), config: mentions(CONFIG), index: mentions(INDEX) };
        let tables = webhook.tables.values().map(|table| object(table.iter().map(|(k, v)| (k.as_str(), v.as_str()))));
        Ok(Self {
            key,
            name,
            hub,
            scope: webhook.scope,
            secret: webhook.secret,
            signatures: webhook.signatures.into_iter().map(|rule| rule.value).collect(),
            account,
            mapping,
            uses,
            tables: tables.collect(),
            examples: Vec::new(),
        })
    }

    /// The key, e.g. `hubspot`: in URLs, records and notifications.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The name, for people.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The contract's hub, e.g. `crm`.
    #[must_use]
    pub fn hub(&self) -> &str {
        &self.hub
    }

    /// Whose webhook URL and secret they are.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// The configuration keys that may hold the webhook secret; the first present counts.
    #[must_use]
    pub fn secret_keys(&self) -> &[String] {
        &self.secret
    }

    /// Whether the provider signs its requests.
    #[must_use]
    pub fn verifies(&self) -> bool {
        !self.signatures.is_empty()
    }

    /// Whether a body names the customer's account.
    #[must_use]
    pub fn routes_by_account(&self) -> bool {
        self.account.is_some()
    }

    /// Whether what a request means depends on the instance's configuration: normalise once per instance then, else
    /// once per request.
    #[must_use]
    pub fn reads_configuration(&self) -> bool {
        self.uses.config
    }

    /// Recorded requests and what they mean; empty for a definition that is not built in.
    #[must_use]
    pub fn examples(&self) -> &[Example] {
        &self.examples
    }

    /// Reads the body.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(&self, request: &Request<'_>) -> Result<Parsed, Malformed> {
        let body: Val = serde_json::from_slice(request.body)
            .map_err(|error| Malformed::NotJson { line: error.line(), column: error.column() })?;
        let entries = match body {
            Val::Arr(entries) if entries.len() > Self::MAX_ENTRIES => return Err(Malformed::TooManyEntries),
            Val::Arr(entries) => std::sync::Arc::try_unwrap(entries).unwrap_or_else(|shared| (*shared).clone()),
            Val::Obj(_) => vec![body],
            _ => return Err(Malformed::NotAContainer),
        };
        Ok(Parsed { entries, accounts: OnceLock::new() })
    }

    /// The distinct accounts that the body names, in order: what its sender claims, before it is verified.
    #[must_use]
    pub fn accounts<'p>(&self, parsed: &'p Parsed) -> Vec<&'p str> {
        let mut seen = std::collections::HashSet::new();
        self.entry_accounts(parsed).iter().filter_map(|a| a.as_deref()).filter(|a| seen.insert(*a)).collect()
    }

    /// Whether the provider sent `request`: one of `secrets` signed its raw bytes. `now` is our clock.
    ///
    /// # Errors
    /// [`VerifyError`]; without a secret always.
    pub fn verify(&self, request: &Request<'_>, secrets: &[&str], now: Timestamp) -> Result<Verified, VerifyError> {
        signature::verify(&self.signatures, request, secrets, now)
    }

    /// What the request tells, or the beginning of it where that is [too much](Normalised::too_many). `configuration` is
    /// the instance's, and counts only where [`Self::reads_configuration`] says so.
    #[must_use]
    pub fn normalise(
        &self,
        request: &Request<'_>,
        parsed: &Parsed,
        configuration: &BTreeMap<String, String>,
    ) -> Normalised {
        let fields = configuration.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        let config = if self.uses.config { object(fields) } else { Val::Null };
        let delivery = self.uses.delivery.then(|| signature::delivery(&self.signatures, request.headers)).flatten();
        let delivery = delivery.map_or(Val::Null, text);
        let variables = |index| {
            let own = [delivery.clone(), config.clone(), Val::from(index)];
            Vars::new(own.into_iter().chain(self.tables.iter().cloned()))
        };
        let shared = variables(0_usize);
        let mut result = Normalised { changes: Vec::with_capacity(parsed.entries.len()), ..Normalised::default() };
        let mut occurrences = Occurrences::default();
        for (index, (entry, account)) in parsed.entries.iter().zip(self.entry_accounts(parsed)).enumerate() {
            let variables = if self.uses.index { variables(index) } else { shared.clone() };
            // The mapping makes its rows one by one, as they are asked for.
            for row in self.mapping.run(variables, entry.clone()) {
                if result.changes.len() + result.skipped.len() == Self::MAX_CHANGES {
                    result.too_many = true;
                    return result;
                }
                let change = row
                    .map_err(|_| SkipReason::Mapping)
                    .and_then(|row| row::read(&row, index, account.as_deref(), &mut occurrences));
                match change {
                    Ok(change) => result.changes.push(change),
                    Err(reason) => result.skipped.push(Skipped { entry: index, reason }),
                }
            }
        }
        result
    }

    /// The headers that the provider would send with `outgoing`: what the demo, the tests and the benches send. Signed
    /// by the definition's first rule.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign(&self, secret: &str, outgoing: &Outgoing<'_>) -> Result<Vec<(HeaderName, HeaderValue)>, SignError> {
        signature::sign(self.signatures.first().ok_or(SignError::Unsigned)?, secret, outgoing)
    }

    fn entry_accounts<'p>(&self, parsed: &'p Parsed) -> &'p [Option<String>] {
        let account = |entry: &Val| {
            let output = self.account.as_ref()?.run(Vars::default(), entry.clone()).next()?;
            row::name(&output.ok()?)
        };
        parsed.accounts.get_or_init(|| parsed.entries.iter().map(account).collect())
    }
}

/// Compiles a program of the definition `text`. A block scalar's first line is the one after its `|`.
fn compile(code: &Spanned<String>, text: &str, variables: &[&str]) -> Result<Program, DefinitionError> {
    let line = code.defined.line();
    let opening = usize::try_from(line).ok().and_then(|line| text.lines().nth(line.saturating_sub(1)));
    let block = opening.is_some_and(|opening| opening.trim_end().ends_with(['|', '-', '+', '>']));
    Program::compile(&code.value, line + u64::from(block), variables)
}

fn text(text: &str) -> Val {
    Val::utf8_str(text.as_bytes().to_vec())
}

fn object<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>) -> Val {
    Val::obj(fields.map(|(key, value)| (text(key), text(value))).collect::<Map>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_rows_of_a_merge_share_one_occurrence_so_it_is_hashed_once() {
        let hubspot = crate::catalogue().get("hubspot").unwrap();
        let ids: Vec<_> = (1..=900).map(|id| id.to_string()).collect();
        let entry = format!(
            r#"{{"eventId":1,"portalId":1,"occurredAt":1,"subscriptionType":"contact.merge","objectId":1,"mergedObjectIds":[{}]}}"#,
            ids.join(",")
        );
        let entry: Val = serde_json::from_str(&entry).unwrap();
        let variables = [Val::Null, Val::Null, Val::Null].into_iter().chain(hubspot.tables.iter().cloned());
        let rows: Vec<_> = hubspot.mapping.run(Vars::new(variables), entry).map(Result::unwrap).collect();
        let mut addresses = rows.iter().map(|row| match row {
            Val::Arr(row) => match &row[4] {
                Val::Arr(occurrence) => std::sync::Arc::as_ptr(occurrence),
                _ => panic!("no occurrence"),
            },
            _ => panic!("no row"),
        });
        let first = addresses.next().unwrap();
        assert!(rows.len() == 900 && addresses.all(|address| address == first));
    }
}
