//! systemd: a service of the user's manager, enabled, so that a boot starts it where the user lingers.
//!
//! The unit is written by the rules of systemd.service(5), systemd.unit(5) and systemd.exec(5).

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use pool_core::rpc::{ErrorCode, HiveError};

use super::{Described, Unit, run, under_home};
use crate::error::{Result, fail};

/// The unit of a service.
pub fn unit(service: &Described) -> Result<Unit> {
    let name = format!("rbee-{}.service", service.name);
    Ok(Unit {
        path: folder()?.join(&name),
        text: text(service),
        name,
    })
}

/// Where units of the user lie.
fn folder() -> Result<PathBuf> {
    let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    match config.filter(|config| config.is_absolute()) {
        Some(config) => Ok(config.join("systemd/user")),
        None => under_home(".config/systemd/user"),
    }
}

/// Whether the user has a manager, and keeps it after the last logout.
pub fn check() -> Result<()> {
    systemctl(&["show", "--property=Version"]).map_err(|error| {
        fail(
            ErrorCode::NotFound,
            format!("{}: the user has no manager of systemd", error.message),
            "`loginctl enable-linger` starts one on machines with systemd; others need `supervise: none` in fleet.yaml",
        )
    })?;
    if lingers() {
        return Ok(());
    }
    run("loginctl", &["enable-linger".as_ref()]).map_err(|said| {
        fail(
            ErrorCode::Io,
            format!("workers would end with the last logout, and lingering cannot be turned on: {said}"),
            "let root run `loginctl enable-linger USER` on the pool, or write `supervise: none` in fleet.yaml",
        )
    })
}

/// Whether logind keeps the user's manager from boot to shutdown: it has a file for each such user.
fn lingers() -> bool {
    let names = ["USER", "LOGNAME"].map(std::env::var_os);
    let mut names = names.into_iter().flatten();
    names.any(|name| Path::new("/var/lib/systemd/linger").join(name).exists())
}

pub fn start(unit: &str) -> Result<()> {
    systemctl(&["daemon-reload"])?;
    systemctl(&["enable", "--quiet", unit])?;
    // Whether it stays up is seen by whoever waits for its answer.
    systemctl(&["restart", "--no-block", unit])
}

pub fn release(unit: &str) -> Result<()> {
    systemctl(&["disable", "--quiet", unit])?;
    systemctl(&["stop", "--no-block", unit])
}

/// What is gone already is forgotten.
pub fn forget(unit: &str) -> Result<()> {
    systemctl(&["daemon-reload"])?;
    // Fails where there was no failure to forget.
    let _ = systemctl(&["reset-failed", unit]);
    Ok(())
}

fn systemctl(arguments: &[&str]) -> Result<()> {
    let arguments: Vec<_> = std::iter::once("--user")
        .chain(arguments.iter().copied())
        .map(AsRef::as_ref)
        .collect();
    run("systemctl", &arguments).map_err(|said| HiveError {
        code: ErrorCode::Io,
        message: format!("systemd refuses: {said}"),
        help: None,
    })
}

fn text(service: &Described) -> String {
    let command: Vec<String> = service.command.iter().map(|word| quoted(word)).collect();
    let (folder, log) = (plain(service.folder), plain(service.log));
    format!(
        "# Written by rbee-hive, which takes it away with the process.
[Unit]
Description=rbee {title}
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={command}
WorkingDirectory={folder}
StandardOutput=append:{log}
StandardError=append:{log}
Environment=CUDA_DEVICE_ORDER=PCI_BUS_ID
UnsetEnvironment=RBEE_WORKER_TOKEN HF_TOKEN CUDA_VISIBLE_DEVICES
Restart=on-failure
RestartSec=2
TimeoutStopSec=30

[Install]
WantedBy=default.target
",
        title = service.title,
        command = command.join(" "),
    )
}

/// A word of a command line.
fn quoted(word: &str) -> String {
    let mut out = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '%' | '$' => out.extend([c, c]),
            c if c.is_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out + "\""
}

/// A path that stands for itself to the end of its line.
fn plain(path: &Path) -> String {
    path.display().to_string().replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_would_take_for_something_else_is_escaped() {
        assert_eq!(quoted("a b"), "\"a b\"");
        assert_eq!(quoted("%h $HOME \\ \"\n"), "\"%%h $$HOME \\\\ \\\"\\x0a\"");
        assert_eq!(plain(Path::new("/a %h b")), "/a %%h b");
    }
}
