//! The events of `--json-stream`: one JSON object a line.

use std::collections::BTreeMap;

use pool_core::name::PoolName;
use reconciler::plan::{Action, ActionId, Bill, Blocked, Totals, UnknownPool};
use serde::Serialize;

use crate::actions::Fault;
use crate::apply::Status;

/// One line.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Event<'a> {
    /// The first.
    Version {
        format: u32,
        rbee: &'a str,
    },
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
    /// The last.
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
        bills: &'a BTreeMap<PoolName, Bill>,
    },
}

/// Which action it is about.
#[derive(Debug, Serialize)]
pub(super) struct Name<'a> {
    pub id: ActionId,
    pub pool: &'a str,
    /// Such as `spawn chat/mac/metal:0/0`.
    pub action: String,
}

/// An action that was not begun, or not ended.
#[derive(Debug, Serialize)]
pub(super) struct NotDone<'a> {
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
        Self {
            id: action.id,
            pool: action.pool.as_str(),
            action: action.kind.to_string(),
        }
    }
}
