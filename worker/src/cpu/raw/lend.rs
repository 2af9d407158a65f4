//! Parts of slices lent to the threads of a group, each part to one of them.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Threads;

/// A slice that several threads take parts of.
struct Lent<'a, T> {
    data: *mut T,
    length: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: it stands for `&mut [T]`, of which every thread gets parts of its own.
unsafe impl<T: Send> Sync for Lent<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Lent<'_, T> {}

impl<'a, T> Lent<'a, T> {
    fn new(slice: &'a mut [T]) -> Self {
        Self {
            length: slice.len(),
            data: slice.as_mut_ptr(),
            borrow: PhantomData,
        }
    }

    /// # Safety
    /// No two parts that live at the same time may overlap.
    #[allow(clippy::mut_from_ref)]
    unsafe fn part(&self, start: usize, end: usize) -> &mut [T] {
        assert!(
            start <= end && end <= self.length,
            "a part outside the slice"
        );
        // SAFETY: inside the slice, and alone there by the contract of this function.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(start), end - start) }
    }
}

/// An output matrix (rows, width), row-major, that threads write by tiles of columns.
pub struct Columns<'a> {
    lent: Lent<'a, f32>,
    width: usize,
}

/// Some columns of all rows of an output matrix.
pub struct Tile<'a> {
    of: &'a Columns<'a>,
    start: usize,
    end: usize,
}

impl<'a> Columns<'a> {
    /// `data` is (rows, `width`).
    pub fn new(data: &'a mut [f32], width: usize) -> Self {
        Self {
            lent: Lent::new(data),
            width,
        }
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn rows(&self) -> usize {
        self.lent.length.checked_div(self.width).unwrap_or(0)
    }
}

impl Tile<'_> {
    /// First column of the tile.
    pub fn start(&self) -> usize {
        self.start
    }

    /// The tile's part of a row.
    pub fn row(&mut self, row: usize) -> &mut [f32] {
        let base = row * self.of.width;
        // SAFETY: only one tile has these columns (see `Threads::tiles`), and `&mut self` admits one row of it at a
        // time.
        unsafe { self.of.lent.part(base + self.start, base + self.end) }
    }
}

/// Parts that a thread takes at a time: several for each thread, so that one which is held up leaves the rest to the
/// others.
const SHARES: usize = 8;

impl Threads {
    /// Calls `job` for every item below `items`, by ranges of at least `least`; threads take the next range when they
    /// are done with one. `job` gets the range and the index of the thread.
    pub fn ranges(
        &self,
        items: usize,
        least: usize,
        job: impl Fn(std::ops::Range<usize>, usize) + Sync,
    ) {
        let share = items.div_ceil(self.count() * SHARES).max(least.max(1));
        if items <= share || self.count() == 1 {
            if items > 0 {
                job(0..items, 0);
            }
            return;
        }
        let next = AtomicUsize::new(0);
        self.run(|thread| {
            loop {
                let start = next.fetch_add(share, Ordering::Relaxed);
                if start >= items {
                    break;
                }
                job(start..items.min(start + share), thread);
            }
        });
    }

    /// Calls `job` for every chunk of `chunk` elements of `data`, the last maybe shorter, with its index and that of
    /// the thread. Stays on this thread when there are no more than `least` chunks.
    pub fn chunks<T: Send>(
        &self,
        data: &mut [T],
        chunk: usize,
        least: usize,
        job: impl Fn(usize, &mut [T], usize) + Sync,
    ) {
        let lent = Lent::new(data);
        let count = lent.length.div_ceil(chunk);
        self.ranges(count, least, |range, thread| {
            for index in range {
                let start = index * chunk;
                // SAFETY: `ranges` gives each index to one thread, once.
                let part = unsafe { lent.part(start, lent.length.min(start + chunk)) };
                job(index, part, thread);
            }
        });
    }

    /// Calls `job` for every tile of `width` columns of every output, with the index of the output and of the tile in
    /// it.
    pub fn tiles(
        &self,
        outputs: &mut [Columns<'_>],
        width: usize,
        job: impl Fn(usize, usize, Tile<'_>) + Sync,
    ) {
        let outputs = &*outputs;
        let tiles = |output: &Columns<'_>| output.width.div_ceil(width);
        let total = outputs.iter().map(tiles).sum();
        self.ranges(total, 1, |range, _| {
            let mut before = 0;
            for (which, output) in outputs.iter().enumerate() {
                let count = tiles(output);
                let first = range.start.max(before);
                let last = range.end.min(before + count);
                for index in first..last {
                    let start = (index - before) * width;
                    // `ranges` gives each tile to one thread, once, which is what `Tile::row` relies on.
                    let tile = Tile {
                        of: output,
                        start,
                        end: output.width.min(start + width),
                    };
                    job(which, index - before, tile);
                }
                before += count;
            }
        });
    }
}
