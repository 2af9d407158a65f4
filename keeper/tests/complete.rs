//! Real shells complete the command line of `rbee` in a folder with a fleet.yaml.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::program;

const FLEET: &str = "version: 1
fleet: test
pools:
  box: { connect: ssh://box, devices: [cpu, 'cuda:0'] }
  desk: { connect: local, devices: [cpu] }
models:
  tiny: { source: ./tiny }
  qwen: { source: hf:Qwen/Qwen2.5-0.5B-Instruct }
workers:
  chat: { model: qwen, on: ['*/cpu'], replicas: 2 }
  every: { models: [tiny, qwen], on: [box/cuda:0] }
";

/// A folder with a fleet.yaml, and an ssh that leaves a mark when it is used.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("fleet.yaml", FLEET);
        folder.write("below/file", "");
        let mark = folder.path("asked").display().to_string();
        folder.write("ssh", &format!("Host *\n  ProxyCommand touch {mark}\n"));
        folder
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), text).unwrap();
    }

    fn shell(&self, shell: &str, args: &[&str], typed: &str) -> Output {
        let programs = program("rbee").parent().unwrap().display().to_string();
        let path = std::env::var("PATH").unwrap();
        let mut child = Command::new(shell)
            .args(args)
            .current_dir(self.path("below"))
            .env("PATH", format!("{programs}:{path}"))
            .env("HOME", self.path(""))
            .env("RBEE_SSH_CONFIG", self.path("ssh"))
            .env("TERM", "dumb")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(typed.as_bytes()).unwrap();
        drop(stdin);
        child.wait_with_output().unwrap()
    }

    /// What bash offers for the last word of the line.
    #[track_caller]
    fn bash(&self, line: &str) -> String {
        let script = r#"source <(rbee completions bash)
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_TYPE=63
            _clap_complete_rbee rbee "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            echo "${COMPREPLY[@]}""#;
        let words: Vec<&str> = line.split(' ').collect();
        let args = [&["-c", script, "bash"], &words[..]].concat();
        said(self.shell("bash", &args, ""))
    }
}

#[track_caller]
fn said(output: Output) -> String {
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn names_come_from_the_nearest_fleet_file_and_no_pool_is_asked() {
    let folder = Folder::new();
    for (line, offered) in [
        ("rbee infer --model ", "qwen tiny"),
        ("rbee infer --model t", "tiny"),
        ("rbee infer --worker ", "chat every.qwen every.tiny"),
        (
            "rbee infer --worker chat/b",
            "chat/box/cpu/0 chat/box/cpu/1",
        ),
        ("rbee infer --worker every.q*/", ""),
        ("rbee pool --pool ", "box desk"),
        ("rbee pool status --pool d", "desk"),
        ("rbee pool --pool box worker l", "list logs"),
        ("rbee import --yes --pool b", "box"),
        ("rbee lock --update ", "qwen"),
        ("rbee comp", "completions"),
        ("rbee completions f", "fish"),
    ] {
        assert_eq!(folder.bash(line), offered, "{line}");
    }
    assert!(!folder.path("asked").exists(), "a pool was asked");
}

#[test]
fn names_come_from_the_fleet_file_that_is_typed() {
    let folder = Folder::new();
    folder.write("other.yaml", &FLEET.replace("tiny", "small"));
    for line in [
        "rbee -f ../other.yaml infer --model s",
        "rbee infer --file ../other.yaml --model s",
        "rbee infer --file = ~/other.yaml --model s",
    ] {
        assert_eq!(folder.bash(line), "small", "{line}");
    }
    assert_eq!(folder.bash("rbee -f ../o"), "../other.yaml");
}

#[test]
fn where_no_fleet_file_can_be_read_no_names_are_offered_and_nothing_is_said() {
    let folder = Folder::new();
    for text in [Some("version: 1\npools: {"), Some("\u{0}"), None] {
        match text {
            Some(text) => folder.write("fleet.yaml", text),
            None => fs::remove_file(folder.path("fleet.yaml")).unwrap(),
        }
        for flag in [
            "infer --model",
            "infer --worker",
            "pool --pool",
            "lock --update",
        ] {
            assert_eq!(folder.bash(&format!("rbee {flag} ")), "", "{flag} {text:?}");
        }
    }
}

#[test]
fn a_person_at_a_terminal_presses_tab() {
    let folder = Folder::new();
    for (shell, start) in [("bash", "bash --norc --noprofile -i"), ("zsh", "zsh -f -i")] {
        if !is_there(shell) {
            continue;
        }
        let prepare = match shell {
            "zsh" => "autoload -U compinit; compinit -D -u; ",
            _ => "",
        };
        let typed = format!(
            "{prepare}source <(rbee completions {shell})\nrbee infer --help --worker every.t\t\n"
        );
        // `script` gives the shell a terminal of its own.
        let output = folder.shell("script", &["-qec", start, "/dev/null"], &typed);
        let screen = String::from_utf8_lossy(&output.stdout);
        assert!(screen.contains("every.tiny"), "{shell}:\n{screen}");
    }
}

#[test]
fn fish_offers_names() {
    let folder = Folder::new();
    if !is_there("fish") {
        return;
    }
    let script = "rbee completions fish | source; complete -C 'rbee infer --model '; \
                  complete -C 'rbee pool status --pool d'";
    let output = folder.shell("fish", &["--no-config", "-c", script], "");
    assert_eq!(said(output), "qwen\ntiny\ndesk");
}

#[test]
fn the_script_of_each_shell_asks_rbee() {
    let folder = Folder::new();
    for (shell, asks) in [
        ("bash", r#"RBEE_COMPLETE="bash""#),
        ("zsh", r#"RBEE_COMPLETE="zsh""#),
        ("fish", "RBEE_COMPLETE=fish rbee -- "),
        ("elvish", r#"RBEE_COMPLETE="elvish""#),
        ("powershell", "RBEE_COMPLETE"),
    ] {
        let rbee = program("rbee").display().to_string();
        let script = said(folder.shell(&rbee, &["completions", shell], ""));
        assert!(script.contains(asks), "{shell}:\n{script}");
    }
}

fn is_there(shell: &str) -> bool {
    let is_there = ["/usr/bin", "/bin", "/usr/local/bin", "/opt/homebrew/bin"]
        .iter()
        .any(|folder| Path::new(folder).join(shell).exists());
    if !is_there {
        eprintln!("{shell} is not installed: only the text of its script is checked");
    }
    is_there
}
