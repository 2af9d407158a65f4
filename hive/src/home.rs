//! The folder that holds all state of a pool, and the lock that guards it.
//!
//! ```text
//! lock                              held while something is written
//! apply.lock                        held for one apply of the whole pool; says by whom
//! catalog.json                      the models that the pool knows
//! rates.json                        how fast content came the last time
//! models/blobs/<sha256>             content, each only once
//! models/incoming/<sha256>          content that is still on its way; what of it is here in <sha256>.parts
//! models/<id>/<digest>/<path>       one model: links into blobs
//! workers/<id>.json  logs/<id>.log  one worker process
//! orchestrators/<fleet>.json        the orchestrator of a fleet; its log is logs/orchestrator-<fleet>.log
//! orchestrators/<fleet>/            what it stores, and the files that it is given
//! fleets/<fleet>.json               the token of a fleet, and where its orchestrator is
//! bin/<digest>/                     installed binaries; bin/current links to one
//! checkout.json                     the git checkout that was built last, and as which build
//! ```

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::ops::Deref;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pool_core::digest::Sha256;
use pool_core::name::{FleetName, ModelId, WorkerId};
use pool_core::orchestrator::ConfigFile;
use pool_core::rpc::ErrorCode;
use rustix::fs::{FlockOperation, flock};

use crate::error::{Result, fail, io_error};
use crate::file;

/// After how long of waiting for the lock a word is said, and after how long it is given up.
const PATIENCE: [Duration; 2] = [Duration::from_secs(2), Duration::from_mins(1)];

/// Between two tries to get the lock.
const INTERVAL: Duration = Duration::from_millis(5);

/// Where a pool keeps its state: an absolute path in UTF-8.
#[derive(Debug, Clone)]
pub struct Home(PathBuf);

impl Home {
    /// Names the folder; creates nothing.
    pub fn new(path: &Path) -> Result<Self> {
        let refuse = |reason: &str, help: &str| {
            let message = format!("the pool's home {} {reason}", path.display());
            Err(fail(ErrorCode::BadRequest, message, help))
        };
        if !path.is_absolute() {
            let help = "let RBEE_HOME name it from / on: a pool has the same home wherever it is asked from";
            return refuse("is a relative path", help);
        }
        if path.to_str().is_none() {
            return refuse("is not UTF-8", "let RBEE_HOME name a folder whose path is");
        }
        let is_no_folder = match path.metadata() {
            Ok(metadata) => !metadata.is_dir(),
            Err(e) => e.kind() == io::ErrorKind::NotADirectory,
        };
        if is_no_folder {
            return refuse(
                "is no folder, or lies in what is none",
                "let RBEE_HOME name a folder, or move away the file that has its name",
            );
        }
        Ok(Self(path.to_owned()))
    }

    /// `$RBEE_HOME`, or else `rbee` in the platform's folder for data.
    pub fn from_env() -> Result<Self> {
        let var = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let platform = || {
            if cfg!(target_os = "macos") {
                Some(var("HOME")?.join("Library/Application Support"))
            } else {
                var("XDG_DATA_HOME").or_else(|| Some(var("HOME")?.join(".local/share")))
            }
        };
        let path = var("RBEE_HOME").or_else(|| Some(platform()?.join("rbee")));
        match path {
            Some(path) => Self::new(&path),
            None => Err(fail(
                ErrorCode::BadRequest,
                "neither RBEE_HOME nor HOME is set, or they are empty",
                "let RBEE_HOME name the folder for the pool's state",
            )),
        }
    }

    pub fn root(&self) -> &Path {
        &self.0
    }

    pub fn catalog(&self) -> PathBuf {
        self.0.join("catalog.json")
    }

    pub fn rates(&self) -> PathBuf {
        self.0.join("rates.json")
    }

    pub fn models(&self) -> PathBuf {
        self.0.join("models")
    }

    /// The names in `models/` that are no model's.
    pub const RESERVED: [&str; 2] = ["blobs", "incoming"];

    pub fn blobs(&self) -> PathBuf {
        self.models().join("blobs")
    }

    pub fn blob(&self, sha256: &Sha256) -> PathBuf {
        self.blobs().join(sha256.to_string())
    }

    pub fn incoming(&self) -> PathBuf {
        self.models().join("incoming")
    }

    /// The folder of one model in one content.
    pub fn model(&self, id: &ModelId, digest: &Sha256) -> PathBuf {
        self.models().join(id.as_str()).join(digest.short())
    }

    pub fn workers(&self) -> PathBuf {
        self.0.join("workers")
    }

    pub fn record(&self, id: &WorkerId) -> PathBuf {
        self.workers().join(format!("{id}.json"))
    }

    pub fn logs(&self) -> PathBuf {
        self.0.join("logs")
    }

    pub fn log(&self, id: &WorkerId) -> PathBuf {
        self.logs().join(format!("{id}.log"))
    }

    pub fn orchestrators(&self) -> PathBuf {
        self.0.join("orchestrators")
    }

    pub fn orchestrator(&self, fleet: &FleetName) -> PathBuf {
        self.orchestrators().join(format!("{fleet}.json"))
    }

