//! The folder that holds all state of a pool, and the lock that guards it.
//!
//! ```text
//! lock                              held while something is written
//! catalog.json                      the models that the pool knows
//! rates.json                        how fast content came the last time
//! models/blobs/<sha256>             content, each only once
//! models/incoming/<sha256>          content that is still on its way; what of it is here in <sha256>.parts
//! models/<id>/<digest>/<path>       one model: links into blobs
//! workers/<id>.json  logs/<id>.log  one worker process
//! bin/<digest>/                     installed binaries; bin/current links to one
//! ```

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::ops::Deref;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use pool_core::digest::Sha256;
use pool_core::name::{ModelId, WorkerId};
use pool_core::rpc::ErrorCode;
use rustix::fs::{FlockOperation, flock};

use crate::error::{Result, fail, io_error};

/// Where a pool keeps its state: an absolute path in UTF-8.
#[derive(Debug, Clone)]
pub struct Home(PathBuf);

impl Home {
    /// Names the folder; creates nothing.
    pub fn new(path: &Path) -> Result<Self> {
        let path = std::path::absolute(path).map_err(|e| io_error("find", path, &e))?;
        if path.to_str().is_none() {
            let message = format!("the path {} is not UTF-8", path.display());
            let help = "let RBEE_HOME name a folder whose path is";
            return Err(fail(ErrorCode::BadRequest, message, help));
        }
        Ok(Self(path))
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
                "neither RBEE_HOME nor HOME is set",
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

    pub fn bin(&self) -> PathBuf {
        self.0.join("bin")
    }

    /// Waits for the lock; makes the folder where there is none.
    ///
    /// Held only while something is written, never while waiting for a worker or for content.
    pub fn lock(&self) -> Result<Locked> {
        self.prepare()?;
        let path = self.0.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| io_error("open", &path, &e))?;
        rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))
            .map_err(|e| io_error("lock", &path, &e.into()))?;
        Ok(Locked {
            home: self.clone(),
            _file: file,
        })
    }

    fn prepare(&self) -> Result<()> {
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700);
        for folder in [
            self.0.clone(),
            self.blobs(),
            self.incoming(),
            self.workers(),
            self.logs(),
        ] {
            private
                .create(&folder)
                .map_err(|e| io_error("make", &folder, &e))?;
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
