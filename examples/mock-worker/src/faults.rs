//! What can be wrong with a worker.

use serde::{Deserialize, Serialize};

/// The header that gives one request faults of its own, as JSON, in place of the worker's.
pub const FAULT_HEADER: &str = "x-mock-fault";

/// What is wrong. Those of answers may be combined: `rate`, `hang_after`, `malformed` and `cut` spoil one stream together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Requests for answers are taken and never answered.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hang: bool,
    /// Requests for answers are refused with this status: 400, 429, 500 or 503. `/health` and `/ready` know nothing of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Streams say nothing more after so many tokens, not even comments, and hear no cancel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hang_after: Option<u64>,
    /// Tokens a second in place of the worker's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// The connection ends after so many bytes of an answer's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<u64>,
    /// Streams are not what the contract says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub malformed: Option<Malformed>,
    /// So many answers have these faults, then none; all of them when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// How `/ready` lies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready: Option<ReadyFault>,
    /// Milliseconds before anything is read from a new connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accept_ms: Option<u64>,
    /// Once, from now: every connection is closed, and for so many milliseconds refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refuse_ms: Option<u64>,
}

/// What `/ready` does in place of telling the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadyFault {
    /// It never answers.
    Hang,
    /// It says 503.
    Unready,
}

/// How a stream breaks the contract; the second token is the one that is spoiled, of an answer of one the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Malformed {
    /// The data of a token is no JSON.
    BadJson,
    /// A token has another `i` than comes next; under `/v1/` a choice has another `index` than 0.
    WrongIndex,
    /// A frame has another `id` than comes next; under `/v1/` nothing is wrong.
    WrongId,
    /// The stream begins with a token.
    NoStart,
    /// The stream ends without saying so.
    NoEnd,
    /// The end comes twice.
    TwoEnds,
    /// Bytes in place of a token that are neither text nor a frame.
    Garbage,
    /// A token of 4 MiB.
    Oversized,
    /// Lines end with CR LF, which the format allows.
    Crlf,
}

impl Faults {
    /// Takes the faults of the next answer.
    pub(crate) fn take(&mut self) -> Self {
        match &mut self.times {
            None => self.clone(),
            Some(0) => Self::default(),
            Some(times) => {
                *times -= 1;
                self.clone()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_from_json_and_end_after_their_times() {
        let json = r#"{"cut": 7, "malformed": "two_ends", "times": 2}"#;
        let mut faults: Faults = serde_json::from_str(json).unwrap();
        for left in [1, 0] {
            let taken = faults.take();
            assert_eq!((taken.cut, taken.times), (Some(7), Some(left)));
        }
        assert_eq!(faults.take(), Faults::default());
        assert!(serde_json::from_str::<Faults>(r#"{"cuts": 7}"#).is_err());
        assert_eq!(serde_json::to_string(&Faults::default()).unwrap(), "{}");
    }
}
