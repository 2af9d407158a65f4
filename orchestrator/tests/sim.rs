//! Hundreds of runs of a fleet under a virtual clock: what must always be true, is.

use orchestrator::sim::{Options, Report, run};

/// Fails with every violation of some runs.
fn assert_sound<'a>(reports: impl IntoIterator<Item = &'a Report>) {
    let violations = reports.into_iter().flat_map(|report| &report.violations);
    let found: Vec<String> = violations.map(ToString::to_string).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn nothing_is_violated_in_hundreds_of_fleets_with_faults() {
    let reports: Vec<Report> = (0..240)
        .map(|seed| {
            run(Options {
                workers: 1 + seed as usize % 9,
                load: [0.5, 1.0, 2.0][seed as usize % 3],
                faults: [1.0, 5.0][seed as usize % 2],
                ..Options::new(seed, 100)
            })
        })
        .collect();
    assert_sound(&reports);
    for how in ["completed", "failed", "cancelled", "expired", "interrupted"] {
        let seen: u64 = reports.iter().filter_map(|r| r.ended.get(how)).sum();
        assert!(seen > 0, "no task was {how}");
    }
    assert!(reports.iter().any(|report| report.repeated > 0));
}

#[test]
fn a_fleet_without_faults_completes_every_task_that_it_admits() {
    for seed in 0..10 {
        let report = run(Options {
            faults: 0.0,
            load: 0.5,
            ..Options::new(seed, 300)
        });
        assert_sound([&report]);
        let completed = report.ended.get("completed").copied();
        assert_eq!(completed, Some(report.admitted), "{report}");
        assert_eq!(report.repeated, 0, "{report}");
    }
}

/// Of all that came back as they were told after one kind of refusal, those that were admitted.
fn returned(reports: &[Report], why: &str) -> (u64, u64) {
    let counts = reports.iter().filter_map(|report| report.returned.get(why));
    counts.fold((0, 0), |sum, n| (sum.0 + n.0, sum.1 + n.1))
}

#[test]
fn of_the_clients_that_come_back_when_told_four_in_five_are_admitted() {
    for (runs, tasks, workers, load, faults) in [
        (12, 2000, 2, 1.5, 0.0),
        (12, 2000, 2, 1.5, 1.0),
        (12, 2000, 2, 4.0, 1.0),
        (4, 10_000, 8, 1.2, 1.0),
    ] {
        let reports: Vec<Report> = (1..=runs)
            .map(|seed| {
                run(Options {
                    load,
                    faults,
                    workers,
                    ..Options::new(seed, tasks)
                })
            })
            .collect();
        assert_sound(&reports);
        let restarts: u64 = reports.iter().map(|report| report.restarts).sum();
        assert_eq!(restarts > 0, faults > 0.0, "{restarts} restarts");
        for why in ["queue full", "tokens a minute"] {
            let (all, admitted) = returned(&reports, why);
            assert!(all > 40, "only {all} came back after {why}");
            assert!(
                5 * admitted >= 4 * all,
                "{why}: {admitted} of {all} admitted at load {load}, {restarts} restarts"
            );
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let options = || Options::new(7, 1000);
    assert_eq!(run(options()), run(options()));
    assert_ne!(run(options()), run(Options::new(8, 1000)));
}
