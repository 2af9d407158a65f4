//! curl: what the line, the server and the disk give to who checks nothing.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};

use crate::bench::timed::{self, Taken};

/// Its version, in its own words.
pub fn version() -> anyhow::Result<String> {
    let output = Command::new("curl").arg("--version").output();
    let output = output.context("curl is the limit of what is measured; install it")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut words = text.split_whitespace().take(2);
    Ok(format!(
        "{} {}",
        words.next().unwrap_or("curl"),
        words.next().unwrap_or_default()
    ))
}

/// Takes files at the same time: addresses, and their names in the folder.
pub fn take<'a>(
    files: impl Iterator<Item = (String, &'a str)>,
    token: Option<&str>,
    folder: &Path,
) -> anyhow::Result<Taken> {
    let mut config = String::new();
    if let Some(token) = token {
        config.push_str(&format!("header = \"Authorization: Bearer {token}\"\n"));
    }
    for (url, name) in files {
        config.push_str(&format!("url = \"{url}\"\noutput = \"{name}\"\n"));
    }
    let mut curl = Command::new("curl");
    curl.args([
        "--fail",
        "--silent",
        "--no-progress-meter",
        "--show-error",
        "--location",
    ]);
    curl.args(["--parallel", "--noproxy", "*", "--config", "-"]);
    curl.arg("--output-dir").arg(folder);
    timed::run(&mut curl, &config)
}

/// Seconds until the files of a folder are on the disk for good.
pub fn sync(folder: &Path) -> anyhow::Result<f64> {
    let mut sync = Command::new("sync");
    for entry in folder.read_dir()? {
        sync.arg(entry?.path());
    }
    let start = Instant::now();
    let status = sync.status().context("cannot run sync")?;
    ensure!(status.success(), "sync failed: {status}");
    Ok(start.elapsed().as_secs_f64())
}
