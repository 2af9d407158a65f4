//! Products of inputs and weights.

use super::activations::{quantise, round};
use super::kind::{GROUP, Input, LANES, TILE};
use super::raw::{self, Columns};
use super::{Cpu, Matrix, Scratch};

/// One product: `y = x · weightsᵀ + bias`.
pub struct Linear<'a> {
    /// (out, in)
    pub weights: &'a Matrix,
    /// (out)
    pub bias: Option<&'a [f32]>,
    /// (rows, out)
    pub y: &'a mut [f32],
}

/// Several products of the same input `x` (rows, in), at once: q, k and v, or gate and up. One pass over the weights
/// serves up to 8 rows.
///
/// Where the weights are of a group, inputs are quantised to 8 bits first; sums of products within a group are exact. Where they
/// are bf16, inputs are rounded to bf16.
///
/// # Panics
/// When shapes do not fit.
pub fn linear<const N: usize>(
    cpu: &Cpu,
    scratch: &mut Scratch,
    x: &[f32],
    products: [Linear<'_>; N],
) {
    let Some(first) = products.first() else {
        return;
    };
    let k = first.weights.columns();
    let rows = x.len().checked_div(k).unwrap_or(0);
    for product in &products {
        let out = product.weights.rows();
        assert!(product.weights.columns() == k && x.len() == rows * k);
        assert_eq!(product.y.len(), rows * out);
        assert!(product.bias.is_none_or(|bias| bias.len() == out));
    }
    let wants = |input: Input| products.iter().any(|it| it.weights.kind().input() == input);
    if wants(Input::Groups) {
        quantise(cpu, x, &mut scratch.groups);
    }
    if wants(Input::Pairs) {
        round(cpu, x, k, &mut scratch.pairs);
    }
    let (groups, pairs) = (&scratch.groups[..], &scratch.pairs[..]);
    let weights: [(&Matrix, Option<&[f32]>); N] =
        std::array::from_fn(|at| (products[at].weights, products[at].bias));
    let mut outputs = products.map(|product| Columns::new(product.y, product.weights.rows()));
    cpu.threads
        .tiles(&mut outputs, LANES, |which, index, mut tile| {
            let (matrix, bias) = weights[which];
            let panel = matrix.panel_at(index);
            let bias = bias.map(|bias| &bias[index * LANES..]);
            let mut sums = [[0.0; LANES]; TILE];
            for start in (0..rows).step_by(TILE) {
                let count = TILE.min(rows - start);
                let (tier, kind) = (cpu.tier, matrix.kind());
                let per_row = match kind.input() {
                    Input::Floats => k,
                    Input::Pairs => k.div_ceil(2),
                    Input::Groups => k / GROUP,
                };
                let rows: [usize; TILE] = std::array::from_fn(|at| (start + at) * per_row);
                let (rows, sums) = (&rows[..count], &mut sums[..count]);
                match kind.input() {
                    Input::Floats => raw::floats(tier, kind, panel, k, x, rows, sums),
                    Input::Pairs => raw::pairs(tier, panel, per_row, pairs, rows, sums),
                    Input::Groups => {
                        raw::integers(tier, kind, panel, per_row, groups, rows, sums);
                    }
                }
                for (at, sums) in sums.iter().enumerate() {
                    let y = tile.row(start + at);
                    y.copy_from_slice(&sums[..y.len()]);
                    if let Some(bias) = bias {
                        for (y, bias) in y.iter_mut().zip(bias) {
                            *y += bias;
                        }
                    }
                }
            }
        });
}
