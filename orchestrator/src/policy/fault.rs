//! What is wrong with scripts.

use std::fmt;
use std::path::PathBuf;

use rhai::EvalAltResult;

/// Where a script takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hook {
    Admit,
    Schedule,
    Retry,
}

impl Hook {
    pub const ALL: [Self; 3] = [Self::Admit, Self::Schedule, Self::Retry];

    /// The name of the script's function.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Schedule => "schedule",
            Self::Retry => "retry",
        }
    }

    /// What the function takes.
    pub(super) fn parameters(self) -> &'static [&'static str] {
        match self {
            Self::Admit | Self::Schedule => &["snapshot", "task"],
            Self::Retry => &["snapshot", "task", "error"],
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a script failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// It threw, or did what is not defined.
    Failed,
    /// It took more steps, time, depth or memory than it may.
    OverBudget,
    /// It gave back something that the hook does not take.
    WrongAnswer,
}

impl FaultKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::OverBudget => "over_budget",
            Self::WrongAnswer => "wrong_answer",
        }
    }
}

/// A script gave no answer: what is built in decides.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the policy's `{hook}`: {message}")]
pub struct ScriptFault {
    pub hook: Hook,
    pub kind: FaultKind,
    pub message: String,
}

/// Characters of a message: a script may throw anything.
const LONGEST: usize = 300;

impl ScriptFault {
    pub(super) fn new(hook: Hook, kind: FaultKind, message: impl fmt::Display) -> Self {
        let message = message.to_string().chars().take(LONGEST).collect();
        Self {
            hook,
            kind,
            message,
        }
    }

    pub(super) fn of(hook: Hook, error: &EvalAltResult) -> Self {
        let kind = match error.unwrap_inner() {
            EvalAltResult::ErrorTooManyOperations(..)
            | EvalAltResult::ErrorTooManyVariables(..)
            | EvalAltResult::ErrorStackOverflow(..)
            | EvalAltResult::ErrorDataTooLarge(..)
            | EvalAltResult::ErrorTerminated(..) => FaultKind::OverBudget,
            _ => FaultKind::Failed,
        };
        Self::new(hook, kind, error)
    }
}

/// Why a file cannot be the policy.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("cannot read {path}: {error}")]
    Unreadable {
        path: PathBuf,
        error: std::io::Error,
    },
    /// Line and column count from 1; both are 0 for what concerns the whole script.
    #[error("{path}:{line}:{column}: {message}")]
    Wrong {
        path: PathBuf,
        line: usize,
        column: usize,
        message: String,
    },
}
