//! The core, driven by hand.

mod admission;
mod attempts;
mod order;
mod time;

use pool_core::device::Device;
use pool_core::serving::{Failure, FailureCode};

use super::*;

struct Lab {
    core: Core,
    now: Now,
    submitted: u64,
}

fn lab(config: Config) -> Lab {
    let mut core = Core::new(config, Box::new(BuiltIn));
    let now = Now {
        mono_ms: 0,
        unix_ms: 1_700_000_000_000,
    };
    core.set_tenants(now, [("home".into(), TenantLimits::default())]);
    Lab {
        core,
        now,
        submitted: 0,
    }
}

fn info(name: &str, slots: u32) -> WorkerInfo {
    WorkerInfo {
        id: name.into(),
        model: "tiny".parse().unwrap(),
        digest: None,
        pool: "p".into(),
        device: Device::Cpu,
        url: format!("http://{name}"),
        slots,
        busy: 0,
        memory_free: 0,
        context_length: 1000,
        us_per_token: Some(10_000),
    }
}

impl Lab {
    /// With workers that are ready.
    fn with(mut self, workers: &[(&str, u32)]) -> Self {
        for (name, slots) in workers {
            assert!(self.core.heartbeat(self.now, info(name, *slots)));
            self.core
                .probed(self.now, &(*name).into(), Condition::Ready);
        }
        self
    }

    fn task(&self, class: Priority) -> NewTask {
        NewTask {
            id: format!("t{}", self.submitted).into(),
            tenant: "home".into(),
            model: "tiny".parse().unwrap(),
            class,
            tokens_in: 50,
            max_tokens: Some(50),
            session: None,
            prefixes: Vec::new(),
            deadline_ms: None,
            request: self.submitted,
        }
    }

    fn submit(&mut self, class: Priority) -> Result<Admitted, Refused> {
        let task = self.task(class);
        self.submitted += 1;
        self.core.submit(self.now, task)
    }

    /// Submits so many tasks that are all admitted.
    fn fill(&mut self, class: Priority, count: usize) {
        for _ in 0..count {
            self.submit(class).unwrap();
        }
    }

    fn dispatch(&mut self) -> Vec<String> {
        let dispatched = self.core.dispatch(self.now);
        let names = dispatched
            .iter()
            .map(|d| format!("{} {}", d.task, d.worker));
        names.collect()
    }

    fn end(&mut self, task: &str) -> bool {
        let used = Used {
            tokens_in: 50,
            tokens_out: 10,
        };
        self.core.ended(self.now, &task.into(), 1, used)
    }

    fn fail(&mut self, task: &str, attempt: u32, error: AttemptError) -> Next {
        self.core.failed(self.now, &task.into(), attempt, error)
    }
}

fn status(status: u16) -> AttemptError {
    AttemptError::Status {
        status,
        message: String::new(),
    }
}

fn connect() -> AttemptError {
    AttemptError::Connect {
        message: String::new(),
    }
}
