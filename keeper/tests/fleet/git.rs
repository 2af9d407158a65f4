//! Pools that are built where they are, from a git checkout: over a real sshd, with a real cargo.

#[path = "../../../examples/checkout.rs"]
mod checkout;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Desk, Ran};
use crate::program;
use crate::sshd::Sshd;
use checkout::Checkout;

/// An operator who has `rbee` alone, with no programs for any pool, and a pool that has cargo.
struct Site {
    desk: Desk,
    pool: Sshd,
    rbee: PathBuf,
    checkout: Checkout,
}

impl Site {
    fn new() -> Self {
        let desk = Desk::new();
        let cargo = Path::new(env!("CARGO")).parent().unwrap().display();
        let shell = format!("export PATH=\"{cargo}:$PATH\"; exec sh -c \"$SSH_ORIGINAL_COMMAND\"");
        let pool = desk.lab.server("mac").shell(&shell).start();
        let mac = "  mac: { connect: ssh://mac, devices: [cpu] }\n";
        desk.fleet(mac, "mac/cpu");
        let rbee = desk.path("rbee");
        fs::copy(program("rbee"), &rbee).unwrap();
        Self {
            desk,
            pool,
            rbee,
            checkout: Checkout::new(),
        }
    }

    fn command(&self, args: &[&str]) -> Command {
        let with_programs = self.desk.command(args);
        let mut command = Command::new(&self.rbee);
        command
            .args(args)
            .current_dir(self.desk.path(""))
            .env_remove("RBEE_DIST")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let given = with_programs.get_envs();
        command.envs(given.filter_map(|(name, value)| Some((name, value?))));
        command
    }

    fn rbee(&self, args: &[&str]) -> Ran {
        self.command(args).output().unwrap().into()
    }

    /// `rbee pool git …` of the pool.
    fn git(&self, args: &[&str]) -> Ran {
        self.rbee(&[&["pool", "--pool", "mac", "git"], args].concat())
    }

    /// What a person does once, on the pool: `target/release/rbee-hive git build --dir …`.
    fn begin(&self) {
        let mut command = Command::new(program("rbee-hive"));
        command
            .args(["git", "build", "--dir"])
            .arg(self.checkout.dir())
            .env("RBEE_HOME", self.pool.home())
            .env_remove("CARGO_TARGET_DIR")
            .env_remove("RUSTFLAGS");
        let ran: Ran = command.output().unwrap().into();
        ran.exits(0).says("installed rbee ");
    }

    /// Lets cargo's linker bring the real programs, with the file `note` behind them where there is one.
    fn of_real_programs(&self) {
        let linker = self.checkout.dir().join("link.sh");
        let script = format!(
            "#!/bin/sh -e\nwhile [ \"$1\" != -o ]; do shift; done\ncase \"$2\" in\n\
             *rbee_hive*) name=rbee-hive ;;\n*orchestratord*) name=orchestratord ;;\n*) name=llm-worker-rbee ;;\nesac\n\
             cp '{}'/$name \"$2\"\nif [ -e '{note}' ]; then cat '{note}' >> \"$2\"; fi\n",
            program("rbee-hive").parent().unwrap().display(),
            note = self.checkout.dir().join("note").display(),
        );
        fs::write(&linker, script).unwrap();
        fs::set_permissions(&linker, PermissionsExt::from_mode(0o755)).unwrap();
        let config = format!("[build]\nrustflags = [\"-Clinker={}\"]\n", linker.display());
        self.checkout.write(".cargo/config.toml", &config);
        self.checkout.commit("Another linker");
        self.checkout.git(&["push", "--quiet"]);
    }
}

#[test]
fn a_pool_that_nobody_has_a_build_for_builds_its_own() {
    let site = Site::new();
    site.of_real_programs();
    site.rbee(&["plan"])
        .exits(1)
        .says("blocked: mac: rbee: no llm-worker-rbee for ")
        .says("`target/release/rbee-hive git build`");
    site.git(&["status"])
        .exits(1)
        .says("rbee is not installed on pool `mac`")
        .says("`target/release/rbee-hive git build`");
    site.begin();
    site.rbee(&["plan"])
        .exits(0)
        .says("Plan: 1 to copy (2.6 MB), 1 to spawn.");
    site.rbee(&["apply", "--yes"]).exits(0);
    let asked = [
        "infer",
        "--worker",
        "chat",
        "--prompt",
        "What is the capital of France?",
    ];
    assert_eq!(site.rbee(&asked).exits(0).out, "Paris\n");
    let rests = ["plan", "--detailed-exitcode"];
    site.rbee(&rests).exits(0).says("No changes");
    // Who could bring the same programs takes it for the same build.
    site.desk.rbee(&rests).exits(0).says("No changes");
    let status = site.git(&["status", "--json"]).exits(0).json();
    let first = status["installed"].clone();
    assert_eq!(status["built"]["build"], first);

    // The next revision, from afar. Nobody has another build, so the plan leaves this one too.
    site.checkout
        .push_from_elsewhere("note", "the next revision");
    let main = "fn main() { println!() }\n";
    for program in ["hive/src/main.rs", "worker/src/main.rs"] {
        site.checkout.push_from_elsewhere(program, main);
    }
    site.git(&["pull"])
        .exits(0)
        .says("3 commits from origin/main\n");
    let built = site.git(&["build"]).exits(0).says("installed rbee ");
    assert!(built.err.contains("Compiling rbee-hive"), "{}", built.err);
    let status = site.git(&["status", "--json"]).exits(0).json();
    assert_ne!(status["installed"], first);
    assert_eq!(status["built"]["revision"], status["revision"]);
    site.rbee(&rests).exits(0).says("No changes");
    site.desk
        .rbee(&rests)
        .exits(2)
        .says("another build is installed");
    site.git(&["build", "--features", "nope"])
        .exits(1)
        .says("has no cargo feature `nope`\nhelp: it has: metal\n");
    site.git(&["build", "--nope"]).exits(64);
    site.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn who_interrupts_a_build_from_afar_ends_it_there() {
    let site = Site::new();
    site.of_real_programs();
    site.begin();
    let pid = site.desk.path("pid");
    let script = format!(
        "fn main() {{\n    std::fs::write({pid:?}, std::process::id().to_string()).unwrap();\n    \
         std::thread::sleep(std::time::Duration::from_secs(1000));\n}}\n"
    );
    site.checkout.write("worker/build.rs", &script);
    // A build script is linked as any other program.
    fs::remove_file(site.checkout.dir().join(".cargo/config.toml")).unwrap();
    let mut command = site.command(&["pool", "--pool", "mac", "git", "build"]);
    let mut running = command.spawn().unwrap();
    let waits_for = |what: &str, is_so: &dyn Fn() -> bool| {
        for _ in 0..6000 {
            if is_so() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        panic!("waited in vain for {what}");
    };
    let line = || {
        let pid = fs::read_to_string(&pid).ok()?;
        fs::read(format!("/proc/{pid}/cmdline"))
            .ok()
            .filter(|line| !line.is_empty())
    };
    waits_for("the build script", &|| line().is_some());
    let interrupted = Command::new("kill")
        // What a shell starts in the background ignores INT, and so would this.
        .args(["-s", "TERM", &running.id().to_string()])
        .status();
    assert!(interrupted.unwrap().success());
    assert!(!running.wait().unwrap().success());
    waits_for("its end", &|| line().is_none());
}
