//! Takes away what nothing uses any more.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use pool_core::digest::Sha256;
use pool_core::model::Catalog;

use super::incoming;
use crate::error::{Result, io_error};
use crate::home::{Home, Locked};
use crate::workers;

/// Removes the folders of models that are neither catalogued nor run by a worker, the content that
/// no folder and no catalogued model uses, and what broken-off transfers left.
pub fn sweep(home: &Locked, catalog: &Catalog) -> Result<()> {
    let users = workers::users(home)?;
    let used = users
        .iter()
        .map(|user| (&user.spec.model, &user.spec.model_digest));
    let catalogued = catalog
        .models
        .values()
        .map(|entry| (&entry.id, &entry.digest));
    let folders: BTreeSet<PathBuf> = used
        .chain(catalogued)
        .map(|(id, digest)| home.model(id, digest))
        .collect();
    let files = catalog.models.values().flat_map(|entry| &entry.files);
    let mut contents: BTreeSet<OsString> = files
        .map(|file| file.file.sha256.to_string().into())
        .collect();
    let wanted = contents.clone();
    let mut act = || {
        for model in list(&home.models())? {
            if Home::RESERVED.iter().any(|name| model.ends_with(name)) {
                continue;
            }
            // What is no folder is not of a hive, and is left alone, here as below.
            if !model.symlink_metadata()?.is_dir() {
                continue;
            }
            for folder in list(&model)? {
                if folders.contains(&folder) {
                    contents.extend(linked(&folder)?);
                } else {
                    std::fs::remove_dir_all(&folder)?;
                }
            }
            // Fails while a content is left, which is the wish.
            let _ = std::fs::remove_dir(&model);
        }
        remove_others(&home.blobs(), &contents)?;
        for path in list(&home.incoming())? {
            // With its parts, if it has any.
            let content = path.with_extension("");
            if !is_content(&content) || path.is_dir() {
                continue;
            }
            // Claimed first: what somebody is bringing now stays.
            if !named_in(&wanted, &content) && incoming::claim(&content)?.is_some() {
                incoming::remove(&content)?;
            }
        }
        Ok(())
    };
    act().map_err(|e: io::Error| io_error("clean up", &home.models(), &e))
}

fn remove_others(folder: &Path, keep: &BTreeSet<OsString>) -> io::Result<()> {
    for path in list(folder)? {
        if !named_in(keep, &path) && is_content(&path) && !path.is_dir() {
            std::fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Whether this is the name of a content.
fn is_content(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.parse::<Sha256>().is_ok())
}

fn named_in(names: &BTreeSet<OsString>, path: &Path) -> bool {
    path.file_name().is_some_and(|name| names.contains(name))
}

/// The names of the contents that a model's folder links to.
fn linked(folder: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for path in list(folder)? {
        if path.is_symlink() {
            names.extend(std::fs::read_link(&path)?.file_name().map(OsString::from));
        } else if path.is_dir() {
            names.extend(linked(&path)?);
        }
    }
    Ok(names)
}

fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let is_absent = |e: &io::Error| {
        matches!(
            e.kind(),
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
        )
    };
    match folder.read_dir() {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(e) if is_absent(&e) => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}
