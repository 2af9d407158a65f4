//! The events of `--json-stream`: one JSON object a line.

use std::collections::BTreeMap;

use pool_core::address::WorkerAddress;
use pool_core::name::PoolName;
use pool_core::rpc::Subject;
use reconciler::plan::{
    Action, ActionId, ActionKind, Bill, Blocked, LeftOut, Outage, Totals, UnknownPool,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::actions::Fault;
use crate::apply::Status;
use crate::failure::ErrorReport;
use crate::report::plan::entry;

/// One line.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event<'a> {
    /// The first.
    Version {
        format: u32,
        rbee: &'a str,
    },
    /// Part of the plan.
    PlannedAction {
        #[serde(flatten)]
        name: Name<'a>,
        reason: String,
        needs: &'a [ActionId],
        after: &'a [ActionId],
    },
    ApplyStart {
        #[serde(flatten)]
        name: Name<'a>,
        /// Bytes, where it moves any.
        total: Option<u64>,
    },
    ApplyProgress {
        #[serde(flatten)]
        name: Name<'a>,
        done: Option<u64>,
        total: Option<u64>,
        /// Bytes a second.
        rate: Option<u64>,
        eta_s: Option<u64>,
        message: &'a str,
    },
    ApplyComplete {
        #[serde(flatten)]
        name: Name<'a>,
        detail: &'a str,
        ms: u64,
    },
    ApplyErrored {
        #[serde(flatten)]
        name: Name<'a>,
        #[serde(flatten)]
        fault: &'a Fault,
    },
    Note {
        message: &'a str,
    },
    /// What a plan comes to, and where it was carried out what became of it.
    Summary {
        /// The exit code.
        exit: u8,
        planned: Totals,
        /// None of a plan that was not carried out.
        done: Option<&'a Totals>,
        not_done: Vec<NotDone<'a>>,
        blocked: &'a [Blocked],
        unknown: &'a [UnknownPool],
        warnings: &'a [String],
        outages: &'a [Outage],
        bills: &'a BTreeMap<PoolName, Bill>,
        /// None where the plan is of the whole fleet.
        left_out: Option<&'a LeftOut>,
    },
    /// What a command that plans nothing found: `value` is what it prints with `--json`.
    Result {
        command: &'a str,
        /// The exit code.
        exit: u8,
        value: Value,
    },
    /// The command failed as a whole; nothing comes after it.
    Error {
        error: ErrorReport,
    },
}

/// Which action it is about.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Name<'a> {
    pub id: ActionId,
    pub pool: &'a str,
    /// As in the plan: `install`, `register`, `fetch`, `spawn`, `stop`, `update`, `unregister`, `link`, `unlink`, `configure`,
    /// `start_orchestrator` or `stop_orchestrator`.
    pub action: &'static str,
    /// The address of the worker, or its id where it has none; the name of the model; the build; where the orchestrator
    /// listens, or workers register.
    pub subject: String,
    /// Such as `replace chat/mac/metal:0/0`.
    pub text: String,
}

/// An action that was not begun, or not ended.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NotDone<'a> {
    #[serde(flatten)]
    pub name: Name<'a>,
    #[serde(flatten)]
    pub status: &'a Status,
}

impl Event<'_> {
    pub const VERSION: Self = Self::Version {
        format: 1,
        rbee: pool_core::VERSION,
    };
}

impl<'a> Name<'a> {
    pub fn of(action: &'a Action) -> Self {
        let worker = |address: &Option<WorkerAddress>, else_: &dyn ToString| match address {
            Some(address) => address.to_string(),
            None => else_.to_string(),
        };
        let (word, subject) = match &action.kind {
            ActionKind::Install { to, .. } => ("install", to.short()),
            ActionKind::Register { model, .. } => ("register", model.to_string()),
            ActionKind::Fetch { model, .. } => ("fetch", model.to_string()),
            ActionKind::Spawn { spec, .. } => ("spawn", worker(&spec.address, &spec.model)),
            ActionKind::Stop {
                worker: id,
                address,
                ..
            } => ("stop", worker(address, id)),
            ActionKind::Update {
                subject: Subject::Worker(id),
                address,
                ..
            } => ("update", worker(address, id)),
            ActionKind::Update {
                subject: Subject::Model(model),
                ..
            } => ("update", model.to_string()),
            ActionKind::Unregister { model, .. } => ("unregister", model.to_string()),
            ActionKind::Link { orchestrator, .. } => ("link", entry::linked(orchestrator.as_ref())),
            ActionKind::Configure { path, .. } => ("configure", path.clone()),
            ActionKind::Unlink => ("unlink", "orchestrator".into()),
            ActionKind::StartOrchestrator { spec, .. } => {
                ("start_orchestrator", spec.listen.to_string())
            }
            ActionKind::StopOrchestrator => ("stop_orchestrator", "orchestrator".into()),
        };
        Self {
            id: action.id,
            pool: action.pool.as_str(),
            action: word,
            subject,
            text: action.kind.to_string(),
        }
    }
}
