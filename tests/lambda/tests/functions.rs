//! What Lambda sees of a function: real processes, driven over the Runtime API.

#![allow(clippy::unwrap_used)]

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lambda::testing::{Answer, RuntimeApi};
use serde_json::{Value, json};

/// Far beyond what a test takes.
const LONG: Duration = Duration::from_secs(60);

/// A function at work; ended when the test is.
struct Function {
    api: RuntimeApi,
    process: Child,
}

impl Function {
    async fn start(role: &str) -> Self {
        let api = RuntimeApi::start().await;
        let process = command(role).envs(api.environment()).env("POLLHOOK_TABLE", "t").spawn().unwrap();
        Self { api, process }
    }

    async fn invoke(&self, event: Value, within: Duration) -> Answer {
        tokio::time::timeout(LONG, self.api.invoke(event.to_string(), within)).await.expect("it does not answer")
    }

    async fn done(&self, event: Value, within: Duration) -> Value {
        match self.invoke(event, within).await {
            Answer::Done(body) => serde_json::from_slice(&body).unwrap(),
            Answer::Failed(body) => panic!("{body:?}"),
        }
    }

    async fn failed(&self, event: Value, within: Duration) -> Value {
        match self.invoke(event, within).await {
            Answer::Failed(body) => serde_json::from_slice(&body).unwrap(),
            Answer::Done(body) => panic!("{body:?}"),
        }
    }

    /// Ends the process. Every line that it logged, as JSON.
    fn logs(mut self) -> Vec<Value> {
        self.process.kill().unwrap();
        lines(&mut self.process)
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(role: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rehearsal"));
    command.arg(role).env_clear().stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn lines(process: &mut Child) -> Vec<Value> {
    let (mut out, mut err) = (String::new(), String::new());
    process.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    process.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!(err, "", "something is not in the log");
    out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

fn said<'a>(logs: &'a [Value], message: &str) -> Vec<&'a Value> {
    logs.iter().filter(|line| line["message"] == message).collect()
}

fn request(method: &str, path: &str, query: &str, body: Option<&[u8]>) -> Value {
    json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query,
        "cookies": ["c=1", "d=2"],
        "headers": {"host": "not a host", "x-forwarded-proto": "not a scheme", "x-signature": "s,t"},
        "requestContext": {
            "accountId": "123456789012", "apiId": "api", "domainName": "api.example.com", "domainPrefix": "api",
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1", "userAgent": "x"},
            "requestId": "id", "routeKey": "$default", "stage": "$default",
            "time": "21/Sep/2026:14:13:20 +0000", "timeEpoch": 1_790_000_000_000_u64,
        },
        "body": body.map(|body| STANDARD.encode(body)), "isBase64Encoded": body.is_some(),
    })
}

fn batch(bodies: &[&str]) -> Value {
    let record = |body: &&str| {
        json!({
            "messageId": format!("id of {body}"), "receiptHandle": "h", "body": body,
            "attributes": {"ApproximateReceiveCount": "2"}, "messageAttributes": {}, "eventSource": "aws:sqs",
        })
    };
    json!({ "Records": bodies.iter().map(record).collect::<Vec<_>>() })
}

