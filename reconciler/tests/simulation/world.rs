//! What applying a plan does.

use std::collections::{BTreeMap, BTreeSet};

use pool_core::address::WorkerAddress;
use pool_core::device::Device;
use pool_core::digest::Sha256;
use pool_core::fit::Estimate;
use pool_core::model::ModelFile;
use pool_core::name::{FleetName, ModelId, PoolName};
use pool_core::observation::{
    DeviceInfo, ObservedLink, ObservedModel, ObservedOrchestrator, ObservedWorker,
};
use pool_core::registration::BaseUrl;
use pool_core::rpc::Subject;
use pool_core::source::Source;
use pool_core::worker::{WorkerSpec, WorkerState};
use reconciler::observed::{Observed, PoolState};
use reconciler::plan::{Action, ActionId, ActionKind, Bill, FetchFile, Plan, Supply, Token};

use super::disk::Disk;
use super::{FLEET, entry, fresh, observed_orchestrator, observed_worker};

/// What is free of a device.
fn memory(devices: &mut [DeviceInfo], device: Device) -> &mut u64 {
    let mut devices = devices.iter_mut();
    let info = devices.find(|info| info.device == device);
    &mut info.expect("the pool has the device").memory.available
}

/// Pools that do what actions say.
pub struct Simulation {
    pub observed: Observed,
    disks: BTreeMap<PoolName, Disk>,
    /// What was brought to each pool that a plan could know to be missing.
    pub brought: BTreeMap<PoolName, Bill>,
    undone: BTreeSet<ActionId>,
    spawned: usize,
}

impl Simulation {
    pub fn new(observed: Observed) -> Self {
        let known = observed
            .pools
            .iter()
            .filter_map(|(pool, state)| match state {
                PoolState::Known(seen) => Some((pool.clone(), Disk::of(seen))),
                _ => None,
            });
        Self {
            disks: known.collect(),
            observed,
            brought: BTreeMap::new(),
            undone: BTreeSet::new(),
            spawned: 0,
        }
    }

    /// Carries the plan out; an action that fails does nothing, and those that need it are not begun.
    /// Returns what was not done.
    pub fn apply(&mut self, plan: &Plan, succeeds: impl Fn(&Action) -> bool) -> BTreeSet<ActionId> {
        for action in &plan.actions {
            self.apply_one(plan, action, &succeeds);
        }
        std::mem::take(&mut self.undone)
    }

