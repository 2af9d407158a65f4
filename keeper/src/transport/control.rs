//! Where ssh keeps its control sockets.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
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

/// Takes away what killed runs left behind: folders whose master is gone.
fn tidy(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let refused = UnixStream::connect(entry.path().join("master"))
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        let age = entry.metadata().and_then(|meta| meta.modified());
        let old = age.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > Duration::from_hours(1)));
        let master_exists = entry.path().join("master").exists();
        if refused || (old && !master_exists) {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
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
}
