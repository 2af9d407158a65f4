//! What one request has computed so far.

use candle_core::{DType, Device, Result, Tensor};

use super::config::Config;

/// Keys, values and position of one request. Made fresh for each, so nothing carries over from another.
pub struct Sequence {
    pub(super) layers: Vec<KeyValues>,
    /// All that it holds.
    tokens: Vec<u32>,
    prompt: usize,
    limit: usize,
}

/// Keys and values of one layer, each (`kv_heads`, room, `head_dim`); rows from the position on are not yet written.
pub(super) struct KeyValues {
    keys: Tensor,
    values: Tensor,
}

/// Tokens that a sequence has room for at first. Most answers end long before their limit.
const FIRST_ROOM: usize = 256;

impl Sequence {
    /// Of a prompt of `prompt` tokens; holds at most `limit`.
    pub(super) fn new(
        config: &Config,
        prompt: usize,
        limit: usize,
        device: &Device,
    ) -> Result<Self> {
        let shape = (config.kv_heads, limit.min(FIRST_ROOM), config.head_dim);
        let zeros = || Tensor::zeros(shape, DType::F32, device);
        let layer = |_| {
            Ok(KeyValues {
                keys: zeros()?,
                values: zeros()?,
            })
        };
        Ok(Self {
            layers: (0..config.layers).map(layer).collect::<Result<_>>()?,
            tokens: Vec::new(),
            prompt,
            limit,
        })
    }

    /// Tokens it holds.
    pub fn position(&self) -> usize {
        self.tokens.len()
    }

    /// Tokens of its prompt: positions may turn differently in longer prompts.
    pub fn prompt(&self) -> usize {
        self.prompt
    }

    /// Most tokens it may hold.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes of its keys and values.
    pub fn bytes(&self) -> u64 {
        let bytes = |tensor: &Tensor| tensor.elem_count() * tensor.dtype().size_in_bytes();
        let layer = |layer: &KeyValues| bytes(&layer.keys) + bytes(&layer.values);
        self.layers.iter().map(layer).sum::<usize>() as u64
    }

    /// Makes room for the next tokens, twice as much each time.
    pub(super) fn reserve(&mut self, tokens: usize) -> Result<()> {
        let needed = self.position() + tokens;
        if tokens == 0 || needed > self.limit {
            let (position, limit) = (self.position(), self.limit);
            candle_core::bail!(
                "{tokens} tokens do not fit a sequence that holds {position} of {limit}"
            );
        }
        for layer in &mut self.layers {
            for tensor in [&mut layer.keys, &mut layer.values] {
                let (heads, room, head_dim) = tensor.dims3()?;
                if needed > room {
                    let room = (2 * room).max(needed).min(self.limit);
                    let larger =
                        Tensor::zeros((heads, room, head_dim), tensor.dtype(), tensor.device())?;
                    larger.slice_set(tensor, 1, 0)?;
                    *tensor = larger;
                }
            }
        }
        Ok(())
    }

    pub(super) fn append(&mut self, tokens: &[u32]) {
        self.tokens.extend_from_slice(tokens);
    }

    /// Takes out all tokens: what follows is computed from the start.
    pub(super) fn restart(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.tokens)
    }
}

impl KeyValues {
    /// Writes the keys and values of the next tokens, each (`kv_heads`, tokens, `head_dim`), at `position`; returns all
    /// up to them. There must be room.
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
