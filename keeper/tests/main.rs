//! The operator's side against real programs: OpenSSH's sshd, `rbee-hive`, `llm-worker-rbee`.

#![allow(
    clippy::unwrap_used,
    reason = "clippy's exception for tests leaves out their helpers"
)]

mod sshd;
mod transport;
