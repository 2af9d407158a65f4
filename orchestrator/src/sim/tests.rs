//! A run with something broken is found out; whole runs are in `tests/sim.rs`.

use super::{Options, run};
use crate::core::TenantLimits;

/// What the shell does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// Tasks whose deadline is over are not ended.
    ForgetsTasks,
    /// Streams of cancelled tasks go on.
    PassesOnAfterCancel,
}

/// What is said of runs with something broken.
fn found(break_it: impl Fn(&mut Options)) -> String {
    let violations = (0..4).flat_map(|seed| {
        let mut options = Options {
            load: 3.0,
            workers: 2,
            ..Options::new(seed, 600)
        };
        break_it(&mut options);
        run(options).violations
    });
    violations.map(|v| v.to_string() + "\n").collect()
}

#[test]
fn tasks_that_are_forgotten_are_found() {
    let found = found(|options| options.broken = Some(Broken::ForgetsTasks));
    assert!(found.contains("is lost"), "{found}");
}

#[test]
fn streams_that_go_on_after_a_cancel_are_found() {
    let found = found(|options| options.broken = Some(Broken::PassesOnAfterCancel));
    assert!(found.contains("is over and gets something more"), "{found}");
}

#[test]
fn batch_tasks_that_starve_are_found() {
    let found = found(|options| options.config.interactive_per_batch = u32::MAX);
    assert!(found.contains("passed a batch task"), "{found}");
}

#[test]
fn quotas_that_are_exceeded_are_found() {
    let found = found(|options| {
        for (_, limits) in &mut options.tenants {
            *limits = TenantLimits {
                weight: limits.weight,
                ..TenantLimits::default()
            };
        }
    });
    assert!(found.contains("tasks of few live"), "{found}");
    assert!(found.contains("tokens in a day"), "{found}");
    assert!(found.contains("minute used"), "{found}");
}

#[test]
fn tenants_that_get_more_than_their_share_are_found() {
    let found = found(|options| {
        for (_, limits) in &mut options.tenants {
            limits.weight = 1.0 / limits.weight;
        }
    });
    assert!(found.contains("waited for"), "{found}");
}

#[test]
fn a_queue_without_a_bound_is_found() {
    let found = found(|options| options.config.queue_bound = usize::MAX);
    assert!(found.contains("tasks wait"), "{found}");
}
