//! Who is next, and where it goes.

use super::*;

#[test]
fn batch_tasks_wait_for_interactive_ones_but_not_for_ever() {
    let mut lab = lab(Config {
        interactive_per_batch: 3,
        ..Config::default()
    })
    .with(&[("w", 1)]);
    lab.fill(Priority::Batch, 2);
    lab.fill(Priority::Interactive, 8);
    let mut order = Vec::new();
    while let [started] = lab.dispatch().as_slice() {
        let task = started.split(' ').next().unwrap().to_owned();
        assert!(lab.end(&task));
        order.push(task);
    }
    let expected = ["t2", "t3", "t4", "t0", "t5", "t6", "t7", "t1", "t8", "t9"];
    assert_eq!(order, expected);
}

#[test]
fn what_waited_before_a_restart_waits_again_in_its_order() {
    let mut lab = lab(Config::default());
    let tasks: Vec<NewTask> = (0..3)
        .map(|_| {
            lab.submitted += 1;
            lab.task(Priority::Interactive)
        })
        .collect();
    lab.core.restore(lab.now, tasks);
    assert_eq!(lab.dispatch(), [""; 0]);
    let mut lab = lab.with(&[("a", 2)]);
    assert_eq!(lab.dispatch(), ["t1 a", "t2 a"]);
}

/// Sends everything to one worker, refuses a tenant's long tasks, and repeats nothing.
struct Rules;

impl Policy for Rules {
    fn refuses(&mut self, _: &Snapshot<'_>, task: &TaskView) -> Option<String> {
        (task.tokens_in > 100).then(|| "too much".to_owned())
    }

    fn choose(&mut self, _: &Snapshot<'_>, _: &TaskView, _: &Decision) -> Option<WorkerKey> {
        Some("b".into())
    }

    fn repeats(&mut self, _: &Snapshot<'_>, _: &TaskView, _: &AttemptError) -> Option<bool> {
        Some(false)
    }
}

#[test]
fn rules_decide_where_they_can() {
    let mut lab = lab(Config::default()).with(&[("a", 2), ("b", 1)]);
    lab.core.set_policy(Box::new(Rules));
    let mut task = lab.task(Priority::Interactive);
    task.tokens_in = 101;
    let refused = lab.core.submit(lab.now, task);
    assert_eq!(refused, Err(Refused::ByPolicy("too much".into())));
    lab.fill(Priority::Interactive, 2);
    assert_eq!(
        lab.dispatch(),
        ["t0 b", "t1 a"],
        "what they cannot have they do not get"
    );
    let failure = Failure {
        code: FailureCode::OutOfMemory,
        message: String::new(),
        retriable: true,
    };
    let error = AttemptError::Worker { failure };
    assert!(matches!(lab.fail("t0", 1, error), Next::Failed(_)));
}

#[test]
fn what_needs_a_long_context_is_not_starved_by_what_does_not() {
    let mut lab = lab(Config::default()).with(&[("long", 1)]);
    let short = WorkerInfo {
        context_length: 100,
        ..info("short", 1)
    };
    lab.core.heartbeat(lab.now, short);
    lab.core.probed(lab.now, &"short".into(), Condition::Ready);
    lab.fill(Priority::Interactive, 2);
    assert_eq!(lab.dispatch().len(), 2);
    let mut task = lab.task(Priority::Interactive);
    task.tokens_in = 500;
    lab.submitted += 1;
    lab.core.submit(lab.now, task).unwrap();
    lab.fill(Priority::Interactive, 2);
    assert!(lab.core.cancel(lab.now, &"t1".into()) != Cancelled::NotThere);
    let on_short = lab.dispatch();
    lab.core.cancel(lab.now, &"t0".into());
    let on_long = lab.dispatch();
    let all = [on_short.concat(), on_long.concat()];
    assert!(all.contains(&"t2 long".to_owned()), "{all:?}");
}
