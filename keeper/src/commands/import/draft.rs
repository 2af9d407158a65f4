//! fleet.yaml as it grows: what was added to it is read and resolved as if it had always stood there.

use std::path::Path;

use pool_core::address::WorkerAddress;
use pool_core::model::CatalogEntry;
use pool_core::name::{ModelId, PoolName};
use pool_core::source::Source;
use pool_core::worker::WorkerSpec;
use reconciler::desired::{Content, Desired};
use reconciler::fleet::{self, Fleet};
use reconciler::problem::Problem;
use reconciler::resolve::{Known, resolve};

use super::yaml;
use crate::failure::Failure;
use crate::fleet_file::{Contents, FleetFile};

/// A line of fleet.yaml.
#[derive(Debug, Clone)]
pub struct Entry {
    pub section: &'static str,
    pub line: String,
}

pub struct Draft<'a> {
    pub file: &'a FleetFile,
    pub pool: &'a PoolName,
    pub text: String,
    pub fleet: Fleet,
    pub known: Known,
    pub desired: Desired,
    /// What could not be added, because its section is not written as a block.
    pub to_paste: Vec<Entry>,
}

impl<'a> Draft<'a> {
    pub fn new(
        file: &'a FleetFile,
        pool: &'a PoolName,
        contents: Contents,
    ) -> Result<Self, Vec<Problem>> {
        let known = Known {
            contents,
            ..Known::default()
        };
        Ok(Self {
            file,
            pool,
            text: file.text.clone(),
            fleet: file.fleet.clone(),
            desired: resolve(&file.fleet, &known)?,
            known,
            to_paste: Vec::new(),
        })
    }

    /// Adds an entry, unless the file would be wrong with it, or `check` has something against what it then asks for.
    pub fn add(
        &mut self,
        entry: Entry,
        check: impl FnOnce(&Self) -> Result<(), String>,
    ) -> Result<(), String> {
        let Some(text) = yaml::insert(&self.text, entry.section, &entry.line) else {
            self.to_paste.push(entry);
            return Ok(());
        };
        let first = |problems: Vec<Problem>| {
            let problem = problems.into_iter().next();
            problem.map_or_else(String::new, |problem| problem.message)
        };
        let (fleet, desired) = match fleet::parse(&text) {
            // Another style than `insert` knows: by hand it goes.
            Err(_) => {
                self.to_paste.push(entry);
                return Ok(());
            }
            Ok(fleet) => {
                let desired = resolve(&fleet, &self.known).map_err(first)?;
                (fleet, desired)
            }
        };
        let before = (
            std::mem::replace(&mut self.text, text),
            std::mem::replace(&mut self.fleet, fleet),
            std::mem::replace(&mut self.desired, desired),
        );
        let checked = check(self);
        if checked.is_err() {
            (self.text, self.fleet, self.desired) = before;
        }
        checked
    }

    /// Refuses where something could not be added.
    pub fn check_written(&self) -> Result<(), Failure> {
        if self.to_paste.is_empty() {
            return Ok(());
        }
        let what = "fleet.yaml is not written so that lines can be added to these sections";
        Err(Failure::new(what)
            .at(self.file.path.display().to_string())
            .help("write the sections as blocks, or paste the lines, then import again"))
    }

    /// Whether the worker at an address would be exactly this one; else what is different.
    pub fn wants(&self, address: &WorkerAddress, spec: &WorkerSpec) -> Result<(), String> {
        let Some(wanted) = self.wanted(address) else {
            return Err(format!(
                "pool {} does not list {} among its devices",
                self.pool, address.device
            ));
        };
        let (is, wanted) = (fields(spec), fields(&wanted));
        let names: std::collections::BTreeSet<&String> = is.keys().chain(wanted.keys()).collect();
        let text = |value: Option<&serde_json::Value>| match value {
            None => "(default)".to_owned(),
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        let different: Vec<String> = names
            .into_iter()
            .filter(|name| is.get(*name) != wanted.get(*name))
            .map(|name| {
                let (is, wanted) = (text(is.get(name)), text(wanted.get(name)));
                format!("its {name} is {is}, by fleet.yaml it would be {wanted}")
            })
            .collect();
        if different.is_empty() {
            Ok(())
        } else {
            Err(different.join("; "))
        }
    }

    /// What the worker at an address should be; none where there should be none, or its model is not known.
    fn wanted(&self, address: &WorkerAddress) -> Option<WorkerSpec> {
        let pool = self.desired.pools.get(self.pool)?;
        let worker = pool.workers.get(address)?;
        let content = self.known.contents.get(&worker.model)?.as_ref().ok()?;
        Some(worker.spec(&self.desired.fleet, address, content.manifest.digest()))
    }

    /// The addresses on the pool that fleet.yaml has, and that want exactly such a worker.
    pub fn places(&self, spec: &WorkerSpec) -> Vec<WorkerAddress> {
        let pool = self.desired.pools.get(self.pool);
        let addresses = pool.into_iter().flat_map(|pool| pool.workers.keys());
        let fits = |address: &&WorkerAddress| self.wants(address, &self.at(spec, address)).is_ok();
        addresses.filter(fits).cloned().collect()
    }

    /// A worker as it is once it stands at an address of the fleet.
    pub fn at(&self, spec: &WorkerSpec, address: &WorkerAddress) -> WorkerSpec {
        WorkerSpec {
            fleet: Some(self.desired.fleet.clone()),
            address: Some(address.clone()),
            ..spec.clone()
        }
    }

    /// Where a model of the pool's catalog comes from, as fleet.yaml says it.
    pub fn source(&self, entry: &CatalogEntry) -> Result<(String, Content), String> {
        let manifest = entry.manifest();
        if let Some(commit) = &entry.source.revision {
            let file = match &entry.source.files[..] {
                [] => None,
                [file] => Some(file.clone()),
                _ => return Err("it is several files of its repository, chosen by hand".into()),
            };
            let source = Source::Hub {
                repo: entry.source.repo.clone(),
                revision: Some(commit.clone()),
                file,
            };
            let content = Content::new(Some(commit.clone()), manifest);
            return Ok((source.to_string(), content));
        }
        let folder = Path::new(&entry.source.repo);
        let here = pool_core::folder::read(folder);
        if !here.is_ok_and(|here| here.digest() == entry.digest) {
            return Err(format!(
                "it came from {}, and here that is not this model: put its folder beside fleet.yaml and name it there",
                folder.display()
            ));
        }
        let beside = self.file.folder("").canonicalize();
        let beside = beside
            .ok()
            .and_then(|beside| folder.strip_prefix(beside).ok());
        let source = match beside {
            Some(path) => format!("./{}", path.display()),
            None => folder.display().to_string(),
        };
        let content = Content::new(None, manifest);
        Ok((source, content))
    }

    pub fn content(&self, model: &ModelId) -> Option<&Result<Content, String>> {
        self.known.contents.get(model)
    }
}

fn fields(spec: &WorkerSpec) -> serde_json::Map<String, serde_json::Value> {
    match serde_json::to_value(spec) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    }
}
