//! One worker against the processes at its address.

use pool_core::address::WorkerAddress;
use pool_core::digest::Sha256;
use pool_core::facts;
use pool_core::fit::Estimate;
use pool_core::observation::ObservedWorker;
use pool_core::rpc::Subject;
use pool_core::worker::{WorkerSpec, WorkerState};

use super::{KnownDrift, OldWorker, Seen, Update, WorkerDrift};
use crate::desired::{Content, DesiredWorker};
use crate::reason::{FieldChange, Reason};

/// A worker that should be.
pub(super) struct Wanted<'a> {
    pub address: &'a WorkerAddress,
    pub spec: WorkerSpec,
    pub worker: &'a DesiredWorker,
    /// Of its model.
    pub content: &'a Content,
}

pub(super) fn diff_worker(
    drift: &mut KnownDrift,
    wanted: Wanted,
    current: &[&ObservedWorker],
    seen: &Seen,
) {
    let Wanted {
        address,
        spec,
        worker,
        content,
    } = wanted;
    let hash = spec.hash();
    let right = |worker: &&&ObservedWorker| worker.record.spec_hash == hash;
    let starting = |worker: &&&ObservedWorker| {
        right(worker) && worker.alive && worker.record.state == WorkerState::Starting
    };
    if let Some(serving) = current
        .iter()
        .find(|worker| right(worker) && worker.is_serving())
    {
        let others = current
            .iter()
            .filter(|worker| worker.record.id != serving.record.id);
        drift
            .extra_workers
            .extend(others.map(|worker| ((*worker).clone(), why_surplus(worker))));
        if serving.record.protect != worker.protect {
            drift.updates.push(Update {
                subject: Subject::Worker(serving.record.id.clone()),
                address: Some(address.clone()),
                protect: worker.protect,
                was: facts::worker(&serving.record),
            });
        }
        return;
    }
    let kept = current.iter().find(starting);
    let old: Vec<&ObservedWorker> = current
        .iter()
        .filter(|worker| kept.is_none_or(|kept| kept.record.id != worker.record.id))
        .copied()
        .collect();
    let reason = match (kept, old.iter().find(|worker| worker.alive).or(old.first())) {
        (Some(_), _) => Reason::StillStarting,
        (None, None) => Reason::NotThere,
        (None, Some(old)) => why_replaced(old, &spec, hash),
    };
    let old = old.iter().map(|worker| OldWorker {
        id: worker.record.id.clone(),
        serving: worker.is_serving(),
        frees: drift.frees(&worker.record.id),
        load_ms: load_ms(worker, content, seen),
        spec: startable(worker, seen),
        was: facts::worker(&worker.record),
    });
    let old = old.collect();
    let threads = seen.threads(address.device);
    let need = kept.is_none();
    let need = need.then(|| Estimate::of(&content.manifest, &spec, threads));
    let records = current.iter().map(|worker| &worker.record);
    let was = spec.fleet.as_ref();
    let was = was.and_then(|fleet| facts::place(fleet, address, records));
    let drifted = WorkerDrift::Spawn {
        old,
        spec: Box::new(spec),
        need,
        reason,
        canary: worker.canary.clone(),
        protect: worker.protect,
        was,
    };
    drift.workers.insert(address.clone(), drifted);
}

/// How long a worker of this content takes to load where `old` did: as long as that took, by their sizes.
fn load_ms(old: &ObservedWorker, content: &Content, seen: &Seen) -> Option<u64> {
    let measured = old.record.load_ms?;
    if old.record.spec.model_digest == content.digest() {
        return Some(measured);
    }
    let before = seen.model(old.record.spec.model_digest)?.entry.size_bytes;
    let ratio = content.manifest.size() as f64 / before.max(1) as f64;
    Some((measured as f64 * ratio).ceil() as u64)
}

/// What a worker is, where the pool has its model still as it was then.
fn startable(worker: &ObservedWorker, seen: &Seen) -> Option<Box<WorkerSpec>> {
    let spec = &worker.record.spec;
    let is_there = seen.models.iter().any(|model| {
        let entry = &model.entry;
        entry.id == spec.model && entry.digest == spec.model_digest && model.is_whole()
    });
    is_there.then(|| Box::new(spec.clone()))
}

/// Of one beside the worker that serves at its address.
fn why_surplus(worker: &ObservedWorker) -> Reason {
    match &worker.record.failure {
        _ if worker.alive => Reason::Duplicate,
        Some(cause) => Reason::Failed {
            cause: cause.clone(),
        },
        None => Reason::Died,
    }
}

fn why_replaced(old: &ObservedWorker, spec: &WorkerSpec, hash: Sha256) -> Reason {
    let record = &old.record;
    if record.spec_hash != hash {
        return Reason::Changed {
            fields: changed_fields(&record.spec, spec),
        };
    }
    match (record.state, &record.failure) {
        (WorkerState::Failed, Some(cause)) => Reason::Failed {
            cause: cause.clone(),
        },
        _ if !old.alive => Reason::Died,
        _ => Reason::NotAnswering,
    }
}

fn changed_fields(from: &WorkerSpec, to: &WorkerSpec) -> Vec<FieldChange> {
    fn change<T: PartialEq>(
        field: &str,
        [from, to]: [&T; 2],
        text: impl Fn(&T) -> String,
    ) -> Option<FieldChange> {
        (from != to).then(|| FieldChange {
            field: field.into(),
            from: text(from),
            to: text(to),
        })
    }
    fn optional<T: ToString>(value: Option<&T>) -> String {
        value.map_or_else(|| "(default)".into(), T::to_string)
    }
    let digests = [&from.model_digest, &to.model_digest];
    let supervise = [&from.supervise, &to.supervise];
    let changes = [
        change("model", [&from.model, &to.model], ToString::to_string),
        change("model_digest", digests, Sha256::short),
        change("slots", [&from.slots, &to.slots], ToString::to_string),
        change("context", [&from.context, &to.context], |value| {
            optional(value.as_ref())
        }),
        change("dtype", [&from.dtype, &to.dtype], ToString::to_string),
        change("quantize", [&from.quantize, &to.quantize], |value| {
            optional(value.as_ref())
        }),
        change("advertise", [&from.advertise, &to.advertise], |value| {
            optional(value.as_ref())
        }),
        change("supervise", supervise, ToString::to_string),
    ];
    changes.into_iter().flatten().collect()
}
