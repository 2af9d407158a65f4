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

    /// Bytes of a position of a slot in a layer.
    pub fn position_bytes(&self) -> u64 {
        let positions = self.layers.first().map(|[keys, _]| keys.dims());
        let positions = positions.map_or(0, |dims| self.layers.len() * dims[0] * dims[2]);
        self.bytes() / positions.max(1) as u64
    }

    /// The positions that several sequences add, for each number of (slots * `kv_heads`, tokens, `head_dim`).
    pub fn targets(&self, group: &Group) -> Result<Option<Tensor>> {
        let Some([keys, _]) = self.layers.first().filter(|_| group.positions.len() > 1) else {
            return Ok(None);
        };
        let (_, heads, _, head_dim) = keys.dims4()?;
        let mut at: Vec<u32> = Vec::new();
        for position in &group.positions {
            // Where a slot is idle nothing is kept.
            let kept = |token| position.map_or(u32::MAX, |position| (position + token) as u32);
            for _ in 0..heads {
                at.extend((0..group.tokens).map(kept));
            }
        }
        let rows = group.positions.len() * heads;
        let at = Tensor::from_vec(at, (rows, group.tokens, 1), keys.device())?;
        let shape = (rows, group.tokens, head_dim);
        at.broadcast_as(shape)?.contiguous().map(Some)
    }

    /// Keeps the keys and values of a group, each (slots, `kv_heads`, tokens, `head_dim`), at their positions. Returns all that its
    /// slots hold up to the last of them, each (slots, `kv_heads`, end, `head_dim`).
    pub fn keep(&self, layer: usize, group: &Group, new: [Tensor; 2]) -> Result<[Tensor; 2]> {
        let mut held = self.layers[layer].clone();
        for (held, new) in held.iter_mut().zip(new) {
            *held = held.narrow(0, group.slots.start, group.slots.len())?;
            match &group.targets {
                // Tokens of one sequence lie together.
                None => held.slice_set(&new, 2, group.end - group.tokens)?,
                Some(targets) => {
                    let (_, _, context, head_dim) = held.dims4()?;
                    let rows = held.reshape(((), context, head_dim))?;
                    rows.scatter_set(targets, &new.reshape(targets.shape())?, 1)?;
                }
            }
            *held = held.narrow(2, 0, group.end)?;
        }
        Ok(held)
    }

    /// Forgets what a slot holds from a position on: what is no number there would spread to a sequence that is padded over it.
    pub fn clear(&self, slot: usize, from: usize) -> Result<()> {
        let mut all = self.layers.iter().flatten();
        all.try_for_each(|tensor| {
            let held = tensor.narrow(0, slot, 1)?;
            match held.dim(2)?.saturating_sub(from) {
                0 => Ok(()),
                rest => held.narrow(2, from, rest)?.zero_set(),
            }
        })
    }

    /// Copies what the first `positions` of a slot hold to another slot.
    pub fn copy(&self, from: usize, to: usize, positions: usize) -> Result<()> {
        for tensor in self.layers.iter().flatten() {
            let held = tensor.narrow(0, from, 1)?.narrow(2, 0, positions)?;
            // A copy, since a tensor cannot be read and written at the same time.
            let held = held.force_contiguous()?;
            tensor.narrow(0, to, 1)?.slice_set(&held, 2, 0)?;
        }
        Ok(())
    }
}
