//! Inputs as kernels want them: of 8 bits for weights of a group, rounded by twos for bf16.

use super::Cpu;
use super::kind::GROUP;
use super::raw;

/// 32 inputs: each is `scale * q`. `sum` is that of `q`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Group {
    pub scale: f32,
    pub sum: i32,
    pub q: [i8; GROUP],
}

impl Group {
    /// Words of 4 bytes before `q`, for kernels that read it by words.
    pub(super) const Q: usize = std::mem::offset_of!(Self, q) / 4;
}

/// Groups below which waking other threads costs more than it saves.
const ALONE: usize = 1024;

/// Quantises `x`, a multiple of 32 numbers, into the front of `groups`.
pub fn quantise(cpu: &Cpu, x: &[f32], groups: &mut Vec<Group>) {
    let count = x.len() / GROUP;
    if groups.len() < count {
        groups.resize(count, Group::default());
    }
    cpu.threads
        .chunks(&mut groups[..count], ALONE / 4, 4, |index, groups, _| {
            let x = &x[index * ALONE / 4 * GROUP..][..groups.len() * GROUP];
            raw::quantise(cpu.tier, x, groups);
        });
}

/// Rounds the rows of `x`, each of `k` numbers, to bf16, two in a word, into the front of `pairs`: rows of `k / 2` words,
/// rounded up.
pub fn round(cpu: &Cpu, x: &[f32], k: usize, pairs: &mut Vec<u32>) {
    let words = k.div_ceil(2);
    let count = x.len() / k * words;
    if pairs.len() < count {
        pairs.resize(count, 0);
    }
    cpu.threads
        .chunks(&mut pairs[..count], words, 4, |row, pairs, _| {
            raw::round(cpu.tier, &x[row * k..][..k], pairs);
        });
}
