//! A process that is killed at any moment loses nothing that it was told is stored.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use futures::StreamExt as _;

use super::*;

const CHILD: &str = "RBEE_TEST_STORE_FILE";
const ROUND: &str = "RBEE_TEST_STORE_ROUND";

/// Runs tasks in a store until it is killed, and prints what was answered.
fn child(path: PathBuf, round: u64) {
    let store = open(&Kind::Sqlite(path));
    let run = |number: u64| {
        let store = store.clone();
        async move {
            let mut random = fastrand::Rng::with_seed(round << 32 | number);
            let id = format!("{round}-{number}");
            let body = "x".repeat(random.usize(1..20_000));
            store
                .accept(task(&id, body), events(0..1, "queued"))
                .await
                .unwrap();
            println!("stored {id} 1");
            let mut next = 1;
            for _ in 0..random.u64(1..30) {
                let end = next + random.u64(1..4);
                store
                    .append(&id, events(next..end, "token").with_tokens(end - next))
                    .await
                    .unwrap();
                next = end;
                println!("stored {id} {next}");
            }
            store
                .finish(&id, Outcome::Completed, events(next..next + 1, "end"), 1)
                .await
                .unwrap();
            println!("ended {id} {}", next + 1);
        }
    };
    block_on(
        futures::stream::iter(0..)
            .map(run)
            .buffer_unordered(20)
            .collect::<()>(),
    );
}

/// What the killed process had printed: for each task the id after its last event, and whether it had ended.
fn killed(path: &Path, round: u64, lines: usize) -> HashMap<String, (u64, bool)> {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("store::tests::killed::what_was_answered_survives_a_kill")
        .env(CHILD, path)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut answered = HashMap::new();
    let output = BufReader::new(process.stdout.take().unwrap());
    for (number, line) in output.lines().enumerate() {
        if number == lines {
            process.kill().unwrap();
        }
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        if let [what @ ("stored" | "ended"), id, next] = words[..] {
            answered.insert(id.to_owned(), (next.parse().unwrap(), what == "ended"));
        }
    }
    assert!(!process.wait().unwrap().success());
    answered
}

async fn check(store: &Store, id: &str, next: u64, has_ended: bool) {
    let stored = store
        .task(id)
        .await
        .unwrap()
        .unwrap_or_else(|| panic!("{id} is lost"));
    assert!(
        stored.next_event >= next,
        "{id}: {} of {next}",
        stored.next_event
    );
    assert!(stored.ended_at.is_some() || !has_ended, "{id}");
    assert_eq!(
        stored.ended_at.is_some(),
        stored.task.body.is_empty(),
        "{id}"
    );
    let count = stored.next_event as usize;
    let log = store.log(id).await.unwrap().unwrap();
    let mut text = String::new();
    let mut pieces = Box::pin(log.follow(None));
    while text.matches("\n\n").count() < count {
        let piece = pieces.next().await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(&piece).unwrap());
    }
    let expected: String = (0..stored.next_event)
        .map(|event| match event {
            0 => frame(0, "queued"),
            _ if stored.ended_at.is_some() && event + 1 == stored.next_event => frame(event, "end"),
            _ => frame(event, "token"),
        })
        .collect();
    assert_eq!(text, expected, "{id}");
}

#[test]
fn what_was_answered_survives_a_kill() {
    if let Some(path) = std::env::var_os(CHILD) {
        let round = std::env::var(ROUND).unwrap().parse().unwrap();
        return child(path.into(), round);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = path(&folder);
    let mut random = fastrand::Rng::with_seed(11);
    let mut answered = HashMap::new();
    for round in 0..8 {
        let new = killed(&path, round, random.usize(10..2000));
        assert!(!new.is_empty());
        answered.extend(new);
        block_on(async {
            let store = open(&Kind::Sqlite(path.clone()));
            for (id, &(next, has_ended)) in &answered {
                check(&store, id, next, has_ended).await;
            }
            store.close().await;
        });
    }
    assert!(answered.values().any(|&(_, has_ended)| has_ended));
}
