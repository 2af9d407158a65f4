//! Linux: `/proc` and the memory limits of cgroups.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;

use pool_core::machine;
use pool_core::observation::Memory;

pub use super::nvidia::cards;

/// The name of the first processor.
pub fn processor() -> Option<String> {
    let file = BufReader::new(File::open("/proc/cpuinfo").ok()?);
    let mut lines = file.lines().map_while(Result::ok);
    let line = lines.find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The machine's memory, or what the tightest cgroup around this process leaves of it; none that is known is 0.
pub fn memory() -> Memory {
    let unknown = Memory {
        total: 0,
        available: 0,
    };
    machine::memory(read).unwrap_or(unknown)
}

/// A file of the kernel's. They say nothing of their size, so the buffer has to be large from the start.
fn read(path: &Path) -> Option<String> {
    let mut text = String::with_capacity(8 << 10);
    File::open(path).ok()?.read_to_string(&mut text).ok()?;
    Some(text)
}

/// Bytes of a process that are in memory.
pub fn resident(pid: u32) -> Option<u64> {
    let status = read(format!("/proc/{pid}/status").as_ref())?;
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
