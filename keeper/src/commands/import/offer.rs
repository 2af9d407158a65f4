//! What of a pool belongs to no fleet, and what of it fleet.yaml can say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use pool_core::address::WorkerAddress;
use pool_core::name::{ModelId, WorkerName};
use pool_core::observation::{ObservedModel, ObservedWorker, PoolObservation};
use pool_core::rpc::Subject;
use pool_core::weights::Dtype;
use pool_core::worker::WorkerSpec;
use serde::Serialize;

use super::draft::{Draft, Entry};
use super::yaml::scalar;
use crate::failure::Failure;

/// What becomes the fleet's.
#[derive(Debug, Clone, Serialize)]
pub struct Offer {
    #[serde(flatten)]
    pub subject: Subject,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<WorkerAddress>,
}

/// What stays as it is, and why.
#[derive(Debug, Clone, Serialize)]
pub struct Left {
    #[serde(flatten)]
    pub subject: Subject,
    pub why: String,
}

#[derive(Debug, Default, Serialize)]
pub struct Offers {
    pub adopted: Vec<Offer>,
    pub left: Vec<Left>,
}

/// What is asked for, of a pool.
pub struct Wanted<'a> {
    seen: &'a PoolObservation,
    models: Vec<&'a ObservedModel>,
    workers: Vec<&'a ObservedWorker>,
    name: Option<&'a WorkerName>,
}

impl<'a> Wanted<'a> {
    /// What belongs to nobody and has one of these ids; everything that belongs to nobody where none is given.
    pub fn new(
        seen: &'a PoolObservation,
        ids: &[String],
        name: Option<&'a WorkerName>,
    ) -> Result<Self, Failure> {
        let free = |worker: &&ObservedWorker| worker.record.spec.fleet.is_none();
        let mut models: Vec<_> = seen.models.iter().collect();
        models.retain(|model| model.entry.fleet.is_none());
        let mut workers: Vec<_> = seen.workers.iter().filter(free).collect();
        let is = |model: &ObservedModel, id: &str| model.entry.id.as_str() == id;
        let starts = |worker: &ObservedWorker, id: &str| worker.record.id.as_str().starts_with(id);
        for id in ids {
            let found = models.iter().any(|model| is(model, id))
                || workers.iter().any(|worker| starts(worker, id));
            if !found {
                let models = models.iter().map(|model| model.entry.id.to_string());
                let workers = workers.iter().map(|worker| worker.record.id.to_string());
                let all: Vec<String> = models.chain(workers).collect();
                let what = format!("nothing there that belongs to no fleet is called {id}");
                return Err(Failure::new(what).help(if all.is_empty() {
                    "everything there belongs to a fleet".into()
                } else {
                    format!("there are: {}", all.join(", "))
                }));
            }
        }
        if !ids.is_empty() {
            workers.retain(|worker| ids.iter().any(|id| starts(worker, id)));
            // A worker brings its model.
            models.retain(|model| {
                let mut served = workers.iter().map(|worker| &worker.record.spec.model);
                ids.iter().any(|id| is(model, id)) || served.any(|served| *served == model.entry.id)
            });
        }
        if name.is_some() && workers.len() != 1 {
            let what = format!("--name names one worker, and there are {}", workers.len());
            return Err(Failure::new(what).help("name one worker by its id"));
        }
        Ok(Self {
            seen,
            models,
            workers,
            name,
        })
    }

    /// What of it the fleet file can say; it is in the draft then.
    pub fn offers(&self, draft: &mut Draft<'_>) -> Offers {
        let mut offers = Offers::default();
        for model in &self.models {
            let subject = Subject::Model(model.entry.id.clone());
            match self.model(draft, model) {
                Ok(()) => offers.adopted.push(Offer {
                    subject,
                    address: None,
                }),
                Err(why) => offers.left.push(Left { subject, why }),
            }
        }
        let mut taken: BTreeSet<WorkerAddress> = self.taken(draft);
        for worker in &self.workers {
            let subject = Subject::Worker(worker.record.id.clone());
            match self.worker(draft, worker, &taken) {
                Ok(address) => {
                    taken.insert(address.clone());
                    offers.adopted.push(Offer {
                        subject,
                        address: Some(address),
                    });
                }
                Err(why) => offers.left.push(Left { subject, why }),
            }
        }
        offers
    }

    /// The addresses at which the fleet has a worker on the pool.
    fn taken(&self, draft: &Draft<'_>) -> BTreeSet<WorkerAddress> {
        let specs = self.seen.workers.iter().map(|seen| &seen.record.spec);
        let ours = specs.filter(|spec| spec.fleet.as_ref() == Some(&draft.desired.fleet));
        ours.filter_map(|spec| spec.address.clone()).collect()
    }

