//! AVX-512 with VNNI: one vector holds a number of each of the 16 rows of a panel.
//!
//! Safety of all: see [`super::dispatch`], which has checked that `panel` holds `k` numbers (or `groups` groups) of the
//! kind, that each of `M` `rows` begins as many numbers before the end of `x`, and that `out` has `M` places.

use std::arch::x86_64::*;
use std::array::from_fn;

use crate::cpu::activations::Group;
use crate::cpu::kind::{CHAIN, GROUP, Kind, LANES, group_bytes};
use crate::cpu::scalar::Lanes;

/// In bytes: what a thread streams while memory answers.
const AHEAD: usize = 2048;

/// Pairs between two looks at what is left.
const STRIDE: usize = 16;

const F32: u8 = Kind::F32 as u8;
const Q8: u8 = Kind::Q8 as u8;
const Q4: u8 = Kind::Q4 as u8;
const Q4_MIN: u8 = Kind::Q4Min as u8;

/// Asks for `lines` cache lines, some way ahead of `at`. What a batch computes from a group takes long enough that the
/// hardware stops looking ahead by itself. Past the end of the weights it does nothing.
#[inline]
fn ahead(at: *const u8, lines: usize) {
    for line in 0..lines {
        let far = at.wrapping_add(AHEAD + line * 64);
        // SAFETY: a prefetch reads nothing that the program could see, and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(far.cast()) };
    }
}

