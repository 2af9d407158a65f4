//! macOS: what `sysctl` and `vm_stat` print. Compiled, never run.

use std::process::Command;

use pool_core::device::Device;
use pool_core::observation::{DeviceInfo, Memory};

use super::Cards;

/// The name of the processor.
pub fn processor() -> Option<String> {
    sysctl("machdep.cpu.brand_string")
}

/// All memory, and of it what is free or can be taken back at once.
pub fn memory() -> Memory {
    let total = sysctl("hw.memsize").and_then(|text| text.parse().ok());
    let page: u64 = sysctl("hw.pagesize")
        .and_then(|text| text.parse().ok())
        .unwrap_or(4096);
    let pages = run("/usr/bin/vm_stat", &[]).unwrap_or_default();
    let free: u64 = [
        "Pages free:",
        "Pages inactive:",
        "Pages speculative:",
        "Pages purgeable:",
    ]
    .iter()
    .filter_map(|name| {
        let line = pages.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches('.').parse::<u64>().ok()
    })
    .sum();
    Memory {
        total: total.unwrap_or_default(),
        available: (free * page).min(total.unwrap_or_default()),
    }
}

/// The GPU of Apple silicon, which is part of the processor and has its memory.
#[allow(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub fn cards() -> Result<Cards, String> {
    let gpu = || DeviceInfo {
        device: Device::Metal(0),
        name: processor().unwrap_or_else(|| "Apple silicon".into()),
        memory: memory(),
        threads: None,
        capability: None,
        driver: None,
    };
    let is_there = cfg!(target_arch = "aarch64");
    Ok(Cards {
        devices: is_there.then(gpu).into_iter().collect(),
        ..Cards::default()
    })
}

/// Bytes of a process that are in memory.
pub fn resident(pid: u32) -> Option<u64> {
    let text = run("/bin/ps", &["-o", "rss=", "-p", &pid.to_string()])?;
    Some(text.trim().parse::<u64>().ok()? * 1024)
}

fn sysctl(name: &str) -> Option<String> {
    Some(run("/usr/sbin/sysctl", &["-n", name])?.trim().to_owned())
}

fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()
}
