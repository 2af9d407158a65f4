//! Removes models that are not declared.

use std::collections::{BTreeMap, BTreeSet};

use pool_core::digest::Sha256;
use pool_core::facts::{self, About};
use pool_core::name::{ModelId, PoolName, WorkerId};
use pool_core::observation::ObservedModel;

use super::PoolPlanner;
use crate::diff::{Drift, PoolDrift};
use crate::plan::{Action, ActionId, ActionKind, Plan, Supply};

/// What a plan does on one pool, as far as removing its models has to do with it.
#[derive(Default)]
pub(super) struct Done {
    /// Its programs, its stops, and its spawns that bring back what they replace when they fail.
    needs: Vec<ActionId>,
    /// The fetches that bring to it or take from it.
    fetches: BTreeSet<ActionId>,
    stopped: BTreeSet<WorkerId>,
}

impl Done {
    /// For each pool that has models which are not declared.
    pub fn of(plan: &Plan, drift: &Drift) -> BTreeMap<PoolName, Self> {
        let extra = drift.pools.iter().filter(|(_, drift)| {
            matches!(drift, PoolDrift::Known(known) if !known.extra_models.is_empty())
        });
        let mut pools: BTreeMap<PoolName, Self> = extra
            .map(|(pool, _)| (pool.clone(), Self::default()))
            .collect();
        for action in &plan.actions {
            for giver in givers(action) {
                if let Some(done) = pools.get_mut(giver) {
                    done.fetches.insert(action.id);
                }
            }
            let Some(done) = pools.get_mut(&action.pool) else {
                continue;
            };
            match &action.kind {
                ActionKind::Install { .. }
                | ActionKind::Spawn {
                    restore: Some(_), ..
                } => done.needs.push(action.id),
                ActionKind::Stop { worker, .. } => {
                    done.needs.push(action.id);
                    done.stopped.insert(worker.clone());
                }
                ActionKind::Fetch { .. } => {
                    done.fetches.insert(action.id);
                }
                _ => {}
            }
        }
        pools
    }
}

/// The pools that a fetch takes from.
fn givers(action: &Action) -> impl Iterator<Item = &PoolName> {
    let files = match &action.kind {
        ActionKind::Fetch { files, .. } => &files[..],
        _ => &[],
    };
    files.iter().filter_map(|file| match &file.from {
        Supply::Pool(giver) => Some(giver),
        _ => None,
    })
}

impl PoolPlanner<'_, '_> {
    /// After the pool's programs and every stop on it are done, and every fetch that has to do with the pool
    /// is over. A model that a worker goes on serving stays, and so does what is protected.
    pub(super) fn prune(mut self, done: Option<&Done>) {
        for model in &self.drift.protected_models {
            self.block_protected(&format!("model {model}"));
        }
        let Some(done) = done else {
            return;
        };
        let stays = |model: &ModelId| {
            let mut users = self.drift.running.iter().filter(|(_, used)| used == model);
            let mut protected = self.drift.protected_workers.iter();
            users.any(|(worker, _)| !done.stopped.contains(worker))
                || protected.any(|worker| worker.record.spec.model == *model)
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
            let facts = self.fact(
                About::Model(model.entry.id.clone()),
                Some(facts::model(&model.entry)),
            );
            let (model, bytes) = (model.entry.id.clone(), self.frees(model, &going));
            let kind = ActionKind::Unregister { model, bytes };
            let id = self.act(kind, reason.clone(), done.needs.clone(), facts);
            self.plan.actions[id.0 as usize].after = done.fetches.iter().copied().collect();
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
    pub(super) fn leave(self) {
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
}
