//! The pools of a fleet: opened all at once, and what each says of itself.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures::StreamExt;
use pool_core::name::PoolName;
use pool_core::rpc::{Outcome, Request};
use reconciler::desired::Builds;
use reconciler::fleet::{self, Fleet};
use reconciler::observed::{Bare, Observed, PoolState, Unknown};
use tokio::sync::OnceCell;

use crate::failure::Failure;
use crate::transport::{
    Bundles, CallError, ConnectError, Connection, Endpoint, HiveClient, HiveState, HostKeys,
    Options,
};

/// Pools that are opened at the same time; more only fight for the processor.
const AT_ONCE: usize = 32;

/// What is said of a pool, besides what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    pub endpoint: Endpoint,
    /// Where the other machines reach it.
    pub advertise: Option<IpAddr>,
}

/// The way to a pool, for the length of a run.
#[derive(Debug)]
pub struct Link {
    pub declared: Declared,
    pub connection: Connection,
    /// Its hive, when it has one that runs; an installation puts another in its place.
    hive: Mutex<Option<Arc<HiveClient>>>,
    /// `address` of its observation, once the pool has said it.
    address: OnceCell<Option<IpAddr>>,
    home: Home,
}

/// Which home a pool is.
#[derive(Debug)]
struct Home {
    /// The same for two ways to one home; none where it cannot be told.
    id: Option<String>,
    /// Known once a hive runs there.
    path: Option<String>,
}

impl Link {
    pub fn hive(&self) -> Option<Arc<HiveClient>> {
        self.hive
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The pool's own address that it was reached by; none for this machine, or where it does not say.
    pub async fn address(&self) -> Option<IpAddr> {
        let ask = async || match self.hive()?.call(Request::Observe, |_| ()).await {
            Ok(Outcome::Observed(seen)) => seen.address,
            _ => None,
        };
        *self.address.get_or_init(ask).await
    }

    pub fn set_hive(&self, hive: Option<Arc<HiveClient>>) {
        *self.hive.lock().unwrap_or_else(PoisonError::into_inner) = hive;
    }

    /// Ends the hive and the connection.
    async fn close(self) {
        let hive = self
            .hive
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(hive) = hive.and_then(Arc::into_inner) {
            hive.close().await;
        }
        self.connection.close().await;
    }
}

/// The pools that were reached, and what is known of all.
#[derive(Debug, Default)]
pub struct Pools {
    pub links: BTreeMap<PoolName, Link>,
    pub observed: Observed,
}

/// How a pool of fleet.yaml is reached.
pub fn endpoint(pool: &fleet::Pool) -> Endpoint {
    match &pool.connect.value {
        fleet::Connect::Local => Endpoint::Local,
        fleet::Connect::Ssh(_) => Endpoint::Ssh {
            destination: pool.connect.to_string(),
            host_keys: match pool.host_keys {
                fleet::HostKeys::Strict => HostKeys::Strict,
                fleet::HostKeys::AcceptNew => HostKeys::AcceptNew,
            },
        },
    }
}

/// What fleet.yaml says of its pools.
pub fn declared(fleet: &Fleet) -> BTreeMap<PoolName, Declared> {
    let pools = fleet.pools.iter();
    pools
        .map(|(name, pool)| {
            let declared = Declared {
                endpoint: endpoint(pool),
                advertise: pool.advertise.as_ref().map(|address| address.value),
            };
            (name.clone(), declared)
        })
        .collect()
}

/// Opens and observes every pool of a fleet at once.
pub async fn observe(fleet: &Fleet, options: &Options) -> Result<Pools, Failure> {
    open(declared(fleet), options).await
}

/// Opens and observes at once the pools with these names.
pub async fn observe_some(
    fleet: &Fleet,
    options: &Options,
    wanted: impl Fn(&PoolName) -> bool,
) -> Result<Pools, Failure> {
    let mut chosen = declared(fleet);
    chosen.retain(|name, _| wanted(name));
    open(chosen, options).await
}

/// The home of this machine's pool is the same wherever it is asked from.
pub fn check_home(endpoint: &Endpoint, options: &Options) -> Result<(), Failure> {
    let home = std::env::var_os("RBEE_HOME").map(PathBuf::from);
    let is_used = *endpoint == Endpoint::Local && options.local_home.is_none();
    let is_wrong = |home: &PathBuf| home.is_relative() && !home.as_os_str().is_empty();
    match home.filter(|home| is_used && is_wrong(home)) {
        None => Ok(()),
        Some(home) => {
            let what = format!("RBEE_HOME is a relative path: {}", home.display());
            Err(Failure::new(what).help("let RBEE_HOME name the folder from / on"))
        }
    }
}

/// Opens and observes these pools at once.
pub async fn open(
    declared: BTreeMap<PoolName, Declared>,
    options: &Options,
) -> Result<Pools, Failure> {
    for pool in declared.values() {
        check_home(&pool.endpoint, options)?;
    }
    let each = declared.into_iter().map(|(name, declared)| async move {
        let found = look(&name, declared, options).await;
        (name, found)
    });
    let mut answers = futures::stream::iter(each).buffer_unordered(AT_ONCE);
    let mut pools = Pools::default();
    while let Some((name, (link, state))) = answers.next().await {
        if let Some(link) = link {
            pools.links.insert(name.clone(), link);
        }
        pools.observed.pools.insert(name, state);
    }
    pools.leave_twins().await;
    Ok(pools)
}

async fn look(name: &PoolName, declared: Declared, options: &Options) -> (Option<Link>, PoolState) {
    let begun = std::time::Instant::now();
    let reached = Connection::reach(name, &declared.endpoint, options);
    let (connection, opened) = match reached.await {
        Ok(opened) => opened,
        Err(error) => return (None, unreachable(error)),
    };
    let bare = |broken| {
        PoolState::Bare(Bare {
            platform: opened.platform.clone(),
            installed: opened.installed,
            broken,
        })
    };
    let (hive, state) = match opened.hive {
        HiveState::Bare => (None, bare(None)),
        HiveState::Broken(broken) => (None, bare(Some(broken.to_string()))),
        HiveState::Running(hive) => {
            let answer = hive.call(Request::Observe, |_| ()).await;
            (Some(hive), judge(answer))
        }
    };
    tracing::info!(pool = %name, ms = begun.elapsed().as_millis(), "asked");
    let (address, home) = match &state {
        PoolState::Known(seen) => (
            OnceCell::new_with(Some(seen.address)),
            Home {
                id: seen.home_id.clone(),
                path: Some(seen.home.clone()),
            },
        ),
        _ => (
            OnceCell::new(),
            Home {
                id: opened.home_id,
                path: None,
            },
        ),
    };
    let link = Link {
        declared,
        connection,
        hive: Mutex::new(hive.map(Arc::new)),
        address,
        home,
    };
    (Some(link), state)
}

fn unreachable(error: ConnectError) -> PoolState {
    PoolState::Unknown(Unknown {
        unreachable: true,
        cause: format!("{}: {}", error.kind, error.cause),
        help: Some(error.help),
    })
}

fn judge(answer: Result<Outcome, CallError>) -> PoolState {
    let (unreachable, cause, help) = match answer {
        Ok(Outcome::Observed(seen)) => return PoolState::Known(Box::new(seen)),
        Ok(other) => (
            false,
            format!("its hive answered something else: {other:?}"),
            None,
        ),
        Err(CallError::Hive { error, .. }) => (false, error.message, error.help),
        Err(CallError::Lost { cause, .. } | CallError::Source { cause, .. }) => (true, cause, None),
    };
    PoolState::Unknown(Unknown {
        unreachable,
        cause,
        help,
    })
}

impl Pools {
    /// Of two pools that are one home, nothing is known of the second by name: everything would be done there twice, and the
    /// lease of the first would keep the second out.
    async fn leave_twins(&mut self) {
        let mut homes: BTreeMap<&str, &PoolName> = BTreeMap::new();
        let mut twins = Vec::new();
        for (name, link) in &self.links {
            let Some(id) = &link.home.id else { continue };
            if let Some(first) = homes.get(id.as_str()) {
                twins.push((name.clone(), (*first).clone()));
            } else {
                homes.insert(id, name);
            }
        }
        for (name, first) in twins {
            let Some(link) = self.links.remove(&name) else {
                continue;
            };
            let path = link.home.path.as_ref();
            let path = path.map_or_else(String::new, |path| format!(": RBEE_HOME {path}"));
            let unknown = Unknown {
                unreachable: false,
                cause: format!("it is the same home as pool {first}{path}"),
                help: Some(format!(
                    "take {name} or {first} out of fleet.yaml: a machine is one pool, unless RBEE_HOME there names \
                     another folder for each"
                )),
            };
            link.close().await;
            self.observed
                .pools
                .insert(name, PoolState::Unknown(unknown));
        }
    }

