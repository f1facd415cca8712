//! Every setting of the local binary, documented where it is parsed: `--help` prints this page.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use connectors::Place;
use instances_api::AdminKeySha256;
use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;

/// Tells your app what changed in your customers' SaaS accounts.
///
/// Without a command, all roles run in this process: providers post their webhooks to /elements/api-v2/events/… below the public URL,
/// and signed, batched notifications go to each instance's callback.
#[derive(Debug, Parser)]
#[command(name = "pollhook", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What else to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The settings of the server.
    #[command(flatten)]
    pub serve: Serve,
}

/// What the binary can do beside serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show Pollhook at work: a server, a callback and recorded webhooks, in some seconds.
    ///
    /// Starts a server with a data folder of its own (removed at the end) and a callback receiver, both on free ports of
    /// 127.0.0.1, provisions instances over the API, posts recorded webhooks as the providers sign them, and prints each
    /// notification as it arrives. The closing table compares what was expected with what arrived: retries, refusals,
    /// batching, redeliveries and a shared provider account included. Exits with 1 if anything is missing or too many.
    Demo,

    /// Receive notifications and print them: a callback to try things with.
    ///
    /// Takes POSTs on any path of 127.0.0.1, checks both signatures, answers 200 to what is signed as it should be and 401
    /// to what is not. The server must be started with --allow-callbacks-to 127.0.0.0/8. Colours only on a terminal, and
    /// not where NO_COLOR is set.
    Listen(Listen),

    /// Show the connectors, or check the definition of one.
    ///
    /// Each connector's key, hub, whether providers call one URL per app or one per instance, how the provider proves
    /// itself, where its secret is configured, and the file that defines it. A definition is one YAML file; see the
    /// built-in ones for examples, and `pollhook connectors check` for what is wrong with yours.
    Connectors(Connectors),

    /// Show the messages that were set aside because they cannot be read, newest first; or put them back.
    ///
    /// Shows when and why each was set aside, and its beginning. Messages are set aside only when no retry can help; what
    /// fails for another reason stays in the queue and comes back. The server must be stopped.
    DeadLetters(DeadLetters),
}

/// The settings of `connectors`.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Connectors {
    /// What else to do.
    #[command(subcommand)]
    pub command: Option<ConnectorsCommand>,

    /// A folder of definitions: those that the server would take with it are shown too.
    #[arg(long, env = "POLLHOOK_CONNECTORS", value_name = "FOLDER")]
    pub connectors: Option<PathBuf>,

    /// Write JSON.
    #[arg(long, env = "POLLHOOK_JSON")]
    pub json: bool,
}

/// What can be done with connectors beside showing them.
#[derive(Debug, Clone, Subcommand)]
pub enum ConnectorsCommand {
    /// Check one definition: whether it loads, and makes of its examples what they say.
    ///
    /// An example is a recorded request and what must come of it, in the definition's `examples:` or in
    /// examples/KEY/*.yaml beside it. Each is sent signed as the provider would, and with another secret. Each problem is
    /// told as FILE:LINE: message; exits with 1 if there are any.
    Check {
        /// The definition, called KEY.yaml.
        file: PathBuf,
    },
}

/// The settings of `dead-letters`.
#[derive(Debug, Clone, Args)]
pub struct DeadLetters {
    /// The folder of the server's data.
    #[arg(long, env = "POLLHOOK_DATA", value_name = "FOLDER", default_value = "pollhook-data")]
    pub data: PathBuf,

    /// Put all of them back into their queues: after an update that can read them. The server works on them when it starts.
    #[arg(long, env = "POLLHOOK_REQUEUE")]
    pub requeue: bool,
}

/// The settings of `listen`.
#[derive(Debug, Clone, Args)]
pub struct Listen {
    /// The port of 127.0.0.1 to listen on; 0 picks a free one.
    #[arg(long, env = "POLLHOOK_PORT", value_name = "NUMBER", default_value_t = 8081)]
    pub port: u16,

    /// The instances' event.notification.signature.key. Without it signatures are not checked.
    #[arg(long, env = "POLLHOOK_SECRET", value_name = "KEY", hide_env_values = true)]
    pub secret: Option<SecretString>,

    /// Misbehave: answer 503 to the first so many requests of each notification, to see retries.
    #[arg(long, env = "POLLHOOK_FAIL_FIRST", value_name = "COUNT", default_value_t = 0)]
    pub fail_first: u32,

    /// Print each notification's body too, as it came.
    #[arg(long, env = "POLLHOOK_BODIES")]
    pub bodies: bool,
}

