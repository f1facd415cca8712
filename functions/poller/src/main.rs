//! The poller as a Lambda function, on its schedule and on the poll jobs' queue.

use std::process::ExitCode;

use aws::{AwsPlatform, Places, SqsQueue};
use lambda::batch::{Failure, Record};
use pollhook_poller::{Fault, handle, sweep};

fn main() -> ExitCode {
    lambda::main("poller", async |settings| {
        let places = Places {
            table: settings.table()?,
            batches_url: Some(settings.batches()?),
            polls_url: Some(settings.polls()?),
            key: None,
        };
        let connection = aws::connect_from_environment();
        let dead = SqsQueue::new(&connection, settings.dead_polls()?);
        let platform = AwsPlatform::new(&connection, places);
        let tick = async || Ok(sweep(&platform).await.map(drop)?);
        let work = async |record: &Record| handle(&platform, &record.body).await.map_err(failure);
        lambda::schedule::serve(tick, dead, work, async || ()).await
    })
}

fn failure(fault: Fault) -> Failure {
    match fault {
        Fault::Poison(reason) => Failure::Poison(reason),
        fault @ Fault::Records(_) => Failure::ours(fault),
    }
}
