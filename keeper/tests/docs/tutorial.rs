//! The part of `docs/tutorial.md` that needs one machine, run as it stands.

use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use super::root;
use crate::fleet::{Desk, tiny};
use crate::program;

/// A command, and what the page says that it prints. `...` in it stands for any text of a line, alone on a line for any lines.
struct Shown {
    command: String,
    output: Vec<String>,
}

/// What ends a command's output and its exit code in what the shell prints.
const MARK: char = '\u{1e}';

#[test]
fn the_tutorial_on_one_machine_prints_what_it_shows() {
    let page = fs::read_to_string(root().join("docs/tutorial.md")).unwrap();
    let (page, _) = page.split_once("\n## Three machines").unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let shown = shown(&page.replace("8080", &port));
    assert!(shown.len() > 10, "the page shows {} commands", shown.len());

    let desk = Desk::new();
    let folder = desk.path("tiny-llama");
    fs::create_dir(&folder).unwrap();
    for file in fs::read_dir(tiny()).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), folder.join(file.file_name())).unwrap();
    }
    let programs = program("rbee").parent().unwrap().to_owned();
    let path = std::env::var("PATH").unwrap();
    let mut script = "exec 2>&1\n".to_owned();
    for Shown { command, .. } in &shown {
        script += &format!("{command}\nprintf '\\036%d\\036' $?\n");
    }
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(desk.path(""))
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("RBEE_HOME", desk.home())
        .env_remove("RBEE_DIST")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let mut printed = printed.split(MARK);
    for Shown { command, output } in &shown {
        let (said, code) = (printed.next().unwrap(), printed.next().unwrap_or("none"));
        assert_eq!(code, "0", "`{command}` printed:\n{said}");
        let lines: Vec<_> = said.lines().map(plain).collect();
        assert!(
            fits(output, &lines),
            "`{command}` should print:\n{}\nand it printed:\n{}",
            output.join("\n"),
            lines.join("\n")
        );
    }
    desk.rbee(&["destroy", "--yes"]).exits(0);
}

/// The commands of a page in their order. A fleet.yaml that it shows is a command that writes it.
fn shown(page: &str) -> Vec<Shown> {
    let mut all: Vec<Shown> = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let block = lines.by_ref().take_while(|line| *line != "```");
        match line {
            "```yaml" => {
                let text = block.collect::<Vec<_>>().join("\n");
                let command = format!("cat > fleet.yaml <<'END'\n{text}\nEND");
                let output = Vec::new();
                all.push(Shown { command, output });
            }
            "```console" => console(block, &mut all),
            line if line.starts_with("```") => block.for_each(drop),
            _ => {}
        }
    }
    all
}

fn console<'a>(mut block: impl Iterator<Item = &'a str>, all: &mut Vec<Shown>) {
    while let Some(line) = block.next() {
        let Some(first) = line.strip_prefix("$ ") else {
            let last = all.last_mut().expect("a command stands before its output");
            // A worker takes the first port that is free.
            last.output.push(plain(&line.replace(":8001", ":...")));
            continue;
        };
        let mut command = first.to_owned();
        while command.ends_with('\\') {
            command = format!("{command}\n{}", block.next().unwrap_or_default());
        }
        let output = Vec::new();
        all.push(Shown { command, output });
    }
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
