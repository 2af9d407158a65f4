use pool_core::digest::Sha256;
use pool_core::source::Source;
use pool_core::weights::Dtype;
use pool_core::worker::{Canary, Supervise, WorkerSpec};
use reconciler::plan::ActionId;
use reconciler::reason::Reason;
use unicode_width::UnicodeWidthStr;

use super::*;
use crate::commands::test::ask::Question;
use crate::report::support::Assertion;
use crate::report::support::tests::tested;

const ONE: &str = "chat/here/cpu/0";
const TWO: &str = "chat/box/cuda:0/0";

fn cell(check: &str, worker: &str) -> Cell {
    Cell {
        check: check.to_owned(),
        worker: worker.parse().unwrap(),
        model: "tiny".parse().unwrap(),
        question: Question::any(),
        other: Question::any(),
        check_hash: Sha256::of(check),
        is_ephemeral: true,
    }
}

fn found(check: &str, worker: &str, outcome: Outcome) -> support::Cell {
    support::Cell {
        check: check.to_owned(),
        worker: worker.parse().unwrap(),
        model: "tiny".parse().unwrap(),
        tested: (outcome == Outcome::Passed).then(|| tested(check)),
        outcome,
        kept: false,
    }
}

fn wrong() -> Outcome {
    Outcome::Failed {
        assertion: Assertion::Answer,
        why: "expected \"Paris\"".to_owned(),
    }
}

fn style(width: usize) -> Style {
    Style {
        colour: false,
        width: Some(width),
        unicode: true,
    }
}

fn action(pool: &str, kind: ActionKind) -> Action {
    Action {
        id: ActionId(1),
        pool: pool.parse().unwrap(),
        kind,
        reason: Reason::NotThere,
        needs: Vec::new(),
        after: Vec::new(),
        facts: Vec::new(),
    }
}

fn fetch(model: &str) -> ActionKind {
    ActionKind::Fetch {
        model: model.parse().unwrap(),
        source: Source::Folder("tiny".to_owned()),
        commit: None,
        files: Vec::new(),
    }
}

fn spawn(worker: &str) -> ActionKind {
    let address: WorkerAddress = worker.parse().unwrap();
    let spec = WorkerSpec {
        device: address.device,
        address: Some(address),
        fleet: None,
        model: "tiny".parse().unwrap(),
        model_digest: Sha256::of("tiny"),
        slots: 1,
        context: None,
        dtype: Dtype::Auto,
        quantize: None,
        advertise: None,
        supervise: Supervise::None,
        ephemeral: true,
    };
    ActionKind::Spawn {
        spec: Box::new(spec),
        replaces: None,
        canary: Canary::default(),
        protect: false,
        restore: None,
        fit: None,
    }
}

#[test]
fn every_cell_is_a_row_that_says_how_far_it_is() {
    let mut board = Board::new(&[
        cell("smoke", ONE),
        cell("sum", ONE),
        cell("smoke", TWO),
        cell("sum", TWO),
    ]);
    board.busy(&cell("smoke", ONE), Phase::Asking);
    board.over(&found("smoke", TWO, Outcome::Passed));
    board.over(&found("sum", TWO, wrong()));
    let expected = "\
CHECK  WORKER             MODEL  RESULT    FIRST TOKEN  TOK/S  LOAD   MEMORY  CANCEL
smoke  chat/box/cuda:0/0  tiny   pass      12.3 ms      56.8   0.9 s  9.1 MB  -
sum    chat/box/cuda:0/0  tiny   fail      -            -      -      -       -
smoke  chat/here/cpu/0    tiny   ⠙ asking
sum    chat/here/cpu/0    tiny   waiting

Test: 2 of 4 done, 1 passed, 1 failed, 0 not run.";
    assert_eq!(board.text(style(140), 24, 1), expected);
    let narrow = "\
CHECK  WORKER             MODEL  RESULT    FIRST TOKEN  TOK/S  LOAD   MEMORY
smoke  chat/box/cuda:0/0  tiny   pass      12.3 ms      56.8   0.9 s  9.1 MB
sum    chat/box/cuda:0/0  tiny   fail      -            -      -      -
";
    assert!(board.text(style(80), 24, 1).starts_with(narrow));
    let ascii = Style {
        unicode: false,
        ..style(140)
    };
    assert_eq!(
        board.text(ascii, 24, 2),
        expected.replace("⠙ asking", "- asking")
    );
}

