//! The programs of a pool, laid out as `rbee apply` installs them.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use pool_core::digest::Sha256;

/// What lies beside the hive.
pub enum Worker {
    Real,
    /// A shell script. `$REAL` is the real worker, `$GATE` a path that a test can create.
    Script(&'static str),
    Missing,
}

/// A script that becomes the real worker once the file `gate` is in the pool's home.
pub const GATED: &str = r#"until [ -e "$GATE" ]; do sleep 0.01; done; exec "$REAL" "$@""#;

impl Worker {
    /// The real one, which starts only when the test lets it.
    pub fn gated() -> Self {
        Self::Script(GATED)
    }
}

/// Installs the hive, a worker and the orchestrator below `bin`, and returns the hive's path by way of `current`.
pub fn install(bin: &Path, worker: Worker) -> PathBuf {
    let build = Sha256::of("a build").to_string();
    let folder = bin.join(&build);
    std::fs::create_dir_all(&folder).unwrap();
    std::os::unix::fs::symlink(&build, bin.join("current")).unwrap();
    place(
        Path::new(env!("CARGO_BIN_EXE_rbee-hive")),
        &folder.join("rbee-hive"),
    );
    let program = folder.join("llm-worker-rbee");
    match worker {
        Worker::Real => place(real_worker(), &program),
        Worker::Missing => {}
        Worker::Script(text) => script(bin, real_worker(), &program, text),
    }
    place(real_orchestrator(), &folder.join("orchestratord"));
    bin.join("current/rbee-hive")
}

/// Puts a script in the place of the orchestrator: `$REAL` is the real one, `$GATE` a path that a test can create.
pub fn script_orchestrator(bin: &Path, text: &str) {
    let program = bin.join("current/orchestratord");
    std::fs::remove_file(&program).unwrap();
    script(bin, real_orchestrator(), &program, text);
}

fn script(bin: &Path, real: &Path, program: &Path, text: &str) {
    let gate = bin.with_file_name("gate");
    let text = format!(
        "#!/bin/sh\nGATE='{}'\nREAL='{}'\n{text}\n",
        gate.display(),
        real.display()
    );
    std::fs::write(program, text).unwrap();
    std::fs::set_permissions(program, PermissionsExt::from_mode(0o755)).unwrap();
}

/// A hard link: the program's own canonical path is then in the pool's folder.
fn place(program: &Path, to: &Path) {
    if std::fs::hard_link(program, to).is_err() {
        std::fs::copy(program, to).unwrap();
    }
}

fn real_worker() -> &'static Path {
    static WORKER: OnceLock<PathBuf> = OnceLock::new();
    WORKER.get_or_init(|| built("llm-worker-rbee", "worker"))
}

fn real_orchestrator() -> &'static Path {
    static ORCHESTRATOR: OnceLock<PathBuf> = OnceLock::new();
    ORCHESTRATOR.get_or_init(|| built("orchestratord", "orchestrator"))
}

/// The program of a package of the same build, beside the hive; built where it is missing or old.
fn built(package: &str, folder: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_rbee-hive")).with_file_name(package);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let sources = root.join(folder).join("src");
    let changed = newest(&sources).max(newest(&root.join("pool-core/src")));
    let built = program.metadata().and_then(|program| program.modified());
    if built.is_ok_and(|built| built > changed) {
        return program;
    }
    let profile = match program.parent().unwrap().file_name().unwrap().to_str() {
        Some("debug") => "dev",
        Some(name) => name,
        None => unreachable!(),
    };
    let status = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--package",
            package,
            "--profile",
            profile,
        ])
        .arg("--target-dir")
        .arg(program.ancestors().nth(2).unwrap())
        .current_dir(root)
        .status()
        .unwrap();
    assert!(status.success(), "{package} does not build");
    program
}

fn newest(folder: &Path) -> SystemTime {
    let entries = folder
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .map(|path| {
            if path.is_dir() {
                newest(&path)
            } else {
                path.metadata().unwrap().modified().unwrap()
            }
        })
        .max()
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The processes whose command line names a path below this folder.
pub fn running_from(folder: &Path) -> Vec<u32> {
    let folder = folder.as_os_str().as_bytes();
    let names_it = |pid: &u32| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.windows(folder.len()).any(|part| part == folder)
    };
    let Ok(entries) = Path::new("/proc").read_dir() else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != std::process::id() && names_it(pid))
        .collect()
}
