//! Networks of model folders, and the sequences that tests compute with them.

use std::path::Path;

use pool_core::device::Device;
use pool_core::weights::{Dtype, Quantization};
use worker::cpu::Cpu;
use worker::model::{
    Checkpoint, Config, Decoder, Keep, Kernels, Model, Network, Options, Sequence, Span, Tensors,
    Wanted,
};

/// The largest difference of logits that passes; the values are of the order of 10.
const CLOSE: f32 = 1e-4;

/// The numbers of the file, whatever they are kept in there.
pub const EXACT: Keep = Keep {
    dtype: Dtype::F32,
    quantize: None,
};

/// How a test names a set of operations, and the network that computes with it.
pub type Named = (&'static str, Box<dyn Network>);

pub fn options(dir: &Path) -> Options {
    Options {
        dir: dir.to_owned(),
        device: Device::Cpu,
        context: None,
        slots: 4,
        dtype: Dtype::Auto,
        quantize: None,
    }
}

pub fn model(dir: &Path) -> Model {
    Model::load(&options(dir), &|_| {}).unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
}

/// The same weights computed by the kernels and by candle's tensors, in f32.
pub fn both(dir: &Path) -> [Named; 2] {
    [
        ("kernels", kernels(dir, None)),
        ("tensors", tensors(dir, EXACT)),
    ]
}

pub fn kernels(dir: &Path, quantize: Option<Quantization>) -> Box<dyn Network> {
    let (config, checkpoint) = open(dir);
    let keep = Keep {
        dtype: Dtype::F32,
        quantize,
    };
    let context = config.context.min(4096);
    let cpu = Cpu::new(2).unwrap();
    let ops = Kernels::new(cpu, keep, &config, context, 4, &checkpoint).unwrap();
    Box::new(Decoder::load(config, context, 4, ops, &checkpoint, &|_| {}).unwrap())
}

pub fn tensors(dir: &Path, keep: Keep) -> Box<dyn Network> {
    let (config, checkpoint) = open(dir);
    let context = config.context.min(4096);
    let device = candle_core::Device::Cpu;
    let dtype = candle_core::DType::F32;
    let ops = Tensors::new(device, dtype, keep, &config, context, 4).unwrap();
    Box::new(Decoder::load(config, context, 4, ops, &checkpoint, &|_| {}).unwrap())
}

fn open(dir: &Path) -> (Config, Checkpoint) {
    let config = Config::read(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    (config, Checkpoint::open(dir).unwrap())
}

/// What comes after each token of a prompt, computed at once in slot 0.
pub fn logits(network: &mut dyn Network, prompt: &[u32]) -> Vec<Vec<f32>> {
    let span = Span {
        slot: 0,
        position: 0,
        tokens: prompt,
        length: prompt.len(),
        wanted: Wanted::All,
    };
    let vocab = network.config().vocab;
    let logits = network.forward(&[span]).unwrap().logits;
    logits.chunks_exact(vocab).map(<[f32]>::to_vec).collect()
}

/// Computes what is pending, at most `most` tokens at a time; what comes next.
pub fn compute(network: &mut dyn Network, sequence: &mut Sequence, most: usize) -> Vec<f32> {
    let rope = network.config().rope.clone();
    sequence.prepare(&rope);
    loop {
        let span = sequence.span(most);
        let count = span.tokens.len();
        let logits = network.forward(&[span]).unwrap().logits.to_vec();
        sequence.advance(count);
        if sequence.pending() == 0 {
            return logits;
        }
    }
}

pub fn best(logits: &[f32]) -> u32 {
    let best = logits.iter().zip(0..).max_by(|a, b| a.0.total_cmp(b.0));
    best.unwrap().1
}

/// The likeliest tokens one after another, and the logits that chose the last.
pub fn greedy(network: &mut dyn Network, prompt: &[u32], count: usize) -> (Vec<u32>, Vec<f32>) {
    let mut sequence = Sequence::new(0, prompt.to_vec(), 0);
    loop {
        let logits = compute(network, &mut sequence, usize::MAX);
        let token = best(&logits);
        sequence.push(token);
        if sequence.tokens().len() == prompt.len() + count {
            return (sequence.tokens()[prompt.len()..].to_vec(), logits);
        }
    }
}

pub fn difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter()
        .zip(theirs)
        .map(|(a, b)| (a - b).abs())
        .fold(
            0.0,
            |worst, x| if x > worst || x.is_nan() { x } else { worst },
        )
}

pub fn assert_close(ours: &[f32], theirs: &[f32], what: &str) {
    let difference = difference(ours, theirs);
    assert!(difference < CLOSE, "{what}: {difference}");
}

pub fn is_close(difference: f32) -> bool {
    difference < CLOSE
}
