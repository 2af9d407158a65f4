//! Tasks of one class that wait for one model, each tenant in its own lane.
//!
//! Whose turn it is: the tenant that got the fewest tokens for its weight since the queue was last empty. A tenant that
//! comes to a queue begins where the others are, so that nobody saves turns up. With one tenant it is first in, first out.
//! Source: Sheng et al., "Fairness in Serving Large Language Models" (OSDI 2024), the virtual token counter.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use super::ids::{TaskId, TenantId};

/// A task in a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    pub id: TaskId,
    /// Counts submissions.
    pub number: u64,
    /// Tokens that it is taken to need.
    pub cost: u64,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    lanes: BTreeMap<TenantId, Lane>,
    /// What the last task to leave had been given before: where a tenant begins.
    floor: f64,
    len: usize,
    tokens: u64,
}

#[derive(Debug)]
struct Lane {
    /// Tokens over weight.
    given: f64,
    weight: f64,
    tasks: VecDeque<Waiting>,
}

impl Queue {
    pub fn len(&self) -> usize {
        self.len
    }

    /// What all that wait are taken to need.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    pub fn len_of(&self, tenant: &TenantId) -> usize {
        self.lanes.get(tenant).map_or(0, |lane| lane.tasks.len())
    }

    /// Puts a task where its number belongs: at the end for one that comes, at the front for one that comes back.
    pub fn insert(&mut self, tenant: &TenantId, weight: f64, task: Waiting) {
        let floor = self.floor;
        let lane = self.lanes.entry(tenant.clone()).or_insert_with(|| Lane {
            given: floor,
            weight,
            tasks: VecDeque::new(),
        });
        lane.weight = weight;
        if lane.tasks.is_empty() {
            lane.given = lane.given.max(floor);
        }
        self.len += 1;
        self.tokens += task.cost;
        let at = lane.tasks.partition_point(|t| t.number < task.number);
        lane.tasks.insert(at, task);
    }

    /// Takes out a task that goes to a worker.
    pub fn take(&mut self, tenant: &TenantId, id: &TaskId) {
        let Some(lane) = self.lanes.get_mut(tenant) else {
            return;
        };
        let Some(at) = lane.tasks.iter().position(|task| task.id == *id) else {
            return;
        };
        let before: u64 = lane.tasks.range(..at).map(|task| task.cost).sum();
        self.floor = self.floor.max(lane.given + before as f64 / lane.weight);
        lane.given += lane.tasks[at].cost as f64 / lane.weight;
        self.remove(tenant, id);
    }

    /// Takes out a task that goes nowhere.
    pub fn remove(&mut self, tenant: &TenantId, id: &TaskId) {
        let Some(lane) = self.lanes.get_mut(tenant) else {
            return;
        };
        let Some(at) = lane.tasks.iter().position(|task| task.id == *id) else {
            return;
        };
        if let Some(task) = lane.tasks.remove(at) {
            self.len -= 1;
            self.tokens -= task.cost;
        }
        if self.len == 0 {
            self.lanes.clear();
            self.floor = 0.0;
        }
    }

    /// Corrects what a tenant was given for a task that left: it used other than it was taken to need.
    pub fn settle(&mut self, tenant: &TenantId, cost: u64, used: u64) {
        if let Some(lane) = self.lanes.get_mut(tenant) {
            lane.given += (used as f64 - cost as f64) / lane.weight;
        }
    }

    /// All that wait, in the order of their turns.
    pub fn order(&self) -> impl Iterator<Item = (&TenantId, &Waiting)> {
        let turn = |tenant, lane: &Lane, given: f64, at: usize| {
            let number = lane.tasks.get(at)?.number;
            Some(Reverse(Turn {
                given,
                number,
                tenant,
                at,
            }))
        };
        let first = self.lanes.iter();
        let mut turns: BinaryHeap<_> = first
            .filter_map(|(tenant, lane)| turn(tenant, lane, lane.given, 0))
            .collect();
        std::iter::from_fn(move || {
            let Reverse(now) = turns.pop()?;
            let lane = self.lanes.get(now.tenant)?;
            let task = lane.tasks.get(now.at)?;
            let given = now.given + task.cost as f64 / lane.weight;
            turns.extend(turn(now.tenant, lane, given, now.at + 1));
            Some((now.tenant, task))
        })
    }

    /// The task that came first of all.
    pub fn oldest(&self) -> Option<&TaskId> {
        let heads = self.lanes.values().filter_map(|lane| lane.tasks.front());
        heads.min_by_key(|task| task.number).map(|task| &task.id)
    }

    /// The task that came last of all.
    pub fn newest(&self) -> Option<&TaskId> {
        let tails = self.lanes.values().filter_map(|lane| lane.tasks.back());
        tails.max_by_key(|task| task.number).map(|task| &task.id)
    }
}

/// When a task has its turn: fewest tokens given first, of equals the one that came first.
struct Turn<'a> {
    given: f64,
    number: u64,
    tenant: &'a TenantId,
    at: usize,
}

