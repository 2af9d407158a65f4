//! Removes models that are not declared.

use std::collections::BTreeSet;

use pool_core::digest::Sha256;
use pool_core::name::{ModelId, WorkerId};
use pool_core::observation::ObservedModel;

use super::PoolPlanner;
use crate::plan::{Action, ActionId, ActionKind, Supply};

impl PoolPlanner<'_, '_> {
    /// After the pool's programs and every stop on it are done, and every fetch that has to do with the pool
    /// is over. A model that a worker goes on serving stays.
    pub(super) fn prune(mut self) {
        let mut needs: Vec<ActionId> = Vec::new();
        let mut after: Vec<ActionId> = Vec::new();
        let mut stopped: Vec<WorkerId> = Vec::new();
        for action in &self.plan.actions {
            let is_here = action.pool == *self.pool;
            match &action.kind {
                ActionKind::Install { .. } if is_here => needs.push(action.id),
                ActionKind::Stop { worker, .. } if is_here => {
                    needs.push(action.id);
                    stopped.push(worker.clone());
                }
                ActionKind::Fetch { .. } if is_here || self.gives_to(action) => {
                    after.push(action.id);
                }
                _ => {}
            }
        }
        let stays = |model: &ModelId| {
            let mut users = self.drift.running.iter().filter(|(_, used)| used == model);
            users.any(|(worker, _)| !stopped.contains(worker))
        };
        let (kept, removed): (Vec<_>, Vec<_>) = self
            .drift
            .extra_models
            .iter()
            .partition(|(model, _)| stays(&model.entry.id));
        for (model, _) in kept {
            let (model, pool) = (&model.entry.id, self.pool);
            self.plan.warnings.push(format!(
                "model {model} stays on {pool}: a worker goes on serving it"
            ));
        }
        let mut going: Vec<&ModelId> = Vec::new();
        for (model, reason) in removed {
            going.push(&model.entry.id);
            let (model, bytes) = (model.entry.id.clone(), self.frees(model, &going));
            let kind = ActionKind::Unregister { model, bytes };
            self.act_after(kind, reason.clone(), needs.clone(), after.clone());
        }
    }

    /// Bytes of the contents of a model that are there, and that no model names which is not `going` too.
    fn frees(&self, model: &ObservedModel, going: &[&ModelId]) -> u64 {
        let stays = |sha256: &Sha256| {
            let mut others = self.drift.named.iter();
            others.any(|(other, names)| !going.contains(&other) && names.contains(sha256))
        };
        let mut seen = BTreeSet::new();
        let files = model.entry.files.iter().map(|file| &file.file);
        files
            .filter(|file| self.drift.contents.contains(&file.sha256) && !stays(&file.sha256))
            .filter(|file| seen.insert(file.sha256))
            .map(|file| file.size)
            .sum()
    }

    /// Says what `prune` would remove.
    pub(super) fn leave(&mut self) {
        let ids: Vec<&ModelId> = self
            .drift
            .extra_models
            .iter()
            .map(|(model, _)| &model.entry.id)
            .collect();
        if ids.is_empty() {
            return;
        }
        let names: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
        let pool = self.pool;
        self.plan.warnings.push(format!(
            "the fleet no longer uses {} on {pool}: `--prune-models` removes what nothing uses",
            names.join(", ")
        ));
    }

    fn gives_to(&self, action: &Action) -> bool {
        let ActionKind::Fetch { files, .. } = &action.kind else {
            return false;
        };
        let ours = Supply::Pool(self.pool.clone());
        files.iter().any(|file| file.from == ours)
    }
}
