//! Where AWS is, who we are there, and how patient we are.
//!
//! *Promise:* connecting reads a few environment variables and nothing else: no file, no address, no certificate. All
//! services of a process share one pool of connections, whose TLS (and the root certificates, parsed once) is made by the
//! first request.
//!
//! *Why not `aws_config`:* a function starts cold while a webhook's sender waits. The SDK's own loader looks for profile
//! files, the metadata service and so on, none of which a function has; and each client that is made without an HTTP
//! client of its own parses all root certificates once more while it is made. What a function has is documented
//! (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>) and stands in the environment: the region,
//! and its role's temporary keys, which stay valid for as long as the process lives. So that is what is read:
//!
//! | variable | meaning |
//! |---|---|
//! | `AWS_REGION`, else `AWS_DEFAULT_REGION` | the region |
//! | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN` | who we are |
//! | `AWS_ENDPOINT_URL` | where all services are, in place of AWS's own addresses: an emulator |
//!
//! An empty variable counts as absent.
//!
//! *Failure modes:* connecting does not fail. What is missing or wrong shows at the first request, as "not available".

mod http;

use std::time::Duration;

use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use aws_types::SdkConfig;

use self::http::OneClient;

/// A connection within a region takes a few milliseconds, TLS included. A second means that this address is dead, and
/// another try may get another one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// One attempt at a small request. DynamoDB, SQS, EventBridge and KMS answer in milliseconds, in the worst thousandth in a
/// few hundred (SQS more than the others); after 3 s the answer is lost. Three attempts and their pauses then stay below
/// 12 s, well within any function's time.
pub(crate) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);

/// One attempt at a request that may carry up to 16 MB: that takes over 2 s at the 600 Mbit/s that a function has at best,
/// and small functions have a part of it.
pub(crate) const BULK_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(15);

/// The first attempt and two more: what AWS's "standard" mode does. More would only add load to what is down, and every
/// caller is itself repeated by its queue or schedule.
const ATTEMPTS: u32 = 3;

/// Before the second attempt at most this (jittered), doubled before the third. The SDK's 1 s is meant for any service;
/// a throttled partition recovers within milliseconds, and a webhook's sender may wait for us no more than 3 s.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Access keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// The access key id.
    pub id: String,
    /// The secret access key.
    pub secret: String,
    /// The session token that temporary keys, such as those of a function's role, come with.
    pub token: Option<String>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// How to find AWS. The default takes everything from the environment, as a function should.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Where all services are, in place of AWS's own addresses (an emulator); `None`: `AWS_ENDPOINT_URL`, or else those
    /// of the region.
    pub endpoint: Option<String>,
    /// The region; `None`: the environment's.
    pub region: Option<String>,
    /// Who we are; `None`: the environment's keys.
    pub keys: Option<Keys>,
}

impl Options {
    /// What is not given here, as `variable` has it.
    fn or_else(self, variable: impl Fn(&str) -> Option<String>) -> Self {
        let variable = |name| variable(name).filter(|value| !value.is_empty());
        let keys = || {
            let (id, secret) = (variable("AWS_ACCESS_KEY_ID")?, variable("AWS_SECRET_ACCESS_KEY")?);
            Some(Keys { id, secret, token: variable("AWS_SESSION_TOKEN") })
        };
        Self {
            endpoint: self.endpoint.or_else(|| variable("AWS_ENDPOINT_URL")),
            region: self.region.or_else(|| variable("AWS_REGION")).or_else(|| variable("AWS_DEFAULT_REGION")),
            keys: self.keys.or_else(keys),
        }
    }
}

/// What [`connect`] found. Cheap to clone; one per process, since its clients share credentials and connections.
#[derive(Clone, Debug)]
pub struct Connection {
    config: SdkConfig,
}

impl Connection {
    pub(crate) fn config(&self) -> &SdkConfig {
        &self.config
    }
}

pub(crate) fn timeouts(attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(attempt).build()
}

/// As the environment says: what a function's `main` calls, once, before anything else of this crate. Not async, sends
/// nothing, and does not fail: what is missing or wrong shows at the first request, as "not available".
#[must_use]
pub fn connect_from_environment() -> Connection {
    connect(Options::default())
}

/// As `options` say, and the environment where they do not. See [`connect_from_environment`].
#[must_use]
pub fn connect(options: Options) -> Connection {
    let Options { endpoint, region, keys } = options.or_else(|name| std::env::var(name).ok());
    let plain = endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(OneClient::new(plain))
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(FIRST_PAUSE))
        .timeout_config(timeouts(ATTEMPT_TIMEOUT))
        .region(region.map(Region::new));
    config.set_endpoint_url(endpoint);
    if let Some(Keys { id, secret, token }) = keys {
        let credentials = Credentials::new(id, secret, token, None, "environment");
        config.set_credentials_provider(Some(SharedCredentialsProvider::new(credentials)));
    }
    Connection { config: config.build() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(token: Option<&str>) -> Keys {
        Keys { id: "id-of-it".into(), secret: "secret-of-it".into(), token: token.map(Into::into) }
    }

    fn environment(variables: &[(&str, &str)]) -> Options {
        let find = |name: &str| variables.iter().find(|(found, _)| *found == name).map(|(_, value)| (*value).into());
        Options::default().or_else(find)
    }

    #[test]
    fn keys_are_not_printed() {
        let options = Options { keys: Some(keys(Some("token-of-it"))), ..Options::default() };
        assert!(!format!("{options:?}").contains("of-it"));
        assert!(!format!("{:?}", connect(options)).contains("secret-of-it"));
    }

    #[test]
    fn what_a_function_has_in_its_environment_is_found() {
        let mut variables = vec![
            ("AWS_REGION", "eu-central-1"),
            ("AWS_DEFAULT_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "id-of-it"),
            ("AWS_SECRET_ACCESS_KEY", "secret-of-it"),
            ("AWS_SESSION_TOKEN", "token-of-it"),
        ];
        let found = environment(&variables);
        let expected =
            Options { endpoint: None, region: Some("eu-central-1".into()), keys: Some(keys(Some("token-of-it"))) };
        assert_eq!(found, expected);
        variables.push(("AWS_ENDPOINT_URL", "http://127.0.0.1:4566"));
        assert_eq!(environment(&variables).endpoint.as_deref(), Some("http://127.0.0.1:4566"));
    }

    #[test]
    fn an_empty_variable_is_none_and_half_a_key_is_no_key() {
        let found = environment(&[
            ("AWS_REGION", ""),
            ("AWS_DEFAULT_REGION", "eu-west-1"),
            ("AWS_ENDPOINT_URL", ""),
            ("AWS_ACCESS_KEY_ID", "id-of-it"),
            ("AWS_SECRET_ACCESS_KEY", ""),
        ]);
        assert_eq!(found, Options { endpoint: None, region: Some("eu-west-1".into()), keys: None });
        let static_keys = [("AWS_ACCESS_KEY_ID", "id-of-it"), ("AWS_SECRET_ACCESS_KEY", "secret-of-it")];
        assert_eq!(environment(&static_keys).keys, Some(keys(None)));
    }

    #[test]
    fn what_is_given_is_not_looked_for() {
        let given = Options { endpoint: Some("http://a".into()), region: Some("b".into()), keys: Some(keys(None)) };
        assert_eq!(given.clone().or_else(|name| panic!("{name} was looked for")), given);
    }
}
