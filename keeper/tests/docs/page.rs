//! A page of the documentation, run as it stands: each command in its order, by one shell, and each file that is shown is written.

use std::collections::BTreeSet;
use std::fs;
use std::process::{Command, Stdio};

use super::root;
use crate::fleet::Desk;
use crate::program;

/// What a page needs so that it is true here.
pub struct Play<'a> {
    /// Text of a block, and what this run has in its place.
    pub replaced: Vec<(&'a str, String)>,
    /// Words between the blocks, and the shell commands that make them true.
    pub acted: Vec<(&'a str, String)>,
    /// How a command or a block begins that is not run, and why.
    pub left: &'a [(&'a str, &'a str)],
    /// Whether the page shows all output: a command without any prints nothing.
    pub shows_all: bool,
}

/// A command, and what the page says that it prints. `...` in it stands for any text of a line, alone on a line for any lines.
pub struct Step {
    command: String,
    /// None where the page says nothing of it.
    output: Option<Vec<String>>,
}

impl Step {
    fn silent(command: String) -> Self {
        let output = Some(Vec::new());
        Self { command, output }
    }
}

/// What the page shows, in its order. A block that is neither run nor left fails, and so does a word of the play that the page does not have.
pub fn steps(page: &str, play: &Play) -> Vec<Step> {
    let acted = play.acted.iter().map(|(words, _)| *words);
    let left = play.left.iter().map(|(start, _)| *start);
    let mut reader = Reader {
        play,
        steps: Vec::new(),
        unmet: acted.chain(left).collect(),
    };
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        match line.trim_start().strip_prefix("```") {
            None => reader.act(line),
            Some(kind) => {
                assert_eq!(line.trim_start(), line, "a block that is indented");
                let block = lines.by_ref().take_while(|line| *line != "```");
                reader.block(kind, &block.collect::<Vec<_>>());
            }
        }
    }
    assert!(
        reader.unmet.is_empty(),
        "not on the page: {:?}",
        reader.unmet
    );
    reader.steps
}

struct Reader<'a> {
    play: &'a Play<'a>,
    steps: Vec<Step>,
    /// What was not found yet.
    unmet: BTreeSet<&'a str>,
}

impl Reader<'_> {
    fn act(&mut self, line: &str) {
        for (words, command) in &self.play.acted {
            if line.contains(words) {
                self.unmet.remove(words);
                let command = command.clone();
                self.steps.push(Step {
                    command,
                    output: None,
                });
            }
        }
    }

    fn is_left(&mut self, line: &str) -> bool {
        let mut left = self.play.left.iter().map(|(start, _)| start);
        let found = left.find(|start| line.starts_with(**start));
        found.is_some_and(|start| {
            self.unmet.remove(start);
            true
        })
    }

    fn here(&self, text: &str) -> String {
        let replaced = self.play.replaced.iter();
        replaced.fold(text.to_owned(), |text, (old, new)| text.replace(old, new))
    }

    fn block(&mut self, kind: &str, block: &[&str]) {
        let first = block.first().copied().unwrap_or_default();
        match kind {
            "console" => self.console(block),
            "sh" => {
                for line in block {
                    if !self.is_left(line) {
                        self.steps.push(Step::silent(self.here(line)));
                    }
                }
            }
            _ if self.is_left(first) => {}
            "yaml" => {
                let (name, how) = match first.strip_prefix("# ") {
                    Some(name) => match name.strip_suffix(", added") {
                        Some(name) => (name, ">>"),
                        None => (name, ">"),
                    },
                    None => ("fleet.yaml", ">"),
                };
                let text = self.here(&block.join("\n"));
                let command = format!("cat {how} {name} <<END\n{text}\nEND");
                self.steps.push(Step::silent(command));
            }
            _ => panic!("a block that is neither run nor left, with the reason: {kind} {first}"),
        }
    }

    fn console(&mut self, block: &[&str]) {
        let mut lines = block.iter().peekable();
        while let Some(line) = lines.next() {
            let first = line
                .strip_prefix("$ ")
                .expect("a command stands before its output");
            let mut command = first.to_owned();
            while command.ends_with('\\') {
                command = format!("{command}\n{}", lines.next().unwrap());
            }
            let mut output = Vec::new();
            while let Some(line) = lines.next_if(|line| !line.starts_with("$ ")) {
                output.push(plain(&self.here(line)));
            }
            while output.last().is_some_and(String::is_empty) {
                output.pop();
            }
            if !self.is_left(first) {
                let command = self.here(&command);
                let is_told = self.play.shows_all || !output.is_empty();
                let output = is_told.then_some(output);
                self.steps.push(Step { command, output });
            }
        }
    }
}

