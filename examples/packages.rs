//! Clients in other languages: installed on first use and kept. Tests include this file by its path.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a command that must succeed. What it writes is seen at once: the first run installs a lot.
pub fn run(command: &mut Command) {
    let _ = writeln!(std::io::stderr(), "$ {command:?}");
    assert!(command.status().unwrap().success(), "{command:?}");
}

/// A folder that is made when what is wanted in it has changed, and kept.
pub fn kept(name: &str, wanted: &str, make: impl FnOnce(&Path)) -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&root).unwrap();
    // Another test run may be making it just now.
    let lock = File::create(root.join("lock")).unwrap();
    lock.lock().unwrap();
    let (folder, made) = (root.join("folder"), root.join("made"));
    if fs::read_to_string(&made).ok().as_deref() != Some(wanted) {
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        make(&folder);
        fs::write(made, wanted).unwrap();
    }
    folder
}

/// The programs of a virtual environment with these packages, kept under this name.
pub fn python(name: &str, requirements: &Path) -> PathBuf {
    let wanted = fs::read_to_string(requirements).unwrap();
    let make = |folder: &Path| {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder));
        let mut pip = Command::new(folder.join("bin/python"));
        pip.args(["-m", "pip", "install", "--no-deps", "--progress-bar", "off"]);
        run(pip.arg("-r").arg(requirements));
    };
    kept(name, &wanted, make).join("bin")
}
