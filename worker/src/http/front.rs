//! Who may ask a worker, and what a request hears that the engine does not take.

use std::time::Duration;

use http_front::traces::Traces;
use http_front::{Front, Refusal};
use pool_core::digest::Sha256;
use pool_core::serving::ErrorCode;

use super::Service;
use crate::engine::Refused;

impl Front for Service {
    /// The digest of the token.
    type Caller = Sha256;

    const TOKEN_OPTION: &'static str = "--token-file";
    const OPEN: &'static [&'static str] = &["/health", "/ready"];
    const TRACED: &'static [&'static str] =
        &["/execute", "/v1/chat/completions", "/v1/completions"];

    fn asks_token(&self) -> bool {
        self.asks_token
    }

    fn accept(&self, token: &str) -> Option<Sha256> {
        let of_fleet = || self.link.as_ref()?.accept(token);
        self.tokens.accept(token).or_else(of_fleet)
    }

    fn body_timeout(&self) -> Duration {
        self.body_timeout
    }

    fn traces(&self) -> &Traces {
        &self.traces
    }

    fn refused(&self, code: ErrorCode) {
        self.metrics.refused(code);
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let soon = Duration::from_secs(1);
        match refused {
            Refused::Loading => Self::new(ErrorCode::Loading, refused).retry_after(soon),
            Refused::QueueFull => Self::new(ErrorCode::QueueFull, refused).retry_after(soon),
            Refused::Draining => Self::new(ErrorCode::Draining, refused),
            Refused::Duplicate => Self::new(ErrorCode::Conflict, refused),
        }
    }
}
