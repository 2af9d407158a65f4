//! Models from a folder of this machine.

use std::io::{self, Read};
use std::path::Path;

use pool_core::folder::{self, FolderError};
use pool_core::model::{CatalogEntry, Manifest, ModelFile, Origin};
use pool_core::name::ModelId;
use pool_core::rpc::{ErrorCode, HiveError};

use super::catalog;
use super::content;
use super::incoming::{Claim, Incoming, Place};
use crate::error::{Result, fail, io_error};
use crate::home::Home;

/// Registers the model in a folder and copies what a worker needs of it into the pool's store.
pub fn import(
    home: &Home,
    id: &ModelId,
    folder: &Path,
    name: Option<String>,
) -> Result<CatalogEntry> {
    let folder = folder
        .canonicalize()
        .map_err(|e| io_error("read", folder, &e))?;
    let manifest = scan(&folder)?;
    let source = Origin {
        repo: folder.display().to_string(),
        revision: None,
        files: Vec::new(),
    };
    let mut entry = CatalogEntry::new(id.clone(), None, source, manifest);
    entry.name = name.unwrap_or_else(|| match folder.file_name() {
        Some(name) => name.to_string_lossy().into_owned(),
        None => id.to_string(),
    });
    let missing = catalog::register(&home.lock()?, entry)?;
    for file in missing {
        copy(home, &folder, &file)?;
    }
    catalog::publish(home, id)
}

fn scan(dir: &Path) -> Result<Manifest> {
    folder::read(dir).map_err(|error| match error {
        FolderError::Io { path, source } => io_error("read", &path, &source),
        FolderError::NotAModel { .. } => fail(
            ErrorCode::BadRequest,
            error.to_string(),
            "a model is a folder with config.json, tokenizer.json and *.safetensors, or one *.gguf",
        ),
    })
}

fn copy(home: &Home, folder: &Path, file: &ModelFile) -> Result<()> {
    let busy = || {
        fail(
            ErrorCode::InUse,
            format!("the content of {} is just being brought", file.path),
            "wait for it, then register again",
        )
    };
    let mut incoming = match Claim::take(home, file.sha256, file.size)? {
        Place::Here => return Ok(()),
        Place::Taken => return Err(busy()),
        Place::Ours(claim) => Incoming::take_up(claim)?,
    };
    let path = folder::locate(folder, &file.path);
    let failed = |e: io::Error| io_error("read", &path, &e);
    let mut source = folder::open(&path).map_err(failed)?;
    io::Seek::seek(&mut source, io::SeekFrom::Start(incoming.offset())).map_err(failed)?;
    // Never more than was announced, should the file have grown meanwhile.
    let mut rest = source.take(file.size - incoming.offset());
    let mut written: std::result::Result<(), HiveError> = Ok(());
    content::pour(&mut rest, |bytes| {
        if written.is_ok() {
            written = incoming.write(bytes);
        }
    })
    .map_err(failed)?;
    written?;
    incoming.finish()
}