    pub fn apply_one(&mut self, plan: &Plan, action: &Action, succeeds: &dyn Fn(&Action) -> bool) {
        let possible = action.needs.iter().all(|need| !self.undone.contains(need));
        if !possible || !succeeds(action) {
            self.undone.insert(action.id);
            return;
        }
        let state = self
            .observed
            .pools
            .get_mut(&action.pool)
            .expect("the pool was asked");
        if let ActionKind::Install { to, .. } = &action.kind {
            match state {
                PoolState::Known(seen) => seen.build = Some(*to),
                PoolState::Bare(bare) => {
                    *state = fresh(bare, *to);
                    let PoolState::Known(seen) = state else {
                        unreachable!("a fresh pool is known");
                    };
                    let disk = Disk::of(seen);
                    self.disks.insert(action.pool.clone(), disk);
                }
                PoolState::Unknown(_) => panic!("{action:?} on an unknown pool"),
            }
            return;
        }
        if let ActionKind::Link {
            orchestrator,
            token,
        } = &action.kind
        {
            let link = self.link(plan, &action.pool, orchestrator.clone(), token);
            if let Some(PoolState::Known(seen)) = self.observed.pools.get_mut(&action.pool) {
                seen.links.insert(plan.fleet.clone(), link);
            }
            return;
        }
        let PoolState::Known(seen) = state else {
            panic!("{action:?} without a hive");
        };
        match &action.kind {
            ActionKind::Install { .. } | ActionKind::Link { .. } => {}
            ActionKind::Unlink => {
                let is_ours = |fleet: Option<&FleetName>| fleet == Some(&plan.fleet);
                let mut workers = seen.workers.iter().map(|seen| &seen.record.spec.fleet);
                let left = workers.any(|fleet| is_ours(fleet.as_ref()));
                let mut all = seen.orchestrators.iter();
                assert!(
                    !left && !all.any(|seen| is_ours(Some(&seen.record.spec.fleet))),
                    "{action:?} from under somebody"
                );
                seen.links.remove(&plan.fleet).expect("there is a link");
            }
            ActionKind::Configure { file, digest, .. } => {
                let of_fleet = seen.configs.entry(plan.fleet.clone()).or_default();
                assert_ne!(of_fleet.insert(*file, *digest), Some(*digest), "{action:?}");
            }
            ActionKind::StartOrchestrator { spec, replaces } => {
                let given = seen.configs.get(&plan.fleet);
                let has = |file| given.is_some_and(|given| given.contains_key(file));
                assert!(spec.files.iter().all(has), "{action:?} without its files");
                assert!(
                    seen.links.contains_key(&plan.fleet),
                    "{action:?} without a token"
                );
                let is_ours = |seen: &ObservedOrchestrator| seen.record.spec.fleet == plan.fleet;
                let runs = seen
                    .orchestrators
                    .iter()
                    .find(|seen| is_ours(seen) && seen.alive);
                let is_starting =
                    runs.is_some_and(|seen| seen.record.state == WorkerState::Starting);
                assert!(runs.is_some() == *replaces || is_starting, "{action:?}");
                seen.orchestrators.retain(|seen| !is_ours(seen));
                let mut others = seen.orchestrators.iter();
                let in_the_way =
                    others.any(|other| other.alive && other.record.spec.is_in_the_way_of(spec));
                assert!(!in_the_way, "{action:?} where another listens");
                let started = observed_orchestrator((**spec).clone(), seen.build);
                seen.orchestrators.push(started);
            }
            ActionKind::StopOrchestrator => {
                let before = seen.orchestrators.len();
                seen.orchestrators
                    .retain(|seen| seen.record.spec.fleet != plan.fleet);
                assert_eq!(before, seen.orchestrators.len() + 1, "{action:?}");
                seen.configs.remove(&plan.fleet);
            }
            ActionKind::Register {
                model,
                manifest,
                protect,
                ..
            } => {
                let place = seen.models.iter().position(|seen| seen.entry.id == *model);
                let old = place.map(|place| seen.models.swap_remove(place));
                let mut entry = entry(model, manifest, Some(plan.fleet.clone()));
                entry.protect = *protect;
                entry.downloaded = old.is_some_and(|old| {
                    old.entry.downloaded
                        && old.damaged.is_empty()
                        && old.entry.digest == entry.digest
                });
                seen.models.push(ObservedModel {
                    entry,
                    damaged: Vec::new(),
                    touched: Vec::new(),
                });
                self.retell(&action.pool);
            }
            ActionKind::Fetch {
                model,
                source,
                files,
                ..
            } => {
                let found = seen.models.iter_mut().find(|seen| seen.entry.id == *model);
                let entry = &mut found.expect("registered before").entry;
                entry.downloaded = true;
                let needed = entry.manifest().files;
                for file in needed {
                    self.bring(&action.pool, source, &file, files);
                }
                self.retell(&action.pool);
            }
            ActionKind::Spawn { spec, protect, .. } => {
                let model = seen
                    .models
                    .iter()
                    .find(|seen| seen.entry.id == spec.model)
                    .expect("brought before");
                assert!(
                    model.is_whole() && model.entry.digest == spec.model_digest,
                    "{action:?}: {model:?}"
                );
                let same = |seen: &&mut ObservedWorker| {
                    seen.alive
                        && seen.record.spec_hash == spec.hash()
                        && seen.record.state == WorkerState::Starting
                };
                if let Some(starting) = seen.workers.iter_mut().find(same) {
                    (starting.answers, starting.record.state) = (true, WorkerState::Ready);
                    starting.record.protect = *protect;
                } else {
                    self.spawned += 1;
                    let id = format!("spawned{}", self.spawned);
                    let need = Estimate::of(&model.entry.manifest(), spec, Some(8)).bytes;
                    let memory = memory(&mut seen.devices, spec.device);
                    *memory = memory
                        .checked_sub(need)
                        .unwrap_or_else(|| panic!("{action:?} does not fit {memory} bytes"));
                    let mut worker =
                        observed_worker(&id, (**spec).clone(), WorkerState::Ready, true, true);
                    (worker.record.memory, worker.record.protect) = (Some(need), *protect);
                    seen.workers.push(worker);
                }
            }
            ActionKind::Stop {
                worker, for_spawn, ..
            } => {
                let mut ids = seen.workers.iter().map(|seen| &seen.record.id);
                let place = ids.position(|id| id == worker);
                let place = place.unwrap_or_else(|| panic!("{action:?} stops nothing"));
                let stopped = seen.workers.remove(place);
                // A hive would refuse.
                let address = &stopped.record.spec.address;
                let is_replaced = |other: &ObservedWorker| {
                    other.record.spec.address == *address && other.is_serving()
                };
                assert!(
                    !stopped.record.protect
                        || !stopped.alive
                        || *for_spawn
                        || seen.workers.iter().any(is_replaced),
                    "{action:?} stops what is protected"
                );
                if stopped.alive {
                    let held = stopped.record.memory.unwrap_or_default();
                    *memory(&mut seen.devices, stopped.record.spec.device) += held;
                }
            }
            ActionKind::Update {
                subject, protect, ..
            } => match subject {
                Subject::Model(model) => {
                    let mut models = seen.models.iter_mut();
                    let found = models.find(|seen| seen.entry.id == *model);
                    found.expect("the model is there").entry.protect = *protect;
                }
                Subject::Worker(worker) => {
                    let mut workers = seen.workers.iter_mut();
                    let found = workers.find(|seen| seen.record.id == *worker);
                    found.expect("the worker is there").record.protect = *protect;
                }
            },
            ActionKind::Unregister { model, .. } => {
                let used = seen
                    .workers
                    .iter()
                    .any(|worker| worker.alive && worker.record.spec.model == *model);
                assert!(!used, "{action:?} takes the files of a running worker");
                seen.models.retain(|seen| seen.entry.id != *model);
                self.retell(&action.pool);
            }
        }
    }

