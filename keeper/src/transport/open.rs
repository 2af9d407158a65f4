//! What a pool is, and its hive.

use std::path::Path;
use std::time::Duration;

use pool_core::digest::Sha256;
use pool_core::name::PoolName;
use pool_core::observation::Platform;
use pool_core::rpc::{GREETING, Hello, PROTOCOL};

use super::client::HiveClient;
use super::connection::{Connection, Options};
use super::error::{ConnectError, ConnectErrorKind};
use super::lines;
use super::machine::{HEAD, Machine};
use super::process::{Ended, Exit, Process};
use super::script;

/// A pool that answered.
#[derive(Debug)]
pub struct Opened {
    pub platform: Platform,
    /// The build that is installed there, whether it works or not.
    pub installed: Option<Sha256>,
    pub hive: HiveState,
}

/// What there is to talk to.
#[derive(Debug)]
pub enum HiveState {
    Running(HiveClient),
    /// Nothing is installed.
    Bare,
    /// Something is installed and does not work. Another installation may help.
    Broken(Broken),
}

/// Why an installed hive cannot be talked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    #[error("its hive is built for {built_for}, the pool is {platform}")]
    WrongMachine {
        built_for: String,
        platform: Platform,
    },
    #[error("its hive speaks protocol {theirs}, this rbee speaks {ours}: {} is older", older(*.theirs, *.ours))]
    Protocol { theirs: u32, ours: u32 },
    #[error("its hive does not start: {cause}")]
    Ended { cause: String },
    #[error("its hive said nothing for {seconds} s")]
    Silent { seconds: u64 },
}

fn older(theirs: u32, ours: u32) -> &'static str {
    if theirs < ours {
        "the hive"
    } else {
        "this rbee"
    }
}

impl Broken {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Protocol { theirs, ours } if theirs > ours => {
                "use a newer rbee here; `rbee apply` with this one installs the older hive there"
            }
            _ => "`rbee apply` installs the right one",
        }
    }
}

/// The line that the start script prints.
struct Marker {
    platform: Platform,
    build: Option<String>,
    /// For which machine the installed hive is, where its file tells.
    machine: Option<Machine>,
}

impl Marker {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let platform = Platform {
            os: words.next()?.to_owned(),
            arch: words.next()?.to_owned(),
        };
        let build = words.next().filter(|&build| build != "none");
        let head: Result<Vec<u8>, _> = words
            .take(HEAD)
            .map(|byte| u8::from_str_radix(byte, 16))
            .collect();
        Some(Self {
            platform,
            build: build.map(str::to_owned),
            machine: Machine::of(&head.unwrap_or_default()),
        })
    }
}

/// A hive that did not greet.
enum Rude {
    Broken(Broken),
    Ended(Ended),
}

/// Reads the greeting of a hive that was started.
async fn greet(mut process: Process, pool: PoolName, limit: Duration) -> Result<HiveClient, Rude> {
    let greeting = tokio::time::timeout(limit, lines::after(GREETING, &mut process.stdout));
    let Ok(greeting) = greeting.await else {
        let seconds = limit.as_secs();
        return Err(Rude::Broken(Broken::Silent { seconds }));
    };
    let Some(greeting) = greeting else {
        return Err(Rude::Ended(process.end().await));
    };
    match serde_json::from_str::<Hello>(&greeting) {
        Ok(hello) if hello.protocol == PROTOCOL => {
            let Process {
                stdin,
                stdout,
                running,
            } = process;
            let end = async move { running.ended().await.cause() };
            Ok(HiveClient::new(pool, hello, stdin, stdout, end))
        }
        Ok(hello) => Err(Rude::Broken(Broken::Protocol {
            theirs: hello.protocol,
            ours: PROTOCOL,
        })),
        Err(error) => Err(Rude::Broken(Broken::Ended {
            cause: format!("its greeting is not understood: {error}"),
        })),
    }
}

impl HiveClient {
    /// A hive of this machine that is no pool's: it answers what needs none.
    pub async fn start(program: &Path, options: &Options) -> Result<Self, Broken> {
        let ended = |cause: String| Broken::Ended { cause };
        let nowhere = "local".parse().map_err(|_| ended(String::new()))?;
        let process = Process::program(program, &["rpc"]).map_err(ended)?;
        let greeted = greet(process, nowhere, options.start_timeout).await;
        greeted.map_err(|rude| match rude {
            Rude::Broken(broken) => broken,
            Rude::Ended(end) => ended(end.cause()),
        })
    }
}

impl Connection {
    /// Asks the pool what it is, and starts its hive where it has one.
    pub async fn open(&self) -> Result<Opened, ConnectError> {
        let mut process = self.run(&script::start()).await?;
        let limit = self.options.start_timeout;
        let marker = tokio::time::timeout(limit, lines::after(script::POOL, &mut process.stdout));
        let Ok(marker) = marker.await else {
            let cause = format!("no word of it for {} s", limit.as_secs());
            return Err(self.error(ConnectErrorKind::Shell, cause));
        };
        let Some(marker) = marker.as_deref().and_then(Marker::parse) else {
            return Err(self.no_script(&process.end().await));
        };
        let hive = match &marker.build {
            None => HiveState::Bare,
            Some(_) => self.greet(process, &marker).await?,
        };
        Ok(Opened {
            platform: marker.platform,
            installed: marker.build.and_then(|build| build.parse().ok()),
            hive,
        })
    }

    async fn greet(&self, process: Process, marker: &Marker) -> Result<HiveState, ConnectError> {
        match greet(process, self.pool.clone(), self.options.start_timeout).await {
            Ok(hive) => Ok(HiveState::Running(hive)),
            Err(Rude::Broken(broken)) => Ok(HiveState::Broken(broken)),
            Err(Rude::Ended(ended)) => self.explain(ended, marker),
        }
    }

    /// Why a hive ended before it greeted.
    fn explain(&self, ended: Ended, marker: &Marker) -> Result<HiveState, ConnectError> {
        if let Exit::Lost(cause) = ended.exit {
            return Err(self.error(ConnectErrorKind::Lost, cause));
        }
        // A shell takes a program for another machine for a script, and complains about its text.
        let foreign = |machine: &Machine| !machine.suits(&marker.platform);
        Ok(HiveState::Broken(match marker.machine.filter(foreign) {
            Some(machine) => Broken::WrongMachine {
                built_for: machine.to_string(),
                platform: marker.platform.clone(),
            },
            None => Broken::Ended {
                cause: ended.cause(),
            },
        }))
    }

    /// Our script did not run, or the connection went.
    pub(super) fn no_script(&self, ended: &Ended) -> ConnectError {
        let kind = match ended.exit {
            Exit::Lost(_) => ConnectErrorKind::Lost,
            _ => ConnectErrorKind::Shell,
        };
        self.error(kind, ended.cause())
    }
}
