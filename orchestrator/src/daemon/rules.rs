//! The operator's script, asked by the core.

use std::path::Path;
use std::sync::Arc;

use super::shown::Shown;
use crate::core::{AttemptError, Decision, Policy, Snapshot, TaskView, WorkerKey};
use crate::metrics::Metrics;
use crate::policy::{Admission, Hook, Policy as Script, PolicyError, ScriptFault, View};
use crate::reload::Reloaded;

/// A script that is read again when it changes. Where it fails, the core decides, and that is counted.
#[derive(Clone)]
pub struct Rules {
    script: Arc<Reloaded<Script, PolicyError>>,
    metrics: Arc<Metrics>,
    shown: Shown,
}

impl Rules {
    pub fn open(path: &Path, metrics: Arc<Metrics>) -> Result<Self, PolicyError> {
        let script = Arc::new(Reloaded::open(path, Script::read)?);
        Ok(Self {
            script,
            metrics,
            shown: Shown::default(),
        })
    }

    /// Looks at the file, about once a second.
    pub fn poll(&self) {
        self.script.poll();
    }

    /// What a hook says, where the script has it.
    fn ask<T>(
        &mut self,
        hook: Hook,
        snapshot: &Snapshot<'_>,
        task: &TaskView,
        answer: impl FnOnce(&Script, &View, &View) -> Result<Option<T>, ScriptFault>,
    ) -> Option<T> {
        let script = self.script.get();
        if !script.has(hook) {
            return None;
        }
        let snapshot = self.shown.snapshot(snapshot, task);
        let views = snapshot.and_then(|snapshot| Ok((snapshot, View::of(task)?)));
        let answer = match views {
            Ok((snapshot, task)) => {
                answer(&script, &snapshot, &task).map_err(|fault| fault.to_string())
            }
            Err(error) => Err(error.to_string()),
        };
        answer.unwrap_or_else(|fault| {
            tracing::warn!(%fault, "policy");
            self.metrics.policy_fault(hook.as_str());
            None
        })
    }
}

impl Policy for Rules {
    fn refuses(&mut self, snapshot: &Snapshot<'_>, task: &TaskView) -> Option<String> {
        let admission = self.ask(Hook::Admit, snapshot, task, Script::admit)?;
        match admission {
            Admission::Admitted => None,
            Admission::Refused(message) => Some(message),
        }
    }

    fn choose(
        &mut self,
        snapshot: &Snapshot<'_>,
        task: &TaskView,
        _: &Decision,
    ) -> Option<WorkerKey> {
        let worker = self.ask(Hook::Schedule, snapshot, task, Script::schedule)?;
        Some(worker.into())
    }

    fn repeats(
        &mut self,
        snapshot: &Snapshot<'_>,
        task: &TaskView,
        error: &AttemptError,
    ) -> Option<bool> {
        self.ask(Hook::Retry, snapshot, task, |script, snapshot, task| {
            let wrong = |error: crate::policy::Unviewable| ScriptFault {
                hook: Hook::Retry,
                kind: crate::policy::FaultKind::Failed,
                message: error.to_string(),
            };
            script.retry(snapshot, task, &View::of(error).map_err(wrong)?)
        })
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
