//! Where the pools differ from the fleet file, thing by thing.

use std::collections::BTreeMap;

use pool_core::name::{FleetName, PoolName};
use pool_core::rpc::Subject;
use pool_core::units;
use reconciler::diff::{
    Binaries, Drift, KnownDrift, LinkDrift, ModelDrift, OrchestratorDrift, PoolDrift, WorkerDrift,
};
use reconciler::observed::{Observed, PoolState, Unknown};
use reconciler::reason::{FieldChange, Reason};
use schemars::JsonSchema;
use serde::Serialize;

use super::Style;
use super::plan::entry::{changed, linked};
use crate::terminal::{Paint, paint};

/// What `drift --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DriftDocument {
    pub version: u32,
    pub fleet: FleetName,
    pub pools: BTreeMap<PoolName, PoolReport>,
}

/// How one pool differs.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PoolReport {
    Known {
        differs: Vec<Difference>,
        /// What no fleet owns, or another.
        not_touched: Vec<Other>,
    },
    Unknown(Unknown),
}

/// One thing that is not as it should be.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Difference {
    pub kind: Kind,
    pub name: String,
    pub way: Way,
    /// In words.
    pub why: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<FieldChange>,
}

/// A thing that the fleet does not own.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Other {
    pub kind: Kind,
    pub name: String,
    /// None of what a person made.
    pub owner: Option<FleetName>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Programs,
    Model,
    Worker,
    Orchestrator,
    /// What the workers of a pool know of their orchestrator.
    Link,
}

/// How a thing differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    Missing,
    Different,
    /// It is there and should not be.
    Extra,
    /// Whether it differs, or how it could be cured, is not known.
    Blocked,
}

impl DriftDocument {
    pub fn new(drift: &Drift, observed: &Observed) -> Self {
        let fleet = drift.fleet.clone();
        let pools = drift.pools.iter().map(|(pool, drift)| {
            let report = match drift {
                PoolDrift::Unknown(unknown) => PoolReport::Unknown(unknown.clone()),
                PoolDrift::Known(known) => PoolReport::Known {
                    differs: differences(known),
                    not_touched: others(&fleet, observed.pools.get(pool)),
                },
            };
            (pool.clone(), report)
        });
        Self {
            version: 1,
            pools: pools.collect(),
            fleet: drift.fleet.clone(),
        }
    }

    fn count(&self, test: impl Fn(&Difference) -> bool) -> usize {
        let all = self.pools.values().flat_map(|pool| match pool {
            PoolReport::Known { differs, .. } => &differs[..],
            PoolReport::Unknown(_) => &[],
        });
        all.filter(|difference| test(difference)).count()
    }

    pub fn differs(&self) -> bool {
        self.count(|_| true) > 0
    }

    pub fn is_blocked(&self) -> bool {
        self.count(|difference| difference.way == Way::Blocked) > 0
    }

    /// Of the pools that are not known: whether any is unreachable, or any is not.
    pub fn is_unknown(&self, unreachable: bool) -> bool {
        self.pools.values().any(
            |pool| matches!(pool, PoolReport::Unknown(unknown) if unknown.unreachable == unreachable),
        )
    }

    /// Pool by pool, ending with the count.
    pub fn text(&self, style: Style) -> String {
        let mut out = String::new();
        let mut differing = 0;
        let width = self.width();
        for (pool, report) in &self.pools {
            let bold = |text: &str| paint(style.colour, Paint::Bold, text);
            match report {
                PoolReport::Unknown(unknown) => {
                    let word = if unknown.unreachable {
                        "unreachable:"
                    } else {
                        "unknown:"
                    };
                    let word = paint(style.colour, Paint::Bad, word);
                    let text = format!("{} {word} {}", bold(pool.as_str()), unknown.cause);
                    out += &style.lines(&text, 2);
                    if let Some(help) = &unknown.help {
                        let label = paint(style.colour, Paint::Good, "help:");
                        out += &style.lines(&format!("  {label} {help}"), 4);
                    }
                }
                PoolReport::Known {
                    differs,
                    not_touched,
                } => {
                    differing += usize::from(!differs.is_empty());
                    let is_same = if differs.is_empty() {
                        " is as the fleet file says"
                    } else {
                        ""
                    };
                    let text = format!("{}{is_same}", bold(pool.as_str()));
                    out += &style.lines(&text, 2);
                    for difference in differs {
                        out += &difference.text(width, style);
                    }
                    for other in not_touched {
                        out += &style.lines(&other.text(width, style), width + 9);
                    }
                }
            }
        }
        let last = self.last(differing);
        out + "\n" + &style.lines(&paint(style.colour, Paint::Bold, &last), 0)
    }

