//! Whether a model fits the memory that is free.

use super::error::ModelError;

/// What a model takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    pub weights: u64,
    pub kv: u64,
    pub scratch: u64,
    /// Tokens and sequences that `kv` is for.
    pub context: usize,
    pub slots: usize,
}

impl Need {
    pub fn total(&self) -> u64 {
        self.weights
            .saturating_add(self.kv)
            .saturating_add(self.scratch)
    }

    /// The longest context for which as many slots fit into `free` bytes; none when the weights do not.
    pub fn context_that_fits(&self, free: u64) -> Option<u64> {
        let left = free.checked_sub(self.weights.saturating_add(self.scratch))?;
        let tokens = u128::from(left) * self.context as u128 / u128::from(self.kv.max(1));
        u64::try_from(tokens).ok().filter(|&tokens| tokens > 0)
    }
}

/// Refuses what does not fit.
pub fn check(need: &Need) -> Result<(), ModelError> {
    match free() {
        Some(free) if need.total() > free => Err(ModelError::DoesNotFit { need: *need, free }),
        _ => Ok(()),
    }
}

/// Bytes that this process may still take: what the machine has available, or less where a control group says so. Unknown
/// where the system does not tell.
pub fn free() -> Option<u64> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let available = field(&read("/proc/meminfo")?, "MemAvailable:")? * 1024;
    let group = read("/proc/self/cgroup").unwrap_or_default();
    let group = group.lines().find_map(|line| line.strip_prefix("0::"));
    let groups = group.into_iter().flat_map(ancestors);
    let left = groups.filter_map(|group| {
        let file = |name: &str| read(&format!("/sys/fs/cgroup{group}/{name}"));
        let most: u64 = file("memory.max")?.trim().parse().ok()?;
        let used: u64 = file("memory.current")?.trim().parse().ok()?;
        // Pages of files that the system takes back when it needs them.
        let cached = field(&file("memory.stat")?, "inactive_file").unwrap_or(0);
        Some(most.saturating_sub(used.saturating_sub(cached)))
    });
    Some(left.fold(available, u64::min))
}

/// A control group and those that it is in.
fn ancestors(group: &str) -> impl Iterator<Item = &str> {
    let group = group.trim_end_matches('/');
    std::iter::successors(Some(group), |group| {
        group.rfind('/').map(|end| &group[..end])
    })
}

/// The number after a name, in the listings of `/proc` and of control groups.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_context_that_fits_is_what_the_weights_leave() {
        let need = Need {
            weights: 1000,
            kv: 4000,
            scratch: 200,
            context: 100,
            slots: 4,
        };
        assert_eq!(need.context_that_fits(3200), Some(50));
        assert_eq!(need.context_that_fits(1200), None);
        assert_eq!(need.context_that_fits(999), None);
    }

    #[test]
    fn listings_are_read_by_name() {
        let text = "MemFree:  5 kB\nMemAvailable:   17 kB\n";
        assert_eq!(field(text, "MemAvailable:"), Some(17));
        assert_eq!(field(text, "Swap:"), None);
        let groups: Vec<_> = ancestors("/a/b").collect();
        assert_eq!(groups, ["/a/b", "/a", ""]);
        assert_eq!(ancestors("/").collect::<Vec<_>>(), [""]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_machine_has_some_memory_free() {
        assert!(free().unwrap() > 1 << 20);
    }
}
