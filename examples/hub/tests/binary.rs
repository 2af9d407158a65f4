//! The program.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::support::{folder, get};

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_program_serves_a_folder_of_folders() {
    let root = folder(&[
        ("acme/open/config.json", b"{}"),
        ("acme/gated/config.json", b"{}"),
        ("other/open/config.json", b"[]"),
    ]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_local-hub"))
        .arg(root.path())
        .args(["--gated", "acme/gated=friend"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map(Running)
        .unwrap();
    let mut url = String::new();
    let mut stdout = BufReader::new(child.0.stdout.take().unwrap());
    stdout.read_line(&mut url).unwrap();
    let url = url.trim();
    let config = |repo| format!("{url}/{repo}/resolve/main/config.json");
    for (repo, content) in [("acme/open", "{}"), ("other/open", "[]")] {
        let response = get(&config(repo), &[]).await;
        assert_eq!(response.text().await.unwrap(), content);
    }
    let gated = config("acme/gated");
    assert_eq!(get(&gated, &[]).await.status(), 401);
    let token = [("authorization", "Bearer friend")];
    assert_eq!(get(&gated, &token).await.status(), 200);
    let stderr = BufReader::new(child.0.stderr.take().unwrap());
    let lines: Vec<_> = stderr.lines().map(Result::unwrap).take(4).collect();
    assert_eq!(
        lines[0],
        "200 GET /acme/open/resolve/main/config.json: 2 bytes"
    );
    assert!(lines[2].starts_with("401 GET /acme/gated/"), "{lines:?}");
    assert!(lines[3].contains("(with a token)"), "{lines:?}");
}

#[test]
fn the_program_says_what_is_wrong() {
    let output = Command::new(env!("CARGO_BIN_EXE_local-hub"))
        .args(["/nowhere", "--gated", "acme/tiny=friend"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("cannot read /nowhere"), "{said}");
}
