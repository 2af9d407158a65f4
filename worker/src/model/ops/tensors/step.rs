//! What holds for all layers of a step.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor};

use super::Turns;
use super::groups::{self, Member};
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

/// Sequences that attend together: as many tokens each, in slots that follow each other but for idle ones between.
pub struct Group {
    pub slots: Range<usize>,
    /// Of each sequence.
    pub tokens: usize,
    /// Of the first token in each slot; none of an idle one.
    pub positions: Vec<Option<usize>>,
    /// The first of its rows.
    pub first: usize,
    /// Positions of the longest sequence, its new tokens included.
    pub end: usize,
    /// Where the cache keeps what they add, when they are several.
    pub targets: Option<Tensor>,
    padding: Vec<Padding>,
    masks: Vec<(Option<usize>, Option<Tensor>)>,
}

/// Where rows go when there are idle slots between theirs, by how wide they are: an index for each number, which is sent to the
/// device once for all layers.
struct Padding {
    width: usize,
    /// The row of each slot; none of an idle one, which gets zeros.
    spread: Tensor,
    /// The slot of each row.
    gathered: Tensor,
}

impl Step {
    /// Orders the spans, and puts onto the device what their rows turn by, and where those of these `widths` go. Groups read at
    /// most so many positions for nothing.
    pub fn new(
        spans: &[Span<'_>],
        turns: &Turns,
        waste: usize,
        widths: &[usize],
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let mut firsts = Vec::with_capacity(spans.len());
        let mut rows = 0;
        for span in spans {
            firsts.push(rows);
            rows += span.tokens.len();
        }
        let mut places = vec![0; rows];
        let mut groups: Vec<Group> = Vec::new();
        let mut first = 0;
        for members in together(spans, waste) {
            let group = Group::new(spans, &members, first, widths, device)?;
            for n in members {
                for row in 0..group.tokens {
                    places[firsts[n] + row] = first + row;
                }
                first += group.tokens;
            }
            groups.push(group);
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
    pub fn mask(
        &mut self,
        window: Option<usize>,
        heads: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<()> {
        for group in &mut self.groups {
            if group.masks.iter().all(|(of, _)| *of != window) {
                let mask = group.make_mask(window, heads, dtype, device)?;
                group.masks.push((window, mask));
            }
        }
        Ok(())
    }
}

/// Which spans attend together, in the order of their slots.
fn together(spans: &[Span<'_>], waste: usize) -> Vec<Vec<usize>> {
    let (single, mut prompts): (Vec<usize>, Vec<usize>) =
        (0..spans.len()).partition(|&n| spans[n].tokens.len() == 1);
    let single = single.into_iter().map(|n| Member {
        span: n,
        slot: spans[n].slot,
        length: spans[n].position + 1,
    });
    let single = groups::divide(single.collect(), waste).into_iter();
    let single = single.map(|group| group.iter().map(|member| member.span).collect());
    // Many tokens are not computed for nothing.
    let place = |n: usize| (spans[n].tokens.len(), spans[n].slot);
    prompts.sort_by_key(|&n| place(n));
    let prompts = prompts.chunk_by(|&a, &b| {
        let (tokens, slot) = place(a);
        place(b) == (tokens, slot + 1)
    });
    single.chain(prompts.map(<[usize]>::to_vec)).collect()
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
    /// Some of the spans, in the order of their slots.
    fn new(
        spans: &[Span<'_>],
        members: &[usize],
        first: usize,
        widths: &[usize],
        device: &Device,
    ) -> Result<Self> {
        let members = members.iter().map(|&n| spans[n]);
        let tokens = members.clone().map(|span| span.tokens.len()).max();
        let slot = members.clone().map(|span| span.slot);
        let start = slot.clone().min().unwrap_or(0);
        let slots = start..slot.max().map_or(start, |last| last + 1);
        let mut positions = vec![None; slots.len()];
        let mut spread = vec![u32::MAX; slots.len()];
        let mut gathered: Vec<u32> = Vec::new();
        for (row, span) in (0..).zip(members.clone()) {
            let slot = span.slot - start;
            positions[slot] = Some(span.position);
            spread[slot] = row;
            gathered.push(slot as u32);
        }
        let mut padding = Vec::new();
        if gathered.len() < slots.len() {
            let [spread, gathered] = [spread, gathered].map(|at| Tensor::new(at, device));
            let (spread, gathered) = (spread?.unsqueeze(1)?, gathered?.unsqueeze(1)?);
            for &width in widths {
                let wide = |at: &Tensor| at.broadcast_as((at.dim(0)?, width))?.contiguous();
                padding.push(Padding {
                    width,
                    spread: wide(&spread)?,
                    gathered: wide(&gathered)?,
                });
            }
        }
        let ends = members.map(|span| span.position + span.tokens.len());
        Ok(Self {
            slots,
            tokens: tokens.unwrap_or(0),
            positions,
            first,
            end: ends.max().unwrap_or(0),
            targets: None,
            padding,
            masks: Vec::new(),
        })
    }

    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.positions.iter().flatten().count() * self.tokens
    }

    /// Rows of the group, as those of its slots.
    pub fn spread(&self, x: &Tensor) -> Result<Tensor> {
        match self.padding(x)? {
            Some(padding) => x.contiguous()?.gather(&padding.spread, 0),
            None => Ok(x.clone()),
        }
    }

    /// Rows of its slots, as those of the group.
    pub fn gather(&self, x: Tensor) -> Result<Tensor> {
        match self.padding(&x)? {
            Some(padding) => x.gather(&padding.gathered, 0),
            None => Ok(x),
        }
    }

    fn padding(&self, x: &Tensor) -> Result<Option<&Padding>> {
        let width = x.dim(1)?;
        let mut padding = self.padding.iter();
        Ok(padding.find(|padding| padding.width == width))
    }

    /// Hides what a token does not see: 0 and -∞ for (slots, 1, tokens, end), or for each of the heads when it is one token; none
    /// when all see all.
    pub fn mask(&self, window: Option<usize>) -> Option<&Tensor> {
        let mut masks = self.masks.iter();
        masks.find(|(of, _)| *of == window)?.1.as_ref()
    }

    fn make_mask(
        &self,
        window: Option<usize>,
        heads: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<Option<Tensor>> {
        let window = window.unwrap_or(self.end);
        let mut busy = self.positions.iter().flatten();
        let are_even = busy.all(|at| at + 1 == self.end);
        if are_even && self.end <= window {
            return Ok(None);
        }
        let mut mask = Vec::with_capacity(self.positions.len() * self.tokens * self.end);
        for position in &self.positions {
            for token in 0..self.tokens {
                let sees = |at| match position.map(|position| position + token) {
                    Some(own) => at <= own && own - at < window,
                    // Of nothing comes no number.
                    None => true,
                };
                let hidden = |at| if sees(at) { 0.0 } else { f32::NEG_INFINITY };
                mask.extend((0..self.end).map(hidden));
            }
        }
        let (slots, tokens) = (self.positions.len(), self.tokens);
        let mask = Tensor::from_vec(mask, (slots, 1, tokens, self.end), device)?;
        let mask = mask.to_dtype(dtype)?;
        if tokens > 1 {
            return Ok(Some(mask));
        }
        // Sums of what lies alike need no sizes, which would be sent to the device for each.
        let mask = mask.broadcast_as((slots, heads, tokens, self.end))?;
        mask.contiguous().map(Some)
    }
}
