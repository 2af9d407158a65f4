//! What the orchestrator decides: who is admitted, who is next, where it runs, what happens when that fails.
//!
//! A state machine without a clock, threads, files or chance: every call is told the time, and does not wait. A shell holds one
//! [`Core`] behind one lock, tells it what happens and does what it says:
//!
//! | when | call | then |
//! |---|---|---|
//! | a request comes | [`Core::submit`] | answer with [`Admitted`] or [`Refused`]; [`Core::dispatch`] |
//! | a worker registers or beats | [`Core::heartbeat`] | probe it if it is new |
//! | a probe of `/ready` ends | [`Core::probed`] | [`Core::dispatch`] |
//! | [`Core::dispatch`] names a [`Dispatch`] | | send it to the worker, read its stream through a [`relay::Relay`] |
//! | the stream's `started` | [`Core::started`] | |
//! | text, before it is passed on | [`Core::passed_on`] | pass it on if true; once is enough, more often counts tokens better |
//! | the stream's `end` | [`Core::ended`] | pass the end on if true; [`Core::dispatch`] |
//! | anything else ends the attempt | [`Core::failed`] | as [`Next`] says; [`Core::dispatch`] |
//! | the client leaves or cancels | [`Core::cancel`] | tell the worker; [`Core::dispatch`] |
//! | [`Core::next_wakeup`] | [`Core::tick`] | what each [`Effect`] says; [`Core::dispatch`] |
//! | after a restart | [`Core::restore_usage`], [`Core::charge`], [`Core::restore_promises`], then [`Core::restore`] | |
//!
//! ```
//! use orchestrator::core::*;
//!
//! let mut core = Core::new(Config::default(), Box::new(BuiltIn));
//! let now = Now { mono_ms: 0, unix_ms: 1_700_000_000_000 };
//! core.set_tenants(now, [("home".into(), TenantLimits::default())]);
//! core.heartbeat(now, WorkerInfo {
//!     id: "box/w1".into(),
//!     model: "tiny".parse()?,
//!     digest: None,
//!     pool: "box".into(),
//!     device: pool_core::device::Device::Cpu,
//!     url: "http://127.0.0.1:9000".into(),
//!     slots: 4,
//!     busy: 0,
//!     memory_free: 0,
//!     context_length: 4096,
//!     us_per_token: None,
//! });
//! core.probed(now, &"box/w1".into(), Condition::Ready);
//! let task = NewTask {
//!     id: "t1".into(),
//!     tenant: "home".into(),
//!     model: "tiny".parse()?,
//!     class: Priority::Interactive,
//!     tokens_in: 12,
//!     max_tokens: Some(100),
//!     session: None,
//!     prefixes: Vec::new(),
//!     deadline_ms: None,
//!     request: 1,
//! };
//! let admitted = core.submit(now, task)?;
//! assert_eq!(admitted.queue_position, 0);
//! let dispatched = core.dispatch(now);
//! assert_eq!(dispatched[0].url, "http://127.0.0.1:9000");
//! assert!(core.passed_on(&"t1".into(), 1, 1));
//! assert!(core.ended(now, &"t1".into(), 1, Used { tokens_in: 12, tokens_out: 1 }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Always true: a task ends once, and is waiting or running until then; after the first token that is passed on there is no
//! other attempt; what a tenant's live tasks may still need is within its quotas; everything that is remembered is bounded.
//!
//! | module | holds |
//! |---|---|
//! | `admit` | the checks of a submission |
//! | `queue`, `model` | who is next |
//! | `schedule`, `dispatch` | where it goes |
//! | `outcome`, `breaker` | what becomes of attempts |
//! | `fleet`, `worker` | the workers |
//! | `clock` | deadlines and silences |
//! | `quota`, `turns` | what tenants may use |
//! | `pace`, `promise` | how fast the queue drains, and who was told when to come back |
//! | `promised` | what they were told, as it is stored |
//! | `explain` | why a task is where it is |
//! | `policy` | where an operator's own rules take part |
//! | [`relay`] | a worker's stream, checked and numbered |

