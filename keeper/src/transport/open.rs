//! What a pool is, and its hive.

use std::path::Path;
use std::time::Duration;

use pool_core::digest::Sha256;
use pool_core::name::PoolName;
use pool_core::observation::Platform;
use pool_core::rpc::{GREETING, Hello, PROTOCOL};
use tokio::time::timeout;

use super::client::HiveClient;
use super::connection::{Connection, Endpoint, Options};
use super::error::{ConnectError, ConnectErrorKind};
use super::lines;
use super::machine::{HEAD, Machine};
use super::process::{Ended, Exit, Process};
use super::script;

/// For the first word over a connection that an earlier run left, which may have died unnoticed. A login that follows, and
/// gets no answer either, is still over within 15 s.
const KEPT: Duration = Duration::from_secs(3);

/// A pool that answered.
#[derive(Debug)]
pub struct Opened {
    pub platform: Platform,
    /// The build that is installed there, whether it works or not.
    pub installed: Option<Sha256>,
    /// Of a pool whose hive does not run: the same for two ways to one home.
    pub home_id: Option<String>,
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

/// What a machine is, which home is on it, and for which one its hive was built, where the file tells.
struct Described {
    platform: Platform,
    home_id: Option<String>,
    hive: Option<Machine>,
}

impl Described {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let platform = Platform {
            os: words.next()?.to_owned(),
            arch: words.next()?.to_owned(),
        };
        let home_id = words.next().filter(|id| *id != "-").map(str::to_owned);
        let head: Result<Vec<u8>, _> = words
            .take(HEAD)
            .map(|byte| u8::from_str_radix(byte, 16))
            .collect();
        Some(Self {
            platform,
            home_id,
            hive: Machine::of(&head.unwrap_or_default()),
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
    let greeting = timeout(limit, lines::after(GREETING, &mut process.stdout));
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
    /// Connects and opens. Where the connection that an earlier run left is dead or silent, this run makes its own.
    pub async fn reach(
        pool: &PoolName,
        endpoint: &Endpoint,
        options: &Options,
    ) -> Result<(Self, Opened), ConnectError> {
        let connection = Self::connect(pool, endpoint, options).await?;
        if !connection.is_found() {
            let opened = connection.open().await?;
            return Ok((connection, opened));
        }
        match timeout(KEPT, connection.open()).await {
            Err(_) => tracing::info!(%pool, "the connection of an earlier run is silent"),
            Ok(Err(error)) if error.kind == ConnectErrorKind::Lost => {
                tracing::info!(%pool, %error, "the connection of an earlier run is of no use");
            }
            Ok(opened) => return Ok((connection, opened?)),
        }
        let connection = Self::connect_anew(pool, endpoint, options).await?;
        let opened = connection.open().await?;
        Ok((connection, opened))
    }

    /// Starts the pool's hive where it has one, and asks what the pool is.
    pub async fn open(&self) -> Result<Opened, ConnectError> {
        if let Ok(Some(opened)) = timeout(KEPT, self.open_known()).await {
            return Ok(opened);
        }
        let (process, line) = self.told(&script::start(), script::POOL).await?;
        let (build, home) = line.split_once(' ').unwrap_or((&line, ""));
        if build == "none" {
            let Described {
                platform, home_id, ..
            } = self.describe().await?;
            return Ok(Opened {
                platform,
                installed: None,
                home_id,
                hive: HiveState::Bare,
            });
        }
        let installed = build.parse().ok();
        let limit = self.options.start_timeout;
        let (platform, home_id, hive) = match greet(process, self.pool.clone(), limit).await {
            Ok(hive) => {
                let platform = match hive.hello().platform.clone() {
                    Some(platform) => platform,
                    None => self.describe().await?.platform,
                };
                self.learn(home);
                (platform, None, HiveState::Running(hive))
            }
            Err(Rude::Broken(broken)) => {
                let Described {
                    platform, home_id, ..
                } = self.describe().await?;
                (platform, home_id, HiveState::Broken(broken))
            }
            Err(Rude::Ended(ended)) => self.explain(ended).await?,
        };
        Ok(Opened {
            platform,
            installed,
            home_id,
            hive,
        })
    }

    /// The same at less cost, where an earlier run told where the hive is, and it is still there.
    async fn open_known(&self) -> Option<Opened> {
        let process = self.start_known().await?;
        let limit = self.options.start_timeout;
        let hive = greet(process, self.pool.clone(), limit).await.ok()?;
        let Hello {
            platform, build, ..
        } = hive.hello().clone();
        Some(Opened {
            platform: platform?,
            installed: Some(build?),
            home_id: None,
            hive: HiveState::Running(hive),
        })
    }

    async fn describe(&self) -> Result<Described, ConnectError> {
        let (process, line) = self.told(&script::machine(), script::ON).await?;
        match Described::parse(&line) {
            Some(described) => Ok(described),
            None => Err(self.no_script(&process.end().await)),
        }
    }

    /// Starts a script and reads the line that it begins with.
    async fn told(&self, script: &str, marker: &str) -> Result<(Process, String), ConnectError> {
        let mut process = self.run(script).await?;
        let limit = self.options.start_timeout;
        let line = timeout(limit, lines::after(marker, &mut process.stdout));
        match line.await {
            Ok(Some(line)) => Ok((process, line)),
            Ok(None) => Err(self.no_script(&process.end().await)),
            Err(_) => {
                let cause = format!("no word of it for {} s", limit.as_secs());
                Err(self.error(ConnectErrorKind::Shell, cause))
            }
        }
    }

    /// Why a hive ended before it greeted.
    async fn explain(
        &self,
        ended: Ended,
    ) -> Result<(Platform, Option<String>, HiveState), ConnectError> {
        if let Exit::Lost(cause) = ended.exit {
            return Err(self.error(ConnectErrorKind::Lost, cause));
        }
        let Described {
            platform,
            home_id,
            hive,
        } = self.describe().await?;
        // A shell takes a program for another machine for a script, and complains about its text.
        let broken = match hive.filter(|machine| !machine.suits(&platform)) {
            Some(machine) => Broken::WrongMachine {
                built_for: machine.to_string(),
                platform: platform.clone(),
            },
            None => Broken::Ended {
                cause: ended.cause(),
            },
        };
        Ok((platform, home_id, HiveState::Broken(broken)))
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
