//! The installed builds: `bin/<digest>/`.

mod install;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use pool_core::digest::Sha256;

use crate::Hive;
use crate::error::{Result, io_error};
use crate::home::{Home, Locked};

pub use install::install;

/// How many builds that nothing runs from are kept.
const KEPT: usize = 2;

/// The build in whose folder this program lies; none where it runs from elsewhere.
pub fn own(hive: &Hive) -> Option<Sha256> {
    of(&hive.home, &hive.exe)
}

/// The build that `bin/current` names.
pub fn current(home: &Home) -> Option<Sha256> {
    let link = std::fs::read_link(home.bin().join("current")).ok()?;
    link.file_name()?.to_str()?.parse().ok()
}

/// The build that a program belongs to; none where it lies elsewhere.
pub fn of(home: &Home, program: &Path) -> Option<Sha256> {
    let folder = program.parent()?;
    if folder.parent()? != home.bin().canonicalize().ok()? {
        return None;
    }
    folder.file_name()?.to_str()?.parse().ok()
}

/// Removes the oldest builds that are neither current, nor this program's, nor that of one of these.
pub fn prune<'a>(
    hive: &'a Hive,
    home: &Locked,
    programs: impl Iterator<Item = &'a Path>,
) -> Result<()> {
    let bin = home.bin();
    let used: BTreeSet<String> = programs
        .chain([hive.exe.as_path()])
        .filter_map(|program| Some(program.parent()?.file_name()?.to_str()?.to_owned()))
        .chain(current(home).map(|build| build.to_string()))
        .collect();
    let act = || {
        let mut unused: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in bin.read_dir()? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            let is_build = name.parse::<Sha256>().is_ok() && entry.file_type()?.is_dir();
            if is_build && !used.contains(name) {
                unused.push((entry.metadata()?.modified()?, entry.path()));
            }
        }
        unused.sort();
        let surplus = unused.len().saturating_sub(KEPT);
        for (_, folder) in &unused[..surplus] {
            std::fs::remove_dir_all(folder)?;
        }
        Ok(())
    };
    act().map_err(|e| io_error("clean up", &bin, &e))
}
