mod checkpoint;
mod config;
mod examples;
mod hostile;
mod kinds;
mod model;
mod round_trip;
mod sentencepiece;
mod text;
mod writer;

use std::path::PathBuf;

use tempfile::TempDir;

use writer::Writer;

/// What a refusal names, and the change to a good file that it is for.
type Change<'a> = (&'a str, &'a dyn Fn(&mut Writer));

/// A folder with one file in it, for as long as the folder lives.
fn on_disk(bytes: &[u8]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

/// Numbers that look random and are the same in every run.
fn noise(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    }
}
