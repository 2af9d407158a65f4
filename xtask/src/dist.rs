//! Binaries to bring to pools: `dist/<target triple>/`.

use std::path::Path;

use anyhow::{Context, bail};

use crate::{cargo, check, root, say};

const BINARIES: [&str; 4] = ["rbee", "rbee-hive", "llm-worker-rbee", "orchestratord"];

/// Builds for this machine, or for another target.
pub fn run(target: Option<String>) -> anyhow::Result<()> {
    let target = match target {
        Some(target) => target,
        None => host()?,
    };
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
    for name in BINARIES {
        let to = dist.join(name);
        // By way of a temporary name: a binary that runs cannot be written over.
        let part = dist.join(format!(".{name}.part"));
        std::fs::copy(built.join(name), &part).with_context(|| format!("cannot copy {name}"))?;
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
