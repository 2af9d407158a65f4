//! The fleet at a glance: pools, devices, models, workers.

use std::fmt::Write as _;

use pool_core::observation::{ObservedModel, ObservedWorker};
use pool_core::units;
use reconciler::fleet::Fleet;
use reconciler::observed::{Observed, PoolState};

use super::table::Table;
use crate::terminal::{Paint, paint};

/// Tables of everything that the pools reported, whoever owns it.
pub fn text(fleet: &Fleet, observed: &Observed, colour: bool) -> String {
    let mut pools = Table::new(&[
        "POOL",
        "STATE",
        "HOST",
        "DEVICES",
        "MEMORY FREE",
        "DISK FREE",
        "BUILD",
    ]);
    let mut models = Table::new(&[
        "MODEL",
        "POOL",
        "STATE",
        "SIZE",
        "ARCHITECTURE",
        "CONTEXT",
        "OWNER",
    ]);
    let mut workers = Table::new(&[
        "WORKER",
        "POOL",
        "STATE",
        "MODEL",
        "SLOTS",
        "LISTENS AT",
        "PID",
        "OWNER",
    ]);
    let (mut some_model, mut some_worker) = (false, false);
    let mut notes = String::new();
    for (name, state) in &observed.pools {
        let pool = name.to_string();
        match state {
            PoolState::Known(seen) => {
                let devices: Vec<String> = seen
                    .devices
                    .iter()
                    .map(|info| info.device.to_string())
                    .collect();
                let memory = format!(
                    "{} of {}",
                    units::bytes(seen.memory.available),
                    units::bytes(seen.memory.total)
                );
                let build = seen.build.map_or_else(|| "-".into(), |build| build.short());
                let disk = seen
                    .disk_free_bytes
                    .map_or_else(|| "-".into(), units::bytes);
                pools.row(vec![
                    pool.clone(),
                    "up".into(),
                    seen.hostname.clone(),
                    devices.join(" "),
                    memory,
                    disk,
                    build,
                ]);
                for model in &seen.models {
                    some_model = true;
                    models.row(model_row(&pool, model));
                }
                for worker in &seen.workers {
                    some_worker = true;
                    workers.row(worker_row(&pool, worker));
                }
            }
            PoolState::Bare(bare) => {
                let state = if bare.broken.is_some() {
                    "broken"
                } else {
                    "bare"
                };
                pools.row(vec![pool.clone(), state.into(), bare.platform.to_string()]);
                if let Some(cause) = &bare.broken {
                    let _ = writeln!(
                        notes,
                        "{} {pool}: {cause}",
                        paint(colour, Paint::Bad, "broken:")
                    );
                }
            }
            PoolState::Unknown(unknown) => {
                let state = if unknown.unreachable {
                    "unreachable"
                } else {
                    "unknown"
                };
                pools.row(vec![pool.clone(), state.into()]);
                let label = paint(colour, Paint::Bad, &format!("{state}:"));
                let _ = writeln!(notes, "{label} {pool}: {}", unknown.cause);
                if let Some(help) = &unknown.help {
                    let _ = writeln!(notes, "  {} {help}", paint(colour, Paint::Good, "help:"));
                }
            }
        }
    }
    let mut out = format!(
        "{}\n\n{}",
        paint(colour, Paint::Bold, &format!("fleet {}", *fleet.name)),
        pools.text("", colour)
    );
    for (any, table) in [(some_model, models), (some_worker, workers)] {
        if any {
            let _ = write!(out, "\n{}", table.text("", colour));
        }
    }
    if !notes.is_empty() {
        let _ = write!(out, "\n{notes}");
    }
    out
}

fn model_row(pool: &str, model: &ObservedModel) -> Vec<String> {
    let entry = &model.entry;
    let state = match (entry.downloaded, model.damaged.is_empty()) {
        (true, true) => "whole",
        (true, false) => "damaged",
        (false, _) => "incomplete",
    };
    vec![
        entry.id.to_string(),
        pool.into(),
        state.into(),
        units::bytes(entry.size_bytes),
        entry.facts.architecture.clone(),
        entry.facts.context_length.to_string(),
        entry
            .fleet
            .as_ref()
            .map_or_else(|| "(by hand)".into(), ToString::to_string),
    ]
}

fn worker_row(pool: &str, worker: &ObservedWorker) -> Vec<String> {
    let (record, spec) = (&worker.record, &worker.record.spec);
    let state = match (worker.alive, worker.is_serving()) {
        (false, _) => "dead".into(),
        (true, true) => "ready".into(),
        (true, false) if record.state == pool_core::worker::WorkerState::Ready => {
            "not answering".into()
        }
        (true, false) => record.state.to_string(),
    };
    vec![
        spec.address
            .as_ref()
            .map_or_else(|| record.id.to_string(), ToString::to_string),
        pool.into(),
        state,
        spec.model.to_string(),
        spec.slots.to_string(),
        record.listen.to_string(),
        record
            .process
            .as_ref()
            .map_or_else(|| "-".into(), |process| process.pid.to_string()),
        spec.fleet
            .as_ref()
            .map_or_else(|| "(by hand)".into(), ToString::to_string),
    ]
}
