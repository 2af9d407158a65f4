//! A saved plan, compared with what is now.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::Timestamp;
use pool_core::digest::Sha256;
use pool_core::model::Manifest;
use pool_core::source::Source;
use pool_core::units;
use reconciler::desired::Builds;
use reconciler::observed::Observed;
use reconciler::plan::{ActionKind, Plan, Supply};
use reconciler::stale;

use super::prepare::{Prepared, Site};
use crate::cli::Global;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet_file::config;
use crate::lease::Leases;
use crate::saved::Saved;
use crate::terminal::Terminal;

/// Asks every pool of the plan. What it relied on must still be so, on the pools and here; otherwise nothing moves.
pub async fn to_apply(
    global: &Global,
    saved: Saved,
    leases: &Leases,
    terminal: Terminal,
) -> Result<Prepared, Failure> {
    let declared = saved.declared().map_err(Failure::new)?;
    let named = global.file.as_deref();
    let folder = match named {
        Some(file) => file.parent().unwrap_or(Path::new("")).to_owned(),
        None => saved.folder.clone(),
    };
    let site = Site {
        declared,
        folder: folder.clone(),
        purpose: saved.purpose,
        is_saved: true,
    };
    let decide = |observed: &Observed, builds: Builds| {
        let stale = stale::stale(&saved.plan, observed).into_iter();
        let mut changed: BTreeSet<String> = stale.map(|stale| stale.text).collect();
        changed.extend(builds_changed(&saved.plan, &builds));
        changed.extend(folders_changed(&saved.plan, &folder));
        if changed.is_empty() {
            Ok(with_unknown(saved.plan, observed))
        } else {
            Err(refusal(&changed, saved.made_at))
        }
    };
    site.prepare(global, Some(leases), terminal, decide).await
}

fn refusal(changed: &BTreeSet<String>, made_at: Timestamp) -> Failure {
    let count = units::count(changed.len(), "thing");
    let list: Vec<&str> = changed.iter().map(String::as_str).collect();
    let list = list.join("\n  ");
    let what = format!("the plan is stale: since {made_at:.0} {count} changed\n  {list}");
    Failure::new(what)
        .help("nothing was moved; `rbee plan --out FILE` plans again")
        .exit(Exit::STALE)
}

/// The programs that an action installs must be those that there are here.
fn builds_changed(plan: &Plan, builds: &Builds) -> BTreeSet<String> {
    let actions = plan.actions.iter();
    actions
        .filter_map(|action| match &action.kind {
            // One of a pool that does not answer is not looked up: its action fails for that.
            ActionKind::Install { target, to, .. } => match builds.get(target)? {
                Ok(here) if here == to => None,
                Ok(here) => Some(format!(
                    "the build for {target} here is {}, no longer {}",
                    here.short(),
                    to.short()
                )),
                Err(why) => Some(format!("the build for {target} is no longer here: {why}")),
            },
            _ => None,
        })
        .collect()
}

/// The files that are sent from here must be there, unchanged.
fn folders_changed(plan: &Plan, folder: &Path) -> BTreeSet<String> {
    let mut changed = BTreeSet::new();
    for action in &plan.actions {
        if let ActionKind::Configure { path, digest, .. } = &action.kind {
            match config(&folder.join(path)) {
                Ok(text) if Sha256::of(&text) == *digest => {}
                Ok(_) => drop(changed.insert(format!("the file {path}"))),
                Err(why) => drop(changed.insert(why)),
            }
        }
        let ActionKind::Fetch {
            model,
            source: Source::Folder(source),
            files,
            ..
        } = &action.kind
        else {
            continue;
        };
        let sent = files.iter().filter(|file| {
            [Some(&file.from), file.instead.as_ref()].contains(&Some(&Supply::Operator))
        });
        let path = folder.join(source);
        let has =
            |manifest: &Manifest| sent.clone().all(|sent| manifest.files.contains(&sent.file));
        match pool_core::folder::read(&path) {
            _ if sent.clone().next().is_none() => {}
            Ok(manifest) if has(&manifest) => {}
            Ok(_) => {
                changed.insert(format!("the files of {model} in {}", path.display()));
            }
            Err(why) => {
                changed.insert(format!("the files of {model}: {why}"));
            }
        }
    }
    changed
}

/// The plan, which says of the pools that do not answer now that they do not.
fn with_unknown(mut plan: Plan, observed: &Observed) -> Plan {
    let mut unknown = stale::unknown(&plan, observed);
    unknown.retain(|now| !plan.unknown.iter().any(|then| then.pool == now.pool));
    plan.unknown.extend(unknown);
    plan
}
