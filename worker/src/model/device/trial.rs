//! A device is trusted once it computed what the CPU computes.
//!
//! Kernels that do not fit a card or its driver may answer nonsense without an error. So before the weights of a model are read, a
//! small network with its kinds of weights, its heads and its turns is computed on both: prompts, single tokens of one and of
//! several sequences at different positions, with idle slots between, a copied beginning, and the choice of the likeliest token.

use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device as CandleDevice, Result, Tensor};
use pool_core::device::Device;
use pool_core::weights::Dtype;

use crate::model::config::Config;
use crate::model::decoder::Decoder;
use crate::model::error::ModelError;
use crate::model::network::{Network, Span, Wanted};
use crate::model::ops::{Ops, Tensors};
use crate::model::options::Keep;
use crate::model::weights::{Make, MatrixAt, VectorAt, Weights};

/// Tokens of a sequence, and sequences.
const CONTEXT: usize = 192;
const SLOTS: usize = 4;
const VOCAB: usize = 512;

/// Computes the trial of a model with matrices of these kinds; none is numbers of `dtype`.
pub fn check(
    device: Device,
    opened: &CandleDevice,
    config: &Config,
    dtype: DType,
    kinds: &[Option<GgmlDType>],
) -> std::result::Result<(), ModelError> {
    let failed = |error: candle_core::Error| ModelError::Device {
        device,
        why: error.into(),
    };
    for kind in kinds {
        let ours = network(opened, config, dtype, *kind).and_then(|mut ours| steps(&mut ours));
        let ours = ours.map_err(failed)?;
        let twin = network(&CandleDevice::Cpu, config, DType::F32, *kind);
        let twin = twin.and_then(|mut twin| steps(&mut twin))?;
        let difference = difference(&ours, &twin);
        if difference > tolerance(dtype, *kind) {
            let kind = kind.map_or_else(|| format!("{dtype:?}"), |kind| format!("{kind:?}"));
            return Err(ModelError::Untrue {
                device,
                kind,
                difference,
            });
        }
    }
    Ok(())
}

/// The largest difference that rounding explains, as a part of the largest logit.
fn tolerance(dtype: DType, kind: Option<GgmlDType>) -> f32 {
    match (dtype, kind) {
        (DType::F32, None) => 1e-3,
        // A few roundings to 8 bits, of weights that are the same or of what they are multiplied with.
        _ => 0.05,
    }
}

/// The largest difference, as a part of the largest number of the twin; without bound where something is no number.
fn difference(ours: &[f32], twin: &[f32]) -> f32 {
    if ours.len() != twin.len() || ours.iter().any(|x| x.is_nan()) {
        return f32::INFINITY;
    }
    let largest = twin
        .iter()
        .fold(f32::MIN_POSITIVE, |most, x| most.max(x.abs()));
    let differences = ours.iter().zip(twin).map(|(a, b)| (a - b).abs() / largest);
    differences.fold(0.0, f32::max)
}

/// A network of one layer with the heads of a model, and weights that are the same everywhere.
fn network(
    device: &CandleDevice,
    config: &Config,
    dtype: DType,
    kind: Option<GgmlDType>,
) -> Result<Decoder<Tensors>> {
    let shared = config.heads / config.kv_heads;
    // Rows of whole blocks, whatever the size of a head. Those of 32 also end within what kernels take at a time.
    let block = kind.map_or(32, |kind| kind.block_size());
    let whole = |heads: &usize| (heads * shared * config.head_dim).is_multiple_of(block);
    let kv_heads = (2..=256).find(whole).unwrap_or(256);
    let config = Config {
        vocab: VOCAB,
        hidden: 256 + block % 256,
        intermediate: 512 + block % 256,
        layers: 1,
        heads: shared * kv_heads,
        kv_heads,
        tied: false,
        // As one that hides something of so few tokens.
        windows: vec![config.windows[0].map(|window| window.min(8))],
        ..config.clone()
    };
    let keep = Keep {
        dtype: Dtype::Auto,
        quantize: None,
    };
    let mut ops = Tensors::new(device.clone(), dtype, keep, &config, CONTEXT, SLOTS)?;
    let weights = Weights::places(&config).make(&mut Random {
        ops: &mut ops,
        kind,
        state: 1,
    })?;
    Ok(Decoder::new(config, CONTEXT, SLOTS, ops, weights))
}

/// Fills a network with numbers that look random.
struct Random<'a> {
    ops: &'a mut Tensors,
    kind: Option<GgmlDType>,
    state: u32,
}

impl Random<'_> {
    /// Numbers from -1 to 1 that bf16 holds exactly: xorshift, Marsaglia, "Xorshift RNGs", 2003.
    fn numbers(&mut self, count: usize) -> Vec<f32> {
        let mut next = || {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 17;
            self.state ^= self.state << 5;
            (f32::from((self.state >> 24) as u8) - 127.5) / 128.0
        };
        (0..count).map(|_| next()).collect()
    }
}

