//! What a run found: printed, and kept.

use jiff::Timestamp;

use super::Ready;
use super::compare::{self, Compared};
use super::kept::{self, Kept};
use crate::cli::{Global, Test};
use crate::commands;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::report::support::{Cell, Results};
use crate::terminal::Terminal;

/// What a run found.
pub enum Asked {
    Cells(Vec<Cell>),
    Compared(Vec<Compared>),
}

impl Asked {
    /// Prints and keeps it.
    pub fn tell(
        self,
        global: &Global,
        args: &Test,
        kept: Option<Kept>,
        earlier: Option<Results>,
        ready: &Ready,
        terminal: Terminal,
    ) -> Result<Exit, Failure> {
        let fleet = ready.desired.fleet.clone();
        let cells = match self {
            Self::Compared(compared) => {
                let document = compare::Document::new(fleet, args.tolerance, compared);
                let exit = document.exit();
                let text = || document.text(terminal.style());
                commands::result(global, terminal, "test", exit, &document, text)?;
                return Ok(exit);
            }
            Self::Cells(cells) => cells,
        };
        let results = Results {
            version: Results::VERSION,
            fleet,
            rbee: pool_core::VERSION.to_owned(),
            at: Timestamp::now(),
            cells,
        };
        let exit = results.exit();
        let write = || {
            if let Some(path) = &args.junit {
                kept::junit(path, &results)?;
            }
            match kept {
                Some(kept) => kept.save(&results.clone().with_others(earlier, &ready.all)),
                None => Ok(()),
            }
        };
        // What was found is told, whatever becomes of the files.
        let written = write();
        let text = || results.text(terminal.style());
        commands::result(global, terminal, "test", exit, &results, text)?;
        match written {
            Err(failure) if exit == Exit::DONE => {
                terminal.failure(&failure);
                Ok(Exit::ERROR)
            }
            Err(failure) => {
                terminal.failure(&failure);
                Ok(exit)
            }
            Ok(()) => Ok(exit),
        }
    }
}
