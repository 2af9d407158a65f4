//! Who hears of a run in the place of bars and lines.

use std::fmt::Debug;

use reconciler::plan::Action;

/// Shows the actions in a way of its own.
pub trait Follow: Debug + Send + Sync {
    fn hear(&self, action: &Action, news: News);

    /// A line that stays.
    fn line(&self, text: &str);
}

/// What is new of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    Begun,
    /// So many of so many bytes are there.
    Bytes {
        done: u64,
        total: u64,
    },
    /// It said what it does.
    Said,
    /// Done, or failed.
    Over,
}
