//! Where ssh keeps its control sockets, and how a run finds the master that an earlier one left.
//!
//! ```text
//! <folder>/.ssh-connection??????/{master,log,home}   one master, named by the crate that starts it
//! <folder>/<key>                                     links to the folder of the master that is shared under this key
//! ```

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, DirEntry};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

/// The folder, made and tidied once a run.
pub fn folder() -> Result<&'static Path, String> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let runtime =
            std::env::var_os("XDG_RUNTIME_DIR").map(|dir| PathBuf::from(dir).join("rbee"));
        let own = format!("rbee-{}", rustix::process::getuid().as_raw());
        let candidates = [
            runtime.filter(|dir| dir.is_absolute()),
            Some(std::env::temp_dir().join(&own)),
            Some(Path::new("/tmp").join(&own)),
        ];
        let mut problems = Vec::new();
        for folder in candidates.into_iter().flatten() {
            match claim(&folder) {
                Ok(()) => {
                    tidy(&folder);
                    return Ok(folder);
                }
                Err(error) => problems.push(format!("{}: {error}", folder.display())),
            }
        }
        Err(format!(
            "no folder for ssh's control socket: {}",
            problems.join("; ")
        ))
    });
    folder.as_deref().map_err(Clone::clone)
}

/// Makes a folder that only this user can enter, or checks that it is one.
fn claim(folder: &Path) -> io::Result<()> {
    // With what ssh appends, a longer one exceeds the 108 bytes of a unix socket's name.
    const LONGEST: usize = 61;
    if folder.as_os_str().len() > LONGEST {
        return Err(io::Error::other(format!("longer than {LONGEST} bytes")));
    }
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        done => return done,
    }
    let meta = fs::symlink_metadata(folder)?;
    let own = meta.is_dir() && meta.uid() == rustix::process::getuid().as_raw();
    if !own || meta.mode() & 0o077 != 0 {
        return Err(io::Error::other("not a folder of this user alone"));
    }
    Ok(())
}

/// Where runs that would connect alike find one master.
#[derive(Debug)]
pub struct Place(PathBuf);

impl Place {
    /// `key` names everything that connections differ by, in at most 22 bytes: the name of a master's folder is as long.
    pub fn new(folder: &Path, key: &str) -> Self {
        Self(folder.join(key))
    }

    /// The control socket of the master that is shared here; whether it still lives shows when it is used.
    pub fn find(&self) -> Option<PathBuf> {
        let shared = self.shared()?;
        let socket = shared.join("master");
        if socket.exists() {
            return Some(socket);
        }
        // It ended, as it does when nobody uses it, and took its socket with it.
        fs::remove_dir_all(shared).ok();
        None
    }

    /// Shares a master from now on, and takes away the one before where it is dead. Of two that come at once, the later one is
    /// shared.
    pub fn share(&self, socket: &Path) -> io::Result<()> {
        let name = socket.parent().and_then(Path::file_name);
        let name = name.ok_or(io::ErrorKind::InvalidInput)?;
        // Nobody else has a folder of that name.
        let mut link = name.to_owned();
        link.push("-link");
        let link = self.0.with_file_name(link);
        symlink(name, &link)?;
        let before = self.shared();
        fs::rename(&link, &self.0)?;
        if let Some(before) = before.filter(|before| is_dead(before)) {
            fs::remove_dir_all(before).ok();
        }
        Ok(())
    }

    /// Whether this master is the one that later runs find.
    pub fn is_shared(&self, socket: &Path) -> bool {
        self.shared().as_deref() == socket.parent()
    }

    fn shared(&self) -> Option<PathBuf> {
        Some(self.0.with_file_name(fs::read_link(&self.0).ok()?))
    }
}

/// Takes away what killed runs left behind: folders whose master is gone, and links to them. Whether a master that is shared
/// still lives shows when it is used: it is asked only when it is old.
fn tidy(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_link = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_symlink());
    let (links, folders): (Vec<_>, Vec<_>) = entries.partition(is_link);
    let mut shared = BTreeSet::new();
    for link in links {
        if link.path().exists() {
            shared.extend(fs::read_link(link.path()).ok());
        } else {
            fs::remove_file(link.path()).ok();
        }
    }
    for entry in folders {
        let age = entry.metadata().and_then(|meta| meta.modified());
        let old = age.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > Duration::from_hours(1)));
        if !old && shared.contains(Path::new(&entry.file_name())) {
            continue;
        }
        let master_exists = entry.path().join("master").exists();
        if is_dead(&entry.path()) || (old && !master_exists) {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}

/// Nobody listens on the socket of this master any more.
fn is_dead(folder: &Path) -> bool {
    UnixStream::connect(folder.join("master"))
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_control_folder_is_for_this_user_alone() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("rbee");
        claim(&folder).unwrap();
        claim(&folder).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        symlink(&folder, dir.path().join("link")).unwrap();
        assert!(claim(&dir.path().join("link")).is_err());
        fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
        assert!(claim(&folder).is_err());
        assert!(claim(&dir.path().join("x".repeat(60))).is_err());
    }

    #[test]
    fn what_killed_runs_left_behind_is_taken_away_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let folder = dir.path().join(name);
            fs::create_dir(&folder).unwrap();
            folder
        };
        let (living, dead, young) = (folder("living"), folder("dead"), folder("young"));
        let _master = UnixListener::bind(living.join("master")).unwrap();
        drop(UnixListener::bind(dead.join("master")).unwrap());
        tidy(dir.path());
        assert!(living.exists() && !dead.exists() && young.exists());
    }

    #[test]
    fn a_master_is_found_where_it_was_shared_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let master = |name: &str| {
            fs::create_dir(dir.path().join(name)).unwrap();
            let socket = dir.path().join(name).join("master");
            (UnixListener::bind(&socket).unwrap(), socket)
        };
        let place = Place::new(dir.path(), "key");
        assert_eq!(place.find(), None);
        let ((_one, first), (_two, second)) = (master("first"), master("second"));
        place.share(&first).unwrap();
        assert_eq!(place.find().as_ref(), Some(&first));
        assert_eq!(Place::new(dir.path(), "another").find(), None);
        place.share(&second).unwrap();
        assert_eq!(place.find().as_ref(), Some(&second));
        assert!(place.is_shared(&second) && !place.is_shared(&first));
        fs::remove_file(&second).unwrap();
        assert_eq!(place.find(), None);
        assert!(!second.parent().unwrap().exists(), "nothing is left of it");
        tidy(dir.path());
        assert!(fs::read_link(dir.path().join("key")).is_err());
        assert!(first.exists());
    }
}
