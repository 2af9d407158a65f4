//! How weights are kept in memory.

use pool_core::fit::Kept;

/// Rows side by side in a panel: the lanes of the widest vector.
pub const LANES: usize = 16;
/// Numbers along a row that share a scale, and whose products are summed before they join the total of the row.
pub const GROUP: usize = 32;
/// Pairs of bf16 along a row whose products are summed before they join the total of the row.
pub const CHAIN: usize = 64;
/// Rows of input that a kernel takes at a time.
pub const TILE: usize = 8;

/// A kind of number. The kinds of a group have one scale for each 32 numbers of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    F32,
    F16,
    /// Two numbers of a row lie together, the first in the low half of a word.
    Bf16,
    /// `scale * (q - 128)`, `q` in 0..=255, scale in f16: GGUF's `Q8_0`, its bits moved.
    Q8,
    /// `scale * (q - 8)`, `q` in 0..=15, scale in f16: GGUF's `Q4_0`, its bits moved.
    Q4,
    /// `scale * q + min`, `q` in 0..=15, scale and min in f16: holds GGUF's `Q4_K`, whose scales and mins are rounded
    /// to f16.
    Q4Min,
}

/// The numbers that a kernel multiplies weights by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// f32, as they are.
    Floats,
    /// Rounded to bf16, by twos: as wide as the weights, so that one instruction multiplies two of each.
    Pairs,
    /// Quantised to 8 bits, by groups.
    Groups,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q8,
        Self::Q4,
        Self::Q4Min,
    ];

    /// What the inputs of a product with it are made.
    pub const fn input(self) -> Input {
        match self {
            Self::F32 | Self::F16 => Input::Floats,
            Self::Bf16 => Input::Pairs,
            Self::Q8 | Self::Q4 | Self::Q4Min => Input::Groups,
        }
    }

    /// The same, as far as sizes go.
    pub fn kept(self) -> Kept {
        match self {
            Self::F32 => Kept::F32,
            Self::F16 | Self::Bf16 => Kept::Half,
            Self::Q8 => Kept::Q8,
            Self::Q4 => Kept::Q4,
            Self::Q4Min => Kept::Q4Min,
        }
    }

    /// Whether it has groups.
    pub const fn is_integer(self) -> bool {
        matches!(self.input(), Input::Groups)
    }

    /// Bytes of one group of a panel, for kinds that have them.
    pub(super) const fn group_bytes(self) -> usize {
        group_bytes(self as u8)
    }

    /// Bytes of the scales (and then mins) that a group begins with: an f16 for each lane.
    pub(super) const fn scale_bytes(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 0,
            Self::Q8 | Self::Q4 => LANES * 2,
            Self::Q4Min => LANES * 4,
        }
    }

    /// Bytes of one number outside groups.
    ///
    /// # Panics
    /// For a kind of a group.
    pub(super) fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            _ => panic!("{self:?} has no numbers outside groups"),
        }
    }

    /// The byte of a panel where number `at` of a lane begins, for kinds without groups.
    pub(super) fn place(self, at: usize, lane: usize) -> usize {
        match self {
            Self::Bf16 => (at / 2 * LANES + lane) * 4 + at % 2 * 2,
            _ => (at * LANES + lane) * self.size(),
        }
    }
}

/// Bytes of one group of a panel: scales, mins, numbers. They lie together so that the weights are one stream.
pub(super) const fn group_bytes(kind: u8) -> usize {
    const Q8: u8 = Kind::Q8 as u8;
    const Q4: u8 = Kind::Q4 as u8;
    match kind {
        Q8 => Kind::Q8.scale_bytes() + LANES * GROUP,
        Q4 => Kind::Q4.scale_bytes() + LANES * GROUP / 2,
        _ => Kind::Q4Min.scale_bytes() + LANES * GROUP / 2,
    }
}
