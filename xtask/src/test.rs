//! Everything that a change must pass.

use std::path::Path;
use std::process::Command;

use anyhow::bail;

use crate::{cargo, check, cuda, demo, say};

const SSHD: &str = "/usr/sbin/sshd";
const SYSTEMD: &str = "/lib/systemd/systemd";

/// Installs what is missing, then formats, lints, builds, tests, and runs the demo.
pub fn run() -> anyhow::Result<()> {
    ensure_tools()?;
    check(cargo().args(["fmt", "--all", "--check"]))?;
    check(cargo().args([
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]))?;
    check(
        cargo()
            .args([
                "doc",
                "--locked",
                "--workspace",
                "--no-deps",
                "--document-private-items",
            ])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    // The tests start the programs that this builds.
    check(cargo().args(["build", "--locked", "--workspace", "--bins"]))?;
    check(cargo().args(["test", "--locked", "--workspace"]))?;
    if cuda::IS_POSSIBLE {
        let mut test = cargo();
        test.args([
            "test",
            "--locked",
            "--workspace",
            "--test",
            "main",
            "cuda::",
        ])
        .env("RBEE_CUDA_WORKER", cuda::build()?);
        check(&mut test)?;
    }
    demo::run(false)?;
    say("\nAll of it passed.");
    Ok(())
}

/// The end-to-end tests talk to a real OpenSSH server, and as root also across networks of their own and to a real
/// manager of systemd; the orchestrator's also to clients in JavaScript, those of a
/// fleet in a repository to git, the tutorial's to curl, and what a person sees is shown by tmux. The build for CUDA calls g++,
/// and pip where there is no toolkit.
fn ensure_tools() -> anyhow::Result<()> {
    let id = Command::new("id").arg("-u").output()?;
    let is_root = id.stdout.trim_ascii() == b"0";
    let is_missing = |program: &str| Command::new(program).arg("-V").output().is_err();
    let mut packages = Vec::new();
    if !Path::new(SSHD).exists() {
        packages.extend(["openssh-server", "openssh-client"]);
    }
    if is_root && cfg!(target_os = "linux") && is_missing("ip") {
        packages.push("iproute2");
    }
    packages.extend(
        ["curl", "git", "tmux"]
            .into_iter()
            .filter(|tool| is_missing(tool)),
    );
    if is_missing("node") || is_missing("npm") {
        packages.extend(["nodejs", "npm"]);
    }
    if is_root && cfg!(target_os = "linux") && !Path::new(SYSTEMD).exists() {
        packages.push("systemd");
    }
    if cuda::IS_POSSIBLE {
        if is_missing("g++") {
            packages.push("g++");
        }
        let pip = Command::new("python3")
            .args(["-m", "pip", "--version"])
            .output();
        if !pip.is_ok_and(|pip| pip.status.success()) {
            packages.extend(["python3", "python3-pip"]);
        }
    }
    if packages.is_empty() {
        return Ok(());
    }
    if !is_root || is_missing("apt-get") {
        bail!(
            "the tests need {}: `sudo apt-get install {}` (nothing of it need run)",
            packages.join(", "),
            packages.join(" ")
        );
    }
    check(Command::new("apt-get").args(["update", "-qq"]))?;
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-qq", "--no-install-recommends"]);
    check(
        install
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
}
