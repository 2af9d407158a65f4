//! Rounds of one shape on a device: the network alone, the peer, what the device gives, and the worker until it is ready.

use std::path::Path;

use crate::bench::engine::Engine;
use crate::bench::row::{Against, Floor, Round, Row, Unit};
use crate::bench::service::Service;
use crate::bench::shape::{MISTRAL, Shape};
use crate::bench::weights::Kept;
use crate::bench::worker::{CONTEXT, read};
use crate::say;

/// Sequences of a batch, and the prompt that is prefilled.
pub const BATCH: usize = 32;
const PROMPT: usize = 2048;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    rounds: usize,
    /// Tokens of one sequence.
    tokens: usize,
    /// Tokens of each sequence of a batch.
    few: usize,
}

impl Size {
    pub const FULL: Self = Self {
        rounds: 5,
        tokens: 256,
        few: 128,
    };
    pub const QUICK: Self = Self {
        rounds: 1,
        tokens: 32,
        few: 16,
    };
}

/// One shape with one kind of weights, under measurement.
pub struct Network<'a> {
    pub shape: &'static Shape,
    pub kept: Kept,
    pub engine: &'a mut Engine,
    pub peer: Option<&'a mut Engine>,
    /// What the device gave.
    pub given: &'a mut Given,
}

/// What the device gave: bytes and operations per second.
#[derive(Default)]
pub struct Given {
    pub bandwidths: Vec<f64>,
    pub matmuls: Vec<f64>,
}

impl Network<'_> {
    /// All rows, after all rounds.
    pub fn measure(&mut self, size: Size) -> anyhow::Result<Vec<Row>> {
        let is_bf16 = self.kept == Kept::Bf16;
        let [mut one, mut batch, mut prefill] = <[Vec<Round>; 3]>::default();
        // What is loaded or chosen at first use is not measured.
        self.engine.decode(1, 2)?;
        if is_bf16 {
            self.engine.decode(BATCH, 2)?;
            self.engine.prefill(PROMPT)?;
        }
        for round in 1..=size.rounds {
            say(&format!(
                "{} {}: network, round {round} of {}",
                self.shape.title,
                self.kept.name(),
                size.rounds
            ));
            one.push(self.one(size.tokens)?);
            if is_bf16 {
                batch.push(self.batch(size.few)?);
                prefill.push(self.prefill()?);
            }
        }
        Ok(network_rows(self.shape, self.kept, [one, batch, prefill]))
    }

    /// Memory, ours, peer, ours, memory.
    fn one(&mut self, tokens: usize) -> anyhow::Result<Round> {
        let before = self.engine.copy()?;
        let first = self.engine.decode(1, tokens)?;
        let peer = self.peer.as_mut().map(|peer| peer.decode(1, tokens));
        let peer = peer.transpose()?;
        let second = self.engine.decode(1, tokens)?;
        let after = self.engine.copy()?;
        self.given.bandwidths.extend([before, after]);
        let bandwidth = f64::midpoint(before, after);
        Ok(Round {
            ours: f64::midpoint(first, second),
            peer,
            limit: Some(bandwidth / self.kept.bytes_per_token(self.shape)),
        })
    }

    /// One sequence, all, one.
    fn batch(&mut self, tokens: usize) -> anyhow::Result<Round> {
        let before = self.engine.decode(1, tokens)?;
        let ours = self.engine.decode(BATCH, tokens)?;
        let after = self.engine.decode(1, tokens)?;
        Ok(Round {
            ours,
            peer: None,
            limit: Some(f64::midpoint(before, after)),
        })
    }

    /// Matrices, ours twice, matrices.
    fn prefill(&mut self) -> anyhow::Result<Round> {
        let before = self.engine.matmul()?;
        let first = self.engine.prefill(PROMPT)?;
        let second = self.engine.prefill(PROMPT)?;
        let after = self.engine.matmul()?;
        self.given.matmuls.extend([before, after]);
        Ok(Round {
            ours: f64::midpoint(first, second),
            peer: None,
            limit: Some(f64::midpoint(before, after) / flops_per_token(self.shape)),
        })
    }
}

/// Operations that a token of a prompt takes: a multiplication and an addition for each number of the matrices.
fn flops_per_token(shape: &Shape) -> f64 {
    2.0 * shape.numbers_per_token() as f64
}

