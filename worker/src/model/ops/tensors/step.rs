//! What holds for all layers of a step.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor};

use super::Turns;
use crate::model::network::Span;

/// The rows of a step, in an order of its own: sequences that can attend together are neighbours.
#[derive(Default)]
pub struct Step {
    /// Where each row is that the caller counts.
    pub places: Vec<usize>,
    /// Cosines and sines, each (rows, 1, half); none before the first step.
    pub turns: Option<(Tensor, Tensor)>,
    pub groups: Vec<Group>,
}

/// Sequences that attend together: as many tokens each, in slots that follow each other.
pub struct Group {
    pub slots: Range<usize>,
    /// Of each sequence.
    pub tokens: usize,
    /// Of the first token of each sequence.
    pub positions: Vec<usize>,
    /// The first of its rows.
    pub first: usize,
    /// Positions of the longest sequence, its new tokens included.
    pub end: usize,
    /// Where the cache keeps what they add, when they are several.
    pub targets: Option<Tensor>,
    masks: Vec<(Option<usize>, Option<Tensor>)>,
}

impl Step {
    /// Orders the spans, and puts onto the device what their rows turn by.
    pub fn new(spans: &[Span<'_>], turns: &Turns, dtype: DType, device: &Device) -> Result<Self> {
        let mut firsts = Vec::with_capacity(spans.len());
        let mut rows = 0;
        for span in spans {
            firsts.push(rows);
            rows += span.tokens.len();
        }
        let mut order: Vec<usize> = (0..spans.len()).collect();
        order.sort_by_key(|&n| (spans[n].tokens.len(), spans[n].slot));

        let mut places = vec![0; rows];
        let mut groups: Vec<Group> = Vec::new();
        let mut first = 0;
        for n in order {
            let span = &spans[n];
            let tokens = span.tokens.len();
            for row in 0..tokens {
                places[firsts[n] + row] = first + row;
            }
            match groups.last_mut() {
                Some(last) if last.tokens == tokens && last.slots.end == span.slot => {
                    last.slots.end += 1;
                    last.positions.push(span.position);
                    last.end = last.end.max(span.position + tokens);
                }
                _ => groups.push(Group {
                    slots: span.slot..span.slot + 1,
                    tokens,
                    positions: vec![span.position],
                    first,
                    end: span.position + tokens,
                    targets: None,
                    masks: Vec::new(),
                }),
            }
            first += tokens;
        }
        let tensor = |numbers: &[f32]| {
            let numbers = ordered(&places, numbers, turns.half);
            Tensor::from_vec(numbers, (rows, 1, turns.half), device)?.to_dtype(dtype)
        };
        Ok(Self {
            turns: Some((tensor(&turns.cos)?, tensor(&turns.sin)?)),
            places,
            groups,
        })
    }

    /// What the caller has for each row, in the order that rows have here.
    pub fn ordered(&self, tokens: &[u32]) -> Vec<u32> {
        ordered(&self.places, tokens, 1)
    }

    /// Makes the masks of a window, once for all layers that have it.
    pub fn mask(&mut self, window: Option<usize>, dtype: DType, device: &Device) -> Result<()> {
        for group in &mut self.groups {
            if group.masks.iter().all(|(of, _)| *of != window) {
                let mask = group.make_mask(window, dtype, device)?;
                group.masks.push((window, mask));
            }
        }
        Ok(())
    }
}

/// Rows of `width` each, moved to their places.
fn ordered<T: Copy + Default>(places: &[usize], rows: &[T], width: usize) -> Vec<T> {
    let mut moved = vec![T::default(); rows.len()];
    for (row, &place) in rows.chunks_exact(width).zip(places) {
        moved[place * width..][..width].copy_from_slice(row);
    }
    moved
}

impl Group {
    /// Hides what a token does not see: (sequences, 1, tokens, end) of 0 and -∞; none when all see all.
    pub fn mask(&self, window: Option<usize>) -> Option<&Tensor> {
        let mut masks = self.masks.iter();
        masks.find(|(of, _)| *of == window)?.1.as_ref()
    }

    fn make_mask(
        &self,
        window: Option<usize>,
        dtype: DType,
        device: &Device,
    ) -> Result<Option<Tensor>> {
        let window = window.unwrap_or(self.end);
        let are_even = self.positions.iter().all(|at| at + 1 == self.end);
        if are_even && self.end <= window {
            return Ok(None);
        }
        let mut mask = Vec::with_capacity(self.positions.len() * self.tokens * self.end);
        for position in &self.positions {
            for own in *position..position + self.tokens {
                let sees = |at| at <= own && own - at < window;
                let hidden = |at| if sees(at) { 0.0 } else { f32::NEG_INFINITY };
                mask.extend((0..self.end).map(hidden));
            }
        }
        let shape = (self.positions.len(), 1, self.tokens, self.end);
        let mask = Tensor::from_vec(mask, shape, device)?;
        mask.to_dtype(dtype).map(Some)
    }
}
