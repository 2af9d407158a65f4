//! One worker against the processes at its address.

use pool_core::address::WorkerAddress;
use pool_core::fit::Estimate;
use pool_core::observation::ObservedWorker;
use pool_core::worker::{WorkerSpec, WorkerState};

use super::{KnownDrift, OldWorker, WorkerDrift};
use crate::reason::{FieldChange, Reason};

pub(super) fn diff_worker(
    drift: &mut KnownDrift,
    address: &WorkerAddress,
    spec: WorkerSpec,
    need: Estimate,
    current: &[&ObservedWorker],
) {
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
            .extend(others.map(|worker| ((*worker).clone(), Reason::Duplicate)));
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
        (None, Some(old)) => why_replaced(old, &spec),
    };
    let old = old.iter().map(|worker| OldWorker {
        id: worker.record.id.clone(),
        serving: worker.is_serving(),
        frees: drift.frees(&worker.record.id),
    });
    let drifted = WorkerDrift::Spawn {
        old: old.collect(),
        spec: Box::new(spec),
        need: kept.is_none().then_some(need),
        reason,
    };
    drift.workers.insert(address.clone(), drifted);
}

fn why_replaced(old: &ObservedWorker, spec: &WorkerSpec) -> Reason {
    let record = &old.record;
    if record.spec_hash != spec.hash() {
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
    fn text<T: ToString>(value: Option<&T>) -> String {
        value.map_or_else(|| "(default)".into(), T::to_string)
    }
    let fields = [
        ("model", from.model.to_string(), to.model.to_string()),
        (
            "model_digest",
            from.model_digest.short(),
            to.model_digest.short(),
        ),
        ("slots", from.slots.to_string(), to.slots.to_string()),
        (
            "context",
            text(from.context.as_ref()),
            text(to.context.as_ref()),
        ),
        ("dtype", from.dtype.to_string(), to.dtype.to_string()),
        (
            "quantize",
            text(from.quantize.as_ref()),
            text(to.quantize.as_ref()),
        ),
        (
            "advertise",
            text(from.advertise.as_ref()),
            text(to.advertise.as_ref()),
        ),
    ];
    fields
        .into_iter()
        .filter(|(_, from, to)| from != to)
        .map(|(field, from, to)| FieldChange {
            field: field.into(),
            from,
            to,
        })
        .collect()
}
