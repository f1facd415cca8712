//! The webhook receiver as a Lambda function, behind API Gateway.

use std::process::ExitCode;
use std::sync::Arc;

use aws::{AwsPlatform, Places};
use connectors::Catalogue;
use platform::{Platform as _, Purpose};
use pollhook_webhook_receiver::{Receiver, router};

fn main() -> ExitCode {
    lambda::main("webhook-receiver", async |settings| {
        let places = Places {
            table: settings.table()?,
            batches_url: Some(settings.batches()?),
            polls_url: Some(settings.polls()?),
            key: Some(settings.key()?),
        };
        let public_url = settings.public_url()?;
        let platform = Arc::new(AwsPlatform::new(&aws::connect_from_environment(), places));
        platform.vault().warm(Purpose::Webhook);
        let receiver = Arc::new(Receiver::new(platform, public_url.as_str(), Arc::new(Catalogue::built_in())));
        lambda::http::serve(router(Arc::clone(&receiver)), async || receiver.flush_when_due().await).await
    })
}
