//! A worker that is told to use a card: the ordinary build, or the one for CUDA where `RBEE_CUDA_WORKER` says where that is.
//! `cargo xtask test` makes it, and runs these a second time.
//!
//! A card need not be there. Where one is, the build for CUDA has to give the answers that the CPU gives.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::{Binary, Client, ask, tiny};

/// What the ordinary build says of every card.
const NOT_BUILT: &str = "this worker was built without it";

fn for_cuda() -> Option<PathBuf> {
    std::env::var_os("RBEE_CUDA_WORKER").map(PathBuf::from)
}

fn worker() -> PathBuf {
    for_cuda().unwrap_or_else(|| env!("CARGO_BIN_EXE_llm-worker-rbee").into())
}

fn start(device: &str, variables: &[(&str, &str)]) -> Binary {
    let model = tiny();
    let model = model.to_str().unwrap();
    let args = [
        "--model-dir",
        model,
        "--listen",
        "127.0.0.1:0",
        "--device",
        device,
    ];
    Binary::of(&worker(), &args, variables)
}

async fn answers(client: &Client) {
    let answer = client
        .answer(&ask("capital", "What is the capital of France?"))
        .await;
    assert_eq!(answer.text, "Paris");
}

/// What it says when it cannot use the first card.
fn refusal(variables: &[(&str, &str)]) -> String {
    let (code, log) = start("cuda:0", variables).ended();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("the device cuda:0 is not there"), "{log}");
    assert!(log.contains("help: "), "{log}");
    let (_, reason) = log.split_once("is not there: ").unwrap();
    let begins: String = reason.chars().take(15).collect();
    assert_eq!(log.matches(&begins).count(), 1, "said twice: {log}");
    log
}

/// A folder with a driver that only answers what it is told to.
fn driver() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cuda.c");
    let mut cc = Command::new("cc");
    cc.args(["-Wall", "-Werror", "-shared", "-fPIC", source, "-o"]);
    let made = cc.arg(folder.path().join("libcuda.so.1")).status().unwrap();
    assert!(made.success(), "{source} does not compile");
    folder
}

#[tokio::test]
async fn it_computes_on_the_cpu_whatever_is_there() {
    let (_binary, client) = start("cpu", &[]).ready();
    answers(&client).await;
}

#[tokio::test]
async fn it_computes_on_a_card_or_says_what_is_missing() {
    if for_cuda().is_some() && Path::new("/dev/nvidia0").exists() {
        let (_binary, client) = start("cuda:0", &[]).ready();
        answers(&client).await;
        return;
    }
    let log = refusal(&[]);
    let missing = match for_cuda() {
        // A driver may be installed where its card is not.
        Some(_) => &["libcuda.so.1 cannot be opened", "its driver fails"][..],
        None => &[NOT_BUILT],
    };
    assert!(missing.iter().any(|text| log.contains(text)), "{log}");
}

#[test]
fn a_driver_that_does_not_fit_is_told_from_a_card_that_is_not_there() {
    let driver = driver();
    let driver = driver.path().to_str().unwrap();
    for (init, version, cards, says) in [
        ("803", "13000", "1", "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"),
        ("100", "13000", "0", "error 100"),
        (
            "0",
            "12040",
            "1",
            "its driver knows CUDA 12.4, and this worker needs 13.0",
        ),
        ("0", "13000", "0", "there are 0 cards"),
        ("0", "13000", "1", "its compute capability is 7.0"),
    ] {
        let log = refusal(&[
            ("LD_LIBRARY_PATH", driver),
            ("CUDA_INIT", init),
            ("CUDA_DRIVER", version),
            ("CUDA_CARDS", cards),
            ("CUDA_CAPABILITY", "7"),
        ]);
        let says = if for_cuda().is_some() {
            says
        } else {
            NOT_BUILT
        };
        assert!(log.contains(says), "{says:?} is not in {log}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_that_a_machine_may_lack_is_linked() {
    let output = Command::new("readelf")
        .arg("-d")
        .arg(worker())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let needed: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .collect();
    assert!(!needed.is_empty(), "{text}");
    for line in needed {
        let base = ["libc.so", "libm.so", "libgcc_s.so", "ld-linux"];
        assert!(base.iter().any(|name| line.contains(name)), "{line}");
    }
}
