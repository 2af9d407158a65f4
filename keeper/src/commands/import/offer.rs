//! What of a pool belongs to no fleet, and what of it fleet.yaml can say.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use pool_core::address::WorkerAddress;
use pool_core::device::Device;
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
        if !ids.is_empty() {
            let of_models = models.iter().map(|model| model.entry.id.as_str());
            let of_workers = workers.iter().map(|worker| worker.record.id.as_str());
            let all: Vec<&str> = of_models.chain(of_workers).collect();
            let named = ids.iter().map(|id| named(&all, id));
            let named = named.collect::<Result<BTreeSet<&str>, Failure>>()?;
            workers.retain(|worker| named.contains(worker.record.id.as_str()));
            // A worker brings its model.
            models.retain(|model| {
                let id = &model.entry.id;
                let mut served = workers.iter().map(|worker| &worker.record.spec.model);
                named.contains(id.as_str()) || served.any(|served| served == id)
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
        let is_called = |name: &WorkerName| self.name.is_none_or(|wanted| wanted == name);
        let mut declared = draft.places(spec).into_iter();
        if let Some(address) =
            declared.find(|address| is_called(&address.name) && !taken.contains(address))
        {
            return Ok(address);
        }
        let at = |name: &WorkerName| WorkerAddress {
            name: name.clone(),
            model: None,
            pool: draft.pool.clone(),
            device: spec.device,
            ordinal: 0,
        };
        let name = match self.name {
            Some(name) if draft.fleet.workers.contains_key(name) => {
                return Err(format!(
                    "fleet.yaml has a worker {name}, and no free place of it is for this one"
                ));
            }
            Some(name) if taken.contains(&at(name)) => {
                return Err(format!("the fleet has another worker at {}", at(name)));
            }
            Some(name) => name.clone(),
            None => free_name(draft, &spec.model, |name| !taken.contains(&at(name)))
                .ok_or("no name is left for it")?,
        };
        let address = at(&name);
        let entry = Entry {
            section: "workers",
            line: line(draft, &name, &Line::of(spec)),
        };
        let is = draft.at(spec, &address);
        draft.add(entry, |draft| draft.wants(&address, &is))?;
        Ok(address)
    }
}

/// The id that is meant: this one, or the only one that starts so.
fn named<'a>(all: &[&'a str], id: &str) -> Result<&'a str, Failure> {
    if let Some(exact) = all.iter().find(|known| **known == id) {
        return Ok(exact);
    }
    let starts = |known: &&&str| !id.is_empty() && known.starts_with(id);
    let found: Vec<&str> = all.iter().filter(starts).copied().collect();
    match found[..] {
        [only] => Ok(only),
        [] => {
            let what = format!("nothing there that belongs to no fleet is called `{id}`");
            Err(Failure::new(what).help(if all.is_empty() {
                "everything there belongs to a fleet".into()
            } else {
                format!("there are: {}", all.join(", "))
            }))
        }
        _ => {
            let what = format!("`{id}` could be each of {}", found.join(", "));
            Err(Failure::new(what).help("write the whole id"))
        }
    }
}

/// What the entry of a worker says.
pub struct Line<'a> {
    pub model: &'a ModelId,
    pub device: Device,
    pub slots: u32,
    pub context: Option<u32>,
}

impl<'a> Line<'a> {
    fn of(spec: &'a WorkerSpec) -> Self {
        Self {
            model: &spec.model,
            device: spec.device,
            slots: spec.slots,
            context: spec.context,
        }
    }
}

/// The entry of a worker, with what the defaults do not say already.
pub fn line(draft: &Draft<'_>, name: &WorkerName, worker: &Line<'_>) -> String {
    let defaults = &draft.fleet.defaults.worker;
    let mut line = format!(
        "{}: {{ model: {}, on: [{}/{}]",
        scalar(name.as_str()),
        scalar(worker.model.as_str()),
        draft.pool,
        worker.device
    );
    let usual = defaults.slots.as_ref().map(|slots| slots.value);
    if worker.slots != usual.unwrap_or(pool_core::DEFAULT_SLOTS) {
        let _ = write!(line, ", slots: {}", worker.slots);
    }
    let usual = defaults.context.as_ref().map(|context| context.value);
    if let Some(context) = worker.context.filter(|context| usual != Some(*context)) {
        let _ = write!(line, ", context: {context}");
    }
    line + " }"
}

/// The model's name, with a number where the fleet has a worker of that name, or there is none to be had.
pub fn free_name(
    draft: &Draft<'_>,
    model: &ModelId,
    is_to_be_had: impl Fn(&WorkerName) -> bool,
) -> Option<WorkerName> {
    let base: String = model.as_str().replace('.', "-").chars().take(58).collect();
    let base = base.trim_end_matches(['-', '_']);
    let numbered = (2..10_000).map(|n| format!("{base}-{n}"));
    let mut names = std::iter::once(base.to_owned()).chain(numbered);
    let is_free = |name: &WorkerName| {
        let start = format!("{}:", scalar(name.as_str()));
        let mut pasted = draft.to_paste.iter();
        !draft.fleet.workers.contains_key(name)
            && !pasted.any(|entry| entry.section == "workers" && entry.line.starts_with(&start))
            && is_to_be_had(name)
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
