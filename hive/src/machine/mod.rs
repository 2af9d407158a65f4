//! What the machine is and has.

use std::path::Path;

use pool_core::device::Device;
use pool_core::observation::{DeviceInfo, Memory, Platform};

mod cards;
#[cfg(target_os = "linux")]
mod nvidia;
#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod system;
#[cfg(target_os = "macos")]
#[path = "macos.rs"]
mod system;

pub use cards::Cards;
pub use system::{memory, resident};

pub fn hostname() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

pub fn platform() -> Platform {
    let uname = rustix::system::uname();
    Platform {
        os: uname.sysname().to_string_lossy().into_owned(),
        arch: uname.machine().to_string_lossy().into_owned(),
    }
}

/// The devices that a worker can compute on, in a machine with this memory and these cards.
pub fn devices(memory: Memory, cards: &Cards) -> Vec<DeviceInfo> {
    let mut devices = vec![DeviceInfo {
        device: Device::Cpu,
        name: system::processor().unwrap_or_else(|| platform().arch),
        memory,
        threads: threads(),
        capability: None,
        driver: None,
    }];
    devices.extend_from_slice(&cards.devices);
    devices
}

/// How many threads a program may compute with at the same time.
fn threads() -> Option<u32> {
    let count = std::thread::available_parallelism().ok()?;
    count.get().try_into().ok()
}

/// Bytes that can still be written where a path lies or would lie.
pub fn disk_free(path: &Path) -> Option<u64> {
    let existing = path.ancestors().find(|path| path.exists())?;
    let disk = rustix::fs::statvfs(existing).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}
