//! Has the workers of the fleet know its orchestrator, and starts and stops that.

use std::collections::BTreeMap;

use pool_core::facts::About;
use pool_core::name::PoolName;

use super::PoolPlanner;
use crate::diff::{Binaries, Drift, LinkDrift, OrchestratorDrift, PoolDrift};
use crate::plan::{ActionId, ActionKind, Plan, Token};

/// The pools whose link is written, in an order in which a token is there before another pool asks for it.
pub(super) fn linked(drift: &Drift) -> Vec<&PoolName> {
    let written = drift.pools.iter().filter_map(|(pool, drift)| match drift {
        PoolDrift::Known(known) => match &known.link {
            Some(LinkDrift::Write { token, .. }) => Some((*token != Token::Own, pool)),
            _ => None,
        },
        PoolDrift::Unknown(_) => None,
    });
    let mut written: Vec<_> = written.collect();
    written.sort();
    written.into_iter().map(|(_, pool)| pool).collect()
}

/// What becomes of an orchestrator that is to go.
pub(super) enum Leave {
    /// It goes once this is done; at once where that is nothing.
    After(Option<ActionId>),
    /// Its successor cannot be started now.
    Not { successor: PoolName },
}

impl Leave {
    pub fn of(drift: &Drift, started: Option<ActionId>) -> Self {
        let Some(home) = &drift.orchestrator else {
            return Self::After(None);
        };
        let can_run = match drift.pools.get(home) {
            Some(PoolDrift::Known(known)) => {
                let is_blocked =
                    matches!(known.orchestrator, Some(OrchestratorDrift::Blocked { .. }));
                !is_blocked && !matches!(known.binaries, Some(Binaries::NoBuild { .. }))
            }
            _ => false,
        };
        if can_run {
            Self::After(started)
        } else {
            Self::Not {
                successor: home.clone(),
            }
        }
    }
}

impl PoolPlanner<'_, '_> {
    /// `links` are the links that the plan writes already.
    pub(super) fn link(&mut self, base: &[ActionId], links: &BTreeMap<PoolName, ActionId>) {
        let Some(LinkDrift::Write {
            orchestrator,
            token,
            reason,
            was,
        }) = &self.drift.link
        else {
            return;
        };
        let mut needs = base.to_vec();
        if let Token::Of(giver) = token {
            needs.extend(links.get(giver));
        }
        let link = ActionKind::Link {
            orchestrator: orchestrator.clone(),
            token: token.clone(),
        };
        let facts = self.fact(About::Link, *was);
        self.act(link, reason.clone(), needs, facts);
    }

    /// Returns the start, where there is one.
    pub(super) fn orchestrator(
        &mut self,
        base: &[ActionId],
        link: Option<ActionId>,
    ) -> Option<ActionId> {
        let Some(drift) = &self.drift.orchestrator else {
            self.configure(base);
            return None;
        };
        match drift {
            OrchestratorDrift::Start {
                spec,
                replaces,
                reason,
                was,
            } => {
                let start = ActionKind::StartOrchestrator {
                    spec: spec.clone(),
                    replaces: *replaces,
                };
                let files = self.configure(base);
                let needs = base.iter().copied().chain(link).chain(files).collect();
                let facts = self.fact(About::Orchestrator, *was);
                Some(self.act(start, reason.clone(), needs, facts))
            }
            OrchestratorDrift::Blocked { why } => {
                self.block("orchestrator", why);
                None
            }
            OrchestratorDrift::Stop { .. } => None,
        }
    }

    /// Gives it the files that hold something else. What runs reads them at once.
    fn configure(&mut self, base: &[ActionId]) -> Vec<ActionId> {
        let configs = self.drift.configs.iter();
        let given = configs.map(|config| {
            let configure = ActionKind::Configure {
                file: config.file,
                path: config.wanted.path.clone(),
                digest: config.wanted.digest,
            };
            let facts = self.fact(About::Config(config.file), config.was);
            self.act(configure, config.reason(), base.to_vec(), facts)
        });
        given.collect()
    }

    /// Stops the orchestrator when the undeclared workers of all pools are, and takes the link away when nobody of the
    /// fleet is left there.
    pub(super) fn leave_orchestrator(mut self, base: &[ActionId], leave: &Leave) {
        let mut left = base.to_vec();
        if let Some(OrchestratorDrift::Stop { reason, was }) = &self.drift.orchestrator {
            let started = match leave {
                Leave::After(started) => *started,
                Leave::Not { successor } => {
                    let why = format!("it stays until the one on {successor} can be started");
                    self.block("orchestrator", &why);
                    return;
                }
            };
            let needs = base.iter().copied().chain(started).collect();
            let facts = self.fact(About::Orchestrator, Some(*was));
            let stop = self.act(ActionKind::StopOrchestrator, reason.clone(), needs, facts);
            self.plan.actions[stop.0 as usize].after = stops(self.plan, |_| true);
            left.push(stop);
        }
        if let Some(LinkDrift::Remove { reason, was }) = &self.drift.link {
            let pool = self.pool;
            left.extend(stops(self.plan, |of| of == pool));
            let asked = self.plan.actions.iter().filter(|action| {
                matches!(&action.kind, ActionKind::Link { token: Token::Of(giver), .. } if giver == pool)
            });
            left.extend(asked.map(|action| action.id));
            left.sort_unstable();
            left.dedup();
            let facts = self.fact(About::Link, Some(*was));
            self.act(ActionKind::Unlink, reason.clone(), left, facts);
        }
    }
}

/// The stops of workers on these pools.
fn stops(plan: &Plan, is_there: impl Fn(&PoolName) -> bool) -> Vec<ActionId> {
    let stops = plan
        .actions
        .iter()
        .filter(|action| matches!(action.kind, ActionKind::Stop { .. }) && is_there(&action.pool));
    stops.map(|action| action.id).collect()
}
