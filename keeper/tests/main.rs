//! The operator's side against real programs: OpenSSH's sshd, `rbee-hive`, `llm-worker-rbee`.

#![allow(
    clippy::unwrap_used,
    reason = "clippy's exception for tests leaves out their helpers"
)]
#![allow(
    clippy::print_stderr,
    reason = "a test says what it drew by chance, and what it could not run"
)]

mod complete;
mod docs;
mod fleet;
#[path = "../../hive/tests/util/nvml.rs"]
mod nvml;
mod screens;
mod sshd;
mod transport;

/// A program of this workspace, built beside `rbee`.
fn program(name: &str) -> std::path::PathBuf {
    let path = std::path::Path::new(env!("CARGO_BIN_EXE_rbee")).with_file_name(name);
    assert!(
        path.exists(),
        "{} is missing: `cargo build` builds it, and `cargo xtask test` does so first",
        path.display()
    );
    path
}
