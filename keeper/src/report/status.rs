//! The fleet at a glance: pools, devices, models, workers, orchestrators.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use pool_core::address::WorkerAddress;
use pool_core::name::{FleetName, PoolName};
use pool_core::observation::{
    Memory, ObservedModel, ObservedOrchestrator, ObservedWorker, PoolObservation,
};
use pool_core::units;
use pool_core::worker::WorkerState;
use reconciler::desired::Desired;
use reconciler::observed::{Observed, PoolState};
use schemars::JsonSchema;
use serde::Serialize;

use super::Style;
use super::table::{Cell, Table};
use crate::exit::Exit;
use crate::terminal::{Paint, paint};

/// What `status --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StatusDocument<'a> {
    pub version: u32,
    pub fleet: &'a FleetName,
    #[serde(skip)]
    desired: &'a Desired,
    /// The exit code: 1 when a pool answered with an error, or a worker or the orchestrator of the fleet does not serve or is
    /// not there, 4 when a pool was unreachable.
    pub exit: u8,
    /// Why it is not 0.
    pub problems: Vec<String>,
    /// What each pool said, whoever owns what is there.
    pub pools: &'a BTreeMap<PoolName, PoolState>,
}

impl<'a> StatusDocument<'a> {
    /// Compares what the pools said with what the fleet declares.
    pub fn new(desired: &'a Desired, observed: &'a Observed) -> Self {
        let fleet = &desired.fleet;
        let (mut faults, mut unreachable) = (Vec::new(), Vec::new());
        for (pool, state) in &observed.pools {
            match state {
                PoolState::Unknown(unknown) if unknown.unreachable => {
                    unreachable.push(format!("pool {pool} is unreachable"));
                }
                PoolState::Unknown(_) => faults.push(format!("pool {pool} answers with an error")),
                PoolState::Bare(bare) if bare.broken.is_some() => {
                    faults.push(format!("the hive of pool {pool} does not run"));
                }
                PoolState::Bare(_) if is_wanted(desired, pool) => {
                    faults.push(format!("rbee is not installed on pool {pool}"));
                }
                PoolState::Bare(_) => {}
                PoolState::Known(seen) => {
                    let missing = missing(desired, pool, seen);
                    faults.extend(missing.iter().map(|it| format!("{} is missing", it.what)));
                    let mine = by_address(seen).into_iter();
                    let mine = mine.filter(|worker| is_of(fleet, worker));
                    let down = mine.filter(|worker| is_down(worker));
                    let down =
                        down.map(|worker| format!("{} is {}", name(worker), worker.condition()));
                    faults.extend(down);
                    let down = orchestrators(fleet, seen).filter(|seen| !is_up(seen));
                    faults.extend(
                        down.map(|seen| {
                            format!("the orchestrator on {pool} is {}", seen.condition())
                        }),
                    );
                }
            }
        }
        let exit = match (faults.is_empty(), unreachable.is_empty()) {
            (false, _) => Exit::ERROR,
            (true, false) => Exit::UNREACHABLE,
            (true, true) => Exit::DONE,
        };
        faults.extend(unreachable);
        Self {
            version: 1,
            fleet,
            desired,
            exit: exit.0,
            problems: faults,
            pools: &observed.pools,
        }
    }

