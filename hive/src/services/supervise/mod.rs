//! Services that the pool's own supervisor starts again after a crash or a boot: each has a unit of its own, in the folder
//! where the supervisor looks for those of the user.

mod launchd;
mod systemd;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use pool_core::rpc::ErrorCode;
use pool_core::worker::{ProcessIdentity, Supervise};

use super::Service;
use crate::error::{Result, fail, io_error};
use crate::home::{Home, Locked};
use crate::{file, process};

/// Whether the pool has such a supervisor, and lets this user use it.
pub fn check(supervise: Supervise) -> Result<()> {
    match supervise {
        Supervise::None => Ok(()),
        Supervise::Systemd => systemd::check(),
        Supervise::Launchd => launchd::check(),
    }
}

/// Writes the unit of a service and has it started. None where no process of it is seen after a second.
pub(super) fn start(home: &Locked, service: &Service) -> Result<Option<ProcessIdentity>> {
    let Some(unit) = unit(home, service)? else {
        return Ok(None);
    };
    let folder = unit.path.parent().unwrap_or(&unit.path);
    std::fs::create_dir_all(folder).map_err(|e| io_error("make", folder, &e))?;
    file::write(&unit.path, unit.text.as_bytes())?;
    let started = match service.supervise {
        Supervise::None => Ok(()),
        Supervise::Systemd => systemd::start(&unit.name),
        Supervise::Launchd => launchd::start(&unit),
    };
    if let Err(error) = started {
        // The first failure is the one to tell.
        let _ = service.forget(home);
        return Err(error);
    }
    let deadline = Instant::now() + Duration::from_secs(1);
    loop {
        let found = process::find(&service.arguments);
        if found.is_some() || Instant::now() > deadline {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Service {
    /// Has the supervisor end the service and not start it again. Does not wait for the end.
    pub fn release(&self, home: &Home) -> Result<()> {
        match unit(home, self)? {
            Some(unit) if unit.path.exists() => match self.supervise {
                Supervise::None => Ok(()),
                Supervise::Systemd => systemd::release(&unit.name),
                Supervise::Launchd => launchd::release(&unit.name),
            },
            _ => Ok(()),
        }
    }

    /// Takes the unit of the service away, which ends what may still run of it.
    pub fn forget(&self, home: &Locked) -> Result<()> {
        self.release(home)?;
        let Some(unit) = unit(home, self)? else {
            return Ok(());
        };
        match std::fs::remove_file(&unit.path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            removed => removed.map_err(|e| io_error("remove", &unit.path, &e))?,
        }
        match self.supervise {
            Supervise::Systemd => systemd::forget(&unit.name),
            Supervise::None | Supervise::Launchd => Ok(()),
        }
    }
}

/// What a supervisor reads, and how it calls it.
struct Unit {
    name: String,
    path: PathBuf,
    text: String,
}

/// None of a service that nobody supervises.
fn unit(home: &Home, service: &Service) -> Result<Option<Unit>> {
    let arguments = service.arguments.iter();
    let arguments = arguments.map(|word| word.to_string_lossy().into());
    let described = Described {
        name: &service.name,
        title: &service.title,
        command: std::iter::once(service.program.clone())
            .chain(arguments)
            .collect(),
        folder: home.root(),
        log: &service.log,
    };
    match service.supervise {
        Supervise::None => Ok(None),
        Supervise::Systemd => systemd::unit(&described).map(Some),
        Supervise::Launchd => launchd::unit(&described).map(Some),
    }
}

/// What a unit says.
struct Described<'a> {
    name: &'a str,
    title: &'a str,
    command: Vec<String>,
    folder: &'a Path,
    log: &'a Path,
}

/// A folder of the user who runs the workers.
fn under_home(path: &str) -> Result<PathBuf> {
    let home = std::env::var_os("HOME").filter(|home| Path::new(home).is_absolute());
    let home = home.ok_or_else(|| {
        fail(
            ErrorCode::BadRequest,
            "HOME is not set, and units lie there",
            "let HOME name the folder of the user who runs the workers",
        )
    })?;
    Ok(Path::new(&home).join(path))
}

/// Runs a program of the system; on failure what it said.
fn run(program: &str, arguments: &[&OsStr]) -> std::result::Result<(), String> {
    let mut command = Command::new(program);
    command.args(arguments);
    // A login without a full session does not say where the user's manager listens.
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() {
        let uid = rustix::process::getuid().as_raw();
        command.env("XDG_RUNTIME_DIR", format!("/run/user/{uid}"));
    }
    let output = command.output().map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rev().find(|line| !line.trim().is_empty());
    Err(last.map_or_else(|| output.status.to_string(), |line| line.trim().to_owned()))
}
