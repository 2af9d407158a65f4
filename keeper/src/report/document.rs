//! What `--json` prints of a plan.

use reconciler::plan::{Plan, Totals};
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::ErrorReport;

/// The one document of `plan --json` and `show --json`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct PlanDocument<'a> {
    pub plan: &'a Plan,
    pub totals: Totals,
    /// Of a saved plan, where it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saved: Option<Made<'a>>,
    /// Why the plan may not be carried out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
}

/// When and by which rbee a plan was made.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Made<'a> {
    /// RFC 3339.
    pub at: String,
    pub by: &'a str,
}

impl<'a> PlanDocument<'a> {
    pub fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            totals: plan.totals(),
            saved: None,
            error: None,
        }
    }
}
