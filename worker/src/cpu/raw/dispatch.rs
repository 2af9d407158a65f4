//! Safe doors to the kernels: lengths are checked here, once a call.

use super::Tier;
use super::tier::Set;
use crate::cpu::activations::Group;
use crate::cpu::kind::{Input, Kind, LANES, TILE};
use crate::cpu::scalar::{self, Lanes};

#[cfg(target_arch = "aarch64")]
use super::neon;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};

/// Calls a kernel compiled for a fixed number of rows, at most [`TILE`].
macro_rules! by_rows {
    ($isa:ident :: $kernel:ident [$($kind:expr)?], $count:expr, $arguments:tt) => {
        match $count {
            1 => by_rows!(@ $isa, $kernel, ($($kind)?), 1, $arguments),
            2 => by_rows!(@ $isa, $kernel, ($($kind)?), 2, $arguments),
            3 => by_rows!(@ $isa, $kernel, ($($kind)?), 3, $arguments),
            4 => by_rows!(@ $isa, $kernel, ($($kind)?), 4, $arguments),
            5 => by_rows!(@ $isa, $kernel, ($($kind)?), 5, $arguments),
            6 => by_rows!(@ $isa, $kernel, ($($kind)?), 6, $arguments),
            7 => by_rows!(@ $isa, $kernel, ($($kind)?), 7, $arguments),
            _ => by_rows!(@ $isa, $kernel, ($($kind)?), 8, $arguments),
        }
    };
    (@ $isa:ident, $kernel:ident, (), $rows:literal, ($($argument:expr),*)) => {
        $isa::$kernel::<$rows>($($argument),*)
    };
    (@ $isa:ident, $kernel:ident, ($kind:expr), $rows:literal, ($($argument:expr),*)) => {
        $isa::$kernel::<{ $kind }, $rows>($($argument),*)
    };
}

/// Calls a kernel compiled for a kind and a number of rows.
macro_rules! by_kind {
    ($isa:ident :: $kernel:ident, $kind:expr, [$($name:ident),*], $count:expr, $arguments:tt) => {
        match $kind {
            $(Kind::$name => by_rows!($isa::$kernel[Kind::$name as u8], $count, $arguments),)*
            _ => unreachable!("checked by the caller"),
        }
    };
}

/// For each of `rows`, at most [`TILE`]: offsets into `x` of `k` numbers: sums of the `k` of each lane of a panel times
/// them, into `out`. `panel` is (`k`, [`LANES`]) of `kind`, little-endian.
///
/// # Panics
/// When a length is wrong.
pub fn floats(
    tier: Tier,
    kind: Kind,
    panel: &[u8],
    k: usize,
    x: &[f32],
    rows: &[usize],
    out: &mut [Lanes],
) {
    assert!(kind.input() == Input::Floats && panel.len() >= k * LANES * kind.size());
    assert!(rows.len() <= TILE && out.len() >= rows.len());
    assert!(
        rows.iter()
            .all(|row| row.checked_add(k).is_some_and(|end| end <= x.len()))
    );
    if rows.is_empty() {
        return;
    }
    match tier.0 {
        Set::Scalar => scalar::floats(kind, panel, k, x, rows, out),
        // SAFETY: the tier was detected, and the lengths are as the kernels need, by the tests above.
        #[cfg(target_arch = "x86_64")]
        Set::Avx2 => unsafe {
            by_kind!(
                avx2::floats,
                kind,
                [F32, F16],
                rows.len(),
                (panel, k, x, rows, out)
            );
        },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Set::Avx512 | Set::Avx512Bf16 => unsafe {
            by_kind!(
                avx512::floats,
                kind,
                [F32, F16],
                rows.len(),
                (panel, k, x, rows, out)
            );
        },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Set::Neon => unsafe {
            by_kind!(
                neon::floats,
                kind,
                [F32, F16],
                rows.len(),
                (panel, k, x, rows, out)
            );
        },
    }
}

/// As [`floats`], for weights and inputs in bf16 by twos: `k` and `rows` count pairs.
///
/// # Panics
/// When a length is wrong.
pub fn pairs(tier: Tier, panel: &[u8], k: usize, x: &[u32], rows: &[usize], out: &mut [Lanes]) {
    assert!(panel.len() >= k * LANES * 4);
    assert!(rows.len() <= TILE && out.len() >= rows.len());
    assert!(
        rows.iter()
            .all(|row| row.checked_add(k).is_some_and(|end| end <= x.len()))
    );
    if rows.is_empty() {
        return;
    }
    match tier.0 {
        Set::Scalar => scalar::pairs(panel, k, x, rows, out),
        // SAFETY: the tier was detected, and the lengths are as the kernels need, by the tests above.
        #[cfg(target_arch = "x86_64")]
        Set::Avx2 => unsafe { by_rows!(avx2::pairs[], rows.len(), (panel, k, x, rows, out)) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Set::Avx512 => unsafe {
            by_rows!(avx512::pairs_widened[], rows.len(), (panel, k, x, rows, out));
        },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Set::Avx512Bf16 => unsafe {
            by_rows!(avx512::pairs[], rows.len(), (panel, k, x, rows, out));
        },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Set::Neon => unsafe { by_rows!(neon::pairs[], rows.len(), (panel, k, x, rows, out)) },
    }
}

/// As [`floats`], for the kinds of a group and inputs of 8 bits: `rows` are offsets into `x`, in groups.
///
/// # Panics
/// When a length is wrong.
pub fn integers(
    tier: Tier,
    kind: Kind,
    panel: &[u8],
    groups: usize,
    x: &[Group],
    rows: &[usize],
    out: &mut [Lanes],
) {
    assert!(kind.is_integer() && panel.len() >= groups * kind.group_bytes());
    assert!(rows.len() <= TILE && out.len() >= rows.len());
    assert!(
        rows.iter()
            .all(|row| row.checked_add(groups).is_some_and(|end| end <= x.len()))
    );
    if rows.is_empty() {
        return;
    }
    match tier.0 {
        Set::Scalar => scalar::integers(kind, panel, groups, x, rows, out),
        // SAFETY: the tier was detected, and the lengths are as the kernels need, by the tests above.
        #[cfg(target_arch = "x86_64")]
        Set::Avx2 => unsafe {
            by_kind!(
                avx2::integers,
                kind,
                [Q8, Q4, Q4Min],
                rows.len(),
                (panel, groups, x, rows, out)
            );
        },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Set::Avx512 | Set::Avx512Bf16 => unsafe {
            by_kind!(
                avx512::integers,
                kind,
                [Q8, Q4, Q4Min],
                rows.len(),
                (panel, groups, x, rows, out)
            );
        },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Set::Neon => unsafe {
            by_kind!(
                neon::integers,
                kind,
                [Q8, Q4, Q4Min],
                rows.len(),
                (panel, groups, x, rows, out)
            );
        },
    }
}
