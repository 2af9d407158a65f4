//! Aligned columns.

use jiff::Timestamp;
use pool_core::name::FleetName;
use pool_core::observation::{DeviceInfo, ObservedModel, ObservedOrchestrator, ObservedWorker};
use pool_core::units::bytes;

/// Rows below their headings, as wide as the widest cell, three spaces between.
pub fn render<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = headings.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&headings.map(str::to_owned)).chain(rows) {
        let cells = row.iter().zip(widths);
        let line: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text.push_str(line.join("   ").trim_end());
        text.push('\n');
    }
    text
}

pub fn devices(devices: &[DeviceInfo]) -> String {
    let rows: Vec<_> = devices
        .iter()
        .map(|info| {
            let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
            [
                info.device.to_string(),
                info.name.clone(),
                bytes(info.memory.total),
                bytes(info.memory.available),
                or_none(&info.capability),
                or_none(&info.driver),
            ]
        })
        .collect();
    let headings = [
        "DEVICE",
        "NAME",
        "MEMORY",
        "AVAILABLE",
        "CAPABILITY",
        "DRIVER",
    ];
    render(headings, &rows)
}

pub fn models(models: &[ObservedModel]) -> String {
    let rows: Vec<_> = models
        .iter()
        .map(|model| {
            let entry = &model.entry;
            [
                entry.id.to_string(),
                entry.facts.architecture.clone(),
                bytes(entry.size_bytes),
                entry.facts.context_length.to_string(),
                model.condition().into(),
                owner(entry.fleet.as_ref(), entry.protect),
                entry.source.repo.clone(),
            ]
        })
        .collect();
    let headings = [
        "MODEL",
        "ARCHITECTURE",
        "SIZE",
        "CONTEXT",
        "STATE",
        "FLEET",
        "SOURCE",
    ];
    render(headings, &rows)
}

pub fn workers(workers: &[ObservedWorker]) -> String {
    let rows: Vec<_> = workers
        .iter()
        .map(|worker| {
            let record = &worker.record;
            let process = record.process.as_ref().filter(|_| worker.alive);
            let address = record.spec.address.as_ref();
            [
                record.id.to_string(),
                record.spec.model.to_string(),
                record.spec.device.to_string(),
                record.listen.to_string(),
                worker.condition().into(),
                process.map_or("-".into(), |process| process.pid.to_string()),
                if worker.alive {
                    age(record.started_at)
                } else {
                    "-".into()
                },
                owner(record.spec.fleet.as_ref(), record.protect),
                address.map_or("-".into(), ToString::to_string),
            ]
        })
        .collect();
    let headings = [
        "WORKER", "MODEL", "DEVICE", "LISTEN", "STATE", "PID", "UP", "FLEET", "ADDRESS",
    ];
    render(headings, &rows)
}

pub fn orchestrators(orchestrators: &[ObservedOrchestrator]) -> String {
    let rows: Vec<_> = orchestrators
        .iter()
        .map(|orchestrator| {
            let record = &orchestrator.record;
            let process = record.process.as_ref().filter(|_| orchestrator.alive);
            [
                record.spec.fleet.to_string(),
                record.spec.listen.to_string(),
                orchestrator.condition().into(),
                process.map_or("-".into(), |process| process.pid.to_string()),
                process.map_or("-".into(), |_| age(record.started_at)),
            ]
        })
        .collect();
    render(["ORCHESTRATOR OF", "LISTEN", "STATE", "PID", "UP"], &rows)
}

fn owner(fleet: Option<&FleetName>, protect: bool) -> String {
    let fleet = fleet.map_or("-".into(), ToString::to_string);
    if protect {
        format!("{fleet} (protected)")
    } else {
        fleet
    }
}

/// How long ago, in the largest unit that fits.
fn age(since: Timestamp) -> String {
    let seconds = Timestamp::now().duration_since(since).as_secs().max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            ["tiny".to_owned(), "1.9 MB".to_owned()],
            ["a-longer-name".to_owned(), "7 B".to_owned()],
        ];
        assert_eq!(
            render(["MODEL", "SIZE"], &rows),
            "MODEL           SIZE\ntiny            1.9 MB\na-longer-name   7 B\n"
        );
    }
}
