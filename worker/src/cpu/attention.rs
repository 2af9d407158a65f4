//! Attention of queries over the keys and values of their own sequences.

use std::sync::PoisonError;

use super::kind::{GROUP, LANES, TILE};
use super::kv::{KvCache, Place};
use super::raw;
use super::{Cpu, Scratch};

/// What attention is computed with.
#[derive(Clone, Copy)]
pub struct Attention<'a> {
    pub kv: &'a KvCache,
    pub layer: usize,
    /// Heads of queries: a multiple of those of keys; consecutive ones share a head of keys.
    pub heads: usize,
    /// What scores are multiplied by, positive: mostly 1 / sqrt(`head_dim`).
    pub scale: f32,
    /// How many positions a query sees, its own included; all when none.
    pub window: Option<usize>,
}

/// `y = softmax(q · kᵀ * scale) · v` for each row and head, over the positions up to the row's own. `q` and `y` are
/// (rows, heads, `head_dim`). Keys and values of the rows themselves must be stored already.
///
/// Rows may be of any sequences, several of the same among them. Vaswani et al., "Attention Is All You Need", section
/// 3.2; Ainslie et al., "GQA".
pub fn attention(
    cpu: &Cpu,
    scratch: &mut Scratch,
    with: Attention<'_>,
    places: &[Place],
    q: &[f32],
    y: &mut [f32],
) {
    let shape = with.kv.shape();
    assert!(with.heads.is_multiple_of(shape.heads) && with.layer < shape.layers);
    assert!(q.len() == places.len() * with.heads * shape.head_dim && y.len() == q.len());
    assert!(
        places
            .iter()
            .all(|place| place.slot < shape.slots && place.position < shape.capacity)
    );
    let width = with.heads / shape.heads * shape.head_dim;
    let stride = shape.capacity.next_multiple_of(GROUP);
    let buffers = &scratch.scores;
    cpu.threads.chunks(y, width, 1, |index, y, thread| {
        let (row, head) = (index / shape.heads, index % shape.heads);
        let mut scores = buffers[thread]
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if scores.len() < TILE * stride {
            scores.resize(TILE * stride, 0.0);
        }
        let q = &q[index * width..][..width];
        let queries = TILE * shape.head_dim;
        for (q, y) in q.chunks(queries).zip(y.chunks_mut(queries)) {
            one_head(
                cpu,
                with,
                places[row],
                head,
                q,
                y,
                &mut scores[..TILE * stride],
            );
        }
    });
}

/// Numbers that scores over so many positions take.
pub fn scores(positions: usize) -> usize {
    TILE * positions.next_multiple_of(GROUP)
}

/// Up to [`TILE`] queries of one row that share a head of keys.
fn one_head(
    cpu: &Cpu,
    with: Attention<'_>,
    place: Place,
    head: usize,
    q: &[f32],
    y: &mut [f32],
    scores: &mut [f32],
) {
    let Attention { kv, layer, .. } = with;
    let (kind, dim) = (kv.shape().kind, kv.shape().head_dim);
    let Place { slot, position } = place;
    let count = q.len() / dim;
    let stride = scores.len() / TILE;
    let end = position + 1;
    let start = end.saturating_sub(with.window.unwrap_or(end));

    let offsets: [usize; TILE] = std::array::from_fn(|at| at * dim);
    let mut sums = [[0.0; LANES]; TILE];
    for panel in start / LANES..end.div_ceil(LANES) {
        let keys = kv.keys(slot, layer, head, panel);
        raw::floats(cpu.tier, kind, keys, dim, q, &offsets[..count], &mut sums);
        for (sums, scores) in sums.iter().zip(scores.chunks_exact_mut(stride)).take(count) {
            scores[panel * LANES..][..LANES].copy_from_slice(sums);
        }
    }

    // Values are summed from the start of a group of positions, so that their order is that of the positions
    // themselves; what the window hides counts 0.
    let base = start / GROUP * GROUP;
    let mut totals = [1.0; TILE];
    for (total, scores) in totals
        .iter_mut()
        .zip(scores.chunks_exact_mut(stride))
        .take(count)
    {
        scores[base..start].fill(0.0);
        *total = raw::exponentials(cpu.tier, &mut scores[start..end], with.scale);
    }
    let offsets: [usize; TILE] = std::array::from_fn(|at| at * stride + base);
    for panel in 0..dim.div_ceil(LANES) {
        let values = kv.values(slot, layer, head, panel, base);
        raw::floats(
            cpu.tier,
            kind,
            values,
            end - base,
            scores,
            &offsets[..count],
            &mut sums,
        );
        for ((sums, total), y) in sums.iter().zip(totals).zip(y.chunks_exact_mut(dim)) {
            for (sum, y) in sums.iter().zip(&mut y[panel * LANES..]) {
                *y = sum / total;
            }
        }
    }
}
