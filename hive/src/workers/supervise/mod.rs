//! Workers that the pool's own supervisor starts again after a crash or a boot: each has a unit of its own, in the folder
//! where the supervisor looks for those of the user.

mod launchd;
mod systemd;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use pool_core::address::WorkerAddress;
use pool_core::name::WorkerId;
use pool_core::rpc::ErrorCode;
use pool_core::worker::{ProcessIdentity, Supervise, WorkerRecord};

use super::record;
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

/// Writes the unit of a worker and has it started. None where no process of it is seen after a second.
pub fn start(home: &Locked, record: &WorkerRecord) -> Result<Option<ProcessIdentity>> {
    let Some(unit) = unit(home, record)? else {
        return Ok(None);
    };
    let folder = unit.path.parent().unwrap_or(&unit.path);
    std::fs::create_dir_all(folder).map_err(|e| io_error("make", folder, &e))?;
    file::write(&unit.path, unit.text.as_bytes())?;
    let started = match record.spec.supervise {
        Supervise::None => Ok(()),
        Supervise::Systemd => systemd::start(&unit.name),
        Supervise::Launchd => launchd::start(&unit),
    };
    if let Err(error) = started {
        // The first failure is the one to tell.
        let _ = forget(home, record);
        return Err(error);
    }
    let deadline = Instant::now() + Duration::from_secs(1);
    loop {
        let found = find(home, record);
        if found.is_some() || Instant::now() > deadline {
            return Ok(found);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Has the supervisor end a worker and not start it again. Does not wait for the end.
pub fn release(home: &Home, record: &WorkerRecord) -> Result<()> {
    match unit(home, record)? {
        Some(unit) if unit.path.exists() => match record.spec.supervise {
            Supervise::None => Ok(()),
            Supervise::Systemd => systemd::release(&unit.name),
            Supervise::Launchd => launchd::release(&unit.name),
        },
        _ => Ok(()),
    }
}

/// Takes the unit of a worker away, which ends what may still run of it.
pub fn forget(home: &Locked, record: &WorkerRecord) -> Result<()> {
    release(home, record)?;
    let Some(unit) = unit(home, record)? else {
        return Ok(());
    };
    match std::fs::remove_file(&unit.path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        removed => removed.map_err(|e| io_error("remove", &unit.path, &e))?,
    }
    match record.spec.supervise {
        Supervise::Systemd => systemd::forget(&unit.name),
        Supervise::None | Supervise::Launchd => Ok(()),
    }
}

/// The process of a supervised worker, which need not be the one that was recorded.
pub fn find(home: &Home, record: &WorkerRecord) -> Option<ProcessIdentity> {
    if record.spec.supervise.is_none() {
        return None;
    }
    process::find(&record::launch_of(home, record).to_argv())
}

/// What a supervisor reads, and how it calls it.
struct Unit {
    name: String,
    path: PathBuf,
    text: String,
}

/// None of a worker that nobody supervises.
fn unit(home: &Home, record: &WorkerRecord) -> Result<Option<Unit>> {
    let arguments = record::launch_of(home, record).to_argv();
    let arguments = arguments.iter().map(|word| word.to_string_lossy().into());
    let worker = Described {
        id: &record.id,
        address: record.spec.address.as_ref(),
        command: std::iter::once(record.program.clone())
            .chain(arguments)
            .collect(),
        folder: home.root(),
        log: Path::new(&record.log),
    };
    match record.spec.supervise {
        Supervise::None => Ok(None),
        Supervise::Systemd => systemd::unit(&worker).map(Some),
        Supervise::Launchd => launchd::unit(&worker).map(Some),
    }
}

/// What a unit says.
struct Described<'a> {
    id: &'a WorkerId,
    address: Option<&'a WorkerAddress>,
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
