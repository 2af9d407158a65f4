//! A worker without a model: the worker's HTTP contract, tokens at a set pace, and faults on request.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use mock_worker::{Faults, MockWorker, Settings};
//! let worker = MockWorker::start(Settings::new("w1".parse()?, "tiny".parse()?))?;
//! worker.set_faults(Faults { cut: Some(100), times: Some(1), ..Faults::default() });
//! // … a client asks at worker.url() …
//! assert!(worker.seen().jobs.is_empty());
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//!
//! - `settings`, `faults`, `seen`: what a test says and asks.
//! - `worker`: what a test holds; the server has a thread of its own, so tests need no runtime.
//! - `serve`: connections. `service`: endpoints. `refusal`: every answer that is not a success.
//! - `job`, `shared`: requests for answers, and what all of them share.
//! - `generate`: from a request to its answer. `answer`: an answer on its way; `frames`, `openai`: how it is written.
//! - `whole`: an answer in one document.
//!
//! # What always holds
//!
//! - Without a fault the worker keeps to the contract, and its tokens depend on nothing but their place.
//! - What a client takes slowly is not made in advance: memory does not grow with its delay.

mod answer;
mod faults;
mod frames;
mod generate;
mod job;
mod openai;
mod refusal;
mod seen;
mod serve;
mod service;
mod settings;
mod shared;
mod whole;
mod worker;

pub use faults::{FAULT_HEADER, Faults, Malformed, ReadyFault};
pub use frames::text_of;
pub use seen::{Outcome, Seen, SeenJob};
pub use settings::Settings;
pub use worker::{MockError, MockWorker};
