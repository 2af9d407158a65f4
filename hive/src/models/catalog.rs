//! `catalog.json`: entering models, publishing them, taking them out.

use std::collections::BTreeSet;

use jiff::Timestamp;
use pool_core::digest::Sha256;
use pool_core::model::{Catalog, CatalogEntry, CatalogFile, ModelFile};
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
    let missing = missing(home, &entry);
    let is_same = existing.is_some_and(|existing| existing.digest == entry.digest);
    entry.downloaded = is_same && missing.is_empty() && existing.is_some_and(|e| e.downloaded);
    // Only `protect` takes it away.
    entry.protect |= existing.is_some_and(|existing| existing.protect);
    entry.path = path_text(home, &entry.id, &entry.digest);
    for file in &mut entry.files {
        let is_missing = missing.iter().any(|m| m.sha256 == file.file.sha256);
        let known = verified(&catalog, &file.file.sha256).filter(|_| !is_missing);
        file.verified_at = known.and_then(|known| known.verified_at);
        file.verified = known.and_then(|known| known.verified);
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
    if !manifest.is_possible() {
        return refuse("it is larger than any disk".into());
    }
    if manifest.digest() != entry.digest || manifest.size() != entry.size_bytes {
        return refuse("its digest or size is not that of its files".into());
    }
    Ok(())
}

/// Of the files of a model, those whose content the pool does not have, each content once.
pub fn missing(home: &Home, entry: &CatalogEntry) -> Vec<ModelFile> {
    let files: Vec<&ModelFile> = entry.files.iter().map(|file| &file.file).collect();
    content::missing(home, &files)
}

/// Reads again what was touched since it was checked of the contents that `entry` names. What is wrong is taken away,
/// so that it counts as missing. The lock is not held while reading.
pub fn check_touched(home: &Home, entry: &CatalogEntry) -> Result<()> {
    let catalog = load(home)?;
    for file in &entry.files {
        let known = verified(&catalog, &file.file.sha256);
        if !known.is_some_and(|known| content::is_touched(home, known)) {
            continue;
        }
        match content::check(home, &file.file, true) {
            Ok(()) => mark_verified(&home.lock()?, &[file.file.sha256])?,
            Err(fault) if is_fault(&fault) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}

/// The content is not there as it should be; it could be looked at.
fn is_fault(fault: &HiveError) -> bool {
    matches!(fault.code, ErrorCode::WrongContent | ErrorCode::NotFound)
}

/// Marks contents as just found right, wherever the catalog names them.
pub fn mark_verified(home: &Locked, contents: &[Sha256]) -> Result<()> {
    let mut catalog = load(home)?;
    for sha256 in contents {
        mark(home, &mut catalog, sha256);
    }
    save(home, &catalog)
}

/// Whether any model of the catalog has this content.
pub(super) fn names(home: &Home, sha256: &Sha256, size: u64) -> Result<bool> {
    let catalog = load(home)?;
    let mut files = catalog.models.values().flat_map(|entry| &entry.files);
    Ok(files.any(|file| file.file.sha256 == *sha256 && file.file.size == size))
}

fn mark(home: &Home, catalog: &mut Catalog, sha256: &Sha256) {
    let (now, stamp) = (Timestamp::now(), content::stamp(home, sha256));
    let entries = catalog.models.values_mut();
    for file in entries.flat_map(|entry| &mut entry.files) {
        if file.file.sha256 == *sha256 {
            file.verified_at = Some(now);
            file.verified = stamp;
        }
    }
}

/// The entry of a content that was checked last.
fn verified<'a>(catalog: &'a Catalog, sha256: &Sha256) -> Option<&'a CatalogFile> {
    let files = catalog.models.values().flat_map(|entry| &entry.files);
    files
        .filter(|file| file.file.sha256 == *sha256 && file.verified_at.is_some())
        .max_by_key(|file| file.verified_at)
}

/// Checks that all content of a model is there, lays out its folder and marks it downloaded.
///
/// Content that was verified when it came, and not touched since, is not read again. The lock is not held while reading.
pub fn publish(home: &Home, id: &ModelId) -> Result<CatalogEntry> {
    let entry = find(home, id)?;
    let mut read = Vec::new();
    for file in &entry.files {
        let is_open = file.verified_at.is_none() || content::is_touched(home, file);
        content::check(home, &file.file, is_open)?;
        read.extend(is_open.then_some(file.file.sha256));
    }
    finish(home, &entry, &read)
}

