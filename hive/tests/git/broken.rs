//! Folders that are no checkout, builds that are cut short, disks that are full.

use std::fs;
use std::process::{Command, Stdio};

use hive::process::{self, Signal};
use pool_core::rpc::{Outcome, Request};
use pool_core::worker::ProcessIdentity;

use super::{Site, failed};
use crate::util::{Connection, wait_for};

#[test]
fn what_is_no_checkout_of_rbee_is_said_with_the_way_out() {
    let site = Site::new();
    let help = "help: clone rbee on the pool, and name the folder there: --dir FOLDER\n";
    let refused = |arguments: &[&str]| {
        let error = failed(site.command(arguments).output().unwrap());
        assert!(error.ends_with(help), "{error}");
        error
    };
    let usual = site.user.join("rbee");
    for command in ["status", "pull", "build"] {
        let error = refused(&["git", command]);
        assert!(
            error.starts_with(&format!("error: there is no folder {}\n", usual.display())),
            "{error}"
        );
    }
    // Outside of this repository, whose folder the tests' own lie in.
    let plain = tempfile::tempdir().unwrap();
    let folder = plain.path().to_str().unwrap();
    let error = refused(&["git", "status", "--dir", folder]);
    assert!(
        error.contains(" is no git checkout that can be used: git rev-parse in "),
        "{error}"
    );
    assert!(error.contains("fatal: not a git repository"), "{error}");
    let made = Command::new("git")
        .args(["init", "--quiet", folder])
        .status();
    assert!(made.unwrap().success());
    let error = refused(&["git", "status", "--dir", folder]);
    assert!(
        error.contains(" is a git checkout, but none of rbee\n"),
        "{error}"
    );
    // The usual place, and a folder below it.
    std::os::unix::fs::symlink(site.checkout.dir(), &usual).unwrap();
    for arguments in [&["git", "status"][..], &["git", "status", "--dir", "hive"]] {
        let output = site
            .command(arguments)
            .current_dir(&usual)
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let top = format!("checkout    {}\n", site.checkout.dir().display());
        assert!(text.starts_with(&top), "{text}{:?}", output.stderr);
    }
}

/// Lets the build of the checkout wait for ever, and returns its process once it does.
fn hang(site: &Site, begin: impl FnOnce()) -> ProcessIdentity {
    site.checkout.write(
        "worker/build.rs",
        "fn main() {\n    std::fs::write(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/pid\"), std::process::id().to_string()).unwrap();\n    \
         std::thread::sleep(std::time::Duration::from_secs(1000));\n}\n",
    );
    begin();
    let pid = site.checkout.dir().join("worker/pid");
    wait_for("the build script", || {
        process::identify(fs::read_to_string(&pid).ok()?.parse().ok()?)
    })
}

fn ends(process: &ProcessIdentity) {
    wait_for("the end of the build script", || {
        (!process::is_alive(process)).then_some(())
    });
}

#[test]
fn an_interrupt_ends_cargo_and_all_that_it_started() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let site = Site::new();
        let before = site.current();
        let dir = site.checkout.dir();
        let build = site.command(&["git", "build", "--dir", dir.to_str().unwrap()]);
        let mut command = under("--default-signal=HUP", &build);
        let mut building = None;
        let script = hang(&site, || building = Some(command.spawn().unwrap()));
        let building = building.unwrap();
        let hive = process::identify(building.id()).unwrap();
        process::signal(&hive, signal).unwrap();
        let output = building.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        ends(&script);
        assert_eq!(site.current(), before);
    }
}

/// The same command, started by `env` with what it does on a signal.
fn under(option: &str, command: &Command) -> Command {
    let mut env = Command::new("env");
    env.arg(option)
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, value) in command.get_envs() {
        env.env(name, value.unwrap());
    }
    env
}

#[test]
fn under_nohup_a_build_goes_on_without_its_terminal() {
    let site = Site::new();
    let dir = site.checkout.dir();
    let build = site.command(&["git", "build", "--dir", dir.to_str().unwrap()]);
    let mut command = under("--ignore-signal=HUP", &build);
    let mut building = None;
    let script = hang(&site, || building = Some(command.spawn().unwrap()));
    let building = building.unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", building.id())).unwrap();
    assert!(pool_core::machine::ignores_hangup(&status), "{status}");
    let hive = process::identify(building.id()).unwrap();
    process::signal(&hive, Signal::INT).unwrap();
    let output = building.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    ends(&script);
}

#[test]
fn a_build_ends_with_the_operator_who_asked_for_it() {
    for is_killed in [false, true] {
        let site = Site::new();
        let mut connection = Connection::open(site.command(&["rpc"]));
        let dir = site.checkout.dir().display().to_string();
        let argv = ["git", "build", "--dir", &dir].map(str::to_owned).to_vec();
        let access = pool_core::supply::HubAccess::default();
        let script = hang(&site, || {
            connection.send(Request::Command { argv, access });
        });
        if is_killed {
            connection.kill();
        } else {
            connection.close();
        }
        ends(&script);
    }
}

#[test]
fn a_build_gives_its_lines_over_a_connection_as_they_come() {
    let site = Site::new();
    let mut connection = Connection::open(site.command(&["rpc"]));
    let dir = site.checkout.dir().display().to_string();
    let argv = ["git", "build", "--dir", &dir].map(str::to_owned).to_vec();
    let access = pool_core::supply::HubAccess::default();
    let id = connection.send(Request::Command { argv, access });
    let mut lines = Vec::new();
    let code = loop {
        match connection.event(id).unwrap() {
            pool_core::rpc::Event::Output { line, .. } => lines.push(line),
            pool_core::rpc::Event::Done(outcome) => break *outcome,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, Outcome::Exit(0), "{lines:?}");
    let at = |text: &str| lines.iter().position(|line| line.contains(text)).unwrap();
    assert!(
        at("building ") < at("Compiling orchestratord")
            && at("Compiling orchestratord") < at("Finished")
    );
    assert!(at("Finished") < at("installed rbee "));
}

/// A real disk of one megabyte, in namespaces of its own; where the kernel refuses these to its users, the test says so.
#[test]
fn a_disk_that_is_full_keeps_the_build_that_is_there() {
    let site = Site::new();
    site.ok(&["build"]);
    let disk = site.pool.scratch().join("disk");
    fs::create_dir(&disk).unwrap();
    let dir = site.checkout.dir().display().to_string();
    let inside = |script: &str| {
        let mut command = Command::new("unshare");
        let script = format!("mount -t tmpfs -o size=1m rbee \"$0\"; {script}");
        command
            .args(["--map-root-user", "--mount", "sh", "-ec", &script])
            .args([&disk, &site.pool.hive])
            .arg(&dir)
            .env_clear()
            .env("HOME", &site.user)
            .env("PATH", "/usr/bin:/bin")
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", "safe.directory")
            .env("GIT_CONFIG_VALUE_0", "*")
            .env("RBEE_HOME", disk.join("home"));
        command.output().ok()
    };
    if !inside("true").is_some_and(|output| output.status.success()) {
        eprintln!("not run: the kernel gives no namespaces to this user");
        return;
    }
    let script = r#""$1" git build --dir "$2" || echo "exit $?"; ls -A "$RBEE_HOME/bin""#;
    let output = inside(script).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "exit 1\n",
        "{said}"
    );
    assert!(said.contains("/home/bin is full: "), "{said}");
    assert!(said.contains("help: free some space on it"), "{said}");
}
