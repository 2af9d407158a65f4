//! Brings the files of a model to a pool: from other pools, from the hub, from a folder here.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use pool_core::digest::Sha256;
use pool_core::facts::Fact;
use pool_core::model::ModelFile;
use pool_core::name::{ModelId, PoolName};
use pool_core::rpc::{Fetched, Outcome, Request};
use pool_core::source::Source;
use pool_core::supply::{HubRepo, Interface, Peer};
use pool_core::units;
use reconciler::plan::{FetchFile, Supply};
use schemars::JsonSchema;
use serde::Serialize;

use crate::actions::{Actor, Done, Fault, tell};
use crate::apply::lock;
use crate::pools::Link;
use crate::progress::Step;
use crate::transport::{Endpoint, HiveClient, Lasting};

/// Bytes that really came, from each kind of place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Brought {
    pub from_hub: u64,
    pub from_pools: u64,
    pub from_operator: u64,
}

impl Brought {
    fn text(&self) -> String {
        let parts = [
            (self.from_hub, "from the hub"),
            (self.from_pools, "from other pools"),
            (self.from_operator, "from here"),
        ];
        let parts = parts.iter().filter(|(bytes, _)| *bytes > 0);
        let parts: Vec<String> = parts
            .map(|(bytes, from)| format!("{} {from}", units::bytes(*bytes)))
            .collect();
        if parts.is_empty() {
            "its content was there".to_owned()
        } else {
            parts.join(", ")
        }
    }
}

/// One model on its way to one pool.
#[derive(Debug)]
pub(crate) struct Fetch<'a> {
    pub actor: &'a Actor<'a>,
    pub pool: &'a PoolName,
    pub model: &'a ModelId,
    pub source: &'a Source,
    pub commit: Option<&'a str>,
    /// Where the plan takes each file from.
    pub files: &'a [FetchFile],
    /// What must still be so on the pool.
    pub expect: &'a [Fact],
}