fn returned(answer: &Value) -> Vec<&str> {
    let failures = answer["batchItemFailures"].as_array().unwrap().iter();
    failures.map(|failure| failure["itemIdentifier"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_request_arrives_as_it_would_on_a_socket() {
    let function = Function::start("http").await;
    let body: Vec<u8> = (0..=255).collect();
    let event = request("PUT", "/echo/a b/../ü?#", "x=%2F&y=a+b", Some(&body));
    let answer = function.done(event, LONG).await;
    assert_eq!((&answer["statusCode"], &answer["isBase64Encoded"]), (&json!(200), &json!(false)));
    assert_eq!(answer["cookies"], json!(["a=b"]));
    assert_eq!(answer["headers"]["content-type"], "application/json");
    let told: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
    assert_eq!((&told["method"], &told["uri"]), (&json!("PUT"), &json!("/echo/a%20b/../%C3%BC%3F%23?x=%2F&y=a+b")));
    assert_eq!(told["body"], json!({"bytes": 256, "sum": 255 * 128}));
    assert_eq!((&told["headers"]["x-signature"], &told["headers"]["cookie"]), (&json!("s,t"), &json!("c=1; d=2")));
}

#[tokio::test]
async fn the_largest_body_goes_in_and_out_also_when_it_is_no_text() {
    let function = Function::start("http").await;
    let body: Vec<u8> = (0..4 * 1024 * 1024_u32).map(|n| (n % 251) as u8).collect();
    let answer = function.done(request("POST", "/binary", "", Some(&body)), LONG).await;
    assert_eq!((&answer["statusCode"], &answer["isBase64Encoded"]), (&json!(200), &json!(true)));
    assert!(STANDARD.decode(answer["body"].as_str().unwrap()).unwrap() == body);
}

#[tokio::test]
async fn a_request_that_would_outlast_the_invocation_is_told_to_try_again_before_its_end() {
    let function = Function::start("http").await;
    function.api.started().await;
    let (began, within) = (Instant::now(), Duration::from_secs(2));
    let answer = function.done(request("GET", "/slow", "", None), within).await;
    assert!(began.elapsed() < within);
    assert_eq!(answer["statusCode"], 503);
    assert!(answer["body"].as_str().unwrap().contains("try again"));
}

#[tokio::test]
async fn a_panic_fails_its_request_alone_and_is_in_the_log() {
    let function = Function::start("http").await;
    let error = function.failed(request("GET", "/panic", "", None), LONG).await;
    assert!(error["errorMessage"].as_str().unwrap().contains("as it was told"), "{error}");
    assert_eq!(function.done(request("GET", "/echo/x", "", None), LONG).await["statusCode"], 200);
    let logs = function.logs();
    let panicked = said(&logs, "panicked");
    assert_eq!((panicked.len(), &panicked[0]["reason"]), (1, &json!("as it was told")));
    assert_eq!((&panicked[0]["level"], &panicked[0]["requestId"]), (&json!("ERROR"), &json!("request-0")));
}

#[tokio::test]
async fn of_a_batch_only_what_failed_comes_back_and_poison_is_set_aside() {
    let function = Function::start("batch").await;
    let bodies = ["a", "fails", "poison", "panics", "poison, unsendable", "b"];
    let answer = function.done(batch(&bodies), LONG).await;
    assert_eq!(returned(&answer), ["id of fails", "id of panics", "id of poison, unsendable"]);
    let logs = function.logs();
    let worked: Vec<_> = said(&logs, "worked on").iter().map(|line| (&line["body"], &line["received"])).collect();
    assert_eq!(worked, [(&json!("a"), &json!(2)), (&json!("b"), &json!(2))]);
    assert_eq!(said(&logs, "dead")[0]["body"], "poison");
    let set_aside = said(&logs, "a message cannot be read and is among the dead letters");
    assert_eq!((set_aside.len(), &set_aside[0]["reason"]), (1, &json!("not one of ours")));
    assert_eq!(said(&logs, "a message could not be worked on, it will come again").len(), 2);
    assert_eq!(said(&logs, "a message that cannot be read could not be set aside").len(), 1);
}

#[tokio::test]
async fn what_is_not_done_before_the_invocations_end_comes_back() {
    let function = Function::start("batch").await;
    function.api.started().await;
    let (began, within) = (Instant::now(), Duration::from_secs(2));
    let answer = function.done(batch(&["hangs", "a"]), within).await;
    assert!(began.elapsed() < within);
    assert_eq!(returned(&answer), ["id of hangs"]);
}

#[tokio::test]
async fn a_batch_that_cannot_be_read_is_an_error_and_the_next_one_is_worked_on() {
    let function = Function::start("batch").await;
    let error = function.failed(json!({"Records": [{"s3": {}}]}), LONG).await;
    assert!(error["errorMessage"].as_str().unwrap().contains("no batch"), "{error}");
    assert_eq!(returned(&function.done(batch(&["fails"]), LONG).await), ["id of fails"]);
}

#[tokio::test]
async fn a_schedules_event_is_a_tick_whatever_it_holds_and_a_queues_a_batch() {
    let function = Function::start("schedule").await;
    let scheduled = json!({"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}, "resources": ["x"]});
    for tick in [scheduled, json!({}), json!("tick"), Value::Null] {
        assert_eq!(function.done(tick, LONG).await, Value::Null);
    }
    assert_eq!(returned(&function.done(batch(&["fails", "a"]), LONG).await), ["id of fails"]);
    assert_eq!(said(&function.logs(), "tick").len(), 4);
}

#[tokio::test]
async fn a_tick_that_would_outlast_the_invocation_is_an_error_before_its_end() {
    let function = Function::start("late").await;
    function.api.started().await;
    let (began, within) = (Instant::now(), Duration::from_secs(2));
    let error = function.failed(json!({}), within).await;
    assert!(began.elapsed() < within);
    assert!(error["errorMessage"].as_str().unwrap().contains("given up"), "{error}");
}

#[tokio::test]
async fn what_is_done_after_each_event_is_done_before_its_answer() {
    let function = Function::start("http").await;
    for _ in 0..3 {
        function.done(request("GET", "/echo/x", "", None), LONG).await;
    }
    let logs = function.logs();
    let after: Vec<_> = said(&logs, "after").iter().map(|line| (&line["done"], &line["requestId"])).collect();
    let expected = [1, 2, 3].map(|n| (json!(n), json!(format!("request-{}", n - 1))));
    assert_eq!(after, expected.each_ref().map(|(done, request)| (done, request)));
}

#[test]
fn a_function_that_cannot_start_says_which_setting_is_wrong_and_ends() {
    for (environment, setting) in [
        (vec![("AWS_LAMBDA_RUNTIME_API", "127.0.0.1:1")], "POLLHOOK_TABLE: given nothing; accepted: the table's name"),
        (vec![("POLLHOOK_TABLE", "t")], "AWS_LAMBDA_RUNTIME_API: given nothing; accepted: what AWS Lambda sets"),
        (vec![("POLLHOOK_LOG", "verbose")], "POLLHOOK_LOG: given \"verbose\"; accepted: error, warn"),
    ] {
        let mut process = command("batch").envs(environment).spawn().unwrap();
        let logs = lines(&mut process);
        assert_eq!((logs.len(), &logs[0]["level"]), (1, &json!("ERROR")));
        assert!(logs[0]["error"].as_str().unwrap().starts_with(setting), "{logs:?}");
        assert!(!process.wait().unwrap().success());
    }
}
