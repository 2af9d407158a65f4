//! `rbee-hive models`.

use std::path::Path;

use clap::Subcommand;
use pool_core::model::{CatalogEntry, Origin};
use pool_core::name::ModelId;
use pool_core::rpc::ErrorCode;
use pool_core::source::Source;
use pool_core::supply::{HubAccess, HubRepo};
use pool_core::units::{bytes, count};

use super::progress::{Lines, say};
use super::{Output, table};
use crate::error::{Result, fail};
use crate::{Hive, fetch, hub, models, observe};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// All models that the pool knows
    Catalog,
    /// The models whose files are here
    List,
    /// Enter a model into the catalog: one of a folder is copied into the pool's store, one of the hub is looked up
    Register {
        /// What clients call the model
        id: ModelId,
        /// The model's folder, in Hugging Face layout, or `hf:ORG/REPO[@REVISION][::FILE]`
        #[arg(long, value_name = "SOURCE")]
        source: String,
        /// What people call the model; the folder's or the repository's name by default
        #[arg(long)]
        name: Option<String>,
    },
    /// Bring the files of a registered model from the hub
    ///
    /// The hub is the one of `HF_ENDPOINT`; for models that are not for everyone, the token is in `HF_TOKEN` or where
    /// `hf auth login` leaves it.
    Download { id: ModelId },
    /// Take a model out of the catalog, and away the files that no other model uses
    Unregister { id: ModelId },
    /// Take away the files of a model that no other model uses; the catalog still knows it
    Remove { id: ModelId },
    /// Read all files of a model again and check their SHA-256
    Verify { id: ModelId },
}

pub async fn run(hive: &Hive, command: Command, output: &Output) -> Result<()> {
    let home = &hive.home;
    match command {
        Command::Catalog => {
            let all = observe::models(hive)?;
            output.print(&all, || table::models(&all))
        }
        Command::List => {
            let mut here = observe::models(hive)?;
            here.retain(|model| model.entry.downloaded);
            output.print(&here, || table::models(&here))
        }
        Command::Register { id, source, name } => {
            let entry = register(hive, id, &source, name).await?;
            output.print(&entry, || done("registered", &entry))
        }
        Command::Download { id } => {
            let (entry, came) = download(hive, &id).await?;
            let what = if came { "downloaded" } else { "already here:" };
            output.print(&entry, || done(what, &entry))
        }
        Command::Unregister { id } => {
            models::unregister(&home.lock()?, &id, None)?;
            let value = serde_json::json!({ "unregistered": id });
            output.print(&value, || format!("unregistered {id}\n"))
        }
        Command::Remove { id } => {
            let entry = models::empty(&home.lock()?, &id)?;
            output.print(&entry, || done("removed the files of", &entry))
        }
        Command::Verify { id } => {
            let entry = models::verify(home, &id)?;
            output.print(&entry, || done("verified", &entry))
        }
    }
}

async fn register(
    hive: &Hive,
    id: ModelId,
    source: &str,
    name: Option<String>,
) -> Result<CatalogEntry> {
    if !source.starts_with("hf:") {
        return models::import(&hive.home, &id, Path::new(source), name);
    }
    let parsed: Source = source.parse().map_err(|error| {
        fail(
            ErrorCode::BadRequest,
            format!("{error}"),
            "such as hf:Qwen/Qwen2.5-0.5B-Instruct",
        )
    })?;
    let resolved = hub::resolve(&parsed, &HubAccess::from_env()).await?;
    let Source::Hub { repo, file, .. } = parsed else {
        return models::import(&hive.home, &id, Path::new(source), name);
    };
    let origin = Origin {
        repo,
        revision: Some(resolved.commit),
        files: file.into_iter().collect(),
    };
    let mut entry = CatalogEntry::new(id.clone(), None, origin, resolved.manifest);
    entry.name = name.unwrap_or(entry.name);
    models::register(&hive.home.lock()?, entry)?;
    models::find(&hive.home, &id)
}

/// Returns whether anything came.
async fn download(hive: &Hive, id: &ModelId) -> Result<(CatalogEntry, bool)> {
    let entry = models::find(&hive.home, id)?;
    let Some(commit) = entry.source.revision.clone() else {
        let folder = &entry.source.repo;
        return Err(fail(
            ErrorCode::BadRequest,
            format!("the model {id} is not from the hub: it came from {folder}"),
            format!("rbee-hive models register {id} --source {folder}"),
        ));
    };
    models::check_touched(&hive.home, &entry)?;
    let hub = HubRepo {
        repo: entry.source.repo.clone(),
        commit,
        access: HubAccess::from_env(),
    };
    let lines = Lines::new(id);
    let tell = |progress| lines.tell(&progress);
    let from = fetch::From {
        peers: Vec::new(),
        hub: Some(hub),
        most_from_hub: None,
    };
    let fetched = fetch::fetch(hive, id, from, tell).await?;
    for note in &fetched.notes {
        say(&format!("note: {note}"));
    }
    let entry = models::publish(&hive.home, id)?;
    Ok((entry, fetched.from_hub > 0))
}

fn done(what: &str, entry: &CatalogEntry) -> String {
    format!(
        "{what} {}: {} in {}, digest {}\n",
        entry.id,
        bytes(entry.size_bytes),
        count(entry.files.len(), "file"),
        entry.digest.short()
    )
}
