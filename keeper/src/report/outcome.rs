//! What an apply did, and the exit code that says so.

use pool_core::units;
use reconciler::desired::Purpose;
use reconciler::plan::{ActionKind, Plan, Totals};
use schemars::JsonSchema;
use serde::Serialize;

use super::Style;
use crate::apply::Status;
use crate::exit::Exit;
use crate::terminal::{Paint, paint};

/// A plan and what became of each of its actions: what `apply --json` and `destroy --json` print.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Report<'a> {
    pub plan: &'a Plan,
    /// In the order of the plan's actions.
    pub statuses: &'a [Status],
    pub done: Totals,
    #[serde(skip)]
    pub purpose: Purpose,
}

impl<'a> Report<'a> {
    pub fn new(plan: &'a Plan, statuses: &'a [Status], purpose: Purpose) -> Self {
        let done = plan
            .actions
            .iter()
            .zip(statuses)
            .filter(|(_, status)| matches!(status, Status::Done { .. }));
        let actions = done.map(|(action, _)| action.clone()).collect();
        let done = Plan {
            actions,
            ..plan.clone()
        }
        .totals();
        let done = as_brought(done, statuses);
        Self {
            plan,
            statuses,
            done,
            purpose,
        }
    }

    /// What is not as the fleet file says decides: an interruption, then a plan that is stale, or pools that somebody else
    /// holds, before anything was done, then gates where nothing else failed, then any failure, then a pool that did not answer.
    pub fn exit(&self) -> Exit {
        let any = |test: fn(&Status) -> bool| self.statuses.iter().any(test);
        let faulty = self
            .plan
            .unknown
            .iter()
            .any(|pool| !pool.unknown.unreachable);
        let faults = || {
            self.statuses.iter().filter_map(|status| match status {
                Status::Failed(fault) => Some(fault),
                _ => None,
            })
        };
        let failed = faults().next().is_some();
        let done = any(|status| matches!(status, Status::Done { .. }));
        let else_well = !faulty && self.plan.blocked.is_empty();
        if any(|status| matches!(status, Status::NotStarted | Status::Cut)) {
            Exit::INTERRUPTED
        } else if failed && !done && faults().all(|fault| fault.stale) {
            Exit::STALE
        } else if failed && !done && faults().all(|fault| fault.locked) {
            Exit::LOCKED
        } else if failed && else_well && faults().all(|fault| fault.gate) {
            Exit::GATE
        } else if any(|status| matches!(status, Status::Failed(fault) if !fault.unreachable))
            || faulty
            || !self.plan.blocked.is_empty()
        {
            Exit::PARTLY
        } else if any(|status| matches!(status, Status::Failed(_))) || !self.plan.unknown.is_empty()
        {
            Exit::UNREACHABLE
        } else {
            Exit::DONE
        }
    }

    /// Failures with their way out, then one line of totals.
    pub fn text(&self, style: Style) -> String {
        let mut out = String::new();
        let mut say = |label: &str, colour: Paint, text: &str| {
            let label = paint(style.colour, colour, label);
            // What a worker printed stands below as it printed it.
            let (text, printed) = text.split_once('\n').unwrap_or((text, ""));
            out += &style.lines(&format!("{label} {text}"), 2);
            for line in printed.lines() {
                out += &format!("{line}\n");
            }
        };
        for (action, status) in self.plan.actions.iter().zip(self.statuses) {
            let (pool, kind) = (&action.pool, &action.kind);
            match status {
                Status::Failed(fault) => {
                    let text = format!("{pool}: {kind}: {}", fault.what);
                    say("error:", Paint::Bad, &text);
                    if let Some(help) = &fault.help {
                        say("help:", Paint::Good, help);
                    }
                }
                Status::Skipped { because } => {
                    let cause = self
                        .plan
                        .action(*because)
                        .map(|cause| cause.kind.to_string());
                    let because = cause.unwrap_or_else(|| because.to_string());
                    let text = format!("{pool}: {kind}: needs `{because}`");
                    say("not done:", Paint::Change, &text);
                }
                Status::NotStarted => {
                    say("not begun:", Paint::Change, &format!("{pool}: {kind}"));
                }
                Status::Cut => {
                    let text = format!("{pool}: {kind}: left under way");
                    say("not finished:", Paint::Change, &text);
                }
                Status::Done { .. } => {}
            }
        }
        let is_begun = |status: &Status| matches!(status, Status::Failed(_) | Status::Cut);
        let done = match past(&self.done) {
            None if self.statuses.iter().any(is_begun) => "nothing was finished".into(),
            None => "nothing was done".into(),
            Some(done) => done,
        };
        let head = match self.exit() {
            Exit::DONE => "complete",
            Exit::INTERRUPTED => "interrupted",
            _ => "not complete",
        };
        let (name, command) = match self.purpose {
            Purpose::Apply => ("Apply", "rbee apply"),
            Purpose::Destroy => ("Destroy", "rbee destroy"),
        };
        let rest = match self.exit() {
            Exit::DONE => String::new(),
            Exit::INTERRUPTED => format!(" `{command}` goes on from here."),
            _ => format!(" When what stands above is cured, `{command}` goes on from here."),
        };
        let last = format!("{name} {head}: {done}.{rest}");
        out + &style.lines(&paint(style.colour, Paint::Bold, &last), 0)
    }
}

