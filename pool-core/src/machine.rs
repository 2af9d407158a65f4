//! The memory of a Linux machine, from the texts of `/proc` and of cgroups, both versions, and what a process does not hear.

use std::path::{Path, PathBuf};

use crate::observation::Memory;

/// All memory and what is free, or what the tightest cgroup around this process leaves of it. `read` gives the text of a
/// file; none where `/proc/meminfo` cannot be read.
pub fn memory(read: impl Fn(&Path) -> Option<String>) -> Option<Memory> {
    let info = read(Path::new("/proc/meminfo"))?;
    let mut memory = Memory {
        total: field(&info, "MemTotal:")? * 1024,
        available: field(&info, "MemAvailable:")? * 1024,
    };
    let machine = memory.total;
    let membership = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    for group in cgroups(&membership) {
        if let Some(limited) = group.memory(machine, &read) {
            memory.total = memory.total.min(limited.total);
            memory.available = memory.available.min(limited.available);
        }
    }
    Some(memory)
}

/// The number after a name at the start of a line.
pub fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Whether a process was started to outlive its terminal, by the text of `/proc/self/status`.
pub fn ignores_hangup(status: &str) -> bool {
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // SIGHUP is 1, the lowest bit.
    mask.is_some_and(|mask| mask & 1 == 1)
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
    /// None where there is no limit, or one that the machine's memory does not reach: how much is used is asked of few, since
    /// the kernel adds it up for every question.
    fn memory(&self, machine: u64, read: &impl Fn(&Path) -> Option<String>) -> Option<Memory> {
        let number =
            |name: &str| -> Option<u64> { read(&self.folder.join(name))?.trim().parse().ok() };
        let total = number(self.limit).filter(|&limit| limit < machine)?;
        let usage = number(self.usage)?;
        let stat = read(&self.folder.join("memory.stat")).unwrap_or_default();
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

    /// The files of a machine, by their paths.
    fn machine<'a>(files: &'a [(&str, &str)]) -> impl Fn(&Path) -> Option<String> + 'a {
        |path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned())
        }
    }

    const INFO: (&str, &str) = ("/proc/meminfo", "MemTotal:  4 kB\nMemAvailable:   2 kB\n");

    #[test]
    fn a_limit_leaves_what_is_not_used_and_the_cache() {
        let of = |total, available| Some(Memory { total, available });
        assert_eq!(memory(machine(&[INFO])), of(4096, 2048));
        for (line, folder, names) in [
            (
                "0::/a/b",
                "/sys/fs/cgroup/a",
                ["memory.max", "memory.current", "inactive_file "],
            ),
            (
                "4:memory:/a/b",
                "/sys/fs/cgroup/memory/a",
                [
                    "memory.limit_in_bytes",
                    "memory.usage_in_bytes",
                    "total_inactive_file ",
                ],
            ),
        ] {
            let [limit, usage, cache] = names;
            let [limit, usage] = [limit, usage].map(|name| format!("{folder}/{name}"));
            let (listing, stat) = (
                format!("{folder}/memory.stat"),
                format!("anon 1\n{cache}200\n"),
            );
            let files = |most| {
                [
                    INFO,
                    ("/proc/self/cgroup", line),
                    (&*limit, most),
                    (&*usage, "700\n"),
                    (&*listing, &*stat),
                ]
            };
            assert_eq!(memory(machine(&files("max\n"))), of(4096, 2048));
            assert_eq!(memory(machine(&files("4096\n"))), of(4096, 2048));
            assert_eq!(memory(machine(&files("1000\n"))), of(1000, 500));
            assert_eq!(memory(machine(&files("600\n"))), of(600, 100));
        }
    }

    #[test]
    fn who_ignores_the_end_of_the_terminal_says_so() {
        for (status, ignores) in [
            (
                "Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n",
                true,
            ),
            (
                "SigIgn:\t0000000000001000\nSigCgt:\t0000000000000001\n",
                false,
            ),
            ("", false),
        ] {
            assert_eq!(ignores_hangup(status), ignores, "{status}");
        }
    }

    #[test]
    fn what_is_free_is_not_known_where_nothing_says_it() {
        assert_eq!(memory(machine(&[])), None);
        assert_eq!(
            memory(machine(&[("/proc/meminfo", "MemTotal: 4 kB\n")])),
            None
        );
    }
}