impl Ord for Turn<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let order = self.given.total_cmp(&other.given);
        order.then(self.number.cmp(&other.number))
    }
}

impl PartialOrd for Turn<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Turn<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(tasks: &[(&str, f64, u64)]) -> Queue {
        let mut queue = Queue::default();
        for (&(tenant, weight, cost), number) in tasks.iter().zip(0..) {
            let id = TaskId::from(format!("{tenant}{number}"));
            queue.insert(&tenant.into(), weight, Waiting { id, number, cost });
        }
        queue
    }

    fn order(queue: &Queue) -> Vec<&str> {
        queue.order().map(|(_, task)| task.id.as_str()).collect()
    }

    /// Takes the first one out, as a worker would.
    fn take(queue: &mut Queue) -> String {
        let (tenant, task) = queue.order().next().unwrap();
        let (tenant, id) = (tenant.clone(), task.id.clone());
        queue.take(&tenant, &id);
        id.to_string()
    }

    #[test]
    fn one_tenant_is_served_in_order() {
        let queue = queue(&[("a", 1.0, 900), ("a", 1.0, 1), ("a", 1.0, 50)]);
        assert_eq!(order(&queue), ["a0", "a1", "a2"]);
        assert_eq!((queue.len(), queue.tokens()), (3, 951));
    }

    #[test]
    fn turns_go_by_tokens_not_by_requests() {
        let mut tasks = vec![("big", 1.0, 400); 3];
        tasks.extend([("small", 1.0, 100); 8]);
        let mut queue = queue(&tasks);
        let foreseen: Vec<String> = order(&queue).iter().map(|id| (*id).to_owned()).collect();
        let expected = [
            "big0", "small3", "small4", "small5", "small6", "big1", "small7", "small8", "small9",
            "small10", "big2",
        ];
        assert_eq!(foreseen, expected);
        let taken: Vec<String> = (0..11).map(|_| take(&mut queue)).collect();
        assert_eq!(taken, foreseen);
    }

    #[test]
    fn a_weight_of_three_gets_three_times_the_tokens() {
        let tasks: Vec<_> = (0..40)
            .map(|n| [("a", 3.0, 100), ("b", 1.0, 100)][n % 2])
            .collect();
        let queue = queue(&tasks);
        let first = &order(&queue)[..20];
        assert_eq!(first.iter().filter(|id| id.starts_with('a')).count(), 15);
    }

    #[test]
    fn who_comes_late_has_saved_nothing_up() {
        let mut queue = queue(&[("a", 1.0, 100); 10]);
        for _ in 0..6 {
            take(&mut queue);
        }
        for number in 10..14 {
            let task = Waiting {
                id: format!("b{number}").into(),
                number,
                cost: 100,
            };
            queue.insert(&"b".into(), 1.0, task);
        }
        assert_eq!(
            order(&queue),
            ["b10", "a6", "b11", "a7", "b12", "a8", "b13", "a9"]
        );
    }

    #[test]
    fn who_was_away_has_saved_nothing_up() {
        let mut tasks = vec![("a", 1.0, 100)];
        tasks.extend([("b", 1.0, 100); 10]);
        let mut queue = queue(&tasks);
        for _ in 0..7 {
            take(&mut queue);
        }
        for number in 11..14 {
            let task = Waiting {
                id: format!("a{number}").into(),
                number,
                cost: 100,
            };
            queue.insert(&"a".into(), 1.0, task);
        }
        assert_eq!(
            order(&queue),
            ["a11", "b7", "a12", "b8", "a13", "b9", "b10"]
        );
    }

    #[test]
    fn what_comes_back_is_first_again() {
        let mut queue = queue(&[("a", 1.0, 100), ("a", 1.0, 100), ("b", 1.0, 100)]);
        assert_eq!(take(&mut queue), "a0");
        queue.settle(&"a".into(), 100, 0);
        let task = Waiting {
            id: "a0".into(),
            number: 0,
            cost: 100,
        };
        queue.insert(&"a".into(), 1.0, task);
        assert_eq!(order(&queue), ["a0", "b2", "a1"]);
    }

    #[test]
    fn what_was_not_used_is_given_back() {
        let mut queue = queue(&[
            ("a", 1.0, 1000),
            ("a", 1.0, 10),
            ("b", 1.0, 500),
            ("b", 1.0, 500),
        ]);
        take(&mut queue);
        queue.settle(&"a".into(), 1000, 10);
        assert_eq!(order(&queue), ["b2", "a1", "b3"]);
    }

    #[test]
    fn the_oldest_and_the_newest_are_found_in_any_lane() {
        let queue = queue(&[("b", 1.0, 1), ("a", 1.0, 1), ("c", 1.0, 1)]);
        assert_eq!(queue.oldest().unwrap().as_str(), "b0");
        assert_eq!(queue.newest().unwrap().as_str(), "c2");
    }
}
