//! A driver of NVIDIA's for machines without a card: its library, made by the C compiler that Rust links with.

use std::process::Command;

use tempfile::TempDir;

/// As the loader looks for it.
pub const LIBRARY: &str = "libnvidia-ml.so.1";

/// A folder with the library, which answers as `nvml.c` says.
pub struct Driver(TempDir);

impl Driver {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../hive/tests/util/nvml.c");
        let mut cc = Command::new("cc");
        cc.args(["-Wall", "-Werror", "-shared", "-fPIC", source, "-o"]);
        let made = cc.arg(folder.path().join(LIBRARY)).status().unwrap();
        assert!(made.success(), "{source} does not compile");
        Self(folder)
    }

    /// Lets a program find the driver, which has these cards.
    pub fn serves(&self, command: &mut Command, cards: &str) {
        command
            .env("LD_LIBRARY_PATH", self.0.path())
            .env("NVML_CARDS", cards);
    }
}
