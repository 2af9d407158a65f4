//! What a model takes on a device, before any of it is taken.

use candle_core::DType;
use candle_core::quantized::GgmlDType;
use pool_core::device::Backend;
use pool_core::fit;

use super::matrix;
use crate::cpu;
use crate::model::checkpoint::Checkpoint;
use crate::model::config::Config;
use crate::model::error::ModelError;
use crate::model::memory::{Need, scratch};
use crate::model::options::Keep;
use crate::model::weights::Weights;

/// How a model will lie on a device.
pub struct Plan {
    pub need: Need,
    /// What products multiply with, each once: blocks, or numbers where it is none.
    pub kinds: Vec<Option<GgmlDType>>,
}

impl Plan {
    /// Counts what the weights of a checkpoint take, and the keys and values of all slots.
    pub fn new(
        backend: Backend,
        checkpoint: &Checkpoint,
        config: &Config,
        keep: Keep,
        dtype: DType,
        context: usize,
        slots: usize,
    ) -> Result<Self, ModelError> {
        let number = dtype.size_in_bytes();
        // The vocabulary is never in blocks.
        let mut kinds = vec![None];
        let mut weights = config.shape().vectors() as usize * number;
        for at in Weights::places(config).matrices() {
            let source = checkpoint.source(&at.name, &at.shape)?;
            let kind = matrix::kind(keep, source, at);
            let (rows, columns) = at.size();
            if let Some(kind) = kind
                && !columns.is_multiple_of(kind.block_size())
            {
                let kind = keep.kind(source, at);
                return Err(cpu::Error::Columns { kind, columns }.into());
            }
            let bytes = match kind {
                Some(kind) => rows * columns / kind.block_size() * kind.type_size(),
                None => rows * columns * number,
            };
            weights = weights.saturating_add(bytes);
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        let positions = config.layers * slots * config.kv_heads * context;
        let bytes = fit::Need {
            weights: weights as u64,
            kv: (2 * positions * config.head_dim * number) as u64,
            scratch: scratch(backend, config, slots, context, 0),
        };
        let need = Need {
            bytes,
            context,
            slots,
        };
        Ok(Self { need, kinds })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::Device;
    use pool_core::weights::{Dtype, Quantization};

    use super::*;
    use crate::model::{Decoder, Network as _, Tensors};

    #[test]
    fn what_is_counted_before_is_what_lies_there() {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/models");
        for name in ["tiny-llama", "tiny-llama-gguf", "tiny-phi3", "tiny-qwen2"] {
            let dir = models.join(name);
            let config = Config::read(&dir).unwrap();
            let checkpoint = Checkpoint::open(&dir).unwrap();
            for (dtype, quantize) in [
                (Dtype::Auto, None),
                (Dtype::F16, None),
                (Dtype::Auto, Some(Quantization::Q4)),
            ] {
                let keep = Keep { dtype, quantize };
                let numbers = keep.numbers(cpu::Source::F32);
                let plan = Plan::new(Backend::Cuda, &checkpoint, &config, keep, numbers, 64, 3);
                let need = plan.unwrap().need.bytes;
                let ops = Tensors::new(Device::Cpu, numbers, keep, &config, 64, 3).unwrap();
                let network = Decoder::load(config.clone(), 64, 3, ops, &checkpoint, &|_| {});
                let memory = network.unwrap().memory();
                let memory = (memory.weights, memory.kv, memory.scratch);
                let what = format!("{name} {dtype} {quantize:?}");
                assert_eq!((need.weights, need.kv, need.scratch), memory, "{what}");
            }
        }
    }
}
