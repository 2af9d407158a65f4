//! A plan as text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use pool_core::name::PoolName;
use pool_core::rpc::Subject;
use pool_core::units;
use reconciler::desired::Purpose;
use reconciler::plan::{Action, ActionKind, Fit, Order, Plan, Totals};
use reconciler::reason::Reason;

use crate::terminal::{Paint, paint};

mod bill;
mod fetch;
#[cfg(test)]
mod tests;

/// How each pool is reached, for the headings.
pub type Places = BTreeMap<PoolName, String>;

/// The whole plan, ending with its totals.
pub fn text(plan: &Plan, places: &Places, purpose: Purpose, colour: bool) -> String {
    let mut out = String::new();
    let shown: Vec<&Action> = plan
        .actions
        .iter()
        .filter(|action| is_shown(action))
        .collect();
    let pools: BTreeSet<&PoolName> = shown.iter().map(|action| &action.pool).collect();
    for pool in pools {
        let place = places
            .get(pool)
            .map(|place| format!(" ({place})"))
            .unwrap_or_default();
        let heading = format!("{pool}{place}");
        let _ = writeln!(out, "{}", paint(colour, Paint::Bold, &heading));
        for action in shown.iter().filter(|action| action.pool == *pool) {
            out += &lines(plan, action, colour);
        }
    }
    if !out.is_empty() {
        out.push('\n');
    }
    if !plan.bills.is_empty() {
        out += &bill::table(&plan.bills).text("", colour);
        out.push('\n');
    }
    for blocked in &plan.blocked {
        let label = paint(colour, Paint::Bad, "blocked:");
        let _ = writeln!(
            out,
            "{label} {}: {}: {}",
            blocked.pool, blocked.what, blocked.why
        );
    }
    for unknown in &plan.unknown {
        let label = if unknown.unknown.unreachable {
            "unreachable:"
        } else {
            "unknown:"
        };
        let label = paint(colour, Paint::Bad, label);
        let _ = writeln!(
            out,
            "{label} {}: {} (nothing of it is touched)",
            unknown.pool, unknown.unknown.cause
        );
        if let Some(help) = &unknown.unknown.help {
            let _ = writeln!(out, "  {} {help}", paint(colour, Paint::Good, "help:"));
        }
    }
    for warning in &plan.warnings {
        let _ = writeln!(
            out,
            "{} {warning}",
            paint(colour, Paint::Change, "warning:")
        );
    }
    let open = !plan.unknown.is_empty() || !plan.blocked.is_empty();
    let fleet = &plan.fleet;
    let last = match (plan.is_empty(), purpose, open) {
        (false, _, _) => format!("Plan: {}.", totals(&plan.totals())),
        (true, _, true) => format!("No changes: nothing else of fleet {fleet} is to be done."),
        (true, Purpose::Apply, false) => format!("No changes: fleet {fleet} is as its file says."),
        (true, Purpose::Destroy, false) => {
            format!("No changes: nothing of fleet {fleet} is there.")
        }
    };
    let _ = writeln!(out, "{}", paint(colour, Paint::Bold, &last));
    out
}

/// A model is one line, though it is registered and fetched; a replacement is one, though the old worker is stopped.
fn is_shown(action: &Action) -> bool {
    !matches!(
        action.kind,
        ActionKind::Register { .. }
            | ActionKind::Stop {
                for_spawn: true,
                ..
            }
    )
}

