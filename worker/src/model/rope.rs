//! Rotary position embedding.

use candle_core::{Device, Result, Tensor};

use super::config::Config;

/// Cosines and sines of every position of the context, in f32: each has the shape (context, `head_dim` / 2).
///
/// Angle of pair `i` at position `p`: `p / theta^(2i / head_dim)`. Su et al., "`RoFormer`", section 3.2.2; the two
/// numbers of a pair are half a head apart, as in Hugging Face checkpoints.
pub(super) struct Rope {
    cos: Tensor,
    sin: Tensor,
}

impl Rope {
    pub fn new(config: &Config, context: usize, device: &Device) -> Result<Self> {
        let half = config.head_dim / 2;
        let frequency = |i: usize| config.rope_theta.powf(-(i as f64) / half as f64) as f32;
        let frequencies: Vec<f32> = (0..half).map(frequency).collect();
        // The product is rounded to f32, as in the models' training; only then comes the cosine.
        let angles =
            (0..context).flat_map(|p| frequencies.iter().map(move |f| f64::from(p as f32 * f)));
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles
            .map(|angle| (angle.cos() as f32, angle.sin() as f32))
            .unzip();
        Ok(Self {
            cos: Tensor::from_vec(cos, (context, half), device)?,
            sin: Tensor::from_vec(sin, (context, half), device)?,
        })
    }

    /// Turns `heads` (heads, tokens, `head_dim`), whose first token stands at `position`.
    pub fn apply(&self, heads: &Tensor, position: usize) -> Result<Tensor> {
        let tokens = heads.dim(1)?;
        let cos = self.cos.narrow(0, position, tokens)?;
        let sin = self.sin.narrow(0, position, tokens)?;
        candle_nn::rotary_emb::rope(&heads.unsqueeze(0)?, &cos, &sin)?.squeeze(0)
    }
}
