//! The programs.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A worker of its own process, until dropped.
struct Running {
    child: Child,
    url: String,
}

impl Running {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_mock-worker"))
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut url).unwrap();
        Self {
            child,
            url: url.trim().to_owned(),
        }
    }

    fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    fn load(&self, args: &[&str]) -> Value {
        let output = Command::new(env!("CARGO_BIN_EXE_mock-load"))
            .args(["--address", self.address()])
            .args(args)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn load_counts_what_a_worker_sends() {
    let worker = Running::start(&["--slots", "64", "--rate", "1000"]);
    let told = worker.load(&["open", "--rate", "100", "--seconds", "0.5"]);
    assert_eq!(
        (&told["asked"], &told["ended"], &told["tokens"]),
        (&50.into(), &50.into(), &800.into()),
        "{told}"
    );
    assert!(
        told["first_token_ms"]["p99"].as_f64().unwrap() > 0.0,
        "{told}"
    );
    let told = worker.load(&["--tokens", "5", "closed", "--streams", "30"]);
    assert_eq!(
        (&told["ended"], &told["tokens"]),
        (&30.into(), &150.into()),
        "{told}"
    );
}

#[test]
fn load_tells_what_was_lost_and_who_noticed_the_leaving() {
    let worker = Running::start(&[
        "--faults",
        r#"{"malformed": "no_end", "times": 1}"#,
        "--rate",
        "200",
    ]);
    let told = worker.load(&["closed", "--streams", "4"]);
    assert_eq!(
        (&told["ended"], &told["failed"]["no end"]),
        (&3.into(), &1.into()),
        "{told}"
    );
    let address = worker.address().to_owned();
    let told = worker.load(&[
        "--tokens", "1000", "leave", "--times", "3", "--worker", &address,
    ]);
    assert_eq!(told["noticed"], 3, "{told}");
}

#[test]
fn the_program_ends_well_when_it_is_asked_to() {
    let mut worker = Running::start(&[]);
    let told = worker.load(&["--tokens", "1", "closed", "--streams", "1"]);
    assert_eq!(told["ended"], 1);
    let pid = worker.child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert!(worker.child.wait().unwrap().success());
}
