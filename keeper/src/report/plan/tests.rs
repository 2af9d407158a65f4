//! Plans as they are shown.

use pool_core::digest::Sha256;
use pool_core::model::{Format, Manifest, ModelFacts, ModelFile};
use pool_core::source::Source;
use pool_core::worker::{Canary, Supervise};
use reconciler::plan::{ActionId, ActionKind, Bill, FetchFile, Fit, Order, Outage, Supply};
use reconciler::reason::{FieldChange, Reason};

use super::*;

fn file(path: &str, size: u64) -> ModelFile {
    ModelFile {
        path: path.parse().unwrap(),
        size,
        sha256: Sha256::of(path),
    }
}

fn from(pool: &str) -> Supply {
    Supply::Pool(pool.parse().unwrap())
}

fn empty() -> Plan {
    Plan {
        version: Plan::VERSION,
        fleet: "home".parse().unwrap(),
        actions: Vec::new(),
        blocked: Vec::new(),
        unknown: Vec::new(),
        warnings: Vec::new(),
        outages: Vec::new(),
        bills: BTreeMap::new(),
        left_out: None,
    }
}

/// Registers a model of these files on a pool, and fetches those that have a supply.
fn bring(
    plan: &mut Plan,
    pool: &str,
    source: &str,
    files: &[(ModelFile, Option<Supply>)],
    reason: Reason,
) {
    let facts = ModelFacts {
        format: Format::Safetensors,
        architecture: "qwen2".into(),
        context_length: 32768,
        vocab_size: 151_936,
        quantization: None,
        shape: None,
    };
    let model: pool_core::name::ModelId = "qwen-0.5b".parse().unwrap();
    let source: Source = source.parse().unwrap();
    let commit = None;
    let all = files.iter().map(|(file, _)| file.clone()).collect();
    let fetched = files.iter().filter_map(|(file, from)| {
        let (file, from) = (file.clone(), from.clone()?);
        Some(FetchFile {
            file,
            from,
            instead: None,
            arrived: 0,
        })
    });
    let register = ActionKind::Register {
        model: model.clone(),
        source: source.clone(),
        commit: commit.clone(),
        manifest: Manifest::new(all, facts),
        protect: false,
    };
    let fetch = ActionKind::Fetch {
        model,
        source,
        commit,
        files: fetched.collect(),
    };
    let first = ActionId(u32::try_from(plan.actions.len()).unwrap());
    for (n, kind) in [register, fetch].into_iter().enumerate() {
        plan.actions.push(Action {
            id: ActionId(first.0 + u32::from(n == 1)),
            pool: pool.parse().unwrap(),
            kind,
            reason: reason.clone(),
            needs: if n == 0 { Vec::new() } else { vec![first] },
            after: Vec::new(),
            facts: Vec::new(),
        });
    }
}

fn shown(plan: &Plan) -> String {
    text(plan, &Places::new(), Origin::Apply, style(None))
}

fn style(width: Option<usize>) -> Style {
    Style {
        colour: false,
        width,
        unicode: true,
    }
}

#[test]
fn a_model_of_three_pools_is_downloaded_once_and_copied_twice() {
    let mut plan = empty();
    for (pool, supply) in [
        ("blep", Supply::Hub),
        ("mac", from("blep")),
        ("workstation", from("blep")),
    ] {
        let files = [(file("model.safetensors", 988_100_000), Some(supply))];
        let source = "hf:Qwen/Qwen2.5-0.5B-Instruct";
        bring(&mut plan, pool, source, &files, Reason::NotThere);
    }
    let bill = Bill {
        peak_disk: 988_100_000,
        disk_free: Some(50_000_000_000),
        ..Bill::default()
    };
    let hub = Bill {
        from_hub: 988_100_000,
        seconds: Some(150),
        ..bill
    };
    let copy = Bill {
        from_pools: 988_100_000,
        seconds: Some(9),
        ..bill
    };
    for (pool, bill) in [("blep", hub), ("mac", copy), ("workstation", copy)] {
        plan.bills.insert(pool.parse().unwrap(), bill);
    }
    plan.warnings.push("chat is down".into());
    let expected = "\
blep
    + model    qwen-0.5b  (988.1 MB from the hub: not there yet)
mac
    + model    qwen-0.5b  (988.1 MB from pool blep: not there yet)
workstation
    + model    qwen-0.5b  (988.1 MB from pool blep: not there yet)

POOL         HUB       POOLS     DISK PEAK  DISK FREE  TIME
blep         988.1 MB  -         988.1 MB   50.0 GB    about 3 min
mac          -         988.1 MB  988.1 MB   50.0 GB    about 9 s
workstation  -         988.1 MB  988.1 MB   50.0 GB    about 9 s
all          988.1 MB  2.0 GB    3.0 GB     -          about 3 min

warning: chat is down

Plan: 1 to download (988.1 MB), 2 to copy (2.0 GB).
";
    assert_eq!(shown(&plan), expected);
}