impl Make<MatrixAt, VectorAt> for Random<'_> {
    type Matrix = <Tensors as Ops>::Matrix;
    type Vector = Tensor;
    type Error = candle_core::Error;

    fn matrices<const N: usize>(&mut self, at: [MatrixAt; N]) -> Result<[Self::Matrix; N]> {
        let columns = at[0].shape[1];
        // As large as trained ones, so that sums stay of the order of 1.
        let scale = 1.0 / (columns as f32).sqrt();
        let scale = scale.log2().floor().exp2();
        let rows = at.each_ref().map(|at| at.rows.len());
        let size: (usize, usize) = (rows.iter().sum(), columns);
        let numbers = self.numbers(size.0 * size.1);
        let numbers = numbers.into_iter().map(|x| x * scale).collect();
        let numbers = Tensor::from_vec(numbers, size, &CandleDevice::Cpu)?;
        let kind = self.kind.filter(|_| !at[0].is_vocabulary);
        self.ops.place(&numbers, kind, rows)
    }

    fn vector(&mut self, at: VectorAt) -> Result<Tensor> {
        // Larger than most, so that attention does not look at all alike.
        let numbers = self.numbers(at.length).into_iter();
        self.ops.vector(numbers.map(|x| 4.0 * x).collect())
    }
}

/// The logits of steps that use every kernel, of few rows and of many.
fn steps(network: &mut Decoder<Tensors>) -> Result<Vec<f32>> {
    let tokens: Vec<u32> = (0..CONTEXT).map(|n| (n * 23 % VOCAB) as u32).collect();
    let span = |slot, position: usize, count: usize| Span {
        slot,
        position,
        tokens: &tokens[position..position + count],
        length: position + count,
        wanted: Wanted::Last,
    };
    let mut logits = Vec::new();
    for spans in [
        &[span(0, 0, 12), span(2, 0, 3)][..],
        &[span(1, 0, 1), span(2, 3, 1)],
        &[span(0, 12, 1)],
        // As many rows as kernels for prompts take at a time.
        &[span(3, 0, 150)],
    ] {
        logits.extend(network.forward(spans)?.logits);
    }
    network.copy(0, 3, 8)?;
    let ragged = [span(0, 13, 1), span(1, 1, 1), span(2, 4, 1), span(3, 8, 1)];
    logits.extend(network.forward(&ragged)?.logits);
    // With idle slots between, and once more for the likeliest tokens alone: how far they are from the largest logits.
    let mut apart = [span(0, 14, 1), span(3, 9, 1)];
    let computed = network.forward(&apart)?.logits.to_vec();
    for span in &mut apart {
        span.wanted = Wanted::Likeliest;
    }
    let likeliest = network.forward(&apart)?.likeliest;
    for (row, token) in computed.chunks_exact(VOCAB).zip(likeliest) {
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let found = token.and_then(|token| row.get(token as usize));
        logits.push(found.map_or(f32::NAN, |found| most - found));
    }
    logits.extend(computed);
    Ok(logits)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(more: &str) -> Config {
        let text = r#"{ "model_type": "llama", "vocab_size": 32, "hidden_size": 64, "intermediate_size": 128,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "#;
        Config::parse(Path::new("config.json"), &format!("{text}{more} }}")).unwrap()
    }

    #[test]
    fn a_device_that_computes_as_the_cpu_is_trusted_with_every_kind() {
        let kinds = [
            None,
            Some(GgmlDType::Q8_0),
            Some(GgmlDType::Q4_0),
            Some(GgmlDType::Q4K),
            Some(GgmlDType::Q5K),
            Some(GgmlDType::Q6K),
        ];
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let config = config(r#""rope_theta": 10000.0"#);
            check(Device::Cuda(0), &CandleDevice::Cpu, &config, dtype, &kinds).unwrap();
        }
    }

    #[test]
    fn a_device_that_computes_something_else_is_not() {
        let logits = |config: &Config| {
            let network = network(&CandleDevice::Cpu, config, DType::F32, None);
            steps(&mut network.unwrap()).unwrap()
        };
        let right = logits(&config(r#""rope_theta": 10000.0"#));
        let most = tolerance(DType::BF16, None);
        for wrong in [
            // Positions that turn otherwise, or by half.
            r#""rope_theta": 10.0"#,
            r#""rope_theta": 10000.0, "partial_rotary_factor": 0.5"#,
            r#""rms_norm_eps": 1.0"#,
        ] {
            let difference = difference(&logits(&config(wrong)), &right);
            assert!(difference > 2.0 * most, "{wrong}: {difference}");
        }
        for (at, x) in [(0, f32::NAN), (right.len() - 1, 1e9)] {
            let mut wrong = right.clone();
            wrong[at] = x;
            assert!(difference(&wrong, &right) > most);
        }
        assert!(difference(&right[1..], &right) > most);
    }
}