    /// Tables of everything that the pools reported; no line is wider than the style allows.
    pub fn text(&self, style: Style) -> String {
        let mut pools = Table::new(&[
            "POOL",
            "STATE",
            "HOST",
            "DEVICE",
            "MEMORY",
            "DISK FREE",
            "BUILD",
        ])
        .spare(&["BUILD", "DISK FREE", "HOST"]);
        let mut models = Table::new(&[
            "MODEL",
            "POOL",
            "STATE",
            "SIZE",
            "ARCHITECTURE",
            "CONTEXT",
            "OWNER",
            "KEPT",
        ])
        .spare(&["CONTEXT", "ARCHITECTURE", "KEPT"])
        .optional(&["KEPT"]);
        let mut workers = Table::new(&[
            "WORKER",
            "POOL",
            "STATE",
            "SLOTS",
            "TOK/S",
            "MEMORY",
            "UP",
            "MODEL",
            "OWNER",
            "KEPT",
            "LISTENS AT",
            "PID",
        ])
        .spare(&[
            "PID",
            "LISTENS AT",
            "KEPT",
            "MODEL",
            "MEMORY",
            "UP",
            "TOK/S",
            "POOL",
        ])
        .optional(&["KEPT"]);
        let mut orchestrators =
            Table::new(&["ORCHESTRATOR", "POOL", "STATE", "UP", "OWNER", "PID"])
                .spare(&["PID", "UP"]);
        let now = Timestamp::now();
        for (pool, state) in self.pools {
            pool_rows(&mut pools, pool, state, style);
            if let PoolState::Known(seen) = state {
                for model in &seen.models {
                    models.row(model_row(pool, model));
                }
                for worker in by_address(seen) {
                    workers.row(worker_row(pool, worker, now));
                }
                for seen in &seen.orchestrators {
                    orchestrators.row(orchestrator_row(pool, seen, now));
                }
            }
        }
        let heading = paint(style.colour, Paint::Bold, &format!("fleet {}", self.fleet));
        let mut out = style.lines(&heading, 0);
        for table in [pools, models, workers, orchestrators] {
            if !table.is_empty() {
                out += &format!("\n{}", table.text(style));
            }
        }
        let notes = self.notes(style);
        if !notes.is_empty() {
            out += &format!("\n{notes}");
        }
        out
    }

    /// Why pools and workers of the fleet do not serve.
    fn notes(&self, style: Style) -> String {
        let mut out = String::new();
        let mut note = |label: &str, colour: Paint, text: &str| {
            let label = paint(style.colour, colour, &format!("{label}:"));
            out += &style.lines(&format!("{label} {text}"), 2);
        };
        for (pool, state) in self.pools {
            match state {
                PoolState::Known(seen) => {
                    if let Some(why) = &seen.no_cuda {
                        note("cuda", Paint::Change, &format!("{pool}: {why}"));
                    }
                    let mine = by_address(seen).into_iter();
                    let mine = mine.filter(|worker| is_of(self.fleet, worker));
                    for worker in mine.filter(|worker| is_down(worker)) {
                        let cause = worker.record.failure.as_deref();
                        let cause = cause.unwrap_or("`rbee apply` brings it back");
                        let text = format!("{}: {cause}", name(worker));
                        note(worker.condition(), Paint::Bad, &text);
                    }
                    for seen in orchestrators(self.fleet, seen).filter(|seen| !is_up(seen)) {
                        let cause = seen.record.failure.as_deref();
                        let cause = cause.unwrap_or("`rbee apply` brings it back");
                        let text = format!("the orchestrator on {pool}: {cause}");
                        note(seen.condition(), Paint::Bad, &text);
                    }
                    for Missing { what, why } in missing(self.desired, pool, seen) {
                        let why = why.unwrap_or_else(|| "`rbee apply` brings it".into());
                        note("missing", Paint::Bad, &format!("{what}: {why}"));
                    }
                }
                PoolState::Bare(bare) => {
                    if let Some(cause) = &bare.broken {
                        note("broken", Paint::Bad, &format!("{pool}: {cause}"));
                    } else if is_wanted(self.desired, pool) {
                        let text = format!("{pool}: rbee is not installed; `rbee apply` does it");
                        note("bare", Paint::Change, &text);
                    }
                }
                PoolState::Unknown(unknown) => {
                    let (word, colour) = word(state);
                    note(word, colour, &format!("{pool}: {}", unknown.cause));
                    if let Some(help) = &unknown.help {
                        note("  help", Paint::Good, help);
                    }
                }
            }
        }
        out
    }
}

/// Something that a fleet declares and a pool does not have.
struct Missing {
    what: String,
    /// Why it cannot come.
    why: Option<String>,
}

/// What the fleet declares on a pool and the pool does not have.
fn missing(desired: &Desired, pool: &PoolName, seen: &PoolObservation) -> Vec<Missing> {
    let Some(declared) = desired.pools.get(pool) else {
        return Vec::new();
    };
    let mine = seen.workers.iter();
    let mine = mine.filter(|worker| is_of(&desired.fleet, worker));
    let there: BTreeSet<&WorkerAddress> = mine
        .filter_map(|worker| worker.record.spec.address.as_ref())
        .collect();
    let workers = declared.workers.keys();
    let workers = workers.filter(|address| !there.contains(address));
    let missing = workers.map(|address| Missing {
        what: address.to_string(),
        why: seen.lacks(address.device),
    });
    let mut missing: Vec<Missing> = missing.collect();
    if declared.orchestrator.is_some() && orchestrators(&desired.fleet, seen).next().is_none() {
        missing.push(Missing {
            what: format!("the orchestrator on {pool}"),
            why: None,
        });
    }
    missing
}

