//! The models of a pool: what the catalog says, and the content that is really there.

mod catalog;
mod content;
mod folder;
mod layout;
mod sweep;

pub use catalog::{load, publish, register, unregister, verify};
pub use content::Incoming;
pub use folder::import;
pub use layout::damaged;
pub use sweep::sweep;
