//! Keys and values of all slots, on the device.

use candle_core::{DType, Device, Result, Tensor};

use super::step::Group;
use crate::model::config::Config;

/// Keys and values of each layer, each (slots, `kv_heads`, context, `head_dim`): what the slots of a group hold is one piece of
/// it that products take as it lies.
pub struct Cache {
    layers: Vec<[Tensor; 2]>,
}

impl Cache {
    /// Takes the memory of all slots.
    pub fn new(
        device: &Device,
        dtype: DType,
        config: &Config,
        context: usize,
        slots: usize,
    ) -> Result<Self> {
        let shape = (slots, config.kv_heads, context, config.head_dim);
        let zeros = || Tensor::zeros(shape, dtype, device);
        let layers = (0..config.layers).map(|_| Ok([zeros()?, zeros()?]));
        Ok(Self {
            layers: layers.collect::<Result<_>>()?,
        })
    }

    pub fn bytes(&self) -> u64 {
        let bytes = |tensor: &Tensor| tensor.elem_count() * tensor.dtype().size_in_bytes();
        self.layers.iter().flatten().map(bytes).sum::<usize>() as u64
    }

    /// Where the keys and the values of several sequences go: for each number of (sequences * `kv_heads` * tokens, `head_dim`), its
    /// row of (slots * `kv_heads` * context, `head_dim`).
    pub fn targets(&self, group: &Group) -> Result<Option<Tensor>> {
        let Some([keys, _]) = self.layers.first().filter(|_| group.positions.len() > 1) else {
            return Ok(None);
        };
        let (_, heads, context, head_dim) = keys.dims4()?;
        let mut rows: Vec<u32> = Vec::new();
        for (slot, position) in group.slots.clone().zip(&group.positions) {
            for head in 0..heads {
                let first = (slot * heads + head) * context + position;
                rows.extend((first as u32)..(first + group.tokens) as u32);
            }
        }
        let count = rows.len();
        let rows = Tensor::from_vec(rows, (count, 1), keys.device())?;
        rows.broadcast_as((count, head_dim))?.contiguous().map(Some)
    }

    /// Keeps the keys and values of a group, each (sequences, `kv_heads`, tokens, `head_dim`), at their positions. Returns all that
    /// its slots hold up to the last of them, each (sequences, `kv_heads`, end, `head_dim`).
    pub fn keep(&self, layer: usize, group: &Group, new: [Tensor; 2]) -> Result<[Tensor; 2]> {
        let mut held = self.layers[layer].clone();
        for (held, new) in held.iter_mut().zip(new) {
            let whole = held.clone();
            *held = held.narrow(0, group.slots.start, group.slots.len())?;
            match &group.targets {
                // Tokens of one sequence lie together.
                None => held.slice_set(&new, 2, group.positions[0])?,
                Some(targets) => {
                    let flat = whole.reshape(((), whole.dim(3)?))?;
                    flat.scatter_set(targets, &new.reshape(targets.shape())?, 0)?;
                }
            }
            *held = held.narrow(2, 0, group.end)?;
        }
        Ok(held)
    }

    /// Copies what the first `positions` of a slot hold to another slot.
    pub fn copy(&self, from: usize, to: usize, positions: usize) -> Result<()> {
        for tensor in self.layers.iter().flatten() {
            let held = tensor.narrow(0, from, 1)?.narrow(2, 0, positions)?;
            // A copy, since a tensor cannot be read and written at the same time.
            let held = held.copy()?.contiguous()?;
            tensor.narrow(0, to, 1)?.slice_set(&held, 2, 0)?;
        }
        Ok(())
    }
}
