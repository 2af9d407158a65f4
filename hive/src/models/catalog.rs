//! `catalog.json`: entering models, publishing them, taking them out.

use std::collections::BTreeSet;

use jiff::Timestamp;
use pool_core::digest::Sha256;
use pool_core::model::{Catalog, CatalogEntry, ModelFile};
use pool_core::name::{FleetName, ModelId};
use pool_core::rpc::{ErrorCode, HiveError};

use super::{content, layout, sweep};
use crate::error::{Result, fail};
use crate::file;
use crate::home::{Home, Locked};
use crate::workers;

/// The catalog as it is; empty where none was written yet.
pub fn load(home: &Home) -> Result<Catalog> {
    let path = home.catalog();
    let catalog: Catalog = file::read_json(&path, Catalog::VERSION)?.unwrap_or_default();
    match catalog.models.iter().find(|(id, entry)| entry.id != **id) {
        Some((_, entry)) => Err(file::misnamed(&path, entry.id.as_str())),
        None => Ok(catalog),
    }
}

fn save(home: &Locked, catalog: &Catalog) -> Result<()> {
    file::write_json(&home.catalog(), catalog)
}

/// Enters a model, or replaces the entry of the same owner. Returns the files whose content the
/// pool does not have, each content once.
///
/// The path, the owner where the model is there already, and what was verified are the pool's to
/// say: what the given entry says of them is not taken over.
pub fn register(home: &Locked, mut entry: CatalogEntry) -> Result<Vec<ModelFile>> {
    check(&entry)?;
    let mut catalog = load(home)?;
    let existing = catalog.models.get(&entry.id);
    if let Some(existing) = existing.filter(|existing| existing.fleet != entry.fleet) {
        if existing.digest != entry.digest {
            return Err(not_owned(existing));
        }
        entry = existing.clone();
    }
    let missing = content::missing(
        home,
        &entry.files.iter().map(|f| &f.file).collect::<Vec<_>>(),
    );
    let is_same = existing.is_some_and(|existing| existing.digest == entry.digest);
    entry.downloaded = is_same && missing.is_empty() && existing.is_some_and(|e| e.downloaded);
    entry.path = path_text(home, &entry.id, &entry.digest);
    for file in &mut entry.files {
        file.verified_at = verified_at(&catalog, &file.file.sha256)
            .filter(|_| !missing.iter().any(|m| m.sha256 == file.file.sha256));
    }
    let replaces = existing.is_some() && !is_same;
    catalog.models.insert(entry.id.clone(), entry);
    save(home, &catalog)?;
    if replaces {
        sweep(home, &catalog)?;
    }
    Ok(missing)
}

fn check(entry: &CatalogEntry) -> Result<()> {
    let id = entry.id.as_str();
    let refuse = |reason: String| {
        Err(HiveError {
            code: ErrorCode::BadRequest,
            message: format!("the model {id} cannot be registered: {reason}"),
            help: None,
        })
    };
    if Home::RESERVED
        .iter()
        .any(|name| name.eq_ignore_ascii_case(id))
    {
        return refuse("the pool keeps its content under this name".into());
    }
    let mut paths = BTreeSet::new();
    if let Some(twice) = entry.files.iter().find(|f| !paths.insert(&f.file.path)) {
        return refuse(format!("it has {} twice", twice.file.path));
    }
    let manifest = entry.manifest();
    if manifest.files.is_empty() {
        return refuse("it has no files".into());
    }
    if manifest.digest() != entry.digest || manifest.size() != entry.size_bytes {
        return refuse("its digest or size is not that of its files".into());
    }
    Ok(())
}

/// Marks content as just found right, wherever the catalog names it.
pub(super) fn mark_verified(home: &Locked, sha256: &Sha256) -> Result<()> {
    let mut catalog = load(home)?;
    let now = Timestamp::now();
    let entries = catalog.models.values_mut();
    for file in entries.flat_map(|entry| &mut entry.files) {
        if file.file.sha256 == *sha256 {
            file.verified_at = Some(now);
        }
    }
    save(home, &catalog)
}

