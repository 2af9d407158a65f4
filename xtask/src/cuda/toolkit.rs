//! The compiler of CUDA: the machine's own, or else the one that `PyPI` has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::{check, say};

/// What is fetched where there is no CUDA. Version 13.0: its PTX is the newest that drivers of the series 580 take.
const REQUIREMENTS: &str = include_str!("requirements.txt");

/// The first version whose compiler makes kernels small.
const OLDEST: (u32, u32) = (12, 8);

/// A toolkit of CUDA.
pub struct Toolkit {
    root: PathBuf,
    version: String,
}

impl Toolkit {
    /// The machine's, when it has one that serves; otherwise that of `PyPI`, fetched once into a folder below `target`.
    pub fn find(target: &Path) -> anyhow::Result<Self> {
        for root in installed() {
            match Self::at(root.clone()) {
                Ok(toolkit) => {
                    say(&format!(
                        "CUDA: the toolkit {} in {}",
                        toolkit.version,
                        root.display()
                    ));
                    return Ok(toolkit);
                }
                Err(error) => say(&format!(
                    "CUDA: not the toolkit in {}: {error:#}",
                    root.display()
                )),
            }
        }
        let folder = target.join("toolkit");
        let kept = fs::read_to_string(folder.join("requirements.txt"));
        if kept.is_ok_and(|kept| kept == REQUIREMENTS) {
            say("CUDA: the toolkit that was fetched from PyPI");
        } else {
            fetch(&folder)?;
        }
        Self::at(folder.join("nvidia/cu13"))
    }

    /// A toolkit that has all that is needed of it.
    fn at(root: PathBuf) -> anyhow::Result<Self> {
        let toolkit = Self {
            version: version(&root.join("bin/nvcc"))?,
            root,
        };
        toolkit.library("libcudart_static.a")?;
        Ok(toolkit)
    }

    /// Such as `13.0`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its compiler.
    pub fn nvcc(&self) -> PathBuf {
        self.root.join("bin/nvcc")
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

/// What a compiler says that it is of; an error where that is too old.
fn version(nvcc: &Path) -> anyhow::Result<String> {
    let output = Command::new(nvcc).arg("--version").output();
    let output = output.with_context(|| format!("cannot run {}", nvcc.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text
        .split_once("release ")
        .and_then(|(_, rest)| rest.split_once(','));
    let Some((version, _)) = version else {
        bail!("`nvcc --version` names no release: {text}");
    };
    let mut numbers = version.split('.').map_while(|part| part.parse().ok());
    let number = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if number < OLDEST {
        bail!(
            "it is of CUDA {version}, and {}.{} is the first that serves",
            OLDEST.0,
            OLDEST.1
        );
    }
    Ok(version.to_owned())
}

/// Where toolkits may be installed: where `CUDA_HOME` says, where `nvcc` is found, and at the usual place.
fn installed() -> impl Iterator<Item = PathBuf> {
    let told = std::env::var_os("CUDA_HOME").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join("nvcc"))
        .find(|nvcc| nvcc.is_file());
    // Links lead to where the rest of it is.
    let found = found.and_then(|nvcc| Some(nvcc.canonicalize().ok()?.ancestors().nth(2)?.into()));
    let usual = Some(PathBuf::from("/usr/local/cuda"));
    let all = [told, found, usual].into_iter().flatten();
    all.filter(|root| root.join("bin/nvcc").is_file())
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
        .args(["--disable-pip-version-check", "--only-binary=:all:"])
        .env("PIP_ROOT_USER_ACTION", "ignore")
        // Which `--target` contradicts.
        .env("PIP_USER", "0")
        .arg("--requirement")
        .arg(&part)
        .arg("--target")
        .arg(folder);
    check(&mut pip)
        .context("pip could not fetch the compiler of CUDA; is python3-pip installed?")?;
    fs::rename(part, folder.join("requirements.txt"))?;
    Ok(())
}
