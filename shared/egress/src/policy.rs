//! Which URLs and addresses a callback may have. Pure: no DNS, no clock.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use http::Uri;
use ipnet::IpNet;
use url::{Host, Url};

use crate::ranges::{self, Rule};

/// The longest URL, exclusive, in bytes: what browsers and proxies agree to carry.
pub const URL_BYTES: usize = 2048;

/// The longest URL of a fetch, exclusive, in bytes: queries and cursors stand in it, and no provider takes a longer one.
/// Salesforce's limit:
/// <https://developer.salesforce.com/docs/atlas.en-us.salesforce_app_limits_cheatsheet.meta/salesforce_app_limits_cheatsheet/salesforce_app_limits_platform_api.htm>.
pub const FETCH_URL_BYTES: usize = 16 * 1024;

/// Where the receiver listens under the public URL; the connector's key follows.
const EVENTS: &str = "elements/api-v2/events/";

/// A URL that the URL standard allows and HTTP does not.
pub(crate) const UNSENDABLE: Refusal = Refusal::Malformed("it has a character that HTTP does not allow");

/// The operator's say in where callbacks may go.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    allow: Vec<IpNet>,
    own: Option<Own>,
    /// The one URL that may be posted to, wherever it is; all others may not.
    only: Option<Url>,
}

/// Our own public URL, taken apart once for comparing.
#[derive(Debug, Clone)]
struct Own {
    https: bool,
    /// Without a dot at its end.
    host: String,
    port: Option<u16>,
    /// The path, with a slash at its end.
    base: String,
}

/// Which way a post takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// Every address must pass [`Policy::address`].
    Guarded,
    /// To ourselves, or where the operator chose, wherever that is.
    Own,
}

/// Why a URL or address is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No URL at all, or one that HTTP cannot carry.
    #[error("not a URL: {0}")]
    Malformed(&'static str),
    /// As long as [`URL_BYTES`] (of a fetch, [`FETCH_URL_BYTES`]) or longer, as written or once escaped.
    #[error("the URL has {0} bytes; it must have fewer than {1}")]
    TooLong(usize, usize),
    /// Neither `http` nor `https`.
    #[error("only http and https URLs can be posted to")]
    Scheme,
    /// `user:password@`: it would be kept and logged as part of the URL.
    #[error("a URL must not hold credentials")]
    Credentials,
    /// `#…`: it is never sent, so its author expects something that will not happen.
    #[error("a URL to post to has no fragment (#…)")]
    Fragment,
    /// Not the one URL that may be posted to.
    #[error("only the URL that was configured can be posted to")]
    Other,
    /// Under our own public URL, but not where events are received.
    #[error("of our own URLs only …/{EVENTS}{{connector}} can be posted to")]
    Ours,
    /// Where our own events are received: nothing is to be fetched there.
    #[error("our own URLs are not polled")]
    Own,
    /// An address that is not for strangers.
    #[error(transparent)]
    Address(#[from] Forbidden),
}

/// An address and the rule that forbids it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forbidden {
    /// The address, as written or as resolved.
    pub address: IpAddr,
    /// The name that resolved to it; `None` if the URL names the address itself.
    pub name: Option<String>,
    /// What it is.
    pub rule: Rule,
}

impl std::error::Error for Forbidden {}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, name, rule } = self;
        if let Some(name) = name {
            write!(f, "{name} resolves to ")?;
        }
        write!(f, "{address}, {what} ({range})", what = rule.what, range = rule.range)?;
        if rule.internal {
            let opened = IpNet::from(ranges::embedded(*address).map_or(*address, IpAddr::V4));
            write!(f, "; --allow-callbacks-to {opened} (POLLHOOK_ALLOW_CALLBACKS_TO) would allow it")?;
        }
        Ok(())
    }
}

impl Policy {
    /// A policy that refuses all that is not public, except what is in `allow` and the events paths of `public_url`,
    /// which is where this installation is reached, up to and without `/elements`.
    #[must_use]
    pub fn new(allow: Vec<IpNet>, public_url: Option<&Url>) -> Self {
        let own = public_url.and_then(|url| {
            let base = url.path().trim_end_matches('/');
            Some(Own {
                https: url.scheme() == "https",
                host: without_dot(url.host_str()?).to_owned(),
                port: url.port_or_known_default(),
                base: format!("{base}/"),
            })
        });
        Self { allow, own, only: None }
    }

    /// A policy under which `url`, which the operator chose, can be posted to wherever it is, and no other URL. It is a
    /// policy of its own, so that a customer's callback that happens to be the same URL gains nothing by it.
    #[must_use]
    pub fn only(url: Url) -> Self {
        Self { allow: Vec::new(), own: None, only: Some(url) }
    }

