//! Products of inputs and weights.

use super::activations::quantise;
use super::kind::{GROUP, LANES, TILE};
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
/// Where the weights are of a group, inputs are quantised to 8 bits first; sums of products within a group are exact.
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
    let mut integer = false;
    for product in &products {
        let out = product.weights.rows();
        assert!(product.weights.columns() == k && x.len() == rows * k);
        assert_eq!(product.y.len(), rows * out);
        assert!(product.bias.is_none_or(|bias| bias.len() == out));
        integer |= product.weights.kind().is_integer();
    }
    if integer {
        quantise(cpu, x, &mut scratch.inputs);
    }
    let inputs = &scratch.inputs[..];
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
                let per_row = if matrix.kind().is_integer() {
                    k / GROUP
                } else {
                    k
                };
                let offsets: [usize; TILE] = std::array::from_fn(|at| (start + at) * per_row);
                let (offsets, sums) = (&offsets[..count], &mut sums[..count]);
                if matrix.kind().is_integer() {
                    raw::integers(
                        cpu.tier,
                        matrix.kind(),
                        panel,
                        per_row,
                        inputs,
                        offsets,
                        sums,
                    );
                } else {
                    raw::floats(cpu.tier, matrix.kind(), panel, k, x, offsets, sums);
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
