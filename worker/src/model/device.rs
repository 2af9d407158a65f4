//! Opens the device that a worker was told to use, and never another.

use std::panic::catch_unwind;

use candle_core::Device as CandleDevice;
use pool_core::device::Device;

use super::error::ModelError;

/// Opens exactly this device.
pub(super) fn open(device: Device) -> Result<CandleDevice, ModelError> {
    // Where the driver is missing, the CUDA bindings panic rather than fail.
    let opened = catch_unwind(|| match device {
        Device::Cpu => Ok(CandleDevice::Cpu),
        Device::Cuda(index) => CandleDevice::new_cuda(index as usize),
        Device::Metal(index) => CandleDevice::new_metal(index as usize),
    });
    let failed = |reason: String| ModelError::Device { device, reason };
    match opened {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed("its driver cannot be loaded".to_owned())),
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
            assert!(error.help().contains("--device cpu"));
        }
    }
}
