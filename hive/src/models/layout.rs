//! The folder of a model: links into the content, so that models share what they have in common.

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use pool_core::model::{CatalogEntry, ModelFile};
use pool_core::path::FilePath;

use super::content;
use crate::error::{Result, io_error};
use crate::file::{TEMPORARY, sync_folder};
use crate::home::{Home, Locked};

/// Makes the links of a model that are missing or wrong.
pub fn lay_out(home: &Locked, entry: &CatalogEntry) -> Result<()> {
    let folder = home.model(&entry.id, &entry.digest);
    for file in &entry.files {
        let link = folder.join(file.file.path.as_str());
        make_link(&link, &target(&file.file)).map_err(|e| io_error("link", &link, &e))?;
    }
    sync_folder(&folder).map_err(|e| io_error("write", &folder, &e))
}

/// The content of a file as seen from its link: out of `<id>/<digest>/` and of the path's own folders.
fn target(file: &ModelFile) -> PathBuf {
    let depth = file.path.as_str().split('/').count() + 1;
    let mut target: PathBuf = std::iter::repeat_n("..", depth).collect();
    target.push("blobs");
    target.push(file.sha256.to_string());
    target
}

fn make_link(link: &Path, target: &Path) -> io::Result<()> {
    if std::fs::read_link(link).is_ok_and(|current| current == target) {
        return Ok(());
    }
    let folder = link.parent().unwrap_or(link);
    std::fs::create_dir_all(folder)?;
    let temporary = folder.join(format!("{TEMPORARY}link"));
    match std::fs::remove_file(&temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    symlink(target, &temporary)?;
    std::fs::rename(&temporary, link)?;
    sync_folder(folder)
}

/// The files of a catalogued model that were written to or replaced since they were checked. Reads no content.
pub fn touched(home: &Home, entry: &CatalogEntry) -> Vec<FilePath> {
    let files = entry.files.iter();
    files
        .filter(|file| content::is_touched(home, file))
        .map(|file| file.file.path.clone())
        .collect()
}

/// The files of a catalogued model that are missing or have another size. Reads no content.
pub fn damaged(home: &Home, entry: &CatalogEntry) -> Vec<FilePath> {
    let folder = home.model(&entry.id, &entry.digest);
    let is_whole = |file: &ModelFile| {
        if entry.downloaded {
            let found = folder.join(file.path.as_str()).metadata();
            found.is_ok_and(|found| found.is_file() && found.len() == file.size)
        } else {
            content::has(home, &file.sha256, file.size)
        }
    };
    entry
        .files
        .iter()
        .filter(|file| !is_whole(&file.file))
        .map(|file| file.file.path.clone())
        .collect()
}
