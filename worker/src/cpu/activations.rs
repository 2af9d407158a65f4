//! Inputs of 8 bits, for weights of a group.

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