mod admit;
mod breaker;
mod clock;
mod config;
mod dispatch;
mod explain;
mod fleet;
mod ids;
mod model;
mod outcome;
mod pace;
mod policy;
mod promise;
mod promised;
mod queue;
mod quota;
pub mod relay;
mod schedule;
mod task;
#[cfg(test)]
mod tests;
mod turns;
mod worker;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pool_core::name::ModelId;

pub use admit::{Admitted, Refused};
pub use breaker::Breaker;
pub use clock::Effect;
pub use config::{Affinity, BreakerConfig, Config, Scheduling, WhenFull};
pub use dispatch::Dispatch;
pub use explain::{Attempt, Explanation, Outcome, Stage};
pub use ids::{Now, TaskId, TenantId, WorkerKey};
pub use outcome::{AttemptError, Cancelled, Next, Used};
pub use policy::{BuiltIn, Policy};
pub use promised::{Of, Promise, Promised, Served};
pub use quota::{Quota, TenantLimits, Usage};
pub use schedule::{Candidate, Decision, Filter, Snapshot, schedule};
pub use task::{NewTask, Priority, TaskView};
pub use worker::{Condition, Warmth, Worker, WorkerInfo, WorkerView};

/// All that is known of tasks, workers and tenants.
pub struct Core {
    config: Config,
    policy: Box<dyn Policy>,
    tasks: HashMap<TaskId, task::Task>,
    models: BTreeMap<ModelId, model::Model>,
    /// Which model each worker serves.
    workers: HashMap<WorkerKey, ModelId>,
    tenants: quota::Tenants,
    deadlines: BTreeSet<(u64, TaskId)>,
    recent: explain::Recent,
    /// Tasks that were submitted.
    number: u64,
    draining: bool,
}

impl Core {
    /// Without workers and tenants: nobody may submit before [`Core::set_tenants`].
    pub fn new(config: Config, policy: Box<dyn Policy>) -> Self {
        let declared = config.models.iter().cloned();
        Self {
            models: declared
                .map(|name| (name, model::Model::default()))
                .collect(),
            config,
            policy,
            tasks: HashMap::new(),
            workers: HashMap::new(),
            tenants: quota::Tenants::new(),
            deadlines: BTreeSet::new(),
            recent: explain::Recent::default(),
            number: 0,
            draining: false,
        }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn set_policy(&mut self, policy: Box<dyn Policy>) {
        self.policy = policy;
    }

    /// Makes these the tenants that may submit. Those that were there keep what they used; tasks of those that are gone go on.
    pub fn set_tenants(
        &mut self,
        now: Now,
        tenants: impl IntoIterator<Item = (TenantId, TenantLimits)>,
    ) {
        self.tenants.set(now, tenants);
    }

    /// Whether a tenant has a quota of tokens, so that those of a prompt want counting.
    pub fn counts_tokens(&self, tenant: &TenantId) -> bool {
        self.tenants.counts_tokens(tenant)
    }

    /// What a tenant used, to be stored.
    pub fn usage(&mut self, now: Now, tenant: &TenantId) -> Option<Usage> {
        self.tenants.usage(now, tenant)
    }

    /// Takes up what a tenant used before a restart. Call it once, after [`Core::set_tenants`].
    pub fn restore_usage(&mut self, now: Now, tenant: &TenantId, usage: Usage) {
        self.tenants.restore(now, tenant, usage);
    }

    /// Charges a tenant with what a task used that a restart ended.
    pub fn charge(&mut self, now: Now, tenant: &TenantId, used: u64) {
        self.tenants.charge(now, tenant, used);
    }

    /// Admits nothing more, or again.
    pub fn drain(&mut self, draining: bool) {
        self.draining = draining;
    }

    pub fn is_draining(&self) -> bool {
        self.draining
    }

    /// Tasks that workers have.
    pub fn running(&self) -> usize {
        let queued: usize = Priority::ALL
            .into_iter()
            .map(|class| self.queued(class))
            .sum();
        self.live().saturating_sub(queued)
    }

    /// Tasks that wait or run.
    pub fn live(&self) -> usize {
        self.tasks.len()
    }

    /// Tasks that wait, in all queues.
    pub fn queued(&self, class: Priority) -> usize {
        let queues = self.models.values().map(|model| model.queue(class));
        queues.map(queue::Queue::len).sum()
    }
}
