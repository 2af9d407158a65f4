//! `llm-worker-rbee`: serves one model on one device over HTTP and streams tokens.
//!
//! # Layout
//!
//! | module | does |
//! |---|---|
//! | [`args`] | command line ↔ [`WorkerLaunch`](pool_core::launch::WorkerLaunch) |
//! | [`model`] | a model folder to weights; tokens to logits |
//! | [`cpu`] | kernels for the CPU |
//! | [`gguf`] | GGUF files read as Hugging Face checkpoints |
//! | [`text`] | words to tokens and back: tokenizer, chat template, ends of an answer |
//! | [`engine`] | the inference thread: slots, queue, steps, sampling |
//! | `http` | the endpoints; their types are [`pool_core::serving`] |
//! | [`metrics`] | what is counted for Prometheus |
//! | `registrar` | telling the orchestrator what this worker is |
//! | [`server`] | one worker from bound listener to exit |
//! | [`threads`] | how many threads compute |
//!
//! # What always holds
//!
//! - What one request computes lives in its own slot; another sees of it only keys and values of the same tokens, of the same
//!   owner.
//! - Nothing but the inference thread computes, and nothing waits for it: health, cancelling and refusing take a lock
//!   that is never held while a step runs.
//! - A stream has one terminal event. A client that left frees its slot before the next step.
//! - A prompt is never cut, logged or repeated in an error.
//! - The device that was asked for is used, or the worker fails.

pub mod args;
pub mod cpu;
pub mod engine;
pub mod gguf;
mod http;
pub mod metrics;
pub mod model;
mod registrar;
pub mod server;
pub mod text;
pub mod threads;
