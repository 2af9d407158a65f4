//! Weights, kept in panels of 16 rows.

use pool_core::fit;

use super::encode::{copy_blocks, put_row};
use super::kind::{GROUP, Kind, LANES};
use super::raw::{Block, Region};
use super::scalar::{decode, quant, scale_and_min};
use super::{Cpu, Error, Source};

/// Weights (rows, columns): what a layer multiplies its input by, in · columns, out · rows.
pub struct Matrix {
    kind: Kind,
    rows: usize,
    columns: usize,
    /// Bytes of a panel.
    panel: usize,
    block: Block,
}

impl Matrix {
    /// Bytes that a matrix takes of a [`Region`], scales and padding included.
    ///
    /// # Errors
    /// When such rows cannot be kept as `kind`, or the size is more than a machine can address.
    pub fn bytes_of(kind: Kind, rows: usize, columns: usize) -> Result<usize, Error> {
        panel(kind, columns)
            .and_then(|panel| panel.checked_mul(rows.div_ceil(LANES)))
            .filter(|bytes| isize::try_from(*bytes).is_ok())
            .ok_or(Error::TooLarge { rows, columns })
            .and_then(|bytes| {
                if kind.is_integer() && !columns.is_multiple_of(GROUP) {
                    return Err(Error::Columns { kind, columns });
                }
                Ok(bytes)
            })
    }

    /// A matrix of zeros in a region; [`Matrix::fill`] gives it its rows.
    ///
    /// # Errors
    /// As [`Matrix::bytes_of`], and when the region has not that much left.
    pub fn new(
        region: &mut Region,
        kind: Kind,
        rows: usize,
        columns: usize,
    ) -> Result<Self, Error> {
        let needed = Self::bytes_of(kind, rows, columns)?;
        let left = region.left();
        let block = region.take(needed).ok_or(Error::Full { needed, left })?;
        Ok(Self {
            kind,
            rows,
            columns,
            panel: panel(kind, columns).ok_or(Error::TooLarge { rows, columns })?,
            block,
        })
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes as kept.
    pub fn bytes(&self) -> usize {
        self.block.len()
    }

    /// Reads whole rows, as a file holds them, into the rows from `first` on, converting them to the kind kept.
    /// Pieces may come in any order and size; multiples of 16 rows are fastest.
    ///
    /// # Errors
    /// When `bytes` are not whole rows, or more than there are.
    pub fn fill(
        &mut self,
        cpu: &Cpu,
        first: usize,
        source: Source,
        bytes: &[u8],
    ) -> Result<(), Error> {
        let row = source.row_bytes(self.columns)?;
        let wrong = Error::Rows {
            bytes: bytes.len(),
            row,
            first,
        };
        if row == 0 || !bytes.len().is_multiple_of(row) {
            return Err(wrong);
        }
        let last = first.saturating_add(bytes.len() / row);
        if last > self.rows {
            return Err(wrong);
        }
        if first == last {
            return Ok(());
        }
        let (kind, columns) = (self.kind, self.columns);
        let base = first / LANES;
        let panels = &mut self.block[base * self.panel..last.div_ceil(LANES) * self.panel];
        cpu.threads
            .chunks(panels, self.panel, 1, |index, panel, _| {
                let start = (base + index) * LANES;
                let mut numbers = vec![0.0; columns];
                for at in start.max(first)..(start + LANES).min(last) {
                    let bytes = &bytes[(at - first) * row..][..row];
                    if !copy_blocks(source, kind, panel, at - start, bytes) {
                        source.decode(bytes, &mut numbers);
                        put_row(cpu.tier, kind, panel, at - start, &numbers);
                    }
                }
            });
        Ok(())
    }

    /// One row as f32, for an embedding: `out` is (columns).
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows && out.len() == self.columns);
        let (panel, lane) = (self.panel_at(row / LANES), row % LANES);
        if !self.kind.is_integer() {
            for (at, out) in out.iter_mut().enumerate() {
                let number = &panel[self.kind.place(at, lane)..][..self.kind.size()];
                *out = decode(self.kind, number);
            }
            return;
        }
        for (group, out) in out.chunks_exact_mut(GROUP).enumerate() {
            let (scale, min) = scale_and_min(self.kind, panel, group, lane);
            for (at, out) in out.iter_mut().enumerate() {
                let q = quant(self.kind, panel, group, lane, at) as f32;
                *out = min.map_or(q * scale, |min| q.mul_add(scale, min));
            }
        }
    }

    /// The panel of rows `16 * index` to `16 * index + 15`; rows past the last are zeros.
    pub(super) fn panel_at(&self, index: usize) -> &[u8] {
        &self.block[index * self.panel..][..self.panel]
    }
}

fn panel(kind: Kind, columns: usize) -> Option<usize> {
    let bytes = fit::panel(kind.kept(), columns.try_into().ok()?)?;
    bytes.try_into().ok()
}
