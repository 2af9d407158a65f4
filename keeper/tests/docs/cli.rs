//! `docs/cli.md`: the help of every command, as the built programs print it.

use std::fs;
use std::process::{Command, Stdio};

use super::root;
use crate::program;

const HEAD: &str = "# Command line\n\nThe help of every command, as the programs print it. What the commands do together is in the \
                    [reference](reference.md).\n";

#[test]
fn the_reference_of_the_command_line_is_what_the_programs_say() {
    let mut page = HEAD.to_owned();
    for name in ["rbee", "rbee-hive", "llm-worker-rbee", "orchestratord"] {
        describe(&mut page, name, &[]);
    }
    let path = root().join("docs/cli.md");
    if std::env::var_os("RBEE_UPDATE_DOCS").is_some() {
        fs::write(&path, &page).unwrap();
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == page,
        "docs/cli.md is stale: this test writes it where RBEE_UPDATE_DOCS is set"
    );
}

/// A section for the command, and one for each command below it.
fn describe(page: &mut String, name: &str, below: &[String]) {
    let help = help(name, below);
    let level = "#".repeat(2 + below.len().min(2));
    let title = [&[name.to_owned()], below].concat().join(" ");
    page.push_str(&format!(
        "\n{level} {title}\n\n```text\n{}\n```\n",
        help.trim_end()
    ));
    if title == "rbee pool" {
        // Its commands are those of `rbee-hive`, which the pool answers.
        return;
    }
    for command in commands(&help) {
        describe(page, name, &[below, &[command]].concat());
    }
}

fn help(name: &str, command: &[String]) -> String {
    let output = Command::new(program(name))
        .args(command)
        .arg("--help")
        // Only these reach a help text: its width, and what stands in for a flag.
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{name} {command:?} --help");
    String::from_utf8(output.stdout).unwrap()
}

/// The names that a help lists as commands.
fn commands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    listed
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .map(str::to_owned)
        .collect()
}
