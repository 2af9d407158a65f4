//! `rbee-hive models`.

use std::path::PathBuf;

use clap::Subcommand;
use pool_core::model::CatalogEntry;
use pool_core::name::ModelId;
use pool_core::units::bytes;

use super::{Output, table};
use crate::error::Result;
use crate::{Hive, models, observe};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// All models that the pool knows
    Catalog,
    /// The models whose files are here
    List,
    /// Copy the model in a folder into the pool's store and enter it into the catalog
    Register {
        /// What clients call the model
        id: ModelId,
        /// The model's folder, in Hugging Face layout
        #[arg(long, value_name = "FOLDER")]
        source: PathBuf,
        /// What people call the model; the folder's name by default
        #[arg(long)]
        name: Option<String>,
    },
    /// Take a model out of the catalog, and away the files that no other model uses
    Unregister { id: ModelId },
    /// Read all files of a model again and check their SHA-256
    Verify { id: ModelId },
}

pub fn run(hive: &Hive, command: Command, output: &Output) -> Result<()> {
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
            let entry = models::import(home, &id, &source, name)?;
            output.print(&entry, || done("registered", &entry))
        }
        Command::Unregister { id } => {
            models::unregister(&home.lock()?, &id, None)?;
            let value = serde_json::json!({ "unregistered": id });
            output.print(&value, || format!("unregistered {id}\n"))
        }
        Command::Verify { id } => {
            let entry = models::verify(home, &id)?;
            output.print(&entry, || done("verified", &entry))
        }
    }
}

fn done(what: &str, entry: &CatalogEntry) -> String {
    format!(
        "{what} {}: {} in {}, digest {}\n",
        entry.id,
        bytes(entry.size_bytes),
        pool_core::units::count(entry.files.len(), "file"),
        entry.digest.short()
    )
}
