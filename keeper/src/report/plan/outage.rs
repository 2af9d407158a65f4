//! How long a model is down.

use reconciler::plan::Outage;

use super::bill;

/// `tiny is down for about 2.1 s while chat/here/cpu/0 is replaced`, and what fleet.yaml allows where that is less.
pub fn text(outage: &Outage) -> String {
    let workers: Vec<String> = outage.workers.iter().map(ToString::to_string).collect();
    let verb = if workers.len() == 1 { "is" } else { "are" };
    let time = match outage.ms {
        Some(ms) if ms < 60_000 => format!("about {:.1} s", ms as f64 / 1000.0),
        Some(ms) => bill::time(ms.div_ceil(1000)),
        None => "a time that nobody has measured".into(),
    };
    let allowed = match outage.max_ms {
        Some(most) if outage.is_too_long() => {
            format!(", and fleet.yaml allows `max_outage: {}`", allowed(most))
        }
        _ => String::new(),
    };
    let (model, workers) = (&outage.model, workers.join(", "));
    format!("{model} is down for {time} while {workers} {verb} replaced{allowed}")
}

/// As fleet.yaml writes it.
fn allowed(ms: u64) -> String {
    match ms {
        0 => "0s".into(),
        ms if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        ms if ms.is_multiple_of(1000) => format!("{}s", ms / 1000),
        ms => format!("{ms}ms"),
    }
}
