//! The compiler of CUDA: the machine's own, or else the one that `PyPI` has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::{check, say};

/// What is fetched where there is no CUDA. Version 13.0: its PTX is the newest that drivers of the series 580 take.
const REQUIREMENTS: &str = include_str!("requirements.txt");

/// A toolkit of CUDA.
pub struct Toolkit {
    root: PathBuf,
}

impl Toolkit {
    /// The machine's, when it has one; otherwise that of `PyPI`, fetched once into a folder below `target`.
    pub fn find(target: &Path) -> anyhow::Result<Self> {
        if let Some(root) = installed() {
            say(&format!("CUDA: the toolkit in {}", root.display()));
            return Ok(Self { root });
        }
        let folder = target.join("toolkit");
        let kept = fs::read_to_string(folder.join("requirements.txt"));
        if kept.is_ok_and(|kept| kept == REQUIREMENTS) {
            say("CUDA: the toolkit that was fetched from PyPI");
        } else {
            fetch(&folder)?;
        }
        let root = folder.join("nvidia/cu13");
        Ok(Self { root })
    }

    /// Its compiler.
    pub fn nvcc(&self) -> PathBuf {
        self.root.join("bin/nvcc")
    }

    /// Its version, such as `13.0`.
    pub fn version(&self) -> anyhow::Result<String> {
        let output = Command::new(self.nvcc()).arg("--version").output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text
            .split_once("release ")
            .and_then(|(_, rest)| rest.split_once(','));
        match version {
            Some((version, _)) => Ok(version.to_owned()),
            None => bail!("`nvcc --version` names no release: {text}"),
        }
    }

    /// The folder that has `bin`, `include` and libraries.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A library to link with.
    pub fn library(&self, name: &str) -> anyhow::Result<PathBuf> {
        let mut folders = ["lib64", "lib", "targets/x86_64-linux/lib"]
            .iter()
            .map(|folder| self.root.join(folder).join(name));
        match folders.find(|path| path.exists()) {
            Some(path) => Ok(path),
            None => bail!("the toolkit in {} has no {name}", self.root.display()),
        }
    }
}

/// The toolkit that is installed, if one is: where `CUDA_HOME` says, where `nvcc` is found, or at its usual place.
fn installed() -> Option<PathBuf> {
    let told = std::env::var_os("CUDA_HOME").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("nvcc"))
        .find(|nvcc| nvcc.is_file());
    // Links lead to where the rest of it is.
    let found = found.and_then(|nvcc| Some(nvcc.canonicalize().ok()?.ancestors().nth(2)?.into()));
    let usual = Some(PathBuf::from("/usr/local/cuda"));
    [told, found, usual]
        .into_iter()
        .flatten()
        .find(|root| root.join("bin/nvcc").is_file())
}

/// Has pip put the compiler into the folder. What broke off is not taken for whole: the list of its parts comes last.
fn fetch(folder: &Path) -> anyhow::Result<()> {
    say("CUDA: no toolkit here; fetching the compiler from PyPI (100 MB)");
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let part = folder.join("requirements.part");
    fs::write(&part, REQUIREMENTS)?;
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps"])
        .args(["--disable-pip-version-check", "--root-user-action=ignore"])
        .args(["--only-binary=:all:", "--requirement"])
        .arg(&part)
        .arg("--target")
        .arg(folder);
    check(&mut pip)
        .context("pip could not fetch the compiler of CUDA; is python3-pip installed?")?;
    fs::rename(part, folder.join("requirements.txt"))?;
    Ok(())
}
