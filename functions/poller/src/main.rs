//! The poller as a Lambda function, on its schedule and on the poll jobs' queue.

use std::process::ExitCode;
use std::time::Duration;

use aws::{AwsPlatform, Places, SqsQueue};
use connectors::{Catalogue, Place};
use egress::{Client, Limits, Policy};
use lambda::batch::{Failure, Record};
use pollhook_poller::{Accounts, Fault, Poller, Queries, each_minute, handle};

fn main() -> ExitCode {
    lambda::main("poller", async |settings| {
        let places = Places {
            table: settings.table()?,
            batches_url: Some(settings.batches()?),
            polls_url: Some(settings.polls()?),
            key: Some(settings.key()?),
        };
        let connection = aws::connect_from_environment();
        let dead = SqsQueue::new(&connection, settings.dead_polls()?);
        let platform = AwsPlatform::new(&connection, places);
        let client = Client::new(Policy::new(settings.allow_callbacks_to()?, None), Limits::fetching())?;
        let mut catalogue = Catalogue::built_in();
        catalogue.place(&settings.connector_urls::<Place>()?)?;
        let (accounts, queries) = (Accounts::default(), Queries::default());
        let poller = Poller {
            platform: &platform,
            fetch: &client,
            catalogue: &catalogue,
            accounts: &accounts,
            queries: &queries,
        };
        let tick = async |within: Duration| Ok(each_minute(&platform, within).await?);
        let work = async |record: &Record, within: Duration| {
            handle(&platform, &poller, &record.body, within).await.map_err(failure)
        };
        lambda::schedule::serve(tick, dead, work, async || ()).await
    })
}

fn failure(fault: Fault) -> Failure {
    match fault {
        Fault::Poison(reason) => Failure::Poison(reason),
        fault => Failure::ours(fault),
    }
}
