//! From a bare pool to a running hive, and everything that can stand in the way.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use keeper::transport::{
    Bundle, Connection, Endpoint, HiveState, InstallError, InstallErrorKind, Options,
};

use super::{POLITE, bundle, connect, eventually, names, running};
use crate::sshd::Lab;

/// Every program that the scripts call.
const TOOLS: [&str; 13] = [
    "chmod",
    "cat",
    "find",
    "ln",
    "mkdir",
    "mv",
    "od",
    "readlink",
    "rm",
    "sh",
    "sha256sum",
    "tar",
    "uname",
];

/// Bare, installed, running: the same for every kind of connection.
async fn walks_from_bare_to_running(connection: &Connection, bundle: &Bundle, home: &Path) {
    let opened = connection.open().await.unwrap();
    assert!(matches!(opened.hive, HiveState::Bare), "{opened:?}");
    assert_eq!(opened.installed, None);
    assert!(opened.platform.target().is_some(), "{}", opened.platform);

    let mut sent = 0;
    let installed = connection.install(bundle, |bytes| sent = bytes).await;
    installed.unwrap();
    assert_eq!(sent, bundle.size());
    let digest = bundle.digest.to_string();
    let mut expected = [digest.as_str(), "current"];
    expected.sort_unstable();
    assert_eq!(names(&home.join("bin")), expected);
    let build = names(&home.join("bin").join(&digest));
    assert_eq!(
        build,
        [
            "SHA256SUMS",
            "llm-worker-rbee",
            "orchestratord",
            "rbee-hive"
        ]
    );

    let opened = connection.open().await.unwrap();
    assert_eq!(opened.installed, Some(bundle.digest));
    running(opened).close().await;
    assert!(
        home.join("ended").exists(),
        "the hive got another RBEE_HOME, or was killed"
    );
}

#[tokio::test]
async fn a_bare_pool_gets_its_hive_over_ssh_into_a_home_with_a_space() {
    let lab = Lab::new();
    let sshd = lab.server("box").home("a home/of its own").start();
    let connection = connect(&lab, &sshd).await;
    let bundle = bundle(&lab, "build", POLITE);
    walks_from_bare_to_running(&connection, &bundle, sshd.home()).await;
}

#[tokio::test]
async fn the_local_pool_is_treated_as_any_other() {
    let lab = Lab::new();
    let home = lab.path("a home");
    let options = Options {
        local_home: Some(home.clone()),
        ..Options::default()
    };
    let pool = "here".parse().unwrap();
    let connection = Connection::connect(&pool, &Endpoint::Local, &options).await;
    let bundle = bundle(&lab, "build", POLITE);
    walks_from_bare_to_running(&connection.unwrap(), &bundle, &home).await;
}

/// The same walk through another login shell.
async fn walks_through(login: &str) {
    let lab = Lab::new();
    let command = format!("exec {login} -c \"$SSH_ORIGINAL_COMMAND\"");
    let sshd = lab.server("box").home("a home").shell(&command).start();
    let connection = connect(&lab, &sshd).await;
    let bundle = bundle(&lab, "build", POLITE);
    walks_from_bare_to_running(&connection, &bundle, sshd.home()).await;
}

