//! What the core refuses, as an answer.

use std::time::Duration;

use http_front::Refusal;
use pool_core::serving::{ErrorCode, Failure, FailureCode};

use crate::core::Refused;
use crate::daemon::Ended;
use crate::store::StoreError;

/// Why a task was not admitted.
pub fn refused(refused: Refused) -> Refusal {
    let code = match &refused {
        Refused::SameId(_) => ErrorCode::Conflict,
        Refused::UnknownTenant | Refused::ByPolicy(_) => ErrorCode::Forbidden,
        Refused::UnknownModel(_) => ErrorCode::NotFound,
        Refused::NotServed(_) | Refused::DeadlineImpossible { .. } => ErrorCode::Unavailable,
        Refused::TooLong { .. } | Refused::DeadlineOutOfRange { .. } => ErrorCode::InvalidRequest,
        Refused::QuotaExceeded { .. } => ErrorCode::QuotaExceeded,
        Refused::QueueFull { .. } => ErrorCode::QueueFull,
        Refused::Draining => ErrorCode::Draining,
    };
    let refusal = match &refused {
        Refused::TooLong { .. } => {
            Refusal::field("max_tokens", "what the context leaves", refused.to_string())
                .context_exceeded()
        }
        Refused::DeadlineOutOfRange { most_ms, .. } => Refusal::field(
            "deadline_ms",
            &format!("from 1 to {most_ms}"),
            refused.to_string(),
        ),
        Refused::UnknownModel(_) => Refusal::new(code, &refused).model_not_found(),
        _ => Refusal::new(code, &refused),
    };
    match refused.retry_after_ms() {
        Some(wait) => refusal.retry_after(Duration::from_millis(wait)),
        None => refusal,
    }
}

/// A model that no fleet can have.
pub fn no_model(name: &str) -> Refusal {
    let name: String = name.chars().take(64).collect();
    Refusal::new(ErrorCode::NotFound, format!("there is no model `{name}`")).model_not_found()
}

/// Why a task ended, where there is no stream that could say it.
pub fn ended(ended: Ended) -> Refusal {
    match ended {
        Ended::Cancelled => Refusal::new(ErrorCode::Cancelled, "the request was cancelled"),
        Ended::Failed(failure) => failed(&failure),
    }
}

/// How a request failed that was on a worker.
pub fn failed(failure: &Failure) -> Refusal {
    let code = match failure.code {
        FailureCode::Cancelled => ErrorCode::Cancelled,
        FailureCode::Deadline => ErrorCode::Deadline,
        FailureCode::OutOfMemory => ErrorCode::OutOfMemory,
        FailureCode::Internal => ErrorCode::WorkerFailed,
    };
    Refusal::new(code, &failure.message)
}

/// The store cannot take or find it.
pub fn unstored(error: StoreError) -> Refusal {
    tracing::error!(%error, "store");
    match error {
        StoreError::Full => Refusal::new(ErrorCode::Unavailable, "the store is full")
            .retry_after(Duration::from_secs(30)),
        StoreError::TooLong(_) => Refusal::new(ErrorCode::PayloadTooLarge, error),
        _ => Refusal::new(ErrorCode::Internal, "the store failed"),
    }
}
