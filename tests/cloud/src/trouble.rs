//! Trouble between the functions and AWS: what services and networks do on a bad day, by chance.
//!
//! *Flow:* a [`Wire`](crate::wire::Wire) that was given a [`Trouble`] asks it at each call. Most kinds leave the call
//! undone; [`Act::Lost`] and [`Act::Late`] do it, and nobody is told; [`Act::Part`] does a part of a batch, and says so as
//! the service would. What was done to how many calls is counted, so that a test knows that it tested something.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};

/// Longer than our functions wait for the answer to an attempt.
pub const TOO_LATE: Duration = Duration::from_secs(4);

/// What happens to a call.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Act {
    /// It is not done, for there were too many.
    Throttled,
    /// It is not done: the service has an error of its own.
    Failed,
    /// It is not done; the connection dies.
    Cut,
    /// It is done; the connection dies in the middle of the answer.
    Lost,
    /// It is done; the answer comes when nobody waits for it any more.
    Late,
    /// A part of its batch is done. A call that is no batch is not touched.
    Part,
}

/// Every kind; a late answer, which takes a worker's time, is one in twenty.
const DICE: [Act; 20] = [
    Act::Throttled,
    Act::Throttled,
    Act::Throttled,
    Act::Throttled,
    Act::Throttled,
    Act::Failed,
    Act::Failed,
    Act::Failed,
    Act::Failed,
    Act::Cut,
    Act::Cut,
    Act::Cut,
    Act::Lost,
    Act::Lost,
    Act::Lost,
    Act::Part,
    Act::Part,
    Act::Part,
    Act::Part,
    Act::Late,
];

/// A bad day.
#[derive(Debug)]
pub struct Trouble {
    percent: u64,
    state: Mutex<(u64, BTreeMap<Act, usize>)>,
}

impl Trouble {
    /// So many calls of a hundred have it. The calls' order is chance, so the seed repeats the dice and not the day.
    #[must_use]
    pub fn new(seed: u64, percent: u64) -> Self {
        Self { percent, state: Mutex::new((seed, BTreeMap::new())) }
    }

    /// What happens to the next call of this operation.
    pub(crate) fn next(&self, operation: &str) -> Option<Act> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if random(&mut state.0) % 100 >= self.percent {
            return None;
        }
        let act = DICE[random(&mut state.0) as usize % DICE.len()];
        if act == Act::Part && batch(operation).is_none() {
            return None;
        }
        *state.1.entry(act).or_default() += 1;
        Some(act)
    }

    /// How many calls had what.
    #[must_use]
    pub fn done(&self) -> BTreeMap<Act, usize> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}

/// <https://prng.di.unimi.it/splitmix64.c>
fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// How a service says that there were too many calls: a status and a body.
pub(crate) fn throttled(target: &str) -> (u16, Value) {
    let error = match target.split(['_', '.']).next().unwrap_or_default() {
        "DynamoDB" => "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
        "AmazonSQS" => "com.amazonaws.sqs#RequestThrottled",
        _ => "ThrottlingException",
    };
    (400, json!({ "__type": error, "message": "made up" }))
}

/// How a service says that it failed.
pub(crate) fn failed() -> (u16, Value) {
    (500, json!({ "__type": "InternalServerError", "message": "made up" }))
}

/// Where a batch holds its entries, and where its answer says what was not done.
enum Batch {
    /// `Entries`, each with an id; `Failed`.
    Messages,
    /// `Entries`; the answer has one in each one's place.
    Events,
    /// `RequestItems`, by table; the answer returns a part of it under this name.
    Items(&'static str),
}

fn batch(operation: &str) -> Option<Batch> {
    match operation {
        "SendMessageBatch" => Some(Batch::Messages),
        "PutEvents" => Some(Batch::Events),
        "BatchWriteItem" => Some(Batch::Items("UnprocessedItems")),
        "BatchGetItem" => Some(Batch::Items("UnprocessedKeys")),
        _ => None,
    }
}

/// A batch that is done in part: the even entries.
pub(crate) struct Halves {
    batch: Batch,
    /// What is done; `None`: nothing is.
    pub(crate) done: Option<Value>,
    /// What is not, in the request's form.
    left: Value,
}

impl Halves {
    /// `None`: not a batch.
    pub(crate) fn of(operation: &str, request: &Value) -> Option<Self> {
        let batch = batch(operation)?;
        let (mut done, mut left) = (request.clone(), request.clone());
        let keep = |entries: &mut Value, odd: bool| {
            let mut index = 0;
            if let Some(entries) = entries.as_array_mut() {
                entries.retain(|_| {
                    index += 1;
                    // The first entry is not done, so that a batch of one is a part, too.
                    (index % 2 == 1) == odd
                });
            }
        };
        let any = if let Batch::Items(_) = batch {
            for (half, odd) in [(&mut done, false), (&mut left, true)] {
                let tables = half["RequestItems"].as_object_mut()?;
                for table in tables.values_mut() {
                    keep(if table.is_array() { table } else { table.get_mut("Keys")? }, odd);
                }
            }
            let tables = done["RequestItems"].as_object()?;
            tables.values().any(|table| !table.as_array().or(table["Keys"].as_array()).is_none_or(Vec::is_empty))
        } else {
            keep(&mut done["Entries"], false);
            keep(&mut left["Entries"], true);
            !done["Entries"].as_array()?.is_empty()
        };
        Some(Self { batch, done: any.then_some(done), left })
    }

