//! The worker as programs of others see it: OpenAI's own client, and schemathesis with the worker's own description.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{Binary, Folder, tiny, token_file};

#[path = "../../examples/packages.rs"]
mod packages;

use packages::run;

const TOKEN: &str = "a-token-of-the-tests";

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python")
}

fn python() -> PathBuf {
    packages::python("python-clients", &scripts().join("requirements.txt"))
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
    let python = python();
    let tokens = token_file(TOKEN);
    let endless = Folder::endless();
    let (_answers, answers) = serve(&tiny(), tokens.path(), &[]);
    let (_sings, sings) = serve(endless.path(), tokens.path(), &["--slots", "1"]);
    let work = tempfile::tempdir().unwrap();
    run(Command::new(python.join("python"))
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
    let python = python();
    let tokens = token_file(TOKEN);
    let (_binary, url) = serve(&tiny(), tokens.path(), &[]);
    let work = tempfile::tempdir().unwrap();
    run(Command::new(python.join("st"))
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
        .env(
            "PYTHONPATH",
            concat!(env!("CARGO_MANIFEST_DIR"), "/../examples"),
        )
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(work.path()));
}
