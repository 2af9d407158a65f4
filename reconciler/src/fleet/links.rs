//! What one part of the file says of another: every name used is declared, every pattern matches.

use std::collections::{BTreeMap, BTreeSet};

use pool_core::device::Device;
use pool_core::name::{ModelId, PoolName, WorkerName};

use super::field::Problems;
use super::span::Spanned;
use super::suggest::{listed, nearest, quote};
use super::value::{DevicePattern, WorkerPattern, is_glob};
use crate::glob;

/// The names of one section. What is read badly must not make what uses it look wrong.
pub(super) struct Declared<K> {
    pub names: BTreeSet<K>,
    /// The section is a mapping, or absent.
    pub is_read: bool,
    /// And each of its names is one.
    pub is_complete: bool,
}

/// A use of something that another part declares.
pub(super) enum Use {
    Pool(Spanned<PoolName>),
    Model(Spanned<ModelId>),
    Worker(Spanned<WorkerPattern>),
    /// All devices that one worker stands on.
    Devices(Vec<Spanned<DevicePattern>>),
}

#[derive(Default)]
pub(super) struct Links {
    pub pools: Declared<PoolName>,
    pub models: Declared<ModelId>,
    pub workers: Declared<WorkerName>,
    /// The devices of each pool where they can be read.
    pub devices: BTreeMap<PoolName, BTreeSet<Device>>,
    pub uses: Vec<Use>,
}

impl<K> Declared<K> {
    fn suspect(&mut self, is_mistyped: bool) {
        self.is_read &= !is_mistyped;
        self.is_complete &= !is_mistyped;
    }
}

impl<K> Default for Declared<K> {
    fn default() -> Self {
        Self {
            names: BTreeSet::new(),
            is_read: true,
            is_complete: true,
        }
    }
}

impl Links {
    /// A section whose key is mistyped must not make what uses it look wrong.
    pub fn suspect(&mut self, meant: &[&str]) {
        self.pools.suspect(meant.contains(&"pools"));
        self.models.suspect(meant.contains(&"models"));
        self.workers.suspect(meant.contains(&"workers"));
    }

    pub fn check(&self, problems: &mut Problems) {
        for used in &self.uses {
            match used {
                Use::Pool(pool) => {
                    let names = self.pools.names.iter().map(PoolName::as_str);
                    if self.pools.is_read {
                        check_name(pool, pool.as_str(), "pool", names, problems);
                    }
                }
                Use::Model(model) => {
                    let names = self.models.names.iter().map(ModelId::as_str);
                    if self.models.is_read {
                        check_name(model, model.as_str(), "model", names, problems);
                    }
                }
                Use::Worker(pattern) => self.check_worker(pattern, problems),
                Use::Devices(patterns) => self.check_devices(patterns, problems),
            }
        }
    }

    fn check_worker(&self, pattern: &Spanned<WorkerPattern>, problems: &mut Problems) {
        let names = self.workers.names.iter().map(WorkerName::as_str);
        if !is_glob(pattern.as_str()) {
            if self.workers.is_read {
                check_name(pattern, pattern.as_str(), "worker", names, problems);
            }
        } else if self.workers.is_complete
            && !self.workers.names.iter().any(|name| pattern.matches(name))
        {
            let message = format!("{} matches no worker", quote(pattern.as_str()));
            problems.add(pattern.span, message, declared(names, "worker"));
        }
    }

    fn check_devices(&self, patterns: &[Spanned<DevicePattern>], problems: &mut Problems) {
        let mut taken: BTreeMap<(&PoolName, Device), &DevicePattern> = BTreeMap::new();
        for pattern in patterns {
            let matched = self.matched(pattern);
            if matched.is_empty() {
                self.report_unmatched(pattern, problems);
            }
            let twice = matched.iter().find_map(|at| Some((at, *taken.get(at)?)));
            if let Some(((pool, device), first)) = twice {
                let message = format!(
                    "`{pattern}` names {pool}/{device}, which `{first}` names already",
                    pattern = pattern.value
                );
                let hint = "for more workers on one device write `replicas: 2`";
                problems.add(pattern.span, message, hint);
            }
            for at in matched {
                taken.entry(at).or_insert(&pattern.value);
            }
        }
    }

    fn matched(&self, pattern: &DevicePattern) -> Vec<(&PoolName, Device)> {
        let (pool_part, _) = pattern.parts();
        let pools = self.devices.iter();
        pools
            .filter(|(pool, _)| glob::matches(pool_part, pool.as_str()))
            .flat_map(|(pool, devices)| devices.iter().map(move |device| (pool, *device)))
            .filter(|(pool, device)| pattern.matches(pool, *device))
            .collect()
    }

    fn report_unmatched(&self, pattern: &Spanned<DevicePattern>, problems: &mut Problems) {
        let (pool_part, device_part) = pattern.parts();
        let pools = self.pools.names.iter();
        let pools: Vec<&PoolName> = pools
            .filter(|pool| glob::matches(pool_part, pool.as_str()))
            .collect();
        let unread = pools.iter().any(|pool| !self.devices.contains_key(pool));
        if !is_glob(pool_part) && pools.is_empty() {
            let names = self.pools.names.iter().map(PoolName::as_str);
            if self.pools.is_read {
                check_name(pattern, pool_part, "pool", names, problems);
            }
        } else if unread || !self.pools.is_complete {
            // The device may be among those that cannot be read.
        } else if let ([pool], false) = (&pools[..], is_glob(pool_part) || is_glob(device_part)) {
            let devices: Vec<String> = self.devices[pool].iter().map(Device::to_string).collect();
            let devices = listed(devices.iter().map(String::as_str));
            let message = format!("pool `{pool}` has no device {}", quote(device_part));
            let hint = format!("devices of the pool: {devices}");
            problems.add(pattern.span, message, hint);
        } else {
            let all = self.devices.iter().flat_map(|(pool, devices)| {
                devices.iter().map(move |device| format!("{pool}/{device}"))
            });
            let all: Vec<String> = all.collect();
            let hint = if all.is_empty() {
                "declare a pool under `pools:`".to_owned()
            } else {
                format!("devices: {}", listed(all.iter().map(String::as_str)))
            };
            let message = format!("{} matches no device of the fleet", quote(pattern.as_str()));
            problems.add(pattern.span, message, hint);
        }
    }
}

fn check_name<'a, T>(
    used: &Spanned<T>,
    name: &str,
    kind: &str,
    mut names: impl Iterator<Item = &'a str> + Clone,
    problems: &mut Problems,
) {
    let all = names.clone();
    if !names.any(|declared| declared == name) {
        let hint = match nearest(name, all.clone()) {
            Some(near) => format!("did you mean {}?", quote(near)),
            None => declared(all, kind),
        };
        problems.add(
            used.span,
            format!("there is no {kind} {}", quote(name)),
            hint,
        );
    }
}

/// What there is of a kind.
fn declared<'a>(names: impl Iterator<Item = &'a str>, kind: &str) -> String {
    let names = listed(names);
    if names.is_empty() {
        format!("declare it under `{kind}s:`")
    } else {
        format!("declared {kind}s: {names}")
    }
}
