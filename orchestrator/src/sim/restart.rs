//! The orchestrator is killed, and starts again from what it stored.

use super::shell::cancelled;
use super::world::World;
use crate::core::{BuiltIn, Core, TenantId};

impl World {
    /// The orchestrator is gone, and every connection with it.
    pub(super) fn kill(&mut self) {
        self.core = None;
        self.runs.clear();
        for worker in &mut self.workers {
            worker.running = 0;
        }
        self.books.killed();
    }

    /// What clients were told is stored.
    pub(super) fn keep(&mut self) {
        let now = self.clock();
        if let Some(core) = &self.core {
            self.promised = core.promised(now);
        }
    }

    /// What a tenant used is stored.
    pub(super) fn charged(&mut self, tenant: &TenantId) {
        let now = self.clock();
        let usage = self.core.as_mut().and_then(|core| core.usage(now, tenant));
        self.stored
            .extend(usage.map(|usage| (tenant.clone(), usage)));
    }

    /// It starts from what it stored.
    pub(super) fn restart(&mut self) {
        self.report.restarts += 1;
        self.start();
        let now = self.clock();
        let mut waiting = Vec::new();
        for number in 0..self.clients.len() {
            let client = &self.clients[number];
            if client.is_live() && client.next_id > 1 {
                let used = client.task.tokens_in + client.tokens;
                let tenant = &client.task.tenant;
                if let Some(core) = &mut self.core {
                    core.charge(now, tenant, used);
                }
                self.books.lost(&client.task);
                self.end(number, "interrupted", Some(cancelled()), used);
            } else if client.is_live() {
                waiting.push(number);
            }
        }
        waiting.sort_by_key(|&number| self.clients[number].admitted);
        for number in waiting {
            let client = &self.clients[number];
            let mut task = client.task.clone();
            task.deadline_ms = Some(client.deadline.saturating_sub(self.now).max(1));
            let again = self.books.admitted(number, &task, true);
            if let Some(core) = &mut self.core {
                core.restore(now, [task]);
            }
            self.expect(again);
        }
    }

    pub(super) fn start(&mut self) {
        let now = self.clock();
        let mut core = Core::new(self.options.config.clone(), Box::new(BuiltIn));
        core.set_tenants(now, self.options.tenants.clone());
        for (tenant, usage) in &self.stored {
            core.restore_usage(now, tenant, *usage);
        }
        core.restore_promises(now, self.promised.clone());
        self.core = Some(core);
    }
}
