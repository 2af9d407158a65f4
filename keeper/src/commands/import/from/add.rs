//! Adds what another program serves to fleet.yaml: a model, and a worker that serves it.

use std::fmt::Write as _;

use pool_core::address::WorkerAddress;
use pool_core::device::Device;
use pool_core::name::ModelId;
use serde::Serialize;

use super::weights::{self, Link};
use super::{Found, Left, Place, Weights};
use crate::commands::import::draft::{Draft, Entry};
use crate::commands::import::offer::{self, Line};
use crate::commands::import::yaml::scalar;

/// What was added to fleet.yaml.
#[derive(Debug, Serialize)]
pub struct Added {
    pub model: ModelId,
    pub source: String,
    pub worker: WorkerAddress,
}

pub struct Adding<'a> {
    pub draft: Draft<'a>,
    pub added: Vec<Added>,
    pub links: Vec<Link>,
    pub left: Vec<Left>,
}

impl<'a> Adding<'a> {
    pub fn new(draft: Draft<'a>, left: Vec<Left>) -> Self {
        Self {
            draft,
            added: Vec::new(),
            links: Vec::new(),
            left,
        }
    }

    /// What cannot be added is left, with the reason.
    pub fn add(&mut self, found: Found) {
        if let Err(why) = self.try_add(&found) {
            self.left.push(Left::whole(&found.name, why));
        }
    }

    fn try_add(&mut self, found: &Found) -> Result<(), String> {
        let model = self.free_id(&found.name)?;
        let (source, link, limit) = match &found.weights {
            Weights::Hub(source) => (source.to_string(), None, None),
            Weights::File(path) => {
                let facts = weights::check(path)?;
                let folder = self.draft.file.folder("");
                let (source, link) = weights::source(path, &folder, &model)?;
                (source, link, Some(facts.context_length))
            }
        };
        if let Some(there) = self.draft.fleet.models.get(&model) {
            let is_same = there.source.value.to_string() == source;
            if is_same && let Some(link) = link.filter(Link::mends) {
                self.links.push(link);
                return Ok(());
            }
            let which = if is_same { "it" } else { "another model" };
            return Err(format!("fleet.yaml has {which} already, as {model}"));
        }
        let device = self.device(found)?;
        let context = self.context(found, limit);
        let section = "models";
        let mut line = scalar(model.as_str());
        let _ = write!(line, ": {{ source: {} }}", scalar(&source));
        self.draft.add(Entry { section, line }, |_| Ok(()))?;
        let name = offer::free_name(&self.draft, &model, |_| true)
            .ok_or("no name is left for its worker")?;
        let defaults = &self.draft.fleet.defaults.worker;
        let usual_slots = defaults.slots.as_ref().map(|slots| slots.value);
        let serves = Line {
            model: &model,
            device,
            slots: found
                .slots
                .or(usual_slots)
                .unwrap_or(pool_core::DEFAULT_SLOTS),
            context,
        };
        let line = offer::line(&self.draft, &name, &serves);
        let section = "workers";
        self.draft.add(Entry { section, line }, |_| Ok(()))?;
        if model.as_str() != found.name {
            self.leave(
                found,
                "its name",
                format!("fleet.yaml does not take it: clients ask for {model}"),
            );
        }
        self.links.extend(link);
        let worker = WorkerAddress {
            name,
            model: None,
            pool: self.draft.pool.clone(),
            device,
            ordinal: 0,
        };
        self.added.push(Added {
            model,
            source,
            worker,
        });
        Ok(())
    }

    fn leave(&mut self, found: &Found, what: impl Into<String>, why: String) {
        self.left.push(Left {
            model: Some(found.name.clone()),
            what: what.into(),
            why,
            whole: false,
        });
    }

    /// The name as fleet.yaml takes it, with a number where another model of this import has it.
    fn free_id(&self, name: &str) -> Result<ModelId, String> {
        let kept = |c: char| match c {
            c if c.is_ascii_alphanumeric() || "._-".contains(c) => c,
            _ => '-',
        };
        let base: String = name.chars().map(kept).take(58).collect();
        let base = base.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let numbered = (2..).map(|n| format!("{base}-{n}"));
        let mut ids = std::iter::once(base.to_owned()).chain(numbered);
        let is_added = |id: &str| self.added.iter().any(|added| added.model.as_str() == id);
        let id = ids.find(|id| !is_added(id)).unwrap_or_default();
        id.parse()
            .map_err(|error| format!("no name can be made of this: {error}"))
    }

    /// The device of the pool that is meant, else the most like it.
    fn device(&mut self, found: &Found) -> Result<Device, String> {
        let pool = self.draft.pool;
        let declared = self.draft.fleet.pools.get(pool);
        let listed = declared.map_or(&[][..], |pool| &pool.devices);
        let listed: Vec<Device> = listed.iter().map(|device| device.value).collect();
        let gpu = listed.iter().find(|device| **device != Device::Cpu);
        let any = gpu.or(listed.first()).copied();
        let any = any.ok_or_else(|| format!("fleet.yaml has no pool {pool}"))?;
        let Some((place, said)) = &found.place else {
            return Ok(any);
        };
        let meant = match place {
            Place::Cpu => listed.contains(&Device::Cpu).then_some(Device::Cpu),
            Place::AnyGpu => gpu.copied(),
            Place::Device(device) => listed.contains(device).then_some(*device),
        };
        if meant.is_none() {
            let why = format!("pool {pool} lists no such device: the worker computes on {any}");
            self.leave(found, said, why);
        }
        Ok(meant.unwrap_or(any))
    }

    /// What a request may take, never more than the model has.
    fn context(&mut self, found: &Found, limit: Option<u32>) -> Option<u32> {
        let most = limit.unwrap_or(u32::MAX);
        if let Some(asked) = found.context {
            if asked > most {
                let why = format!("the model has {most}, which is written");
                self.leave(found, format!("a context of {asked} tokens"), why);
            }
            return Some(asked.min(most));
        }
        let has_default = self.draft.fleet.defaults.worker.context.is_some();
        let usual = found.usual_context.filter(|_| !has_default)?.min(most);
        let why = format!("{usual} is written, the usual one: change it as needed");
        self.leave(found, "no context is configured", why);
        Some(usual)
    }
}
