//! A model folder, and the network that computes it.
//!
//! | module | holds |
//! |---|---|
//! | `options` | what a model is loaded with |
//! | `config` | `config.json`, or what a GGUF file says in its place, checked |
//! | `checkpoint` | weights on disk |
//! | `device` | the device, opened and tried |
//! | `memory` | whether it fits |
//! | `weights` | the parts of a decoder |
//! | `decoder` | the network, written once over a set of operations |
//! | `ops` | two such sets: own kernels for the CPU, candle's tensors for all devices |
//! | `network` | what the engine sees of it |
//! | `sequence` | the tokens of one request and how far they are computed |
//! | `rope` | positions |

mod checkpoint;
mod config;
mod decoder;
mod device;
mod error;
pub(crate) mod files;
mod memory;
mod network;
mod ops;
mod options;
mod rope;
mod sequence;
mod weights;

use pool_core::device::Device;

pub use checkpoint::Checkpoint;
pub(crate) use checkpoint::gguf_file;
pub(crate) use config::OneOrMore;
pub use config::{Config, SUPPORTED};
pub use decoder::Decoder;
pub use device::order_by_bus;
pub use error::ModelError;
pub use memory::{Need, free as free_memory};
pub use network::{Computed, MOST_ROWS, Memory, Network, Span, Wanted};
use ops::Plan;
pub use ops::{Kernels, Ops, Tensors};
pub use options::{Keep, Options};
pub use rope::Rope;
pub use sequence::Sequence;

use crate::cpu::Cpu;
use crate::text::Text;
use crate::threads;
use weights::Weights;

/// Everything that answers: the words and the network.
pub struct Model {
    pub text: Text,
    pub network: Box<dyn Network>,
}

impl Model {
    /// Loads a model folder onto a device.
    ///
    /// Small files come first and memory is counted before it is taken, so that a folder that cannot be served is refused
    /// before its weights are read. `progress` hears percents.
    pub fn load(options: &Options, progress: &dyn Fn(u8)) -> Result<Self, ModelError> {
        let dir = &options.dir;
        let config = Config::read(dir)?;
        let context = options
            .context
            .map_or(config.context, |context| context as usize);
        if context > config.context {
            let most = config.context;
            return Err(ModelError::Context {
                asked: context,
                most,
            });
        }
        let text = Text::read(dir, &config)?;
        let slots = options.slots as usize;
        let keep = Keep {
            dtype: options.dtype,
            quantize: options.quantize,
        };
        let device = device::open(options.device)?;
        let checkpoint = Checkpoint::open(dir)?;
        let network: Box<dyn Network> = match options.device {
            Device::Cpu => {
                let cpu = Cpu::new(threads::count()).map_err(ModelError::NoThreads)?;
                let ops = Kernels::new(cpu, keep, &config, context, slots, &checkpoint)?;
                Box::new(Decoder::load(
                    config,
                    context,
                    slots,
                    ops,
                    &checkpoint,
                    progress,
                )?)
            }
            Device::Cuda(_) | Device::Metal(_) => {
                let embedding = Weights::places(&config).embedding;
                let source = checkpoint.source(&embedding.name, &embedding.shape)?;
                let dtype = keep.numbers(source);
                let backend = options.device.backend();
                let plan = Plan::new(backend, &checkpoint, &config, keep, dtype, context, slots)?;
                memory::check(&plan.need, device::free(options.device))?;
                device::check(options.device, &device, &config, dtype, &plan.kinds)?;
                let ops = Tensors::new(device, dtype, keep, &config, context, slots)?;
                Box::new(Decoder::load(
                    config,
                    context,
                    slots,
                    ops,
                    &checkpoint,
                    progress,
                )?)
            }
        };
        Ok(Self { text, network })
    }
}
