//! What a million webhooks cost, a million polls without news, and a month without any of them: every call counted at the wire, every line of it printed.
//!
//! The functions are ours, as deployed; they are handed events as Lambda would, and between them and the emulator is a
//! [`Wire`]. What is not a call of theirs (API Gateway, invocations, the queues' pollers) is added as AWS bills it.

use std::path::Path;
use std::process::ExitCode;

use cloud_tests::cloud;
use cloud_tests::function::Function;
use cloud_tests::wire::{Call, Units, Wire};
use serde_json::json;

use crate::deployed::{self, Deployed};
use crate::{prices, turn};

/// Single-event webhooks that are counted, and messages of one batch.
const WEBHOOKS: usize = 10;
/// Assumed: how long AWS bills an invocation of the receiver, and of the dispatcher with a batch of ten whose callbacks take
/// 50 ms each (they are posted to at the same time), and of a tick; in seconds.
const RECEIVER_S: f64 = 0.012;
const DISPATCHER_S: f64 = 0.100;
const TICK_S: f64 = 0.050;
/// Polls of one job, and how long AWS bills it where each provider answers after 100 ms: three rounds, as twenty are asked at
/// the same time.
const POLLS: usize = 50;
const POLLS_S: f64 = 0.350;
/// Ticks of a month of 730 hours.
const TICKS: f64 = 43_800.0;
/// Long polls of 20 s that a mapping keeps open on an idle queue
/// (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html>).
const IDLE_POLLERS: f64 = 5.0;
const IDLE_POLL_S: f64 = 20.0;
const MONTH_S: f64 = TICKS * 60.0;
/// Mappings: batches and poll jobs.
const MAPPINGS: f64 = 2.0;

/// Bars, in dollars.
const MILLION: f64 = 3.00;
const MONTH: f64 = 3.00;
const MILLION_POLLS: f64 = 0.30;

/// Has the function work on an event, in order.
pub(crate) async fn work(function: &Function, event: String) {
    let answer = function.answer(event).await;
    let in_order = answer["statusCode"].as_u64().is_none_or(|status| status == 200);
    assert!(in_order && answer["batchItemFailures"].as_array().is_none_or(Vec::is_empty), "{answer}");
}

/// Bytes of the lines since the last time, as CloudWatch counts them.
async fn logged(function: &Function) -> u64 {
    function.lines().await.iter().map(|line| line.len() as u64 + prices::LOG_LINE_BYTES).sum()
}

/// The lines of a bill.
#[derive(Default)]
struct Bill(Vec<(String, f64, f64)>);

impl Bill {
    fn add(&mut self, what: impl Into<String>, count: f64, price: f64) {
        if count > 0.0 {
            self.0.push((what.into(), count, price));
        }
    }

    fn units(&mut self, who: &str, units: Units, times: f64) {
        self.add(format!("{who}: DynamoDB, read units"), units.half_reads as f64 / 2.0 * times, prices::READ);
        self.add(format!("{who}: DynamoDB, write units"), units.writes as f64 * times, prices::WRITE);
        self.add(format!("{who}: SQS, requests"), units.queue as f64 * times, prices::QUEUE);
        self.add(format!("{who}: SQS, with message groups"), units.fair as f64 * times, prices::FAIR);
        self.add(format!("{who}: KMS, requests"), units.key as f64 * times, prices::KEY_REQUEST);
        self.add(format!("{who}: EventBridge, events"), units.events as f64 * times, prices::EVENT);
    }

    fn function(&mut self, who: &str, times: f64, seconds: f64, memory_mb: u32, logged: f64) {
        self.add(format!("{who}: Lambda, invocations"), times, prices::INVOCATION);
        let gb_seconds = times * seconds * f64::from(memory_mb) / 1024.0;
        self.add(format!("{who}: Lambda, GB-seconds of {memory_mb} MB"), gb_seconds, prices::GB_SECOND);
        self.add(format!("{who}: CloudWatch Logs, GB"), logged / 1e9, prices::LOG_GB);
    }

    fn total(&self) -> f64 {
        self.0.iter().map(|(_, count, price)| count * price).sum()
    }

    fn print(&self, title: &str) {
        println!("\n{title}\n\n| | count | $ each | $ |\n|---|---|---|---|");
        for (what, count, price) in &self.0 {
            println!("| {what} | {count:.4} | {price:.3e} | {:.4} |", count * price);
        }
        println!("| **in all** | | | **{:.2}** |", self.total());
    }
}

fn sum(calls: &[Call]) -> Units {
    let mut units = Units::default();
    calls.iter().for_each(|call| units += call.units());
    units
}

/// The next messages of a queue, until there are so many.
async fn messages(url: &str, count: usize) -> Vec<String> {
    let sqs = cloud::sqs().await;
    let mut bodies = Vec::new();
    while bodies.len() < count {
        let request = sqs.receive_message().queue_url(url).max_number_of_messages(10).wait_time_seconds(5);
        let received = request.send().await.unwrap().messages.unwrap_or_default();
        assert!(!received.is_empty(), "no more messages after {}", bodies.len());
        bodies.extend(received.into_iter().filter_map(|message| message.body));
    }
    bodies
}

/// Memory of a function and number of alarms, as the template says.
struct Template(String);

