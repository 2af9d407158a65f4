//! A folder of wrong fleet.yaml files, each with a snapshot of all its problems beside it; and
//! whatever the text, each problem has a place in it.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use reconciler::fleet::parse;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad_fleets")
}

#[test]
fn every_problem_of_a_bad_fleet_is_reported_at_its_place() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder());
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        insta::glob!("bad_fleets/*.yaml", |path| {
            let text = std::fs::read_to_string(path).unwrap();
            let file = path.file_name().unwrap().to_string_lossy();
            let problems = parse(&text).expect_err("a bad fleet is refused");
            let rendered: Vec<String> = problems
                .iter()
                .map(|problem| problem.render(&file, &text))
                .collect();
            let name = path.file_stem().unwrap().to_string_lossy();
            insta::with_settings!({ snapshot_suffix => "" }, {
                insta::assert_snapshot!(&*name, rendered.join("\n"));
            });
        });
    });
}

const GOOD: &str = r#"version: 1
fleet: home
orchestrator: { pool: blep, listen: 0.0.0.0:8080 }
defaults: { worker: { slots: 4 } }
pools:
  blep: { connect: local, devices: [cpu] }
  mac:
    connect: ssh://vince@mac.home.arpa
    devices: &devices [metal:0]
models:
  tiny: { source: ./tiny, quantize: q8_0 }
workers:
  chat: { model: tiny, on: [mac/metal:0, "*/cpu"] }
checks:
  smoke: { workers: "*", prompt: "Größe?", expect: "4" }
"#;

/// Parses, and holds what must be true of any text.
fn check(text: &str) {
    let Err(problems) = parse(text) else { return };
    assert!(!problems.is_empty());
    assert!(problems.is_sorted());
    let text_without_mark = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines: Vec<&str> = text_without_mark.split('\n').collect();
    for problem in problems {
        let line = lines[problem.line - 1].chars().count();
        let end = problem.column - 1 + problem.length;
        assert!(end <= line || problem.length == 1, "{problem:?}");
        assert!(problem.column - 1 <= line, "{problem:?}");
        assert!(!problem.message.contains('\n'), "{problem:?}");
        let rendered = problem.render("fleet.yaml", text);
        assert!(rendered.lines().count() <= 6, "{rendered}");
    }
}

#[test]
fn a_good_fleet_is_read() {
    if let Err(problems) = parse(GOOD) {
        panic!("{}", problems[0].render("fleet.yaml", GOOD));
    }
}

proptest! {
    #[test]
    fn any_text_is_a_fleet_or_has_problems_within_it(text in "\\PC{0,80}") {
        check(&text);
    }

    #[test]
    fn text_made_of_yaml_is_a_fleet_or_has_problems_within_it(
        text in r#"([ \t\r\n:,\[\]{}&*!|>'"%@`#?~<=.-]|pools|workers|a|é|1|\u{feff}){0,60}"#
    ) {
        check(&text);
    }

    #[test]
    fn a_damaged_fleet_is_a_fleet_or_has_problems_within_it(
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4_usize, "[ \t\r\n:,\\[\\]{}&*'\"#a0é-]{0,3}"), 1..6)
    ) {
        let mut chars: Vec<char> = GOOD.chars().collect();
        for (at, removed, added) in edits {
            let at = at.index(chars.len());
            let end = (at + removed).min(chars.len());
            chars.splice(at..end, added.chars());
        }
        check(&chars.into_iter().collect::<String>());
    }
}