#[test]
fn the_files_are_listed_where_they_come_from_several_places_or_are_not_all() {
    let mut plan = empty();
    let config = || file("config.json", 659);
    let weights = |n: u32| file(&format!("model-{n:05}-of-00002.safetensors"), 900_000_000);
    let files = [
        (config(), Some(Supply::Hub)),
        (weights(1), Some(from("blep"))),
        (weights(2), None),
    ];
    bring(&mut plan, "a", "hf:org/repo", &files, Reason::Incomplete);
    let damaged = Reason::Damaged {
        files: vec!["config.json".parse().unwrap()],
    };
    let files = [(config(), Some(Supply::Operator)), (weights(1), None)];
    bring(&mut plan, "b", "./models/qwen", &files, damaged);
    let touched = Reason::Touched {
        files: vec!["config.json".parse().unwrap()],
    };
    let files = [(config(), Some(Supply::Here)), (weights(1), None)];
    bring(&mut plan, "c", "./models/qwen", &files, touched);
    let files = [(config(), None)];
    bring(&mut plan, "d", "./models/qwen", &files, Reason::NotThere);
    let expected = "\
a
    + model    qwen-0.5b  (900.0 MB from pool blep, 659 B from the hub: files are still missing)
          config.json                          659 B  hub
          model-00001-of-00002.safetensors  900.0 MB  pool blep
b
    ~ model    qwen-0.5b  (659 B from ./models/qwen: damaged: config.json)
          config.json  659 B  operator
c
    ~ model    qwen-0.5b  (659 B to check there, and to bring if they are wrong: changed on the disk since they were checked: config.json)
          config.json  659 B  here
d
    + model    qwen-0.5b  (from what is there: not there yet)

Plan: 1 to download (659 B), 1 to copy (900.0 MB), 2 to check.
";
    assert_eq!(shown(&plan), expected);
}

#[test]
fn what_one_pool_does_last_stands_with_the_rest_of_it() {
    let mut plan = empty();
    for (id, pool) in [(0, "a"), (1, "b"), (2, "a")] {
        plan.actions.push(Action {
            id: ActionId(id),
            pool: pool.parse().unwrap(),
            kind: ActionKind::Unregister {
                model: format!("m{id}").parse().unwrap(),
                bytes: 1000,
            },
            reason: Reason::NotDeclared,
            needs: Vec::new(),
            after: Vec::new(),
            facts: Vec::new(),
        });
    }
    let expected = "\
a
    - model    m0  (frees 1.0 kB: no longer in fleet.yaml)
    - model    m2  (frees 1.0 kB: no longer in fleet.yaml)
b
    - model    m1  (frees 1.0 kB: no longer in fleet.yaml)

Plan: 3 to remove.
";
    assert_eq!(shown(&plan), expected);
}

/// Starts a worker.
fn spawn(plan: &mut Plan, replaces: Option<Order>, reason: Reason) -> &mut ActionKind {
    let id = ActionId(u32::try_from(plan.actions.len()).unwrap());
    let spec = pool_core::worker::WorkerSpec {
        address: Some("chat/here/cpu/0".parse().unwrap()),
        fleet: Some("home".parse().unwrap()),
        model: "tiny".parse().unwrap(),
        model_digest: Sha256::of("tiny"),
        device: "cpu".parse().unwrap(),
        slots: 2,
        context: None,
        dtype: pool_core::weights::Dtype::default(),
        quantize: None,
        advertise: None,
        supervise: Supervise::Systemd,
        ephemeral: false,
    };
    plan.actions.push(Action {
        id,
        pool: "here".parse().unwrap(),
        kind: ActionKind::Spawn {
            spec: Box::new(spec),
            replaces,
            canary: Canary {
                expect: Some("Paris".into()),
                ..Canary::default()
            },
            protect: true,
            restore: None,
            fit: None,
        },
        reason,
        needs: Vec::new(),
        after: Vec::new(),
        facts: Vec::new(),
    });
    &mut plan.actions[id.0 as usize].kind
}

#[test]
fn a_new_worker_is_shown_with_what_is_set_of_it() {
    let mut plan = empty();
    spawn(&mut plan, None, Reason::NotThere);
    let expected = "\
here
    + worker   chat/here/cpu/0  (not there yet)
          model: tiny
          slots: 2
          supervise: systemd (a unit is written for it)
          canary: \"What is the capital of France?\", to be answered with \"Paris\"
          protect: true

Plan: 1 to spawn.
";
    assert_eq!(shown(&plan), expected);
}

