//! Keys and values of sequences, in slots.

use pool_core::fit;

use super::encode::put_number;
use super::kind::{Input, Kind, LANES};
use super::raw::{Block, Region};
use super::{Cpu, Error};

/// Sizes of a [`KvCache`].
#[derive(Clone, Copy, Debug)]
pub struct KvShape {
    /// F32 or F16.
    pub kind: Kind,
    pub slots: usize,
    pub layers: usize,
    pub heads: usize,
    pub head_dim: usize,
    /// Positions of a slot.
    pub capacity: usize,
}

/// Where a row of a batch belongs: its sequence's slot, and its position there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub slot: usize,
    pub position: usize,
}

/// Keys and values of all slots, allocated once.
///
/// Of each slot, layer and head there are panels of keys, (positions / 16, dim, 16), then panels of values, (dim /
/// 16, positions, 16): both are weights to the kernels, keys with a row for each position, values with a row for each
/// dimension.
pub struct KvCache {
    shape: KvShape,
    /// Positions, and dimensions, up to whole panels.
    capacity: usize,
    dims: usize,
    block: Block,
}

impl KvCache {
    /// Bytes that a cache takes of a [`Region`].
    ///
    /// # Errors
    /// When the kind is not F32 or F16, or the size is more than a machine can address.
    pub fn bytes_of(shape: KvShape) -> Result<usize, Error> {
        let KvShape { kind, head_dim, .. } = shape;
        if kind.input() != Input::Floats {
            return Err(Error::Columns {
                kind,
                columns: head_dim,
            });
        }
        let kv = fit::Kv {
            kept: kind.kept(),
            slots: shape.slots as u64,
            layers: shape.layers as u64,
            heads: shape.heads as u64,
            head_dim: head_dim as u64,
            positions: shape.capacity as u64,
        };
        kv.bytes()
            .and_then(|bytes| usize::try_from(bytes).ok())
            .filter(|bytes| isize::try_from(*bytes).is_ok())
            .ok_or(Error::TooLarge {
                rows: shape.capacity,
                columns: head_dim,
            })
    }

    /// # Errors
    /// As [`KvCache::bytes_of`], and when the region has not that much left.
    pub fn new(region: &mut Region, shape: KvShape) -> Result<Self, Error> {
        let needed = Self::bytes_of(shape)?;
        let left = region.left();
        Ok(Self {
            shape,
            capacity: shape.capacity.next_multiple_of(LANES),
            dims: shape.head_dim.next_multiple_of(LANES),
            block: region.take(needed).ok_or(Error::Full { needed, left })?,
        })
    }

    pub fn shape(&self) -> &KvShape {
        &self.shape
    }

    /// Bytes of all slots.
    pub fn bytes(&self) -> usize {
        self.block.len()
    }

    /// Writes the keys and values of a layer, each (rows, heads, `head_dim`), every row to its place.
    pub fn store(
        &mut self,
        cpu: &Cpu,
        layer: usize,
        places: &[Place],
        keys: &[f32],
        values: &[f32],
    ) {
        let KvShape {
            kind,
            heads,
            head_dim,
            ..
        } = self.shape;
        let width = heads * head_dim;
        assert!(layer < self.shape.layers);
        assert!(keys.len() == places.len() * width && values.len() == keys.len());
        assert!(
            places
                .iter()
                .all(|place| place.slot < self.shape.slots && place.position < self.shape.capacity)
        );
        let (size, dims, capacity) = (kind.size(), self.dims, self.capacity);
        let area = self.area();
        // Where several rows are written, heads are spread over threads.
        let per_slot = area * heads * self.shape.layers;
        let alone = if places.len() < 16 { heads } else { 0 };
        for (slot, data) in self.block.chunks_exact_mut(per_slot).enumerate() {
            if places.iter().all(|place| place.slot != slot) {
                continue;
            }
            let data = &mut data[layer * heads * area..][..heads * area];
            cpu.threads.chunks(data, area, alone, |head, data, _| {
                let (key_panels, value_panels) = data.split_at_mut(capacity * head_dim * size);
                for (row, place) in places
                    .iter()
                    .enumerate()
                    .filter(|(_, place)| place.slot == slot)
                {
                    let at = row * width + head * head_dim;
                    let (panel, lane) = (place.position / LANES, place.position % LANES);
                    for (d, x) in keys[at..at + head_dim].iter().enumerate() {
                        put_number(kind, key_panels, (panel * head_dim + d) * LANES + lane, *x);
                    }
                    for (d, x) in values[at..at + head_dim].iter().enumerate() {
                        let (panel, lane) = (d / LANES, d % LANES);
                        let at = (panel * capacity + place.position) * LANES + lane;
                        put_number(kind, value_panels, at, *x);
                    }
                }
            });
        }
        debug_assert_eq!(area, capacity * (head_dim + dims) * size);
    }

    /// Copies what the first `positions` of a slot hold to another slot.
    pub fn copy(&mut self, from: usize, to: usize, positions: usize) {
        assert!(
            from < self.shape.slots && to < self.shape.slots && positions <= self.shape.capacity
        );
        let area = self.area();
        let size = self.shape.kind.size();
        let areas = self.shape.heads * self.shape.layers;
        let keys = positions.next_multiple_of(LANES) * self.shape.head_dim * size;
        for at in 0..areas {
            let (from, to) = ((from * areas + at) * area, (to * areas + at) * area);
            self.block.copy_within(from..from + keys, to);
            for panel in 0..self.dims / LANES {
                let base =
                    (self.capacity * self.shape.head_dim + panel * self.capacity * LANES) * size;
                let length = positions * LANES * size;
                self.block
                    .copy_within(from + base..from + base + length, to + base);
            }
        }
    }

    /// Bytes of one slot, layer and head.
    fn area(&self) -> usize {
        self.capacity * (self.shape.head_dim + self.dims) * self.shape.kind.size()
    }

    fn head(&self, slot: usize, layer: usize, head: usize) -> (&[u8], &[u8]) {
        let index = (slot * self.shape.layers + layer) * self.shape.heads + head;
        let data = &self.block[index * self.area()..][..self.area()];
        data.split_at(self.capacity * self.shape.head_dim * self.shape.kind.size())
    }

    /// The keys of positions `16 * panel` to `16 * panel + 15` of a head: (`head_dim`, 16).
    pub(super) fn keys(&self, slot: usize, layer: usize, head: usize, panel: usize) -> &[u8] {
        let bytes = self.shape.head_dim * LANES * self.shape.kind.size();
        &self.head(slot, layer, head).0[panel * bytes..][..bytes]
    }

    /// Dimensions `16 * panel` to `16 * panel + 15` of the values from `start` on: (positions, 16).
    pub(super) fn values(
        &self,
        slot: usize,
        layer: usize,
        head: usize,
        panel: usize,
        start: usize,
    ) -> &[u8] {
        let position = LANES * self.shape.kind.size();
        let all = &self.head(slot, layer, head).1[panel * self.capacity * position..];
        &all[start * position..self.capacity * position]
    }
}
