//! Building from a git checkout: real git, a real cargo, programs that only say their names.

#[path = "../../examples/checkout.rs"]
mod checkout;

mod broken;
mod build;
mod pull;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::util::{Pool, Worker};
use checkout::Checkout;

/// A pool that builds, its programs found as a login over SSH finds them: cargo below the home of the user.
struct Site {
    pool: Pool,
    /// The user's home.
    user: PathBuf,
    checkout: Checkout,
}

impl Site {
    fn new() -> Self {
        let mut pool = Pool::with(Worker::Missing);
        // Another build takes the place of `current`.
        pool.hive = pool.hive.canonicalize().unwrap();
        let user = pool.scratch().join("user");
        let programs = user.join(".cargo/bin");
        std::fs::create_dir_all(&programs).unwrap();
        for name in ["cargo", "rustc"] {
            let real = Path::new(env!("CARGO")).with_file_name(name);
            std::os::unix::fs::symlink(real, programs.join(name)).unwrap();
        }
        Self {
            pool,
            user,
            checkout: Checkout::new(),
        }
    }

    /// The pool's hive, with nothing of the environment of whoever runs the test.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.pool.hive);
        command
            .args(arguments)
            .env_clear()
            .env("HOME", &self.user)
            .env("PATH", "/usr/bin:/bin")
            .env("RBEE_HOME", &self.pool.home)
            .env("GIT_CONFIG_NOSYSTEM", "1");
        command
    }

    /// `rbee-hive git COMMAND --dir CHECKOUT`
    fn git(&self, arguments: &[&str]) -> Output {
        let dir = self.checkout.dir();
        let arguments = [&["git"], arguments, &["--dir", dir.to_str().unwrap()]].concat();
        self.command(&arguments).output().unwrap()
    }

    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> String {
        let output = self.git(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    #[track_caller]
    fn fails(&self, arguments: &[&str]) -> String {
        failed(self.git(arguments))
    }

    fn status(&self) -> Value {
        serde_json::from_str(&self.ok(&["status", "--json"])).unwrap()
    }

    /// What the pool's programs are now.
    fn current(&self) -> Option<PathBuf> {
        let link = std::fs::read_link(self.pool.home.join("bin/current"));
        Some(self.pool.home.join("bin").join(link.ok()?))
    }
}

/// What a command that has to fail said.
#[track_caller]
fn failed(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(output.stdout, b"");
    String::from_utf8(output.stderr).unwrap()
}
