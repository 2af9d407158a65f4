//! What computes beside the processor.

use std::collections::BTreeMap;
use std::time::Duration;

use pool_core::device::Device;
use pool_core::observation::DeviceInfo;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::system;

/// For a driver that has to wake its cards first, a second or more each. One that hangs says nothing for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// The cards of the machine.
#[derive(Debug, Default)]
pub struct Cards {
    pub devices: Vec<DeviceInfo>,
    /// Why no NVIDIA card is among them, where the machine may have some.
    pub no_cuda: Option<String>,
    /// Bytes of a card that a process holds, as far as the driver tells.
    pub(super) held: BTreeMap<(Device, u32), u64>,
}

impl Cards {
    /// Asks the drivers, on a thread of its own: they may take their time.
    pub async fn look() -> Self {
        let without = |why: String| Self {
            no_cuda: Some(format!("no NVIDIA card can be used: {why}")),
            ..Self::default()
        };
        let asked = timeout(PATIENCE, spawn_blocking(system::cards)).await;
        let silent = || format!("the driver said nothing for {} s", PATIENCE.as_secs());
        match asked.map_err(|_| silent()) {
            Ok(Ok(answer)) => answer.unwrap_or_else(without),
            Ok(Err(failed)) => without(failed.to_string()),
            Err(silent) => without(silent),
        }
    }

    /// Bytes of a card that a process holds; none where the driver does not tell, as in containers.
    pub fn held(&self, device: Device, pid: u32) -> Option<u64> {
        self.held.get(&(device, pid)).copied()
    }
}
