//! Builds the worker for CUDA, on any x86-64 Linux: neither a card nor a toolkit need be there.
//!
//! The one binary computes on the CPU as well. It opens the libraries of CUDA when it is told to use a card, so that it starts
//! where there is none. `nvcc.sh` and `rustc.sh` say how that differs from what candle does by itself.

mod toolkit;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::{cargo, check, say, target_dir};
use toolkit::Toolkit;

const NVCC: &str = include_str!("nvcc.sh");
const RUSTC: &str = include_str!("rustc.sh");

/// Whether a worker can be built for CUDA here.
pub const IS_POSSIBLE: bool = cfg!(all(target_os = "linux", target_arch = "x86_64"));

/// The worker's program, as cargo is told.
pub const WORKER: [&str; 2] = ["--bin", "llm-worker-rbee"];

/// Builds an optimised worker and returns where it is.
pub fn build() -> anyhow::Result<PathBuf> {
    let worker = build_parts(&[WORKER])?.join("llm-worker-rbee");
    let size = worker.metadata()?.len();
    say(&format!(
        "{} ({:.1} MB)",
        worker.display(),
        size as f64 / 1e6
    ));
    Ok(worker)
}

/// Builds optimised parts of the worker's package, one after the other, and returns the folder that cargo puts them into.
pub fn build_parts(parts: &[[&str; 2]]) -> anyhow::Result<PathBuf> {
    if !IS_POSSIBLE {
        bail!("the worker is built for CUDA on x86-64 Linux only");
    }
    // Of its own: what candle is built from differs.
    let target = target_dir()?.join("cuda");
    fs::create_dir_all(&target)?;
    let toolkit = Toolkit::find(&target)?;
    let nvcc = script(&target, "nvcc", NVCC)?;
    let rustc = script(&target, "rustc", RUSTC)?;
    forget_other_kernels(&target, &toolkit)?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = [toolkit.root().join("bin")]
        .into_iter()
        .chain(std::env::split_paths(&path));
    let path = std::env::join_paths(path)?;
    let libraries = libraries(&target, &toolkit)?;
    let threads = std::thread::available_parallelism()?.to_string();
    for part in parts {
        let mut build = cargo();
        build
            .args(["build", "--locked", "--release"])
            .args(["--package", "llm-worker-rbee", "--features", "cuda"])
            .args(part)
            .arg("--target-dir")
            .arg(&target)
            .env("PATH", &path)
            .env("RUSTC_WRAPPER", &rustc)
            .env("CUDA_HOME", toolkit.root())
            .env("NVCC", &nvcc)
            .env("RBEE_NVCC", toolkit.nvcc())
            // What `nvcc` makes of it is in the script.
            .env("CUDA_COMPUTE_CAP", "80")
            .env("NVCC_APPEND_FLAGS", "--compress-mode=size")
            // By itself it leaves half of them idle.
            .env("CUDAFORGE_THREADS", &threads)
            .env("RBEE_CUDA_VERSION", toolkit.version())
            .env("RBEE_CUDA_LIBRARIES", &libraries);
        check(&mut build)?;
    }
    Ok(target.join("release"))
}

/// Puts a script where it can be run.
fn script(target: &Path, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    let folder = target.join("scripts");
    fs::create_dir_all(&folder)?;
    let path = folder.join(name);
    if fs::read_to_string(&path).ok().as_deref() != Some(text) {
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(path)
}

/// Removes the kernels that another toolkit compiled, or another script: their own build would keep them.
fn forget_other_kernels(target: &Path, toolkit: &Toolkit) -> anyhow::Result<()> {
    let stamp = target.join("kernels");
    let of = format!("{} {}\n{NVCC}", toolkit.version(), toolkit.root().display());
    if fs::read_to_string(&stamp).ok().as_deref() != Some(&of) {
        let mut clean = cargo();
        clean
            .args(["clean", "--release", "--package", "candle-kernels"])
            .arg("--target-dir")
            .arg(target);
        check(&mut clean)?;
        fs::write(stamp, of)?;
    }
    Ok(())
}

/// A folder with those libraries alone that become part of the binary. The linker takes what it finds first, and here it finds
/// no shared ones.
fn libraries(target: &Path, toolkit: &Toolkit) -> anyhow::Result<PathBuf> {
    let folder = target.join("libraries");
    fs::create_dir_all(&folder)?;
    for (name, of) in [
        ("libcudart.a", toolkit.library("libcudart_static.a")?),
        ("libstdc++.a", standard_library()?),
    ] {
        let link = folder.join(name);
        if link.symlink_metadata().is_ok() {
            fs::remove_file(&link)?;
        }
        symlink(of, link)?;
    }
    Ok(folder)
}

/// The C++ library of the compiler that nvcc calls.
fn standard_library() -> anyhow::Result<PathBuf> {
    let output = Command::new("g++")
        .arg("-print-file-name=libstdc++.a")
        .output()
        .context("cannot run g++, which nvcc needs: install it")?;
    let path = PathBuf::from(String::from_utf8(output.stdout)?.trim());
    // It prints the bare name when it has none.
    if !path.is_absolute() {
        bail!("g++ has no libstdc++.a: install its development files");
    }
    Ok(path)
}
