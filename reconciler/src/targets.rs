//! The part of a fleet that somebody asks for: pools, models and workers, by globs over their names.

use std::collections::BTreeSet;
use std::fmt;

use pool_core::address::WorkerAddress;
use pool_core::name::{ModelId, PoolName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::desired::Desired;
use crate::fleet::Fleet;
use crate::fleet::suggest::did_you_mean;
use crate::glob;
use crate::observed::{Observed, PoolState};

/// What is asked for: what one glob of each kind matches. A kind without globs takes everything, also what is of no such
/// kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Targets {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Over a worker's name, its name with its model, and its address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workers: Vec<String>,
}

/// A glob that matches nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no {kind} `{glob}`, neither in the fleet file nor on a pool that answered")]
pub struct NoMatch {
    pub kind: &'static str,
    pub glob: String,
    /// What may have been meant.
    pub help: String,
}

impl Targets {
    /// Everything is asked for.
    pub fn is_all(&self) -> bool {
        self.pools.is_empty() && self.models.is_empty() && self.workers.is_empty()
    }

    /// Whether a thing on this pool is asked for, which is of this model and this worker.
    pub fn take(
        &self,
        pool: &PoolName,
        model: Option<&ModelId>,
        worker: Option<&WorkerAddress>,
    ) -> bool {
        let model = || model.map(ModelId::as_str).into_iter().collect();
        let worker = || worker.map(called).unwrap_or_default();
        any(&self.pools, || vec![pool.as_str()])
            && any(&self.models, model)
            && any(&self.workers, worker)
    }

    /// Whether anything that the pool should have is asked for.
    pub fn take_of(&self, pool: &PoolName, desired: &Desired) -> bool {
        if self.models.is_empty() && self.workers.is_empty() {
            return self.take(pool, None, None);
        }
        let workers = desired.pools.get(pool).map(|pool| &pool.workers);
        let mut workers = workers.into_iter().flatten();
        workers.any(|(address, worker)| self.take(pool, Some(&worker.model), Some(address)))
    }

    /// Whether anything that is asked for may be on a pool of which nothing is known: what runs there need not be what it
    /// should have.
    pub fn may_take_of(&self, pool: &PoolName) -> bool {
        // NAME/POOL/DEVICE/ORDINAL, or only a name, which may be on any pool.
        let mut of_pools = self.workers.iter().map(|glob| glob.split('/').nth(1));
        let is_here = |of: Option<&str>| of.is_none_or(|of| glob::matches(of, pool.as_str()));
        any(&self.pools, || vec![pool.as_str()])
            && (self.workers.is_empty() || of_pools.any(is_here))
    }

    /// Refuses a glob that matches nothing which the file names or a pool has of the fleet.
    pub fn check(
        &self,
        fleet: &Fleet,
        desired: &Desired,
        observed: &Observed,
    ) -> Result<(), NoMatch> {
        let pools = fleet.pools.keys().map(ToString::to_string).collect();
        let mut models: BTreeSet<String> = fleet.models.keys().map(ToString::to_string).collect();
        let mut workers: BTreeSet<String> = fleet.workers.keys().map(ToString::to_string).collect();
        let mut shown = workers.clone();
        for address in desired.pools.values().flat_map(|pool| pool.workers.keys()) {
            workers.extend(called(address));
        }
        for state in observed.pools.values() {
            let PoolState::Known(seen) = state else {
                continue;
            };
            let ours = |owner: Option<&_>| owner == Some(&desired.fleet);
            let entries = seen.models.iter().map(|model| &model.entry);
            let entries = entries.filter(|entry| ours(entry.fleet.as_ref()));
            models.extend(entries.map(|entry| entry.id.to_string()));
            let specs = seen.workers.iter().map(|worker| &worker.record.spec);
            for spec in specs.filter(|spec| ours(spec.fleet.as_ref())) {
                models.insert(spec.model.to_string());
                workers.extend(spec.address.iter().flat_map(called));
                shown.extend(
                    spec.address
                        .as_ref()
                        .map(|address| address.name.to_string()),
                );
            }
        }
        matched("pool", &self.pools, &pools, &pools)?;
        matched("model", &self.models, &models, &models)?;
        matched("worker", &self.workers, &workers, &shown)
    }
}

/// Whether a name is matched, or there is nothing to be matched.
fn any<N: AsRef<str>>(globs: &[String], names: impl FnOnce() -> Vec<N>) -> bool {
    if globs.is_empty() {
        return true;
    }
    let names = names();
    let matches = |glob: &String| names.iter().any(|name| glob::matches(glob, name.as_ref()));
    globs.iter().any(matches)
}

/// The names of a worker.
fn called(address: &WorkerAddress) -> Vec<String> {
    vec![
        address.name.to_string(),
        address.label(),
        address.to_string(),
    ]
}

