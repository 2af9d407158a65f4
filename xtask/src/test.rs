//! Everything that a change must pass.

use std::path::Path;
use std::process::Command;

use anyhow::bail;

use crate::{cargo, check, demo, say};

const SSHD: &str = "/usr/sbin/sshd";

/// Installs what is missing, then formats, lints, builds, tests, and runs the demo.
pub fn run() -> anyhow::Result<()> {
    ensure_sshd()?;
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
    demo::run(false)?;
    say("\nAll of it passed.");
    Ok(())
}

/// The end-to-end tests talk to a real OpenSSH server.
fn ensure_sshd() -> anyhow::Result<()> {
    if Path::new(SSHD).exists() {
        return Ok(());
    }
    let id = Command::new("id").arg("-u").output()?;
    let is_root = id.stdout.trim_ascii() == b"0";
    let has_apt = Command::new("apt-get").arg("--version").output().is_ok();
    if !(is_root && has_apt) {
        bail!(
            "{SSHD} is missing, and the tests need it: `sudo apt-get install openssh-server` (it need not run)"
        );
    }
    check(Command::new("apt-get").args(["update", "-qq"]))?;
    let mut install = Command::new("apt-get");
    install.args([
        "install",
        "-y",
        "-qq",
        "--no-install-recommends",
        "openssh-server",
        "openssh-client",
    ]);
    check(install.env("DEBIAN_FRONTEND", "noninteractive"))
}
