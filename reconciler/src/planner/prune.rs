//! Removes models that are not declared.

use pool_core::name::{ModelId, WorkerId};

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
        for (model, reason) in removed {
            let (model, bytes) = (model.entry.id.clone(), model.entry.size_bytes);
            let kind = ActionKind::Unregister { model, bytes };
            self.act_after(kind, reason.clone(), needs.clone(), after.clone());
        }
    }

    fn gives_to(&self, action: &Action) -> bool {
        let ActionKind::Fetch { files, .. } = &action.kind else {
            return false;
        };
        let ours = Supply::Pool(self.pool.clone());
        files.iter().any(|file| file.from == ours)
    }
}
