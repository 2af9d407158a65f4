//! The plain operations, compiled once for each tier.

use super::Tier;
#[cfg(target_arch = "x86_64")]
use super::tier::Set;
use crate::cpu::activations::Group;
use crate::cpu::plain;

/// Defines functions that call the body of the same name in `plain`, compiled for the tier given.
macro_rules! for_each_tier {
    ($($name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {$(
        #[doc = concat!("See `plain::", stringify!($name), "`.")]
        pub fn $name(tier: Tier, $($argument: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
            fn avx512($($argument: $type),*) $(-> $result)? {
                plain::$name($($argument),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($argument: $type),*) $(-> $result)? {
                plain::$name($($argument),*)
            }
            match tier.0 {
                // SAFETY: the tier was detected.
                #[cfg(target_arch = "x86_64")]
                Set::Avx512 | Set::Avx512Bf16 => unsafe { avx512($($argument),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                Set::Avx2 => unsafe { avx2($($argument),*) },
                // Every aarch64 has NEON, so there is nothing to enable.
                _ => plain::$name($($argument),*),
            }
        }
    )*};
}

for_each_tier! {
    quantise(x: &[f32], groups: &mut [Group]);
    round(x: &[f32], pairs: &mut [u32]);
    largest(x: &[f32]) -> f32;
    exponentials(x: &mut [f32], by: f32) -> f32;
    rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]);
    swiglu(gate: &mut [f32], up: &[f32]);
    add(x: &mut [f32], y: &[f32]);
    scale(x: &mut [f32], by: f32);
    rotate(head: &mut [f32], cos: &[f32], sin: &[f32]);
}