#[test]
fn no_line_is_wider_and_no_table_higher_than_the_screen() {
    let checks = ["capital", "sum", "日本の首都", "a-long-name-of-a-check"];
    let cells: Vec<Cell> = checks
        .iter()
        .flat_map(|check| [cell(check, ONE), cell(check, TWO)])
        .collect();
    let mut board = Board::new(&cells);
    board.over(&found("capital", ONE, Outcome::Passed));
    board.busy(&cell("sum", ONE), Phase::Copying(7));
    for width in 1..140 {
        for lines in 5..20 {
            let text = board.text(style(width), lines, 0);
            let widest = text.lines().map(UnicodeWidthStr::width).max().unwrap();
            assert!(widest <= width, "{width}:\n{text}");
            assert!(text.lines().count() < lines, "{lines}:\n{text}");
        }
    }
}

#[test]
fn what_goes_on_and_what_failed_is_shown_where_there_is_no_room_for_all() {
    let checks: Vec<String> = (10..30).map(|check| format!("check-{check}")).collect();
    let cells: Vec<Cell> = checks.iter().map(|check| cell(check, ONE)).collect();
    let mut board = Board::new(&cells);
    for check in &checks[..18] {
        board.over(&found(check, ONE, Outcome::Passed));
    }
    board.over(&found("check-17", ONE, wrong()));
    board.busy(&cell("check-28", ONE), Phase::Asking);
    let shown = |lines: usize| {
        let text = board.text(style(80), lines, 0);
        let rows = text.lines().filter(|line| !line.starts_with("CHECK"));
        let rows = rows.take_while(|line| !line.is_empty());
        rows.map(|row| {
            row.split(' ')
                .find(|word| !word.is_empty())
                .unwrap()
                .to_owned()
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(shown(24), checks);
    let short = ["check-10", "check-11", "check-17", "check-28", "…"];
    assert_eq!(shown(9), short);
    assert_eq!(shown(7), ["check-17", "check-28", "…"]);
    assert_eq!(shown(1), ["…"]);
    let text = board.text(style(80), 7, 0);
    let end = "… and 18 more\n\nTest: 18 of 20 done, 17 passed, 1 failed, 0 not run.";
    assert!(text.ends_with(end), "{text}");
}

#[test]
fn what_brings_a_worker_is_told_of_its_cells_until_they_are_asked() {
    let mut board = Board::new(&[cell("smoke", ONE), cell("sum", ONE), cell("smoke", TWO)]);
    board.over(&found("sum", ONE, Outcome::Passed));
    let mut after = |action: &Action, news: News| {
        board.hear(action, news);
        let text = board.text(style(140), 24, 0);
        let results = text.lines().skip(1).take(3).map(|row| {
            let (_, result) = row.split_once("tiny   ").unwrap();
            match result.split_once("  12.3 ms") {
                Some((result, _)) => result.trim_end().to_owned(),
                None => result.to_owned(),
            }
        });
        results.collect::<Vec<_>>()
    };
    let install = ActionKind::Install {
        target: "x86_64-unknown-linux-musl".to_owned(),
        from: None,
        to: Sha256::of("build"),
    };
    let (mine, other) = ("here", "box");
    let waits = ["waiting", "waiting", "pass"];
    let install = action(mine, install);
    assert_eq!(
        after(&install, News::Begun),
        ["waiting", "⠋ installing", "pass"]
    );
    assert_eq!(after(&install, News::Over), waits);
    let bytes = News::Bytes {
        done: 340,
        total: 1000,
    };
    assert_eq!(after(&action(mine, fetch("else")), bytes), waits);
    let tiny = action(other, fetch("tiny"));
    assert_eq!(after(&tiny, bytes), ["⠋ copying  34 %", "waiting", "pass"]);
    assert_eq!(after(&tiny, News::Over), waits);
    let spawn = action(mine, spawn(ONE));
    assert_eq!(
        after(&spawn, News::Begun),
        ["waiting", "⠋ spawning", "pass"]
    );
    assert_eq!(after(&spawn, News::Said), ["waiting", "⠋ loading", "pass"]);
    assert_eq!(after(&spawn, News::Over), waits);
}