/// The fetches as what really came makes them, which is not always what was planned.
fn as_brought(done: Totals, statuses: &[Status]) -> Totals {
    let none = Totals {
        download: 0,
        download_bytes: 0,
        copy: 0,
        copy_bytes: 0,
        check: 0,
        ..done
    };
    let brought = statuses.iter().filter_map(|status| match status {
        Status::Done { brought, .. } => *brought,
        _ => None,
    });
    brought.fold(none, |mut sum, brought| {
        let copied = brought.from_pools + brought.from_operator;
        match (brought.from_hub, copied) {
            (0, 0) => sum.check += 1,
            (0, _) => sum.copy += 1,
            _ => sum.download += 1,
        }
        sum.download_bytes += brought.from_hub;
        sum.copy_bytes += copied;
        sum
    })
}

/// What was done; none where nothing was.
fn past(done: &Totals) -> Option<String> {
    let downloaded = format!("downloaded ({})", units::bytes(done.download_bytes));
    let copied = format!("copied ({})", units::bytes(done.copy_bytes));
    let parts = [
        (done.install, "installed"),
        (done.download, downloaded.as_str()),
        (done.copy, copied.as_str()),
        (done.check, "checked"),
        (done.spawn, "spawned"),
        (done.replace, "replaced"),
        (done.stop, "stopped"),
        (done.remove, "removed"),
        (done.update, "updated"),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// How many actions a plan has of which an operator must know that they take something away.
pub fn stops(plan: &Plan) -> usize {
    plan.actions
        .iter()
        .filter(|action| {
            matches!(
                action.kind,
                ActionKind::Stop {
                    for_spawn: false,
                    ..
                } | ActionKind::StopOrchestrator
                    | ActionKind::Unregister { .. }
            )
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::Fault;

    #[test]
    fn what_a_worker_printed_stands_as_it_printed_it() {
        let plan = r#"{ "version": 1, "fleet": "home", "actions": [
            { "id": 0, "pool": "box", "action": "unregister", "model": "tiny", "bytes": 1,
              "reason": { "code": "not_declared" }, "needs": [] } ],
            "blocked": [], "unknown": [], "warnings": [] }"#;
        let plan: Plan = serde_json::from_str(plan).unwrap();
        let fault = Fault {
            help: Some("the whole log: rbee pool --pool box worker logs tiny-1".into()),
            ..Fault::of(format!(
                "the worker tiny-1 ended\n  | {}\n  |   at x",
                "long ".repeat(12)
            ))
        };
        let statuses = [Status::Failed(fault)];
        let style = Style {
            colour: false,
            width: Some(44),
            unicode: true,
        };
        let text = Report::new(&plan, &statuses, Purpose::Apply).text(style);
        let expected = format!(
            "error: box: remove tiny: the worker tiny-1\n  ended\n  | {}\n  |   at x\n\
             help: the whole log: rbee pool --pool box\n  worker logs tiny-1\n",
            "long ".repeat(12)
        );
        assert!(text.starts_with(&expected), "{text}");
    }

    #[test]
    fn what_was_done_is_counted_by_where_it_came_from() {
        let done = Totals {
            register: 3,
            download: 1,
            download_bytes: 988_100_000,
            copy: 2,
            copy_bytes: 2_000_000,
            check: 1,
            ..Totals::default()
        };
        assert_eq!(
            past(&done).as_deref(),
            Some("1 downloaded (988.1 MB), 2 copied (2.0 MB), 1 checked")
        );
        assert_eq!(past(&Totals::default()), None);
    }
}
