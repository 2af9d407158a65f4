//! Starts a worker; where it takes the place of another and does not become ready, the other serves on.

use pool_core::facts::Fact;
use pool_core::rpc::{ErrorCode, Outcome, Request};
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

    /// Asks of it what its model must answer. One that answers otherwise served all the same before: it does again, and
    /// is said to.
    async fn bring_back(&self, old: &WorkerSpec, hive: &HiveClient, step: &Step<'_>) -> String {
        step.note("the old worker is started again");
        let start = async |canary: &Canary| {
            let request = self.request(old, canary);
            hive.call(request, |event| tell(step, event)).await
        };
        let any = Canary::default();
        let is_of_it = old.model == self.spec.model;
        let (answer, but) = match start(if is_of_it { self.canary } else { &any }).await {
            Err(CallError::Hive { error, .. }) if error.code == ErrorCode::GateFailed => (
                start(&any).await,
                ", though it does not answer as its canary expects either",
            ),
            answer => (answer, ""),
        };
        match answer {
            Ok(Outcome::Spawned(record)) => {
                format!("the old worker serves again, at {}{but}", record.listen)
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