/// The settings of the server.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// The address to listen on. Port 0 picks a free one.
    #[arg(long, env = "POLLHOOK_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8080", value_parser = socket)]
    pub listen: SocketAddr,

    /// The folder of all data: the store (one file), the key that seals secrets, and the first account's credentials.
    /// Only its owner can read it.
    #[arg(long, env = "POLLHOOK_DATA", value_name = "FOLDER", default_value = "pollhook-data")]
    pub data: PathBuf,

    /// The URL that providers call, as they see it. Some (HubSpot's v2 and v3 signatures) sign it, so behind a proxy or
    /// a tunnel it must be that one's. Default: http:// and the listen address.
    #[arg(long, env = "POLLHOOK_PUBLIC_URL", value_name = "URL", value_parser = url)]
    pub public_url: Option<Url>,

    /// Addresses that callbacks may be posted to, and providers be polled at, although they are private or loopback, e.g.
    /// 127.0.0.0/8. May be given several times (in the environment: separated by commas). Without it they are refused.
    #[arg(long, env = "POLLHOOK_ALLOW_CALLBACKS_TO", value_name = "CIDR", value_delimiter = ',', value_parser = range)]
    pub allow_callbacks_to: Vec<IpNet>,

    /// The URL that each event of an instance with event.flow.enabled is POSTed to, by itself: your rule engine, or what
    /// starts your flows. What is posted is what a target of Amazon EventBridge is given: source "pollhook", detail-type
    /// "Change", and the event as its detail. 2xx is success; anything else is tried again. It may be a private address;
    /// redirects are not followed. Without it such events are recorded as dropped.
    #[arg(long, env = "POLLHOOK_FLOWS_TO", value_name = "URL", value_parser = flows_url, hide_env_values = true)]
    pub flows_to: Option<Url>,

    /// A folder of connectors: every *.yaml in it defines one, called KEY.yaml, and stands in for a built-in one of the
    /// same key. Read at the start; one that does not load stops it. Check yours with `pollhook connectors check`.
    #[arg(long, env = "POLLHOOK_CONNECTORS", value_name = "FOLDER")]
    pub connectors: Option<PathBuf>,

    /// Where a connector's provider is asked, OAuth included, instead of where its definition says, e.g.
    /// hubspot=http://127.0.0.1:9000: a simulator, a sandbox, a proxy of yours. May be given several times (in the
    /// environment: separated by commas). The URL stands in for scheme, host and port of each of the provider's URLs; its
    /// address may be private or loopback.
    #[arg(long, env = "POLLHOOK_CONNECTOR_URL", value_name = "KEY=URL", value_delimiter = ',')]
    pub connector_url: Vec<Place>,

    /// The SHA-256, in hexadecimal digits, of the key that makes more accounts: POST /elements/api-v2/accounts with
    /// "Authorization: Bearer KEY". Use 32 random bytes, not a password. Without it there is no such path.
    #[arg(long, env = "POLLHOOK_ADMIN_KEY_SHA256", value_name = "HASH", hide_env_values = true)]
    pub admin_key_sha256: Option<AdminKeySha256>,

    /// What to log: error, warn, info, debug or trace, also by module, e.g. "info,pollhook_dispatcher=debug". The default
    /// leaves out the line of each webhook, of which there may be thousands a second; "info" alone has them.
    #[arg(long, env = "POLLHOOK_LOG", value_name = "FILTER", default_value = "info,pollhook::follow=warn")]
    pub log: String,
}

fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "an address and a port are wanted, such as 127.0.0.1:8080 or [::1]:8080".into())
}

fn url(text: &str) -> Result<Url, String> {
    Url::parse(text).map_err(|_| "a whole URL is wanted, such as https://hooks.example.com".into())
}

/// A URL that can be posted to wherever it is.
fn flows_url(text: &str) -> Result<Url, String> {
    egress::Policy::only(url(text)?).check(text).map_err(|refusal| refusal.to_string())
}

/// A range, or one address.
fn range(text: &str) -> Result<IpNet, String> {
    let one = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(one).ok_or_else(|| "a range is wanted, such as 10.0.0.0/8 or ::1/128".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn values_are_read_as_people_write_them_or_refused_saying_what_is_wanted() {
        assert_eq!(range("10.0.0.1"), Ok("10.0.0.1/32".parse().unwrap()));
        assert!(range("10.0.0.0/33").unwrap_err().contains("10.0.0.0/8"));
        assert!(socket("8080").unwrap_err().contains("127.0.0.1:8080"));
        assert!(url("foo").unwrap_err().contains("https://"));
        assert_eq!(flows_url("http://127.0.0.1:9/x?y").unwrap().as_str(), "http://127.0.0.1:9/x?y");
        assert!(flows_url("https://u:p@rules.example/").unwrap_err().contains("credentials"));
        assert!(flows_url("ftp://rules.example/").unwrap_err().contains("https"));
    }

    #[test]
    fn every_flag_has_an_environment_twin_that_help_names() {
        Cli::command().debug_assert();
        let listen = Listen::augment_args(clap::Command::new("listen"));
        let serve = Serve::augment_args(clap::Command::new("serve"));
        let dead_letters = DeadLetters::augment_args(clap::Command::new("dead-letters"));
        let connectors = Connectors::augment_args(clap::Command::new("connectors"));
        for (mut command, flag) in
            [listen, serve, dead_letters, connectors].iter().flat_map(|c| c.get_arguments().map(|f| (c.clone(), f)))
        {
            let help = command.render_long_help().to_string();
            let twin = format!("POLLHOOK_{}", flag.get_id().as_str().to_uppercase());
            assert_eq!(flag.get_env().and_then(|e| e.to_str()), Some(twin.as_str()));
            assert!(help.contains(&twin), "{help}");
        }
    }

    #[test]
    fn a_secret_is_neither_shown_nor_kept_from_being_given() {
        let cli = Cli::try_parse_from(["pollhook", "listen", "--secret", "topsecret"]).unwrap();
        assert!(!format!("{cli:?}").contains("topsecret"));
        assert!(matches!(
            cli.command,
            Some(Command::Listen(Listen { port: 8081, secret: Some(_), fail_first: 0, bodies: false }))
        ));
        assert!(Cli::try_parse_from(["pollhook", "--data", "x", "demo"]).is_err());
    }
}