/// `shown` are the names that people are told.
fn matched(
    kind: &'static str,
    globs: &[String],
    names: &BTreeSet<String>,
    shown: &BTreeSet<String>,
) -> Result<(), NoMatch> {
    let is_there = |glob: &&String| names.iter().any(|name| glob::matches(glob, name));
    let Some(glob) = globs.iter().find(|glob| !is_there(glob)) else {
        return Ok(());
    };
    let known = shown.iter().map(String::as_str);
    let help = if shown.is_empty() {
        format!("there is no {kind}")
    } else {
        did_you_mean(glob, known, "there is")
    };
    Err(NoMatch {
        kind,
        glob: glob.clone(),
        help,
    })
}

/// As on a command line.
impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [
            ("--pool", &self.pools),
            ("--model", &self.models),
            ("--worker", &self.workers),
        ];
        let flags = kinds
            .iter()
            .flat_map(|(flag, globs)| globs.iter().map(move |glob| format!("{flag} {glob}")));
        f.write_str(&flags.collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(pools: &[&str], models: &[&str], workers: &[&str]) -> Targets {
        let globs = |globs: &[&str]| globs.iter().map(ToString::to_string).collect();
        Targets {
            pools: globs(pools),
            models: globs(models),
            workers: globs(workers),
        }
    }

    #[test]
    fn what_is_asked_for_is_matched_by_one_glob_of_each_kind() {
        let pool: PoolName = "box".parse().unwrap();
        let tiny: ModelId = "tiny".parse().unwrap();
        let chat: WorkerAddress = "chat.tiny/box/cpu/0".parse().unwrap();
        let take = |targets: &Targets| targets.take(&pool, Some(&tiny), Some(&chat));
        for taken in [
            targets(&[], &[], &[]),
            targets(&["mac", "b?x"], &[], &[]),
            targets(&[], &["t*"], &["chat"]),
            targets(&["box"], &[], &["chat.*"]),
            targets(&[], &[], &["*/box/*/0"]),
        ] {
            assert!(take(&taken), "{taken}");
        }
        for left in [
            targets(&["mac"], &[], &[]),
            targets(&["box"], &["big"], &[]),
            targets(&[], &["tiny"], &["talk", "chat.big"]),
        ] {
            assert!(!take(&left), "{left}");
        }
        // The model itself is of no worker.
        assert!(targets(&[], &["tiny"], &[]).take(&pool, Some(&tiny), None));
        assert!(!targets(&[], &[], &["*"]).take(&pool, Some(&tiny), None));
    }

    #[test]
    fn a_pool_of_which_nothing_is_known_is_ruled_out_by_its_name_alone() {
        let pool: PoolName = "box".parse().unwrap();
        for taken in [
            targets(&[], &[], &[]),
            targets(&["b*"], &["tiny"], &[]),
            targets(&[], &[], &["chat"]),
            targets(&[], &[], &["*/mac/*/*", "*/b?x/*/0"]),
        ] {
            assert!(taken.may_take_of(&pool), "{taken}");
        }
        for left in [
            targets(&["mac"], &[], &["chat"]),
            targets(&[], &["tiny"], &["chat/mac/*/*"]),
            targets(&["mac"], &[], &["*/box/*/*"]),
        ] {
            assert!(!left.may_take_of(&pool), "{left}");
        }
    }

    #[test]
    fn a_glob_that_matches_nothing_is_refused_with_what_there_is() {
        let fleet = crate::fleet::parse(
            "version: 1\nfleet: home\npools:\n  box: { connect: local, devices: [cpu] }\n\
             models:\n  tiny: { source: ./tiny }\nworkers:\n  chat: { models: [tiny], on: [box/cpu] }\n",
        );
        let fleet = fleet.unwrap();
        let desired = crate::resolve::resolve(&fleet, &crate::resolve::Known::default()).unwrap();
        let check = |targets: Targets| targets.check(&fleet, &desired, &Observed::default());
        for there in [
            targets(&[], &[], &[]),
            targets(
                &["b*"],
                &["tiny"],
                &["chat", "chat.tiny", "chat.tiny/box/cpu/0", "*"],
            ),
        ] {
            assert_eq!(check(there), Ok(()));
        }
        let refused = check(targets(&["box"], &[], &["caht"])).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "there is no worker `caht`, neither in the fleet file nor on a pool that answered"
        );
        assert_eq!(refused.help, "did you mean `chat`?");
        let refused = check(targets(&["x*"], &[], &[])).unwrap_err();
        assert_eq!(
            (refused.kind, refused.help.as_str()),
            ("pool", "there is: box")
        );
    }

    #[test]
    fn targets_are_written_as_on_a_command_line() {
        let all = targets(&["a", "b*"], &["m"], &["w"]);
        assert_eq!(all.to_string(), "--pool a --pool b* --model m --worker w");
    }
}
