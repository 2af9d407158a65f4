//! The body of every answer that is not a success.

use serde::{Deserialize, Serialize};

use super::request::Violation;

/// `{"error": {…}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub error: ErrorDetails,
}

/// What was refused and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ErrorDetails {
    pub code: ErrorCode,
    pub message: String,
    /// Every violation of an invalid request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Violation>,
    /// The same request may succeed later or elsewhere.
    pub retriable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    pub correlation_id: String,
}

/// The kinds of refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    /// 400
    InvalidRequest,
    /// 404
    NotFound,
    /// 405
    MethodNotAllowed,
    /// 409: a request with this `job_id` is there already.
    Conflict,
    /// 413
    PayloadTooLarge,
    /// 429
    QueueFull,
    /// 503: the model is not loaded yet.
    Loading,
    /// 503: the worker is about to end.
    Draining,
    /// 500
    Internal,
}

impl ErrorCode {
    /// The HTTP status that goes with it.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict => 409,
            Self::PayloadTooLarge => 413,
            Self::QueueFull => 429,
            Self::Internal => 500,
            Self::Loading | Self::Draining => 503,
        }
    }

    /// The same request may succeed later or elsewhere.
    pub fn is_retriable(self) -> bool {
        matches!(self, Self::QueueFull | Self::Loading | Self::Draining)
    }
}
