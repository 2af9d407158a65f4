//! A model hub on this machine: the part of the Hugging Face hub's HTTP that downloads use, and faults on request.
//!
//! ```no_run
//! # fn main() -> Result<(), local_hub::HubError> {
//! use local_hub::{Fault, Hub, Place, Times};
//! let hub = Hub::builder().repo("org/name", "/models/name").start()?;
//! hub.faults().add(Place::Blobs, Fault::Cut(1 << 20), Times::Next(3));
//! // … a client downloads from hub.url() …
//! assert_eq!(hub.fetched_twice(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! # Layout
//!
//! - `hub`, `builder`: what a test holds. The server has threads of its own, so tests need no runtime.
//! - `commit`, `digest`, `content`: folders as repositories; what is pushed is named by its contents.
//! - `repos`, `access`: which commit a request means, and who may have it.
//! - `info`, `tree`, `resolve`, `blobs`: the endpoints. Blobs are served on a port of their own, as a content network
//!   is another host; `range` and `refusal` are what they share.
//! - `watch`, `log`, `faults`, `spoil`: every request is logged and may be spoiled, whatever endpoint it is for.
//! - `serve`, `line`: connections.
//!
//! # What always holds
//!
//! - Only folders that were given are served: paths are looked up in a list, never on the disk.
//! - No header of Xet is sent, so clients take plain HTTP.
//! - Without a fault, what is served is what was pushed; a large file that changed on the disk since is an error 500.

mod access;
mod blobs;
mod builder;
mod commit;
mod content;
mod digest;
mod error;
mod faults;
mod hub;
mod info;
mod line;
mod log;
mod range;
mod refusal;
mod repos;
mod resolve;
mod serve;
mod spoil;
mod tree;
mod watch;

pub use builder::Builder;
pub use error::HubError;
pub use faults::{Fault, FaultId, Faults, Place, Times};
pub use hub::Hub;
pub use log::Request;
