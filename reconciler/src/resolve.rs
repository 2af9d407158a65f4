//! A fleet as written to the state it asks for: every pattern, default and count spelled out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pool_core::DEFAULT_SLOTS;
use pool_core::address::WorkerAddress;
use pool_core::digest::Sha256;
use pool_core::name::{ModelId, WorkerName};
use pool_core::orchestrator::ConfigFile;
use pool_core::worker::Canary;

use crate::desired::{Builds, Content, Desired, DesiredModel, DesiredPool, DesiredWorker, Purpose};
use crate::fleet::{Connect, Fleet, Model, Spanned, Worker, WorkerModels};
use crate::problem::Problem;

mod orchestrator;

/// What fleet.yaml does not hold and its resolution needs.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// For each model its files, or why they are not known.
    pub contents: BTreeMap<ModelId, Result<Content, String>>,
    pub builds: Builds,
    /// The digests of the files that the orchestrator is given.
    pub configs: BTreeMap<ConfigFile, Sha256>,
    /// The models whose ephemeral workers are wanted.
    pub tested: BTreeSet<ModelId>,
}

/// Most tokens of the answer to a canary that does not say.
const CANARY_TOKENS: u32 = 16;

/// For each model its files, of which all pools share one copy, or why they are not known.
type Contents<'a> = BTreeMap<&'a ModelId, Result<Arc<Content>, String>>;

/// Spells the fleet out. Fails with what contradicts the models' own files.
pub fn resolve(fleet: &Fleet, known: &Known) -> Result<Desired, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut desired = Desired {
        fleet: fleet.name.value.clone(),
        purpose: Purpose::Apply,
        builds: known.builds.clone(),
        declared: fleet
            .models
            .iter()
            .map(|(id, model)| (id.clone(), is_set(model.protect.as_ref())))
            .collect(),
        pools: fleet
            .pools
            .iter()
            .map(|(name, pool)| {
                let desired = DesiredPool {
                    is_local: pool.connect.value == Connect::Local,
                    ..DesiredPool::default()
                };
                (name.clone(), desired)
            })
            .collect(),
        home: None,
        warnings: Vec::new(),
    };
    let contents = known.contents.iter().map(|(id, content)| {
        let content = content.clone().map(Arc::new);
        (id, content)
    });
    let contents: Contents = contents.collect();
    for (name, worker) in &fleet.workers {
        for model in worker.models.all() {
            if let Some(problem) = context_problem(name, worker, model, &contents) {
                problems.push(problem);
                continue;
            }
            if worker.is_ephemeral() && !known.tested.contains(&model.value) {
                continue;
            }
            place(&mut desired, fleet, &contents, name, worker, model);
        }
    }
    orchestrator::place(&mut desired, fleet, &known.configs);
    if problems.is_empty() {
        Ok(desired)
    } else {
        Err(problems)
    }
}

