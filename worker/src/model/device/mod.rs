//! Opens the device that a worker was told to use, and never another.

mod absent;
mod driver;
mod trial;

use std::panic::catch_unwind;

use candle_core::Device as CandleDevice;
use candle_core::utils::{cuda_is_available, metal_is_available};
use pool_core::device::Device;

pub use absent::Absent;
pub use driver::order_by_bus;
pub(super) use trial::check;

use super::error::ModelError;

/// Opens exactly this device.
pub(super) fn open(device: Device) -> Result<CandleDevice, ModelError> {
    let absent = |why| ModelError::Device { device, why };
    let is_built = match device {
        Device::Cpu => return Ok(CandleDevice::Cpu),
        Device::Cuda(_) => cuda_is_available(),
        Device::Metal(_) => metal_is_available(),
    };
    if !is_built {
        return Err(absent(Absent::NotBuilt));
    }
    // Where something is missing after all, the bindings panic rather than fail.
    let opened = catch_unwind(|| match device {
        Device::Cpu => Ok(CandleDevice::Cpu),
        Device::Cuda(index) => {
            driver::check(index).map_err(absent)?;
            CandleDevice::new_cuda(index as usize).map_err(|e| absent(e.into()))
        }
        Device::Metal(index) => {
            CandleDevice::new_metal(index as usize).map_err(|e| absent(e.into()))
        }
    });
    opened.unwrap_or_else(|_| {
        let reason = "its driver cannot be loaded".to_owned();
        Err(absent(Absent::Failed(reason)))
    })
}

/// Bytes that are free on a device that was opened on this thread; unknown where it does not tell.
pub(super) fn free(device: Device) -> Option<u64> {
    match device {
        // A Mac has one memory for all.
        Device::Cpu | Device::Metal(_) => super::memory::free(),
        Device::Cuda(_) => driver::free(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_not_there_is_an_error_and_never_the_cpu() {
        for device in [Device::Cuda(99), Device::Metal(99)] {
            let error = open(device).err().unwrap();
            assert!(error.to_string().contains(&device.to_string()), "{error}");
            assert!(!error.help().is_empty());
        }
    }
}
