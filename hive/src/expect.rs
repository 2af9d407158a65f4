//! What a plan relied on, compared with what is.

use pool_core::digest::Sha256;
use pool_core::facts::{self, About, Fact};
use pool_core::name::FleetName;
use pool_core::rpc::ErrorCode;

use crate::error::{Result, fail};
use crate::home::{Home, Locked};
use crate::{Hive, builds, links, models, orchestrators, workers};

/// What must still be so when a request changes anything.
#[derive(Debug, Default)]
pub struct Expect {
    facts: Vec<Fact>,
    /// Whose workers are meant by an address, whose orchestrator and whose link.
    fleet: Option<FleetName>,
    build: Option<Sha256>,
}

impl Expect {
    pub fn new(hive: &Hive, fleet: Option<FleetName>, facts: Vec<Fact>) -> Self {
        // A hive from elsewhere is of no build, whatever lies in the home.
        let own = builds::own(hive);
        Self {
            facts,
            fleet,
            build: own.and_then(|_| builds::current(&hive.home)),
        }
    }

    /// Refuses where anything is no longer so. Whatever follows under the same lock relies on it.
    pub fn check(&self, home: &Locked) -> Result<()> {
        if self.facts.is_empty() {
            return Ok(());
        }
        let catalog = models::load(home)?;
        let mut records = workers::all(home)?;
        for record in &mut records {
            // One that its supervisor started again is another, as the plan has seen it.
            if !record.spec.supervise.is_none() {
                record.process = workers::process_of(home, record).or(record.process.take());
            }
        }
        let orchestrator = self.orchestrator(home)?;
        let link = self.link(home)?;
        let configs = orchestrators::config::observe(home)?;
        let is = |about: &About| match about {
            About::Programs => self.build,
            About::Model(id) => catalog.models.get(id).map(facts::model),
            About::Place(address) => facts::place(self.fleet.as_ref()?, address, &records),
            About::Worker(id) => {
                let found = records.iter().find(|record| record.id == *id);
                found.map(facts::worker)
            }
            About::Orchestrator => orchestrator,
            About::Link => link,
            About::Config(file) => configs.get(self.fleet.as_ref()?)?.get(file).copied(),
        };
        let changed = self.facts.iter().filter(|fact| is(&fact.about) != fact.was);
        let changed: Vec<String> = changed.map(|fact| fact.about.to_string()).collect();
        if changed.is_empty() {
            return Ok(());
        }
        Err(fail(
            ErrorCode::Stale,
            format!("changed since the plan was made: {}", changed.join(", ")),
            "plan again",
        ))
    }

    /// The fleet's orchestrator on this pool, as a fact.
    fn orchestrator(&self, home: &Locked) -> Result<Option<Sha256>> {
        let Some(fleet) = &self.fleet else {
            return Ok(None);
        };
        let found = orchestrators::load(home, fleet)?;
        Ok(found.map(|mut record| {
            if !record.spec.supervise.is_none() {
                record.process = orchestrators::process_of(home, &record).or(record.process.take());
            }
            facts::orchestrator(&record)
        }))
    }

    /// The fleet's link on this pool, as a fact.
    fn link(&self, home: &Locked) -> Result<Option<Sha256>> {
        let links = links::observe(home)?;
        let found = self.fleet.as_ref().and_then(|fleet| links.get(fleet));
        Ok(found.map(facts::link))
    }

    /// The same, for what begins a longer work.
    pub fn check_now(&self, home: &Home) -> Result<()> {
        if self.facts.is_empty() {
            return Ok(());
        }
        self.check(&home.lock()?)
    }
}