    /// The answer to the whole batch, given that to what was done.
    pub(crate) fn answer(&self, done: Value) -> Value {
        let mut answer = if done.is_object() { done } else { Value::Object(Map::new()) };
        match self.batch {
            Batch::Items(name) => {
                answer[name] = self.left["RequestItems"].clone();
                if name == "UnprocessedKeys" && answer["Responses"].is_null() {
                    answer["Responses"] = json!({});
                }
            }
            Batch::Messages => {
                let failed = self.left["Entries"].as_array().into_iter().flatten();
                let failed = failed.map(|entry| {
                    json!({ "Id": entry["Id"], "SenderFault": false, "Code": "InternalError", "Message": "made up" })
                });
                answer["Failed"] = failed.collect();
                if answer["Successful"].is_null() {
                    answer["Successful"] = json!([]);
                }
            }
            Batch::Events => {
                let mut done = answer["Entries"].as_array().cloned().unwrap_or_default().into_iter();
                let left = self.left["Entries"].as_array().map_or(0, Vec::len);
                let mut entries = Vec::new();
                for _ in 0..left {
                    entries.push(json!({ "ErrorCode": "InternalFailure", "ErrorMessage": "made up" }));
                    entries.extend(done.next());
                }
                answer = json!({ "FailedEntryCount": left, "Entries": entries });
            }
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_done_by_half_and_the_answer_says_which() {
        let entries = |ids: &[u32]| json!({ "Entries": ids.iter().map(|id| json!({ "Id": id.to_string() })).collect::<Vec<_>>() });
        let halves = Halves::of("SendMessageBatch", &entries(&[1, 2, 3])).unwrap();
        assert_eq!(halves.done, Some(entries(&[2])));
        let answer = halves.answer(json!({ "Successful": [{ "Id": "2" }] }));
        let failed: Vec<&Value> = answer["Failed"].as_array().unwrap().iter().map(|entry| &entry["Id"]).collect();
        assert_eq!(failed, ["1", "3"]);

        let halves = Halves::of("PutEvents", &entries(&[1, 2, 3])).unwrap();
        let answer = halves.answer(json!({ "FailedEntryCount": 0, "Entries": [{ "EventId": "2" }] }));
        let done: Vec<bool> =
            answer["Entries"].as_array().unwrap().iter().map(|entry| entry["EventId"].is_string()).collect();
        assert_eq!((done, &answer["FailedEntryCount"]), (vec![false, true, false], &json!(2)));
    }

    #[test]
    fn items_that_were_not_done_are_returned_as_they_were_asked() {
        let asked = json!({ "RequestItems": { "t": [{ "PutRequest": 1 }, { "PutRequest": 2 }] } });
        let halves = Halves::of("BatchWriteItem", &asked).unwrap();
        assert_eq!(halves.done.as_ref().unwrap()["RequestItems"]["t"], json!([{ "PutRequest": 2 }]));
        assert_eq!(halves.answer(json!({}))["UnprocessedItems"]["t"], json!([{ "PutRequest": 1 }]));

        let asked = json!({ "RequestItems": { "t": { "ConsistentRead": true, "Keys": [1] } } });
        let halves = Halves::of("BatchGetItem", &asked).unwrap();
        assert_eq!(halves.done, None, "nothing is left to do");
        let left = json!({ "t": { "ConsistentRead": true, "Keys": [1] } });
        assert_eq!(halves.answer(Value::Null), json!({ "Responses": {}, "UnprocessedKeys": left }));
        assert!(Halves::of("GetItem", &asked).is_none());
    }
}
