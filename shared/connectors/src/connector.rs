//! One provider's definition: what reads its requests.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, OnceLock};

use events::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue};
use jaq_core::Vars;
use jaq_json::{Map, Val};
use polling::definition::Polling;
use serde_saphyr::Spanned;
use url::Url;

use crate::definition::{Definition, Format, HandshakeRule, Reply, Rule, RuleText, Scope, TokenPlace, Webhook};
use crate::example::{Example, Examples};
use crate::handshake::{self, Handshake};
use crate::program::Program;
use crate::reading::{self, Bodies};
use crate::row::{self, Occurrences, SkipReason, Skipped};
use crate::signature::{self, Outgoing, SignError, Verified, VerifyError};
use crate::{Change, DefinitionError, Malformed, Request};

const DELIVERY: &str = "$delivery";
const CONFIG: &str = "$config";
const INDEX: &str = "$index";
const HEADERS: &str = "$headers";

/// A provider, as its definition describes it.
#[derive(Debug)]
pub struct Connector {
    key: String,
    name: String,
    hub: String,
    description: String,
    /// `None`: there are no webhooks, and nothing of what follows until [`Self::polling`].
    scope: Option<Scope>,
    secret: Vec<String>,
    required: Vec<String>,
    pub(crate) bodies: Bodies,
    /// The headers that programs may read.
    headers: Vec<HeaderName>,
    account: Option<Account>,
    verify_without_account: bool,
    handshakes: Vec<HandshakeRule>,
    signatures: Vec<Rule>,
    /// `None`: a webhook only signals.
    mapping: Option<Program>,
    /// Which of the variables the mapping mentions: the others are not made.
    uses: Uses,
    /// The mapping's tables, in the order of its variables.
    tables: Vec<Val>,
    reply: Option<Reply>,
    polling: Polled,
    pub(crate) examples: Examples,
}

/// How the provider is polled. Of a built-in connector it is read when first asked for: the receiver never asks.
#[derive(Debug)]
struct Polled {
    built_in: &'static str,
    read: OnceLock<Option<Polling>>,
}

impl Polled {
    fn read(polling: Option<Polling>) -> Self {
        Self { built_in: "null", read: OnceLock::from(polling) }
    }

    /// What the build has made of a file's section, or `null`.
    fn built_in(json: &'static str) -> Self {
        Self { built_in: json, read: OnceLock::new() }
    }

    /// # Panics
    /// When a built-in one cannot be read, which a test rules out.
    fn get(&self) -> Option<&Polling> {
        let read = || match serde_json::from_str(self.built_in) {
            Ok(polling) => polling,
            Err(error) => panic!("a built-in section on polling cannot be read: {error}"),
        };
        self.read.get_or_init(read).as_ref()
    }
}

/// How a body names the customer's account.
#[derive(Debug)]
struct Account {
    program: Program,
    /// Whether the program reads `$headers`.
    headers: bool,
    /// How many characters count.
    characters: usize,
    must_match: bool,
}

#[derive(Debug, Clone, Copy)]
struct Uses {
    delivery: bool,
    config: bool,
    index: bool,
    headers: bool,
}

/// A request's body, read once for everything that asks about it.
#[derive(Debug)]
pub struct Parsed {
    body: Val,
    entries: Arc<Vec<Val>>,
    /// What programs may read of the headers.
    headers: Val,
    /// The body as JSON, where it came as something else.
    json: Option<Vec<u8>>,
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

impl Parsed {
    pub(crate) fn entries(&self) -> &[Val] {
        &self.entries
    }

    pub(crate) fn body(&self) -> &Val {
        &self.body
    }

    /// How many entries the body has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether the body has no entry: a test, or a sign of life.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether the body did not come as JSON.
    #[must_use]
    pub fn converted(&self) -> bool {
        self.json.is_some()
    }

