//! Linux: `/proc` and the memory limits of cgroups, both versions.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};

use pool_core::observation::Memory;

/// The name of the first processor.
pub fn processor() -> Option<String> {
    let text = read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The machine's memory, or what the tightest cgroup around this process leaves of it.
pub fn memory() -> Memory {
    let info = read_to_string("/proc/meminfo").unwrap_or_default();
    let mut memory = Memory {
        total: field(&info, "MemTotal:").unwrap_or_default() * 1024,
        available: field(&info, "MemAvailable:").unwrap_or_default() * 1024,
    };
    let membership = read_to_string("/proc/self/cgroup").unwrap_or_default();
    for group in cgroups(&membership) {
        if let Some(limited) = group.memory() {
            memory.total = memory.total.min(limited.total);
            memory.available = memory.available.min(limited.available);
        }
    }
    memory
}

/// The number after a name at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// A folder of the memory controller with the names of its files.
#[derive(Debug, PartialEq, Eq)]
struct Cgroup {
    folder: PathBuf,
    limit: &'static str,
    usage: &'static str,
    /// What the kernel would give back first.
    cache: &'static str,
}

/// The cgroups of a process from `/proc/self/cgroup`, innermost first, up to the root of each tree.
fn cgroups(membership: &str) -> Vec<Cgroup> {
    let mut all = Vec::new();
    for line in membership.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (root, [limit, usage, cache]) = match controllers {
            "" => (
                "/sys/fs/cgroup",
                ["memory.max", "memory.current", "inactive_file "],
            ),
            "memory" => (
                "/sys/fs/cgroup/memory",
                [
                    "memory.limit_in_bytes",
                    "memory.usage_in_bytes",
                    "total_inactive_file ",
                ],
            ),
            _ => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        all.extend(path.ancestors().map(|below| Cgroup {
            folder: Path::new(root).join(below),
            limit,
            usage,
            cache,
        }));
    }
    all
}

impl Cgroup {
    /// None where there is no limit.
    fn memory(&self) -> Option<Memory> {
        let number = |name: &str| -> Option<u64> {
            let text = read_to_string(self.folder.join(name)).ok()?;
            text.trim().parse().ok()
        };
        let total = number(self.limit)?;
        let usage = number(self.usage)?;
        let stat = read_to_string(self.folder.join("memory.stat")).unwrap_or_default();
        let cache = field(&stat, self.cache).unwrap_or_default();
        Some(Memory {
            total,
            available: total.saturating_sub(usage.saturating_sub(cache)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cgroup_up_to_the_root_counts() {
        let folders = |membership: &str| -> Vec<String> {
            cgroups(membership)
                .into_iter()
                .map(|group| group.folder.display().to_string())
                .collect()
        };
        assert_eq!(
            folders("0::/user.slice/a\n"),
            [
                "/sys/fs/cgroup/user.slice/a",
                "/sys/fs/cgroup/user.slice",
                "/sys/fs/cgroup/"
            ]
        );
        assert_eq!(
            folders("9:name=systemd:/\n4:memory:/b\n"),
            ["/sys/fs/cgroup/memory/b", "/sys/fs/cgroup/memory/"]
        );
    }

    #[test]
    fn a_limit_leaves_what_is_not_used_and_the_cache() {
        let folder = tempfile::tempdir().unwrap();
        let group = Cgroup {
            folder: folder.path().to_owned(),
            limit: "memory.max",
            usage: "memory.current",
            cache: "inactive_file ",
        };
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
        write("memory.max", "max\n").unwrap();
        write("memory.current", "700\n").unwrap();
        assert_eq!(group.memory(), None);
        write("memory.max", "1000\n").unwrap();
        write("memory.stat", "anon 1\ninactive_file 200\n").unwrap();
        let memory = Memory {
            total: 1000,
            available: 500,
        };
        assert_eq!(group.memory(), Some(memory));
    }

    #[test]
    fn this_machine_has_memory() {
        let memory = memory();
        assert!(memory.available > 0 && memory.available <= memory.total);
    }
}
