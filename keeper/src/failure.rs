//! Why a command could not do its work, and what to do about it.

use std::path::PathBuf;

use pool_core::rpc::HiveError;
use reconciler::problem::Problem;

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
