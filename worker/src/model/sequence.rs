//! What one request has computed so far.

use candle_core::{DType, Device, Result, Tensor};

use super::config::Config;

/// Keys, values and position of one request. Made fresh for each, so nothing carries over from another.
pub struct Sequence {
    pub(super) layers: Vec<KeyValues>,
    position: usize,
    capacity: usize,
}

/// Keys and values of one layer, each (`kv_heads`, capacity, `head_dim`); rows from the position on are not yet written.
pub(super) struct KeyValues {
    keys: Tensor,
    values: Tensor,
}

impl Sequence {
    /// Room for `capacity` tokens.
    pub(super) fn new(config: &Config, capacity: usize, device: &Device) -> Result<Self> {
        let shape = (config.kv_heads, capacity, config.head_dim);
        let zeros = || Tensor::zeros(shape, DType::F32, device);
        let layer = |_| {
            Ok(KeyValues {
                keys: zeros()?,
                values: zeros()?,
            })
        };
        Ok(Self {
            layers: (0..config.layers).map(layer).collect::<Result<_>>()?,
            position: 0,
            capacity,
        })
    }

    /// Tokens it holds.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Tokens it has room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes of its keys and values.
    pub fn bytes(&self) -> u64 {
        let layer =
            |layer: &KeyValues| 2 * layer.keys.elem_count() * layer.keys.dtype().size_in_bytes();
        self.layers.iter().map(layer).sum::<usize>() as u64
    }

    pub(super) fn advance(&mut self, tokens: usize) {
        self.position += tokens;
    }
}

impl KeyValues {
    /// Writes the keys and values of the next tokens, each (`kv_heads`, tokens, `head_dim`), at `position`; returns all
    /// up to them.
    pub fn append(
        &mut self,
        keys: &Tensor,
        values: &Tensor,
        position: usize,
    ) -> Result<(Tensor, Tensor)> {
        self.keys.slice_set(keys, 1, position)?;
        self.values.slice_set(values, 1, position)?;
        let end = position + keys.dim(1)?;
        Ok((self.keys.narrow(1, 0, end)?, self.values.narrow(1, 0, end)?))
    }
}