    /// Observes once more every pool whose hive runs; what it says now is what is known.
    pub async fn observe_again(&mut self) {
        let hives = self.links.iter().filter_map(|(name, link)| {
            let hive = link.hive()?;
            Some(async move {
                (
                    name.clone(),
                    judge(hive.call(Request::Observe, |_| ()).await),
                )
            })
        });
        let states: Vec<_> = futures::stream::iter(hives)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        self.observed.pools.extend(states);
    }

    /// Nothing is known of a pool any more.
    pub fn forget(&mut self, name: PoolName, error: CallError) {
        self.observed.pools.insert(name, judge(Err(error)));
    }

    /// For each platform among the pools, the build that can be installed there.
    pub async fn builds(&self, bundles: &Bundles) -> Builds {
        let mut builds = Builds::new();
        for state in self.observed.pools.values() {
            let platform = match state {
                PoolState::Known(seen) => &seen.platform,
                PoolState::Bare(bare) => &bare.platform,
                PoolState::Unknown(_) => continue,
            };
            let Some(target) = platform.target() else {
                continue;
            };
            if !builds.contains_key(target) {
                let bundle = bundles.get(platform).await;
                let build = bundle
                    .map(|bundle| bundle.digest)
                    .map_err(|error| format!("{error}; {}", error.help()));
                builds.insert(target.to_owned(), build);
            }
        }
        builds
    }

    /// Ends the hives and connections of the run.
    pub async fn close(self) {
        futures::future::join_all(self.links.into_values().map(Link::close)).await;
    }
}
