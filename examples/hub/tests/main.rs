//! The hub as clients see it: reqwest, and Python's `huggingface_hub`.

// Helpers outside of test functions fail tests too.
#![allow(clippy::unwrap_used)]

mod access;
mod api;
mod binary;
mod commits;
mod faults;
mod files;
mod log;
mod python;
mod support;
