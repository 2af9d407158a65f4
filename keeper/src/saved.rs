//! A plan in a file: written by `rbee plan --out`, shown by `rbee show`, carried out by `rbee apply FILE`.
//!
//! It names the pools and what is done there, and holds no secret: tokens come from the environment of whoever applies it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use pool_core::name::{FleetName, PoolName};
use pool_core::units;
use reconciler::desired::Purpose;
use reconciler::fleet::Connect;
use reconciler::plan::Plan;
use reconciler::sound;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::Failure;
use crate::pools::Declared;
use crate::transport::{Endpoint, HostKeys};

/// What a saved plan calls itself.
const FORMAT: &str = "rbee-plan";

/// The version that this build reads and writes.
const VERSION: u32 = 1;

/// Bytes of the largest file that is read: a plan for 10,000 workers has less.
const MOST: u64 = 256 << 20;

/// A plan and what is needed to carry it out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    pub format: String,
    pub version: u32,
    /// The version of rbee that made it.
    pub rbee: String,
    pub fleet: FleetName,
    pub purpose: Purpose,
    pub made_at: Timestamp,
    /// Where the fleet file lay; folders of models are found from there.
    pub folder: PathBuf,
    pub pools: BTreeMap<PoolName, SavedPool>,
    pub plan: Plan,
}

/// How a pool is reached, as fleet.yaml says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedPool {
    pub connect: String,
    #[serde(default)]
    pub host_keys: HostKeys,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise: Option<IpAddr>,
}

impl Saved {
    /// A plan that was made just now.
    pub fn new(
        plan: Plan,
        purpose: Purpose,
        folder: &Path,
        pools: &BTreeMap<PoolName, Declared>,
    ) -> Self {
        let pools = pools.iter();
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            rbee: pool_core::VERSION.to_owned(),
            fleet: plan.fleet.clone(),
            purpose,
            made_at: Timestamp::now(),
            // An empty path is the working folder.
            folder: std::path::absolute(Path::new(".").join(folder))
                .unwrap_or_else(|_| folder.to_owned()),
            pools: pools
                .map(|(name, pool)| (name.clone(), SavedPool::of(pool)))
                .collect(),
            plan,
        }
    }

    /// How its pools are reached.
    pub fn declared(&self) -> Result<BTreeMap<PoolName, Declared>, String> {
        let pools = self.pools.iter();
        pools
            .map(|(name, pool)| Ok((name.clone(), pool.declared()?)))
            .collect()
    }

    /// Writes it for its user alone. Only another saved plan is replaced.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let at = |failure: Failure| failure.at(path.display().to_string());
        match read(path) {
            Ok(there) if is_saved(&there) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            _ => {
                let failure = Failure::new("there is a file already, and it is no saved plan");
                return Err(at(failure).help("give another name, or remove it"));
            }
        }
        let written = serde_json::to_vec_pretty(self)
            .map_err(std::io::Error::from)
            .and_then(|mut text| {
                text.push(b'\n');
                replace(path, &text)
            });
        written.map_err(|error| at(Failure::new(format!("cannot write the plan: {error}"))))
    }

    /// What only a file that was tampered with has.
    fn check(&self) -> Result<(), String> {
        if self.plan.version != Plan::VERSION {
            return Err(format!("its plan has version {}", self.plan.version));
        }
        if self.plan.fleet != self.fleet {
            return Err(format!("its plan is of fleet {}", self.plan.fleet));
        }
        self.declared()?;
        for (position, action) in self.plan.actions.iter().enumerate() {
            let id = action.id;
            if usize::try_from(id.0) != Ok(position) {
                return Err(format!("action {id} is at position {position}"));
            }
            if let Some(need) = action.needs.iter().chain(&action.after).find(|n| **n >= id) {
                return Err(format!("action {id} waits for {need}"));
            }
            if !self.pools.contains_key(&action.pool) {
                return Err(format!("action {id} is for no pool of it"));
            }
        }
        sound::check(&self.plan)
    }
}

impl SavedPool {
    fn of(pool: &Declared) -> Self {
        let host_keys = match &pool.endpoint {
            Endpoint::Local => HostKeys::default(),
            Endpoint::Ssh { host_keys, .. } => *host_keys,
        };
        Self {
            connect: pool.endpoint.to_string(),
            host_keys,
            advertise: pool.advertise,
        }
    }

    fn declared(&self) -> Result<Declared, String> {
        let connect = self.connect.parse::<Connect>();
        let endpoint = match connect.map_err(|error| error.to_string())? {
            Connect::Local => Endpoint::Local,
            Connect::Ssh(_) => Endpoint::Ssh {
                destination: self.connect.clone(),
                host_keys: self.host_keys,
            },
        };
        Ok(Declared {
            endpoint,
            advertise: self.advertise,
        })
    }
}

/// Reads a saved plan.
pub fn load(path: &Path) -> Result<Saved, Failure> {
    let failure = |what: String| Failure::new(what).at(path.display().to_string());
    let bytes = read(path).map_err(|error| failure(format!("cannot read the plan: {error}")))?;
    if !is_saved(&bytes) {
        return Err(
            failure("this is no saved plan".into()).help("`rbee plan --out FILE` writes one")
        );
    }
    let again = "make it again with `rbee plan --out FILE`";
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|error| failure(format!("the saved plan is damaged: {error}")).help(again))?;
    let version = &value["version"];
    if *version != VERSION {
        let what = format!("the saved plan has version {version}, this rbee reads {VERSION}");
        return Err(failure(what).help("use the rbee that made it, or make it again"));
    }
    let saved = serde_json::from_value::<Saved>(value).map_err(|error| error.to_string());
    saved
        .and_then(|saved| saved.check().map(|()| saved))
        .map_err(|why| failure(format!("the saved plan is damaged: {why}")).help(again))
}

/// The content of a file that can be a plan, if it was made by rbee: one of a device or a pipe might have no end.
fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let found = std::fs::metadata(path)?;
    if !found.is_file() {
        return Err(std::io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST {
        let most = units::bytes(MOST);
        return Err(std::io::Error::other(format!("it is larger than {most}")));
    }
    Ok(bytes)
}

/// Whether the text begins as a saved plan does.
fn is_saved(text: &[u8]) -> bool {
    let mut words = text.split(|byte| *byte == b'"');
    let key = words.nth(1);
    key == Some(b"format") && words.nth(1) == Some(FORMAT.as_bytes())
}

/// Whoever reads meanwhile sees the old file or the whole new one.
fn replace(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Such a file is readable by its user only.
    let mut file = tempfile::Builder::new()
        .prefix(".rbee-plan")
        .tempfile_in(folder)?;
    file.write_all(text)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