    /// Whether a callback could be posted to `text`, as far as that is known without resolving names.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, text: &str) -> Result<Url, Refusal> {
        if text.len() >= URL_BYTES {
            return Err(Refusal::TooLong(text.len(), URL_BYTES));
        }
        let url = Url::parse(text).map_err(|error| match error {
            url::ParseError::RelativeUrlWithoutBase => Refusal::Malformed("it must begin with https:// or http://"),
            url::ParseError::EmptyHost => Refusal::Malformed("it has no host"),
            url::ParseError::IdnaError => Refusal::Malformed("its host is not an international domain name"),
            url::ParseError::InvalidPort => Refusal::Malformed("its port is not one"),
            url::ParseError::InvalidIpv4Address | url::ParseError::InvalidIpv6Address => {
                Refusal::Malformed("its host is not an address")
            }
            url::ParseError::InvalidDomainCharacter => Refusal::Malformed("its host has a forbidden character"),
            _ => Refusal::Malformed("it cannot be read"),
        })?;
        self.vet(&url)?;
        // The URL standard admits a few characters in a host that HTTP does not.
        if Uri::try_from(url.as_str()).is_err() {
            return Err(UNSENDABLE);
        }
        Ok(url)
    }

    /// Whether a callback may connect to `address`. An address that stands for an IPv4 address is judged as that one.
    /// What the operator allows is allowed, whatever it is.
    ///
    /// # Errors
    /// The rule against it.
    pub fn address(&self, address: IpAddr) -> Result<(), Refusal> {
        let embedded = ranges::embedded(address).map(IpAddr::V4);
        if self.allow.iter().any(|net| net.contains(&address) || embedded.is_some_and(|v4| net.contains(&v4))) {
            return Ok(());
        }
        match ranges::forbidding(embedded.unwrap_or(address)) {
            None => Ok(()),
            Some(rule) => Err(Forbidden { address, name: None, rule: *rule }.into()),
        }
    }

    /// The connector whose events path of ours `url` is: the contract's way to return events to the connectors. Such a
    /// URL is exempt from the address policy (an installation may well live at a private address); no other is.
    #[must_use]
    pub fn own_events_connector(&self, url: &Url) -> Option<String> {
        self.own_events(url).map(str::to_owned)
    }

    fn own_events<'a>(&self, url: &'a Url) -> Option<&'a str> {
        let path = self.own_path(url)?.strip_prefix(EVENTS)?;
        // Some servers decode a path before they resolve its dots; ids in our URLs need no escaping, so none is taken.
        if path.contains('%') {
            return None;
        }
        let key = path.split('/').next()?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (!key.is_empty() && key.bytes().all(plain)).then_some(key)
    }

    /// What follows our public URL in `url`, if it is under it.
    fn own_path<'a>(&self, url: &'a Url) -> Option<&'a str> {
        let own = self.own.as_ref()?;
        // A dot at its end makes it no other host: written so, it would be ours without the mark that ends loops.
        let same = url.host_str().map(without_dot) == Some(own.host.as_str())
            && (url.scheme() == "https") == own.https
            && url.port_or_known_default() == own.port;
        if same { url.path().strip_prefix(own.base.as_str()) } else { None }
    }

    /// The checks on a parsed URL. They are repeated before each post, because this is the only place where a literal
    /// address is seen: the connector dials one without asking the resolver.
    pub(crate) fn vet(&self, url: &Url) -> Result<Route, Refusal> {
        self.vet_within(url, URL_BYTES)
    }

    /// The same, on what is fetched.
    pub(crate) fn vet_fetch(&self, url: &Url) -> Result<Route, Refusal> {
        match self.vet_within(url, FETCH_URL_BYTES)? {
            Route::Guarded => Ok(Route::Guarded),
            Route::Own => Err(Refusal::Own),
        }
    }

    /// The checks on what is fetched where the operator chose: all but those of its address.
    pub(crate) fn vet_chosen(url: &Url) -> Result<Route, Refusal> {
        vet_form(url, FETCH_URL_BYTES).map(|()| Route::Own)
    }

    fn vet_within(&self, url: &Url, bytes: usize) -> Result<Route, Refusal> {
        vet_form(url, bytes)?;
        if let Some(only) = &self.only {
            return if only == url { Ok(Route::Own) } else { Err(Refusal::Other) };
        }
        if self.own_events(url).is_some() {
            return Ok(Route::Own);
        }
        if self.own_path(url).is_some() {
            return Err(Refusal::Ours);
        }
        match url.host() {
            None => return Err(Refusal::Malformed("it has no host")),
            Some(Host::Ipv4(address)) => self.address(address.into())?,
            Some(Host::Ipv6(address)) => self.address(address.into())?,
            // These names are loopback by definition (RFC 6761, section 6.3), so it can be told without asking.
            Some(Host::Domain(name)) if is_localhost(name) => {
                self.address(Ipv4Addr::LOCALHOST.into()).map_err(|refusal| refusal.of_name(name))?;
            }
            Some(Host::Domain(_)) => {}
        }
        Ok(Route::Guarded)
    }
}

/// Whether a URL can be sent to at all.
fn vet_form(url: &Url, bytes: usize) -> Result<(), Refusal> {
    if !matches!(url.scheme(), "https" | "http") {
        return Err(Refusal::Scheme);
    }
    if url.as_str().len() >= bytes {
        return Err(Refusal::TooLong(url.as_str().len(), bytes));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refusal::Credentials);
    }
    if url.fragment().is_some() {
        return Err(Refusal::Fragment);
    }
    Ok(())
}

impl Refusal {
    /// The same refusal, of an address that `name` resolved to.
    pub(crate) fn of_name(self, name: &str) -> Self {
        match self {
            Self::Address(forbidden) => Self::Address(Forbidden { name: Some(name.to_owned()), ..forbidden }),
            other => other,
        }
    }
}

/// A host without the dot that may end it (RFC 3986, section 3.2.2).
fn without_dot(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

fn is_localhost(name: &str) -> bool {
    let name = without_dot(name);
    name == "localhost" || name.ends_with(".localhost")
}

#[cfg(test)]
mod tests;
