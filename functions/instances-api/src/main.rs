//! The instances API as a Lambda function, behind API Gateway.

use std::process::ExitCode;
use std::sync::Arc;

use aws::{AwsPlatform, Places};
use connectors::{Catalogue, Place};
use egress::{Client, Limits, Policy};
use pollhook_instances_api::{Api, router};

fn main() -> ExitCode {
    lambda::main("instances-api", async |settings| {
        let places = Places {
            table: settings.table()?,
            batches_url: Some(settings.batches()?),
            polls_url: Some(settings.polls()?),
            key: Some(settings.key()?),
        };
        let public_url = settings.public_url()?;
        let allowed = settings.allow_callbacks_to()?;
        // None of our own URLs is a provider's.
        let providers = Policy::new(allowed.clone(), None);
        let policy = Policy::new(allowed, Some(&public_url));
        let mut catalogue = Catalogue::built_in();
        catalogue.place(&settings.connector_urls::<Place>()?)?;
        let api = Api {
            platform: Arc::new(AwsPlatform::new(&aws::connect_from_environment(), places)),
            callbacks: Arc::new(Client::new(policy.clone(), Limits::default())?),
            tokens: Arc::new(Client::new(providers, Limits::exchanging())?),
            policy: Arc::new(policy),
            public_url: Some(public_url),
            catalogue: Arc::new(catalogue),
            admin_key_sha256: settings.admin_key_sha256()?,
        };
        lambda::http::serve(router(Arc::new(api)), async || ()).await
    })
}
