//! The models of a pool: what the catalog says, and the content that is really there.

mod catalog;
mod content;
mod folder;
mod incoming;
mod layout;
mod parts;
mod ranges;
mod sweep;

pub use catalog::{
    adopt, check_touched, empty, find, load, mark_verified, missing, protect, publish, register,
    unregister, verify,
};
pub use folder::import;
pub use incoming::{Claim, Incoming, Place, arrived};
pub use layout::{damaged, touched};
pub use parts::Parts;
pub use sweep::sweep;
