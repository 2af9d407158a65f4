//! Carries out a plan: every action as soon as what it needs is done, over all pools at once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use pool_core::name::PoolName;
use pool_core::supply::HubAccess;
use reconciler::plan::{Action, ActionId, ActionKind, Plan};
use schemars::JsonSchema;
use serde::Serialize;

use crate::actions::{Actor, Done, Fault, bytes};
use crate::allowance::Allowance;
use crate::fetch::Brought;
use crate::interrupt::Interrupt;
use crate::lease::Leases;
use crate::pools::Link;
use crate::progress::Progress;
use crate::transport::Bundles;

/// What became of one action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    Done {
        ms: u64,
        /// Of a fetch, the bytes that came.
        #[serde(skip_serializing_if = "Option::is_none")]
        brought: Option<Brought>,
    },
    Failed(Fault),
    /// Something that it needs was not done.
    Skipped {
        because: ActionId,
    },
    /// The run was interrupted before its turn.
    NotStarted,
    /// The run was ended while it was under way: what became of it is not known.
    Cut,
}

/// What an apply works with.
#[derive(Debug)]
pub struct Apply<'a> {
    pub plan: &'a Plan,
    /// Where folders of models are found from.
    pub folder: &'a Path,
    pub links: &'a BTreeMap<PoolName, Link>,
    pub leases: &'a Leases,
    pub bundles: &'a Bundles,
    pub access: &'a HubAccess,
    /// Most bytes that come from the hub.
    pub max_download: Option<u64>,
    /// Actions under way at the same time.
    pub parallelism: usize,
    pub progress: &'a Progress,
    pub interrupt: &'a Interrupt,
}

impl Apply<'_> {
    /// One status for each action of the plan, in its order.
    pub async fn run(&self) -> Vec<Status> {
        let _silence = self.progress.silence();
        let actor = Actor {
            folder: self.folder,
            links: self.links,
            leases: self.leases,
            bundles: self.bundles,
            plan: self.plan,
            access: self.access,
            allowance: Allowance::new(self.max_download, self.plan.download_bytes()),
            missing: Mutex::default(),
        };
        let mut statuses: Vec<Option<Status>> = vec![None; self.plan.actions.len()];
        let mut running = FuturesUnordered::new();
        let mut started = vec![false; statuses.len()];
        let mut told = false;
        loop {
            for action in &self.plan.actions {
                let index = action.id.0 as usize;
                if started[index] || statuses[index].is_some() {
                    continue;
                }
                match readiness(action, &statuses) {
                    _ if self.interrupt.asked() => statuses[index] = Some(Status::NotStarted),
                    Readiness::Never(because) => {
                        statuses[index] = Some(Status::Skipped { because });
                    }
                    Readiness::Now if running.len() < self.parallelism => {
                        started[index] = true;
                        running.push(self.act(&actor, action));
                    }
                    Readiness::Now | Readiness::Later => {}
                }
            }
            tokio::select! {
                biased;
                () = self.interrupt.times(2) => break,
                () = self.interrupt.times(1), if !told => {
                    told = true;
                    self.progress.line(
                        "Interrupted: what cannot be taken up later is finished first. Interrupt again to leave at once.",
                    );
                }
                next = running.next() => match next {
                    Some((id, status)) => statuses[id.0 as usize] = Some(status),
                    None => break,
                },
            }
        }
        statuses
            .into_iter()
            .map(|status| status.unwrap_or(Status::Cut))
            .collect()
    }

    async fn act(&self, actor: &Actor<'_>, action: &Action) -> (ActionId, Status) {
        let step = self.progress.step(action, bytes(action));
        let is_taken_up = matches!(action.kind, ActionKind::Fetch { .. });
        let done = tokio::select! {
            biased;
            done = actor.act(action, &step) => done,
            // What came is kept: waiting for the rest helps nobody.
            () = self.interrupt.times(1), if is_taken_up => {
                step.cut();
                return (action.id, Status::Cut);
            }
        };
        let status = match done {
            Ok(Done { detail, brought }) => {
                let ms = millis(step.elapsed());
                step.done(&detail);
                Status::Done { ms, brought }
            }
            Err(fault) => {
                step.failed(&fault);
                Status::Failed(fault)
            }
        };
        (action.id, status)
    }
}

enum Readiness {
    Now,
    Later,
    Never(ActionId),
}

fn readiness(action: &Action, statuses: &[Option<Status>]) -> Readiness {
    let mut readiness = Readiness::Now;
    let is_open = |id: &ActionId| statuses[id.0 as usize].is_none();
    if action.after.iter().any(is_open) {
        readiness = Readiness::Later;
    }
    for &need in &action.needs {
        match &statuses[need.0 as usize] {
            Some(Status::Done { .. }) => {}
            // The one that failed, not one that was skipped for it.
            Some(Status::Skipped { because }) => return Readiness::Never(*because),
            Some(_) => return Readiness::Never(need),
            None => readiness = Readiness::Later,
        }
    }
    readiness
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Locks a mutex whose data is whole at every moment, so that a panic elsewhere does not matter.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use reconciler::plan::ActionKind;
    use reconciler::reason::Reason;

    use super::*;

    fn action(needs: &[u32], after: &[u32]) -> Action {
        let ids = |ids: &[u32]| ids.iter().copied().map(ActionId).collect();
        Action {
            id: ActionId(9),
            pool: "here".parse().unwrap(),
            kind: ActionKind::Unregister {
                model: "tiny".parse().unwrap(),
                bytes: 1,
            },
            reason: Reason::NotDeclared,
            needs: ids(needs),
            after: ids(after),
            facts: Vec::new(),
        }
    }

    #[test]
    fn what_is_needed_must_be_done_and_what_is_waited_for_only_over() {
        let failed = Status::Failed(Fault::of("no"));
        let statuses = [
            Some(Status::Done {
                ms: 1,
                brought: None,
            }),
            Some(failed),
            None,
        ];
        let now = |needs: &[u32], after: &[u32]| {
            matches!(readiness(&action(needs, after), &statuses), Readiness::Now)
        };
        let never = |needs: &[u32], after: &[u32]| {
            let answer = readiness(&action(needs, after), &statuses);
            matches!(answer, Readiness::Never(ActionId(1)))
        };
        assert!(now(&[0], &[]) && now(&[0], &[1]) && now(&[], &[0, 1]));
        assert!(never(&[0, 1], &[]) && never(&[1], &[2]));
        for (needs, after) in [(&[2][..], &[][..]), (&[0], &[2]), (&[], &[1, 2])] {
            assert!(
                !now(needs, after) && !never(needs, after),
                "{needs:?} {after:?}"
            );
        }
    }
}
