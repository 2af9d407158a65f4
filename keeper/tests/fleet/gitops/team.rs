//! A team with a repository made from `examples/gitops`: its machines and its forge.

use std::cell::Cell;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use local_hub::Hub;
use serde_json::Value;

use super::packages;
use crate::fleet::{Desk, Ran, tiny};
use crate::program;
use crate::sshd::Sshd;

const PROGRAMS: [&str; 4] = ["rbee", "rbee-hive", "llm-worker-rbee", "orchestratord"];

/// The shipped repository.
pub fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/gitops")
}

/// A file beside this one.
pub fn here(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fleet/gitops");
    folder.join(name)
}

pub fn python() -> PathBuf {
    packages::python("gitops-checks", &here("requirements.txt"))
}

/// A YAML file, as a YAML 1.2 parser has it.
pub fn yaml(path: &Path) -> Value {
    let script = "import json, sys; from ruamel.yaml import YAML; \
                  print(json.dumps(YAML(typ='safe').load(open(sys.argv[1]))))";
    let mut command = Command::new(python().join("python"));
    let ran: Ran = command
        .args(["-c", script])
        .arg(path)
        .output()
        .unwrap()
        .into();
    ran.exits(0).json()
}

/// Runs a program that must succeed, and returns what it prints.
#[track_caller]
fn done(command: &mut Command) -> String {
    let ran: Ran = command.output().unwrap().into();
    ran.exits(0).out
}

/// Runs git as one of the team, and returns what it prints.
#[track_caller]
pub fn git(folder: &Path, args: &[&str]) -> String {
    let mut git = Command::new("git");
    for who in ["AUTHOR", "COMMITTER"] {
        git.env(format!("GIT_{who}_NAME"), "One of us");
        git.env(format!("GIT_{who}_EMAIL"), "us@example.net");
    }
    git.env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1");
    done(git.args(args).current_dir(folder)).trim().to_owned()
}

/// Its servers end before the desk ends their workers.
pub struct Team {
    _pools: [Sshd; 3],
    hub: Hub,
    forge: Child,
    /// Where the forge answers.
    pub url: String,
    pub desk: Desk,
    jobs: Cell<u32>,
}