/// What ends a command's output and its exit code in what the shell prints.
const MARK: char = '\u{1e}';

/// Runs the steps in the repository's root, with a home in the desk's folder.
pub fn run(desk: &Desk, steps: &[Step]) {
    let programs = program("rbee").parent().unwrap().to_owned();
    let path = std::env::var("PATH").unwrap();
    let mut script = "exec 2>&1\n".to_owned();
    for Step { command, .. } in steps {
        script += &format!("{command}\ncode=$?; printf '\\036%d\\036' $code; (exit $code)\n");
    }
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(root())
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("HOME", desk.path(""))
        .env("RBEE_HOME", desk.home())
        .env("RBEE_SSH_CONFIG", desk.lab.config())
        .env_remove("RBEE_DIST")
        .env_remove("COLUMNS")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let mut printed = printed.split(MARK);
    for (at, Step { command, output }) in steps.iter().enumerate() {
        let (said, code) = (printed.next().unwrap(), printed.next().unwrap_or("none"));
        let asked = steps.get(at + 1).filter(|next| next.command == "echo $?");
        let told = asked.and_then(|next| next.output.as_ref()?.first());
        let wanted = told.map_or("0", String::as_str);
        assert_eq!(code, wanted, "`{command}` printed:\n{said}");
        let lines: Vec<_> = said.lines().map(plain).collect();
        if let Some(output) = output {
            assert!(
                fits(output, &lines),
                "`{command}` should print:\n{}\nand it printed:\n{}",
                output.join("\n"),
                lines.join("\n")
            );
        }
    }
}

/// A port of this machine that is free.
pub fn free_port() -> String {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port().to_string()
}

/// The text of a page.
pub fn text(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// With one space for each run of them: columns are as wide as what stands in them.
fn plain(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn fits(pattern: &[String], lines: &[String]) -> bool {
    let Some((first, rest)) = pattern.split_first() else {
        return lines.is_empty();
    };
    if first == "..." {
        return (0..=lines.len()).any(|skipped| fits(rest, &lines[skipped..]));
    }
    let Some((line, others)) = lines.split_first() else {
        return false;
    };
    line_fits(first, line) && fits(rest, others)
}

fn line_fits(pattern: &str, line: &str) -> bool {
    let Some((start, rest)) = pattern.split_once("...") else {
        return pattern == line;
    };
    let Some(line) = line.strip_prefix(start) else {
        return false;
    };
    (0..=line.len())
        .filter(|&at| line.is_char_boundary(at))
        .any(|at| line_fits(rest, &line[at..]))
}

#[test]
fn three_dots_stand_for_any_text_of_a_line_and_alone_for_any_lines() {
    let text = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
    let shown = text(&["a ... c", "...", "z"]);
    assert!(fits(&shown, &text(&["a b c", "z"])));
    assert!(fits(&shown, &text(&["a c c", "d", "e", "z"])));
    for other in [
        &["a b", "z"][..],
        &["a b c", "y"],
        &["a b c", "z", "y"],
        &["x", "z"],
    ] {
        assert!(!fits(&shown, &text(other)), "{other:?}");
    }
}

#[test]
#[should_panic(expected = "neither run nor left")]
fn a_block_that_is_neither_run_nor_left_fails() {
    steps("```toml\nversion = 1\n```", &nothing(&[]));
}

#[test]
#[should_panic(expected = "not on the page: {\"rbee plan\"}")]
fn what_is_left_and_not_there_fails() {
    steps(
        "```console\n$ rbee apply\n```",
        &nothing(&[("rbee plan", "")]),
    );
}

fn nothing<'a>(left: &'a [(&'a str, &'a str)]) -> Play<'a> {
    Play {
        replaced: Vec::new(),
        acted: Vec::new(),
        left,
        shows_all: true,
    }
}
