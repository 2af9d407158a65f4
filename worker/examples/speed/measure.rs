//! Sequences of made-up tokens through a network.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use worker::model::{MOST_ROWS, Network, Span, Wanted};

/// Tokens before a sequence decodes.
const PROMPT: usize = 16;
/// Tokens decoded with one context before it is the other's turn.
const TURN: usize = 8;

pub struct Measure {
    network: Box<dyn Network>,
    vocab: usize,
}

/// One sequence: the next token, and how many its slot holds.
#[derive(Clone, Copy)]
struct Sequence {
    slot: usize,
    next: u32,
    position: usize,
}

impl Measure {
    /// Touches each slot once: memory is taken page by page as it is first written.
    pub fn new(network: Box<dyn Network>) -> anyhow::Result<Self> {
        let mut measure = Self {
            vocab: network.config().vocab,
            network,
        };
        measure.decode(measure.network.slots(), 1)?;
        Ok(measure)
    }

    /// Tokens per second of all sequences together.
    pub fn decode(&mut self, sequences: usize, tokens: usize) -> anyhow::Result<f64> {
        let slots = self.network.slots();
        ensure!(
            (1..=slots).contains(&sequences),
            "{sequences} sequences: 1 to {slots} are possible"
        );
        self.fits(PROMPT + tokens)?;
        let mut batch = Vec::with_capacity(sequences);
        for slot in 0..sequences {
            batch.push(self.begin(slot, PROMPT)?);
        }
        let taken = self.steps(&mut batch, tokens)?;
        Ok((sequences * tokens) as f64 / taken.as_secs_f64())
    }

    /// Tokens per second of a prompt.
    pub fn prefill(&mut self, tokens: usize) -> anyhow::Result<f64> {
        self.fits(tokens)?;
        let start = Instant::now();
        self.begin(0, tokens)?;
        Ok(tokens as f64 / start.elapsed().as_secs_f64())
    }

    /// Tokens per second after `short` and after `long` tokens.
    pub fn context(
        &mut self,
        short: usize,
        long: usize,
        tokens: usize,
    ) -> anyhow::Result<(f64, f64)> {
        ensure!(self.network.slots() > 1, "two sequences need two slots");
        self.fits(long + tokens)?;
        let mut near = [self.begin(0, short)?];
        let mut far = [self.begin(1, long)?];
        let mut taken = [Duration::ZERO; 2];
        let mut left = tokens;
        while left > 0 {
            let now = left.min(TURN);
            taken[0] += self.steps(&mut near, now)?;
            taken[1] += self.steps(&mut far, now)?;
            left -= now;
        }
        let rate = |taken: Duration| tokens as f64 / taken.as_secs_f64();
        Ok((rate(taken[0]), rate(taken[1])))
    }

    fn fits(&self, tokens: usize) -> anyhow::Result<()> {
        let context = self.network.context();
        ensure!(
            (1..=context).contains(&tokens),
            "{tokens} tokens: 1 to {context} fit"
        );
        Ok(())
    }

    /// Fills a slot with a prompt and chooses what follows.
    fn begin(&mut self, slot: usize, tokens: usize) -> anyhow::Result<Sequence> {
        // Spread over the vocabulary, and no two sequences alike.
        let token = |at: usize| ((at * 7919 + slot * 104_729 + 17) % self.vocab) as u32;
        let prompt: Vec<u32> = (0..tokens).map(token).collect();
        let mut next = 0;
        for (index, piece) in prompt.chunks(MOST_ROWS).enumerate() {
            let position = index * MOST_ROWS;
            let last = position + piece.len() == tokens;
            let computed = self.network.forward(&[Span {
                slot,
                position,
                tokens: piece,
                length: tokens,
                wanted: if last {
                    Wanted::Likeliest
                } else {
                    Wanted::None
                },
            }])?;
            if last {
                next = chosen(computed.likeliest.first())?;
            }
        }
        Ok(Sequence {
            slot,
            next,
            position: tokens,
        })
    }

    /// Decodes greedily, all sequences in each step.
    fn steps(&mut self, batch: &mut [Sequence], steps: usize) -> anyhow::Result<Duration> {
        let start = Instant::now();
        for _ in 0..steps {
            let spans: Vec<Span> = batch
                .iter()
                .map(|sequence| Span {
                    slot: sequence.slot,
                    position: sequence.position,
                    tokens: std::slice::from_ref(&sequence.next),
                    length: sequence.position + 1,
                    wanted: Wanted::Likeliest,
                })
                .collect();
            let likeliest = self.network.forward(&spans)?.likeliest;
            for (sequence, likeliest) in batch.iter_mut().zip(likeliest) {
                sequence.next = chosen(Some(likeliest))?;
                sequence.position += 1;
            }
        }
        Ok(start.elapsed())
    }
}

fn chosen(likeliest: Option<&Option<u32>>) -> anyhow::Result<u32> {
    likeliest.copied().flatten().context("no logit is a number")
}