    /// As hives do: a token comes from another pool, stays, or is made.
    fn link(
        &self,
        plan: &Plan,
        pool: &PoolName,
        orchestrator: Option<BaseUrl>,
        token: &Token,
    ) -> ObservedLink {
        let of = |pool: &PoolName| match self.observed.pools.get(pool) {
            Some(PoolState::Known(seen)) => seen.links.get(&plan.fleet).map(|link| link.token),
            _ => panic!("a link on a pool without a hive"),
        };
        let token = match token {
            Token::Of(giver) => of(giver).expect("the giver has a token"),
            Token::Own => of(pool).unwrap_or_else(|| Sha256::of("made")),
        };
        ObservedLink {
            orchestrator,
            token,
        }
    }

    /// As a hive does: what is here is read where it was touched, and what is not here comes from the pool
    /// that the plan names when that has it at this moment, else from the source.
    fn bring(&mut self, pool: &PoolName, source: &Source, file: &ModelFile, named: &[FetchFile]) {
        let has = |disk: &Disk| disk.whole.contains(&file.sha256);
        let named = named.iter().find(|named| named.file.sha256 == file.sha256);
        let from_pool = match named.map(|named| &named.from) {
            Some(Supply::Pool(giver)) => self.disks.get(giver).is_some_and(has),
            _ => false,
        };
        let disk = self.disks.get_mut(pool).expect("the pool has a hive");
        if has(disk) {
            return;
        }
        disk.whole.insert(file.sha256);
        if disk.touched.remove(&file.sha256) {
            // Found right, or taken away and brought again: no plan knows which.
            return;
        }
        disk.free = disk
            .free
            .checked_sub(file.size)
            .expect("there is disk for what a plan brings");
        let brought = self.brought.entry(pool.clone()).or_default();
        *match (from_pool, source) {
            (true, _) => &mut brought.from_pools,
            (false, Source::Hub { .. }) => &mut brought.from_hub,
            (false, Source::Folder(_)) => &mut brought.from_operator,
        } += file.size;
    }

    /// Takes away what the pool no longer needs, and makes its hive say what is there.
    fn retell(&mut self, pool: &PoolName) {
        let disk = self.disks.get_mut(pool).expect("the pool has a hive");
        if let Some(PoolState::Known(seen)) = self.observed.pools.get_mut(pool) {
            disk.sweep(seen);
            disk.tell(seen);
        }
    }

    /// How many workers of the fleet serve this model.
    pub fn serving(&self, model: &ModelId) -> usize {
        let seen = self
            .observed
            .pools
            .values()
            .filter_map(|state| match state {
                PoolState::Known(seen) => Some(seen),
                _ => None,
            });
        let workers = seen.flat_map(|seen| &seen.workers);
        let serving = workers.filter(|worker| {
            let WorkerSpec {
                model: of, fleet, ..
            } = &worker.record.spec;
            let is_ours = fleet.as_ref().is_some_and(|fleet| fleet.as_str() == FLEET);
            worker.is_serving() && is_ours && of == model
        });
        serving.count()
    }

    /// A worker of the fleet answers at this address.
    pub fn serves(&self, address: &WorkerAddress) -> bool {
        let Some(PoolState::Known(seen)) = self.observed.pools.get(&address.pool) else {
            return false;
        };
        seen.workers.iter().any(|worker| {
            let spec = &worker.record.spec;
            worker.is_serving()
                && spec.address.as_ref() == Some(address)
                && spec
                    .fleet
                    .as_ref()
                    .is_some_and(|fleet| fleet.as_str() == FLEET)
        })
    }
}