/// Whether the fleet declares something on a pool.
fn is_wanted(desired: &Desired, pool: &PoolName) -> bool {
    let declared = desired.pools.get(pool);
    declared.is_some_and(|pool| !pool.workers.is_empty() || pool.orchestrator.is_some())
}

/// The workers in the order of their addresses; behind them those that have none.
fn by_address(seen: &PoolObservation) -> Vec<&ObservedWorker> {
    let mut workers: Vec<&ObservedWorker> = seen.workers.iter().collect();
    workers.sort_by_key(|worker| {
        let address = worker.record.spec.address.as_ref();
        (address.is_none(), address, &worker.record.id)
    });
    workers
}

fn is_of(fleet: &FleetName, worker: &ObservedWorker) -> bool {
    worker.record.spec.fleet.as_ref() == Some(fleet)
}

/// It should serve and does not. One that still starts or stops does as it should.
fn is_down(worker: &ObservedWorker) -> bool {
    let state = worker.record.state;
    let is_silent = state == WorkerState::Ready && !worker.answers;
    !worker.alive || is_silent || state == WorkerState::Failed
}

/// The orchestrator of the fleet on a pool.
fn orchestrators<'a>(
    fleet: &FleetName,
    seen: &'a PoolObservation,
) -> impl Iterator<Item = &'a ObservedOrchestrator> {
    let all = seen.orchestrators.iter();
    all.filter(move |seen| seen.record.spec.fleet == *fleet)
}

/// It takes requests. One that still starts or stops does as it should.
fn is_up(seen: &ObservedOrchestrator) -> bool {
    let is_silent = seen.record.state == WorkerState::Ready && !seen.answers;
    seen.alive && !is_silent
}

fn word(state: &PoolState) -> (&'static str, Paint) {
    match state {
        PoolState::Known(_) => ("up", Paint::Good),
        PoolState::Bare(bare) if bare.broken.is_some() => ("broken", Paint::Bad),
        PoolState::Bare(_) => ("bare", Paint::Change),
        PoolState::Unknown(unknown) if unknown.unreachable => ("unreachable", Paint::Bad),
        PoolState::Unknown(_) => ("unknown", Paint::Bad),
    }
}

/// A row for each device; the pool itself stands in the first.
fn pool_rows(table: &mut Table, pool: &PoolName, state: &PoolState, style: Style) {
    let (word, colour) = word(state);
    let first = [Cell::from(pool.to_string()), Cell::painted(word, colour)];
    match state {
        PoolState::Known(seen) => {
            let PoolObservation {
                hostname,
                disk_free_bytes,
                build,
                ..
            } = &**seen;
            let disk = disk_free_bytes.map_or_else(|| "-".into(), units::bytes);
            let build = build.map_or_else(|| "-".into(), |build| build.short());
            let devices: Vec<[Cell; 2]> = seen
                .devices
                .iter()
                .map(|info| {
                    [
                        info.device.to_string().into(),
                        bar(info.memory, style).into(),
                    ]
                })
                .collect();
            let none = [["-".into(), "".into()]];
            let devices = if devices.is_empty() {
                &none[..]
            } else {
                &devices
            };
            for (n, device) in devices.iter().enumerate() {
                let [device, memory] = device.clone();
                let row = if n == 0 {
                    let [pool, state] = first.clone();
                    let (disk, build) = (disk.clone().into(), build.clone().into());
                    vec![
                        pool,
                        state,
                        hostname.clone().into(),
                        device,
                        memory,
                        disk,
                        build,
                    ]
                } else {
                    let none = Cell::default;
                    vec![none(), none(), none(), device, memory]
                };
                table.row(row);
            }
        }
        PoolState::Bare(bare) => {
            let mut row = first.to_vec();
            row.push(bare.platform.to_string().into());
            table.row(row);
        }
        PoolState::Unknown(_) => table.row(first.to_vec()),
    }
}

