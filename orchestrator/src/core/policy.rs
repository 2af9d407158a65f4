//! Where an operator's own rules take part.

use super::ids::WorkerKey;
use super::outcome::AttemptError;
use super::schedule::{Decision, Snapshot};
use super::task::TaskView;

/// Rules over the same facts that the core decides from. They are asked while the core is held, so they answer fast; a rule
/// that cannot answer says nothing, and the core decides.
pub trait Policy: Send {
    /// Whether a task that the core would admit is refused, and with what message.
    fn refuses(&mut self, snapshot: &Snapshot<'_>, task: &TaskView) -> Option<String>;

    /// Which worker takes the task, instead of the one with the best score. One that cannot take it is not heard.
    fn choose(
        &mut self,
        snapshot: &Snapshot<'_>,
        task: &TaskView,
        decision: &Decision,
    ) -> Option<WorkerKey>;

    /// Whether a failed attempt that could be repeated is.
    fn repeats(
        &mut self,
        snapshot: &Snapshot<'_>,
        task: &TaskView,
        error: &AttemptError,
    ) -> Option<bool>;
}

/// No rules: the core decides.
#[derive(Debug, Clone, Copy, Default)]
pub struct BuiltIn;

impl Policy for BuiltIn {
    fn refuses(&mut self, _: &Snapshot<'_>, _: &TaskView) -> Option<String> {
        None
    }

    fn choose(&mut self, _: &Snapshot<'_>, _: &TaskView, _: &Decision) -> Option<WorkerKey> {
        None
    }

    fn repeats(&mut self, _: &Snapshot<'_>, _: &TaskView, _: &AttemptError) -> Option<bool> {
        None
    }
}
