//! The body of every answer that is not a success.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::request::Violation;

/// `{"error": {…}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorBody {
    pub error: ErrorDetails,
}

/// What was refused and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    /// 400
    InvalidRequest,
    /// 401: a token is asked for, and this request has none that is known.
    Unauthorized,
    /// 403: it comes from a web page of somebody else.
    Forbidden,
    /// 404
    NotFound,
    /// 405
    MethodNotAllowed,
    /// 408: the body took too long to arrive.
    RequestTimeout,
    /// 409: a request with this `job_id` is there already.
    Conflict,
    /// 413
    PayloadTooLarge,
    /// 415: the body is not `application/json`.
    UnsupportedMediaType,
    /// 429
    QueueFull,
    /// 429: the tenant has used what it may.
    QuotaExceeded,
    /// 502: the worker that had it failed.
    WorkerFailed,
    /// 503: nothing serves it now.
    Unavailable,
    /// 504: its time was up.
    Deadline,
    /// 503: the model is not loaded yet.
    Loading,
    /// 503: the worker is about to end.
    Draining,
    /// 499: the request was cancelled before it had an answer.
    Cancelled,
    /// 500
    Internal,
    /// 503: the device has no memory left for it.
    OutOfMemory,
}

impl ErrorCode {
    /// The HTTP status that goes with it.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::Conflict => 409,
            Self::PayloadTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::QueueFull | Self::QuotaExceeded => 429,
            Self::Cancelled => 499,
            Self::Internal => 500,
            Self::WorkerFailed => 502,
            Self::Loading | Self::Draining | Self::OutOfMemory | Self::Unavailable => 503,
            Self::Deadline => 504,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "INVALID_REQUEST",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Forbidden => "FORBIDDEN",
            Self::NotFound => "NOT_FOUND",
            Self::MethodNotAllowed => "METHOD_NOT_ALLOWED",
            Self::RequestTimeout => "REQUEST_TIMEOUT",
            Self::Conflict => "CONFLICT",
            Self::PayloadTooLarge => "PAYLOAD_TOO_LARGE",
            Self::UnsupportedMediaType => "UNSUPPORTED_MEDIA_TYPE",
            Self::QueueFull => "QUEUE_FULL",
            Self::QuotaExceeded => "QUOTA_EXCEEDED",
            Self::WorkerFailed => "WORKER_FAILED",
            Self::Unavailable => "UNAVAILABLE",
            Self::Deadline => "DEADLINE",
            Self::Loading => "LOADING",
            Self::Draining => "DRAINING",
            Self::Cancelled => "CANCELLED",
            Self::OutOfMemory => "OUT_OF_MEMORY",
            Self::Internal => "INTERNAL",
        }
    }

    /// The same request may succeed later or elsewhere.
    pub fn is_retriable(self) -> bool {
        matches!(
            self,
            Self::QueueFull
                | Self::QuotaExceeded
                | Self::WorkerFailed
                | Self::Unavailable
                | Self::Deadline
                | Self::Loading
                | Self::Draining
                | Self::OutOfMemory
        )
    }
}
