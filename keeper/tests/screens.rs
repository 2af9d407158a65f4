//! What a person sees on a terminal of 80 and of 140 columns, and what a pipe gets: `plan`, `apply` when its bars are gone, `status`, `test`.
//!
//! The terminal is tmux. What differs from machine to machine and from run to run is replaced before it is compared.

mod normal;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::fleet::{Desk, tiny};
use crate::program;

const FLEET: &str = "version: 1
fleet: home
pools:
  here: { connect: local, devices: [cpu] }
models:
  tiny: { source: ./models-of-the-whole-house/tiny-llama }
workers:
  chat: { model: tiny, on: [here/cpu], slots: 4 }
checks:
  capital: { prompt: What is the capital of France?, expect: Paris }
";

const COMMANDS: [&[&str]; 4] = [&["plan"], &["apply", "--yes"], &["status"], &["test"]];

fn desk() -> Desk {
    let desk = Desk::new();
    desk.write(FLEET);
    let folder = desk.path("models-of-the-whole-house/tiny-llama");
    fs::create_dir_all(&folder).unwrap();
    for file in fs::read_dir(tiny()).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), folder.join(file.file_name())).unwrap();
    }
    desk
}

/// Compares, and with `INSTA_UPDATE=always` writes, the screen.
fn compare(name: &str, screen: &str) {
    insta::with_settings!({
        snapshot_path => "screens",
        prepend_module_to_snapshot => false,
        omit_expression => true,
    }, {
        insta::assert_snapshot!(name, screen);
    });
}

#[test]
fn a_pipe_gets_lines_that_nothing_bounds() {
    let desk = desk();
    for args in COMMANDS {
        let mut command = desk.command(args);
        let output = command.env_remove("COLUMNS").output().unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        compare(
            &format!("{}-piped", args[0]),
            &normal::screen(&printed, None),
        );
    }
    desk.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn a_terminal_of_80_columns_is_not_overrun() {
    screens(80);
}

#[test]
fn a_terminal_of_140_columns_shows_all_columns() {
    screens(140);
}

fn screens(width: usize) {
    let desk = desk();
    let terminal = Terminal::new(&desk, width);
    for args in COMMANDS {
        let name = format!("{}-{width}", args[0]);
        let screen = terminal.screen(&name, args);
        compare(&name, &normal::screen(&screen, Some(width)));
    }
    desk.rbee(&["destroy", "--yes"]).exits(0);
}

/// A server of tmux. It ends, with what runs in it, when this is dropped.
struct Terminal<'a> {
    desk: &'a Desk,
    width: usize,
    socket: PathBuf,
}

impl<'a> Terminal<'a> {
    fn new(desk: &'a Desk, width: usize) -> Self {
        let socket = desk.path("tmux");
        let terminal = Self {
            desk,
            width,
            socket,
        };
        terminal.session("first", "cat");
        terminal
    }

    /// What stands on a terminal of its own when the command has ended.
    fn screen(&self, name: &str, args: &[&str]) -> String {
        let rbee = program("rbee").display().to_string();
        self.session(
            name,
            &format!("{rbee} {}; echo \"[exit $?]\"; cat", args.join(" ")),
        );
        let begun = Instant::now();
        loop {
            let screen = self.tmux(&["capture-pane", "-p", "-t", name]);
            if let Some((shown, code)) = screen.split_once("\n[exit ") {
                assert!(code.starts_with("0]"), "{screen}");
                return shown.to_owned();
            }
            assert!(begun.elapsed() < Duration::from_mins(2), "{screen}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn session(&self, name: &str, command: &str) {
        let width = self.width.to_string();
        self.tmux(&[
            "new-session",
            "-d",
            "-s",
            name,
            "-x",
            &width,
            "-y",
            "60",
            command,
        ]);
    }

    fn tmux(&self, args: &[&str]) -> String {
        let output = Command::new("tmux")
            .arg("-S")
            .arg(&self.socket)
            .args(["-f", "/dev/null"])
            .args(args)
            .current_dir(self.desk.path(""))
            .env("RBEE_HOME", self.desk.home())
            .env("RBEE_SSH_CONFIG", self.desk.lab.config())
            .env("LC_ALL", "C.UTF-8")
            .env_remove("RBEE_DIST")
            .env_remove("COLUMNS")
            .env_remove("NO_COLOR")
            .env_remove("TMUX")
            .output()
            .expect("tmux is there: on Debian `apt install tmux`, or `cargo xtask test` as root does it");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "tmux {args:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        let mut tmux = Command::new("tmux");
        let _ = tmux.arg("-S").arg(&self.socket).arg("kill-server").status();
    }
}
