//! How many threads compute.

/// As many as this process may use: cores, bounded by a container's share of them. Threads beyond that share would only wait for
/// each other. `RBEE_THREADS` sets another number.
pub fn count() -> usize {
    let given = std::env::var("RBEE_THREADS").ok();
    let given = given.and_then(|count| count.parse().ok());
    let available = || std::thread::available_parallelism().map_or(1, usize::from);
    given.filter(|&count| count > 0).unwrap_or_else(available)
}