    /// The text, or whole number, at `path` (names with dots between) for each entry: in the body, where it is there and
    /// concerns all of them, else in the entry itself. What [`Connector::account_key`] is to an account, this is to an
    /// instance finder.
    #[must_use]
    pub fn at(&self, path: &str) -> Vec<Option<String>> {
        let look = |value: &Val| {
            let mut value = value;
            for name in path.split('.') {
                value = field(value, name)?;
            }
            row::name(value)
        };
        let shared = look(&self.body);
        self.entries.iter().map(|entry| shared.clone().or_else(|| look(entry))).collect()
    }
}

/// A field of an object.
pub(crate) fn field<'v>(value: &'v Val, name: &str) -> Option<&'v Val> {
    match value {
        Val::Obj(fields) => fields.get(&text(name)),
        _ => None,
    }
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

    /// Reads and compiles a definition. Its examples are read, not run: [`Self::check_examples`] does.
    ///
    /// # Errors
    /// What is wrong with it, and at which line.
    pub fn from_yaml(yaml: &str) -> Result<Self, DefinitionError> {
        let mut definition = Definition::read(yaml)?;
        let examples = std::mem::take(&mut definition.examples).into_iter();
        let examples = examples.map(|example| Example { line: example.referenced.line(), ..example.value }).collect();
        let polling = Polled::read(definition.polling.take());
        Self::new(definition, yaml, polling, Examples::read(examples))?.compiled()
    }

    /// Reads what the build has made of a file. Its programs are compiled when first run.
    pub(crate) fn built_in(
        definition: &str,
        polling: &'static str,
        examples: &'static str,
    ) -> Result<Self, DefinitionError> {
        Self::new(Definition::built_in(definition)?, "", Polled::built_in(polling), Examples::recorded(examples))
    }

    /// The connector, with its programs compiled.
    pub(crate) fn compiled(self) -> Result<Self, DefinitionError> {
        let account =
            |account: Account| Ok::<_, DefinitionError>(Account { program: account.program.compiled()?, ..account });
        Ok(Self {
            mapping: self.mapping.map(Program::compiled).transpose()?,
            account: self.account.map(account).transpose()?,
            ..self
        })
    }

    /// `yaml` is what the definition was read from, for the lines of its programs.
    fn new(definition: Definition, yaml: &str, polling: Polled, examples: Examples) -> Result<Self, DefinitionError> {
        let Definition { key, name, hub, description, webhook, .. } = definition;
        let scope = webhook.as_ref().map(|webhook| webhook.scope);
        let webhook = webhook.unwrap_or_else(Webhook::none);
        let Webhook { account, account_characters, account_must_match, handshakes, signatures, .. } = webhook;
        let variables: Vec<String> = webhook.tables.keys().map(|table| format!("${table}")).collect();
        let mut variables: Vec<&str> = variables.iter().map(String::as_str).collect();
        let own = [DELIVERY, CONFIG, INDEX, HEADERS];
        if let Some(taken) = variables.iter().find(|name| own.contains(name)) {
            return Err(DefinitionError { line: 0, message: format!("a table cannot be called {}", &taken[1..]) });
        }
        variables.splice(0..0, own);
        let mapping = webhook.mapping.as_ref().map(|code| program(code, yaml, &variables));
        let account = account.map(|code| Account {
            program: program(&code, yaml, &[HEADERS]),
            headers: code.value.contains(HEADERS),
            characters: account_characters.unwrap_or(usize::MAX),
            must_match: account_must_match,
        });
        // By mention, so that a word in a comment costs time and nothing else.
        let mentions = |variable| webhook.mapping.as_ref().is_some_and(|mapping| mapping.value.contains(variable));
        let uses = Uses {
            delivery: mentions(DELIVERY),
            config: mentions(CONFIG),
            index: mentions(INDEX),
            headers: mentions(HEADERS),
        };
        let reads_query = webhook.formats.contains(&Format::Query);
        Ok(Self {
            key: key.value,
            name,
            hub,
            description,
            scope,
            secret: webhook.secret,
            required: webhook.required,
            bodies: Bodies {
                formats: webhook.formats,
                payload: webhook.payload,
                xml: webhook.xml,
                entries: webhook
                    .entries
                    .map(|path| path.value.split('.').map(String::from).collect())
                    .unwrap_or_default(),
                redact: webhook.redact,
                tokens: tokens(&signatures),
            },
            headers: webhook.headers,
            account,
            verify_without_account: webhook.verify_without_account,
            handshakes: handshakes.into_iter().map(|rule| rule.value).collect(),
            signatures: signatures.into_iter().filter_map(|rule| rule.value.compile(reads_query)).collect(),
            mapping,
            uses,
            tables: webhook.tables.values().map(table).collect(),
            reply: webhook.reply,
            polling,
            examples,
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

    /// One line, for people; may be empty.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Whose webhook URL and secret they are; `None`: there are no webhooks.
    #[must_use]
    pub fn scope(&self) -> Option<Scope> {
        self.scope
    }

    /// Whether the provider sends webhooks.
    #[must_use]
    pub fn has_webhooks(&self) -> bool {
        self.scope.is_some()
    }

    /// How the provider is asked what changed; `None`: it is not.
    #[must_use]
    pub fn polling(&self) -> Option<&Polling> {
        self.polling.get()
    }

    /// Has its provider be asked where the operator chose.
    pub(crate) fn ask_at(&mut self, to: &Url) -> Result<(), String> {
        let polling = self.polling().cloned().ok_or("its provider is not asked anything")?;
        self.polling = Polled::read(Some(polling.at(to)?));
        Ok(())
    }

    /// The configuration keys that may hold the webhook secret; the first present counts.
    #[must_use]
    pub fn secret_keys(&self) -> &[String] {
        &self.secret
    }

    /// The configuration keys that an instance cannot do without.
    #[must_use]
    pub fn required(&self) -> &[String] {
        &self.required
    }

    /// Whether the provider proves itself: by a signature, or by a secret that it was told.
    #[must_use]
    pub fn verifies(&self) -> bool {
        !self.signatures.is_empty()
    }

    /// How the provider proves itself, in words: by each rule, in the order in which they are tried.
    #[must_use]
    pub fn proofs(&self) -> Vec<String> {
        let proof = |rule: &Rule| match rule {
            Rule::Signature(rule) => format!("signature in {}", rule.header),
            Rule::Token(TokenPlace::Header(name)) => format!("secret in {name}"),
            Rule::Token(TokenPlace::Query(name)) => format!("secret in the URL ({name})"),
            Rule::Token(TokenPlace::Field(name)) => format!("secret in the body ({name})"),
        };
        let mut proofs: Vec<String> = self.signatures.iter().map(proof).collect();
        proofs.dedup();
        proofs
    }

    /// Whether a body names the customer's account.
    #[must_use]
    pub fn routes_by_account(&self) -> bool {
        self.account.is_some()
    }

    /// What counts of a provider account's id: two ids with the same key are the same account.
    #[must_use]
    pub fn account_key<'a>(&self, account: &'a str) -> &'a str {
        let characters = self.account.as_ref().map_or(usize::MAX, |account| account.characters);
        account.char_indices().nth(characters).map_or(account, |(end, _)| &account[..end])
    }

    /// Whether a body of another account than the instance's is refused, because nothing else would tell that it is not
    /// the instance's customer who sent it.
    #[must_use]
    pub fn account_must_match(&self) -> bool {
        self.account.as_ref().is_some_and(|account| account.must_match)
    }

    /// Whether a request that names no account is a test of whether signatures are checked.
    #[must_use]
    pub fn verifies_without_account(&self) -> bool {
        self.verify_without_account
    }

    /// Whether the provider hands over the secret in a handshake.
    #[must_use]
    pub fn keeps_handshake(&self) -> bool {
        self.handshakes.iter().any(|handshake| handshake.keep)
    }

    /// Whether a webhook says only that something changed, and what must be asked for.
    #[must_use]
    pub fn signals(&self) -> bool {
        self.has_webhooks() && self.mapping.is_none()
    }

    /// Whether requests of `method` may hold events, handshakes apart.
    #[must_use]
    pub fn takes(&self, method: &str) -> bool {
        match method {
            _ if !self.has_webhooks() => false,
            "POST" => true,
            "GET" => self.bodies.formats.contains(&Format::Query),
            _ => false,
        }
    }

    /// What is answered to what is taken; `None`: an empty JSON object.
    #[must_use]
    pub fn reply(&self) -> Option<&Reply> {
        self.reply.as_ref()
    }

    /// Whether what a request means depends on the instance's configuration: normalise once per instance then, else
    /// once per request.
    #[must_use]
    pub fn reads_configuration(&self) -> bool {
        self.uses.config
    }

    /// Recorded requests and what they mean.
    #[must_use]
    pub fn examples(&self) -> &[Example] {
        self.examples.get()
    }

    /// Why `secret` can never verify anything.
    ///
    /// # Errors
    /// What it is instead of a secret, in words that do not repeat it.
    pub fn check_secret(&self, secret: &str) -> Result<(), &'static str> {
        signature::check_secret(&self.signatures, secret)
    }

    /// What a request is answered at once, before anybody is asked for: first to be called without a body that is read,
    /// then with it.
    #[must_use]
    pub fn handshake(&self, request: &Request<'_>, parsed: Option<&Parsed>) -> Option<Handshake> {
        handshake::find(&self.handshakes, request, parsed)
    }

    /// Reads the body, or of a GET the query.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(&self, request: &Request<'_>) -> Result<Parsed, Malformed> {
        let reading::Read { body, entries, json } = self.bodies.read(request)?;
        let reads_headers = self.uses.headers || self.account.as_ref().is_some_and(|account| account.headers);
        let headers = if reads_headers { named(&self.headers, request.headers) } else { Val::Null };
        Ok(Parsed { body, entries, headers, json, accounts: OnceLock::new() })
    }

    /// What an instance is shown of the body, as JSON: the entries at `places` (all of them, if `None`), secrets left out.
    /// `body` is what was parsed. Borrowed where that is all of it, as it came.
    #[must_use]
    pub fn shown<'b>(&self, parsed: &'b Parsed, body: &'b [u8], places: Option<&[usize]>) -> Cow<'b, [u8]> {
        self.bodies.shown(parsed.json.as_deref().unwrap_or(body), places)
    }

    /// The distinct accounts that the body names, in order: what its sender claims, before it is verified.
    #[must_use]
    pub fn accounts<'p>(&self, parsed: &'p Parsed) -> Vec<&'p str> {
        let mut seen = HashSet::new();
        self.entry_accounts(parsed).iter().filter_map(|a| a.as_deref()).filter(|a| seen.insert(*a)).collect()
    }

    /// The account that each entry names.
    #[must_use]
    pub fn entry_accounts<'p>(&self, parsed: &'p Parsed) -> &'p [Option<String>] {
        let account = |entry: &Val| {
            let account = self.account.as_ref()?;
            let output = account.program.run(Vars::new([parsed.headers.clone()]), entry.clone()).next()?;
            let mut name = row::name(&output.ok()?)?;
            name.truncate(self.account_key(&name).len());
            Some(name)
        };
        parsed.accounts.get_or_init(|| parsed.entries.iter().map(account).collect())
    }

    /// Whether the provider sent `request`: one of `secrets` signed its raw bytes, or stands where it is to stand (in a field
    /// of the body only if that is `parsed`). `now` is our clock.
    ///
    /// # Errors
    /// [`VerifyError`]; without a secret always.
    pub fn verify(
        &self,
        request: &Request<'_>,
        parsed: Option<&Parsed>,
        secrets: &[&str],
        now: Timestamp,
    ) -> Result<Verified, VerifyError> {
        signature::verify(&self.signatures, request, parsed, secrets, now)
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
        let Some(mapping) = &self.mapping else { return Normalised::default() };
        let fields = configuration.iter().map(|(k, v)| (k.as_str(), text(v)));
        let config = if self.uses.config { object(fields) } else { Val::Null };
        let delivery = self.uses.delivery.then(|| signature::delivery(&self.signatures, request)).flatten();
        let delivery = delivery.map_or(Val::Null, text);
        let variables = |index| {
            let own = [delivery.clone(), config.clone(), Val::from(index), parsed.headers.clone()];
            Vars::new(own.into_iter().chain(self.tables.iter().cloned()))
        };
        let shared = variables(0_usize);
        let mut result = Normalised { changes: Vec::with_capacity(parsed.entries.len()), ..Normalised::default() };
        let mut occurrences = Occurrences::default();
        for (index, (entry, account)) in parsed.entries.iter().zip(self.entry_accounts(parsed)).enumerate() {
            let variables = if self.uses.index { variables(index) } else { shared.clone() };
            // The mapping makes its rows one by one, as they are asked for.
            for row in mapping.run(variables, entry.clone()) {
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

    /// The headers that the provider would send with `outgoing`: what the demo, the tests and the benches send. Made by
    /// the definition's first rule; a token in the URL is [`Self::url_with_secret`]'s to add.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign(&self, secret: &str, outgoing: &Outgoing<'_>) -> Result<Vec<(HeaderName, HeaderValue)>, SignError> {
        match self.signatures.first().ok_or(SignError::Unsigned)? {
            Rule::Signature(rule) => signature::sign(rule, secret, outgoing),
            Rule::Token(TokenPlace::Header(name)) => {
                Ok(vec![(name.clone(), HeaderValue::from_str(secret).map_err(|_| SignError::Secret)?)])
            }
            Rule::Token(TokenPlace::Query(_) | TokenPlace::Field(_)) => Ok(Vec::new()),
        }
    }

    /// The header of a delivery's id, where [`Self::sign`] makes one.
    pub(crate) fn id_header(&self) -> Option<&HeaderName> {
        match self.signatures.first()? {
            Rule::Signature(rule) => rule.id.as_ref(),
            Rule::Token(_) => None,
        }
    }

    /// `url` as the provider is to be told it: with the secret in it, where that is how the provider proves itself.
    #[must_use]
    pub fn url_with_secret<'u>(&self, url: &'u str, secret: &str) -> Cow<'u, str> {
        let Some(Rule::Token(TokenPlace::Query(name))) = self.signatures.first() else { return Cow::Borrowed(url) };
        let token: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let join = if url.contains('?') { '&' } else { '?' };
        Cow::Owned(format!("{url}{join}{name}={token}"))
    }
}

