//! The one HTTP client of a connection.
//!
//! The SDK's own clients make a connector whenever a service's client is made, and one more at its first request, and
//! each connector parses the computer's root certificates (some 140, from as many files or one). This one makes a single
//! connector, when the first request of any service needs it.

use std::sync::OnceLock;

use aws_sdk_dynamodb::config::RuntimeComponents;
use aws_smithy_http_client::Connector;
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{HttpClient, HttpConnectorSettings, SharedHttpConnector};

/// Makes its connector at the first request.
#[derive(Debug)]
pub(super) struct OneClient {
    plain: bool,
    connector: OnceLock<SharedHttpConnector>,
}

impl OneClient {
    /// `plain`: all addresses are `http://`, as an emulator's are, and no certificate will be needed.
    pub(super) fn new(plain: bool) -> Self {
        Self { plain, connector: OnceLock::new() }
    }
}

impl HttpClient for OneClient {
    /// The first request's settings count. They are everybody's: of the timeouts only that for connecting is the
    /// connector's business, and it is one constant.
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let make = || {
            let mut builder = Connector::builder().connector_settings(settings.clone());
            builder.set_sleep_impl(components.sleep_impl());
            // What the SDK's own client does.
            builder.set_proxy_config(Some(ProxyConfig::from_env()));
            SharedHttpConnector::new(if self.plain {
                builder.build_http()
            } else {
                builder.tls_provider(Provider::Rustls(CryptoMode::Ring)).build()
            })
        };
        self.connector.get_or_init(make).clone()
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        Some(ConnectorMetadata::new("hyper", Some("1.x".into())))
    }
}
