//! The dispatcher as a Lambda function, on the batches queue.

use std::process::ExitCode;
use std::sync::Arc;

use aws::{AwsPlatform, EventBus, Places, SqsQueue};
use egress::{Client, Limits, Policy};
use lambda::batch::{self, Failure, Record};
use platform::{Platform as _, Purpose};
use pollhook_dispatcher::{Dispatcher, Fault, RetryPolicy, Taken, Views};

fn main() -> ExitCode {
    lambda::main("dispatcher", async |settings| {
        let places = Places {
            table: settings.table()?,
            batches_url: Some(settings.batches()?),
            polls_url: None,
            key: Some(settings.key()?),
        };
        let connection = aws::connect_from_environment();
        let dead = SqsQueue::new(&connection, settings.dead_batches()?);
        let platform = Arc::new(AwsPlatform::new(&connection, places));
        platform.vault().warm(Purpose::Callback);
        let policy = Policy::new(settings.allow_callbacks_to()?, Some(&settings.public_url()?));
        let client = Client::new(policy.clone(), Limits::default())?;
        let bus = EventBus::new(&connection, settings.bus()?);
        let dispatcher = Dispatcher::new(platform, client, bus, Arc::new(policy), RetryPolicy::default());
        let work = async |views: &Views, record: &Record| {
            let taken = Taken { text: &record.body, receive_count: record.receive_count };
            dispatcher.handle_with(views, taken).await.map_err(failure)
        };
        batch::serve(dead, Views::default, work, async || ()).await
    })
}

fn failure(fault: Fault) -> Failure {
    match fault {
        Fault::Poison(reason) => Failure::Poison(reason),
        fault => Failure::ours(fault),
    }
}
