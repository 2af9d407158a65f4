//! Gives tasks that wait to workers that have a slot for them.

use pool_core::name::ModelId;

use super::Core;
use super::explain::Attempt;
use super::ids::{Now, TaskId, WorkerKey};
use super::model::next_class;
use super::schedule::{Decision, schedule};
use super::task::{Place, Priority, Running};

/// A task that goes to a worker now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatch {
    pub task: TaskId,
    pub worker: WorkerKey,
    /// Where the worker listens.
    pub url: String,
    /// Counts the attempts of the task from 1; every report on the attempt names it.
    pub attempt: u32,
    /// Milliseconds that the task waited since its submission.
    pub waited_ms: u64,
}

/// Tasks that no free worker can take, and that others may pass in one go. A task that needs what is not free is asked again
/// before those that passed it, so nobody takes from it what it waits for.
const PASSED_OVER: usize = 32;

impl Core {
    /// Assigns as many tasks as there are slots for. Call it after whatever may have made one possible: a task that came, an
    /// attempt that ended, a worker that became ready, a wake-up.
    pub fn dispatch(&mut self, now: Now) -> Vec<Dispatch> {
        let mut dispatched = Vec::new();
        let models: Vec<_> = self.models.keys().cloned().collect();
        for name in models {
            self.dispatch_model(now, &name, &mut dispatched);
        }
        dispatched
    }

    fn dispatch_model(&mut self, now: Now, name: &ModelId, dispatched: &mut Vec<Dispatch>) {
        let Some(model) = self.models.get(name) else {
            return;
        };
        let mut free = model.free_slots(now.mono_ms) as usize;
        if free == 0 {
            return;
        }
        let first = |class| {
            let order = model.queue(class).order().take(free + PASSED_OVER);
            let cloned = order.map(|(tenant, task)| (tenant.clone(), task.clone()));
            cloned.collect::<Vec<_>>().into_iter().peekable()
        };
        let (mut interactive, mut batch) = (first(Priority::Interactive), first(Priority::Batch));
        let share = self.config.interactive_per_batch;
        while free > 0
            && let Some(model) = self.models.get(name)
        {
            let waits = (interactive.peek().is_some(), batch.peek().is_some());
            let class = next_class(model.passed, share, waits);
            let next = match class {
                Priority::Interactive => interactive.next(),
                Priority::Batch => batch.next(),
            };
            let Some((tenant, task)) = next else {
                return;
            };
            let Some((worker, decision)) = self.decide(now, &task.id) else {
                continue;
            };
            if let Some(model) = self.models.get_mut(name) {
                model.take(now.mono_ms, class, &tenant, &task);
            }
            dispatched.extend(self.assign(now, task.id, worker, decision));
            free -= 1;
        }
    }

    fn decide(&mut self, now: Now, id: &TaskId) -> Option<(WorkerKey, Decision)> {
        let task = self.tasks.get(id)?;
        let model = self.models.get(&task.view.model)?;
        let snapshot = model.snapshot(now, &task.view.model, &self.config);
        let mut decision = schedule(&snapshot, &task.view);
        let built_in = decision.worker.clone()?;
        let chosen = self.policy.choose(&snapshot, &task.view, &decision);
        let mut open = decision.candidates.iter().filter(|c| c.filtered.is_none());
        let worker = chosen.filter(|chosen| open.any(|c| c.worker == *chosen));
        decision.by_policy = worker.is_some();
        let worker = worker.unwrap_or(built_in);
        decision.worker = Some(worker.clone());
        Some((worker, decision))
    }

    fn assign(
        &mut self,
        now: Now,
        id: TaskId,
        worker: WorkerKey,
        decision: Decision,
    ) -> Option<Dispatch> {
        let task = self.tasks.get_mut(&id)?;
        let model = self.models.get_mut(&task.view.model)?;
        let at = model.workers.iter().position(|w| w.info.id == worker)?;
        model.last = at;
        let view = &mut model.workers[at];
        view.running += 1;
        view.tokens += task.view.cost();
        view.breaker.begin();
        let hashes = task.view.prefixes.iter().chain(&task.view.session);
        hashes.for_each(|&hash| view.warm.add(hash));
        let url = view.info.url.clone();
        task.view.attempts += 1;
        task.place = Place::Running(Running {
            worker: worker.clone(),
            since: now.mono_ms,
            passed_on: false,
            tokens: 0,
            started: false,
        });
        let waited_ms = now.mono_ms.saturating_sub(task.submitted);
        let attempt = task.view.attempts;
        task.note(Attempt {
            number: attempt,
            worker: worker.clone(),
            at_ms: waited_ms,
            decision,
            error: None,
        });
        Some(Dispatch {
            task: id,
            worker,
            url,
            attempt,
            waited_ms,
        })
    }
}