    /// Columns of the longest word for a kind.
    fn width(&self) -> usize {
        let known = self.pools.values().filter_map(|pool| match pool {
            PoolReport::Known {
                differs,
                not_touched,
            } => Some((differs, not_touched)),
            PoolReport::Unknown(_) => None,
        });
        let kinds = known.flat_map(|(differs, others)| {
            let differs = differs.iter().map(|difference| difference.kind);
            differs.chain(others.iter().map(|other| other.kind))
        });
        let widths = kinds.map(|kind| kind.word().len());
        widths.fold(Kind::Programs.word().len(), usize::max)
    }

    /// What it comes to, and of which pools it says nothing.
    fn last(&self, differing: usize) -> String {
        let is_unknown = |pool: &PoolReport| matches!(pool, PoolReport::Unknown(_));
        let unknown = self.pools.iter().filter(|(_, pool)| is_unknown(pool));
        let unknown: Vec<&str> = unknown.map(|(name, _)| name.as_str()).collect();
        let known = self.pools.len() - unknown.len();
        let of = units::count(known, "pool");
        let differ = match self.count(|_| true) {
            0 => None,
            1 => Some("1 thing differs".to_owned()),
            more => Some(format!("{more} things differ")),
        };
        let fleet = &self.fleet;
        let said = match (differ, known) {
            (Some(differ), _) => format!("Drift: {differ}, on {differing} of {of} that answered."),
            (None, 0) if unknown.is_empty() => format!("No drift: fleet {fleet} has no pools."),
            (None, 0) => return format!("Nothing is known of fleet {fleet}: no pool answered."),
            (None, _) => {
                format!(
                    "No drift: {of} answered, and what fleet {fleet} has there is as its file says."
                )
            }
        };
        if unknown.is_empty() {
            said
        } else {
            format!("{said} Of {} nothing is known.", unknown.join(", "))
        }
    }
}

impl Difference {
    /// `width` is that of the kinds.
    fn text(&self, width: usize, style: Style) -> String {
        let (symbol, colour) = match self.way {
            Way::Missing => ("+", Paint::Good),
            Way::Different => ("~", Paint::Change),
            Way::Extra => ("-", Paint::Bad),
            Way::Blocked => ("!", Paint::Bad),
        };
        let symbol = paint(style.colour, colour, symbol);
        let (kind, name, why) = (self.kind.word(), &self.name, &self.why);
        let line = format!("  {symbol} {kind:width$}  {name}  ({why})");
        let mut out = style.lines(&line, width + 6);
        for (field, change) in self.fields.iter().map(changed) {
            out += &style.lines(&format!("      {field}: {change}"), 8);
        }
        out
    }
}

impl Other {
    fn text(&self, width: usize, style: Style) -> String {
        let owner = match &self.owner {
            Some(fleet) => format!("of fleet {fleet}"),
            None => "made by hand".into(),
        };
        let text = format!(
            "    {:width$}  {}  ({owner}: not touched)",
            self.kind.word(),
            self.name
        );
        paint(style.colour, Paint::Dim, &text)
    }
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Programs => "programs",
            Self::Model => "model",
            Self::Worker => "worker",
            Self::Orchestrator => "orchestrator",
            Self::Link => "link",
        }
    }
}

