//! Workers and orchestrators that systemd starts again: a real manager of the user, in a mount namespace in which the machine looks as if it
//! was booted with systemd. A manager takes the control groups that it sees for its own, with every process in them, so it
//! sees none but one of this test.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use hive::process;
use pool_core::observation::{ObservedOrchestrator, ObservedWorker};
use pool_core::orchestrator::{OrchestratorRecord, OrchestratorSpec, Settings};
use pool_core::rpc::{Outcome, Request};
use pool_core::worker::{Supervise, WorkerRecord};

use crate::util::{Connection, Pool, Worker, spec, wait_for};

/// A user with a manager of systemd.
struct User {
    folder: tempfile::TempDir,
    manager: Child,
    /// The control groups of everybody else, before there was a manager.
    groups: String,
}

impl User {
    /// None where this user may not make a mount namespace, which needs root.
    #[allow(clippy::print_stderr, reason = "a test says that it did not run")]
    fn new() -> Option<Self> {
        let can = Command::new("unshare").args(["--mount", "true"]).output();
        if !can.is_ok_and(|can| can.status.success()) {
            eprintln!("not run: the kernel gives no namespaces to this user");
            return None;
        }
        // A short path: sockets lie there.
        let folder = tempfile::tempdir().unwrap();
        let groups = groups();
        let manager = Self::boot(folder.path());
        let mut user = Self {
            folder,
            manager,
            groups,
        };
        let is_up = user.wait();
        if !is_up {
            eprintln!("not run: systemd has no manager for this user here");
        }
        is_up.then_some(user)
    }

    fn boot(folder: &Path) -> Child {
        const SCRIPT: &str = "mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/lib/systemd \
            && mkdir -p /run/systemd/system /var/lib/systemd/linger && touch /var/lib/systemd/linger/root \
            && mkdir /run/groups && mount -t cgroup2 cgroup2 /run/groups \
            && group=/run/groups$(sed -n s/^0:://p /proc/self/cgroup)/$0 \
            && mkdir -p $group && echo $$ > $group/cgroup.procs \
            && mount --bind $group /sys/fs/cgroup && umount /run/groups \
            && exec unshare --cgroup /lib/systemd/systemd --user --log-target=null";
        std::fs::create_dir_all(folder.join("run")).unwrap();
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT]);
        unshare.arg(Self::group(folder));
        Self::environment(&mut unshare, folder);
        unshare.stdin(Stdio::null()).stdout(Stdio::null());
        unshare.spawn().unwrap()
    }

    /// The name of the only control group that its manager sees.
    fn group(folder: &Path) -> String {
        let name = folder.file_name().unwrap();
        format!("rbee{}", name.to_str().unwrap())
    }

    fn environment(command: &mut Command, folder: &Path) {
        command
            .env_remove("XDG_CONFIG_HOME")
            .env("XDG_RUNTIME_DIR", folder.join("run"))
            .env("HOME", folder)
            .env("USER", "root")
            // Not for workers, who count the cards as the hive does.
            .env("CUDA_VISIBLE_DEVICES", "1");
    }

    /// False where the manager ends by itself, as it does where it may not make control groups.
    fn wait(&mut self) -> bool {
        let is_up = wait_for("the manager", || {
            let output = self.systemctl(&["show", "--property=Version"]);
            let has_ended = self.manager.try_wait().unwrap().is_some();
            (output.status.success() || has_ended).then_some(!has_ended)
        });
        assert_eq!(groups(), self.groups, "it moved processes of others");
        is_up
    }

    /// Everything of the user ends and begins again, as when the machine boots.
    fn reboot(&mut self) {
        self.systemctl(&["exit"]);
        self.manager.wait().unwrap();
        self.manager = Self::boot(self.folder.path());
        assert!(self.wait());
    }

    /// A command that runs as the user's.
    fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--mount=/proc/{}/ns/mnt", self.manager.id()))
            .arg(program)
            .args(arguments);
        Self::environment(&mut command, self.folder.path());
        command
    }

    fn systemctl(&self, arguments: &[&str]) -> Output {
        let arguments = [&["--user"], arguments].concat();
        let mut command = self.command(Path::new("/usr/bin/systemctl"), &arguments);
        command.output().unwrap()
    }

    fn units(&self) -> Vec<PathBuf> {
        let folder = self.folder.path().join(".config/systemd/user");
        let Ok(entries) = folder.read_dir() else {
            return Vec::new();
        };
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.is_file()).collect()
    }

    /// Runs a hive that has to succeed.
    fn hive<T: serde::de::DeserializeOwned>(&self, pool: &Pool, arguments: &[&str]) -> T {
        let arguments = [arguments, &["--json"]].concat();
        let mut command = self.command(&pool.hive, &arguments);
        let output = command.env("RBEE_HOME", &pool.home).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The only worker, once it serves and is not that process.
    fn serving(&self, pool: &Pool, not: Option<u32>) -> ObservedWorker {
        wait_for("a worker that serves", || {
            let mut workers: Vec<ObservedWorker> = self.hive(pool, &["worker", "list"]);
            let worker = workers.pop()?;
            assert!(workers.is_empty());
            let is_other = Some(pid(&worker.record)) != not;
            (worker.is_serving() && is_other).then_some(worker)
        })
    }
}

impl Drop for User {
    fn drop(&mut self) {
        const SCRIPT: &str = "mount -t cgroup2 cgroup2 $1 \
            && find $1$(sed -n s/^0:://p /proc/self/cgroup)/$0 -depth -type d -exec rmdir {} +";
        self.systemctl(&["exit"]);
        let _ = self.manager.wait();
        let mut remove = Command::new("unshare");
        remove.args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT]);
        remove.arg(Self::group(self.folder.path()));
        let _ = remove.arg(self.folder.path().join("run")).output();
    }
}

