//! What is wrong with a file of tenants.

use std::fmt;
use std::path::PathBuf;

use granit_parser::Marker;

/// Where something stands, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
}

impl Place {
    pub(super) fn of(marker: &Marker) -> Self {
        Self {
            line: marker.line(),
            column: marker.col() + 1,
        }
    }
}

/// One thing that is wrong, and what to do about it. A key is never part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub place: Place,
    pub message: String,
    pub hint: String,
}

impl Problem {
    pub(super) fn new(place: Place, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            place,
            message: message.into(),
            hint: hint.into(),
        }
    }
}

/// Why a file of tenants cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TenantsError {
    #[error("cannot read {path}: {error}")]
    Unreadable {
        path: PathBuf,
        error: std::io::Error,
    },
    /// Who may write to it may give itself a key.
    #[error("others than its owner may write to {path} (its mode is {mode:o}): chmod go-w {path}")]
    Writable { path: PathBuf, mode: u32 },
    /// Everything that is wrong, in the order of the file.
    #[error("{}", Listed(.path, .problems))]
    Wrong {
        path: PathBuf,
        problems: Vec<Problem>,
    },
}

struct Listed<'a>(&'a PathBuf, &'a [Problem]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.1.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            let Place { line, column } = problem.place;
            let path = self.0.display();
            write!(
                f,
                "{path}:{line}:{column}: {} ({})",
                problem.message, problem.hint
            )?;
        }
        Ok(())
    }
}