fn differences(known: &KnownDrift) -> Vec<Difference> {
    let mut all = Vec::new();
    match &known.binaries {
        Some(Binaries::Install {
            from, to, reason, ..
        }) => {
            let way = if from.is_some() {
                Way::Different
            } else {
                Way::Missing
            };
            let name = match from {
                Some(from) => format!("rbee {} → {}", from.short(), to.short()),
                None => format!("rbee {}", to.short()),
            };
            all.push(Difference::new(Kind::Programs, name, way, reason));
        }
        Some(Binaries::NoBuild { why }) => {
            all.push(Difference::blocked(Kind::Programs, "rbee".into(), why));
        }
        None => {}
    }
    for (model, drift) in &known.models {
        let name = model.to_string();
        all.push(match drift {
            ModelDrift::Bring { reason, .. } => {
                Difference::new(Kind::Model, name, way(reason), reason)
            }
            ModelDrift::Blocked { why } => Difference::blocked(Kind::Model, name, why),
        });
    }
    for (address, drift) in &known.workers {
        let name = address.to_string();
        all.push(match drift {
            WorkerDrift::Spawn { reason, .. } => {
                Difference::new(Kind::Worker, name, way(reason), reason)
            }
            WorkerDrift::Blocked { why } => Difference::blocked(Kind::Worker, name, why),
        });
    }
    for (worker, reason) in &known.extra_workers {
        let record = &worker.record;
        let address = record.spec.address.as_ref();
        let name = address.map_or_else(|| record.id.to_string(), ToString::to_string);
        all.push(Difference::new(Kind::Worker, name, Way::Extra, reason));
    }
    for (model, reason) in &known.extra_models {
        let name = model.entry.id.to_string();
        all.push(Difference::new(Kind::Model, name, Way::Extra, reason));
    }
    all.extend(known.orchestrator.as_ref().map(of_orchestrator));
    all.extend(known.configs.iter().map(|config| {
        let name = format!("{} {}", config.file, config.wanted.path);
        let reason = config.reason();
        Difference::new(Kind::Orchestrator, name, way(&reason), &reason)
    }));
    all.extend(known.link.as_ref().map(of_link));
    for update in &known.updates {
        let (kind, name) = match (&update.subject, &update.address) {
            (Subject::Model(model), _) => (Kind::Model, model.to_string()),
            (Subject::Worker(_), Some(address)) => (Kind::Worker, address.to_string()),
            (Subject::Worker(worker), None) => (Kind::Worker, worker.to_string()),
        };
        let field = FieldChange {
            field: "protect".into(),
            from: (!update.protect).to_string(),
            to: update.protect.to_string(),
        };
        let fields = vec![field];
        let reason = Reason::Changed { fields };
        all.push(Difference::new(kind, name, Way::Different, &reason));
    }
    let models = known.protected_models.iter();
    let models = models.map(|model| (Kind::Model, model.to_string()));
    let workers = known.protected_workers.iter().map(|worker| {
        let record = &worker.record;
        let address = record.spec.address.as_ref();
        let name = address.map_or_else(|| record.id.to_string(), ToString::to_string);
        (Kind::Worker, name)
    });
    for (kind, name) in models.chain(workers) {
        let why = "it is protected, and no longer in fleet.yaml";
        all.push(Difference::blocked(kind, name, why));
    }
    all
}

fn of_orchestrator(drift: &OrchestratorDrift) -> Difference {
    let kind = Kind::Orchestrator;
    match drift {
        OrchestratorDrift::Start { spec, reason, .. } => {
            Difference::new(kind, spec.listen.to_string(), way(reason), reason)
        }
        OrchestratorDrift::Stop { reason, .. } => {
            Difference::new(kind, "of the fleet".into(), Way::Extra, reason)
        }
        OrchestratorDrift::Blocked { why } => Difference::blocked(kind, "of the fleet".into(), why),
    }
}

fn of_link(drift: &LinkDrift) -> Difference {
    match drift {
        LinkDrift::Write {
            orchestrator,
            reason,
            ..
        } => Difference::new(
            Kind::Link,
            linked(orchestrator.as_ref()),
            way(reason),
            reason,
        ),
        LinkDrift::Remove { reason, .. } => {
            let name = "to the orchestrator".to_owned();
            Difference::new(Kind::Link, name, Way::Extra, reason)
        }
    }
}

fn way(reason: &Reason) -> Way {
    match reason {
        Reason::NotThere => Way::Missing,
        _ => Way::Different,
    }
}

impl Difference {
    fn new(kind: Kind, name: String, way: Way, reason: &Reason) -> Self {
        let fields = match reason {
            Reason::Changed { fields } => fields.clone(),
            _ => Vec::new(),
        };
        Self {
            kind,
            name,
            way,
            why: reason.to_string(),
            fields,
        }
    }

    fn blocked(kind: Kind, name: String, why: &str) -> Self {
        Self {
            kind,
            name,
            way: Way::Blocked,
            why: why.to_owned(),
            fields: Vec::new(),
        }
    }
}

/// What is there and is not the fleet's.
fn others(fleet: &FleetName, state: Option<&PoolState>) -> Vec<Other> {
    let Some(PoolState::Known(seen)) = state else {
        return Vec::new();
    };
    let models = seen.models.iter().map(|model| Other {
        kind: Kind::Model,
        name: model.entry.id.to_string(),
        owner: model.entry.fleet.clone(),
    });
    let workers = seen.workers.iter().map(|worker| {
        let address = worker.record.spec.address.as_ref();
        Other {
            kind: Kind::Worker,
            name: address.map_or_else(|| worker.record.id.to_string(), ToString::to_string),
            owner: worker.record.spec.fleet.clone(),
        }
    });
    let orchestrators = seen.orchestrators.iter().map(|orchestrator| Other {
        kind: Kind::Orchestrator,
        name: orchestrator.record.spec.listen.to_string(),
        owner: Some(orchestrator.record.spec.fleet.clone()),
    });
    let all = models.chain(workers).chain(orchestrators);
    all.filter(|other| other.owner.as_ref() != Some(fleet))
        .collect()
}