/// The control groups of the first process and of this one.
fn groups() -> String {
    let of = |process| std::fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap();
    of("1") + &of("self")
}

fn pid(record: &WorkerRecord) -> u32 {
    record.process.as_ref().unwrap().pid
}

#[test]
fn systemd_starts_a_worker_again_after_a_crash_and_after_a_boot() {
    let Some(mut user) = User::new() else {
        return;
    };
    let pool = Pool::new();
    pool.register_tiny();
    let spawn = [
        "worker",
        "spawn",
        "cpu",
        "--model",
        "tiny",
        "--supervise",
        "systemd",
    ];
    let record: WorkerRecord = user.hive(&pool, &spawn);
    assert_eq!(record.spec.supervise, Supervise::Systemd);
    let first = user.serving(&pool, None).record;

    let environment = std::fs::read(format!("/proc/{}/environ", pid(&first))).unwrap();
    let environment = String::from_utf8(environment).unwrap();
    let cuda = environment.split('\0').filter(|it| it.starts_with("CUDA"));
    let cuda: Vec<&str> = cuda.collect();
    assert_eq!(cuda, ["CUDA_DEVICE_ORDER=PCI_BUS_ID"]);

    let [unit] = user.units().try_into().unwrap();
    let verify = ["--user", "verify", unit.to_str().unwrap()];
    let verify = user.command(Path::new("/usr/bin/systemd-analyze"), &verify);
    let verify = { verify }.output().unwrap();
    let said = String::from_utf8_lossy(&verify.stderr);
    assert!(verify.status.success() && !said.contains("rbee"), "{said}");

    let killed = first.process.clone().unwrap();
    process::signal(&killed, process::Signal::KILL).unwrap();
    let second = user.serving(&pool, Some(pid(&first))).record;
    assert_eq!(second.listen, first.listen);
    assert_eq!(pool.worker_processes(), 1);

    user.reboot();
    user.serving(&pool, Some(pid(&second)));
    assert_eq!(pool.worker_processes(), 1);

    let id = record.id.as_str();
    let stopped: WorkerRecord = user.hive(&pool, &["worker", "stop", id]);
    assert_eq!(stopped.id, record.id);
    assert_eq!((pool.worker_processes(), user.units().len()), (0, 0));
    user.reboot();
    assert_eq!(pool.worker_processes(), 0);
}

#[test]
fn systemd_starts_an_orchestrator_again_after_a_crash() {
    let Some(user) = User::new() else {
        return;
    };
    let pool = Pool::with(Worker::Missing);
    let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let spec = Box::new(OrchestratorSpec {
        fleet: "home".parse().unwrap(),
        listen: free.local_addr().unwrap(),
        supervise: Supervise::Systemd,
        settings: Settings::default(),
        files: BTreeSet::new(),
    });
    drop(free);
    let mut command = user.command(&pool.hive, &["rpc"]);
    command.env("RBEE_HOME", &pool.home);
    let started = Connection::open(command).call(Request::StartOrchestrator { spec });
    let Ok(Outcome::Started(first)) = started else {
        panic!("{started:?}")
    };
    let [unit] = user.units().try_into().unwrap();
    assert!(unit.ends_with("rbee-orchestrator-home.service"));

    let killed = first.process.unwrap();
    process::signal(&killed, process::Signal::KILL).unwrap();
    wait_for("another process that serves", || {
        let mut all: Vec<ObservedOrchestrator> = user.hive(&pool, &["orchestrator", "status"]);
        let seen = all.pop()?;
        let is_other = seen.record.process.as_ref() != Some(&killed);
        (seen.is_serving() && is_other).then_some(())
    });
    let stopped: OrchestratorRecord = user.hive(&pool, &["orchestrator", "stop"]);
    assert!(!process::is_alive(stopped.process.as_ref().unwrap()));
    assert_eq!(user.units().len(), 0);
}

#[test]
fn a_worker_that_does_not_become_ready_leaves_no_unit() {
    let Some(user) = User::new() else {
        return;
    };
    let pool = Pool::with(Worker::Script("echo no such luck; exit 3"));
    pool.register_tiny();
    let spawn = [
        "worker",
        "spawn",
        "cpu",
        "--model",
        "tiny",
        "--supervise",
        "systemd",
    ];
    let mut command = user.command(&pool.hive, &spawn);
    let output = command.env("RBEE_HOME", &pool.home).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("no such luck"),
        "{said}"
    );
    assert_eq!((pool.worker_processes(), user.units().len()), (0, 0));
}

#[test]
fn a_pool_without_the_supervisor_says_so_before_anything_starts() {
    let pool = Pool::new();
    let entry = pool.register_tiny();
    let nobody = tempfile::tempdir().unwrap();
    for (supervise, needle) in [
        ("systemd", "no manager of systemd"),
        ("launchd", "no launchd"),
    ] {
        let spawn = [
            "worker",
            "spawn",
            "cpu",
            "--model",
            "tiny",
            "--supervise",
            supervise,
        ];
        let mut command = pool.command(&spawn);
        command.env("XDG_RUNTIME_DIR", nobody.path());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(needle), "{said}");
    }
    assert_eq!((pool.workers().len(), pool.worker_processes()), (0, 0));
    let mut other = spec(&entry, 0);
    let hash = other.hash();
    other.supervise = Supervise::Systemd;
    assert_ne!(other.hash(), hash);
}
