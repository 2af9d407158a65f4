//! `rbee import`

mod draft;
mod from;
mod offer;
mod yaml;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use pool_core::name::PoolName;
use pool_core::observation::PoolObservation;
use pool_core::rpc::{Outcome, Request, Subject};
use serde_json::json;

use super::{pool, prepare};
use crate::cli::{Global, Import};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet_file::FleetFile;
use crate::lease::Leases;
use crate::terminal::Terminal;
use crate::transport::HiveClient;
use draft::Draft;
use offer::{Offer, Offers, Wanted};

pub async fn run(global: &Global, args: &Import, terminal: Terminal) -> Result<Exit, Failure> {
    if let Some(program) = args.from {
        return from::run(global, args, program, terminal);
    }
    let file = FleetFile::load(global.file.as_deref())?;
    let name = pool::choose(&file, args.pool.clone())?;
    let (connection, hive) = pool::open(global, &file, &name).await?;
    let hive = Arc::new(hive);
    let leases = Leases::new(&file.fleet.name, "rbee import", Duration::ZERO, terminal);
    leases.add(&name, &hive).await?;
    // Another import may have written it until now.
    let file = FleetFile::load(global.file.as_deref())?;
    let contents = prepare::contents(global, &file, false, terminal).await?;
    let seen = observe(&hive).await?;
    let wanted = Wanted::new(&seen, &args.ids, args.name.as_ref())?;
    let mut draft = Draft::new(&file, &name, contents).map_err(|problems| file.wrong(problems))?;
    let offers = wanted.offers(&mut draft);
    if !global.json {
        terminal.data(&text(&offers, &draft));
    }
    draft.check_written()?;
    let is_all = args.ids.is_empty() || offers.left.is_empty();
    let exit = if is_all { Exit::DONE } else { Exit::ERROR };
    if !offers.adopted.is_empty() {
        if !args.yes {
            confirm(terminal)?;
        }
        write(&file.path, &file.text, &draft.text)?;
        adopt(&hive, &draft, &offers.adopted).await?;
    }
    leases.end().await;
    if let Some(hive) = Arc::into_inner(hive) {
        hive.close().await;
    }
    connection.close().await;
    if global.json {
        let value = json!({ "version": 1, "pool": name, "import": offers });
        terminal.data(&super::json(&value)?);
    }
    Ok(exit)
}

fn confirm(terminal: Terminal) -> Result<(), Failure> {
    if !terminal.asks {
        return Err(
            Failure::new("there is nobody to ask whether to go on: this is no terminal")
                .help("`--yes` goes on without asking"),
        );
    }
    Terminal {
        quiet: false,
        ..terminal
    }
    .note("\nImport this? Only `yes` goes on: ");
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.map_err(|error| Failure::new(format!("cannot read the answer: {error}")))?;
    if answer.trim() == "yes" {
        Ok(())
    } else {
        Err(Failure::new("nothing was done: the answer was not `yes`"))
    }
}

async fn observe(hive: &HiveClient) -> Result<PoolObservation, Failure> {
    match hive.call(Request::Observe, |_| ()).await? {
        Outcome::Observed(seen) => Ok(seen),
        other => Err(Failure::new(format!(
            "the pool answered something else: {other:?}"
        ))),
    }
}

fn text(offers: &Offers, draft: &Draft<'_>) -> String {
    let pool: &PoolName = draft.pool;
    let fleet = &draft.desired.fleet;
    let mut text = String::new();
    if offers.adopted.is_empty() {
        let _ = writeln!(text, "Nothing of pool {pool} is to be imported.");
    } else {
        let _ = writeln!(text, "Of pool {pool} to fleet {fleet}:");
    }
    for Offer { subject, address } in &offers.adopted {
        let _ = match address {
            Some(address) => writeln!(text, "  {} as {address}", said(subject)),
            None => writeln!(text, "  {}", said(subject)),
        };
    }
    text += &new_lines(&draft.file.text, draft);
    text += &pasted(draft);
    if !offers.left.is_empty() {
        text.push_str("\nLeft as it is:\n");
    }
    for left in &offers.left {
        let _ = writeln!(text, "  {}: {}", said(&left.subject), left.why);
    }
    text
}

fn said(subject: &Subject) -> String {
    match subject {
        Subject::Model(model) => format!("model {model}"),
        Subject::Worker(worker) => format!("worker {worker}"),
    }
}

/// What is new in the fleet file, of which this was the text.
fn new_lines(old: &str, draft: &Draft<'_>) -> String {
    let added = added(old, &draft.text);
    if added.is_empty() {
        return String::new();
    }
    format!("\nNew in {}:\n{added}\n", draft.file.path.display())
}

/// What somebody has to write into the fleet file.
fn pasted(draft: &Draft<'_>) -> String {
    let sections = offer::by_section(&draft.to_paste);
    let shown = sections.iter().map(|(section, lines)| {
        let lines = lines.join("\n  ");
        format!("\nTo be pasted:\n{section}:\n  {lines}\n")
    });
    shown.collect()
}

/// The lines of `new` that `old` lacks; all others are in the same order in both.
fn added(old: &str, new: &str) -> String {
    let mut old = old.lines().peekable();
    let mut added = Vec::new();
    for line in new.lines() {
        if old.next_if_eq(&line).is_none() {
            added.push(format!("  {line}"));
        }
    }
    added.join("\n")
}

/// Writes the fleet file, as whoever reads meanwhile sees the old or the whole new one. A link stays one.
fn write(path: &Path, old: &str, new: &str) -> Result<(), Failure> {
    if new == old {
        return Ok(());
    }
    let place = path.display().to_string();
    let write = || {
        let path = path.canonicalize()?;
        if std::fs::read(&path)? != old.as_bytes() {
            return Ok(false);
        }
        let folder = path.parent().unwrap_or(Path::new("/"));
        let mut file = tempfile::Builder::new()
            .prefix(".fleet.yaml")
            .tempfile_in(folder)?;
        file.write_all(new.as_bytes())?;
        file.as_file()
            .set_permissions(path.metadata()?.permissions())?;
        file.as_file().sync_all()?;
        file.persist(&path)?;
        std::fs::File::open(folder)?.sync_all()?;
        Ok(true)
    };
    match write() {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::new("the fleet file changed meanwhile")
            .at(place)
            .help("nothing was done; import again")),
        Err(error) => {
            let error: std::io::Error = error;
            Err(Failure::new(format!("cannot write the fleet file: {error}")).at(place))
        }
    }
}

/// Gives everything to the fleet. fleet.yaml says so already: what is in it and not the fleet's would be spawned anew,
/// what is the fleet's and not in it would be stopped.
async fn adopt(hive: &HiveClient, draft: &Draft<'_>, offers: &[Offer]) -> Result<(), Failure> {
    let file = draft.file;
    for (done, Offer { subject, address }) in offers.iter().enumerate() {
        let request = Request::Adopt {
            subject: subject.clone(),
            owner: draft.desired.fleet.clone(),
            address: address.clone(),
        };
        let Err(error) = hive.call(request, |_| ()).await else {
            continue;
        };
        let what = format!("{} was not imported: {error}", said(subject));
        if done == 0 {
            write(&file.path, &draft.text, &file.text)?;
            return Err(Failure::new(what).help("fleet.yaml is as it was"));
        }
        return Err(Failure::new(what)
            .at(file.path.display().to_string())
            .help("fleet.yaml names it already: import again before the next apply"));
    }
    Ok(())
}