/// Rounds of loading: `cat`, a start that does not count, and one that does.
pub fn load(
    shape: &Shape,
    program: &Path,
    model: &Path,
    device: &str,
    size: Size,
) -> anyhow::Result<Vec<Row>> {
    let context = CONTEXT.min(shape.context);
    let start = || Service::start(program, model, Kept::Bf16, device, context, BATCH);
    let [mut load, mut memory] = <[Vec<Round>; 2]>::default();
    for round in 1..=size.rounds {
        let rounds = size.rounds;
        say(&format!(
            "{}: loading, round {round} of {rounds}",
            shape.title
        ));
        let read = read(&model.join("model.safetensors"))?;
        drop(start()?);
        let service = start()?;
        load.push(Round {
            ours: service.load.as_secs_f64(),
            peer: None,
            limit: Some(2.0 * read.as_secs_f64()),
        });
        memory.push(Round {
            ours: service.kept()? / 1e9,
            peer: None,
            limit: None,
        });
    }
    Ok(load_rows(shape, [load, memory]))
}

fn network_rows(shape: &Shape, kept: Kept, [one, batch, prefill]: [Vec<Round>; 3]) -> Vec<Row> {
    let row =
        |what: &str, least, rounds| row(shape, kept, what, Some(Floor::AtLeast(least)), rounds);
    let is_bf16 = kept == Kept::Bf16;
    let mut rows = vec![Row {
        drawn: !is_bf16,
        ..row("decode, 1 sequence, to the limit", 0.6, one.clone())
    }];
    if is_bf16 {
        let to_peer = row("decode, 1 sequence, to the peer", 1.5, one);
        rows.push(Row {
            against: Against::Peer,
            ..to_peer
        });
        let what = format!("decode, {BATCH} sequences, to 1 sequence");
        rows.push(row(&what, 12.0, batch));
        let what = format!("prefill {PROMPT}, to the limit");
        rows.push(row(&what, 0.4, prefill));
        rows[1..].iter_mut().for_each(|row| row.drawn = true);
    }
    rows
}

fn load_rows(shape: &Shape, [load, memory]: [Vec<Round>; 2]) -> Vec<Row> {
    let most = Some(Floor::AtMost(1.0));
    let row = |what: &str, floor, rounds| row(shape, Kept::Bf16, what, floor, rounds);
    vec![
        Row {
            unit: Unit::Seconds,
            ..row("load to ready, to 2 x `cat`", most, load)
        },
        Row {
            unit: Unit::Gigabytes,
            ..row("weights + KV on the device", None, memory)
        },
    ]
}

/// A row to the limit, in tokens per second. Something is asked of the largest shape in bf16 alone.
fn row(shape: &Shape, kept: Kept, what: &str, floor: Option<Floor>, rounds: Vec<Round>) -> Row {
    let is_asked = *shape == MISTRAL && kept == Kept::Bf16;
    Row {
        heading: format!("{} {}", shape.title, kept.name()),
        what: what.to_owned(),
        unit: Unit::TokensPerSecond,
        against: Against::Limit,
        floor: floor.filter(|_| is_asked),
        drawn: false,
        rounds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::shape::{PHI3, QWEN, TINYLLAMA};

    fn floors(shape: &Shape, kept: Kept) -> Vec<Option<Floor>> {
        let network = network_rows(shape, kept, Default::default());
        let load = load_rows(shape, Default::default());
        let rows = network.iter().chain(&load);
        rows.map(|row| row.floor).collect()
    }

    #[test]
    fn floors_are_of_the_largest_shape_in_bf16() {
        let least = |share| Some(Floor::AtLeast(share));
        let asked = [
            least(0.6),
            least(1.5),
            least(12.0),
            least(0.4),
            Some(Floor::AtMost(1.0)),
            None,
        ];
        assert_eq!(floors(&MISTRAL, Kept::Bf16), asked);
        for shape in [&QWEN, &TINYLLAMA, &PHI3] {
            assert_eq!(floors(shape, Kept::Bf16), [None; 6], "{}", shape.name);
        }
        let eight_bits = network_rows(&MISTRAL, Kept::Q8_0, Default::default());
        assert!(eight_bits.iter().all(|row| row.floor.is_none()));
    }

    #[test]
    fn a_token_of_a_prompt_is_two_operations_a_number() {
        // All matrices but the embedding, of which a token takes a row.
        let numbers = 7_248_023_552_f64 - 32_768.0 * 4096.0 - 65.0 * 4096.0;
        assert!((flops_per_token(&MISTRAL) - 2.0 * numbers).abs() < 1.0);
    }
}
