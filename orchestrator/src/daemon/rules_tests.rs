use std::path::Path;

use pool_core::device::Device;

use super::*;
use crate::core::{
    Condition, Config, Core, NewTask, Now, Priority, TenantLimits, Used, WorkerInfo,
};

/// Answers with all that it is shown of the workers, and what it knows of them by the task.
const DUMP: &str = r"
    fn all(snapshot, task) {
        let said = task.id + ` ${snapshot.queued_interactive} ${snapshot.last}`;
        for worker in snapshot.workers {
            for name in worker.keys() {
                said += ` ${name} ${worker[name]}`;
            }
        }
        said
    }
    fn schedule(snapshot, task) { all(snapshot, task) }
    fn admit(snapshot, task) { all(snapshot, task) }
";

/// Goes where fewest tasks run.
const FEWEST: &str = "
    fn schedule(snapshot, task) {
        let best = snapshot.workers[0];
        for worker in snapshot.workers {
            if worker.running < best.running { best = worker; }
        }
        best.id
    }
";

fn open(path: &Path) -> Rules {
    Rules::open(path, Arc::default()).unwrap()
}

fn script(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn info(number: usize) -> WorkerInfo {
    WorkerInfo {
        id: format!("w{number}").into(),
        model: "tiny".parse().unwrap(),
        digest: None,
        pool: "p".into(),
        device: Device::Cpu,
        url: "http://127.0.0.1:1".into(),
        slots: 2,
        busy: 0,
        memory_free: 0,
        context_length: 1000,
        us_per_token: None,
    }
}

fn task(number: u64) -> NewTask {
    NewTask {
        id: format!("t{number}").into(),
        tenant: "home".into(),
        model: "tiny".parse().unwrap(),
        class: Priority::Interactive,
        tokens_in: 10,
        max_tokens: Some(10),
        session: Some(number % 3),
        prefixes: vec![100 + number % 2, 200 + number % 4],
        deadline_ms: None,
        request: number,
    }
}

fn at(mono_ms: u64) -> Now {
    Now {
        mono_ms,
        unix_ms: 1_700_000_000_000 + mono_ms,
    }
}

fn core(policy: impl Policy + 'static, workers: usize) -> Core {
    let mut core = Core::new(Config::default(), Box::new(policy));
    core.set_tenants(at(0), [("home".into(), TenantLimits::default())]);
    for number in 0..workers {
        core.heartbeat(at(0), info(number));
        core.probed(at(0), &info(number).id, Condition::Ready);
    }
    core
}

#[test]
fn a_script_sees_what_it_decided_before_in_the_same_round() {
    let file = script(FEWEST);
    let mut core = core(open(file.path()), 3);
    for number in 0..6 {
        core.submit(at(0), task(number)).unwrap();
    }
    let dispatched = core.dispatch(at(0));
    let to: Vec<_> = dispatched.iter().map(|d| d.worker.as_str()).collect();
    assert_eq!(to, ["w0", "w1", "w2", "w0", "w1", "w2"]);
    let explained = core.explain(at(0), &"t5".into()).unwrap();
    assert!(explained.attempts[0].decision.by_policy);
}

/// Asks rules that remember what they showed and rules that never showed anything.
struct Both {
    rules: Rules,
    path: std::path::PathBuf,
    asked: Arc<std::sync::atomic::AtomicUsize>,
}

impl Both {
    fn same<T: PartialEq + std::fmt::Debug>(&mut self, ask: impl Fn(&mut Rules) -> Option<T>) {
        let said = ask(&mut self.rules);
        assert!(said.is_some());
        assert_eq!(said, ask(&mut open(&self.path)));
        self.asked
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Policy for Both {
    fn refuses(&mut self, snapshot: &Snapshot<'_>, task: &TaskView) -> Option<String> {
        self.same(|rules| rules.refuses(snapshot, task));
        None
    }

    fn choose(
        &mut self,
        snapshot: &Snapshot<'_>,
        task: &TaskView,
        decision: &Decision,
    ) -> Option<WorkerKey> {
        self.same(|rules| rules.choose(snapshot, task, decision));
        None
    }

    fn repeats(&mut self, _: &Snapshot<'_>, _: &TaskView, _: &AttemptError) -> Option<bool> {
        None
    }
}

#[test]
fn what_is_shown_is_never_behind_whatever_happens_to_the_workers() {
    let file = script(DUMP);
    let asked = Arc::default();
    let both = Both {
        rules: open(file.path()),
        path: file.path().to_owned(),
        asked: Arc::clone(&asked),
    };
    let mut core = core(both, 4);
    let mut random = fastrand::Rng::with_seed(3);
    let mut running = Vec::new();
    for step in 0..400 {
        let now = at(step * 10);
        let number = random.usize(..5);
        let id = info(number).id;
        match random.u8(..10) {
            0..4 => drop(core.submit(now, task(step))),
            4 if !running.is_empty() => {
                let done: crate::core::Dispatch =
                    running.swap_remove(random.usize(..running.len()));
                core.ended(now, &done.task, done.attempt, Used::default());
            }
            5 if !running.is_empty() => {
                let cut: crate::core::Dispatch = running.swap_remove(random.usize(..running.len()));
                core.failed(now, &cut.task, cut.attempt, AttemptError::Cut);
            }
            6 => {
                let busy = random.u32(..2);
                core.heartbeat(
                    now,
                    WorkerInfo {
                        busy,
                        ..info(number)
                    },
                );
            }
            7 => core.probed(now, &id, Condition::Ready),
            8 => drop(core.drain_worker(&id, random.bool())),
            9 if random.u8(..4) == 0 => core.forget(&id),
            _ => {}
        }
        running.extend(core.dispatch(now));
    }
    let asked = asked.load(std::sync::atomic::Ordering::Relaxed);
    assert!(asked > 100, "{asked}");
}
