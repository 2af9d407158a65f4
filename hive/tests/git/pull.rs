//! Where a checkout stands, and how it moves.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::Stdio;

use hive::process::{self, Signal};

use serde_json::{Value, json};

use super::Site;
use crate::util::wait_for;

#[test]
fn a_checkout_says_where_it_stands() {
    let site = Site::new();
    let first = site.checkout.git(&["rev-parse", "HEAD"]);
    let status = site.status();
    for (field, value) in [
        ("dir", json!(site.checkout.dir())),
        ("branch", json!("main")),
        ("upstream", json!("origin/main")),
        ("revision", json!(first)),
        ("subject", json!("The first")),
        ("dirty", json!(false)),
        ("ahead", json!(0)),
        ("behind", json!(0)),
        ("built", Value::Null),
    ] {
        assert_eq!(status[field], value, "{field}");
    }
    let text = site.ok(&["status"]);
    assert!(
        text.contains("main, as origin/main at the last fetch\n"),
        "{text}"
    );
    assert!(
        text.contains(&format!("{} The first\n", &first[..12])),
        "{text}"
    );
    assert!(text.contains("changes     none\n"), "{text}");
    assert!(text.contains(", which was not built here\n"), "{text}");

    site.checkout.write("unknown", "");
    assert_eq!(site.status()["dirty"], false);
    site.checkout.write("Cargo.toml", "[workspace]\n");
    site.checkout.push_from_elsewhere("more", "more");
    // Nothing is fetched to tell.
    assert_eq!(site.status()["behind"], 0);
    site.checkout.git(&["fetch", "--quiet"]);
    site.checkout
        .git(&["commit", "--quiet", "--allow-empty", "--message", "Mine"]);
    let status = site.status();
    assert_eq!(
        (&status["ahead"], &status["behind"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(
        (&status["dirty"], &status["changed"]),
        (&json!(true), &json!(1))
    );
    assert_eq!(status["untracked"], 1);
    let text = site.ok(&["status"]);
    assert!(
        text.contains("1 ahead of and 1 behind origin/main"),
        "{text}"
    );
    assert!(text.contains("1 changed file, 1 unknown to git"), "{text}");

    site.checkout.git(&["switch", "--quiet", "--detach"]);
    assert_eq!(site.status()["branch"], Value::Null);
    assert!(site.ok(&["status"]).contains("none: HEAD is detached"));
}

#[test]
fn a_checkout_moves_to_what_its_upstream_has() {
    let site = Site::new();
    let first = site.checkout.git(&["rev-parse", "HEAD"]);
    let text = site.ok(&["pull"]);
    assert_eq!(
        text,
        format!("main is at {}, as origin/main\n", &first[..12])
    );
    let second = site.checkout.push_from_elsewhere("more", "more");
    // Files that git does not know stay, and are in nobody's way.
    site.checkout.write("unknown", "");
    let text = site.ok(&["pull"]);
    let moved = format!("{} → {}", &first[..12], &second[..12]);
    assert_eq!(text, format!("main: {moved}, 1 commit from origin/main\n"));
    assert_eq!(site.checkout.git(&["rev-parse", "HEAD"]), second);
    assert!(site.checkout.dir().join("more").exists());
    site.checkout.push_from_elsewhere("more", "still more");
    let third = site.checkout.push_from_elsewhere("more", "most");
    let pulled: Value = serde_json::from_str(&site.ok(&["pull", "--json"])).unwrap();
    assert_eq!(
        (&pulled["commits"], &pulled["to"]),
        (&json!(2), &json!(third))
    );
    site.checkout
        .git(&["commit", "--quiet", "--allow-empty", "--message", "Mine"]);
    let text = site.ok(&["pull"]);
    assert!(
        text.ends_with(", 1 commit ahead of origin/main\n"),
        "{text}"
    );
}

#[test]
fn a_merge_that_has_begun_goes_on_to_its_end() {
    let site = Site::new();
    let (begun, go) = (site.user.join("begun"), site.user.join("go"));
    let slow = format!(
        "touch '{}'; i=0; while [ ! -e '{}' ] && [ $i -lt 6000 ]; do sleep 0.01; i=$((i+1)); done; cat",
        begun.display(),
        go.display()
    );
    site.checkout.git(&["config", "filter.slow.smudge", &slow]);
    site.checkout
        .push_from_elsewhere(".gitattributes", "more filter=slow\n");
    site.ok(&["pull"]);
    let next = site.checkout.push_from_elsewhere("more", "more");
    let dir = site.checkout.dir();
    let mut command = site.command(&["git", "pull", "--dir", dir.to_str().unwrap()]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let pulling = command.spawn().unwrap();
    wait_for("the merge", || begun.exists().then_some(()));
    let hive = process::identify(pulling.id()).unwrap();
    process::signal(&hive, Signal::INT).unwrap();
    let output = pulling.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    std::fs::write(&go, "").unwrap();
    wait_for("the end of the merge", || {
        (site.checkout.git(&["rev-parse", "HEAD"]) == next).then_some(())
    });
    assert_eq!(std::fs::read_to_string(dir.join("more")).unwrap(), "more");
}

#[test]
fn a_file_in_the_way_stays_as_it_is() {
    let site = Site::new();
    let first = site.checkout.git(&["rev-parse", "HEAD"]);
    site.checkout.push_from_elsewhere("more", "theirs");
    site.checkout.write("more", "mine");
    let error = site.fails(&["pull"]);
    assert!(error.contains("error: git merge in "), "{error}");
    assert!(
        error.contains("would be overwritten by merge:\n\tmore\n"),
        "{error}"
    );
    assert_eq!(site.checkout.git(&["rev-parse", "HEAD"]), first);
    let kept = std::fs::read_to_string(site.checkout.dir().join("more"));
    assert_eq!(kept.unwrap(), "mine");
}

#[test]
fn nothing_but_a_fast_forward_is_done() {
    let site = Site::new();
    site.checkout.push_from_elsewhere("more", "theirs");
    site.checkout.write("more", "mine");
    let mine = site.checkout.commit("Mine");
    let error = site.fails(&["pull"]);
    let expected =
        "error: main and origin/main have diverged: 1 commit here only, 1 commit there only\n";
    assert!(error.contains(expected), "{error}");
    assert!(
        error.contains("help: no fast-forward is possible: rebase or reset main"),
        "{error}"
    );
    assert_eq!(site.checkout.git(&["rev-parse", "HEAD"]), mine);
}

#[test]
fn a_checkout_that_cannot_be_pulled_says_why_and_what_to_do() {
    let site = Site::new();
    let dir = site.checkout.dir().display().to_string();
    let first = site.checkout.git(&["rev-parse", "HEAD"]);
    let refused = |what: &str, help: &str| {
        let error = site.fails(&["pull"]);
        assert!(error.contains(&format!("error: {what}")), "{error}");
        assert!(error.contains(&format!("\nhelp: {help}")), "{error}");
    };
    site.checkout.write("Cargo.lock", "mine");
    refused(
        &format!("{dir} has 1 changed file in no commit\n"),
        &format!("commit, stash or undo them on the pool: `git -C {dir} status`"),
    );
    site.checkout.git(&["checkout", "--quiet", "."]);
    site.checkout.git(&["switch", "--quiet", "--detach"]);
    refused(
        &format!(
            "{dir} is on no branch: HEAD is detached at {}\n",
            &first[..12]
        ),
        &format!("`git -C {dir} switch BRANCH` on the pool\n"),
    );
    site.checkout
        .git(&["switch", "--quiet", "--create", "lone"]);
    refused(
        &format!("the branch lone of {dir} follows no branch of a remote\n"),
        &format!("`git -C {dir} branch --set-upstream-to origin/lone` on the pool\n"),
    );
    site.checkout
        .git(&["push", "--quiet", "--set-upstream", "origin", "lone"]);
    site.checkout
        .git(&["push", "--quiet", "--delete", "origin", "lone"]);
    refused(
        "the remote has no origin/lone any more, which lone follows\n",
        "let the branch follow another: `git branch --set-upstream-to REMOTE/BRANCH`\n",
    );
    site.checkout.git(&["switch", "--quiet", "main"]);
    site.checkout
        .git(&["remote", "set-url", "origin", "/nowhere/at/all"]);
    refused_by_git(&site.fails(&["pull"]), "/nowhere/at/all");
}

fn refused_by_git(error: &str, why: &str) {
    let (said, ours) = error.split_once("error: git fetch in ").unwrap();
    assert!(said.contains(why), "{error}");
    assert!(
        ours.contains(
            " failed: exit status: 128\nhelp: git says why above. Nobody is asked for a password"
        ),
        "{error}"
    );
}

#[test]
fn a_remote_that_would_ask_is_refused_at_once() {
    let site = Site::new();
    let (ssh, said) = (site.user.join("ssh"), site.user.join("said"));
    let script = format!(
        "#!/bin/sh\necho \"$@\" > '{}'\necho locked >&2\nexit 255\n",
        said.display()
    );
    std::fs::write(&ssh, script).unwrap();
    let ssh = ssh.display().to_string();
    std::process::Command::new("chmod")
        .args(["755", &ssh])
        .status()
        .unwrap();
    site.checkout
        .git(&["config", "core.sshCommand", &format!("'{ssh}'")]);
    site.checkout.git(&[
        "remote",
        "set-url",
        "origin",
        "ssh://nobody@127.0.0.1/nothing",
    ]);
    refused_by_git(&site.fails(&["pull"]), "locked\n");
    let said = std::fs::read_to_string(said).unwrap();
    assert!(said.contains("-o BatchMode=yes"), "{said}");
    // The same over HTTP, where git itself would ask.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/nothing", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            lines.find(String::is_empty);
            let _ = (&stream).write_all(
                b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"git\"\r\n\
                  Content-Length: 0\r\nConnection: close\r\n\r\n",
            );
        }
    });
    site.checkout.git(&["remote", "set-url", "origin", &url]);
    refused_by_git(&site.fails(&["pull"]), "could not read Username");
}
