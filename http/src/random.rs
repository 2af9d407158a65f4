//! Numbers that nobody can foresee, for seeds and ids; not for secrets.

use std::hash::{BuildHasher as _, RandomState};

/// A random number. The standard library seeds its hash maps from the operating system.
pub fn random() -> u64 {
    RandomState::new().hash_one(std::time::Instant::now())
}
