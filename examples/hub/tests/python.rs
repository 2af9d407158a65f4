//! The hub as the hub's own client sees it: Python's `huggingface_hub`.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use local_hub::{Fault, Hub, Place, Times};

use crate::support::{WEIGHTS, bytes, folder, sha256, tiny};

/// What the client writes at once, and a file that is a little larger.
const PIECE: usize = 10 << 20;
const LARGE: usize = PIECE + 1_000_000;

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python")
}

/// Runs a command that must succeed. What it writes is seen at once.
fn run(command: &mut Command) {
    let _ = writeln!(std::io::stderr(), "$ {command:?}");
    assert!(command.status().unwrap().success(), "{command:?}");
}

/// The Python of a virtual environment with the required packages, made when they change and kept.
fn python() -> PathBuf {
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("local-hub-python");
    std::fs::create_dir_all(&root).unwrap();
    // Another test run may be making it just now.
    let lock = File::create(root.join("lock")).unwrap();
    lock.lock().unwrap();
    let (venv, made) = (root.join("venv"), root.join("made"));
    let python = venv.join("bin/python");
    let requirements = scripts().join("requirements.txt");
    let wanted = std::fs::read_to_string(&requirements).unwrap();
    if std::fs::read_to_string(&made).ok().as_ref() != Some(&wanted) {
        let mut create = Command::new("python3");
        run(create.args(["-m", "venv", "--clear"]).arg(&venv));
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--no-deps", "--progress-bar", "off"]);
        run(pip.arg("-r").arg(&requirements));
        std::fs::write(made, wanted).unwrap();
    }
    python
}

#[test]
fn the_client_of_the_real_hub_works() {
    let python = python();
    let (open, next, gated) = (tiny(), tiny(), folder(&[("config.json", b"{}")]));
    std::fs::write(next.path().join("config.json"), "{\"next\": true}").unwrap();
    let large = folder(&[("large.bin", &bytes(LARGE))]);
    let hub = Hub::builder()
        .repo("acme/tiny", open.path())
        .repo("acme/large", large.path())
        .repo("acme/gated", gated.path())
        .gated("acme/gated", "friend")
        .repo("acme/private", gated.path())
        .private("acme/private", "friend")
        .token("stranger")
        .page_size(2)
        .start()
        .unwrap();
    let first = hub.commit("acme/tiny").unwrap();
    let second = hub.push("acme/tiny", next.path()).unwrap();
    // One download is cut; the client takes it up after the last piece of 10 MiB that it had whole.
    let cut = Fault::Cut(LARGE as u64 - 1);
    hub.faults().add(Place::Blobs, cut, Times::Next(1));
    let work = tempfile::tempdir().unwrap();
    run(Command::new(python)
        .arg(scripts().join("check.py"))
        .current_dir(work.path())
        .env_remove("HF_TOKEN")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("NO_PROXY", "127.0.0.1")
        .env("HF_HOME", work.path().join("home"))
        .env("HF_ENDPOINT", hub.url())
        .env("HF_HUB_DISABLE_XET", "1")
        .env("HF_HUB_DISABLE_TELEMETRY", "1")
        .env("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        .env("FIRST", first)
        .env("SECOND", second)
        .env("SHA256", sha256(&bytes(WEIGHTS))));
    let requests = hub.requests();
    let blobs: Vec<_> = requests
        .iter()
        .filter(|r| r.place == Place::Blobs)
        .collect();
    let ranges: Vec<_> = blobs.iter().map(|r| r.range.as_deref()).collect();
    let rest = format!("bytes={PIECE}-");
    assert_eq!(ranges, [None, Some(rest.as_str()), None]);
    let twice = (LARGE - 1 - PIECE) as u64;
    assert_eq!(hub.fetched_twice(), twice);
    assert_eq!(hub.blob_bytes(), (LARGE + WEIGHTS) as u64 + twice);
    assert!(blobs.iter().all(|r| !r.has_token));
}
