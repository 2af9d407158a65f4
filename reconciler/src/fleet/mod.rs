//! fleet.yaml: its text to a [`Fleet`], or all of its problems at once.
//!
//! The text becomes a tree of nodes that know their places (`yaml`, `node`), the tree becomes typed
//! values (`read`, with the tools of `field`, `fields` and `text`), and `links` checks what one part
//! says of another. None of them stops at a mistake, except where the text is not YAML. [`schema()`]
//! is the same format for editors; its keys and those that are read are held equal by a test.

mod connect;
mod duration;
mod field;
mod fields;
mod links;
mod node;
mod read;
mod schema;
mod span;
pub(crate) mod suggest;
mod syntax;
mod text;
mod types;
mod value;
mod yaml;

pub use connect::{Connect, InvalidConnect, SshDestination};
pub use duration::{Duration, InvalidDuration};
pub use schema::schema;
pub use span::{Span, Spanned};
pub use types::{
    Canary, Check, Defaults, Fleet, Model, Orchestrator, Pool, Worker, WorkerDefaults, WorkerModels,
};
pub use value::{AnswerPattern, CheckName, DevicePattern, HostKeys, InvalidPattern, WorkerPattern};

use crate::problem::Problem;
use field::Problems;

/// YAML as a tree that knows its places, anchors and merge keys resolved: other programs' files are read with it too.
pub mod tree {
    pub use super::node::{Entry, Node, Value};
    pub use super::yaml::read;
}

/// Reads the text of a fleet.yaml. Fails with all its problems, at least one, ordered by place.
pub fn parse(text: &str) -> Result<Fleet, Vec<Problem>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (root, found) = yaml::read(text).map_err(|problem| vec![problem])?;
    let mut problems = Problems(found);
    let root = root.filter(|root| !root.is_null());
    let fleet = root.and_then(|root| read::fleet(&root, &mut problems));
    let mut problems = problems.0;
    if fleet.is_none() && problems.is_empty() {
        let start = span::Lines::new(text).span(0, 0);
        let hint = "`rbee init` writes a first fleet.yaml";
        problems.push(Problem::new(start, "the file is empty").with_hint(hint));
    }
    // An alias repeats the mistakes of what it stands for.
    problems.sort();
    problems.dedup();
    match fleet {
        Some(fleet) if problems.is_empty() => Ok(fleet),
        _ => Err(problems),
    }
}
