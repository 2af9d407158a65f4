//! The worker as programs of others see it: OpenAI's own client, and schemathesis with the worker's own description.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use pool_core::digest::Sha256;

use crate::support::{Binary, Folder, tiny, token_file};

const TOKEN: &str = "a-token-of-the-tests";

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python")
}

/// Runs a command that must succeed. What it writes is seen at once: the first run installs a lot.
fn run(command: &mut Command) {
    let _ = writeln!(std::io::stderr(), "$ {command:?}");
    assert!(command.status().unwrap().success(), "{command:?}");
}

/// The folder of a virtual environment with the required packages, made on first use and kept.
fn environment() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let requirements = scripts().join("requirements.txt");
        let version = Sha256::of(std::fs::read(&requirements).unwrap()).short();
        let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let folder = root.join(format!("python-{version}"));
        // Another test run may be making it just now.
        let lock = File::create(folder.with_extension("lock")).unwrap();
        lock.lock().unwrap();
        let whole = folder.join("whole");
        if !whole.exists() {
            run(Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(&folder));
            let mut pip = Command::new(folder.join("bin/python"));
            pip.args([
                "-m",
                "pip",
                "install",
                "--no-deps",
                "--progress-bar",
                "off",
                "-r",
            ]);
            run(pip.arg(&requirements));
            File::create(whole).unwrap();
        }
        folder
    })
}

/// The real binary with a token.
fn serve(model_dir: &Path, tokens: &Path, more: &[&str]) -> (Binary, String) {
    let tokens = tokens.to_str().unwrap();
    let mut args = vec!["--token-file", tokens, "--model", "tiny"];
    args.extend(more);
    let (binary, client) = Binary::serve_with(model_dir, &args);
    (binary, format!("http://{}", client.address()))
}

#[test]
fn the_official_openai_client_works() {
    let environment = environment();
    let tokens = token_file(TOKEN);
    let endless = Folder::endless();
    let (_answers, answers) = serve(&tiny(), tokens.path(), &[]);
    let (_sings, sings) = serve(endless.path(), tokens.path(), &["--slots", "1"]);
    let work = tempfile::tempdir().unwrap();
    run(Command::new(environment.join("bin/python"))
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
        .arg(scripts().join("test_openai_client.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("ANSWERS", answers)
        .env("SINGS", sings)
        .env("TOKEN", TOKEN)
        .current_dir(work.path()));
}

/// All endpoints but `/shutdown`, which would end the worker.
#[test]
fn schemathesis_finds_no_failure() {
    let environment = environment();
    let tokens = token_file(TOKEN);
    let (_binary, url) = serve(&tiny(), tokens.path(), &[]);
    let work = tempfile::tempdir().unwrap();
    run(Command::new(environment.join("bin/st"))
        .arg("run")
        .arg(format!("{url}/openapi.json"))
        .arg(format!("--header=Authorization: Bearer {TOKEN}"))
        .args([
            "--exclude-path=/shutdown",
            "--exclude-checks=positive_data_acceptance",
            "--max-examples=40",
            "--seed=1",
            "--request-timeout=60",
            "--continue-on-failure",
            "--no-color",
        ])
        .env("SCHEMATHESIS_HOOKS", scripts().join("hooks.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(work.path()));
}
