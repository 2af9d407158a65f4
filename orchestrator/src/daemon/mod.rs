//! The daemon around [`crate::core`]: it has the clock, the connections to workers, and whoever waits for an answer.
//!
//! | module | holds |
//! |---|---|
//! | `turns` | [`Turn`], what a task hears of the core, and what it tells it |
//! | `time` | what happens because time passes |
//! | `workers` | registrations and probes |
//! | `upstream`, `wire` | HTTP to workers |
//! | `span` | an attempt, as whoever reads traces sees it |
//! | `attempt` | one `POST /execute`, from its answer to the last frame |
//! | `task` | a task of `/v2`, from its acceptance to its last event |
//! | `recover` | what a restart finds in the store |
//! | `told` | what clients were told, which a restart keeps |
//! | `body` | from what a client asks to what the core decides about |
//! | `keys` | whom a bearer token stands for |
//! | `rules`, `shown` | the operator's script, and what it is shown |
//! | `count` | how many tokens a prompt has |

mod attempt;
mod body;
mod count;
mod keys;
mod recover;
mod rules;
pub mod serve;
mod shown;
mod span;
mod task;
mod time;
mod told;
mod turns;
mod upstream;
mod wire;
mod workers;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http_front::traces::Traces;
use pool_core::name::FleetName;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedSender;

pub use body::{new_generation, new_task};
pub use count::tokens_of;
pub use keys::{Keys, KeysError, Who};
pub use rules::Rules;
pub use span::{AttemptSpan, Operation};
pub use task::{Task, accept};
pub use turns::{Broken, Ended, Signal, Turn};
pub use upstream::{Answer, Upstream};

use crate::core::{BuiltIn, Config, Core, Now, TaskId, TenantId, WorkerKey};
use crate::metrics::Metrics;
use crate::store::Store;

/// All that the daemon has.
pub struct Orchestrator {
    state: Mutex<State>,
    began: Instant,
    pub store: Store,
    pub upstream: Upstream,
    pub keys: Arc<Keys>,
    pub metrics: Arc<Metrics>,
    rules: Option<Rules>,
    pub limits: Limits,
    /// Whose workers register; any, where it is not said.
    pub fleet: Option<FleetName>,
    /// Where spans go.
    pub traces: Traces,
    /// The clock has to look before it meant to.
    wake: Notify,
    /// When the clock means to look next.
    sleeps_until: AtomicU64,
}

/// What the daemon goes by.
#[derive(Debug)]
pub struct Settings {
    pub config: Config,
    pub limits: Limits,
    /// Whose workers register; any, where it is not said.
    pub fleet: Option<FleetName>,
    pub traces: Traces,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a worker may send nothing while it has a request of ours. It sends a comment every 10 s.
    pub stall: Duration,
    /// Between two looks at `/ready`.
    pub probe_every: Duration,
    /// How long `/ready` may take.
    pub probe: Duration,
    /// How long a task of `/v2` goes on once all that followed its events have left.
    pub grace: Duration,
    /// How long a stream may be silent before a comment keeps it open.
    pub keep_alive: Duration,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// How long running tasks may go on once the end was asked for.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            stall: Duration::from_secs(30),
            probe_every: Duration::from_secs(2),
            probe: Duration::from_secs(2),
            grace: Duration::from_mins(5),
            keep_alive: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(30),
        }
    }
}

/// The core, and who listens to it; one lock holds both.
struct State {
    core: Core,
    live: HashMap<TaskId, Live>,
    said: told::Said,
}

/// A task that has not ended.
struct Live {
    tenant: TenantId,
    signals: UnboundedSender<Signal>,
    worker: Option<WorkerKey>,
    /// Those who follow its events, and how often their number became none.
    readers: u32,
    left: u64,
}

impl Orchestrator {
    pub fn new(
        settings: Settings,
        store: Store,
        keys: Arc<Keys>,
        rules: Option<Rules>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let config = settings.config;
        let core = match rules.clone() {
            Some(rules) => Core::new(config, Box::new(rules)),
            None => Core::new(config, Box::new(BuiltIn)),
        };
        let shown = Arc::clone(&keys);
        let orchestrator = Arc::new(Self {
            state: Mutex::new(State {
                core,
                live: HashMap::new(),
                said: told::Said::default(),
            }),
            began: Instant::now(),
            store,
            upstream: Upstream::new(move || shown.shown()),
            keys,
            metrics,
            rules,
            limits: settings.limits,
            fleet: settings.fleet,
            traces: settings.traces,
            wake: Notify::new(),
            sleeps_until: AtomicU64::new(0),
        });
        orchestrator.set_tenants();
        orchestrator
    }

    /// Looks whether files have changed.
    fn poll_files(&self) {
        if self.keys.poll() {
            self.set_tenants();
        }
        if let Some(rules) = &self.rules {
            rules.poll();
        }
    }

    fn set_tenants(&self) {
        let tenants = self.keys.limits();
        self.ask(|core, now| core.set_tenants(now, tenants));
    }

    pub fn now(&self) -> Now {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        Now {
            mono_ms: self.began.elapsed().as_millis() as u64,
            unix_ms: since_1970.unwrap_or_default().as_millis() as u64,
        }
    }

    /// When it began, in milliseconds since 1970.
    pub fn began_unix_ms(&self) -> u64 {
        let now = self.now();
        now.unix_ms.saturating_sub(now.mono_ms)
    }

    /// Asks the core something.
    pub fn ask<T>(&self, question: impl FnOnce(&mut Core, Now) -> T) -> T {
        let now = self.now();
        question(&mut self.state().core, now)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The core is whole between two calls, and no call of it is left by a panic of ours.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
