//! Where AWS is, who we are there, and how patient we are.
//!
//! Nothing is sent while connecting; credentials are looked for at the first request and renewed when they run out.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::Credentials;

/// A connection within a region takes a few milliseconds, TLS included. A second means that this address is dead, and
/// another try may get another one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// One attempt at a small request. DynamoDB and SQS answer in milliseconds, in the worst thousandth in a few hundred
/// (SQS more than DynamoDB); after 3 s the answer is lost. Three attempts and their pauses then stay below 12 s, well
/// within any function's time.
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

/// Static access keys. Functions have none: their role gives them temporary ones.
#[derive(Clone)]
pub struct Keys {
    /// The access key id.
    pub id: String,
    /// The secret access key.
    pub secret: String,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// How to find AWS. The default takes everything from the surroundings, as a function should.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where all services are, in place of AWS's own addresses (an emulator); `None`: those of the region, or
    /// `AWS_ENDPOINT_URL`.
    pub endpoint: Option<String>,
    /// The region; `None`: `AWS_REGION`, or the profile's.
    pub region: Option<String>,
    /// Who we are; `None`: the function's role, the environment's keys, or the profile.
    pub keys: Option<Keys>,
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

/// Finds region and credentials. Does not fail: what is missing or wrong shows at the first request, as
/// "not available".
pub async fn connect(options: Options) -> Connection {
    let Options { endpoint, region, keys } = options;
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .retry_config(RetryConfig::standard().with_max_attempts(ATTEMPTS).with_initial_backoff(FIRST_PAUSE))
        .timeout_config(timeouts(ATTEMPT_TIMEOUT));
    if let Some(endpoint) = endpoint {
        loader = loader.endpoint_url(endpoint);
    }
    if let Some(region) = region {
        loader = loader.region(Region::new(region));
    }
    if let Some(Keys { id, secret }) = keys {
        loader = loader.credentials_provider(Credentials::new(id, secret, None, None, "options"));
    }
    Connection { config: loader.load().await }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_not_printed() {
        let keys = Keys { id: "id-of-it".into(), secret: "secret-of-it".into() };
        let options = Options { keys: Some(keys), ..Options::default() };
        assert!(!format!("{options:?}").contains("of-it"));
    }
}
