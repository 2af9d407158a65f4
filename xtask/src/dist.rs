//! Binaries to bring to pools: `dist/<target triple>/`.

use std::path::Path;

use anyhow::{Context, bail};

use crate::{cargo, check, cuda, root, say};

const BINARIES: [&str; 4] = ["rbee", "rbee-hive", "llm-worker-rbee", "orchestratord"];

/// Builds for this machine, or for another target; the worker for CUDA as well, if that is asked for.
pub fn run(target: Option<String>, with_cuda: bool) -> anyhow::Result<()> {
    let here = host()?;
    let target = target.unwrap_or_else(|| here.clone());
    if with_cuda && target != here {
        bail!(
            "the worker is built for CUDA on the kind of machine that it is for: leave out --target, or --cuda"
        );
    }
    let built = root().join("target").join(&target).join("release");
    let mut build = cargo();
    build.args([
        "build",
        "--locked",
        "--release",
        "--workspace",
        "--bins",
        "--target",
        &target,
    ]);
    check(build.env("CARGO_TARGET_DIR", root().join("target")))?;
    let dist = root().join("dist").join(&target);
    std::fs::create_dir_all(&dist)?;
    let worker = if with_cuda {
        Some(cuda::build()?)
    } else {
        None
    };
    for name in BINARIES {
        let from = match &worker {
            Some(worker) if worker.ends_with(name) => worker.clone(),
            _ => built.join(name),
        };
        let to = dist.join(name);
        // By way of a temporary name: a binary that runs cannot be written over.
        let part = dist.join(format!(".{name}.part"));
        std::fs::copy(from, &part).with_context(|| format!("cannot copy {name}"))?;
        std::fs::rename(&part, &to)?;
        let size = to.metadata()?.len();
        say(&format!("{} ({:.1} MB)", shown(&to), size as f64 / 1e6));
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

/// The triple of this machine, as rustc names it.
fn host() -> anyhow::Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = std::process::Command::new(rustc)
        .arg("-vV")
        .output()
        .context("cannot run rustc")?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().find_map(|line| line.strip_prefix("host: ")) {
        Some(host) => Ok(host.to_owned()),
        None => bail!("rustc does not say what machine this is"),
    }
}
