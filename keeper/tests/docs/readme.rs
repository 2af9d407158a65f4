//! `README.md`, run as it stands, with the second machine behind a real sshd.

use std::fs;

use super::page::{Play, free_port, run, steps, text};
use crate::fleet::Desk;

const LEFT: &[(&str, &str)] = &[
    (
        "cargo xtask demo",
        "it builds; what it runs stands below it, and is run",
    ),
    ("cargo xtask test", "it runs this test"),
    ("cargo build --release", "the programs are built"),
    ("export PATH=", "they are found"),
    (
        "rbee watch --apply",
        "it ends with Ctrl-C; tests/fleet/watch.rs runs it",
    ),
    (
        "rbee import --from",
        "nothing of Ollama's is here; tests/fleet/import_from.rs runs it",
    ),
    ("fleet.yaml ─parse→", "a drawing"),
];

#[test]
fn the_readme_prints_what_it_shows() {
    let page = text("README.md");
    let desk = Desk::new();
    let _box = desk.lab.sshd("box");
    // What fails is not an answer, and workers register within a second.
    let curl = "fail\nsilent\nshow-error\nretry = 20\nretry-delay = 1\nretry-all-errors\n";
    fs::write(desk.path(".curlrc"), curl).unwrap();
    let varies = |text: &'static str| (text, "...".to_owned());
    let play = Play {
        replaced: vec![
            varies("19f36221b9c8"),
            varies("vm    cpu     ▕░░░░░░░░▏ 972.3 MB of 25.3 GB  20.2 GB    56dde66f6149"),
            varies("-      8.8 MB  0 s"),
            varies("14656"),
            ("(0.1 s)", "(...)".into()),
            varies("Nothing is left behind: the worker is stopped, its folder is gone."),
            ("me@box.home.arpa", "box".into()),
            (
                "http://127.0.0.1:8001",
                "http://$(rbee status | sed -n 's|^chat/here/.* \\(127[0-9.:]*\\) .*|\\1|p')"
                    .into(),
            ),
            (":8001", ":...".into()),
            ("8080", free_port()),
            (
                "orchestratord keygen ",
                "orchestratord keygen | tee me.key ".into(),
            ),
            (
                "<sha256 of the key>",
                "$(sed -n 's/^sha256: *//p' me.key)".into(),
            ),
            (
                "rbee apply                     # starts it",
                "export KEY=$(sed -n 's/^key: *//p' me.key); rbee apply --yes # starts it".into(),
            ),
            ("rbee apply   ", "rbee apply --yes ".into()),
            ("rbee destroy   ", "rbee destroy --yes ".into()),
            ("--max-download 10GB", "--max-download 10GB --yes".into()),
        ],
        acted: Vec::new(),
        left: LEFT,
        shows_all: false,
    };
    let all = steps(&page, &play);
    assert!(all.len() > 20, "the page shows {} commands", all.len());
    run(&desk, &all);
    desk.rbee(&["destroy", "--yes", "-f", "fleet/fleet.yaml"])
        .exits(0);
}
