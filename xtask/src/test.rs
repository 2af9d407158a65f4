//! Everything that a change must pass.

use std::path::Path;
use std::process::Command;

use anyhow::bail;

use crate::{cargo, check, demo, say};

/// Programs that the tests start, the packages of Debian that have them, and what for.
const PROGRAMS: [(&str, &[&str], &str); 2] = [
    (
        "/usr/sbin/sshd",
        &["openssh-server", "openssh-client"],
        "the server of every pool (it need not run)",
    ),
    (
        "/usr/bin/systemd-analyze",
        &["systemd"],
        "the supervisor of workers (it need not run)",
    ),
];

/// Installs what is missing, then formats, lints, builds, tests, and runs the demo.
pub fn run() -> anyhow::Result<()> {
    for (program, packages, purpose) in PROGRAMS {
        ensure(program, packages, purpose)?;
    }
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

/// Installs the packages where the program is missing.
fn ensure(program: &str, packages: &[&str], purpose: &str) -> anyhow::Result<()> {
    if Path::new(program).exists() {
        return Ok(());
    }
    let id = Command::new("id").arg("-u").output()?;
    let is_root = id.stdout.trim_ascii() == b"0";
    let has_apt = Command::new("apt-get").arg("--version").output().is_ok();
    if !(is_root && has_apt) {
        bail!(
            "{program} is missing, {purpose}: `sudo apt-get install {}`",
            packages.join(" ")
        );
    }
    check(Command::new("apt-get").args(["update", "-qq"]))?;
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-qq", "--no-install-recommends"]);
    install
        .args(packages)
        .env("DEBIAN_FRONTEND", "noninteractive");
    check(&mut install)
}
