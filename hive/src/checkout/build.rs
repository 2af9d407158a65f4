//! Builds a checkout with cargo and installs what comes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use jiff::Timestamp;
use pool_core::build::PROGRAMS;
use pool_core::rpc::{ErrorCode, HiveError};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio::task::block_in_place;

use super::tool::Tool;
use super::{Built, Checkout, Status, VERSION, status};
use crate::error::{Result, fail, io_error};
use crate::{Hive, builds, file};

/// Builds the programs of a pool with these cargo features, tries whether they start, and makes them the current build. What
/// cargo says goes to stderr; `tell` hears before that what is built.
pub async fn build(
    hive: &Hive,
    checkout: &Checkout,
    features: Vec<String>,
    tell: impl FnOnce(&Status),
) -> Result<Built> {
    let cargo = Tool::cargo()?;
    check_features(&cargo, checkout, &features).await?;
    let now = status(&hive.home, checkout).await?;
    tell(&now);
    let programs = compile(&cargo, checkout, &features).await?;
    for program in &programs {
        check_starts(program).await?;
    }
    block_in_place(|| {
        let home = hive.home.lock()?;
        let built = Built {
            version: VERSION,
            dir: now.dir,
            build: builds::install(&home, &programs)?,
            revision: now.revision,
            dirty: now.dirty,
            features,
            at: Timestamp::now(),
        };
        file::write_json(&home.checkout(), &built)?;
        crate::tidy(hive, &home);
        Ok(built)
    })
}

/// The part of `cargo metadata` that is read here.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    features: BTreeMap<String, Vec<String>>,
}

/// Cargo would say it, too, but not which features there are.
async fn check_features(cargo: &Tool, checkout: &Checkout, features: &[String]) -> Result<()> {
    if features.is_empty() {
        return Ok(());
    }
    let arguments = ["metadata", "--no-deps", "--format-version", "1"];
    let text = cargo.text(checkout.dir(), &arguments).await?;
    let metadata: Metadata = serde_json::from_str(&text)
        .map_err(|e| io_error("understand cargo metadata of", checkout.dir(), &e.into()))?;
    let mut known = BTreeSet::new();
    for package in &metadata.packages {
        for feature in package.features.keys() {
            known.insert(feature.clone());
            known.insert(format!("{}/{feature}", package.name));
        }
    }
    let Some(unknown) = features.iter().find(|it| !known.contains(*it)) else {
        return Ok(());
    };
    let names: Vec<&str> = known
        .iter()
        .map(String::as_str)
        .filter(|name| !name.contains('/'))
        .collect();
    let help = if names.is_empty() {
        "it has none: leave --features out, or pull a revision that has it".into()
    } else {
        format!("it has: {}", names.join(", "))
    };
    let message = format!("rbee in {} has no cargo feature `{unknown}`", checkout.dir);
    Err(fail(ErrorCode::BadRequest, message, help))
}

/// Returns where the programs lie, in the order of [`PROGRAMS`].
async fn compile(cargo: &Tool, checkout: &Checkout, features: &[String]) -> Result<[PathBuf; 3]> {
    let features = features.join(",");
    let mut arguments = vec![
        "build",
        "--release",
        "--locked",
        "--message-format=json-render-diagnostics",
    ];
    for name in PROGRAMS {
        arguments.extend(["--bin", name]);
    }
    if !features.is_empty() {
        arguments.extend(["--features", &features]);
    }
    let mut command = cargo.command(checkout.dir(), &arguments);
    command.stdout(Stdio::piped());
    let mut running = cargo.start(command)?;
    let mut built = BTreeMap::new();
    let messages = running.child.stdout.take();
    let read = async {
        let Some(messages) = messages else {
            return Ok(());
        };
        let mut lines = BufReader::new(messages).lines();
        while let Some(line) = lines.next_line().await? {
            built.extend(executable(&line));
        }
        Ok(())
    };
    let read = async {
        let read: std::io::Result<()> = read.await;
        read.map_err(|e| io_error("read what cargo says of", checkout.dir(), &e))
    };
    let (status, ()) = tokio::try_join!(running.ended(), read)?;
    if !status.success() {
        let message = format!("cargo build in {} failed: {status}", checkout.dir);
        let help = "cargo says why above; the pool keeps the build that it has";
        return Err(fail(ErrorCode::Io, message, help));
    }
    let find = |name: &str| {
        built.remove(name).ok_or_else(|| {
            let message = format!("cargo built no {name} in {}", checkout.dir);
            fail(ErrorCode::NotFound, message, "pull a revision that has it")
        })
    };
    let [worker, orchestrator, hive] = PROGRAMS.map(find);
    Ok([worker?, orchestrator?, hive?])
}

/// What cargo's message of a finished program says.
fn executable(line: &str) -> Option<(String, PathBuf)> {
    #[derive(Deserialize)]
    struct Message {
        target: Target,
        executable: PathBuf,
    }
    #[derive(Deserialize)]
    struct Target {
        name: String,
    }
    let Message { target, executable } = serde_json::from_str(line).ok()?;
    Some((target.name, executable))
}

async fn check_starts(program: &Path) -> Result<()> {
    let mut command = Command::new(program);
    command
        .arg("--version")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let why = match command.output().await {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            format!("{}: {}", output.status, said.trim())
        }
        Err(error) => error.to_string(),
    };
    Err(HiveError {
        code: ErrorCode::Io,
        message: format!("{} does not start: {why}", program.display()),
        help: Some("the pool keeps the build that it has".into()),
    })
}
