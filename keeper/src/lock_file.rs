//! The lock file: it lies beside the fleet file, with the extension `.lock`.

use std::fs::Permissions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use reconciler::lock::{Lock, LockError};

use crate::failure::Failure;

/// A lock file as it was read.
#[derive(Debug)]
pub struct LockFile {
    pub path: PathBuf,
    pub lock: Lock,
    /// None where there is no file.
    text: Option<String>,
}

impl LockFile {
    /// Reads the one of a fleet file; without a file nothing is locked.
    pub fn beside(fleet_file: &Path) -> Result<Self, Failure> {
        let path = fleet_file.with_extension("lock");
        let failure = |what: String| Failure::new(what).at(path.display().to_string());
        if path == fleet_file {
            return Err(failure(
                "a fleet file cannot have the name of its lock file".into(),
            ));
        }
        let text = match std::fs::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(failure(format!("cannot read the lock file: {error}"))),
        };
        let text = text.map(String::from_utf8).transpose();
        let text = text.map_err(|_| damaged(failure("the lock file is not UTF-8 text".into())))?;
        let lock = text.as_deref().map_or(Ok(Lock::default()), Lock::parse);
        match lock {
            Ok(lock) => Ok(Self { path, lock, text }),
            Err(LockError::Text {
                line,
                column,
                message,
            }) => {
                let place = format!("{}:{line}:{column}", path.display());
                let what = format!("the lock file is damaged: {message}");
                Err(damaged(Failure::new(what).at(place)))
            }
            Err(error @ LockError::Version(_)) => {
                Err(failure(format!("the lock file is not understood: {error}"))
                    .help("use the rbee that wrote it, or delete it and run `rbee lock`"))
            }
        }
    }

    /// Writes the lock where that changes the file, and says whether it did. No file is made for nothing.
    pub fn save(&mut self) -> Result<bool, Failure> {
        let text = self.lock.to_string();
        let is_needless = self.text.is_none() && self.lock.models.is_empty();
        if is_needless || self.text.as_ref() == Some(&text) {
            return Ok(false);
        }
        replace(&self.path, text.as_bytes()).map_err(|error| {
            Failure::new(format!("cannot write the lock file: {error}"))
                .at(self.path.display().to_string())
        })?;
        self.text = Some(text);
        Ok(true)
    }

    /// As it is called in messages.
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        name.to_string_lossy().into_owned()
    }
}

fn damaged(failure: Failure) -> Failure {
    failure.help("delete it and run `rbee lock`, or restore it from git")
}

/// Whoever reads meanwhile sees the old file or the whole new one.
pub fn replace(path: &Path, text: impl AsRef<[u8]>) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .prefix(".rbee")
        // As for any file: the user's umask takes from it.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)?;
    file.write_all(text.as_ref())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = r#"{ "version": 1, "models": { "tiny": {
        "source": "hf:a/b", "commit": "7ae557604adf67be50417f59c2c2f167def9a775",
        "format": "gguf", "architecture": "llama", "context_length": 1, "vocab_size": 1,
        "files": [{ "path": "x.gguf", "size": 1, "sha256": "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c" }] } } }"#;

    fn said(failure: Failure) -> (String, String, String) {
        let Failure::Other { what, at, help, .. } = failure else {
            panic!("{failure:?}");
        };
        (what, at.unwrap_or_default(), help.unwrap_or_default())
    }

    #[test]
    fn a_lock_is_written_when_it_changed_and_as_any_file_is() {
        let dir = tempfile::tempdir().unwrap();
        let fleet = dir.path().join("home.yaml");
        let mut file = LockFile::beside(&fleet).unwrap();
        assert_eq!(
            (&file.lock, file.name().as_str()),
            (&Lock::default(), "home.lock")
        );
        file.lock = Lock::parse(LOCK).unwrap();
        assert!(file.save().unwrap());
        std::fs::write(dir.path().join("other"), "").unwrap();
        let mode = |name: &str| {
            dir.path()
                .join(name)
                .metadata()
                .unwrap()
                .permissions()
                .mode()
        };
        assert_eq!(mode("home.lock"), mode("other"));
        let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
        let before = inode(&file.path);
        let mut again = LockFile::beside(&fleet).unwrap();
        assert_eq!(again.lock, file.lock);
        assert!(!again.save().unwrap());
        assert_eq!(inode(&file.path), before);
        let names = std::fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(names, 2, "something is left behind");
    }

    #[test]
    fn a_damaged_lock_is_told_with_its_place_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (fleet, lock) = (dir.path().join("fleet.yaml"), dir.path().join("fleet.lock"));
        std::fs::write(&lock, LOCK.replace("\"size\": 1", "\"size\": x")).unwrap();
        let (what, at, help) = said(LockFile::beside(&fleet).unwrap_err());
        assert_eq!(
            what,
            "the lock file is damaged: model `tiny`: expected value"
        );
        assert_eq!(at, format!("{}:4:47", lock.display()));
        assert_eq!(
            help,
            "delete it and run `rbee lock`, or restore it from git"
        );
        std::fs::write(&lock, b"\xff").unwrap();
        let (what, ..) = said(LockFile::beside(&fleet).unwrap_err());
        assert_eq!(what, "the lock file is not UTF-8 text");
        std::fs::write(&lock, r#"{ "version": 9 }"#).unwrap();
        let (what, ..) = said(LockFile::beside(&fleet).unwrap_err());
        assert!(
            what.ends_with("it has version 9, and this rbee reads version 1"),
            "{what}"
        );
    }

    #[test]
    fn a_fleet_file_is_never_taken_for_its_lock() {
        let (what, ..) = said(LockFile::beside(Path::new("my.lock")).unwrap_err());
        assert_eq!(what, "a fleet file cannot have the name of its lock file");
    }
}
