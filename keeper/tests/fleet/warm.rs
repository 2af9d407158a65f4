//! Connections that one run leaves to the next.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Desk, Ran};
use crate::sshd::{Lab, Sshd};

const ONE: &str = "  one: { connect: ssh://one, devices: [cpu] }\n";

/// A desk whose control sockets are its own.
struct Warm {
    desk: Desk,
    pool: Sshd,
}

impl Warm {
    fn new() -> Self {
        Self::of(|lab| lab.sshd("one"))
    }

    fn of(pool: impl FnOnce(&Lab) -> Sshd) -> Self {
        let desk = Desk::new();
        let pool = pool(&desk.lab);
        desk.fleet(ONE, "one/cpu");
        fs::create_dir(desk.path("run")).unwrap();
        Self { desk, pool }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.desk.command(args);
        command.env("XDG_RUNTIME_DIR", self.desk.path("run"));
        command.env_remove("RBEE_SSH_PERSIST");
        command
    }

    fn rbee(&self, args: &[&str]) -> Ran {
        self.command(args).output().unwrap().into()
    }

    fn logins(&self) -> usize {
        self.pool.log().matches("Accepted publickey").count()
    }

    /// The control sockets of masters that live.
    fn masters(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.desk.path("run/rbee")).into_iter();
        let folders = entries.flatten().map(|entry| entry.unwrap().path());
        let sockets = folders
            .filter(|path| !path.is_symlink())
            .map(|path| path.join("master"));
        sockets
            .filter(|socket| UnixStream::connect(socket).is_ok())
            .collect()
    }

    /// Everything that lies beside the control sockets.
    fn left(&self) -> usize {
        fs::read_dir(self.desk.path("run/rbee"))
            .into_iter()
            .flatten()
            .count()
    }

    /// The hives that run on the pool.
    fn hives(&self) -> usize {
        let bin = self.pool.home().join("bin");
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let programs =
            processes.filter_map(|process| fs::read_link(process.path().join("exe")).ok());
        let is_hive =
            |program: &PathBuf| program.starts_with(&bin) && program.ends_with("rbee-hive");
        programs.filter(is_hive).count()
    }
}

fn pid(master: &Path) -> String {
    let mut ask = Command::new("ssh");
    ask.arg("-S")
        .arg(master)
        .args(["-F", "/dev/null", "-O", "check", "one"]);
    let said = String::from_utf8(ask.output().unwrap().stderr).unwrap();
    let pid = said
        .split_once("pid=")
        .unwrap_or_else(|| panic!("{said}"))
        .1;
    pid.split_once(')').unwrap().0.to_owned()
}

fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "never: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn the_next_run_takes_the_connection_of_the_last_and_no_run_leaves_a_hive() {
    let warm = Warm::new();
    warm.rbee(&["apply", "--yes"]).exits(0);
    assert_eq!((warm.logins(), warm.hives()), (1, 0));
    warm.rbee(&["plan", "--detailed-exitcode"]).exits(0);
    let question = [
        "infer",
        "--worker",
        "chat",
        "--prompt",
        "What is the capital of France?",
    ];
    for _ in 0..2 {
        warm.rbee(&question).exits(0).says("Paris");
    }
    assert_eq!((warm.logins(), warm.hives()), (1, 0));
    let [master] = &warm.masters()[..] else {
        panic!("not one master: {:?}", warm.masters());
    };
    let mut beside: Vec<_> = fs::read_dir(master.parent().unwrap())
        .unwrap()
        .flatten()
        .collect();
    beside.retain(|entry| {
        !["master", "log", "home"]
            .map(Into::into)
            .contains(&entry.file_name())
    });
    assert!(beside.is_empty(), "{beside:?}");

    // A run that is killed: its hive ends, the connection is of use to the next.
    let mut follow = warm
        .command(&["pool", "worker", "logs", "-f", "chat/one/cpu/0"])
        .spawn()
        .unwrap();
    eventually("a hive runs", || warm.hives() > 0);
    follow.kill().unwrap();
    follow.wait().unwrap();
    eventually("the hive ended", || warm.hives() == 0);
    warm.rbee(&["plan", "--detailed-exitcode"]).exits(0);
    assert_eq!(warm.logins(), 1);
}

#[test]
fn who_wants_no_connections_kept_has_none() {
    let warm = Warm::new();
    warm.rbee(&["status", "--no-persist"]).exits(1);
    let mut status = warm.command(&["status"]);
    Ran::from(status.env("RBEE_SSH_PERSIST", "0").output().unwrap()).exits(1);
    assert_eq!((warm.logins(), warm.left()), (2, 0));
    // One that is there is not used either, and stays for those who want it.
    warm.rbee(&["status"]).exits(1);
    warm.rbee(&["status", "--no-persist"]).exits(1);
    warm.rbee(&["status"]).exits(1);
    assert_eq!((warm.logins(), warm.masters().len()), (4, 1));
}

#[test]
fn another_configuration_of_ssh_is_another_connection() {
    let warm = Warm::new();
    warm.rbee(&["status"]).exits(1);
    warm.desk.lab.configure("Host *\n  Compression yes\n");
    warm.rbee(&["status"]).exits(1);
    warm.rbee(&["status"]).exits(1);
    assert_eq!(warm.logins(), 2);
    let text = fs::read_to_string(warm.desk.path("fleet.yaml")).unwrap();
    warm.desk.write(&text.replace(
        "devices: [cpu] }",
        "devices: [cpu], host_keys: accept-new }",
    ));
    warm.rbee(&["status"]).exits(1);
    assert_eq!(warm.logins(), 3);
}