/// The parameters of a query that hold secrets.
fn tokens(rules: &[Spanned<RuleText>]) -> Vec<String> {
    rules.iter().filter_map(|rule| rule.value.token_parameter().map(str::to_owned)).collect()
}

/// The `wanted` of the headers, by lower-case name; one that comes twice is nobody's word, and left out.
fn named(wanted: &[HeaderName], headers: &HeaderMap) -> Val {
    let only = |name: &HeaderName| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok())
    };
    object(wanted.iter().filter_map(|name| Some((name.as_str(), text(only(name)?)))))
}

/// A program of the definition `text`. A block scalar's first line is the one after its `|`.
fn program(code: &Spanned<String>, text: &str, variables: &[&str]) -> Program {
    let line = code.defined.line();
    let opening = usize::try_from(line).ok().and_then(|line| text.lines().nth(line.saturating_sub(1)));
    let block = opening.is_some_and(|opening| opening.trim_end().ends_with(['|', '-', '+', '>']));
    Program::new(&code.value, line + u64::from(block), variables)
}

pub(crate) fn text(text: &str) -> Val {
    Val::utf8_str(text.as_bytes().to_vec())
}

fn object<'a>(fields: impl Iterator<Item = (&'a str, Val)>) -> Val {
    Val::obj(fields.map(|(key, value)| (text(key), value)).collect::<Map>())
}

fn table(table: &BTreeMap<String, serde_json::Value>) -> Val {
    object(table.iter().map(|(key, value)| (key.as_str(), reading::value(value))))
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
        let variables = [Val::Null, Val::Null, Val::Null, Val::Null].into_iter().chain(hubspot.tables.iter().cloned());
        let rows: Vec<_> =
            hubspot.mapping.as_ref().unwrap().run(Vars::new(variables), entry).map(Result::unwrap).collect();
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
