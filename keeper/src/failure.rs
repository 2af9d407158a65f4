//! Why a command could not do its work, and what to do about it.

use std::path::PathBuf;

use pool_core::rpc::HiveError;
use pool_core::units;
use reconciler::problem::Problem;
use schemars::JsonSchema;
use serde::Serialize;

use crate::exit::Exit;
use crate::transport::{CallError, ConnectError, InstallError};

/// A command that failed as a whole.
#[derive(Debug)]
pub enum Failure {
    /// A file has these mistakes.
    Problems {
        file: PathBuf,
        text: String,
        problems: Vec<Problem>,
    },
    Other {
        what: String,
        /// The file or pool that it is about.
        at: Option<String>,
        help: Option<String>,
        exit: Exit,
    },
}

impl Failure {
    pub fn new(what: impl Into<String>) -> Self {
        Self::Other {
            what: what.into(),
            at: None,
            help: None,
            exit: Exit::ERROR,
        }
    }

    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        if let Self::Other { at, .. } = &mut self {
            *at = Some(place.into());
        }
        self
    }

    #[must_use]
    pub fn help(mut self, text: impl Into<String>) -> Self {
        if let Self::Other { help, .. } = &mut self {
            *help = Some(text.into());
        }
        self
    }

    #[must_use]
    pub fn exit(mut self, code: Exit) -> Self {
        if let Self::Other { exit, .. } = &mut self {
            *exit = code;
        }
        self
    }

    pub fn code(&self) -> Exit {
        match self {
            Self::Problems { .. } => Exit::ERROR,
            Self::Other { exit, .. } => *exit,
        }
    }
}

/// What `--json` prints of a command that failed as a whole.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ErrorDocument {
    pub error: ErrorReport,
}

/// A failure for programs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ErrorReport {
    pub what: String,
    /// The file, the place in it, or the pool.
    pub at: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
    /// The exit code.
    pub exit: u8,
    /// Of a file with mistakes, all of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<ProblemReport>,
}

/// A mistake of a file for programs. Lines, columns and lengths count characters from 1.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ProblemReport {
    pub line: usize,
    pub column: usize,
    pub length: usize,
    pub message: String,
    pub hint: Option<String>,
}

impl Failure {
    /// The document that a command prints in place of its own.
    pub fn json(&self) -> String {
        let document = ErrorDocument {
            error: self.report(),
        };
        // Plain data: writing it as JSON cannot fail.
        serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
    }

    pub fn report(&self) -> ErrorReport {
        let exit = self.code().0;
        match self {
            Self::Problems { file, problems, .. } => ErrorReport {
                what: format!(
                    "{} has {}",
                    file.display(),
                    units::count(problems.len(), "problem")
                ),
                at: problems
                    .first()
                    .map(|first| format!("{}:{}:{}", file.display(), first.line, first.column)),
                help: None,
                exit,
                problems: problems.iter().map(ProblemReport::from).collect(),
            },
            Self::Other { what, at, help, .. } => ErrorReport {
                what: what.clone(),
                at: at.clone(),
                help: help.clone(),
                exit,
                problems: Vec::new(),
            },
        }
    }
}

impl From<&Problem> for ProblemReport {
    fn from(problem: &Problem) -> Self {
        Self {
            line: problem.line,
            column: problem.column,
            length: problem.length,
            message: problem.message.clone(),
            hint: problem.hint.clone(),
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Self::new(error.to_string())
            .help(error.help)
            .exit(Exit::UNREACHABLE)
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let text = error.to_string();
        match error {
            CallError::Hive {
                error: HiveError { help, .. },
                ..
            } => Self::Other {
                what: text,
                at: None,
                help,
                exit: Exit::ERROR,
            },
            CallError::Lost { .. } => Self::new(text).exit(Exit::UNREACHABLE),
            CallError::Source { .. } => Self::new(text),
        }
    }
}

impl From<InstallError> for Failure {
    fn from(error: InstallError) -> Self {
        let exit = match &error {
            InstallError::Connect(_) => Exit::UNREACHABLE,
            InstallError::Failed { .. } => Exit::ERROR,
        };
        Self::new(error.to_string()).help(error.help()).exit(exit)
    }
}
