//! A plan as text.

use std::collections::{BTreeMap, BTreeSet};

use pool_core::name::PoolName;
use pool_core::units;
use reconciler::desired::Purpose;
use reconciler::plan::{Action, LeftOut, Plan, Totals};

use super::Style;
use crate::terminal::{Paint, paint};

pub mod bill;
pub mod entry;
mod fetch;
pub mod outage;
#[cfg(test)]
mod tests;

use entry::Entry;

/// What a plan was made for; an empty one says what that means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Apply,
    Destroy,
    /// It is a saved one: what the pools need now, nobody asked.
    Saved,
}

impl From<Purpose> for Origin {
    fn from(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Apply => Self::Apply,
            Purpose::Destroy => Self::Destroy,
        }
    }
}

/// How each pool is reached, for the headings.
pub type Places = BTreeMap<PoolName, String>;

/// Columns of a symbol and the space behind it.
const SYMBOL: usize = 6;
/// Columns of the kind of a thing, where none is longer.
const KIND: usize = 7;
/// Where its fields begin.
const FIELD: usize = 10;

/// The whole plan, ending with its totals.
pub fn text(plan: &Plan, places: &Places, origin: Origin, style: Style) -> String {
    let mut out = String::new();
    let shown = plan.actions.iter();
    let shown = shown.filter_map(|action| Some((action, Entry::of(action)?)));
    let shown: Vec<(&Action, Entry)> = shown.collect();
    let widths = shown.iter().map(|(_, entry)| entry.kind.len());
    let width = widths.fold(KIND, usize::max);
    let pools: BTreeSet<&PoolName> = shown.iter().map(|(action, _)| &action.pool).collect();
    for pool in pools {
        let place = places.get(pool).map(|place| format!(" ({place})"));
        let heading = format!("{pool}{}", place.unwrap_or_default());
        out += &style.lines(&paint(style.colour, Paint::Bold, &heading), 0);
        for (action, entry) in shown.iter().filter(|(action, _)| action.pool == *pool) {
            out += &lines(plan, action, entry, width, style);
        }
    }
    if !out.is_empty() {
        out.push('\n');
    }
    if !plan.bills.is_empty() {
        out += &bill::table(&plan.bills).text(style);
        out.push('\n');
    }
    let notes = notes(plan, style);
    if !notes.is_empty() {
        out += &notes;
        out.push('\n');
    }
    let last = last(plan, origin);
    out += &style.lines(&paint(style.colour, Paint::Bold, &last), 0);
    if let Some(left_out) = &plan.left_out {
        out += &style.lines(&left_out_by(left_out), 2);
    }
    out
}

/// `Left out by --worker chat: 3 to spawn, 1 to stop.`
fn left_out_by(left_out: &LeftOut) -> String {
    format!("Left out by {}: {}.", left_out.targets, rest(left_out))
}

/// What is left out; nothing, where that is so.
pub fn rest(left_out: &LeftOut) -> String {
    let LeftOut {
        blocked, unknown, ..
    } = *left_out;
    let pools = units::count(unknown, "pool");
    let parts = [
        Some(totals(&left_out.totals)).filter(|totals| !totals.is_empty()),
        (blocked > 0).then(|| format!("{blocked} blocked")),
        (unknown > 0).then(|| format!("{pools} not known")),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() {
        "nothing".into()
    } else {
        parts.join(", ")
    }
}

/// What cannot be done, what is not known, and what to mind.
fn notes(plan: &Plan, style: Style) -> String {
    let mut out = String::new();
    let mut note = |label: &str, colour: Paint, text: &str| {
        let label = paint(style.colour, colour, label);
        out += &style.lines(&format!("{label} {text}"), 2);
    };
    for blocked in &plan.blocked {
        let text = format!("{}: {}: {}", blocked.pool, blocked.what, blocked.why);
        note("blocked:", Paint::Bad, &text);
    }
    for pool in &plan.unknown {
        let label = if pool.unknown.unreachable {
            "unreachable:"
        } else {
            "unknown:"
        };
        let cause = &pool.unknown.cause;
        let text = format!("{}: {cause} (nothing of it is touched)", pool.pool);
        note(label, Paint::Bad, &text);
        if let Some(help) = &pool.unknown.help {
            note("  help:", Paint::Good, help);
        }
    }
    for outage in &plan.outages {
        let text = outage::text(outage);
        if outage.is_too_long() {
            note(
                "outage:",
                Paint::Bad,
                &paint(style.colour, Paint::Bad, &text),
            );
        } else {
            note("outage:", Paint::Change, &text);
        }
    }
    for warning in &plan.warnings {
        note("warning:", Paint::Change, warning);
    }
    out
}

/// The line that says it all.
fn last(plan: &Plan, origin: Origin) -> String {
    let open = !plan.unknown.is_empty() || !plan.blocked.is_empty();
    let fleet = &plan.fleet;
    match (plan.is_empty(), origin, open) {
        (false, _, _) => format!("Plan: {}.", totals(&plan.totals())),
        (true, _, _) if plan.left_out.is_some() => {
            format!("No changes: nothing of what was asked for of fleet {fleet} is to be done.")
        }
        (true, _, true) => format!("No changes: nothing else of fleet {fleet} is to be done."),
        (true, Origin::Apply, false) => format!("No changes: fleet {fleet} is as its file says."),
        (true, Origin::Destroy, false) => {
            format!("No changes: nothing of fleet {fleet} is there.")
        }
        (true, Origin::Saved, false) => {
            format!("No changes: this saved plan of fleet {fleet} is empty.")
        }
    }
}

/// `width` is that of the kinds.
fn lines(plan: &Plan, action: &Action, entry: &Entry, width: usize, style: Style) -> String {
    let Entry {
        symbol,
        kind,
        name,
        why,
        ..
    } = entry;
    let symbol = paint(style.colour, entry.paint, &format!("{symbol:>5}"));
    let why = paint(style.colour, Paint::Dim, &format!("({why})"));
    let line = format!("{symbol} {kind:width$}  {name}  {why}");
    let mut out = style.lines(&line, SYMBOL + width + 2);
    let indent = " ".repeat(FIELD);
    for (field, value) in &entry.fields {
        out += &style.lines(&format!("{indent}{field}: {value}"), FIELD + 2);
    }
    for file in fetch::files(plan, action) {
        out += &style.lines(&format!("{indent}{file}"), FIELD + 2);
    }
    out
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
        (totals.update, "update"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} to {what}"))
        .collect();
    parts.join(", ")
}
