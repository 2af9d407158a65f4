//! `rbee lock`

use std::collections::BTreeSet;

use pool_core::name::ModelId;
use pool_core::source::Source;
use pool_core::supply::HubAccess;
use pool_core::units;
use reconciler::lock::{Lock, Locked, Rewritten};
use serde::Serialize;
use serde_json::json;

use crate::cli::{self, Global};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet_file::FleetFile;
use crate::hub::{self, LookupError};
use crate::lock_file::LockFile;
use crate::progress::Output;
use crate::terminal::Terminal;
use crate::transport::Bundles;

/// What became of a model's entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
enum Change {
    New,
    Unchanged,
    Updated {
        from: String,
    },
    /// The fleet file names it no longer.
    Removed,
}

/// One model that is locked, or was.
#[derive(Debug, Serialize)]
struct Entry {
    model: ModelId,
    source: Source,
    commit: String,
    files: usize,
    bytes: u64,
    #[serde(flatten)]
    change: Change,
}

/// One model that could not be.
#[derive(Debug, Serialize)]
struct Failed {
    model: ModelId,
    error: String,
    help: Option<String>,
}

pub async fn run(global: &Global, args: &cli::Lock, terminal: Terminal) -> Result<Exit, Failure> {
    let file = FleetFile::load(global.file.as_deref())?;
    let mut locked = LockFile::beside(&file.path)?;
    let updated = updated(&file, &args.update)?;
    let mut asked = Vec::new();
    for (id, source) in file.hub_models() {
        // What is locked is looked at again where it is said to be.
        let pinned = locked
            .lock
            .get(id, source)
            .filter(|_| !updated.contains(id));
        asked.push((
            id.clone(),
            pinned.map_or_else(|| source.clone(), Locked::pinned),
        ));
    }
    let bundles = Bundles::find(global.dist.as_deref());
    let found = hub::look_up(
        &asked,
        &HubAccess::from_env(),
        &bundles,
        &global.transport(),
    )
    .await;

    let old = std::mem::take(&mut locked.lock);
    let (mut entries, mut failures) = (Vec::new(), Vec::new());
    let mut is_rewritten = false;
    for ((id, source), found) in file.hub_models().zip(found) {
        let before = old.models.get(id);
        let pinned = old.get(id, source).filter(|_| !updated.contains(id));
        let kept = match (found, pinned) {
            // What was known stays, where nothing better is.
            (Err(error), _) => {
                failures.push(Failed::to_look_up(id, error));
                before.cloned()
            }
            (Ok(found), Some(pinned)) => {
                let rewritten = pinned.rewritten(&found.manifest());
                if rewritten.is_empty() {
                    entries.push(Entry::of(id, pinned, Change::Unchanged));
                } else {
                    is_rewritten = true;
                    failures.push(Failed::as_rewritten(id, pinned, &rewritten));
                }
                Some(pinned.clone())
            }
            (Ok(found), None) => {
                entries.push(Entry::of(id, &found, Change::of(before, &found)));
                Some(found)
            }
        };
        locked
            .lock
            .models
            .extend(kept.map(|kept| (id.clone(), kept)));
    }
    entries.extend(removed(&old, &locked.lock));
    let written = !is_rewritten && locked.save()?;

    let exit = if failures.is_empty() {
        Exit::DONE
    } else {
        Exit::ERROR
    };
    let value = json!({
        "version": 1,
        "lock": locked.path,
        "written": written,
        "models": entries,
        "failed": failures,
    });
    super::result(global, terminal, "lock", exit, &value, || text(&entries))?;
    if global.output() == Output::Text {
        for failed in &failures {
            terminal.failure(&failed.failure());
        }
        if is_rewritten {
            terminal.note(&format!("{} was not written.\n", locked.path.display()));
        }
    }
    Ok(exit)
}

/// The models that are to be looked up anew.
fn updated(file: &FleetFile, named: &[String]) -> Result<BTreeSet<ModelId>, Failure> {
    let names: Vec<&str> = file.hub_models().map(|(id, _)| id.as_str()).collect();
    let mut updated = BTreeSet::new();
    for name in named {
        let mut models = file.hub_models().map(|(id, _)| id);
        let Some(id) = models.find(|id| id.as_str() == name) else {
            let help = if names.is_empty() {
                "it has none".into()
            } else {
                format!("they are: {}", names.join(", "))
            };
            return Err(
                Failure::new(format!("there is no model `{name}` of the hub"))
                    .at(file.path.display().to_string())
                    .help(help),
            );
        };
        updated.insert(id.clone());
    }
    Ok(updated)
}

fn removed(old: &Lock, new: &Lock) -> Vec<Entry> {
    let gone = old
        .models
        .iter()
        .filter(|(id, _)| !new.models.contains_key(*id));
    gone.map(|(id, locked)| Entry::of(id, locked, Change::Removed))
        .collect()
}

impl Change {
    fn of(before: Option<&Locked>, now: &Locked) -> Self {
        match before {
            None => Self::New,
            Some(before) if before.commit == now.commit && before.files == now.files => {
                Self::Unchanged
            }
            Some(before) => Self::Updated {
                from: before.commit.clone(),
            },
        }
    }

    fn text(&self) -> String {
        match self {
            Self::New => "new".into(),
            Self::Unchanged => "unchanged".into(),
            Self::Updated { from } => format!("updated from {}", short(from)),
            Self::Removed => "removed".into(),
        }
    }
}

impl Entry {
    fn of(model: &ModelId, locked: &Locked, change: Change) -> Self {
        Self {
            model: model.clone(),
            source: locked.source.clone(),
            commit: locked.commit.clone(),
            files: locked.files.len(),
            bytes: locked.manifest().size(),
            change,
        }
    }
}

impl Failed {
    fn to_look_up(model: &ModelId, error: LookupError) -> Self {
        Self {
            model: model.clone(),
            error: error.what,
            help: error.help,
        }
    }

    fn as_rewritten(model: &ModelId, pinned: &Locked, rewritten: &[Rewritten]) -> Self {
        let changes = rewritten
            .iter()
            .map(|Rewritten { path, was, now }| match now {
                Some(now) => format!(
                    "{path} was {} ({} bytes) and is {} ({} bytes)",
                    was.sha256, was.size, now.sha256, now.size
                ),
                None => format!("{path} was {} and is gone", was.sha256),
            });
        let changes: Vec<String> = changes.collect();
        let help = format!(
            "the repository's history was rewritten; `rbee lock --update {model}` takes what is there now if you trust it"
        );
        Self {
            model: model.clone(),
            error: format!("at commit {}: {}", pinned.commit, changes.join("; ")),
            help: Some(help),
        }
    }

    fn failure(&self) -> Failure {
        let failure = Failure::new(format!("model `{}`: {}", self.model, self.error));
        match &self.help {
            Some(help) => failure.help(help),
            None => failure,
        }
    }
}

/// A line for each, in columns.
fn text(entries: &[Entry]) -> String {
    let row = |entry: &Entry| {
        let files = units::count(entry.files, "file");
        [
            entry.model.to_string(),
            entry.source.to_string(),
            format!("commit {}", short(&entry.commit)),
            format!("{files}, {}", units::bytes(entry.bytes)),
            entry.change.text(),
        ]
    };
    let rows: Vec<[String; 5]> = entries.iter().map(row).collect();
    let mut text = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let widths = rows.iter().map(|row| row[column].chars().count());
            let width = widths.max().unwrap_or(0);
            text += &format!("{cell:width$}  ");
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

/// Enough digits of a commit for people.
pub(super) fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}
