//! What a worker was asked: `GET /seen`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Everything since the start, or since `DELETE /seen`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Requests for answers, in the order that they came.
    pub jobs: Vec<SeenJob>,
    /// Requests by method and path, such as `GET /ready`.
    pub requests: BTreeMap<String, u64>,
}

/// One request for an answer. Times are microseconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeenJob {
    /// The client's; under `/v1/` the id of the answer.
    pub job_id: String,
    pub path: String,
    pub correlation_id: String,
    /// The span that asks, as W3C's Trace Context writes it.
    pub traceparent: Option<String>,
    /// The body as it came; null if it was no JSON.
    pub request: Value,
    pub asked_at: u64,
    /// Tokens that were handed to the connection.
    pub tokens: u64,
    /// When `POST /cancel` named it first.
    pub cancelled_at: Option<u64>,
    pub outcome: Outcome,
    pub ended_at: Option<u64>,
}

/// How far a request for an answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It waits for a slot, runs, or hangs.
    Open,
    /// Its answer was told to the end.
    Ended,
    /// Its answer ended because of `POST /cancel`.
    Cancelled,
    /// The client left before the end.
    Disconnected,
    /// A fault ended its connection.
    Cut,
    /// It was refused.
    Refused,
}