    /// What the orchestrator of a fleet stores.
    pub fn store(&self, fleet: &FleetName) -> PathBuf {
        self.orchestrators().join(fleet.as_str())
    }

    /// A file that the orchestrator of a fleet is given.
    pub fn config(&self, fleet: &FleetName, file: ConfigFile) -> PathBuf {
        self.store(fleet).join(file.file_name())
    }

    pub fn orchestrator_log(&self, fleet: &FleetName) -> PathBuf {
        self.logs().join(format!("orchestrator-{fleet}.log"))
    }

    pub fn links(&self) -> PathBuf {
        self.0.join("fleets")
    }

    pub fn link(&self, fleet: &FleetName) -> PathBuf {
        self.links().join(format!("{fleet}.json"))
    }

    pub fn bin(&self) -> PathBuf {
        self.0.join("bin")
    }

    pub fn checkout(&self) -> PathBuf {
        self.0.join("checkout.json")
    }

    pub fn lease(&self) -> PathBuf {
        self.0.join("apply.lock")
    }

    /// Waits for the lock, not for ever; makes the folder where there is none.
    ///
    /// Held only while something is written, never while waiting for a worker or for content.
    pub fn lock(&self) -> Result<Locked> {
        self.lock_within(PATIENCE, |text| {
            let _ = writeln!(io::stderr(), "{text}");
        })
    }

    fn lock_within(
        &self,
        [speak, give_up]: [Duration; 2],
        say: impl FnOnce(String),
    ) -> Result<Locked> {
        self.prepare()?;
        let path = self.0.join("lock");
        let file = open_lock(&path)?;
        let since = Instant::now();
        let mut say = Some(say);
        while !try_lock(&file, &path)? {
            let waited = since.elapsed();
            if waited >= give_up {
                return Err(fail(
                    ErrorCode::Io,
                    format!(
                        "another rbee-hive holds {} for more than {} s",
                        path.display(),
                        give_up.as_secs()
                    ),
                    format!(
                        "it writes for moments only, so it hangs: `lsof {}` names it; end it, then try again",
                        path.display()
                    ),
                ));
            }
            if waited >= speak
                && let Some(say) = say.take()
            {
                say(format!(
                    "waiting for {}, which another rbee-hive holds",
                    path.display()
                ));
            }
            std::thread::sleep(INTERVAL);
        }
        // Whoever holds the lock is the only one who writes.
        let written = [self.workers(), self.orchestrators(), self.links()];
        for folder in written.iter().map(PathBuf::as_path).chain([self.root()]) {
            file::remove_broken_off(folder)?;
        }
        Ok(Locked {
            home: self.clone(),
            _file: file,
        })
    }

    fn prepare(&self) -> Result<()> {
        for folder in [
            self.0.clone(),
            self.blobs(),
            self.incoming(),
            self.workers(),
            self.orchestrators(),
            self.links(),
            self.logs(),
        ] {
            file::make_private(&folder)?;
        }
        // Whoever installed the binaries may have made the folder first, open to all.
        let metadata = self
            .0
            .metadata()
            .map_err(|e| io_error("read", &self.0, &e))?;
        if metadata.permissions().mode() & 0o077 != 0 {
            std::fs::set_permissions(&self.0, Permissions::from_mode(0o700))
                .map_err(|e| io_error("close to others", &self.0, &e))?;
        }
        Ok(())
    }
}

/// Opens a file that is there to be locked, its content as it is.
pub fn open_lock(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).read(true).write(true).truncate(false);
    let opened = options.mode(0o600).open(path);
    opened.map_err(|e| io_error("open", path, &e))
}

/// Takes the lock of a file; false where another holds it. It ends with the file, so with the process.
pub fn try_lock(file: &File, path: &Path) -> Result<bool> {
    let locked =
        rustix::io::retry_on_intr(|| flock(file, FlockOperation::NonBlockingLockExclusive));
    match locked {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(io_error("lock", path, &e.into())),
    }
}

/// The home while nobody else writes to it. The lock dies with its holder.
#[derive(Debug)]
pub struct Locked {
    home: Home,
    _file: File,
}

impl Deref for Locked {
    type Target = Home;

    fn deref(&self) -> &Home {
        &self.home
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_that_does_not_come_is_spoken_of_and_then_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::new(folder.path()).unwrap();
        let held = home.lock().unwrap();
        let mut said = None;
        let patience = [Duration::from_millis(5), Duration::from_millis(50)];
        let refused = home.lock_within(patience, |text| said = Some(text));
        let error = refused.unwrap_err();
        assert!(error.message.contains("/lock for more than"), "{error}");
        assert!(error.help.unwrap().contains("lsof "));
        assert!(said.unwrap().starts_with("waiting for "));
        drop(held);
        home.lock_within(patience, |text| panic!("{text}")).unwrap();
    }

    #[test]
    fn a_home_that_can_be_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        for (path, reason) in [
            (file.join("below"), "is no folder"),
            (file, "is no folder"),
            ("here".into(), "is a relative path"),
        ] {
            let error = Home::new(&path).unwrap_err();
            assert!(error.message.contains(reason), "{error}");
        }
        Home::new(&folder.path().join("not yet")).unwrap();
    }
}