fn lines(plan: &Plan, action: &Action, colour: bool) -> String {
    let (symbol, paint_as, kind, name, detail) = match &action.kind {
        ActionKind::Install { from: None, to, .. } => (
            "+",
            Paint::Good,
            "install",
            format!("rbee {}", to.short()),
            String::new(),
        ),
        ActionKind::Install {
            from: Some(from),
            to,
            ..
        } => (
            "~",
            Paint::Change,
            "install",
            format!("rbee {} → {}", from.short(), to.short()),
            String::new(),
        ),
        ActionKind::Register { model, .. } => (
            "+",
            Paint::Good,
            "register",
            model.to_string(),
            String::new(),
        ),
        ActionKind::Fetch {
            model,
            source,
            files,
            ..
        } => {
            let (symbol, paint_as) = match action.reason {
                Reason::NotThere | Reason::Incomplete => ("+", Paint::Good),
                _ => ("~", Paint::Change),
            };
            let detail = fetch::ways(source, files);
            (symbol, paint_as, "model", model.to_string(), detail)
        }
        ActionKind::Spawn { spec, replaces, .. } => {
            let name = spec
                .address
                .as_ref()
                .map_or_else(|| spec.model.to_string(), ToString::to_string);
            match replaces {
                None => ("+", Paint::Good, "worker", name, String::new()),
                Some(Order::StartFirst) => (
                    "+/-",
                    Paint::Change,
                    "worker",
                    name,
                    "the new one is ready before the old one stops".into(),
                ),
                Some(Order::StopFirst) => ("-/+", Paint::Change, "worker", name, String::new()),
            }
        }
        ActionKind::Stop {
            worker, address, ..
        } => {
            let name = address
                .as_ref()
                .map_or_else(|| worker.to_string(), ToString::to_string);
            ("-", Paint::Bad, "worker", name, String::new())
        }
        ActionKind::Update {
            subject,
            address,
            protect,
        } => {
            let (kind, name) = match subject {
                Subject::Model(model) => ("model", model.to_string()),
                Subject::Worker(worker) => (
                    "worker",
                    address
                        .as_ref()
                        .map_or_else(|| worker.to_string(), ToString::to_string),
                ),
            };
            let detail = if *protect {
                "protect"
            } else {
                "protect no more"
            };
            ("~", Paint::Change, kind, name, detail.into())
        }
        ActionKind::Unregister { model, bytes } => (
            "-",
            Paint::Bad,
            "model",
            model.to_string(),
            format!("frees {}", units::bytes(*bytes)),
        ),
    };
    let symbol = paint(colour, paint_as, &format!("{symbol:>5}"));
    let detail = if detail.is_empty() {
        String::new()
    } else {
        format!("{detail}: ")
    };
    let why = paint(colour, Paint::Dim, &format!("({detail}{})", action.reason));
    let mut out = format!("{symbol} {kind:7}  {name}  {why}\n");
    for (field, change) in fields(action) {
        let _ = writeln!(out, "          {field}: {change}");
    }
    out + &fetch::files(plan, action)
}

/// The fields of a new worker, or those that change.
fn fields(action: &Action) -> Vec<(String, String)> {
    let ActionKind::Spawn {
        spec,
        replaces,
        fit,
        ..
    } = &action.kind
    else {
        return Vec::new();
    };
    let memory = fit.as_ref().map(|fit| ("memory".to_owned(), memory(fit)));
    if let Reason::Changed { fields } = &action.reason {
        let change = |field: &reconciler::reason::FieldChange| {
            (
                field.field.clone(),
                format!("{} → {}", field.from, field.to),
            )
        };
        return fields.iter().map(change).chain(memory).collect();
    }
    if replaces.is_some() {
        return memory.into_iter().collect();
    }
    let mut fields = vec![
        ("model".to_owned(), spec.model.to_string()),
        ("slots".to_owned(), spec.slots.to_string()),
    ];
    fields.extend(
        spec.context
            .map(|context| ("context".to_owned(), context.to_string())),
    );
    fields.extend((!spec.dtype.is_auto()).then(|| ("dtype".to_owned(), spec.dtype.to_string())));
    fields.extend(
        spec.quantize
            .map(|quantize| ("quantize".to_owned(), quantize.to_string())),
    );
    fields.extend(
        spec.advertise
            .map(|address| ("advertise".to_owned(), address.to_string())),
    );
    fields.extend(memory);
    fields
}

/// `1.2 GB of 24.4 GB free`.
fn memory(fit: &Fit) -> String {
    let need = units::bytes(fit.bytes);
    let guess = if fit.is_guess {
        " (a guess from its files)"
    } else {
        ""
    };
    match fit.free {
        Some(free) => format!("{need}{guess} of {} free", units::bytes(free)),
        None => format!("{need}{guess}; what is free is not known before the hive runs"),
    }
}

/// `1 to download (988.1 MB), 2 to copy (2.1 MB), 3 to spawn`; what is zero is left out.
pub fn totals(totals: &Totals) -> String {
    let download = format!("download ({})", units::bytes(totals.download_bytes));
    let copy = format!("copy ({})", units::bytes(totals.copy_bytes));
    let parts = [
        (totals.install, "install"),
        (totals.download, download.as_str()),
        (totals.copy, copy.as_str()),
        (totals.check, "check"),
        (totals.spawn, "spawn"),
        (totals.replace, "replace"),
        (totals.stop, "stop"),
        (totals.remove, "remove"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} to {what}"))
        .collect();
    parts.join(", ")
}
