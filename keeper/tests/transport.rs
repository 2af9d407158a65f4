//! `keeper::transport` against a real sshd.

mod broken;
mod install;
mod refused;
mod session;

use std::path::Path;
use std::time::{Duration, Instant};

use keeper::transport::{
    Bundle, BundleFile, ConnectError, Connection, Endpoint, HiveClient, HiveState, HostKeys,
    Opened, Options,
};
use pool_core::digest::Sha256;

use crate::sshd::{Lab, Sshd};

/// A hive that greets, takes one call, answers nothing, and waits for the end of its input.
const POLITE: &str = "#!/bin/sh\n\
    echo 'rbee-hive-rpc {\"protocol\":3,\"version\":\"fake\"}'\n\
    read call && : > \"$3/asked\"\n\
    cat >/dev/null\n\
    : > \"$3/ended\"\n";

fn options(lab: &Lab) -> Options {
    Options {
        ssh_config: Some(lab.config()),
        ..Options::default()
    }
}

fn ssh(destination: &str) -> Endpoint {
    Endpoint::Ssh {
        destination: destination.to_owned(),
        host_keys: HostKeys::Strict,
    }
}

async fn connect_to(lab: &Lab, destination: &str) -> Result<Connection, ConnectError> {
    let pool = "mac".parse().unwrap();
    Connection::connect(&pool, &ssh(destination), &options(lab)).await
}

async fn connect(lab: &Lab, sshd: &Sshd) -> Connection {
    let connected = connect_to(lab, &sshd.destination()).await;
    connected.unwrap_or_else(|error| panic!("{error}\n{}", sshd.log()))
}

/// A bundle whose hive is `hive`.
fn bundle(lab: &Lab, name: &str, hive: impl AsRef<[u8]>) -> Bundle {
    let dir = lab.path(name);
    std::fs::create_dir_all(&dir).unwrap();
    let files = [
        ("llm-worker-rbee", &b"#!/bin/sh\n"[..]),
        ("orchestratord", b"#!/bin/sh\n"),
        ("rbee-hive", hive.as_ref()),
    ];
    let files = files.map(|(name, content)| {
        std::fs::write(dir.join(name), content).unwrap();
        BundleFile {
            name,
            path: dir.join(name),
            size: content.len() as u64,
            sha256: Sha256::of(content),
        }
    });
    Bundle::of("x86_64-unknown-linux-gnu", files.into())
}

/// The client of a pool whose hive runs.
fn running(opened: Opened) -> HiveClient {
    match opened.hive {
        HiveState::Running(client) => client,
        other => panic!("no hive runs: {other:?}"),
    }
}

/// Waits for what another process is about to do.
async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Names in a folder, sorted.
fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
