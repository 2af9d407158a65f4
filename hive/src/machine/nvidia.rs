//! NVIDIA cards, as the driver's own library (NVML) tells of them. It is loaded when it is asked: a machine may lack it.
//!
//! `cuda:N` is the Nth card by PCI address. CUDA counts in the same way where `CUDA_DEVICE_ORDER` is `PCI_BUS_ID` and no card
//! is hidden, which [`crate::services`] sees to, and where each card is one device. So it is all of them or none: were one
//! left out, a worker could compute on another card than the one that its fleet named.

use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device as Handle, Nvml};
use pool_core::device::Device;
use pool_core::observation::{DeviceInfo, Memory};

use super::Cards;

/// `NVML_DEVICE_MIG_ENABLE`.
const MIG_ENABLED: u32 = 1;

/// What NVML tells of one card.
struct Card {
    /// Its PCI address, in digits of fixed width.
    bus: String,
    is_divided: bool,
    name: String,
    memory: Memory,
    capability: String,
    /// By process.
    held: Vec<(u32, u64)>,
}

/// All cards, or why none can be used. There are none where the library is not.
pub fn cards() -> Result<Cards, String> {
    let nvml = match Nvml::init() {
        Err(NvmlError::LibloadingError(error)) if is_absent(&error.to_string()) => {
            return Ok(Cards::default());
        }
        nvml => nvml.map_err(why)?,
    };
    let driver = nvml.sys_driver_version().map_err(why)?;
    let count = nvml.device_count().map_err(why)?;
    let cards = (0..count).map(|index| {
        let card = nvml.device_by_index(index).and_then(|it| Card::read(&it));
        card.map_err(|error| format!("card {} of {count}: {}", index + 1, why(error)))
    });
    let mut cards: Vec<Card> = cards.collect::<Result<_, _>>()?;
    if let Some(Card { bus, name, .. }) = cards.iter().find(|card| card.is_divided) {
        return Err(format!(
            "the {name} at {bus} is divided (MIG), and beside such a card CUDA does not count the others as they are; \
             `nvidia-smi -i {bus} -mig 0` makes it one"
        ));
    }
    cards.sort_by(|a, b| a.bus.cmp(&b.bus));
    let mut all = Cards::default();
    for (card, index) in cards.into_iter().zip(0..) {
        let device = Device::Cuda(index);
        let held = card.held.into_iter();
        all.held
            .extend(held.map(|(pid, bytes)| ((device, pid), bytes)));
        all.devices.push(DeviceInfo {
            device,
            name: card.name,
            memory: card.memory,
            threads: None,
            capability: Some(card.capability),
            driver: Some(driver.clone()),
        });
    }
    Ok(all)
}

impl Card {
    fn read(card: &Handle) -> Result<Self, NvmlError> {
        let is_divided = match card.mig_mode() {
            Err(NvmlError::NotSupported) => false,
            mode => mode?.current == MIG_ENABLED,
        };
        let memory = card.memory_info()?;
        let capability = card.cuda_compute_capability()?;
        // Not everybody may know who computes there.
        let processes = card.running_compute_processes().unwrap_or_default();
        let held = processes.into_iter().filter_map(|process| {
            let UsedGpuMemory::Used(bytes) = process.used_gpu_memory else {
                return None;
            };
            Some((process.pid, bytes))
        });
        Ok(Self {
            bus: card.pci_info()?.bus_id,
            is_divided,
            name: card.name()?,
            memory: Memory {
                total: memory.total,
                available: memory.free,
            },
            capability: format!("{}.{}", capability.major, capability.minor),
            held: held.collect(),
        })
    }
}

/// Whether the loader found no such file. All else that keeps it from loading one is worth telling.
fn is_absent(said: &str) -> bool {
    said.contains("libnvidia-ml.so.1: cannot open shared object file: No such file")
}

fn why(error: NvmlError) -> String {
    match error {
        NvmlError::LibRmVersionMismatch => {
            "the driver in the kernel and its library have different versions, as after an update: reboot".into()
        }
        NvmlError::DriverNotLoaded => "the driver is installed, and not loaded".into(),
        error => error.to_string(),
    }
}
