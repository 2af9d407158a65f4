//! NEON: four vectors hold a number of each of the 16 rows of a panel.
//!
//! Safety of all: see [`super::dispatch`], which has checked that `panel` holds `k` numbers (or `groups` groups) of the
//! kind, that each of `M` `rows` begins as many numbers before the end of `x`, and that `out` has `M` places.

use std::arch::aarch64::*;
use std::array::from_fn;

use crate::cpu::activations::Group;
use crate::cpu::kind::{CHAIN, GROUP, Kind, LANES, group_bytes};
use crate::cpu::scalar::Lanes;

const F32: u8 = Kind::F32 as u8;
const F16: u8 = Kind::F16 as u8;
const Q8: u8 = Kind::Q8 as u8;
const Q4_MIN: u8 = Kind::Q4Min as u8;

/// Loads a number of each of 4 rows.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn load<const KIND: u8>(at: *const u8) -> float32x4_t {
    // SAFETY: the caller has 4 numbers there.
    unsafe {
        match KIND {
            F32 => vld1q_f32(at.cast()),
            _ => vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(at.cast()))),
        }
    }
}

#[target_feature(enable = "neon")]
pub unsafe fn floats<const KIND: u8, const M: usize>(
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
        // Two passes of 8 rows each, so that the sums of 8 inputs stay in the 32 registers.
        for side in 0..2 {
            let mut total = [[vdupq_n_f32(0.0); 2]; M];
            let mut done = 0;
            while done < k {
                let at = panel.as_ptr().add((done * LANES + side * 8) * size);
                let mut sum = [[vdupq_n_f32(0.0); 2]; M];
                let mut step = |i: usize| {
                    let at = at.add(i * size * LANES);
                    let weights = [load::<KIND>(at), load::<KIND>(at.add(size * 4))];
                    for m in 0..M {
                        let x = vdupq_n_f32(*x[m].add(done + i));
                        sum[m][0] = vfmaq_f32(sum[m][0], weights[0], x);
                        sum[m][1] = vfmaq_f32(sum[m][1], weights[1], x);
                    }
                };
                // A count known beforehand lets the compiler unroll.
                if done + GROUP <= k {
                    (0..GROUP).for_each(&mut step);
                } else {
                    (0..k - done).for_each(&mut step);
                }
                for m in 0..M {
                    total[m][0] = vaddq_f32(total[m][0], sum[m][0]);
                    total[m][1] = vaddq_f32(total[m][1], sum[m][1]);
                }
                done += GROUP;
            }
            for m in 0..M {
                vst1q_f32(out[m].as_mut_ptr().add(side * 8), total[m][0]);
                vst1q_f32(out[m].as_mut_ptr().add(side * 8 + 4), total[m][1]);
            }
        }
    }
}

#[target_feature(enable = "neon")]
pub unsafe fn pairs<const M: usize>(
    panel: &[u8],
    k: usize,
    x: &[u32],
    rows: &[usize],
    out: &mut [Lanes],
) {
    let high = vdupq_n_u32(0xffff_0000);
    let first = |pairs| vreinterpretq_f32_u32(vshlq_n_u32::<16>(pairs));
    let second = |pairs| vreinterpretq_f32_u32(vandq_u32(pairs, high));
    // SAFETY: `at` runs over `k` times 16 pairs of the panel, `x[m]` over the `k` pairs of its row.
    unsafe {
        let x: [*const u32; M] = from_fn(|m| x.as_ptr().add(rows[m]));
        // Four passes of 4 rows each, so that the sums of 8 inputs stay in the registers.
        for quarter in 0..4 {
            let mut total = [vdupq_n_f32(0.0); M];
            let mut done = 0;
            while done < k {
                let at = panel.as_ptr().add(done * 64 + quarter * 16);
                let mut sum = [vdupq_n_f32(0.0); M];
                let mut step = |i: usize| {
                    let weights = vld1q_u32(at.add(i * 64).cast());
                    let (low, high) = (first(weights), second(weights));
                    for m in 0..M {
                        let x = vdupq_n_u32(x[m].add(done + i).read());
                        sum[m] = vfmaq_f32(sum[m], high, second(x));
                        sum[m] = vfmaq_f32(sum[m], low, first(x));
                    }
                };
                // A count known beforehand lets the compiler unroll.
                if done + CHAIN <= k {
                    (0..CHAIN).for_each(&mut step);
                } else {
                    (0..k - done).for_each(&mut step);
                }
                for m in 0..M {
                    total[m] = vaddq_f32(total[m], sum[m]);
                }
                done += CHAIN;
            }
            for m in 0..M {
                vst1q_f32(out[m].as_mut_ptr().add(quarter * 4), total[m]);
            }
        }
    }
}

#[target_feature(enable = "neon")]
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
        let mut total = [[vdupq_n_f32(0.0); M]; 4];
        for g in 0..groups {
            for quarter in 0..4 {
                let group = panel.as_ptr().add(g * bytes);
                let at = group.add(scales + quarter * 16);
                let mut sum = [vdupq_n_s32(0); M];
                // 4 rows times 4 numbers: products of at most 128 * 127, of which two fit 16 bits.
                let mut add = |weights: int8x16_t, i: usize| {
                    for m in 0..M {
                        let word = x[m].add(g).cast::<i32>().add(Group::Q + i);
                        let x = vreinterpretq_s8_s32(vdupq_n_s32(word.read()));
                        let near = vmull_s8(vget_low_s8(weights), vget_low_s8(x));
                        let far = vmull_high_s8(weights, x);
                        sum[m] = vpadalq_s16(sum[m], vpaddq_s16(near, far));
                    }
                };
                if KIND == Q8 {
                    for i in 0..8 {
                        let flipped = veorq_u8(vld1q_u8(at.add(i * 64)), vdupq_n_u8(128));
                        add(vreinterpretq_s8_u8(flipped), i);
                    }
                } else {
                    let offset = vdupq_n_s8(if KIND == Q4_MIN { 0 } else { 8 });
                    for i in 0..4 {
                        let pairs = vld1q_u8(at.add(i * 64));
                        let first = vreinterpretq_s8_u8(vandq_u8(pairs, vdupq_n_u8(15)));
                        let second = vreinterpretq_s8_u8(vshrq_n_u8::<4>(pairs));
                        add(vsubq_s8(first, offset), i);
                        add(vsubq_s8(second, offset), i + 4);
                    }
                }
                let scale = load::<F16>(group.add(quarter * 8));
                let total = &mut total[quarter];
                for m in 0..M {
                    let by = vmulq_f32(scale, vdupq_n_f32((*x[m].add(g)).scale));
                    total[m] = vfmaq_f32(total[m], vcvtq_f32_s32(sum[m]), by);
                }
                if KIND == Q4_MIN {
                    let min = load::<F16>(group.add(32 + quarter * 8));
                    for m in 0..M {
                        let x = &*x[m].add(g);
                        let by = vdupq_n_f32(x.scale * x.sum as f32);
                        total[m] = vfmaq_f32(total[m], min, by);
                    }
                }
            }
        }
        for m in 0..M {
            for (quarter, total) in total.iter().enumerate() {
                vst1q_f32(out[m].as_mut_ptr().add(quarter * 4), total[m]);
            }
        }
    }
}