    fn model(&self, draft: &mut Draft<'_>, model: &ObservedModel) -> Result<(), String> {
        let entry = &model.entry;
        if !model.is_whole() {
            return Err("its files are not all here as they should be".into());
        }
        match draft.content(&entry.id) {
            Some(Ok(content)) if content.manifest.digest() == entry.digest => return Ok(()),
            Some(Ok(_)) => return Err("fleet.yaml has another model under this name".into()),
            Some(Err(why)) => return Err(why.clone()),
            None => {}
        }
        let (source, content) = draft.source(entry)?;
        let mut line = format!(
            "{}: {{ source: {}",
            scalar(entry.id.as_str()),
            scalar(&source)
        );
        let mut workers = self.workers.iter().map(|worker| &worker.record.spec);
        if let Some(spec) = workers.find(|spec| spec.model == entry.id) {
            if spec.dtype != Dtype::Auto {
                let _ = write!(line, ", dtype: {}", spec.dtype);
            }
            if let Some(quantize) = spec.quantize {
                let _ = write!(line, ", quantize: {quantize}");
            }
        }
        line.push_str(" }");
        let section = "models";
        draft.known.contents.insert(entry.id.clone(), Ok(content));
        let added = draft.add(Entry { section, line }, |_| Ok(()));
        if added.is_err() {
            draft.known.contents.remove(&entry.id);
        }
        added
    }

    /// The address at which the worker stands from then on.
    fn worker(
        &self,
        draft: &mut Draft<'_>,
        worker: &ObservedWorker,
        taken: &BTreeSet<WorkerAddress>,
    ) -> Result<WorkerAddress, String> {
        if !worker.is_serving() {
            return Err("it does not serve".into());
        }
        let spec = &worker.record.spec;
        if draft.content(&spec.model).is_none() {
            return Err(format!("fleet.yaml has no model {} for it", spec.model));
        }
        let mut declared = draft.places(spec).into_iter();
        if self.name.is_none()
            && let Some(address) = declared.find(|address| !taken.contains(address))
        {
            return Ok(address);
        }
        let name = match self.name {
            Some(name) => name.clone(),
            None => free_name(draft, &spec.model).ok_or("no name is left for it")?,
        };
        let address = WorkerAddress {
            name: name.clone(),
            model: None,
            pool: draft.pool.clone(),
            device: spec.device,
            ordinal: 0,
        };
        let entry = Entry {
            section: "workers",
            line: line(draft, &name, spec),
        };
        let is = draft.at(spec, &address);
        draft.add(entry, |draft| draft.wants(&address, &is))?;
        Ok(address)
    }
}

/// The entry of a worker, with what the defaults do not say already.
fn line(draft: &Draft<'_>, name: &WorkerName, spec: &WorkerSpec) -> String {
    let defaults = &draft.fleet.defaults.worker;
    let mut line = format!(
        "{}: {{ model: {}, on: [{}/{}]",
        scalar(name.as_str()),
        scalar(spec.model.as_str()),
        draft.pool,
        spec.device
    );
    let usual = defaults.slots.as_ref().map(|slots| slots.value);
    if spec.slots != usual.unwrap_or(pool_core::DEFAULT_SLOTS) {
        let _ = write!(line, ", slots: {}", spec.slots);
    }
    let usual = defaults.context.as_ref().map(|context| context.value);
    if let Some(context) = spec.context.filter(|context| usual != Some(*context)) {
        let _ = write!(line, ", context: {context}");
    }
    line + " }"
}

/// The model's name, with a number where the fleet has a worker of that name.
fn free_name(draft: &Draft<'_>, model: &ModelId) -> Option<WorkerName> {
    let base: String = model.as_str().replace('.', "-").chars().take(58).collect();
    let base = base.trim_end_matches(['-', '_']);
    let numbered = (2..10_000).map(|n| format!("{base}-{n}"));
    let mut names = std::iter::once(base.to_owned()).chain(numbered);
    let is_free = |name: &WorkerName| {
        let start = format!("{}:", scalar(name.as_str()));
        let mut pasted = draft.to_paste.iter();
        !draft.fleet.workers.contains_key(name)
            && !pasted.any(|entry| entry.section == "workers" && entry.line.starts_with(&start))
    };
    names.find_map(|name| name.parse().ok().filter(is_free))
}

/// By section, in the order of the file.
pub fn by_section(entries: &[Entry]) -> BTreeMap<&'static str, Vec<&str>> {
    let mut sections: BTreeMap<&'static str, Vec<&str>> = BTreeMap::new();
    for entry in entries {
        sections.entry(entry.section).or_default().push(&entry.line);
    }
    sections
}