impl Team {
    /// A repository with the example's files, in which its machines, their keys, the programs and the locks are filled in.
    pub fn new() -> Self {
        let desk = Desk::new();
        let pools = ["staging", "east", "west"].map(|name| (name, desk.lab.sshd(name)));
        let hub = Hub::builder().repo("Qwen/Qwen2.5-0.5B-Instruct", tiny());
        let mut forge = Command::new("python3")
            .arg(here("forge.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        let mut lines = BufReader::new(forge.stdout.take().unwrap());
        lines.read_line(&mut url).unwrap();
        let hosts = pools.iter().map(|(name, pool)| {
            format!(
                "Host {name}\n  HostName 127.0.0.1\n  Port {}\n",
                pool.port()
            )
        });
        let hosts: String = hosts.collect();
        let team = Self {
            hub: hub.start().unwrap(),
            _pools: pools.map(|(_, pool)| pool),
            url: url.trim().to_owned(),
            jobs: Cell::new(0),
            forge,
            desk,
        };
        let mine = team.desk.path("mine");
        done(Command::new("cp").arg("-r").args([&example(), &mine]));
        team.write("ssh/config", &hosts);
        let known = fs::read_to_string(team.desk.lab.known_hosts()).unwrap();
        team.write("ssh/known_hosts", &known);
        team.write("ci/rbee.env", &team.archive());
        for environment in ["staging", "production"] {
            let file = mine.join(environment).join("fleet.yaml");
            let mut lock = team.desk.command(&["-f", file.to_str().unwrap(), "lock"]);
            done(lock.envs(team.of_the_hub()).env_remove("HF_TOKEN"));
        }
        let origin = team.desk.path("origin");
        let origin = origin.to_str().unwrap();
        git(&mine, &["init", "-q", "--bare", "-b", "main", origin]);
        git(&mine, &["init", "-q", "-b", "main"]);
        git(&mine, &["remote", "add", "origin", origin]);
        team.commit("the fleet");
        git(&mine, &["push", "-q", "origin", "main"]);
        team
    }

    /// Makes an archive of the programs, and what `ci/rbee.env` says of it.
    fn archive(&self) -> String {
        let programs = self.desk.path("programs");
        fs::create_dir(&programs).unwrap();
        for name in PROGRAMS {
            std::os::unix::fs::symlink(program(name), programs.join(name)).unwrap();
        }
        let archive = self.desk.path("rbee.tar");
        let mut tar = Command::new("tar");
        done(
            tar.arg("-cf")
                .arg(&archive)
                .arg("-C")
                .arg(&programs)
                .arg("."),
        );
        let sum = done(Command::new("sha256sum").arg(&archive));
        let (sum, archive) = (sum.split(' ').next().unwrap(), archive.display());
        format!("RBEE_URL=file://{archive}\nRBEE_SHA256={sum}\n")
    }

    pub fn of_the_hub(&self) -> [(&'static str, String); 2] {
        let no_token = self.desk.path("no-token").display().to_string();
        [
            ("HF_ENDPOINT", self.hub.url().to_owned()),
            ("HF_TOKEN_PATH", no_token),
        ]
    }

    /// Writes a file of the repository.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.desk.path("mine").join(name), text).unwrap();
    }

    fn commit(&self, what: &str) {
        let mine = self.desk.path("mine");
        git(&mine, &["add", "--all"]);
        git(&mine, &["commit", "-q", "-m", what]);
    }

    /// A branch of main, new or as it is, in which a line of a file is another; pushed.
    #[track_caller]
    pub fn change(&self, branch: &str, file: &str, from: &str, to: &str) {
        let mine = self.desk.path("mine");
        if mine.join(".git/refs/heads").join(branch).exists() {
            git(&mine, &["checkout", "-q", branch]);
        } else {
            git(&mine, &["checkout", "-q", "-b", branch, "main"]);
        }
        let text = fs::read_to_string(mine.join(file)).unwrap();
        assert!(text.contains(from), "{text}");
        self.write(file, &text.replace(from, to));
        self.commit("a change");
        git(&mine, &["push", "-q", "origin", branch]);
    }

    /// What the button does.
    #[track_caller]
    pub fn merge(&self, branch: &str) {
        let mine = self.desk.path("mine");
        git(&mine, &["checkout", "-q", "main"]);
        git(&mine, &["merge", "-q", "--no-ff", "-m", "merged", branch]);
        git(&mine, &["push", "-q", "origin", "main"]);
    }

    /// Somebody at a desk, with the fleet file of staging.
    pub fn by_hand(&self, args: &[&str]) -> Ran {
        let file = self.desk.path("mine/staging/fleet.yaml");
        let args = [&["-f", file.to_str().unwrap()], args].concat();
        let mut command = self.desk.command(&args);
        command.envs(self.of_the_hub()).env_remove("HF_TOKEN");
        command.output().unwrap().into()
    }

    /// Asks the forge something.
    #[track_caller]
    pub fn forge(&self, args: &[&str], path: &str) -> String {
        let mut curl = Command::new("curl");
        done(
            curl.args(["-fsS", "--noproxy", "*"])
                .args(args)
                .arg(format!("{}{path}", self.url)),
        )
    }

    /// The comments that begin so, by whom they are and what they say.
    pub fn comments(&self, marker: &str) -> Vec<(String, String)> {
        let all: Vec<Value> = serde_json::from_str(&self.forge(&[], "/comments")).unwrap();
        let said = |one: &Value| one["body"].as_str().unwrap().to_owned();
        let by = |one: &Value| one["user"]["login"].as_str().unwrap().to_owned();
        let all = all.iter().map(|one| (by(one), said(one)));
        all.filter(|(_, body)| body.starts_with(marker)).collect()
    }

    /// A fresh clone of main.
    pub fn clone(&self) -> PathBuf {
        self.jobs.set(self.jobs.get() + 1);
        let folder = self.desk.path(&format!("job-{}", self.jobs.get()));
        let origin = self.desk.path("origin");
        let (from, to) = (origin.to_str().unwrap(), folder.to_str().unwrap());
        git(&origin, &["clone", "-q", from, to]);
        folder
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        drop(self.forge.stdin.take());
        self.forge.wait().unwrap();
    }
}
