//! A folder is a case: `fleet.yaml` and `observed.json` give `plan.snap`, a plan that can be saved.
//!
//! Model folders are not looked at: each model of a scenario has the content of
//! [`simulation::manifest`] at version 0, except that a model whose source ends in `-gone` has none.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use reconciler::diff::diff;
use reconciler::observed::{Observed, PoolState};
use reconciler::plan::{ActionId, ActionKind, FetchFile, Plan};
use reconciler::planner::{Options, plan};
use reconciler::resolve::{Known, resolve};

use crate::{scenes, simulation};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut cases: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    cases.sort();
    cases
}

#[test]
fn every_scenario_gives_its_plan() {
    let schema = schemars::schema_for!(Plan).to_value();
    let schema = jsonschema::validator_for(&schema).unwrap();
    for case in cases() {
        let text = std::fs::read_to_string(case.join("fleet.yaml")).unwrap();
        let fleet = reconciler::fleet::parse(&text)
            .unwrap_or_else(|problems| panic!("{}: {problems:#?}", case.display()));
        let contents = fleet.models.iter().map(|(id, model)| {
            let gone = model.source.value.to_string().ends_with("-gone");
            let content = if gone {
                Err("its folder is gone".into())
            } else {
                let manifest = simulation::manifest(id.as_str(), 0);
                Ok(simulation::content(&model.source.value, manifest))
            };
            (id.clone(), content)
        });
        let known = Known {
            contents: contents.collect(),
            builds: simulation::builds(1),
            ..Known::default()
        };
        let desired = resolve(&fleet, &known).unwrap();
        let observed = std::fs::read_to_string(case.join("observed.json")).unwrap();
        let observed: Observed = serde_json::from_str(&observed)
            .unwrap_or_else(|error| panic!("{}: {error}", case.display()));
        let plan = plan(&diff(&desired, &observed), Options { prune_models: true });
        let saved = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&saved).unwrap(), plan);
        let json = serde_json::to_value(&plan).unwrap();
        let errors = schema.iter_errors(&json).map(|error| error.to_string());
        assert_eq!(errors.collect::<Vec<_>>(), Vec::<String>::new());
        let mut settings = insta::Settings::new();
        settings.set_snapshot_path(&case);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!("plan", outline(&plan)));
    }
}

/// One line an action and a file of its fetch, then what is blocked, unknown and warned of, and the bills.
fn outline(plan: &Plan) -> String {
    let mut text = String::new();
    let ids = |word: &str, ids: &[ActionId]| {
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        match ids.len() {
            0 => String::new(),
            _ => format!(" {word} {}", ids.join(" ")),
        }
    };
    for action in &plan.actions {
        let (id, pool, kind, reason) = (action.id, &action.pool, &action.kind, &action.reason);
        let (needs, after) = (ids("needs", &action.needs), ids("after", &action.after));
        writeln!(text, "{id} {pool}: {kind} ({reason}){needs}{after}").unwrap();
        for fact in &action.facts {
            let was = if fact.was.is_some() {
                "there"
            } else {
                "absent"
            };
            writeln!(text, "     on {}: {was}", fact.about).unwrap();
        }
        if let ActionKind::Spawn {
            restore: Some(restore),
            ..
        } = kind
        {
            writeln!(text, "     else back to slots {}", restore.slots).unwrap();
        }
        match kind {
            ActionKind::StartOrchestrator { spec, .. } => {
                writeln!(text, "     at {} {:?}", spec.listen, spec.settings).unwrap();
            }
            ActionKind::Link {
                orchestrator,
                token,
            } => {
                let url = orchestrator.as_ref().map_or("nowhere", |url| url.as_str());
                writeln!(text, "     to {url}, token {token:?}").unwrap();
            }
            _ => {}
        }
        if let ActionKind::Spawn { fit: Some(fit), .. } = kind {
            writeln!(text, "     {fit:?}").unwrap();
        }
        let ActionKind::Fetch { files, .. } = kind else {
            continue;
        };
        for fetched in files {
            let FetchFile { file, from, .. } = fetched;
            write!(text, "     {} {} from {from:?}", file.path, fetched.bytes()).unwrap();
            if let Some(instead) = &fetched.instead {
                write!(text, ", else {instead:?}").unwrap();
            }
            text.push('\n');
        }
    }
    for blocked in &plan.blocked {
        writeln!(
            text,
            "blocked: {}: {}: {}",
            blocked.pool, blocked.what, blocked.why
        )
        .unwrap();
    }
    for unknown in &plan.unknown {
        writeln!(text, "unknown: {}: {}", unknown.pool, unknown.unknown.cause).unwrap();
    }
    for warning in &plan.warnings {
        writeln!(text, "warning: {warning}").unwrap();
    }
    for outage in &plan.outages {
        let too_long = if outage.is_too_long() {
            " too long"
        } else {
            ""
        };
        writeln!(text, "{outage:?}{too_long}").unwrap();
    }
    for (pool, bill) in &plan.bills {
        writeln!(text, "{pool}: {bill:?}").unwrap();
    }
    writeln!(text, "{:?}", plan.totals()).unwrap();
    text
}

/// Writes `observed.json` of the scenarios from the simulation's own pools: run by hand when the
/// format of observations changes, with `WRITE_SCENARIOS=1`.
#[test]
fn observations_of_the_scenarios_are_fresh() {
    for (case, observed) in scenes::scenes() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/scenarios")
            .join(case)
            .join("observed.json");
        let fresh = serde_json::to_string_pretty(&observed).unwrap() + "\n";
        if std::env::var_os("WRITE_SCENARIOS").is_some() {
            std::fs::write(&path, &fresh).unwrap();
        }
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            fresh,
            "{}",
            path.display()
        );
        assert!(
            observed
                .pools
                .values()
                .all(|state| !matches!(state, PoolState::Known(seen) if seen.hostname.is_empty()))
        );
    }
}
