//! Why a device cannot be used.

use pool_core::device::Device;

use super::driver;

/// Why a device is not there.
#[derive(Debug, thiserror::Error)]
pub enum Absent {
    #[error("this worker was built without it")]
    NotBuilt,
    #[error("{name} cannot be opened ({reason})")]
    Library { name: String, reason: String },
    #[error("its driver knows CUDA {has}, and this worker needs {needs}")]
    OldDriver { has: String, needs: String },
    #[error("its driver fails: {0}")]
    Driver(String),
    #[error("its compute capability is {major}.{minor}, and 8.0 is the least that serves")]
    OldCard { major: i32, minor: i32 },
    #[error("there are {0} cards")]
    NoCard(u32),
    #[error("{0}")]
    Failed(String),
}

impl From<candle_core::Error> for Absent {
    fn from(error: candle_core::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

impl Absent {
    /// What a person can do about it.
    pub fn help(&self, device: Device) -> String {
        let otherwise = "or give --device cpu to compute on the CPU";
        match (self, device) {
            (Self::NotBuilt, Device::Metal(_)) => {
                format!("build it on a Mac: `cargo build --release --features metal`; {otherwise}")
            }
            (Self::NotBuilt, _) => {
                format!("`cargo xtask build --cuda` builds one that has it; {otherwise}")
            }
            (Self::Library { name, .. }, _) if name.starts_with("libcuda.") => {
                format!("install NVIDIA's driver, so that `nvidia-smi` lists the card; {otherwise}")
            }
            (Self::Library { .. }, _) => {
                let major = driver::CUDA.0;
                // Since 13 the name of a package does not say its version.
                let packages = match major {
                    "12" => "nvidia-cublas-cu12 nvidia-curand-cu12".to_owned(),
                    _ => format!("'nvidia-cublas=={major}.*' nvidia-curand"),
                };
                format!(
                    "install it: `python3 -m pip install --target ~/.rbee/cuda {packages}` puts it where the worker looks, and a toolkit of \
                     CUDA {major} has it, too; {otherwise}"
                )
            }
            (Self::OldDriver { needs, .. }, _) => format!(
                "install a driver that knows CUDA {needs} (`nvidia-smi` shows it), or build the worker with an older toolkit; {otherwise}"
            ),
            (Self::OldCard { .. }, _) => format!("choose another card, {otherwise}"),
            (Self::NoCard(_) | Self::Driver(_) | Self::Failed(_), _) => format!(
                "`rbee-hive devices` and `nvidia-smi` show the devices that there are; {otherwise}"
            ),
        }
    }
}
