//! The settings of a function, read from its environment.
//!
//! *Promise:* a setting that is missing or wrong is told by its name, with what was given and what is accepted. What may
//! be a secret, or hold one, is never shown.

use std::collections::HashMap;

use ipnet::IpNet;
use tracing_subscriber::filter::Targets;
use url::Url;

use crate::logs;

/// Most of a value that a message shows, in characters.
const SHOWN_CHARS: usize = 80;

/// A setting that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: given {given}; accepted: {accepted}")]
pub struct SettingError {
    name: &'static str,
    given: String,
    accepted: String,
}

impl SettingError {
    fn new(name: &'static str, given: impl Into<String>, accepted: impl Into<String>) -> Self {
        Self { name, given: given.into(), accepted: accepted.into() }
    }
}

/// What the environment says. Each function reads what it needs.
#[derive(Clone)]
pub struct Settings(HashMap<String, String>);

impl Settings {
    /// Of this process.
    #[must_use]
    pub fn from_environment() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())))
            .filter(|(name, _)| name.starts_with("POLLHOOK_") || name.starts_with("AWS_LAMBDA_"))
            .collect()
    }

    /// `POLLHOOK_TABLE`: the table.
    ///
    /// # Errors
    /// It is missing.
    pub fn table(&self) -> Result<String, SettingError> {
        self.text("POLLHOOK_TABLE", "the table's name")
    }

    /// `POLLHOOK_BATCHES_URL`: the batches queue.
    ///
    /// # Errors
    /// It is missing, or no URL.
    pub fn batches(&self) -> Result<String, SettingError> {
        self.queue("POLLHOOK_BATCHES_URL")
    }

    /// `POLLHOOK_POLLS_URL`: the poll jobs' queue.
    ///
    /// # Errors
    /// It is missing, or no URL.
    pub fn polls(&self) -> Result<String, SettingError> {
        self.queue("POLLHOOK_POLLS_URL")
    }

    /// `POLLHOOK_BATCHES_DEAD_URL`: where batches are set aside that cannot be read.
    ///
    /// # Errors
    /// It is missing, or no URL.
    pub fn dead_batches(&self) -> Result<String, SettingError> {
        self.queue("POLLHOOK_BATCHES_DEAD_URL")
    }

    /// `POLLHOOK_POLLS_DEAD_URL`: where poll jobs are set aside that cannot be read.
    ///
    /// # Errors
    /// It is missing, or no URL.
    pub fn dead_polls(&self) -> Result<String, SettingError> {
        self.queue("POLLHOOK_POLLS_DEAD_URL")
    }

    /// `POLLHOOK_KEY`: the KMS key that seals secrets.
    ///
    /// # Errors
    /// It is missing.
    pub fn key(&self) -> Result<String, SettingError> {
        self.text("POLLHOOK_KEY", "the id or ARN of a KMS key")
    }

    /// `POLLHOOK_BUS`: the event bus for flows.
    ///
    /// # Errors
    /// It is missing.
    pub fn bus(&self) -> Result<String, SettingError> {
        self.text("POLLHOOK_BUS", "the event bus's name")
    }

    /// `POLLHOOK_PUBLIC_URL`: what providers call.
    ///
    /// # Errors
    /// It is missing, or not such a URL.
    pub fn public_url(&self) -> Result<Url, SettingError> {
        const NAME: &str = "POLLHOOK_PUBLIC_URL";
        let text = self.text(NAME, front::PUBLIC_URL)?;
        let url = Url::parse(&text).ok().filter(front::is_public_url);
        // Whoever put credentials or a query there may have put a secret there.
        let given = || if text.contains(['@', '?', '#']) { hidden(&text) } else { shown(&text) };
        url.ok_or_else(|| SettingError::new(NAME, given(), front::PUBLIC_URL))
    }

    /// `POLLHOOK_ALLOW_CALLBACKS_TO`: addresses that callbacks may be posted to although they are private; none where it
    /// is empty or missing.
    ///
    /// # Errors
    /// One of them is no range.
    pub fn allow_callbacks_to(&self) -> Result<Vec<IpNet>, SettingError> {
        const NAME: &str = "POLLHOOK_ALLOW_CALLBACKS_TO";
        let ranges = self.given(NAME).into_iter().flat_map(|text| text.split(',')).map(str::trim);
        ranges
            .filter(|range| !range.is_empty())
            .map(|range| {
                let one = || range.parse().map(|address: std::net::IpAddr| address.into()).ok();
                let accepted = "ranges separated by commas, such as 10.0.0.0/8,::1/128, or nothing";
                range.parse().ok().or_else(one).ok_or_else(|| SettingError::new(NAME, shown(range), accepted))
            })
            .collect()
    }

    /// `POLLHOOK_CONNECTOR_URL`, each read as a `T`: where connectors' providers are asked instead of where their definitions
    /// say; none where it is empty or missing.
    ///
    /// # Errors
    /// One of them is no such place. What was given is not shown: a URL may hold a secret.
    pub fn connector_urls<T: std::str::FromStr>(&self) -> Result<Vec<T>, SettingError> {
        const NAME: &str = "POLLHOOK_CONNECTOR_URL";
        let accepted = "a connector's key and a URL without query, such as hubspot=https://proxy.example, several separated \
                        by commas, or nothing";
        let places = self.given(NAME).into_iter().flat_map(|text| text.split(',')).map(str::trim);
        let places = places.filter(|place| !place.is_empty());
        places.map(|place| place.parse().map_err(|_| SettingError::new(NAME, hidden(place), accepted))).collect()
    }

    /// `POLLHOOK_ADMIN_KEY_SHA256`, read as a `T`; `None` where it is empty or missing, and then no account is made over
    /// the API.
    ///
    /// # Errors
    /// It is no such hash. What was given is not shown: it may be the key itself.
    pub fn admin_key_sha256<T: std::str::FromStr>(&self) -> Result<Option<T>, SettingError> {
        const NAME: &str = "POLLHOOK_ADMIN_KEY_SHA256";
        let accepted = "the SHA-256 of the admin key as 64 hexadecimal digits, or nothing";
        let read = |text: &str| text.parse().map_err(|_| SettingError::new(NAME, hidden(text), accepted));
        self.given(NAME).map(read).transpose()
    }

    /// `POLLHOOK_LOG`, else Lambda's own level (`AWS_LAMBDA_LOG_LEVEL`, the template's `ApplicationLogLevel`): what is
    /// logged.
    pub(crate) fn log(&self) -> Result<Targets, SettingError> {
        for name in ["POLLHOOK_LOG", "AWS_LAMBDA_LOG_LEVEL"] {
            if let Some(text) = self.given(name) {
                let accepted = "error, warn, info, debug, trace or off, also by module, such as \
                                info,pollhook_dispatcher=debug";
                return logs::filter(text).ok_or_else(|| SettingError::new(name, shown(text), accepted));
            }
        }
        Ok(logs::default_filter())
    }

    /// Whether Lambda runs us.
    pub(crate) fn runtime_api(&self) -> Result<(), SettingError> {
        let accepted = "what AWS Lambda sets: this is one of its functions; without it, all of Pollhook runs in one \
                        process, see the README";
        self.text("AWS_LAMBDA_RUNTIME_API", accepted).map(drop)
    }

    fn given(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    fn text(&self, name: &'static str, accepted: &str) -> Result<String, SettingError> {
        self.given(name).map(str::to_owned).ok_or_else(|| SettingError::new(name, "nothing", accepted))
    }

    fn queue(&self, name: &'static str) -> Result<String, SettingError> {
        let accepted = "a queue's URL, such as https://sqs.eu-west-1.amazonaws.com/123456789012/name";
        let text = self.text(name, accepted)?;
        match Url::parse(&text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.path().len() > 1 => Ok(text),
            _ => Err(SettingError::new(name, shown(&text), accepted)),
        }
    }
}

