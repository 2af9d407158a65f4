//! One action as people read it.

use pool_core::orchestrator::{OrchestratorSpec, Settings};
use pool_core::registration::BaseUrl;
use pool_core::rpc::Subject;
use pool_core::units;
use pool_core::worker::{Canary, Supervise, WorkerSpec};
use reconciler::plan::{Action, ActionKind, Fit, Order};
use reconciler::reason::{FieldChange, Reason};

use super::fetch;
use crate::terminal::Paint;

/// What a report says of an action.
#[derive(Debug)]
pub struct Entry {
    /// `+`, `-`, `~`, `+/-` or `-/+`.
    pub symbol: &'static str,
    pub paint: Paint,
    /// `install`, `model`, `worker`, `orchestrator`, `link`, `tenants` or `policy`.
    pub kind: &'static str,
    pub name: String,
    /// What it brings about, and why.
    pub why: String,
    pub fields: Vec<(String, String)>,
}

impl Entry {
    /// None of an action that stands with another: a model is one entry, though it is registered and fetched; a
    /// replacement is one, though the old worker is stopped.
    pub fn of(action: &Action) -> Option<Self> {
        let (symbol, paint, kind, name, detail) = match &action.kind {
            ActionKind::Register { .. }
            | ActionKind::Stop {
                for_spawn: true, ..
            } => return None,
            ActionKind::Install { from, to, .. } => match from {
                None => {
                    let name = format!("rbee {}", to.short());
                    ("+", Paint::Good, "install", name, String::new())
                }
                Some(from) => {
                    let name = format!("rbee {} → {}", from.short(), to.short());
                    ("~", Paint::Change, "install", name, String::new())
                }
            },
            ActionKind::Fetch {
                model,
                source,
                files,
                ..
            } => {
                let (symbol, paint) = match action.reason {
                    Reason::NotThere | Reason::Incomplete => ("+", Paint::Good),
                    _ => ("~", Paint::Change),
                };
                let detail = fetch::ways(source, files);
                (symbol, paint, "model", model.to_string(), detail)
            }
            ActionKind::Spawn { spec, replaces, .. } => {
                let (symbol, paint, detail) = match replaces {
                    None => ("+", Paint::Good, ""),
                    Some(Order::StartFirst) => (
                        "+/-",
                        Paint::Change,
                        "the new one is ready before the old one stops",
                    ),
                    Some(Order::StopFirst) => ("-/+", Paint::Change, ""),
                };
                let name = worker(spec.address.as_ref(), &spec.model);
                (symbol, paint, "worker", name, detail.to_owned())
            }
            ActionKind::Stop {
                worker: id,
                address,
                ..
            } => {
                let name = worker(address.as_ref(), id);
                ("-", Paint::Bad, "worker", name, String::new())
            }
            ActionKind::Update {
                subject,
                address,
                protect,
            } => {
                let (kind, name) = match subject {
                    Subject::Model(model) => ("model", model.to_string()),
                    Subject::Worker(id) => ("worker", worker(address.as_ref(), id)),
                };
                let detail = if *protect {
                    "it is protected from now on"
                } else {
                    "it is protected no more"
                };
                ("~", Paint::Change, kind, name, detail.to_owned())
            }
            ActionKind::Unregister { model, bytes } => {
                let detail = format!("frees {}", units::bytes(*bytes));
                ("-", Paint::Bad, "model", model.to_string(), detail)
            }
            ActionKind::Link { orchestrator, .. } => {
                let (symbol, paint) = match action.reason {
                    Reason::NotThere => ("+", Paint::Good),
                    _ => ("~", Paint::Change),
                };
                let name = linked(orchestrator.as_ref());
                (symbol, paint, "link", name, String::new())
            }
            ActionKind::Configure { file, path, .. } => {
                let (symbol, paint) = match action.reason {
                    Reason::NotThere => ("+", Paint::Good),
                    _ => ("~", Paint::Change),
                };
                (symbol, paint, file.as_str(), path.clone(), String::new())
            }
            ActionKind::Unlink => {
                let name = "to the orchestrator".to_owned();
                ("-", Paint::Bad, "link", name, String::new())
            }
            ActionKind::StartOrchestrator { spec, replaces } => {
                let (symbol, paint, detail) = if *replaces {
                    let detail = "the old one finishes its streams and stops first";
                    ("-/+", Paint::Change, detail)
                } else {
                    ("+", Paint::Good, "")
                };
                let name = spec.listen.to_string();
                (symbol, paint, "orchestrator", name, detail.to_owned())
            }
            ActionKind::StopOrchestrator => {
                let name = action.pool.to_string();
                let detail = "the tasks that wait go with it".to_owned();
                ("-", Paint::Bad, "orchestrator", name, detail)
            }
        };
        let why = if detail.is_empty() {
            action.reason.to_string()
        } else {
            format!("{detail}: {}", action.reason)
        };
        Some(Self {
            symbol,
            paint,
            kind,
            name,
            why,
            fields: fields(action),
        })
    }
}

