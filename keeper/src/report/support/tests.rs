use super::*;
use crate::report::Style;

fn cell(check: &str, worker: &str, outcome: Outcome) -> Cell {
    Cell {
        check: check.to_owned(),
        worker: worker.parse().unwrap(),
        model: "tiny".parse().unwrap(),
        tested: (!matches!(outcome, Outcome::NotRun { .. })).then(|| tested("a")),
        outcome,
        kept: false,
    }
}

/// What a cell that passed has found.
pub fn tested(check: &str) -> Tested {
    Tested {
        at: "2026-01-02T03:04:05Z".parse().unwrap(),
        key: key(check),
        took_ms: 1500,
        measured: Some(Measured {
            first_token_ms: 12.34,
            tokens_per_s: Some(56.78),
            cancel_ms: None,
            load_ms: Some(900),
            memory: 9_100_000,
        }),
    }
}

fn key(check: &str) -> Key {
    Key {
        model_digest: Sha256::of("model"),
        build: Some(Sha256::of("build")),
        spec_hash: Sha256::of("spec"),
        check_hash: Sha256::of(check),
    }
}

fn wrong() -> Outcome {
    Outcome::Failed {
        assertion: Assertion::Answer,
        why: "expected \"Paris\", the answer is \"a|b `c` <i>\"".to_owned(),
    }
}

fn not_run(unreachable: bool) -> Outcome {
    let why = "pool mac: no route".to_owned();
    Outcome::NotRun { why, unreachable }
}

fn results(cells: Vec<Cell>) -> Results {
    Results {
        version: 1,
        fleet: "home".parse().unwrap(),
        rbee: "0.1.0 (abc)".to_owned(),
        at: "2026-01-02T03:04:05Z".parse().unwrap(),
        cells,
    }
}

fn all() -> Results {
    results(vec![
        cell("count", "chat/here/cpu/0", Outcome::Passed),
        cell("smoke", "chat/here/cpu/0", wrong()),
        cell("smoke", "chat/mac/metal:0/0", not_run(true)),
    ])
}

#[test]
fn what_failed_decides_and_what_was_not_run_is_never_a_pass() {
    let exit = |outcomes: Vec<Outcome>| {
        let cells = outcomes
            .into_iter()
            .map(|outcome| cell("smoke", "chat/here/cpu/0", outcome));
        results(cells.collect()).exit().0
    };
    assert_eq!(exit(vec![Outcome::Passed]), 0);
    assert_eq!(exit(vec![Outcome::Passed, not_run(true)]), 4);
    assert_eq!(exit(vec![not_run(true), not_run(false)]), 1);
    assert_eq!(exit(vec![not_run(true), wrong(), not_run(false)]), 5);
}

#[test]
fn a_result_holds_as_long_as_its_key_does() {
    let results = all();
    let worker = "chat/here/cpu/0".parse().unwrap();
    assert!(results.still_holds("count", &worker, &key("a")).is_some());
    assert!(results.still_holds("count", &worker, &key("b")).is_none());
    // It did not pass.
    assert!(results.still_holds("smoke", &worker, &key("a")).is_none());
    let elsewhere = "chat/here/cpu/1".parse().unwrap();
    assert!(
        results
            .still_holds("count", &elsewhere, &key("a"))
            .is_none()
    );
}

#[test]
fn what_was_not_asked_now_stays_as_long_as_it_is_named() {
    let now = results(vec![cell("smoke", "chat/here/cpu/0", Outcome::Passed)]);
    let name = |check: &str| (check.to_owned(), "chat/here/cpu/0".to_owned());
    let merged = now.with_others(Some(all()), &[name("count"), name("smoke")].into());
    let found: Vec<_> = merged
        .cells
        .iter()
        .map(|cell| (cell.check.as_str(), cell.word()))
        .collect();
    assert_eq!(found, [("count", "pass"), ("smoke", "pass")]);
}

#[test]
fn the_table_says_why() {
    let style = Style {
        colour: false,
        width: Some(80),
        unicode: true,
    };
    insta::assert_snapshot!(all().text(style));
}

#[test]
fn the_page_tells_models_by_backend_and_markup_stays_text() {
    insta::assert_snapshot!(all().page());
}

#[test]
fn junit_has_a_suite_for_each_worker() {
    insta::assert_snapshot!(all().junit().unwrap());
}

#[test]
fn results_are_read_as_they_are_written() {
    let text = serde_json::to_string(&all()).unwrap();
    assert_eq!(serde_json::from_str::<Results>(&text).unwrap(), all());
}
