//! The workers: how they come, how they are, how they go.

use pool_core::name::ModelId;

use super::Core;
use super::ids::{Now, WorkerKey};
use super::worker::{Condition, Worker, WorkerInfo, WorkerView};

impl Core {
    /// A worker registers, or tells that it lives. It counts as loading until a probe found it ready. True: it was not known
    /// before, or was gone; probe it now.
    pub fn heartbeat(&mut self, now: Now, info: WorkerInfo) -> bool {
        if self.workers.get(&info.id).is_some_and(|m| *m != info.model) {
            self.forget(&info.id);
        }
        self.workers.insert(info.id.clone(), info.model.clone());
        let model = self.models.entry(info.model.clone()).or_default();
        let found = model
            .workers
            .binary_search_by(|worker| worker.info.id.cmp(&info.id));
        match found {
            Ok(at) => {
                let worker = &mut model.workers[at];
                worker.foreign = info.busy.saturating_sub(worker.running);
                worker.info = info;
                worker.heard = now.mono_ms;
                let was_gone = worker.condition == Condition::Gone;
                if was_gone {
                    worker.condition = Condition::Loading;
                }
                was_gone
            }
            Err(at) => {
                let worker = Worker::new(info, Condition::Loading, now.mono_ms);
                model.workers.insert(at, worker);
                true
            }
        }
    }

    /// What a probe of `/ready` found. Every answer shows that the worker lives.
    pub fn probed(&mut self, now: Now, id: &WorkerKey, found: Condition) {
        if let Some(worker) = self.worker_mut(id) {
            if found.is_answer() {
                worker.heard = now.mono_ms;
            } else if worker.condition == Condition::Gone {
                return;
            }
            worker.condition = found;
        }
    }

    /// Gives a worker nothing more, or something again. What runs on it goes on. False: there is no such worker.
    pub fn drain_worker(&mut self, id: &WorkerKey, drained: bool) -> bool {
        let worker = self.worker_mut(id);
        worker.map(|worker| worker.drained = drained).is_some()
    }

    /// A worker said that it ends, or is not wanted any more. Tasks that run on it end when their streams do.
    pub fn forget(&mut self, id: &WorkerKey) {
        if let Some(name) = self.workers.remove(id)
            && let Some(model) = self.models.get_mut(&name)
        {
            model.workers.retain(|worker| worker.info.id != *id);
        }
    }

    /// All workers, by model and key.
    pub fn workers(&self) -> impl Iterator<Item = &WorkerView> {
        let workers = self.models.values().flat_map(|model| &model.workers);
        workers.map(|worker| &**worker)
    }

    pub fn worker(&self, id: &WorkerKey) -> Option<&WorkerView> {
        let model = self.models.get(self.workers.get(id)?)?;
        let mut workers = model.workers.iter();
        workers
            .find(|worker| worker.info.id == *id)
            .map(|worker| &**worker)
    }

    /// The models that are declared or were served lately, and whether something serves them.
    pub fn models(&self) -> impl Iterator<Item = (&ModelId, bool)> {
        let serves = |model: &super::model::Model| model.context_length().is_some();
        self.models
            .iter()
            .map(move |(name, model)| (name, serves(model)))
    }

    fn worker_mut(&mut self, id: &WorkerKey) -> Option<&mut Worker> {
        self.models.get_mut(self.workers.get(id)?)?.worker(id)
    }
}

impl Condition {
    fn is_answer(self) -> bool {
        matches!(self, Self::Ready | Self::Loading | Self::Draining)
    }
}