fn worker(address: Option<&pool_core::address::WorkerAddress>, else_: &impl ToString) -> String {
    address.map_or_else(|| else_.to_string(), ToString::to_string)
}

/// Where workers register.
pub fn linked(orchestrator: Option<&BaseUrl>) -> String {
    orchestrator.map_or_else(|| "to no orchestrator".into(), BaseUrl::to_string)
}

/// The fields of what is new, or those that change.
fn fields(action: &Action) -> Vec<(String, String)> {
    match (&action.kind, &action.reason) {
        (
            ActionKind::Link { .. }
            | ActionKind::Configure { .. }
            | ActionKind::StartOrchestrator { .. },
            Reason::Changed { fields },
        ) => return fields.iter().map(changed).collect(),
        (ActionKind::StartOrchestrator { spec, .. }, Reason::NotThere) => {
            return of_new_orchestrator(spec);
        }
        _ => {}
    }
    let ActionKind::Spawn {
        spec,
        replaces,
        fit,
        canary,
        protect,
        ..
    } = &action.kind
    else {
        return Vec::new();
    };
    let is_after = *replaces == Some(Order::StopFirst);
    let memory = |fit| ("memory".to_owned(), memory(fit, is_after));
    let memory = fit.as_ref().map(memory);
    let fields = match (&action.reason, replaces) {
        (Reason::Changed { fields }, _) => fields.iter().map(changed).collect(),
        (_, Some(_)) => Vec::new(),
        (_, None) => of_new(spec, canary, *protect),
    };
    fields.into_iter().chain(memory).collect()
}

/// `slots: 2 → 4`; of `supervise` also what becomes of the unit.
pub fn changed(change: &FieldChange) -> (String, String) {
    let FieldChange { field, from, to } = change;
    let unit = match (field.as_str(), from.as_str(), to.as_str()) {
        ("supervise", "none", _) => " (a unit is written for it)",
        ("supervise", _, "none") => " (its unit is removed)",
        ("supervise", _, _) => " (its unit is removed, and another is written)",
        _ => "",
    };
    (field.clone(), format!("{from} → {to}{unit}"))
}

/// What is not as it is by default.
fn of_new(spec: &WorkerSpec, canary: &Canary, protect: bool) -> Vec<(String, String)> {
    let canary = (!canary.is_default()).then(|| match &canary.expect {
        Some(expect) => format!("{:?}, to be answered with {expect:?}", canary.prompt),
        None => format!("{:?}", canary.prompt),
    });
    let fields = [
        ("model", Some(spec.model.to_string())),
        ("slots", Some(spec.slots.to_string())),
        ("context", spec.context.map(|context| context.to_string())),
        (
            "dtype",
            (!spec.dtype.is_auto()).then(|| spec.dtype.to_string()),
        ),
        (
            "quantize",
            spec.quantize.map(|quantize| quantize.to_string()),
        ),
        (
            "advertise",
            spec.advertise.map(|address| address.to_string()),
        ),
        ("supervise", supervised(spec.supervise)),
        ("canary", canary),
        ("protect", protect.then(|| "true".to_owned())),
    ];
    let set = |(name, value): (&str, Option<String>)| Some((name.to_owned(), value?));
    fields.into_iter().filter_map(set).collect()
}

/// What is not as it is by default.
fn of_new_orchestrator(spec: &OrchestratorSpec) -> Vec<(String, String)> {
    let (is, default) = (spec.settings, Settings::default());
    let fields = [
        (
            "store",
            (is.store != default.store).then(|| is.store.to_string()),
        ),
        (
            "scheduling",
            (is.scheduling != default.scheduling).then(|| is.scheduling.to_string()),
        ),
        (
            "queue",
            (is.queue != default.queue).then(|| is.queue.to_string()),
        ),
        (
            "when_full",
            (is.when_full != default.when_full).then(|| is.when_full.to_string()),
        ),
        ("supervise", supervised(spec.supervise)),
    ];
    let set = |(name, value): (&str, Option<String>)| Some((name.to_owned(), value?));
    fields.into_iter().filter_map(set).collect()
}

/// None of what nobody supervises.
fn supervised(by: Supervise) -> Option<String> {
    (!by.is_none()).then(|| format!("{by} (a unit is written for it)"))
}

/// `1.2 GB of 24.4 GB free`; beside one that stops first, `free after the stop`.
fn memory(fit: &Fit, is_after: bool) -> String {
    let need = units::bytes(fit.bytes);
    let guess = if fit.is_guess {
        " (a guess from its files)"
    } else {
        ""
    };
    match fit.free {
        Some(free) => {
            let when = if is_after { " after the stop" } else { "" };
            format!("{need}{guess} of {} free{when}", units::bytes(free))
        }
        None => format!("{need}{guess}; what is free is not known before the hive runs"),
    }
}
