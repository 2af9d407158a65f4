//! Programs that outlive the hive that starts them: workers and orchestrators. Each is detached or has a unit of the
//! machine's supervisor, and each writes to a log of its own.

mod detach;
mod end;
pub mod log;
pub mod supervise;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pool_core::rpc::ErrorCode;
use pool_core::worker::{ProcessIdentity, Supervise};

pub use detach::become_program;
pub use end::end;

use crate::error::{Result, fail, io_error};
use crate::home::Locked;
use crate::{Hive, process};

/// What is started, and who looks after it.
#[derive(Debug)]
pub struct Service {
    /// Unique on the pool: its unit is named after it.
    pub name: String,
    /// What it is, for people.
    pub title: String,
    /// By absolute path.
    pub program: String,
    pub arguments: Vec<OsString>,
    pub log: PathBuf,
    pub supervise: Supervise,
}

/// A program of this hive's build: beside the hive, in the folder where that really lies, so that an upgrade never takes it
/// from under a process.
pub fn program(hive: &Hive, name: &str) -> Result<PathBuf> {
    let program = hive.exe.with_file_name(name);
    if program.is_file() {
        return Ok(program);
    }
    Err(fail(
        ErrorCode::NotFound,
        format!("there is no {}", program.display()),
        "the programs have to lie beside rbee-hive; `rbee apply` brings them all",
    ))
}

impl Service {
    /// Starts a process. None where it ended at once, or its supervisor did not start it within a second.
    pub fn start(&self, hive: &Hive, home: &Locked) -> Result<Option<ProcessIdentity>> {
        if self.supervise.is_none() {
            return self.detached(hive, home);
        }
        // The file is the user's alone before the supervisor opens it.
        log::open(&self.log)?;
        supervise::start(home, self)
    }

    /// Starts a process that nobody looks after.
    fn detached(&self, hive: &Hive, home: &Locked) -> Result<Option<ProcessIdentity>> {
        let log = log::open(&self.log)?;
        let program = Path::new(&self.program);
        let spawn = || {
            let command = detach::command(&hive.exe, program, &self.arguments, log)?;
            let mut command = tokio::process::Command::from(command);
            command.current_dir(home.root()).spawn()
        };
        // Not killed when dropped; tokio reaps it, should it end while this hive still runs.
        let child = spawn().map_err(|e| io_error("start", program, &e))?;
        Ok(child.id().and_then(process::identify))
    }

    /// The process while it lives, also when the hive that started it was killed before it could write it down, or when
    /// its supervisor started it again.
    pub fn process(
        &self,
        recorded: Option<&ProcessIdentity>,
        is_starting: bool,
    ) -> Option<ProcessIdentity> {
        match recorded {
            Some(process) if process::is_alive(process) => Some(process.clone()),
            _ if !self.supervise.is_none() => process::find(&self.arguments),
            None if is_starting => self.find_started(),
            _ => None,
        }
    }

    /// Looks for the process of a start that was cut short, by its command line.
    ///
    /// A process has none for a moment while it becomes another program. What it has all the time is
    /// its log, so as long as that is held the process is there and is looked for again.
    fn find_started(&self) -> Option<ProcessIdentity> {
        let deadline = Instant::now() + Duration::from_secs(1);
        loop {
            let found = process::find(&self.arguments);
            if found.is_some() || !log::is_held(&self.log) || Instant::now() > deadline {
                return found;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}