/// Reads all content of a model again. What is not right is taken away, so that it counts as missing.
pub fn verify(home: &Home, id: &ModelId) -> Result<CatalogEntry> {
    let entry = find(home, id)?;
    let mut faults = Vec::new();
    for file in &entry.files {
        match content::check(home, &file.file, true) {
            Ok(()) => {}
            Err(fault) if is_fault(&fault) => faults.push(fault.message),
            Err(fault) => return Err(fault),
        }
    }
    if !faults.is_empty() {
        return Err(fail(
            ErrorCode::WrongContent,
            format!("the model {id} is damaged:\n  {}", faults.join("\n  ")),
            "what was wrong is taken away: `rbee apply`, `models download` or `models register` brings it again",
        ));
    }
    let read: Vec<Sha256> = entry.files.iter().map(|file| file.file.sha256).collect();
    finish(home, &entry, &read)
}

/// Records that the content of `entry` is there, and of it `read` just found right, unless the catalog has moved on.
fn finish(home: &Home, entry: &CatalogEntry, read: &[Sha256]) -> Result<CatalogEntry> {
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
    current.downloaded = true;
    for sha256 in read {
        mark(&home, &mut catalog, sha256);
    }
    save(&home, &catalog)?;
    find_in(&catalog, &entry.id)
}

/// Takes a model out of the catalog, and away the content that nothing else uses.
///
/// `owner` is the fleet that asks; a person may take out any.
pub fn unregister(home: &Locked, id: &ModelId, owner: Option<&FleetName>) -> Result<()> {
    let mut catalog = load(home)?;
    let entry = find_in(&catalog, id)?;
    if owner.is_some() && owner != entry.fleet.as_ref() {
        return Err(not_owned(&entry));
    }
    if owner.is_some() && entry.protect {
        return Err(fail(
            ErrorCode::Protected,
            format!("the model {id} is protected"),
            "name it in fleet.yaml with `protect: false`, apply, and only then take it out",
        ));
    }
    check_unused(home, id)?;
    catalog.models.remove(id);
    match save(home, &catalog) {
        // Its contents are what fills the disk: without them there is room for the rest.
        Err(error) if error.code == ErrorCode::DiskFull => {
            sweep(home, &catalog)?;
            save(home, &catalog)?;
        }
        saved => saved?,
    }
    sweep(home, &catalog)
}

/// Sets whether a model of this fleet is protected.
pub fn protect(home: &Locked, id: &ModelId, owner: &FleetName, protect: bool) -> Result<()> {
    change(home, id, |entry| {
        if entry.fleet.as_ref() != Some(owner) {
            return Err(not_owned(entry));
        }
        entry.protect = protect;
        Ok(())
    })
}

/// Gives a model that belongs to nobody to a fleet.
pub fn adopt(home: &Locked, id: &ModelId, owner: &FleetName) -> Result<()> {
    change(home, id, |entry| {
        if entry.fleet.is_some() {
            return Err(not_owned(entry));
        }
        entry.fleet = Some(owner.clone());
        Ok(())
    })
}

fn change(
    home: &Locked,
    id: &ModelId,
    change: impl FnOnce(&mut CatalogEntry) -> Result<()>,
) -> Result<()> {
    let mut catalog = load(home)?;
    let mut entry = find_in(&catalog, id)?;
    change(&mut entry)?;
    catalog.models.insert(id.clone(), entry);
    save(home, &catalog)
}

/// Takes away the files of a model that nothing else uses. Its entry stays, not downloaded.
pub fn empty(home: &Locked, id: &ModelId) -> Result<CatalogEntry> {
    let mut catalog = load(home)?;
    let entry = find_in(&catalog, id)?;
    check_unused(home, id)?;
    // What a model that is here shares with it stays; one that only names the content does not hold it.
    let contents: BTreeSet<Sha256> = entry.files.iter().map(|file| file.file.sha256).collect();
    let shares = |other: &CatalogEntry| {
        let mut files = other.files.iter();
        files.any(|file| contents.contains(&file.file.sha256))
    };
    let mut kept = catalog.clone();
    kept.models
        .retain(|other, entry| other != id && (entry.downloaded || !shares(entry)));
    sweep(home, &kept)?;
    let mut emptied = entry;
    emptied.downloaded = false;
    let gone = missing(home, &emptied);
    for file in &mut emptied.files {
        if gone.iter().any(|gone| gone.sha256 == file.file.sha256) {
            (file.verified_at, file.verified) = (None, None);
        }
    }
    catalog.models.insert(id.clone(), emptied.clone());
    save(home, &catalog)?;
    Ok(emptied)
}

/// Refuses while a worker runs the model.
fn check_unused(home: &Locked, id: &ModelId) -> Result<()> {
    let users = workers::users(home)?;
    match users.iter().find(|user| user.spec.model == *id) {
        None => Ok(()),
        Some(user) => Err(fail(
            ErrorCode::InUse,
            format!("the worker {} runs the model {id}", user.id),
            format!("stop it first: rbee-hive worker stop {}", user.id),
        )),
    }
}

/// The entry of a model.
pub fn find(home: &Home, id: &ModelId) -> Result<CatalogEntry> {
    find_in(&load(home)?, id)
}

fn find_in(catalog: &Catalog, id: &ModelId) -> Result<CatalogEntry> {
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