fn verified_at(catalog: &Catalog, sha256: &Sha256) -> Option<Timestamp> {
    let files = catalog.models.values().flat_map(|entry| &entry.files);
    files
        .filter(|file| file.file.sha256 == *sha256)
        .filter_map(|file| file.verified_at)
        .max()
}

/// Checks that all content of a model is there, lays out its folder and marks it downloaded.
///
/// Content that was verified when it came is not read again. The lock is not held while reading.
pub fn publish(home: &Home, id: &ModelId) -> Result<CatalogEntry> {
    let entry = find(&load(home)?, id)?;
    for file in &entry.files {
        content::check(home, &file.file, file.verified_at.is_none())?;
    }
    finish(home, &entry, |file_was_verified| {
        file_was_verified.unwrap_or_else(Timestamp::now)
    })
}

/// Reads all content of a model again. What is not right is taken away, so that it counts as missing.
pub fn verify(home: &Home, id: &ModelId) -> Result<CatalogEntry> {
    let entry = find(&load(home)?, id)?;
    let mut faults = Vec::new();
    for file in &entry.files {
        if let Err(fault) = content::check(home, &file.file, true) {
            faults.push(fault.message);
        }
    }
    if !faults.is_empty() {
        return Err(fail(
            ErrorCode::WrongContent,
            format!("the model {id} is damaged:\n  {}", faults.join("\n  ")),
            "what was wrong is taken away: `rbee apply` or `models register` brings it again",
        ));
    }
    finish(home, &entry, |_| Timestamp::now())
}

/// Records that the content of `entry` was found right, unless the catalog has moved on.
fn finish(
    home: &Home,
    entry: &CatalogEntry,
    verified: impl Fn(Option<Timestamp>) -> Timestamp,
) -> Result<CatalogEntry> {
    let home = home.lock()?;
    let mut catalog = load(&home)?;
    let current = catalog.models.get_mut(&entry.id);
    let Some(current) = current.filter(|current| current.digest == entry.digest) else {
        return Err(fail(
            ErrorCode::NotFound,
            format!("the model {} was replaced or removed meanwhile", entry.id),
            "look at `rbee-hive models catalog` and try again",
        ));
    };
    layout::lay_out(&home, current)?;
    for file in &mut current.files {
        file.verified_at = Some(verified(file.verified_at));
    }
    current.downloaded = true;
    let published = current.clone();
    save(&home, &catalog)?;
    Ok(published)
}

/// Takes a model out of the catalog, and away the content that nothing else uses.
///
/// `owner` is the fleet that asks; a person may take out any.
pub fn unregister(home: &Locked, id: &ModelId, owner: Option<&FleetName>) -> Result<()> {
    let mut catalog = load(home)?;
    let entry = find(&catalog, id)?;
    if owner.is_some() && owner != entry.fleet.as_ref() {
        return Err(not_owned(&entry));
    }
    if let Some(user) = workers::users(home)?
        .iter()
        .find(|user| user.spec.model == *id)
    {
        return Err(fail(
            ErrorCode::InUse,
            format!("the worker {} runs the model {id}", user.id),
            format!("stop it first: rbee-hive worker stop {}", user.id),
        ));
    }
    catalog.models.remove(id);
    save(home, &catalog)?;
    sweep(home, &catalog)
}

/// The entry of a model.
fn find(catalog: &Catalog, id: &ModelId) -> Result<CatalogEntry> {
    catalog.models.get(id).cloned().ok_or_else(|| {
        fail(
            ErrorCode::NotFound,
            format!("the catalog has no model {id}"),
            "`rbee-hive models catalog` shows those it has",
        )
    })
}

fn not_owned(entry: &CatalogEntry) -> HiveError {
    let owner = match &entry.fleet {
        Some(fleet) => format!("the fleet {fleet}"),
        None => "a person, who registered it by hand".into(),
    };
    fail(
        ErrorCode::NotOwned,
        format!("the model {} belongs to {owner}", entry.id),
        format!(
            "give yours another name, or take that one out: rbee-hive models unregister {}",
            entry.id
        ),
    )
}

fn path_text(home: &Home, id: &ModelId, digest: &Sha256) -> String {
    home.model(id, digest).display().to_string()
}
