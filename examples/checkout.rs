//! A git checkout that is laid out and built as rbee's is, with programs that only say their names. Tests include this file
//! by its path.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folder, name and features of each package, and what its program says besides its name.
const PACKAGES: [[&str; 4]; 3] = [
    ["hive", "rbee-hive", "", r#""""#],
    ["orchestrator", "orchestratord", "", r#""""#],
    [
        "worker",
        "llm-worker-rbee",
        "\n[features]\nmetal = []\n",
        r#"if cfg!(feature = "metal") { " with metal" } else { "" }"#,
    ],
];

/// A clone with its origin, a bare repository beside it.
pub struct Checkout {
    folder: tempfile::TempDir,
}

impl Checkout {
    /// One commit, on the branch `main`, which both have.
    pub fn new() -> Self {
        let checkout = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        git(
            checkout.folder.path(),
            &[
                "init",
                "--quiet",
                "--bare",
                "--initial-branch=main",
                "origin",
            ],
        );
        checkout.clone_to("rbee");
        let mut members = Vec::new();
        let mut lock = "version = 4\n".to_owned();
        for [folder, name, features, says] in PACKAGES {
            members.push(format!("\"{folder}\""));
            lock += &format!("\n[[package]]\nname = \"{name}\"\nversion = \"0.0.0\"\n");
            checkout.write(
                &format!("{folder}/Cargo.toml"),
                &format!(
                    "[package]\nname = \"{name}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n{features}"
                ),
            );
            checkout.write(
                &format!("{folder}/src/main.rs"),
                &format!("fn main() {{\n    println!(\"{name} of a test{{}}\", {says});\n}}\n"),
            );
        }
        let members = members.join(", ");
        checkout.write(
            "Cargo.toml",
            &format!("[workspace]\nresolver = \"3\"\nmembers = [{members}]\n"),
        );
        checkout.write("Cargo.lock", &lock);
        checkout.write(".gitignore", "/target\n");
        checkout.commit("The first");
        checkout.git(&["push", "--quiet"]);
        checkout
    }

    fn clone_to(&self, name: &str) {
        git(self.folder.path(), &["clone", "--quiet", "origin", name]);
    }

    /// The clone's folder.
    pub fn dir(&self) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join("rbee")
    }

    /// Writes a file of the clone.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.dir().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Runs git in the clone and returns what it says.
    pub fn git(&self, arguments: &[&str]) -> String {
        git(&self.dir(), arguments)
    }

    /// Commits everything and returns the revision.
    pub fn commit(&self, message: &str) -> String {
        commit(&self.dir(), message)
    }

    /// Somebody else writes a file and pushes it; returns the revision.
    pub fn push_from_elsewhere(&self, name: &str, text: &str) -> String {
        let elsewhere = self.folder.path().join("elsewhere");
        if !elsewhere.exists() {
            self.clone_to("elsewhere");
        }
        git(&elsewhere, &["pull", "--quiet"]);
        fs::write(elsewhere.join(name), text).unwrap();
        let revision = commit(&elsewhere, name);
        git(&elsewhere, &["push", "--quiet"]);
        revision
    }
}

fn commit(folder: &Path, message: &str) -> String {
    git(folder, &["add", "--all"]);
    git(folder, &["commit", "--quiet", "--message", message]);
    git(folder, &["rev-parse", "HEAD"])
}

/// Nobody's configuration counts.
fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=somebody",
            "-c",
            "user.email=somebody@example.com",
        ])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .expect("git is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
