//! How matrices, keys and values lie in the memory of a CPU: in panels of 16 rows.

/// Rows side by side in a panel.
const LANES: u64 = 16;
/// Numbers along a row that share a scale.
const GROUP: u64 = 32;
/// Where panels begin.
const LINE: u64 = 64;

/// How numbers are kept, as far as their size goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    F32,
    /// f16 or bf16.
    Half,
    /// 8 bits, a scale for each 32.
    Q8,
    /// 4 bits, a scale for each 32.
    Q4,
    /// 4 bits, a scale and a minimum for each 32.
    Q4Min,
}

impl Kept {
    /// Bytes of 32 numbers in blocks; none for kinds that are not.
    pub fn block(self) -> Option<u64> {
        match self {
            Self::F32 | Self::Half => None,
            Self::Q8 => Some(34),
            Self::Q4 => Some(18),
            Self::Q4Min => Some(20),
        }
    }

    /// Bytes of a number, for kinds without scales; of half one for the others, which keys and values never are.
    pub fn number(self) -> u64 {
        match self {
            Self::F32 => 4,
            _ => 2,
        }
    }
}

/// Bytes of 16 rows of so many numbers.
pub fn panel(kept: Kept, columns: u64) -> Option<u64> {
    let groups = |scales: u64, bits: u64| {
        let group = LANES * (2 * scales + GROUP * bits / 8);
        (columns / GROUP).checked_mul(group)
    };
    let bytes = match kept {
        // Numbers by twos have a place for the second even where there is none.
        Kept::F32 | Kept::Half => {
            let columns = columns.checked_next_multiple_of(2);
            columns?.checked_mul(LANES * kept.number())
        }
        Kept::Q8 => groups(1, 8),
        Kept::Q4 => groups(1, 4),
        Kept::Q4Min => groups(2, 4),
    };
    bytes?.checked_next_multiple_of(LINE)
}

/// Bytes of a matrix.
pub fn matrix(kept: Kept, [rows, columns]: [u64; 2]) -> Option<u64> {
    panel(kept, columns)?.checked_mul(rows.div_ceil(LANES))
}

/// Sizes of the keys and values of all slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kv {
    /// F32 or half.
    pub kept: Kept,
    pub slots: u64,
    pub layers: u64,
    /// Of keys and values.
    pub heads: u64,
    pub head_dim: u64,
    /// Positions of a slot.
    pub positions: u64,
}

impl Kv {
    /// Bytes: positions of keys and dimensions of values are up to whole panels.
    pub fn bytes(&self) -> Option<u64> {
        let dims = self.head_dim.checked_next_multiple_of(LANES)?;
        let positions = self.positions.checked_next_multiple_of(LANES)?;
        positions
            .checked_mul(dims.checked_add(self.head_dim)?)?
            .checked_mul(self.kept.number())?
            .checked_mul(self.heads)?
            .checked_mul(self.layers)?
            .checked_mul(self.slots)
    }
}
