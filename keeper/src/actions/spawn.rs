//! Starts a worker; where it takes the place of another and does not become ready, the other serves on.

use pool_core::facts::Fact;
use pool_core::rpc::{Outcome, Request};
use pool_core::worker::{Canary, WorkerSpec};
use reconciler::plan::Order;

use super::{Done, Fault, tell};
use crate::progress::Step;
use crate::transport::{CallError, HiveClient};

/// A worker that is to come.
#[derive(Debug)]
pub(super) struct Spawn<'a> {
    pub spec: &'a WorkerSpec,
    pub replaces: Option<Order>,
    /// What stopped for it.
    pub restore: Option<&'a WorkerSpec>,
    pub canary: &'a Canary,
    pub protect: bool,
    /// What must still be so on the pool.
    pub expect: &'a [Fact],
}

impl Spawn<'_> {
    pub async fn run(&self, hive: &HiveClient, step: &Step<'_>) -> Result<Done, Fault> {
        let request = self.request(self.spec, self.canary);
        let answer = hive
            .call_while(self.expect, request, |event| tell(step, event))
            .await;
        let error = match answer {
            Ok(Outcome::Spawned(record)) => return Ok(format!("ready at {}", record.listen).into()),
            Ok(other) => return Err(Fault::odd(&other)),
            Err(error) => error,
        };
        // Of a pool that is lost nothing can be said.
        let is_lost = matches!(error, CallError::Lost { .. });
        let mut fault = Fault::from(error);
        let old = match (self.restore, self.replaces) {
            _ if is_lost => return Err(fault),
            (Some(old), _) => self.bring_back(old, hive, step).await,
            (None, Some(Order::StartFirst)) => "the old worker stays".into(),
            (None, _) => return Err(fault),
        };
        // Before the worker's log, where that stands behind.
        let end = fault.what.find('\n').unwrap_or(fault.what.len());
        fault.what.insert_str(end, &format!("; {old}"));
        Err(fault)
    }

    /// Any answer will do: what the new one must answer was not asked of the old one.
    async fn bring_back(&self, old: &WorkerSpec, hive: &HiveClient, step: &Step<'_>) -> String {
        step.note("the old worker is started again");
        let request = self.request(old, &Canary::default());
        match hive.call(request, |event| tell(step, event)).await {
            Ok(Outcome::Spawned(record)) => {
                format!("the old worker serves again, at {}", record.listen)
            }
            Ok(other) => format!("the old worker does not serve again: {other:?}"),
            Err(error) => format!("the old worker does not serve again: {error}"),
        }
    }

    fn request(&self, spec: &WorkerSpec, canary: &Canary) -> Request {
        Request::Spawn {
            spec: Box::new(spec.clone()),
            canary: canary.clone(),
            protect: self.protect,
        }
    }
}
