//! What a person sees on a terminal of 80 and of 140 columns, and what a pipe gets: `plan`, `apply` when its bars are gone, `status`, `test`
//! while it asks and after.
//!
//! The terminal is tmux. What differs from machine to machine and from run to run is replaced before it is compared.

mod normal;

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::fleet::door::pid_of;
use crate::fleet::{Desk, send, tiny};
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

/// A second worker, and a second check.
const MORE: [[&str; 2]; 2] = [
    [
        "checks:",
        "  slow: { model: tiny, on: [here/cpu] }\nchecks:",
    ],
    [
        "Paris }\n",
        "Paris }\n  day: { prompt: Which day comes after Monday? }\n",
    ],
];

fn desk(fleet: &str) -> Desk {
    let desk = Desk::new();
    desk.write(fleet);
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
    let desk = desk(FLEET);
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
    let desk = desk(FLEET);
    let terminal = Terminal::new(&desk, width);
    for args in COMMANDS {
        let name = format!("{}-{width}", args[0]);
        let screen = terminal.screen(&name, args);
        compare(&name, &normal::screen(&screen, Some(width)));
    }
    desk.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn a_table_shows_how_far_a_test_is_and_is_gone_once_it_is_interrupted() {
    let fleet = MORE.iter().fold(FLEET.to_owned(), |fleet, [old, new]| {
        fleet.replace(old, new)
    });
    let desk = desk(&fleet);
    desk.rbee(&["apply", "--yes"]).exits(0);
    // It lives, and answers nothing.
    let slow = pid_of(&desk.home(), "slow/here/cpu/0");
    send("STOP", slow);
    for width in [80, 140] {
        let terminal = Terminal::new(&desk, width);
        terminal.start("test", &["test"]);
        let screen = terminal.shows("test", |screen| {
            screen.matches(" pass ").count() == 2 && screen.contains(" loading")
        });
        compare(
            &format!("test-running-{width}"),
            &normal::screen(&screen, Some(width)),
        );
        terminal.tmux(&["send-keys", "-t", "test", "C-c"]);
        let left = terminal.left("test", 130);
        assert_eq!(left.trim_end(), "error: interrupted: no results are kept");
    }
    send("CONT", slow);
    desk.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn a_terminal_that_cannot_be_drawn_on_gets_lines() {
    let desk = desk(FLEET);
    desk.rbee(&["apply", "--yes"]).exits(0);
    let terminal = Terminal::new(&desk, 80);
    terminal.tmux(&["set-option", "-g", "default-terminal", "dumb"]);
    let screen = terminal.screen("test", &["test"]);
    compare("test-dumb", &normal::screen(&screen, Some(80)));
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
        let socket = desk.path(&format!("tmux-{width}"));
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
        self.start(name, args);
        self.left(name, 0)
    }

    /// Runs the command on a terminal of its own.
    fn start(&self, name: &str, args: &[&str]) {
        let rbee = program("rbee").display().to_string();
        self.session(
            name,
            &format!("{rbee} {}; echo \"[exit $?]\"; cat", args.join(" ")),
        );
    }

    /// What stands there when the command has ended with this code.
    fn left(&self, name: &str, code: u8) -> String {
        let screen = self.shows(name, |screen| screen.contains("\n[exit "));
        let (shown, ended) = screen.split_once("\n[exit ").unwrap();
        assert!(ended.starts_with(&format!("{code}]")), "{screen}");
        shown.to_owned()
    }

    /// What stands there once it is so.
    fn shows(&self, name: &str, is_so: impl Fn(&str) -> bool) -> String {
        let begun = Instant::now();
        loop {
            let screen = self.tmux(&["capture-pane", "-p", "-t", name]);
            if is_so(&screen) {
                return screen;
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
