//! A disk that is full while a task runs.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::support::{Daemon, client, eventually, store, text, whole, worker_with};

/// What becomes the daemon, in namespaces of its own with a disk of two megabytes at its home. None where the kernel refuses
/// these to its users.
fn on_a_small_disk(home: &Path) -> Option<Command> {
    let inside = || {
        let mut command = Command::new("unshare");
        let script = r#"mount -t tmpfs -o size=2m rbee "$0"; exec "$@""#;
        command.args(["--map-root-user", "--mount", "sh", "-ec", script]);
        command.arg(home);
        command
    };
    let tried = inside().arg("true").status();
    let mut command = inside();
    command.arg(env!("CARGO_BIN_EXE_orchestratord"));
    tried
        .is_ok_and(|status| status.success())
        .then_some(command)
}

/// Takes every byte that is left.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).unwrap();
    let full = loop {
        if let Err(error) = file.write_all(&[0; 512]) {
            break error;
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
}

#[tokio::test]
async fn an_answer_that_cannot_be_stored_is_an_error_as_soon_as_there_is_room() {
    let home = tempfile::tempdir().unwrap();
    let Some(command) = on_a_small_disk(home.path()) else {
        eprintln!("not run: the kernel gives no namespaces to this user");
        return;
    };
    let worker = worker_with("w1", |settings| settings.rate = 200.0);
    let url = worker.url();
    let args = [&store(home.path())[..], &["--worker", &url]].concat();
    let daemon = Daemon::launch(command, &args);
    daemon.ready(1).await;
    let disk = format!("/proc/{}/root{}", daemon.pid(), home.path().display());
    let fill_up: PathBuf = Path::new(&disk).join("fill");
    let id = daemon.submit(json!({"max_tokens": 300})).await;
    let mut reader = client()
        .get(format!("{}/v2/tasks/{id}/events", daemon.url))
        .send()
        .await
        .unwrap();
    let mut seen = String::new();
    while !seen.contains("event: token") {
        let piece = reader.chunk().await.unwrap().unwrap();
        seen += std::str::from_utf8(&piece).unwrap();
    }
    fill(&fill_up);
    // Whoever follows it is cut off, and hears of no end.
    while let Ok(Some(piece)) = reader.chunk().await {
        seen += std::str::from_utf8(&piece).unwrap();
    }
    assert!(!seen.contains("event: end") && !seen.contains("event: error"));
    eventually("the worker is done", async || {
        worker.seen().jobs.iter().all(|job| job.ended_at.is_some())
    })
    .await;
    assert_eq!(daemon.state(&id).await["ended_at_ms"], json!(null));

    fs::remove_file(&fill_up).unwrap();
    daemon.is(&id, "failed").await;
    let (said, last) = whole(&daemon.events(&id, None).await);
    assert!(!said.is_empty() && said != text(300) && text(300).starts_with(&said));
    assert_eq!(
        (&last["type"], &last["message"]),
        (&json!("error"), &json!("the answer could not be stored"))
    );
    // What comes later is stored again.
    let id = daemon.submit(json!({"max_tokens": 3})).await;
    assert_eq!(whole(&daemon.events(&id, None).await).0, text(3));
}
