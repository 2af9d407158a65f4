//! Rounds of the network alone: ours, the peer's and the memory's speed, measured in turns.

use super::engine::Engine;
use super::llama::Llama;
use super::row::{Against, Floor, Round, Row, Unit};
use super::shape::Shape;
use super::weights::Kept;
use crate::say;

/// Tokens behind a sequence that is measured with little and with much context.
const SHORT: usize = 100;
const LONG: usize = 2000;
/// Sequences of a batch, and the prompt that is prefilled.
pub const BATCH: usize = 8;
const PROMPT: usize = 512;

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub rounds: usize,
    /// Tokens of one sequence.
    pub tokens: usize,
    /// Tokens of each sequence of a batch, and of each context.
    pub few: usize,
    /// Seconds of full load.
    pub load: u64,
}

impl Size {
    pub const FULL: Self = Self {
        rounds: 5,
        tokens: 96,
        few: 32,
        load: 10,
    };
    pub const QUICK: Self = Self {
        rounds: 1,
        tokens: 32,
        few: 16,
        load: 3,
    };
}

/// One shape with one kind of weights, under measurement.
pub struct Network<'a> {
    pub shape: &'static Shape,
    pub kept: Kept,
    pub engine: &'a mut Engine,
    pub peer: Option<&'a Llama<'a>>,
    /// What the memory gave, in bytes per second.
    pub bandwidths: &'a mut Vec<f64>,
}

type Ours<'m> = &'m dyn Fn(&mut Engine) -> anyhow::Result<f64>;
type Theirs<'m> = &'m dyn Fn(&Llama) -> anyhow::Result<f64>;

impl Network<'_> {
    /// All rows, after all rounds.
    pub fn measure(&mut self, size: Size) -> anyhow::Result<Vec<Row>> {
        let mut rounds: [Vec<Round>; 4] = Default::default();
        let (tokens, few) = (size.tokens, size.few);
        for round in 1..=size.rounds {
            say(&format!(
                "{} {}: network, round {round} of {}",
                self.shape.title,
                self.kept.name(),
                size.rounds
            ));
            let one = self.turns(&|engine| engine.decode(1, tokens), &|peer| {
                peer.decode(tokens, 0)
            })?;
            let batch = self.turns(&|engine| engine.decode(BATCH, few), &|peer| {
                peer.batch(BATCH, few)
            })?;
            let prefill = self.turns(&|engine| engine.prefill(PROMPT), &|peer| {
                peer.prefill(PROMPT)
            })?;
            let (short, long) = self.engine.context(SHORT, LONG, few)?;
            // The peer's is shown, not asked for; it prefills all of the context each time.
            let theirs = match self.peer {
                Some(peer) if round == 1 => Some(peer.decode(few, LONG)?),
                _ => None,
            };
            rounds[0].push(one);
            rounds[1].push(Round {
                limit: None,
                ..batch
            });
            rounds[2].push(Round {
                limit: None,
                ..prefill
            });
            rounds[3].push(Round {
                ours: long,
                peer: theirs,
                limit: Some(short),
            });
        }
        Ok(self.rows(rounds))
    }

    /// Memory, ours, peer, ours, memory.
    fn turns(&mut self, ours: Ours, theirs: Theirs) -> anyhow::Result<Round> {
        let before = self.engine.bandwidth()?;
        let first = ours(self.engine)?;
        let peer = self.peer.map(theirs).transpose()?;
        let second = ours(self.engine)?;
        let after = self.engine.bandwidth()?;
        self.bandwidths.extend([before, after]);
        let bandwidth = f64::midpoint(before, after);
        Ok(Round {
            ours: f64::midpoint(first, second),
            peer,
            limit: Some(bandwidth / self.kept.bytes_per_token(self.shape)),
        })
    }

    fn rows(&self, [one, batch, prefill, context]: [Vec<Round>; 4]) -> Vec<Row> {
        let eight_bits = self.kept == Kept::Q8_0;
        let of_peer = |q8_0: f64, bf16: f64| Floor::AtLeast(if eight_bits { q8_0 } else { bf16 });
        let row = |what: &str, against, floor, rounds| Row {
            heading: format!("{} {}", self.shape.title, self.kept.name()),
            what: what.to_owned(),
            unit: Unit::TokensPerSecond,
            against,
            floor,
            drawn: against == Against::Peer,
            rounds,
        };
        let (peer, limit) = (Against::Peer, Against::Limit);
        let share = eight_bits.then_some(Floor::AtLeast(0.8));
        let half = eight_bits.then_some(Floor::AtLeast(0.5));
        vec![
            row(
                "decode, 1 sequence, to the peer",
                peer,
                Some(of_peer(1.0, 1.3)),
                one.clone(),
            ),
            row("decode, 1 sequence, to the limit", limit, share, one),
            row(
                &format!("decode, {BATCH} sequences, to the peer"),
                peer,
                Some(of_peer(1.0, 1.5)),
                batch,
            ),
            row(
                &format!("prefill {PROMPT}, to the peer"),
                peer,
                half,
                prefill,
            ),
            row(
                &format!("decode after {LONG} tokens, to after {SHORT}"),
                limit,
                Some(Floor::AtLeast(0.85)),
                context,
            ),
        ]
    }
}
