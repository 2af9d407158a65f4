//! A build: the programs that a pool needs, and how they are named together.

use std::fmt::Write as _;

use crate::digest::Sha256;

/// What a pool needs, sorted by name.
pub const PROGRAMS: [&str; 3] = ["llm-worker-rbee", ORCHESTRATOR, HIVE];

pub const HIVE: &str = "rbee-hive";

pub const ORCHESTRATOR: &str = "orchestratord";

/// The list of digests that lies beside the programs, in the form that sha256sum checks.
pub const SUMS: &str = "SHA256SUMS";

/// The content of [`SUMS`] for programs that are sorted by name, whose SHA-256 names the build.
pub fn sums<'a>(programs: impl IntoIterator<Item = (&'a str, Sha256)>) -> String {
    let mut sums = String::new();
    for (name, sha256) in programs {
        // Writing to a text cannot fail.
        let _ = writeln!(sums, "{sha256}  {name}");
    }
    sums
}