impl FromIterator<(String, String)> for Settings {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(settings: I) -> Self {
        Self(settings.into_iter().collect())
    }
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

fn hidden(text: &str) -> String {
    format!("a text of {} characters", text.chars().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(name: &str, value: &str) -> Settings {
        Settings::from_iter([(name.to_owned(), value.to_owned())])
    }

    fn error<T>(outcome: Result<T, SettingError>) -> String {
        outcome.err().unwrap().to_string()
    }

    #[test]
    fn what_is_missing_or_blank_is_named() {
        let none = Settings::from_iter([]);
        assert_eq!(error(none.table()), "POLLHOOK_TABLE: given nothing; accepted: the table's name");
        assert!(error(settings("POLLHOOK_KEY", " ").key()).starts_with("POLLHOOK_KEY: given nothing"));
        for (name, outcome) in [
            ("POLLHOOK_BUS", none.bus()),
            ("POLLHOOK_BATCHES_URL", none.batches()),
            ("POLLHOOK_POLLS_URL", none.polls()),
            ("POLLHOOK_BATCHES_DEAD_URL", none.dead_batches()),
            ("POLLHOOK_POLLS_DEAD_URL", none.dead_polls()),
        ] {
            assert!(error(outcome).starts_with(&format!("{name}: given nothing; accepted: ")), "{name}");
        }
        assert!(error(none.public_url()).starts_with("POLLHOOK_PUBLIC_URL: given nothing"));
        assert!(error(none.runtime_api()).contains("AWS Lambda"));
        assert_eq!(none.allow_callbacks_to(), Ok(Vec::new()));
        assert_eq!(none.admin_key_sha256::<u8>(), Ok(None));
    }

    #[test]
    fn what_is_wrong_is_shown_beside_what_is_accepted() {
        let queue = |url| settings("POLLHOOK_BATCHES_URL", url).batches();
        assert_eq!(queue(" http://127.0.0.1:4566/000000000000/b ").unwrap(), "http://127.0.0.1:4566/000000000000/b");
        for bad in ["batches", "arn:aws:sqs:eu-west-1:123456789012:batches", "https://sqs.eu-west-1.amazonaws.com"] {
            assert!(
                error(queue(bad))
                    .starts_with(&format!("POLLHOOK_BATCHES_URL: given \"{bad}\"; accepted: a queue's URL"))
            );
        }
        let ranges = |text| settings("POLLHOOK_ALLOW_CALLBACKS_TO", text).allow_callbacks_to();
        assert_eq!(ranges("10.0.0.0/8, ::1,").unwrap(), ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
        assert!(error(ranges("10.0.0.0/8,10.0.0.0/33")).contains("given \"10.0.0.0/33\"; accepted: ranges"));
        let places = |text| settings("POLLHOOK_CONNECTOR_URL", text).connector_urls::<u8>();
        assert_eq!((places("1, 2,"), places("")), (Ok(vec![1, 2]), Ok(Vec::new())));
        assert!(error(places("1,s3cret")).contains("given a text of 6 characters; accepted: a connector's key"));
        let long = error(queue(&"x".repeat(1000)));
        assert!(long.len() < 300 && long.contains('…'), "{long}");
    }

    #[test]
    fn what_may_be_or_hold_a_secret_is_not_shown() {
        let url = |text| settings("POLLHOOK_PUBLIC_URL", text).public_url();
        assert_eq!(url("https://hooks.example.com/base").unwrap().as_str(), "https://hooks.example.com/base");
        assert!(error(url("hooks.example.com")).contains("given \"hooks.example.com\"; accepted: http(s)://"));
        for secret in ["https://me:s3cret@hooks.example.com", "https://hooks.example.com/?key=s3cret"] {
            let error = error(url(secret));
            assert!(error.contains("given a text of ") && !error.contains("s3cret"), "{error}");
        }
        let key = error(settings("POLLHOOK_ADMIN_KEY_SHA256", "s3cret").admin_key_sha256::<u8>());
        assert!(key.starts_with("POLLHOOK_ADMIN_KEY_SHA256: given a text of 6 characters"), "{key}");
    }

    #[test]
    fn our_log_filter_goes_before_lambdas_level() {
        let filter = |ours: &str, lambdas: &str| {
            let pairs = [("POLLHOOK_LOG", ours), ("AWS_LAMBDA_LOG_LEVEL", lambdas)];
            Settings::from_iter(pairs.map(|(name, value)| (name.to_owned(), value.to_owned()))).log()
        };
        assert_eq!(filter("", ""), Ok(logs::default_filter()));
        assert_eq!(filter("", "FATAL"), Ok(logs::filter("error").unwrap()));
        assert_eq!(filter("debug", "ERROR"), Ok(logs::filter("debug").unwrap()));
        assert!(error(filter("verbose", "")).starts_with("POLLHOOK_LOG: given \"verbose\"; accepted: error, warn"));
    }
}