impl Template {
    fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../template.yaml");
        Self(std::fs::read_to_string(path).unwrap())
    }

    fn memory_mb(&self, function: &str) -> u32 {
        let resource = self.0.split(&format!("\n  {function}:\n")).nth(1).unwrap();
        let memory = resource.split("MemorySize: ").nth(1).unwrap();
        memory.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
    }

    fn alarms(&self) -> usize {
        self.0.matches("Type: AWS::CloudWatch::Alarm").count()
    }
}

/// Counts and prints; fails with `check` where a bar is missed.
pub(crate) async fn run(folder: &Path, check: bool) -> ExitCode {
    let wire = Wire::to(cloud::address().await).await;
    let deployed = Deployed::new(folder, wire.address).await;
    let template = Template::read();

    let receiver = Function::start(&folder.join("webhook-receiver"), deployed.environment()).await;
    // The first one opens what is then remembered.
    work(&receiver, deployed.event("webhook-receiver")).await;
    logged(&receiver).await;
    drop(wire.take());
    for _ in 0..WEBHOOKS {
        work(&receiver, deployed.event("webhook-receiver")).await;
    }
    let (received, received_bytes) = (sum(&wire.take()), logged(&receiver).await);

    let mut bodies = messages(deployed.batches_url(), WEBHOOKS + 1).await;
    let dispatcher = Function::start(&folder.join("dispatcher"), deployed.environment()).await;
    work(&dispatcher, deployed::records(&[bodies.remove(0)])).await;
    logged(&dispatcher).await;
    drop(wire.take());
    work(&dispatcher, deployed::records(&bodies)).await;
    let (told, told_bytes) = (sum(&wire.take()), logged(&dispatcher).await);
    assert_eq!(told.writes, WEBHOOKS as u64, "each is told, and that is written down in one unit");

    let poller = Function::start(&folder.join("poller"), deployed.environment()).await;
    work(&poller, deployed.event("poller")).await;
    logged(&poller).await;
    // The second tick comes in the same minute, and moves no mark.
    let marks = sum(&wire.take()).writes;
    work(&poller, deployed.event("poller")).await;
    let (ticked, tick_bytes) = (Units { writes: marks, ..sum(&wire.take()) }, logged(&poller).await);

    let job = deployed.polls(folder, POLLS).await;
    // The first one begins to remember where each stands.
    work(&poller, job.clone()).await;
    logged(&poller).await;
    drop(wire.take());
    work(&poller, job).await;
    let calls = wire.take();
    let (polled, polled_bytes) = (sum(&calls), logged(&poller).await);
    assert_eq!((calls.len(), polled.writes), (POLLS, 0), "a poll without news is one query, and no write");
    let (alone, beside) = turn::counted(&deployed, &wire, &poller).await;
    assert_eq!(alone, beside, "a turn's calls follow who is due, not who is there");
    println!(
        "{}",
        json!({
            "webhook": format!("{received:?}"), "batch": format!("{told:?}"), "tick": format!("{ticked:?}"),
            "polls": format!("{polled:?}"), "turn": beside.join(", "),
        })
    );

    let each = 1e6 / WEBHOOKS as f64;
    let mut million = Bill::default();
    million.add("API Gateway, requests", 1e6, prices::HTTP_API);
    let memory = template.memory_mb("WebhookReceiver");
    million.function("receiver", 1e6, RECEIVER_S, memory, received_bytes as f64 * each);
    million.units("receiver", received, each);
    // A batch is received and deleted with one request each.
    million.add("queue's poller: SQS, requests", 2.0 * each, prices::QUEUE);
    million.add("queue's poller: SQS, with message groups", 2.0 * each, prices::FAIR);
    let memory = template.memory_mb("Dispatcher");
    million.function("dispatcher", each, DISPATCHER_S, memory, told_bytes as f64 * each);
    million.units("dispatcher", told, each);
    million.print("A million single-event webhooks, each told at once, ten in a batch, without data transfer out:");

    let jobs = 1e6 / POLLS as f64;
    let mut polls = Bill::default();
    // Sent by ten, and received and deleted one by one: jobs are spread over the seconds.
    polls.add("poll jobs: SQS, requests", jobs * (0.1 + 2.0), prices::QUEUE);
    polls.add("poll jobs: SQS, with message groups", jobs * (0.1 + 2.0), prices::FAIR);
    polls.function("poller", jobs, POLLS_S, template.memory_mb("Poller"), polled_bytes as f64 * jobs);
    polls.units("poller", polled, jobs);
    polls.print("A million polls that find nothing new, fifty in a job:");

    let mut month = Bill::default();
    month.add("key", 1.0, prices::KEY_MONTH);
    month.add("alarms", template.alarms() as f64, prices::ALARM_MONTH);
    month.add("queues' pollers: SQS, requests", MAPPINGS * IDLE_POLLERS * MONTH_S / IDLE_POLL_S, prices::QUEUE);
    month.add("schedule, calls", TICKS, prices::SCHEDULE);
    month.function("poller", TICKS, TICK_S, template.memory_mb("Poller"), tick_bytes as f64 * TICKS);
    month.units("poller", ticked, TICKS);
    month.print("A month without any traffic, without the dashboard:");

    let bars = [(million, MILLION), (polls, MILLION_POLLS), (month, MONTH)];
    let missed = bars.iter().any(|(bill, most)| bill.total() > *most);
    if missed {
        println!(
            "\nmissed: at most ${MILLION:.2} a million, ${MILLION_POLLS:.2} a million polls and ${MONTH:.2} a month"
        );
    }
    if missed && check { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