/// Loads a number of each row.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
unsafe fn load<const KIND: u8>(at: *const u8) -> __m512 {
    // SAFETY: the caller has 16 numbers there.
    unsafe {
        match KIND {
            F32 => _mm512_loadu_ps(at.cast()),
            _ => _mm512_cvtph_ps(_mm256_loadu_si256(at.cast())),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
pub unsafe fn floats<const KIND: u8, const M: usize>(
    panel: &[u8],
    k: usize,
    x: &[f32],
    rows: &[usize],
    out: &mut [Lanes],
) {
    let size = if KIND == F32 { 4 } else { 2 } * LANES;
    // SAFETY: `at` runs over `k` vectors of the panel, `x[m]` over the `k` numbers of its row.
    unsafe {
        let x: [*const f32; M] = from_fn(|m| x.as_ptr().add(rows[m]));
        let mut total = [_mm512_setzero_ps(); M];
        let mut at = panel.as_ptr();
        let mut done = 0;
        while done + GROUP <= k {
            if M > 1 {
                ahead(at, GROUP * size / 64);
            }
            let mut sum = [_mm512_setzero_ps(); M];
            for i in 0..GROUP {
                let weights = load::<KIND>(at.add(i * size));
                for m in 0..M {
                    let x = _mm512_set1_ps(*x[m].add(done + i));
                    sum[m] = _mm512_fmadd_ps(weights, x, sum[m]);
                }
            }
            for m in 0..M {
                total[m] = _mm512_add_ps(total[m], sum[m]);
            }
            at = at.add(GROUP * size);
            done += GROUP;
        }
        if done < k {
            let mut sum = [_mm512_setzero_ps(); M];
            while done < k {
                let weights = load::<KIND>(at);
                for m in 0..M {
                    sum[m] = _mm512_fmadd_ps(weights, _mm512_set1_ps(*x[m].add(done)), sum[m]);
                }
                at = at.add(size);
                done += 1;
            }
            for m in 0..M {
                total[m] = _mm512_add_ps(total[m], sum[m]);
            }
        }
        for m in 0..M {
            _mm512_storeu_ps(out[m].as_mut_ptr(), total[m]);
        }
    }
}

/// Defines a kernel of pairs by what adds the products of a pair of each row and of the input to the sums.
macro_rules! pairs {
    ($name:ident, $features:literal, $add:expr) => {
        #[target_feature(enable = $features)]
        pub unsafe fn $name<const M: usize>(
            panel: &[u8],
            k: usize,
            x: &[u32],
            rows: &[usize],
            out: &mut [Lanes],
        ) {
            // SAFETY: `at` runs over `k` vectors of the panel, `x[m]` over the `k` pairs of its row.
            unsafe {
                let x: [*const u32; M] = from_fn(|m| x.as_ptr().add(rows[m]));
                let mut total = [_mm512_setzero_ps(); M];
                let mut at = panel.as_ptr();
                let mut done = 0;
                while done < k {
                    let end = k.min(done + CHAIN);
                    let mut sum = [_mm512_setzero_ps(); M];
                    let mut step = |at: *const u8, done: usize| {
                        let weights = _mm512_loadu_si512(at.cast());
                        for m in 0..M {
                            let x = _mm512_set1_epi32(x[m].add(done).read().cast_signed());
                            sum[m] = $add(sum[m], weights, x);
                        }
                    };
                    // A count known beforehand lets the compiler unroll.
                    while done + STRIDE <= end {
                        if M > 1 {
                            ahead(at, STRIDE);
                        }
                        (0..STRIDE).for_each(|i| step(at.add(i * 64), done + i));
                        at = at.add(STRIDE * 64);
                        done += STRIDE;
                    }
                    while done < end {
                        step(at, done);
                        at = at.add(64);
                        done += 1;
                    }
                    for m in 0..M {
                        total[m] = _mm512_add_ps(total[m], sum[m]);
                    }
                }
                for m in 0..M {
                    _mm512_storeu_ps(out[m].as_mut_ptr(), total[m]);
                }
            }
        }
    };
}

pairs!(
    pairs,
    "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma,f16c",
    |sum, weights: __m512i, x: __m512i| {
        let halves = |pairs: __m512i| std::mem::transmute::<__m512i, __m512bh>(pairs);
        _mm512_dpbf16_ps(sum, halves(weights), halves(x))
    }
);

pairs!(
    pairs_widened,
    "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c",
    |sum, weights: __m512i, x: __m512i| {
        let first = |pairs| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs));
        let high = _mm512_set1_epi32(0xffff_0000_u32.cast_signed());
        let second = |pairs| _mm512_castsi512_ps(_mm512_and_si512(pairs, high));
        let sum = _mm512_fmadd_ps(second(weights), second(x), sum);
        _mm512_fmadd_ps(first(weights), first(x), sum)
    }
);

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
pub unsafe fn integers<const KIND: u8, const M: usize>(
    panel: &[u8],
    groups: usize,
    x: &[Group],
    rows: &[usize],
    out: &mut [Lanes],
) {
    let bytes = group_bytes(KIND);
    let scales = if KIND == Q4_MIN { 64 } else { 32 };
    // The instruction multiplies unsigned by signed, so weights are kept with an offset, which the sum of the inputs
    // takes off again, exactly.
    let offset = match KIND {
        Q8 => 128,
        Q4 => 8,
        _ => 0,
    };
    // SAFETY: `group` runs over `groups` groups of the panel, `x[m]` over those of its row.
    unsafe {
        let x: [*const Group; M] = from_fn(|m| x.as_ptr().add(rows[m]));
        let mut total = [_mm512_setzero_ps(); M];
        let low = _mm512_set1_epi8(15);
        for g in 0..groups {
            let group = panel.as_ptr().add(g * bytes);
            let at = group.add(scales);
            if M > 1 {
                ahead(group, bytes.div_ceil(64));
            }
            let mut sum: [__m512i; M] =
                from_fn(|m| _mm512_set1_epi32((*x[m].add(g)).sum * -offset));
            let word = |m: usize, i: usize| {
                _mm512_set1_epi32(x[m].add(g).cast::<i32>().add(Group::Q + i).read())
            };
            if KIND == Q8 {
                for i in 0..8 {
                    let weights = _mm512_loadu_si512(at.add(i * 64).cast());
                    for (m, sum) in sum.iter_mut().enumerate() {
                        *sum = _mm512_dpbusd_epi32(*sum, weights, word(m, i));
                    }
                }
            } else {
                for i in 0..4 {
                    let pairs = _mm512_loadu_si512(at.add(i * 64).cast());
                    let first = _mm512_and_si512(pairs, low);
                    let second = _mm512_and_si512(_mm512_srli_epi16::<4>(pairs), low);
                    for (m, sum) in sum.iter_mut().enumerate() {
                        *sum = _mm512_dpbusd_epi32(*sum, first, word(m, i));
                        *sum = _mm512_dpbusd_epi32(*sum, second, word(m, i + 4));
                    }
                }
            }
            let half = |at: *const u8| _mm512_cvtph_ps(_mm256_loadu_si256(at.cast()));
            let scale = half(group);
            for m in 0..M {
                let by = _mm512_mul_ps(scale, _mm512_set1_ps((*x[m].add(g)).scale));
                total[m] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[m]), by, total[m]);
            }
            if KIND == Q4_MIN {
                let min = half(group.add(32));
                for m in 0..M {
                    let x = &*x[m].add(g);
                    let by = _mm512_set1_ps(x.scale * x.sum as f32);
                    total[m] = _mm512_fmadd_ps(min, by, total[m]);
                }
            }
        }
        for m in 0..M {
            _mm512_storeu_ps(out[m].as_mut_ptr(), total[m]);
        }
    }
}