/// What is taken of the memory: `▕████░░░░▏ 12.1 of 25.3 GB`.
fn bar(memory: Memory, style: Style) -> String {
    const CELLS: u64 = 8;
    if memory.total == 0 {
        return "not known".into();
    }
    let taken = memory.total.saturating_sub(memory.available);
    // Rounded, in 128 bits: a machine's bytes times 8 fit 64, but nobody has to count.
    let full = (u128::from(taken) * u128::from(CELLS) * 2 / u128::from(memory.total)).div_ceil(2);
    let full = usize::try_from(full).unwrap_or(0).min(CELLS as usize);
    let (open, on, off, close) = if style.unicode {
        ("▕", "█", "░", "▏")
    } else {
        ("[", "#", ".", "]")
    };
    let bar = on.repeat(full) + &off.repeat(CELLS as usize - full);
    let (used, total) = (units::bytes(taken), units::bytes(memory.total));
    // One unit where both have the same.
    let used = match (used.rsplit_once(' '), total.rsplit_once(' ')) {
        (Some((number, unit)), Some((_, same))) if unit == same => number.to_owned(),
        _ => used,
    };
    format!("{open}{bar}{close} {used} of {total}")
}

fn owner(fleet: Option<&FleetName>) -> Cell {
    fleet.map_or_else(|| "(by hand)".into(), |fleet| fleet.to_string().into())
}

fn kept(protect: bool) -> Cell {
    if protect { "protected" } else { "" }.into()
}

fn model_row(pool: &PoolName, model: &ObservedModel) -> Vec<Cell> {
    let entry = &model.entry;
    let colour = match model.condition() {
        "downloaded" => Paint::Good,
        "damaged" => Paint::Bad,
        _ => Paint::Change,
    };
    vec![
        entry.id.to_string().into(),
        pool.to_string().into(),
        Cell::painted(model.condition(), colour),
        units::bytes(entry.size_bytes).into(),
        entry.facts.architecture.clone().into(),
        entry.facts.context_length.to_string().into(),
        owner(entry.fleet.as_ref()),
        kept(entry.protect),
    ]
}

/// Its address, else its id.
fn name(worker: &ObservedWorker) -> String {
    let address = worker.record.spec.address.as_ref();
    address.map_or_else(|| worker.record.id.to_string(), ToString::to_string)
}

fn worker_row(pool: &PoolName, worker: &ObservedWorker, now: Timestamp) -> Vec<Cell> {
    let (record, spec) = (&worker.record, &worker.record.spec);
    let colour = if worker.is_serving() {
        Paint::Good
    } else if is_down(worker) {
        Paint::Bad
    } else {
        Paint::Change
    };
    let dash = |text: Option<String>| Cell::from(text.unwrap_or_else(|| "-".into()));
    let health = worker.health.as_ref();
    let slots = health.map_or_else(
        || format!("-/{}", spec.slots),
        |health| format!("{}/{}", health.slots.busy, health.slots.total),
    );
    let rate = health
        .and_then(|health| health.us_per_token)
        .filter(|us| *us > 0);
    let memory = health.map(|health| health.memory).or(record.memory);
    let process = record.process.as_ref().filter(|_| worker.alive);
    vec![
        name(worker).into(),
        pool.to_string().into(),
        Cell::painted(worker.condition(), colour),
        slots.into(),
        dash(rate.map(|us| format!("{:.1}", 1e6 / us as f64))),
        dash(memory.filter(|_| worker.alive).map(units::bytes)),
        dash(process.map(|_| age(now, record.started_at))),
        spec.model.to_string().into(),
        owner(spec.fleet.as_ref()),
        kept(record.protect),
        record.listen.to_string().into(),
        dash(process.map(|process| process.pid.to_string())),
    ]
}

fn orchestrator_row(pool: &PoolName, seen: &ObservedOrchestrator, now: Timestamp) -> Vec<Cell> {
    let record = &seen.record;
    let colour = if seen.is_serving() {
        Paint::Good
    } else if is_up(seen) {
        Paint::Change
    } else {
        Paint::Bad
    };
    let dash = |text: Option<String>| Cell::from(text.unwrap_or_else(|| "-".into()));
    let process = record.process.as_ref().filter(|_| seen.alive);
    vec![
        record.spec.listen.to_string().into(),
        pool.to_string().into(),
        Cell::painted(seen.condition(), colour),
        dash(process.map(|_| age(now, record.started_at))),
        owner(Some(&record.spec.fleet)),
        dash(process.map(|process| process.pid.to_string())),
    ]
}

/// How long ago, in the largest unit that fits.
fn age(now: Timestamp, since: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests;