/// Puts the model's workers on every device that `on` matches.
fn place(
    desired: &mut Desired,
    fleet: &Fleet,
    contents: &Contents,
    name: &WorkerName,
    worker: &Worker,
    model: &ModelId,
) {
    let Some(declared) = fleet.models.get(model) else {
        return;
    };
    let defaults = &fleet.defaults.worker;
    let value = |own: &Option<Spanned<u32>>, default: &Option<Spanned<u32>>| {
        own.as_ref().or(default.as_ref()).map(|value| value.value)
    };
    let content = match contents.get(model) {
        Some(content) => content.clone(),
        None => Err("its files were not looked at".into()),
    };
    let limit = content
        .as_ref()
        .map_or(u32::MAX, |content| content.manifest.facts.context_length);
    let max_outage = declared.max_outage.as_ref().or(fleet.max_outage.as_ref());
    let max_outage_ms = max_outage.map(|max| max.value.milliseconds());
    let canary = canary(declared);
    for (pool_name, pool) in &fleet.pools {
        for device in &pool.devices {
            if !worker
                .on
                .iter()
                .any(|pattern| pattern.matches(pool_name, device.value))
            {
                continue;
            }
            let target = desired.pools.entry(pool_name.clone()).or_default();
            target
                .models
                .entry(model.clone())
                .or_insert_with(|| DesiredModel {
                    source: declared.source.value.clone(),
                    content: content.clone(),
                    protect: is_set(declared.protect.as_ref()),
                    max_outage_ms,
                });
            for ordinal in 0..worker
                .replicas
                .as_ref()
                .map_or(1, |replicas| replicas.value)
            {
                let address = WorkerAddress {
                    name: name.clone(),
                    model: matches!(worker.models, WorkerModels::Matrix(_)).then(|| model.clone()),
                    pool: pool_name.clone(),
                    device: device.value,
                    ordinal,
                };
                let wanted = DesiredWorker {
                    model: model.clone(),
                    device: device.value,
                    slots: value(&worker.slots, &defaults.slots).unwrap_or(DEFAULT_SLOTS),
                    context: value(&worker.context, &defaults.context)
                        .map(|context| context.min(limit)),
                    dtype: declared
                        .dtype
                        .as_ref()
                        .map(|dtype| dtype.value)
                        .unwrap_or_default(),
                    quantize: declared.quantize.as_ref().map(|quantize| quantize.value),
                    advertise: pool.advertise.as_ref().map(|advertise| advertise.value),
                    supervise: pool
                        .supervise
                        .as_ref()
                        .map(|supervise| supervise.value)
                        .unwrap_or_default(),
                    canary: canary.clone(),
                    protect: is_set(worker.protect.as_ref()),
                    ephemeral: worker.is_ephemeral(),
                };
                target.workers.insert(address, wanted);
            }
        }
    }
}

fn is_set(flag: Option<&Spanned<bool>>) -> bool {
    flag.is_some_and(|flag| flag.value)
}

fn canary(model: &Model) -> Canary {
    let Some(canary) = &model.canary else {
        return Canary::default();
    };
    Canary {
        prompt: canary.prompt.value.clone(),
        expect: canary.expect.as_ref().map(|expect| expect.value.clone()),
        max_tokens: canary
            .max_tokens
            .as_ref()
            .map_or(CANARY_TOKENS, |most| most.value),
    }
}

/// A worker's own `context` must not pass what its model was trained for; the default is lowered.
fn context_problem(
    name: &WorkerName,
    worker: &Worker,
    model: &ModelId,
    contents: &Contents,
) -> Option<Problem> {
    let context = worker.context.as_ref()?;
    let Some(Ok(content)) = contents.get(model) else {
        return None;
    };
    let limit = content.manifest.facts.context_length;
    (context.value > limit).then(|| {
        let asked = context.value;
        let message = format!(
            "worker `{name}` asks for a context of {asked} tokens, model `{model}` has {limit}"
        );
        Problem::new(context.span, message)
            .with_hint(format!("write `context: {limit}` or less, or leave it out"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ephemeral_workers_are_wanted_only_where_their_models_are_asked_for() {
        let text = "version: 1\nfleet: home\npools: { here: { connect: local, devices: [cpu] } }\n\
                    models: { a: { source: ./a }, b: { source: ./b } }\nworkers:\n  \
                    chat: { model: a, on: [here/cpu] }\n  \
                    one: { model: a, on: [here/cpu], ephemeral: true }\n  \
                    both: { models: [a, b], on: [here/cpu], ephemeral: true }\n";
        let fleet = crate::fleet::parse(text).unwrap_or_else(|problems| panic!("{problems:#?}"));
        let asked = |models: &[&str]| -> Vec<String> {
            let known = Known {
                tested: models.iter().map(|model| model.parse().unwrap()).collect(),
                ..Known::default()
            };
            let desired = resolve(&fleet, &known).unwrap();
            let workers = desired.pools.values().flat_map(|pool| &pool.workers);
            let named = workers.map(|(address, worker)| {
                assert_eq!(worker.ephemeral, address.name.as_str() != "chat");
                address.label()
            });
            named.collect()
        };
        assert_eq!(asked(&[]), ["chat"]);
        assert_eq!(asked(&["b"]), ["both.b", "chat"]);
        assert_eq!(asked(&["a", "b"]), ["both.a", "both.b", "chat", "one"]);
    }
}
