//! What must always be true, kept by its own books: none of the core's numbers is believed.

use std::collections::{BTreeMap, HashMap};

use pool_core::name::ModelId;
use pool_core::serving::{SseParser, StreamCheck, StreamFault};

use super::client::Client;
use super::fleet::word;
use crate::core::{NewTask, Priority, TenantId, TenantLimits};

/// What was seen, for all tenants and queues.
#[derive(Debug, Default)]
pub(super) struct Books {
    limits: BTreeMap<TenantId, TenantLimits>,
    live: BTreeMap<TenantId, u32>,
    used: BTreeMap<TenantId, u64>,
    queues: BTreeMap<ModelId, Queues>,
    /// Tasks that wait, by their client.
    waiting: HashMap<usize, Waiting>,
    admissions: u64,
}

#[derive(Debug, Default)]
struct Queues {
    /// Interactive tasks that started while a batch task waited.
    passed: u32,
    /// Tokens that each tenant was given.
    given: BTreeMap<(Priority, TenantId), f64>,
}

#[derive(Debug)]
struct Waiting {
    model: ModelId,
    tenant: TenantId,
    class: Priority,
    cost: f64,
    number: u64,
    /// An attempt failed: the task may have to wait for one certain worker.
    is_picky: bool,
    /// Tokens of its tenant up to and with it.
    own: f64,
    /// What each tenant had been given when it came.
    given: BTreeMap<(Priority, TenantId), f64>,
}

/// The most tokens that a task of a client costs.
const COST_MOST: f64 = 320.0;

/// So many tasks more may a tenant be given at one time: those that ran when another one came, whose tokens come back.
const SLACK: f64 = 6.0;

impl Books {
    pub fn new(limits: Vec<(TenantId, TenantLimits)>) -> Self {
        Self {
            limits: limits.into_iter().collect(),
            ..Self::default()
        }
    }

    /// A task is in its queue. `passed_before`: it is there again after a restart.
    pub fn admitted(&mut self, number: usize, task: &NewTask, again: bool) -> Result<(), String> {
        self.admissions += 1;
        let cost = cost(task);
        let mine = self.waiting.values().filter(|other| {
            (&other.model, &other.tenant, other.class) == (&task.model, &task.tenant, task.class)
        });
        let own = cost + mine.map(|other| other.cost).sum::<f64>();
        let given = &self.queues.entry(task.model.clone()).or_default().given;
        self.waiting.insert(
            number,
            Waiting {
                model: task.model.clone(),
                tenant: task.tenant.clone(),
                class: task.class,
                cost,
                number: self.admissions,
                is_picky: false,
                own,
                given: given.clone(),
            },
        );
        if again {
            return Ok(());
        }
        let live = self.live.entry(task.tenant.clone()).or_default();
        *live += 1;
        let most = self.limits[&task.tenant].concurrent;
        match most.filter(|&most| *live > most) {
            Some(most) => Err(format!("{live} tasks of {} live, {most} may", task.tenant)),
            None => Ok(()),
        }
    }

    /// A task goes to a worker.
    pub fn dispatched(&mut self, number: usize, share: u32) -> Vec<String> {
        let mut wrong = Vec::new();
        let Some(task) = self.waiting.remove(&number) else {
            return vec![format!("task {number} was dispatched and did not wait")];
        };
        let queues = self.queues.entry(task.model.clone()).or_default();
        let beside = |other: &&Waiting| other.model == task.model && !other.is_picky;
        let batch_waits = self
            .waiting
            .values()
            .filter(beside)
            .any(|other| other.class == Priority::Batch);
        let is_passing = task.class == Priority::Interactive && batch_waits;
        queues.passed = if is_passing { queues.passed + 1 } else { 0 };
        if queues.passed > share {
            wrong.push(format!("{} tasks passed a batch task", queues.passed));
        }
        let is_same = |other: &&Waiting| other.tenant == task.tenant && other.class == task.class;
        let mut same = self.waiting.values().filter(beside).filter(is_same);
        if !task.is_picky && same.any(|other| other.number < task.number) {
            wrong.push(format!("task {number} passed an older one of its tenant"));
        }
        if !task.is_picky {
            wrong.extend(self.fairness(&task));
        }
        let queues = self.queues.entry(task.model).or_default();
        *queues.given.entry((task.class, task.tenant)).or_default() += task.cost;
        wrong
    }

