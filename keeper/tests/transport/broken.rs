//! Pools whose installed hive does not work, and login shells that talk.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use keeper::transport::{Broken, Connection, HiveState, Options};
use pool_core::rpc::PROTOCOL;

use super::{POLITE, connect, options, running, ssh};
use crate::sshd::{Lab, Sshd};

/// Puts `hive` there as the installed one, as nobody should.
fn plant(home: &Path, hive: &[u8]) {
    let build = "0".repeat(64);
    let dir = home.join("bin").join(&build);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("rbee-hive"), hive).unwrap();
    fs::set_permissions(dir.join("rbee-hive"), PermissionsExt::from_mode(0o755)).unwrap();
    symlink(build, home.join("bin/current")).unwrap();
}

async fn broken(sshd: &Sshd, options: &Options) -> Broken {
    let pool = "mac".parse().unwrap();
    let connection = Connection::connect(&pool, &ssh(&sshd.destination()), options).await;
    let opened = connection.unwrap().open().await.unwrap();
    assert!(opened.installed.is_some());
    assert!(
        opened.platform.target().is_some(),
        "apply must know what to install"
    );
    match opened.hive {
        HiveState::Broken(broken) => broken,
        other => panic!("not broken: {other:?}"),
    }
}

async fn broken_by(hive: &str) -> Broken {
    let lab = Lab::new();
    let sshd = lab.sshd("box");
    plant(sshd.home(), hive.as_bytes());
    broken(&sshd, &options(&lab)).await
}

#[tokio::test]
async fn a_hive_for_another_processor_is_named_as_that() {
    let lab = Lab::new();
    let sshd = lab.sshd("box");
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\0\0".to_vec();
    elf[18] = if cfg!(target_arch = "x86_64") {
        183
    } else {
        62
    };
    elf.resize(4096, 0);
    plant(sshd.home(), &elf);
    let broken = broken(&sshd, &options(&lab)).await;
    let Broken::WrongMachine { built_for, .. } = &broken else {
        panic!("{broken}");
    };
    assert!(built_for.starts_with("Linux "), "{broken}");
    assert_eq!(broken.help(), "`rbee apply` installs the right one");
}

#[tokio::test]
async fn a_hive_that_dies_at_once_is_quoted() {
    let text = broken_by("#!/bin/sh\necho libcuda.so.1 is missing >&2\nexit 3\n").await;
    assert_eq!(
        text.to_string(),
        "its hive does not start: exit 3: libcuda.so.1 is missing"
    );
}

#[tokio::test]
async fn a_hive_that_is_not_there_is_broken_and_not_a_bare_pool() {
    let lab = Lab::new();
    let sshd = lab.sshd("box");
    plant(sshd.home(), b"");
    fs::remove_file(sshd.home().join("bin/current/rbee-hive")).unwrap();
    let broken = broken(&sshd, &options(&lab)).await.to_string();
    assert!(
        broken.contains("exit 127") && broken.contains("not found"),
        "{broken}"
    );
}

#[tokio::test]
async fn another_protocol_says_which_side_is_older() {
    let newer =
        broken_by("#!/bin/sh\necho 'rbee-hive-rpc {\"protocol\":99,\"version\":\"9\"}'\ncat\n");
    let newer = newer.await;
    assert_eq!(
        newer.to_string(),
        format!("its hive speaks protocol 99, this rbee speaks {PROTOCOL}: this rbee is older")
    );
    assert!(newer.help().starts_with("use a newer rbee here"));
    let older =
        broken_by("#!/bin/sh\necho 'rbee-hive-rpc {\"protocol\":0,\"version\":\"0\"}'\ncat\n");
    assert!(older.await.to_string().ends_with("the hive is older"));
}

#[tokio::test]
async fn a_hive_that_says_nothing_is_given_up() {
    let lab = Lab::new();
    let sshd = lab.sshd("box");
    plant(sshd.home(), b"#!/bin/sh\ncat >/dev/null\n");
    let options = Options {
        start_timeout: Duration::from_secs(3),
        ..options(&lab)
    };
    let silent = broken(&sshd, &options).await;
    assert_eq!(silent, Broken::Silent { seconds: 3 });
}

#[tokio::test]
async fn what_a_banner_and_a_profile_print_is_no_answer() {
    let lab = Lab::new();
    let banner = lab.path("banner");
    fs::write(&banner, "WELCOME\nrbee-pool Banner x none\n").unwrap();
    let noise = "printf \"Last login: today\\r\\n\\377\\376\\000\\nrbee-hive-rpc\\nno line end\"; \
                 echo complaint >&2";
    let sshd = lab
        .server("box")
        .line(&format!("Banner {}", banner.display()))
        .shell(&format!("{noise}; exec sh -c \"$SSH_ORIGINAL_COMMAND\""))
        .start();
    plant(sshd.home(), POLITE.as_bytes());
    let opened = connect(&lab, &sshd).await.open().await.unwrap();
    assert!(opened.platform.target().is_some(), "{}", opened.platform);
    running(opened).close().await;
}

#[tokio::test]
async fn endless_noise_is_not_read_for_ever() {
    let lab = Lab::new();
    let sshd = lab.server("box").shell("yes").start();
    let error = connect(&lab, &sshd).await.open().await.unwrap_err();
    assert_eq!(
        error.kind,
        keeper::transport::ConnectErrorKind::Shell,
        "{error}"
    );
}
