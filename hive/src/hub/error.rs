//! What failures of the hub mean.

use std::error::Error;
use std::time::Duration;

use hf_hub::HFError;
use pool_core::rpc::{ErrorCode, HiveError};

use super::Repo;
use crate::error::fail;

/// Whether a failure may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// It may, and not sooner than this where the hub said so.
    Passing(Option<Duration>),
    Lasting,
}

impl Trouble {
    pub fn of(error: &HFError) -> Self {
        match error {
            HFError::RateLimited { retry_after, .. } => Self::Passing(*retry_after),
            HFError::Http { context } => {
                let status = context.status;
                if status.is_server_error() || status.as_u16() == 408 {
                    Self::Passing(None)
                } else {
                    Self::Lasting
                }
            }
            HFError::Request { source, .. } if source.is_redirect() || source.is_builder() => {
                Self::Lasting
            }
            // A status is one that no rule above is for.
            HFError::Request { source, .. }
                if source.status().is_some_and(|it| it.is_client_error()) =>
            {
                Self::Lasting
            }
            HFError::Request { .. } | HFError::Xet { .. } | HFError::Io(_) => Self::Passing(None),
            _ => Self::Lasting,
        }
    }
}

/// The error in words of what was wanted, with a way out.
pub(super) fn explain(repo: &Repo, error: &HFError) -> HiveError {
    let (name, commit) = (&repo.name, &repo.commit);
    let missing = |what: String| {
        fail(
            ErrorCode::NotFound,
            what,
            format!("look at {}", repo.page()),
        )
    };
    match error {
        HFError::AuthRequired { context } | HFError::Forbidden { context } => {
            refused(repo, context.status.as_u16(), context.error_code.as_deref())
        }
        HFError::RepoNotFound { .. } => missing(format!("the hub has no model {name}")),
        HFError::RevisionNotFound { .. } => {
            missing(format!("the model {name} has no revision {commit}"))
        }
        HFError::EntryNotFound { path, .. } => {
            missing(format!("the model {name} has no file {path} at {commit}"))
        }
        HFError::RateLimited { retry_after, .. } => {
            let when = match retry_after {
                Some(after) => format!("in {} s", after.as_secs()),
                None => "later".into(),
            };
            fail(
                ErrorCode::HubFailed,
                format!("{} answers too many requests for now (429)", repo.endpoint),
                format!(
                    "try again {when}; what came so far is kept. A token (HF_TOKEN) has a higher limit"
                ),
            )
        }
        other => fail(
            ErrorCode::HubFailed,
            format!("{} failed to give {name}: {}", repo.endpoint, cause(other)),
            "try again, or let HF_ENDPOINT name a mirror",
        ),
    }
}

pub(super) fn refused(repo: &Repo, status: u16, code: Option<&str>) -> HiveError {
    let name = &repo.name;
    let (what, help) = match (code, repo.token.is_some()) {
        (Some("GatedRepo"), false) => (
            format!("the model {name} is gated, and no token was given"),
            format!(
                "accept its terms at {}, and set HF_TOKEN to a token of that account ({}/settings/tokens)",
                repo.page(),
                repo.endpoint
            ),
        ),
        (Some("GatedRepo"), true) => (
            format!("the model {name} is gated, and the account of this token may not have it"),
            format!(
                "ask for access at {} with the account that HF_TOKEN belongs to",
                repo.page()
            ),
        ),
        (_, false) => (
            format!("the hub has no model {name} for everyone"),
            format!(
                "is the name right? if the model is private, set HF_TOKEN to a token that may read it ({}/settings/tokens)",
                repo.endpoint
            ),
        ),
        (_, true) => (
            format!("the hub does not give the model {name} to this token"),
            format!(
                "is HF_TOKEN still valid, and may it read {}? see {}/settings/tokens",
                repo.page(),
                repo.endpoint
            ),
        ),
    };
    fail(ErrorCode::HubRefused, format!("{what} ({status})"), help)
}

/// The innermost reason: what stands around it repeats the address.
fn cause(error: &HFError) -> String {
    if let HFError::Http { context } = error {
        return match &context.server_message {
            Some(message) => format!("{}: {message}", context.status),
            None => context.status.to_string(),
        };
    }
    innermost(error)
}

/// The last of an error's sources.
pub fn innermost(error: &dyn Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
