//! Large memory from the system, zeroed and taken page by page as it is first written.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// Where huge pages begin.
const HUGE: usize = 2 << 20;
/// Where each block begins: a cache line.
const LINE: usize = 64;

/// One mapping, handed out from front to back and given back when its last [`Block`] is gone.
pub struct Region {
    map: Arc<Map>,
    taken: usize,
}

struct Map {
    base: NonNull<u8>,
    length: usize,
    /// Offset of the first byte used, so that it lies on a huge page.
    start: usize,
}

// SAFETY: the mapping is plain memory, owned by this value, reachable from every thread.
unsafe impl Send for Map {}
// SAFETY: a shared `Map` is never dereferenced; only blocks are, and those do not overlap.
unsafe impl Sync for Map {}

impl Region {
    /// Asks for `bytes`. Nothing is resident until written.
    pub fn new(bytes: usize) -> std::io::Result<Self> {
        let length = bytes
            .checked_add(HUGE)
            .filter(|length| isize::try_from(*length).is_ok())
            .ok_or(std::io::ErrorKind::OutOfMemory)?;
        // SAFETY: a fresh private mapping at an address that the system chooses aliases nothing.
        let base = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        let base = NonNull::new(base.cast::<u8>()).ok_or(std::io::ErrorKind::OutOfMemory)?;
        let start = base.as_ptr().align_offset(HUGE);
        // Fewer pages, fewer misses of the address cache: weights are streamed whole for every token. Advice only, so a
        // system that refuses it just goes slower.
        #[cfg(target_os = "linux")]
        // SAFETY: the range lies inside the mapping just made, and the advice does not change what it holds.
        let _ = unsafe {
            rustix::mm::madvise(
                base.as_ptr().add(start).cast(),
                length - start,
                rustix::mm::Advice::LinuxHugepage,
            )
        };
        let map = Arc::new(Map {
            base,
            length,
            start,
        });
        Ok(Self { map, taken: 0 })
    }

    /// Bytes still to be handed out.
    pub fn left(&self) -> usize {
        self.map.length - self.map.start - self.taken
    }

    /// Hands out the next `bytes`, zeroed and on a cache line; none if that many are not left.
    pub fn take(&mut self, bytes: usize) -> Option<Block> {
        let padded = bytes.checked_next_multiple_of(LINE)?;
        if padded > self.left() {
            return None;
        }
        let offset = self.map.start + self.taken;
        self.taken += padded;
        Some(Block {
            // SAFETY: `offset + bytes` is inside the mapping, by the test above.
            data: unsafe { self.map.base.add(offset) },
            bytes,
            _map: Arc::clone(&self.map),
        })
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, and every block that pointed into it is gone. It cannot be told to
        // anyone if the system fails to take it back.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.length) };
    }
}

/// A part of a [`Region`] that one owner holds.
pub struct Block {
    data: NonNull<u8>,
    bytes: usize,
    _map: Arc<Map>,
}

// SAFETY: the only pointer to these bytes; it behaves as a `Box<[u8]>`.
unsafe impl Send for Block {}
// SAFETY: shared access only reads.
unsafe impl Sync for Block {}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `take` hands out ranges that do not overlap, initialised (zero) by the system.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.bytes) }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` is the only access.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.bytes) }
    }
}
