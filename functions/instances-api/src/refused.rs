//! What was not taken in the last week, for operators: it concerns whole connectors, not one account.

use std::sync::Arc;

use axum::extract::State;
use events::Timestamp;
use events::time::DAY_MS;
use futures_util::future::try_join_all;
use platform::Platform;
use records::refused::{self, Line};
use serde::Serialize;

use crate::Api;
use crate::answer::{Answer, Problem};
use crate::authorization::Caller;

/// One connector, day and reason.
#[derive(Debug, Serialize)]
pub(crate) struct Refused {
    connector: String,
    day: String,
    reason: String,
    count: u64,
    samples: Vec<Sample>,
}

#[derive(Debug, Serialize)]
struct Sample {
    at: String,
    detail: String,
}

/// `GET /refused`: by connector, the newest day first.
pub(crate) async fn list<P: Platform>(
    State(api): State<Arc<Api<P>>>,
    Caller(account): Caller,
) -> Result<Answer<Vec<Refused>>, Problem> {
    if !account.operator {
        return Err(Problem::OperatorsOnly);
    }
    let platform = &*api.platform;
    let lines = api.catalogue.keys().map(|connector| async move {
        let lines = refused::list(platform, connector).await?;
        Ok::<_, Problem>(lines.into_iter().map(|line| shown(connector, line)).collect::<Vec<_>>())
    });
    Ok(Answer(try_join_all(lines).await?.into_iter().flatten().collect()))
}

fn shown(connector: &str, line: Line) -> Refused {
    let samples = line.refusals.samples.into_iter();
    Refused {
        connector: connector.to_owned(),
        day: Timestamp::from_millis(line.day.saturating_mul(DAY_MS)).iso_seconds().chars().take(10).collect(),
        reason: line.reason.name(),
        count: line.refusals.count,
        samples: samples.map(|sample| Sample { at: sample.at.iso_millis(), detail: sample.detail }).collect(),
    }
}
