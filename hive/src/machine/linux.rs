//! Linux: `/proc` and the memory limits of cgroups.

use std::fs::read_to_string;

use pool_core::machine;
use pool_core::observation::Memory;

/// The name of the first processor.
pub fn processor() -> Option<String> {
    let text = read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The machine's memory, or what the tightest cgroup around this process leaves of it; none that is known is 0.
pub fn memory() -> Memory {
    let unknown = Memory {
        total: 0,
        available: 0,
    };
    machine::memory(|path| read_to_string(path).ok()).unwrap_or(unknown)
}

/// Bytes of a process that are in memory.
pub fn resident(pid: u32) -> Option<u64> {
    let status = read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(machine::field(&status, "VmRSS:")? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory() {
        let memory = memory();
        assert!(memory.available > 0 && memory.available <= memory.total);
    }

    #[test]
    fn this_process_is_in_memory() {
        assert!(resident(std::process::id()).unwrap() > 1 << 20);
        assert_eq!(resident(0), None);
    }
}
