//! The only unsafe code of the worker: vector kernels, threads that borrow, and memory asked of the system.
//!
//! What always holds here:
//! - every function that leaves this module is safe: it checks lengths and the tier before it calls a kernel, and
//!   panics when a caller is wrong;
//! - a kernel compiled for an instruction set is called only for a [`Tier`] that was detected on this machine: a
//!   `Tier` can be had no other way;
//! - a pointer is read only inside a slice whose length was checked first, and written only inside memory that nobody
//!   else holds at that time: [`lend`] hands out each part once.
#![allow(unsafe_code)]
#![allow(
    clippy::wildcard_imports,
    reason = "kernels use dozens of intrinsics, whose names say where they come from"
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod dispatch;
mod lend;
#[cfg(target_arch = "aarch64")]
mod neon;
mod region;
mod team;
mod tier;
mod vectorised;

pub use dispatch::{floats, integers, pairs};
pub use lend::Columns;
pub use region::{Block, Region};
pub use team::Threads;
pub use tier::Tier;
pub use vectorised::{
    add, exponentials, largest, quantise, rms_norm, rotate, round, scale, swiglu,
};