#[test]
fn a_master_that_was_killed_is_replaced_and_its_socket_taken_away() {
    let warm = Warm::new();
    warm.rbee(&["status"]).exits(1);
    let master = warm.masters().remove(0);
    let mut kill = Command::new("kill");
    assert!(kill.args(["-9", &pid(&master)]).status().unwrap().success());
    eventually("the master ended", || warm.masters().is_empty());
    assert!(master.exists());
    warm.rbee(&["status"]).exits(1);
    assert_eq!((warm.logins(), warm.masters().len()), (2, 1));
    assert!(!master.exists());
}

#[test]
fn a_connection_that_died_unnoticed_is_replaced() {
    let warm = Warm::new();
    warm.rbee(&["status"]).exits(1);
    warm.pool.freeze_sessions();
    warm.rbee(&["status"]).exits(1).says("bare");
    assert_eq!(warm.logins(), 2);
    // Nobody needed the dead one's end: it notices by itself.
    eventually("one master", || warm.masters().len() == 1);
}

#[test]
fn a_pool_that_went_away_since_the_last_run_is_unreachable_within_15_seconds() {
    let warm = Warm::new();
    warm.rbee(&["apply", "--yes"]).exits(0);
    warm.rbee(&["plan", "--detailed-exitcode"]).exits(0);
    warm.pool.freeze();
    let begun = Instant::now();
    warm.rbee(&["plan"]).exits(4).says("unreachable: one: ");
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[test]
fn over_a_kept_connection_a_hive_that_says_nothing_is_not_waited_for_twice() {
    let warm = Warm::new();
    warm.rbee(&["apply", "--yes"]).exits(0);
    let hive = warm.pool.home().join("bin/current/rbee-hive");
    // Another file: the old one is in use.
    fs::remove_file(&hive).unwrap();
    fs::write(&hive, "#!/bin/sh\ncat > /dev/null\n").unwrap();
    fs::set_permissions(&hive, PermissionsExt::from_mode(0o700)).unwrap();
    let begun = Instant::now();
    let status = warm.rbee(&["status"]);
    let took = begun.elapsed();
    status.exits(1).says("its hive said nothing for 30 s");
    assert!(took < Duration::from_secs(50), "{took:?}");
}

#[test]
fn runs_at_the_same_time_share_and_disturb_nobody() {
    let warm = Warm::new();
    warm.rbee(&["apply", "--yes", "--no-persist"]).exits(0);
    for round in ["cold", "warm"] {
        let runs: Vec<_> = (0..4)
            .map(|_| {
                warm.command(&["plan", "--detailed-exitcode"])
                    .spawn()
                    .unwrap()
            })
            .collect();
        for run in runs {
            Ran::from(run.wait_with_output().unwrap()).exits(0);
        }
        // Of masters that came at once one is shared; the others end with their run.
        eventually(round, || warm.masters().len() == 1 && warm.hives() == 0);
    }
    assert!(warm.logins() <= 5, "{}", warm.logins());
}

/// What the pool was told to run since it was asked last.
fn asked(warm: &Warm) -> Vec<String> {
    let log = warm.desk.lab.path("asked");
    let asked = fs::read_to_string(&log).unwrap();
    fs::remove_file(&log).unwrap();
    asked.lines().map(str::to_owned).collect()
}

#[test]
fn over_a_kept_connection_the_hive_is_started_at_once_and_looked_for_where_it_is_gone() {
    let warm = Warm::of(|lab| {
        let log = lab.path("asked");
        let shell = format!(
            "printf '%s\\n' \"$SSH_ORIGINAL_COMMAND\" >> {}; exec sh -c \"$SSH_ORIGINAL_COMMAND\"",
            log.display()
        );
        lab.server("one").home("a home").shell(&shell).start()
    });
    warm.rbee(&["apply", "--yes"]).exits(0);
    assert!(asked(&warm).iter().all(|asked| asked.starts_with("sh -c")));
    let home = warm.pool.home().to_owned();
    let at_once = format!(
        "'{0}/bin/current/rbee-hive' rpc --home '{0}'",
        home.display()
    );
    warm.rbee(&["plan", "--detailed-exitcode"]).exits(0);
    assert_eq!(asked(&warm), [at_once.as_str()]);

    fs::rename(home.join("bin"), home.join("elsewhere")).unwrap();
    warm.rbee(&["plan", "--detailed-exitcode"])
        .exits(2)
        .says("one");
    let [first, rest @ ..] = &asked(&warm)[..] else {
        panic!("nothing was asked")
    };
    assert_eq!(first, &at_once);
    assert!(rest.iter().all(|asked| asked.starts_with("sh -c")) && !rest.is_empty());

    // The run that looked has told where the hive is now.
    fs::rename(home.join("elsewhere"), home.join("bin")).unwrap();
    warm.rbee(&["plan", "--detailed-exitcode"]).exits(0);
    assert_eq!(asked(&warm), [at_once.as_str()]);
    assert_eq!(warm.logins(), 1);
}
