//! Puts programs of this machine where `rbee apply` would put those that it brings.

use std::fs::{File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pool_core::build::{PROGRAMS, SUMS, sums};
use pool_core::digest::{Hasher, Sha256};

use crate::error::{Result, io_error};
use crate::file::{make_private, sync_folder};
use crate::home::Locked;

/// Starts the names of what is not in its place yet, here and in the script that `rbee apply` installs with.
const INCOMING: &str = ".new-";

/// After which time nobody works on one any more.
const FORGOTTEN: Duration = Duration::from_hours(1);

/// Makes these programs, in the order of [`PROGRAMS`], the current build, and returns its name. What runs goes on with the
/// build that it was started from.
///
/// A build is in its place whole or not at all, and `current` always names one.
pub fn install(home: &Locked, programs: &[PathBuf; 3]) -> Result<Sha256> {
    let bin = home.bin();
    make_private(&bin)?;
    let refused = |e: io::Error| io_error("install programs in", &bin, &e);
    // What cannot be removed now waits for the next time.
    let _ = remove_forgotten(&bin);
    let mut incoming = tempfile::Builder::new();
    incoming
        .prefix(INCOMING)
        .permissions(Permissions::from_mode(0o700));
    let incoming = incoming.tempdir_in(&bin).map_err(refused)?;
    let mut digests = Vec::new();
    for (name, program) in PROGRAMS.into_iter().zip(programs) {
        let mut source = File::open(program).map_err(|e| io_error("read", program, &e))?;
        let digest = copy(&mut source, &incoming.path().join(name)).map_err(refused)?;
        digests.push((name, digest));
    }
    let sums = sums(digests);
    let digest = Sha256::of(&sums);
    let aside = || bin.join(format!("{INCOMING}{}", crate::random_hex()));
    let place = || {
        write(&incoming.path().join(SUMS), &sums)?;
        sync_folder(incoming.path())?;
        let folder = bin.join(digest.to_string());
        if !is_whole(&folder, &sums) {
            let damaged = aside();
            let is_there = folder.exists();
            if is_there {
                std::fs::rename(&folder, &damaged)?;
            }
            std::fs::rename(incoming.path(), &folder)?;
            if is_there {
                std::fs::remove_dir_all(&damaged)?;
            }
        }
        let link = aside();
        symlink(digest.to_string(), &link)?;
        std::fs::rename(&link, bin.join("current"))?;
        sync_folder(&bin)
    };
    place().map_err(refused)?;
    Ok(digest)
}

fn copy(source: &mut File, to: &Path) -> io::Result<Sha256> {
    let mut file = File::create_new(to)?;
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; 256 << 10];
    loop {
        let count = source.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        file.write_all(&buffer[..count])?;
    }
    file.set_permissions(Permissions::from_mode(0o755))?;
    file.sync_all()?;
    Ok(hasher.finish())
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Whether all that the list of a build names is there, as the list says.
fn is_whole(folder: &Path, expected: &str) -> bool {
    let digest = |name| {
        let content = std::fs::read(folder.join(name)).ok()?;
        Some((name, Sha256::of(content)))
    };
    let found: Option<Vec<_>> = PROGRAMS.into_iter().map(digest).collect();
    let listed = std::fs::read_to_string(folder.join(SUMS));
    found.is_some_and(|found| sums(found) == expected) && listed.is_ok_and(|it| it == expected)
}

/// Removes what installations that were broken off left behind.
fn remove_forgotten(bin: &Path) -> io::Result<()> {
    for entry in bin.read_dir()? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let age = metadata.modified()?.elapsed().unwrap_or_default();
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(INCOMING.as_bytes())
            && age > FORGOTTEN
        {
            if metadata.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{read, write};

    use super::*;
    use crate::builds::current;
    use crate::home::Home;

    struct Site {
        folder: tempfile::TempDir,
        home: Home,
    }

    impl Site {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let home = Home::new(&folder.path().join("home")).unwrap();
            Self { folder, home }
        }

        /// Installs three programs that say this.
        fn install(&self, text: &str) -> Sha256 {
            let programs = PROGRAMS.map(|name| self.folder.path().join(name));
            for program in &programs {
                write(program, format!("{text}{}", program.display())).unwrap();
            }
            install(&self.home.lock().unwrap(), &programs).unwrap()
        }

        fn names(&self) -> Vec<String> {
            let entries = self.home.bin().read_dir().unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.collect();
            names.sort();
            names
        }
    }

    #[test]
    fn a_build_is_named_by_its_list_and_becomes_the_current_one() {
        let site = Site::new();
        let first = site.install("first");
        assert_eq!(current(&site.home), Some(first));
        let second = site.install("second");
        assert_eq!(current(&site.home), Some(second));
        let folder = site.home.bin().join("current");
        assert_eq!(Sha256::of(read(folder.join(SUMS)).unwrap()), second);
        for name in PROGRAMS {
            let metadata = folder.join(name).metadata().unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, 0o755);
        }
        let mode = folder.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let mut expected = [first.to_string(), second.to_string(), "current".into()];
        expected.sort();
        assert_eq!(site.names(), expected);
    }

    #[test]
    fn a_build_that_is_there_stays_and_one_that_was_damaged_is_put_right() {
        let site = Site::new();
        let build = site.install("same");
        let program = site.home.bin().join(build.to_string()).join(PROGRAMS[0]);
        let before = program.metadata().unwrap().modified().unwrap();
        assert_eq!(site.install("same"), build);
        assert_eq!(program.metadata().unwrap().modified().unwrap(), before);
        write(&program, "damaged").unwrap();
        assert_eq!(site.install("same"), build);
        assert!(read(&program).unwrap().starts_with(b"same"));
    }

    #[test]
    fn what_was_broken_off_an_hour_ago_is_cleared_away() {
        let site = Site::new();
        let build = site.install("any");
        let bin = site.home.bin();
        for (name, hours) in [(".new-old", 2), (".new-young", 0), ("mine", 2)] {
            let folder = bin.join(name);
            std::fs::create_dir(&folder).unwrap();
            let then = std::time::SystemTime::now() - Duration::from_hours(hours);
            File::open(&folder).unwrap().set_modified(then).unwrap();
        }
        site.install("any");
        let mut expected = [".new-young", "current", "mine", &build.to_string()].map(str::to_owned);
        expected.sort();
        assert_eq!(site.names(), expected);
    }
}