    /// Nobody got much more for its weight than a task's tenant while the task waited.
    fn fairness(&self, task: &Waiting) -> Option<String> {
        let weight = |tenant| self.limits[tenant].weight;
        let now = &self.queues[&task.model].given;
        let others = now
            .iter()
            .filter(|((class, tenant), _)| *class == task.class && *tenant != task.tenant);
        others
            .map(|(key, now)| (key, now - task.given.get(key).copied().unwrap_or(0.0)))
            .find(|((_, other), given)| {
                let fair = (task.own + SLACK * COST_MOST) / weight(&task.tenant);
                given / weight(other) > fair + SLACK * COST_MOST / weight(other)
            })
            .map(|((_, other), given)| {
                let Waiting { tenant, own, .. } = task;
                format!("{other} got {given} tokens while {tenant} waited for {own}")
            })
    }

    /// An attempt failed, and its task waits again.
    pub fn requeued(&mut self, number: usize, task: &NewTask) -> Result<(), String> {
        self.admitted(number, task, true)?;
        self.give(task, -cost(task));
        if let Some(waiting) = self.waiting.get_mut(&number) {
            waiting.is_picky = true;
        }
        Ok(())
    }

    /// A task has ended, by which it is charged with so many tokens; `seconds` since the run began.
    pub fn ended(
        &mut self,
        number: usize,
        task: &NewTask,
        used: u64,
        seconds: f64,
    ) -> Result<(), String> {
        if self.waiting.remove(&number).is_none() {
            self.give(task, used as f64 - cost(task));
        }
        if let Some(live) = self.live.get_mut(&task.tenant) {
            *live -= 1;
        }
        let limits = &self.limits[&task.tenant];
        let all = self.used.entry(task.tenant.clone()).or_default();
        *all += used;
        if limits.tokens_per_day.is_some_and(|most| *all > most) {
            return Err(format!("{} used {all} tokens in a day", task.tenant));
        }
        let in_time = |most: u64| most as f64 * (1.0 + seconds / 60.0) + 1.0;
        let most = limits.tokens_per_minute.map(in_time);
        match most.filter(|&most| *all as f64 > most) {
            Some(most) => Err(format!("{} used {all} tokens, {most} at most", task.tenant)),
            None => Ok(()),
        }
    }

    /// A task ran when the core was killed: it is not tried again.
    pub fn lost(&mut self, task: &NewTask) {
        self.give(task, cost(task));
    }

    /// The core is gone, and all that waited with it.
    pub fn killed(&mut self) {
        self.waiting.clear();
        self.queues.clear();
    }

    fn give(&mut self, task: &NewTask, tokens: f64) {
        let queues = self.queues.entry(task.model.clone()).or_default();
        let key = (task.class, task.tenant.clone());
        *queues.given.entry(key).or_default() += tokens;
    }
}

fn cost(task: &NewTask) -> f64 {
    (task.tokens_in + task.max_tokens.unwrap_or(0)) as f64
}

/// Whether everything that a client was sent is one whole answer: `queued`, then the stream of one worker or its failure,
/// ids without a gap, one terminal event at the end.
pub(super) fn stream(client: &Client) -> Result<(), String> {
    let frames = SseParser::default().push(&client.log);
    let mut check = StreamCheck::default();
    for (mut frame, id) in frames.into_iter().zip(0_u64..) {
        if frame.id != Some(id.to_string()) {
            return Err(format!("frame {id} has the id {:?}", frame.id));
        }
        if id == 0 {
            if frame.event != "queued" {
                return Err(format!("it begins with {}", frame.event));
            }
            continue;
        }
        frame.id = Some((id - 1).to_string());
        check.frame(&frame).map_err(|fault| fault.to_string())?;
    }
    match check.finish() {
        Ok(answer) => {
            let expected: String = (0..client.answer).map(word).collect();
            let is_ours = answer.job_id == client.task.id.as_str();
            (answer.text == expected && is_ours)
                .then_some(())
                .ok_or_else(|| "it is another answer".to_owned())
        }
        Err(StreamFault::Failed(_)) => Ok(()),
        Err(fault) => Err(fault.to_string()),
    }
}
