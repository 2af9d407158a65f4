//! How a stream ends.

use std::ops::ControlFlow;

use pool_core::serving::{Failure, FailureCode, StreamEvent};

use crate::engine::Update;

/// Goes on until the terminal event.
pub(super) fn until_last(event: &StreamEvent) -> ControlFlow<()> {
    if event.is_terminal() {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

/// The inference thread is gone; a stream never ends in silence.
pub(super) fn cut() -> Update {
    StreamEvent::Error(Failure {
        code: FailureCode::Internal,
        message: "the worker failed".to_owned(),
        retriable: true,
    })
    .into()
}