#[tokio::test]
async fn the_scripts_cross_every_login_shell_that_this_machine_has() {
    for shell in [
        "sh", "bash", "dash", "zsh", "ksh", "mksh", "fish", "tcsh", "csh",
    ] {
        let path = Path::new("/bin").join(shell);
        if path.exists() {
            println!("through {shell}");
            walks_through(&path.display().to_string()).await;
        }
    }
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn the_scripts_need_no_more_than_busybox() {
    let tools = tempfile::tempdir().unwrap();
    let busybox = Path::new("/bin/busybox");
    if busybox.exists() {
        let mut install = std::process::Command::new(busybox);
        install.args(["--install", "-s"]).arg(tools.path());
        assert!(install.status().unwrap().success());
    } else {
        // The least that the scripts may use, all of it in busybox.
        for tool in TOOLS {
            let found = ["/bin", "/usr/bin"].map(|dir| Path::new(dir).join(tool));
            let found = found.iter().find(|path| path.exists());
            symlink(
                found.unwrap_or_else(|| panic!("no {tool}")),
                tools.path().join(tool),
            )
            .unwrap();
        }
    }
    walks_through(&format!("env PATH={} sh", tools.path().display())).await;
}

#[tokio::test]
async fn a_large_bundle_arrives_whole() {
    let lab = Lab::new();
    let sshd = lab.sshd("box");
    let connection = connect(&lab, &sshd).await;
    let padding = "# 0123456789abcdef\n".repeat(500_000);
    let bundle = bundle(&lab, "build", format!("{POLITE}exit 0\n{padding}"));
    connection.install(&bundle, |_| ()).await.unwrap();
    running(connection.open().await.unwrap()).close().await;
}

#[tokio::test]
async fn an_upgrade_leaves_the_build_that_workers_run_from() {
    let lab = Lab::new();
    let sshd = lab.sshd("box");
    let connection = connect(&lab, &sshd).await;
    let old = bundle(&lab, "old", POLITE);
    let new = bundle(&lab, "new", format!("{POLITE}# newer\n"));
    connection.install(&old, |_| ()).await.unwrap();
    connection.install(&new, |_| ()).await.unwrap();
    let opened = connection.open().await.unwrap();
    assert_eq!(opened.installed, Some(new.digest));
    let bin = sshd.home().join("bin");
    assert!(bin.join(old.digest.to_string()).join("rbee-hive").exists());
    // And back again, to what is still there.
    connection.install(&old, |_| ()).await.unwrap();
    assert_eq!(connection.open().await.unwrap().installed, Some(old.digest));
    assert_eq!(names(&bin).len(), 3, "{:?}", names(&bin));
}

#[tokio::test]
async fn installing_again_repairs_a_damaged_build() {
    let lab = Lab::new();
    let sshd = lab.sshd("box");
    let connection = connect(&lab, &sshd).await;
    let bundle = bundle(&lab, "build", POLITE);
    connection.install(&bundle, |_| ()).await.unwrap();
    let hive = sshd.home().join(format!("bin/{}/rbee-hive", bundle.digest));
    fs::write(&hive, "#!/bin/sh\nexit 1\n").unwrap();
    let opened = connection.open().await.unwrap();
    assert!(matches!(opened.hive, HiveState::Broken(_)), "{opened:?}");
    connection.install(&bundle, |_| ()).await.unwrap();
    running(connection.open().await.unwrap()).close().await;
}

#[tokio::test]
async fn content_that_changed_on_the_way_is_refused_and_what_was_there_stays() {
    let lab = Lab::new();
    let sshd = lab.sshd("box");
    let connection = connect(&lab, &sshd).await;
    let good = bundle(&lab, "good", POLITE);
    connection.install(&good, |_| ()).await.unwrap();
    let bad = bundle(&lab, "bad", "#!/bin/sh\n# 1\n");
    fs::write(&bad.files[2].path, "#!/bin/sh\n# 2\n").unwrap();
    let error = connection.install(&bad, |_| ()).await.unwrap_err();
    assert_eq!(kind(&error), InstallErrorKind::WrongContent, "{error}");
    assert!(error.to_string().contains("rbee-hive: FAILED"), "{error}");
    running(connection.open().await.unwrap()).close().await;
    assert_eq!(names(&sshd.home().join("bin")).len(), 2, "leftovers");
}

#[tokio::test]
async fn a_build_that_vanishes_here_leaves_nothing_there() {
    let lab = Lab::new();
    let sshd = lab.sshd("box");
    let connection = connect(&lab, &sshd).await;
    let bundle = bundle(&lab, "build", POLITE);
    fs::write(&bundle.files[1].path, "short").unwrap();
    let error = connection.install(&bundle, |_| ()).await.unwrap_err();
    assert_eq!(kind(&error), InstallErrorKind::Source, "{error}");
    assert_eq!(names(&sshd.home().join("bin")), [""; 0]);
}

#[tokio::test]
async fn an_installation_that_is_broken_off_leaves_nothing_there() {
    let lab = Lab::new();
    let sshd = lab.sshd("box");
    let connection = connect(&lab, &sshd).await;
    let bundle = bundle(&lab, "build", "x".repeat(64 << 20));
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let mut begun = Some(begun);
    let install = connection.install(&bundle, |_| {
        begun.take().map(|begun| begun.send(()));
    });
    tokio::select! {
        done = install => panic!("too fast: {done:?}"),
        begun = has_begun => begun.unwrap(),
    }
    let bin = sshd.home().join("bin");
    eventually("cleaned up", || bin.exists() && names(&bin).is_empty()).await;
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_full_disk_is_said_to_be_full() {
    let lab = Lab::new();
    let disk = lab.path("disk");
    fs::create_dir(&disk).unwrap();
    let sshd = lab
        .server("box")
        .home("disk/home")
        .shell(&with_disk(&disk.display().to_string(), "size=256k"))
        .start();
    let connection = connect(&lab, &sshd).await;
    let bundle = bundle(&lab, "build", "x".repeat(1 << 20));
    let error = connection.install(&bundle, |_| ()).await.unwrap_err();
    assert_eq!(kind(&error), InstallErrorKind::DiskFull, "{error}");
    let text = error.to_string();
    assert!(
        text.starts_with("cannot install rbee on pool `mac`: its disk is full: "),
        "{text}"
    );
}

#[tokio::test]
#[cfg(target_os = "linux")]
async fn a_home_that_cannot_be_written_is_a_matter_of_permission() {
    let lab = Lab::new();
    let disk = lab.path("disk");
    fs::create_dir(&disk).unwrap();
    let sshd = lab
        .server("box")
        .home("disk/home")
        .shell(&with_disk(&disk.display().to_string(), "ro"))
        .start();
    let connection = connect(&lab, &sshd).await;
    let bundle = bundle(&lab, "build", POLITE);
    let error = connection.install(&bundle, |_| ()).await.unwrap_err();
    assert_eq!(kind(&error), InstallErrorKind::Denied, "{error}");
}

/// A login shell that sees a small disk of its own at `path`.
fn with_disk(path: &str, options: &str) -> String {
    format!(
        "unshare -rm sh -c 'mount -t tmpfs -o {options} none {path} \
         && exec sh -c \"$SSH_ORIGINAL_COMMAND\"'"
    )
}

fn kind(error: &InstallError) -> InstallErrorKind {
    match error {
        InstallError::Failed { kind, .. } => *kind,
        InstallError::Connect(error) => panic!("{error}"),
    }
}