impl Fetch<'_> {
    /// What the pool said it lacks is brought; then the model is whole or this fails.
    pub async fn run(&self, hive: &HiveClient, step: &Step<'_>) -> Result<Done, Fault> {
        let key = (self.pool.clone(), self.model.clone());
        let missing = lock(&self.actor.missing).remove(&key).unwrap_or_default();
        let brought = if missing.is_empty() {
            Brought::default()
        } else {
            self.bring(hive, missing, step).await?
        };
        let model = self.model.clone();
        let publish = Request::Publish { model };
        hive.call_while(self.expect, publish, |event| tell(step, event))
            .await?;
        Ok(Done {
            detail: brought.text(),
            brought: Some(brought),
        })
    }

    async fn bring(
        &self,
        hive: &HiveClient,
        missing: Vec<ModelFile>,
        step: &Step<'_>,
    ) -> Result<Brought, Fault> {
        let total = size(&missing);
        let (peers, serving) = self.peers(&missing, step).await;
        let hub = self.hub();
        let mut fetched = Fetched {
            missing,
            ..Fetched::default()
        };
        if hub.is_some() || !peers.is_empty() {
            let planned = self.files.iter().filter(|file| file.from == Supply::Hub);
            let share = self
                .actor
                .allowance
                .take(planned.map(FetchFile::bytes).sum());
            let request = Request::Fetch {
                model: self.model.clone(),
                peers,
                hub,
                most_from_hub: share.bytes(),
            };
            let tell = |event| tell(step, event);
            let outcome = hive.call_while(self.expect, request, tell).await;
            if let Ok(Outcome::Fetched(fetched)) = &outcome {
                share.give_back(fetched.from_hub);
            }
            // Ended without waiting: a pool may have died, or stand still.
            drop(serving);
            fetched = match outcome? {
                Outcome::Fetched(fetched) => fetched,
                other => return Err(Fault::odd(&other)),
            };
            for note in &fetched.notes {
                step.note(note);
            }
        }
        let sent = size(&fetched.missing);
        self.send(hive, &fetched.missing, total, step).await?;
        Ok(Brought {
            from_hub: fetched.from_hub,
            from_pools: fetched.from_pools,
            from_operator: sent,
        })
    }

    fn hub(&self) -> Option<HubRepo> {
        match (self.source, self.commit) {
            (Source::Hub { repo, .. }, Some(commit)) => Some(HubRepo {
                repo: repo.clone(),
                commit: commit.to_owned(),
                access: self.actor.access.clone(),
            }),
            _ => None,
        }
    }

    /// Has the pools that the plan names serve what they have. One that cannot is done without.
    async fn peers(&self, missing: &[ModelFile], step: &Step<'_>) -> (Vec<Peer>, Vec<Lasting>) {
        let lacks = |file: &ModelFile| missing.iter().any(|lack| lack.sha256 == file.sha256);
        let mut wanted: BTreeMap<&PoolName, Vec<Sha256>> = BTreeMap::new();
        for fetched in self.files {
            let FetchFile { file, from, .. } = fetched;
            let from = fetched.instead.as_ref().unwrap_or(from);
            if let (Supply::Pool(pool), true) = (from, lacks(file)) {
                wanted.entry(pool).or_default().push(file.sha256);
            }
        }
        let (mut peers, mut serving) = (Vec::new(), Vec::new());
        for (pool, contents) in wanted {
            match self.serve(pool, contents).await {
                Ok((peer, call)) => {
                    peers.push(peer);
                    serving.push(call);
                }
                Err(why) => step.note(&format!("nothing of {} from {pool}: {why}", self.model)),
            }
        }
        (peers, serving)
    }

    async fn serve(
        &self,
        from: &PoolName,
        contents: Vec<Sha256>,
    ) -> Result<(Peer, Lasting), String> {
        let hive = self.actor.links.get(from).and_then(Link::hive);
        let hive = hive.ok_or("no hive runs there")?;
        let interface = self.interface(from).await;
        let interface = interface.ok_or("where it can be reached is not known")?;
        let answer = hive.serve(contents, interface).await;
        let (serving, call) = answer.map_err(|error| error.to_string())?;
        let pool = from.clone();
        Ok((Peer { pool, serving }, call))
    }

    /// Where the pool that gives is to listen for the one that takes.
    async fn interface(&self, from: &PoolName) -> Option<Interface> {
        let link = |pool| self.actor.links.get(pool);
        if let Some(address) = link(from)?.declared.advertise {
            return Some(Interface::At(address));
        }
        if let Some(address) = link(from)?.address().await {
            return Some(Interface::At(address));
        }
        if let Some(address) = link(self.pool)?.address().await {
            return Some(Interface::Towards(address));
        }
        let is_here = |pool| Some(link(pool)?.declared.endpoint == Endpoint::Local);
        let both_here = is_here(from)? && is_here(self.pool)?;
        both_here.then_some(Interface::At(IpAddr::V4(Ipv4Addr::LOCALHOST)))
    }

    /// Sends from the folder what nobody else gave.
    async fn send(
        &self,
        hive: &HiveClient,
        missing: &[ModelFile],
        total: u64,
        step: &Step<'_>,
    ) -> Result<(), Fault> {
        let Source::Folder(folder) = self.source else {
            return nothing(missing);
        };
        let folder = self.actor.folder.join(folder);
        let mut before = total.saturating_sub(size(missing));
        for file in missing {
            let path = pool_core::folder::locate(&folder, &file.path);
            let content = tokio::fs::File::open(&path).await.map_err(|error| Fault {
                what: format!("cannot read {}: {error}", path.display()),
                help: Some("was the model's folder changed meanwhile? plan again".into()),
                ..Fault::default()
            })?;
            let sent = |sent| step.bytes(before + sent, total);
            hive.upload(file.sha256, file.size, content, sent).await?;
            before += file.size;
        }
        Ok(())
    }
}

/// Of a model of the hub nothing may be left.
fn nothing(missing: &[ModelFile]) -> Result<(), Fault> {
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|file| file.path.as_str()).collect();
    Err(Fault::of(format!(
        "neither the hub nor another pool gave {}",
        names.join(", ")
    )))
}

fn size(files: &[ModelFile]) -> u64 {
    files.iter().map(|file| file.size).sum()
}
