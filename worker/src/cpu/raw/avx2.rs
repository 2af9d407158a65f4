//! AVX2 with FMA: two vectors hold a number of each of the 16 rows of a panel.
//!
//! Safety of all: see [`super::dispatch`], which has checked that `panel` holds `k` numbers (or `groups` groups) of the
//! kind, that each of `M` `rows` begins as many numbers before the end of `x`, and that `out` has `M` places.

use std::arch::x86_64::*;
use std::array::from_fn;

use crate::cpu::activations::Group;
use crate::cpu::kind::{CHAIN, GROUP, Kind, LANES, group_bytes};
use crate::cpu::scalar::Lanes;

const F32: u8 = Kind::F32 as u8;
const Q8: u8 = Kind::Q8 as u8;
const Q4_MIN: u8 = Kind::Q4Min as u8;

/// Loads a number of each of 8 rows.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn load<const KIND: u8>(at: *const u8) -> __m256 {
    // SAFETY: the caller has 8 numbers there.
    unsafe {
        match KIND {
            F32 => _mm256_loadu_ps(at.cast()),
            _ => _mm256_cvtph_ps(_mm_loadu_si128(at.cast())),
        }
    }
}

/// More rows than registers hold sums for are done in two halves; the panel is in the cache by then.
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn floats<const KIND: u8, const M: usize>(
    panel: &[u8],
    k: usize,
    x: &[f32],
    rows: &[usize],
    out: &mut [Lanes],
) {
    // SAFETY: handed on.
    unsafe {
        match M {
            5 => {
                few_floats::<KIND, 3>(panel, k, x, rows, out);
                few_floats::<KIND, 2>(panel, k, x, &rows[3..], &mut out[3..]);
            }
            6 => {
                few_floats::<KIND, 3>(panel, k, x, rows, out);
                few_floats::<KIND, 3>(panel, k, x, &rows[3..], &mut out[3..]);
            }
            7 => {
                few_floats::<KIND, 4>(panel, k, x, rows, out);
                few_floats::<KIND, 3>(panel, k, x, &rows[4..], &mut out[4..]);
            }
            8 => {
                few_floats::<KIND, 4>(panel, k, x, rows, out);
                few_floats::<KIND, 4>(panel, k, x, &rows[4..], &mut out[4..]);
            }
            _ => few_floats::<KIND, M>(panel, k, x, rows, out),
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn few_floats<const KIND: u8, const M: usize>(
    panel: &[u8],
    k: usize,
    x: &[f32],
    rows: &[usize],
    out: &mut [Lanes],
) {
    let size = if KIND == F32 { 4 } else { 2 };
    // SAFETY: `at` runs over `k` times 16 numbers of the panel, `x[m]` over the `k` numbers of its row.
    unsafe {
        let x: [*const f32; M] = from_fn(|m| x.as_ptr().add(rows[m]));
        let mut total = [[_mm256_setzero_ps(); 2]; M];
        let mut done = 0;
        while done < k {
            let at = panel.as_ptr().add(done * size * LANES);
            let mut sum = [[_mm256_setzero_ps(); 2]; M];
            let mut step = |i: usize| {
                let at = at.add(i * size * LANES);
                let weights = [load::<KIND>(at), load::<KIND>(at.add(size * 8))];
                for m in 0..M {
                    let x = _mm256_set1_ps(*x[m].add(done + i));
                    sum[m][0] = _mm256_fmadd_ps(weights[0], x, sum[m][0]);
                    sum[m][1] = _mm256_fmadd_ps(weights[1], x, sum[m][1]);
                }
            };
            // A count known beforehand lets the compiler unroll.
            if done + GROUP <= k {
                (0..GROUP).for_each(&mut step);
            } else {
                (0..k - done).for_each(&mut step);
            }
            for m in 0..M {
                total[m][0] = _mm256_add_ps(total[m][0], sum[m][0]);
                total[m][1] = _mm256_add_ps(total[m][1], sum[m][1]);
            }
            done += GROUP;
        }
        for m in 0..M {
            _mm256_storeu_ps(out[m].as_mut_ptr(), total[m][0]);
            _mm256_storeu_ps(out[m].as_mut_ptr().add(8), total[m][1]);
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn pairs<const M: usize>(
    panel: &[u8],
    k: usize,
    x: &[u32],
    rows: &[usize],
    out: &mut [Lanes],
) {
    let high = _mm256_set1_epi32(0xffff_0000_u32.cast_signed());
    let first = |pairs| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs));
    let second = |pairs| _mm256_castsi256_ps(_mm256_and_si256(pairs, high));
    // SAFETY: `at` runs over `k` times 16 pairs of the panel, `x[m]` over the `k` pairs of its row.
    unsafe {
        let x: [*const u32; M] = from_fn(|m| x.as_ptr().add(rows[m]));
        // Two passes of 8 rows each, so that the sums of 8 inputs stay in the registers.
        for side in 0..2 {
            let mut total = [_mm256_setzero_ps(); M];
            let mut done = 0;
            while done < k {
                let at = panel.as_ptr().add(done * 64 + side * 32);
                let mut sum = [_mm256_setzero_ps(); M];
                let mut step = |i: usize| {
                    let weights = _mm256_loadu_si256(at.add(i * 64).cast());
                    let (low, high) = (first(weights), second(weights));
                    for m in 0..M {
                        let x = _mm256_set1_epi32(x[m].add(done + i).read().cast_signed());
                        sum[m] = _mm256_fmadd_ps(high, second(x), sum[m]);
                        sum[m] = _mm256_fmadd_ps(low, first(x), sum[m]);
                    }
                };
                // A count known beforehand lets the compiler unroll.
                if done + CHAIN <= k {
                    (0..CHAIN).for_each(&mut step);
                } else {
                    (0..k - done).for_each(&mut step);
                }
                for m in 0..M {
                    total[m] = _mm256_add_ps(total[m], sum[m]);
                }
                done += CHAIN;
            }
            for m in 0..M {
                _mm256_storeu_ps(out[m].as_mut_ptr().add(side * 8), total[m]);
            }
        }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn integers<const KIND: u8, const M: usize>(
    panel: &[u8],
    groups: usize,
    x: &[Group],
    rows: &[usize],
    out: &mut [Lanes],
) {
    let bytes = group_bytes(KIND);
    let scales = if KIND == Q4_MIN { 64 } else { 32 };
    // SAFETY: `group` runs over `groups` groups of the panel, `x[m]` over those of its row.
    unsafe {
        let x: [*const Group; M] = from_fn(|m| x.as_ptr().add(rows[m]));
        let mut total = [[_mm256_setzero_ps(); M]; 2];
        let ones = _mm256_set1_epi16(1);
        for g in 0..groups {
            for side in 0..2 {
                let group = panel.as_ptr().add(g * bytes);
                let at = group.add(scales + side * 32);
                let mut sum = [_mm256_setzero_si256(); M];
                // Products of signed numbers as those of |weight| and the input with the sign of the weight: two of
                // at most 128 * 127 fit 16 bits, which those of unsigned weights would not.
                let mut add = |weights: __m256i, i: usize| {
                    let size = _mm256_abs_epi8(weights);
                    for m in 0..M {
                        let word = x[m].add(g).cast::<i32>().add(Group::Q + i);
                        let x = _mm256_set1_epi32(word.read());
                        let pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(x, weights));
                        sum[m] = _mm256_add_epi32(sum[m], _mm256_madd_epi16(pairs, ones));
                    }
                };
                if KIND == Q8 {
                    let flip = _mm256_set1_epi8(-128);
                    for i in 0..8 {
                        let weights = _mm256_loadu_si256(at.add(i * 64).cast());
                        add(_mm256_xor_si256(weights, flip), i);
                    }
                } else {
                    let low = _mm256_set1_epi8(15);
                    let offset = _mm256_set1_epi8(if KIND == Q4_MIN { 0 } else { 8 });
                    for i in 0..4 {
                        let pairs = _mm256_loadu_si256(at.add(i * 64).cast());
                        let first = _mm256_and_si256(pairs, low);
                        let second = _mm256_and_si256(_mm256_srli_epi16::<4>(pairs), low);
                        add(_mm256_sub_epi8(first, offset), i);
                        add(_mm256_sub_epi8(second, offset), i + 4);
                    }
                }
                let half = |at: *const u8| _mm256_cvtph_ps(_mm_loadu_si128(at.cast()));
                let scale = half(group.add(side * 16));
                let total = &mut total[side];
                for m in 0..M {
                    let by = _mm256_mul_ps(scale, _mm256_set1_ps((*x[m].add(g)).scale));
                    total[m] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[m]), by, total[m]);
                }
                if KIND == Q4_MIN {
                    let min = half(group.add(32 + side * 16));
                    for m in 0..M {
                        let x = &*x[m].add(g);
                        let by = _mm256_set1_ps(x.scale * x.sum as f32);
                        total[m] = _mm256_fmadd_ps(min, by, total[m]);
                    }
                }
            }
        }
        for m in 0..M {
            _mm256_storeu_ps(out[m].as_mut_ptr(), total[0][m]);
            _mm256_storeu_ps(out[m].as_mut_ptr().add(8), total[1][m]);
        }
    }
}
