//! What happens because time passes.

use pool_core::serving::{Failure, FailureCode};

use super::Core;
use super::explain::Outcome;
use super::ids::{Now, TaskId, WorkerKey};
use super::outcome::Cancelled;
use super::worker::{Condition, WorkerView};

/// What the shell has to do or tell because time passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The time of a task was up: it has failed. If it ran, the worker must be told.
    Expired {
        task: TaskId,
        was: Cancelled,
        failure: Failure,
    },
    /// A worker was not heard of for too long. It gets nothing until it is.
    WorkerGone { worker: WorkerKey },
}

impl Core {
    /// Does what is due. Call it at the time of [`Core::next_wakeup`], then dispatch.
    pub fn tick(&mut self, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        while let Some((deadline, id)) = self.deadlines.first().cloned()
            && deadline <= now.mono_ms
        {
            let failure = Failure {
                code: FailureCode::Deadline,
                message: "the task was not done by its deadline".to_owned(),
                retriable: true,
            };
            let was = self.stop(now, &id, Outcome::Failed(failure.clone()));
            effects.push(Effect::Expired {
                task: id,
                was,
                failure,
            });
        }
        let silence = self.silence_ms();
        let mut forgotten = Vec::new();
        let workers = self.models.values_mut().flat_map(|m| &mut m.workers);
        for worker in workers.filter(|worker| worker.heard + silence <= now.mono_ms) {
            let id = worker.info.id.clone();
            if worker.condition != Condition::Gone {
                worker.condition = Condition::Gone;
                effects.push(Effect::WorkerGone { worker: id.clone() });
            }
            if worker.running == 0 && worker.heard + self.config.forget_worker_ms <= now.mono_ms {
                forgotten.push(id);
            }
        }
        for id in forgotten {
            self.forget(&id);
        }
        let late = now.mono_ms.saturating_sub(self.config.promise_grace_ms);
        let declared = &self.config.models;
        self.models.retain(|name, model| {
            model.promises.forget_before(late);
            model.expected = model.expected.filter(|it| it.until > now.mono_ms);
            let is_asked_for = model.queued() > 0 || model.promises.len() > 0;
            let is_served = !model.workers.is_empty() || model.expected.is_some();
            is_served || is_asked_for || declared.contains(name)
        });
        effects
    }

    /// When something is due next, on the clock that never goes back.
    pub fn next_wakeup(&self, now: Now) -> Option<u64> {
        let silence = self.silence_ms();
        let of_worker = |worker: &WorkerView| {
            let gone = worker.heard + silence;
            let lost = worker.heard + self.config.forget_worker_ms.max(silence);
            let is_gone = worker.condition == Condition::Gone;
            let away = match (is_gone, worker.running) {
                (true, 0) => Some(lost),
                (true, _) => None,
                (false, _) => Some(gone),
            };
            away.into_iter()
        };
        let workers = self.workers().flat_map(of_worker);
        let waiting = self.models.values().filter(|model| model.queued() > 0);
        let pauses = waiting
            .flat_map(|model| &model.workers)
            .map(|worker| worker.paused_until())
            .filter(|&until| until > now.mono_ms);
        let deadline = self.deadlines.first().map(|(deadline, _)| *deadline);
        let models = self.models.values();
        let expected = models.filter_map(|model| model.expected.map(|it| it.until));
        workers.chain(pauses).chain(deadline).chain(expected).min()
    }

    pub(super) fn silence_ms(&self) -> u64 {
        self.config.heartbeat_ms * u64::from(self.config.heartbeats_missed)
    }
}
