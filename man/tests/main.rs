//! The manual pages, as the built program writes them.

#![allow(
    clippy::unwrap_used,
    reason = "clippy's exception for tests leaves out their helpers"
)]
#![allow(clippy::print_stderr, reason = "a test says what it could not run")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

fn pages() -> (TempDir, Vec<PathBuf>) {
    let folder = tempfile::tempdir().unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_rbee-man"))
        .arg(folder.path())
        .status();
    assert!(status.unwrap().success());
    let entries = fs::read_dir(folder.path()).unwrap();
    let pages = entries.map(|entry| entry.unwrap().path()).collect();
    (folder, pages)
}

#[test]
fn every_command_of_every_program_has_a_page_with_its_flags() {
    let (folder, _) = pages();
    for (page, told) in [
        ("rbee.1", "rbee\\-plan(1)"),
        ("rbee-plan.1", "\\-\\-detailed\\-exitcode"),
        ("rbee-infer.1", "\\-\\-worker"),
        ("rbee-hive.1", "rbee\\-hive\\-worker(1)"),
        ("rbee-hive-worker-spawn.1", "\\-\\-slots"),
        ("llm-worker-rbee.1", "\\-\\-token\\-file"),
        ("orchestratord.1", "orchestratord\\-keygen(1)"),
        ("orchestratord-sim.1", "\\-\\-seed"),
    ] {
        let text = fs::read_to_string(folder.path().join(page)).unwrap_or_default();
        assert!(text.contains(told), "no {told:?} in {page}:\n{text}");
    }
}

#[test]
fn what_formats_pages_finds_nothing_to_warn_of() {
    let (_folder, pages) = pages();
    assert!(pages.len() > 30, "{} pages", pages.len());
    for (program, args) in [
        ("groff", &["-man", "-Tutf8", "-ww", "-z"][..]),
        ("mandoc", &["-Tlint", "-Werror"]),
    ] {
        if !Path::new("/usr/bin").join(program).exists() {
            eprintln!("{program} is not installed: it did not read the pages");
            continue;
        }
        let output = Command::new(program).args(args).args(&pages).output();
        let output = output.unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
}