#[test]
fn an_empty_plan_claims_no_more_than_what_was_asked() {
    let mut plan = empty();
    let last = |plan: &Plan, origin| text(plan, &Places::new(), origin, style(None));
    let cases = [
        (Origin::Apply, "fleet home is as its file says"),
        (Origin::Destroy, "nothing of fleet home is there"),
        (Origin::Saved, "this saved plan of fleet home is empty"),
    ];
    for (origin, words) in cases {
        assert_eq!(last(&plan, origin), format!("No changes: {words}.\n"));
    }
    plan.blocked.push(reconciler::plan::Blocked {
        pool: "mac".parse().unwrap(),
        what: "rbee".into(),
        why: "no build".into(),
    });
    for (origin, _) in cases {
        assert!(
            last(&plan, origin)
                .ends_with("\nNo changes: nothing else of fleet home is to be done.\n")
        );
    }
}

#[test]
fn memory_says_whether_the_old_worker_still_has_its_own() {
    let fit = Fit {
        bytes: 1_200_000_000,
        is_guess: false,
        free: Some(24_400_000_000),
    };
    for (replaces, words) in [
        (None, "1.2 GB of 24.4 GB free\n"),
        (Some(Order::StartFirst), "1.2 GB of 24.4 GB free\n"),
        (
            Some(Order::StopFirst),
            "1.2 GB of 24.4 GB free after the stop\n",
        ),
    ] {
        let mut plan = empty();
        let ActionKind::Spawn { fit: of, .. } = spawn(&mut plan, replaces, Reason::NotThere) else {
            panic!("a spawn is one");
        };
        *of = Some(fit);
        let text = shown(&plan);
        assert!(
            text.contains(&format!("          memory: {words}")),
            "{text}"
        );
    }
}

#[test]
fn an_outage_tells_the_time_and_what_is_allowed() {
    let mut plan = empty();
    let change = FieldChange {
        field: "supervise".into(),
        from: "systemd".into(),
        to: "none".into(),
    };
    let reason = Reason::Changed {
        fields: vec![change],
    };
    spawn(&mut plan, Some(Order::StopFirst), reason);
    for (ms, max_ms) in [
        (Some(2100), None),
        (None, Some(0)),
        (Some(190_000), Some(90_000)),
    ] {
        plan.outages.push(Outage {
            model: "tiny".parse().unwrap(),
            workers: vec!["chat/here/cpu/0".parse().unwrap()],
            ms,
            max_ms,
        });
    }
    let expected = "\
here
  -/+ worker   chat/here/cpu/0  (supervise changed)
          supervise: systemd → none (its unit is removed)

outage: tiny is down for about 2.1 s while chat/here/cpu/0 is replaced
outage: tiny is down for a time that nobody has measured while chat/here/cpu/0 is replaced, and fleet.yaml allows `max_outage: 0s`
outage: tiny is down for about 4 min while chat/here/cpu/0 is replaced, and fleet.yaml allows `max_outage: 90s`

Plan: 1 to replace.
";
    assert_eq!(shown(&plan), expected);
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let mut plan = empty();
    let files = [(file("model.safetensors", 988_100_000), Some(Supply::Hub))];
    bring(
        &mut plan,
        "workstation",
        "hf:org/repo",
        &files,
        Reason::NotThere,
    );
    spawn(
        &mut plan,
        None,
        Reason::Failed {
            cause: "out of memory ".repeat(20),
        },
    );
    plan.warnings
        .push("the new one needs what the old one has ".repeat(9));
    plan.blocked.push(reconciler::plan::Blocked {
        pool: "mac".parse().unwrap(),
        what: "worker chat/mac/metal:0/0".into(),
        why: format!("{} is full", "/a/long/path".repeat(20)),
    });
    let bill = Bill {
        from_hub: 988_100_000,
        from_pools: 988_100_000,
        from_operator: 988_100_000,
        here: 988_100_000,
        peak_disk: 988_100_000,
        disk_free: Some(988_100_000),
        seconds: Some(7500),
    };
    plan.bills.insert("workstation".parse().unwrap(), bill);
    for width in [1, 9, 20, 40, 80, 100] {
        let text = text(&plan, &Places::new(), Origin::Apply, style(Some(width)));
        for line in text.lines() {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
        let words = |text: &str| {
            let letters: String = text.split_whitespace().collect();
            letters.matches("memory").count()
        };
        assert_eq!(words(&text), words(&shown(&plan)), "words are lost");
    }
}
