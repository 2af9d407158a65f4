//! The worker as clients see it.

// Helpers outside of test functions fail tests too.
#![allow(clippy::unwrap_used)]

mod binary;
mod contract;
mod faults;
mod support;
